"""Small image folders for these tests."""

import pytest
from PIL import Image


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
