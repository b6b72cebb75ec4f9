"""What a set is compared with: baselines, their rows, tables, intervals and rankings."""
