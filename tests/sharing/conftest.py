"""Fixtures of several rooms of sharing: Digits in its spaces."""

import copy

import pytest

from condense.data import load_data
from condense.data.space import SPACES, Space
from condense.sharing.spaces import Spaces


@pytest.fixture(scope="module")
def digits():
    return load_data("Digits")


@pytest.fixture(scope="module")
def white():
    return load_data("Digits", zca=True)


@pytest.fixture
def spaces(digits, white):
    """Spaces of Digits; `loads` lists what was loaded."""
    loads = []
    made = Spaces(lambda zca: loads.append(zca) or copy.copy(white if zca else digits))
    made.loads = loads
    return made


@pytest.fixture(scope="module")
def space_of_digits(digits, white):
    """{name of a space: the `Space` of Digits}."""
    return {name: Space(name, tuple(digits.mean), tuple(digits.std), white.zca) for name in SPACES}
