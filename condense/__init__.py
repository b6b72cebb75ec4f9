"""Dataset condensation: objectives, parameterizations and evaluation protocols that combine freely."""

__version__ = "0.1.0"
