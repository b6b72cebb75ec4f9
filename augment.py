"""The augmentations: Siamese (DSA), drawn as a record or called as the reference does, IDC's, and DC's classic."""

from condense.augmentation import (
    FULL_STRATEGY,
    Record,
    Strengths,
    default_strategy,
    draw_composed,
    draw_independent,
    draw_siamese,
    parse_strategy,
)
from condense.augmentation.classic import (
    CLASSIC_DEFAULTS,
    ClassicRecord,
    apply_classic,
    augment_classic,
    classic_strategy,
    draw_classic,
    parse_classic,
)
from condense.compat import AUGMENT_FNS, DiffAugment, ParamDiffAug, augment, get_daparam, set_seed_DiffAug

__all__ = [
    "AUGMENT_FNS", "CLASSIC_DEFAULTS", "ClassicRecord", "DiffAugment", "FULL_STRATEGY", "ParamDiffAug",
    "Record", "Strengths", "apply_classic", "augment", "augment_classic", "classic_strategy",
    "default_strategy", "draw_classic", "draw_composed", "draw_independent", "draw_siamese", "get_daparam",
    "parse_classic", "parse_strategy", "set_seed_DiffAug",
]
