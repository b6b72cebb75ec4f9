"""What experts give a set to begin with: images that they get right, and their opinion of images."""

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from condense.data import load_data
from condense.experts.set_starts import expert_labels, right_images
from condense.matching.trajectories import Student
from condense.operators import Compute
from condense.synthetic import build_synthetic


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Experts:
    """Experts whose last snapshots are the rows of `thetas`; asked for another epoch they have none."""

    last_epoch = 3

    def __init__(self, *thetas):
        self.thetas = thetas

    def __len__(self):
        return len(self.thetas)

    def snapshot(self, number, epoch, device):
        assert epoch == self.last_epoch
        return self.thetas[number].to(device)


def linear(weight=None, bias=None):
    """Return the parameters of a linear classifier of 64 pixels as one vector."""
    weight = torch.zeros(10, 64) if weight is None else weight
    return torch.cat([weight.flatten(), torch.zeros(10) if bias is None else bias])


@functools.cache
def digits():
    return load_data("Digits")


@pytest.fixture
def real():
    return digits()


def student(chunk=None):
    return Student(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), Compute(), chunk)


@pytest.fixture
def able(real):
    """The best linear classifier of one-hot labels: it gets most training images right, and not all."""
    batch = real.sample(real.classes)
    pixels = np.concatenate([batch.images().flatten(1).numpy(), np.ones((len(batch), 1))], 1)
    weights = np.linalg.lstsq(pixels, np.eye(10)[batch.labels.numpy()], rcond=None)[0]             # (65, 10)
    return linear(torch.tensor(weights[:-1].T), torch.tensor(weights[-1])).float()


def right_rows(real, theta):
    """Return the rows of training images that a linear classifier gets right, by numpy."""
    pixels = real.sample(real.classes).images().flatten(1).numpy().astype(np.float64)
    logits = pixels @ theta[:640].view(10, 64).double().numpy().T + theta[640:].double().numpy()
    return np.flatnonzero(logits.argmax(1) == real.labels.numpy())


@pytest.mark.parametrize("chunk", [None, 1, 7])
def test_images_are_distinct_class_major_and_among_those_the_expert_gets_right(real, able, chunk):
    batch = right_images(real, student(chunk), Experts(able), 30, seeded())
    right = right_rows(real, able)
    assert 0.8 * len(real) < len(right) < len(real)
    assert set(batch.index.tolist()) <= set(right.tolist()) and len(set(batch.index.tolist())) == 300
    assert batch.labels.tolist() == [c for c in range(10) for _ in range(30)] and batch.counts == [30] * 10
    assert torch.equal(batch.labels, real.labels[batch.index])


def test_all_that_are_right_can_be_asked_for_and_no_more(real, able):
    right = right_rows(real, able)
    fewest = np.bincount(real.labels.numpy()[right]).min()
    assert len(right_images(real, student(), Experts(able), fewest, seeded())) == 10 * fewest
    with pytest.raises(ValueError, match=f"needs {fewest + 1} images .* gets {fewest} of class .* use --init real"):
        right_images(real, student(), Experts(able), fewest + 1, seeded())


def test_expert_that_knows_one_class_is_refused_naming_the_first_it_lacks(real):
    with pytest.raises(ValueError, match="expert 0 gets 0 of class '0' right"):
        right_images(real, student(), Experts(linear(bias=torch.eye(10)[3])), 1, seeded())


def test_expert_and_images_are_drawn_by_the_generator(real, able):
    blind, chosen = linear(bias=torch.eye(10)[3]), []
    for seed in range(60):
        try:
            batch = right_images(real, student(), Experts(able, blind), 2, seeded(seed))
            assert torch.equal(batch.index, right_images(real, student(), Experts(able, blind), 2, seeded(seed)).index)
            chosen.append(0)
        except ValueError as error:
            assert "expert 1 gets 0" in str(error)
            chosen.append(1)
    assert 15 < sum(chosen) < 45


def test_every_image_that_is_right_has_its_turn(real, able):
    drawn = [right_images(real, student(), Experts(able), 60, seeded(seed)).index for seed in range(60)]
    assert torch.cat(drawn).unique().tolist() == right_rows(real, able).tolist()


# Labels

@pytest.fixture
def synthetic(real):
    return build_synthetic("pixels", real, 2, "real", seeded())


def logits_of(theta, images):
    return images.flatten(1) @ theta[:640].view(10, 64).T + theta[640:]


def test_without_averaging_labels_are_the_first_experts_opinion(real, able, synthetic):
    other = linear(torch.randn(10, 64, generator=seeded()))
    logits = expert_labels(synthetic, student(7), Experts(other, able), averaged=False)
    torch.testing.assert_close(logits, logits_of(other, synthetic.images()))
    assert not logits.requires_grad


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**32))
def test_averaged_labels_are_each_images_mean_over_the_experts_that_get_it_right(number, seed):
    synthetic = build_synthetic("pixels", digits(), 2, "noise", seeded(seed))
    thetas = [linear(torch.randn(10, 64, generator=seeded(seed + i))) for i in range(number)]
    logits = expert_labels(synthetic, student(), Experts(*thetas), averaged=True)
    for i, (image, label) in enumerate(zip(synthetic.images(), synthetic.labels)):
        opinions = [logits_of(theta, image[None])[0] for theta in thetas]
        right = [opinion for opinion in opinions if opinion.argmax() == label]
        torch.testing.assert_close(logits[i], torch.stack(right or opinions).mean(0), rtol=1e-4, atol=1e-4)
