"""Annotations of the package, held against every call that the tests make: types, and tensors' shapes and kinds.

`install` has `jaxtyping` wrap the functions of some rooms as they are imported. Wrapped are calls of eager code alone:
`torch.compile` would trace the check, and inside a transform of `torch.func` a tensor is one slice of many.
"""

from beartype import BeartypeConf, FrozenDict, beartype
from jaxtyping import install_import_hook

from condense.core import types

ROOMS = ("matching", "augmentation", "synthetic", "training", "data")
# What a set has (labels, images) is asked for where it is used; to ask here would compute it.
UNASKED = FrozenDict(dict.fromkeys((types.LabelledImages, types.ClassMajor, types.Described, types.Tested), object))
CHECKED = BeartypeConf(is_pep484_tower=True, hint_overrides=UNASKED)


def checked(function):
    """Return `function` with its arguments and its result checked; an int will do for a float."""
    return beartype(function, conf=CHECKED)


def install():
    """Check the functions of ROOMS that are imported from now on."""
    install_import_hook([f"condense.{room}" for room in ROOMS], "tests.typechecking.checked")
