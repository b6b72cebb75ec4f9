"""Matching losses: what makes one method differ from another, free of data sets and parameterizations."""
