"""Annotations of the package, checked against every call that the tests make: types, and tensors' shapes and kinds.

`jaxtyping` decorates the functions of some rooms as they are imported. Left alone are functions without annotations,
and those inside others: the former say nothing, and to decorate the latter, anew with every call, takes longer than
their work. It is also these alone that run under `torch.compile` or `vmap`, so that eager code is all that is checked.
"""

import functools
import inspect
import itertools

import jaxtyping
from beartype import BeartypeConf, FrozenDict, beartype

from condense.core import types

ROOMS = ("matching", "augmentation", "synthetic", "training", "data")
# What a set has (labels, images) is asked for where it is used; to ask here would compute it.
UNASKED = (types.LabelledImages, types.ClassMajor, types.Described, types.Tested)
CHECKED = BeartypeConf(is_pep484_tower=True, hint_overrides=FrozenDict(dict.fromkeys(UNASKED, object)))
OFTEN, SELDOM = 100, 32                              # the first calls of a function are checked, then one of so many
decorated = jaxtyping.jaxtyped


def checked(function):
    """Return `function` with its arguments and its result checked; an int will do for a float."""
    return beartype(function, conf=CHECKED)


def sampled(whole, function):
    """Return `function`, of whose calls some go to `whole`: a check takes 0.1 ms, and some run a million times."""
    calls = itertools.count()

    @functools.wraps(function)
    def call(*args, **named):
        number = next(calls)
        return (whole if number < OFTEN or number % SELDOM == 0 else function)(*args, **named)

    return call


def jaxtyped(typechecker):
    """Return what `jaxtyping` decorates with: classes, and annotated functions that are inside no other."""
    def decorate(thing):
        if inspect.isclass(thing):
            return decorated(thing, typechecker=typechecker)
        if not thing.__annotations__ or "<locals>" in thing.__qualname__:
            return thing
        return sampled(decorated(thing, typechecker=typechecker), thing)

    return decorate


def install():
    """Check the functions of ROOMS that are imported from now on."""
    jaxtyping.jaxtyped = jaxtyped                    # the name that the import hook calls
    jaxtyping.install_import_hook([f"condense.{room}" for room in ROOMS], "tests.typechecking.checked")
