"""The loop around an algorithm: progress, due evaluations, checkpoints, results and what is said of them."""
