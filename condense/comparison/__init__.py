"""What a set is held against: baselines, their rows, tables, intervals and rankings."""
