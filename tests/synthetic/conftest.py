"""Real data for these tests."""

import pytest

from condense.data import load_data


@pytest.fixture(scope="session")
def digits():
    return load_data("Digits")
