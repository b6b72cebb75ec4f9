"""Annotations of the package, held against every call that the tests make: types, and tensors' shapes and kinds.

`jaxtyping` decorates the functions of some rooms as they are imported. Left alone are functions without annotations,
and those inside others: the former say nothing, and to decorate the latter, anew with every call, takes longer than
their work. It is also these alone that run under `torch.compile` or `vmap`, so that eager code is all that is checked.
"""

import inspect

import jaxtyping
from beartype import BeartypeConf, FrozenDict, beartype

from condense.core import types

ROOMS = ("matching", "augmentation", "synthetic", "training", "data")
# What a set has (labels, images) is asked for where it is used; to ask here would compute it.
UNASKED = (types.LabelledImages, types.ClassMajor, types.Described, types.Tested)
CHECKED = BeartypeConf(is_pep484_tower=True, hint_overrides=FrozenDict(dict.fromkeys(UNASKED, object)))
decorated = jaxtyping.jaxtyped


def checked(function):
    """Return `function` with its arguments and its result checked; an int will do for a float."""
    return beartype(function, conf=CHECKED)


def jaxtyped(typechecker):
    """Return what `jaxtyping` decorates with: classes, and annotated functions that are inside no other."""
    def decorate(thing):
        said = inspect.isclass(thing) or (thing.__annotations__ and "<locals>" not in thing.__qualname__)
        return decorated(thing, typechecker=typechecker) if said else thing

    return decorate


def install():
    """Check the functions of ROOMS that are imported from now on."""
    jaxtyping.jaxtyped = jaxtyped                    # the name that the import hook calls
    jaxtyping.install_import_hook([f"condense.{room}" for room in ROOMS], "tests.typechecking.checked")
