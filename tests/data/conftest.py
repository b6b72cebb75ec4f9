"""What tests of data share: small image folders, and the digits as they are and whitened."""

import pytest
from PIL import Image

from condense.data import Whitening, load_data


@pytest.fixture(scope="session")
def write_image():
    """Write one plain image, with its folders."""
    return save_image


@pytest.fixture(scope="session")
def write_tree():
    """Write `count` images of each class, whose red tells the class and green the image."""
    return save_tree


def save_image(path, colour=(200, 100, 50), size=(8, 8), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)


def save_tree(root, classes=("ant", "bee"), count=5, **image):
    for number, name in enumerate(classes):
        for i in range(count):
            save_image(root / name / f"{i}.png", **{"colour": (number * 50, i * 10, 7), **image})


@pytest.fixture(scope="module")
def plain():
    """The digits, normalised."""
    return load_data("Digits")


@pytest.fixture(scope="module")
def white():
    """The digits, whitened."""
    return load_data("Digits", zca=True)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setenv("CONDENSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "zca"


@pytest.fixture
def no_fit(monkeypatch):
    """From here on nothing may be fitted."""
    def refuse(*args):
        raise AssertionError("fitted again")
    monkeypatch.setattr(Whitening, "fit", refuse)
