"""Many runs of method scripts: cells of a grid, each a process, with locks, resuming and one table at the end."""
