"""Class orders and the random memory, against what the published programs draw."""

import hashlib

import numpy as np
import pytest
import torch

from condense.continual.order import class_order, random_rows, require_equal_steps
from condense.data import RealData, load_data

# The first twelve classes of CIFAR-100's orders, and 16 digits of the SHA-256 of all of them joined by commas.
ORDERS = {0: ("26 86 2 55 75 93 16 73 54 95 53 92", "0b019832a2a97cf6"),
          1: ("80 84 33 81 93 17 36 82 69 65 92 39", "97b048dfecdc48f6"),
          2: ("83 30 56 24 16 23 2 27 28 13 99 92", "da1b7c9fe0c63b45"),
          3: ("93 67 6 64 96 83 98 42 25 15 77 9", "4b3c17f58120cb0b"),
          4: ("20 10 96 16 63 24 53 97 41 47 43 2", "c18e316652926a9c")}


@pytest.mark.parametrize("seed", ORDERS)
@pytest.mark.parametrize("steps", [5, 10])
def test_class_orders_are_the_published_ones(seed, steps):
    order = class_order(100, steps, seed)
    assert len(order.steps) == steps and {len(classes) for classes in order.steps} == {100 // steps}
    labels = [label for classes in order.steps for label in classes]
    first, digest = ORDERS[seed]
    assert " ".join(map(str, labels[:12])) == first
    assert hashlib.sha256(",".join(map(str, labels)).encode()).hexdigest()[:16] == digest
    assert order.seen(0) == order.steps[0] and order.seen(steps - 1) == tuple(labels)


@pytest.mark.parametrize("num_classes, steps, mend", [(10, 3, "use 1 or 2 or 5"), (10, 10, "use 1 or 2 or 5"),
                                                      (100, 7, "or 20 or 25 or 50"), (7, 2, "use 1")])
def test_steps_that_would_drop_classes_are_refused_with_those_that_do(num_classes, steps, mend):
    with pytest.raises(ValueError) as error:
        require_equal_steps(num_classes, steps)
    assert mend in str(error.value) and f"--steps {steps}" in str(error.value)


def toy(counts=(6, 9, 7, 5)):
    """Return (images, labels) in the order that they come in: classes mixed, each image unlike any other."""
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(5))]
    images = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None].repeat(1, 1, 4, 4)
    return images, labels


@pytest.mark.parametrize("seed", range(3))
def test_random_memory_is_drawn_as_the_published_program_draws_it(seed):
    images, labels = toy()
    real = RealData("toy", images.clone(), labels, images[:4].clone(), labels[:4], list("abcd"))
    members = [[i for i in range(len(labels)) if labels[i] == c] for c in range(4)]
    before = np.random.get_state()
    try:
        np.random.seed(seed)                               # the published program, written out
        order = np.random.permutation(4)
        expected = [[np.random.permutation(members[c])[:3] for c in order[2 * t:2 * t + 2]] for t in range(2)]
    finally:
        np.random.set_state(before)
    rows = random_rows(real, class_order(4, 2, seed), 3)
    for step in range(2):
        wanted = np.concatenate(expected[step])
        assert real.order[rows[step]].tolist() == wanted.tolist()
        assert torch.equal(real.images[rows[step]], images[wanted])


def test_random_memory_leaves_the_global_generator_alone_and_repeats():
    real, order = load_data("Digits"), class_order(10, 5, 1)
    np.random.seed(7)
    expected = np.random.rand()
    np.random.seed(7)
    rows = random_rows(real, order, 4)
    assert np.random.rand() == expected
    assert all(torch.equal(a, b) for a, b in zip(rows, random_rows(real, order, 4)))
    labels = [real.labels[row].tolist() for row in rows]
    assert labels == [[label for label in classes for _ in range(4)] for classes in order.steps]
    assert len(set(torch.cat(rows).tolist())) == 40


def test_more_images_than_a_class_has_are_refused():
    images, labels = toy()
    real = RealData("toy", images, labels, images[:4].clone(), labels[:4], list("abcd"))
    with pytest.raises(ValueError, match="of 6 images per class .* has 5; lower --ipc"):
        random_rows(real, class_order(4, 2, 0), 6)
