"""Augmentation, first drawn as a record and then applied: `siamese` (DSA), `composed` (IDC), `classic` (DC's own)."""

from condense.augmentation.composed import draw_composed
from condense.augmentation.siamese import (
           FULL_STRATEGY,
           Record,
           Strengths,
           default_strategy,
           draw_independent,
           draw_siamese,
           parse_strategy,
)

__all__ = ["FULL_STRATEGY", "Record", "Strengths", "default_strategy", "draw_composed", "draw_independent",
           "draw_siamese", "parse_strategy"]
