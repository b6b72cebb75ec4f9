"""Class-incremental learning on condensed memory: class orders, memories, scores and their summary."""
