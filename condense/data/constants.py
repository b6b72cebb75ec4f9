"""The spaces of known data sets, without loading them: means and stds that the published repositories agree on."""

from condense.data.space import Space
from condense.data.tiny import MEAN, STD
from condense.data.torchvision_sets import ROWS

PUBLISHED = {**{name: Space("normalised", row.mean, row.std) for name, row in ROWS.items()},
             **dict.fromkeys(("TinyImageNet", "ImageNet"), Space("normalised", MEAN, STD))}
