"""CutMix against cutting pixel by pixel, and training with it against the plain loop."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from condense.augmentation.siamese import Record
from condense.training import TensorSet
from condense.training.minibatches import TrainingDraws, siamese_operators
from condense.training.mixing import CutMix, Mixed, mix_stacked
from condense.training.train import train_network
from tests.training.training_by_hand import (
    FULL,
    PLAIN,
    Spy,
    assert_same_state,
    build,
    seeded,
    soft_labels,
    some_digits,
    train_plainly,
)


@pytest.fixture(scope="module")
def data():
    return some_digits()


def cut_by_hand(images, partners, rows, columns):
    """Every pixel of the rectangle from the partner's image, pixel by pixel; returns the images and how many."""
    result, pixels = images.clone(), 0
    for row in range(images.shape[2])[rows]:
        for column in range(images.shape[3])[columns]:
            pixels += 1
            for image, partner in enumerate(partners.tolist()):
                result[image, :, row, column] = images[partner, :, row, column]
    return result, pixels


def test_a_minibatch_is_cut_and_its_labels_weighted_as_by_hand():
    images, labels = torch.randn(7, 2, 6, 9, generator=seeded()), torch.arange(7)
    for seed in range(20):
        partners, rows, columns, share = CutMix(1, seeded(seed), "cpu").draw(7, (6, 9))
        expected, pixels = cut_by_hand(images, partners, rows, columns)
        before = images.clone()
        mixed, both = CutMix(1, seeded(seed), "cpu")(images, labels)
        assert torch.equal(images, before) and torch.equal(mixed, expected)
        assert both.share == share == pytest.approx(1 - pixels / 54)
        assert torch.equal(both.labels, labels) and torch.equal(both.partners, labels[partners])
        assert sorted(partners.tolist()) == list(range(7))


def test_rectangles_have_the_published_sizes_and_places():
    drawn, uniform = [], []
    for seed in range(600):
        mixer = CutMix(1, seeded(seed), "cpu")
        state = mixer.host.get_state()
        drawn.append(mixer.draw(2, (32, 32))[1:])
        mixer.host.set_state(state)
        uniform.append(torch.rand(4, generator=mixer.host, dtype=torch.float64).tolist()[1:])
    for (rows, columns, _), (lam, down, right) in zip(drawn, uniform):
        side = int(32 * math.sqrt(1 - lam))                # the published code halves it, rounding down
        for part, where in ((rows, down), (columns, right)):
            centre = int(32 * where)
            assert part == slice(max(0, centre - side // 2), min(32, centre + side // 2))
    lams = torch.tensor([lam for lam, _, _ in uniform])    # Beta(1, 1) is uniform
    assert 0.45 < lams.mean() < 0.55 and lams.min() < 0.02 and lams.max() > 0.98
    assert {type(share) for *_, share in drawn} == {float}


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_minibatches_are_mixed_with_the_probability(probability):
    mixer, labels = CutMix(probability, seeded(), "cpu"), torch.arange(3)
    mixed = sum(isinstance(mixer(torch.zeros(3, 1, 4, 4), labels)[1], Mixed) for _ in range(400))
    assert abs(mixed - 400 * probability) < 40


def test_the_rest_of_a_training_draws_the_same_whether_or_not_a_minibatch_is_mixed(data):
    seen = {}
    for probability in (1e-9, 1.0):
        orders = []

        class Set:
            labels = data.labels

            def images(self, index, orders=orders):
                orders.append(index)
                return data.tensor[index]

        train_network(build("MLP"), Set(), replace(PLAIN, cutmix=probability), seeded())
        seen[probability] = torch.cat(orders)
    assert torch.equal(*seen.values())


def mixing_by_hand(mixer):
    """Return how to change a minibatch of the plain loop as `mixer` does, with labels mixed in place of losses."""
    def change(images, labels):
        partners, rows, columns, _ = mixer.draw(len(images), images.shape[2:])
        if partners is None:
            return images, labels
        images, pixels = cut_by_hand(images, partners, rows, columns)
        share = 1 - pixels / images[0, 0].numel()
        return images, share * labels + (1 - share) * labels[partners]
    return change


@pytest.mark.parametrize("probability", [0.5, 1.0])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("kind", ["MLP", "batchnorm"])
def test_training_equals_the_plain_loop_on_mixed_labels(data, probability, soft, kind):
    protocol = replace(PLAIN, epochs=5, cutmix=probability)
    mixed = TensorSet(data.tensor, soft_labels()) if soft else data
    ours, plain = build(kind), build(kind)
    figures = train_network(ours, mixed, protocol, seeded(5))
    rng = seeded(5)
    change = mixing_by_hand(CutMix(probability, rng, "cpu"))
    expected = train_plainly(plain, mixed, protocol, rng, change)
    assert_same_state(ours, plain)
    assert [figure.item() for figure in figures] == pytest.approx(expected, rel=1e-6)


def test_augmentation_comes_before_mixing(data, monkeypatch):
    protocol = replace(PLAIN, epochs=1, augmentation="composed", strategy=FULL, cutmix=1.0, schedule="constant")
    augmented, original = [], Record.__call__
    monkeypatch.setattr(Record, "__call__", lambda *args: augmented.append(original(*args)) or augmented[-1])
    spy = []
    net = build("MLP")
    train_network(net, data, protocol, seeded(5), lambda images: spy.append(images) or net(images))
    mixer = CutMix(1.0, seeded(5), "cpu")
    for before, seen in zip(augmented, spy, strict=True):
        partners, rows, columns, _ = mixer.draw(len(before), before.shape[2:])
        assert torch.equal(seen, cut_by_hand(before, partners, rows, columns)[0])


@pytest.mark.parametrize("chunk", [1, 3, 8])
def test_mixed_gradients_accumulated_in_chunks_equal_the_whole_minibatch(data, chunk):
    protocol = replace(PLAIN, epochs=3, cutmix=1.0)
    whole, parts = build("instancenorm"), build("instancenorm")
    spy = Spy(parts, [])
    expected = train_network(whole, data, protocol, seeded(2))
    figures = train_network(parts, data, protocol, seeded(2), spy, chunk)
    assert max(spy.seen) == chunk
    assert_same_state(parts, whole)
    torch.testing.assert_close(figures, expected)


def test_a_stack_mixes_each_minibatch_as_its_own_mixer_does():
    images, labels = torch.randn(5, 6, 1, 8, 8, generator=seeded()), torch.arange(30).view(5, 6)
    stacked, both = mix_stacked([CutMix(0.5, seeded(i), "cpu") for i in range(5)], images, labels)
    alone = [CutMix(0.5, seeded(i), "cpu")(*minibatch) for i, minibatch in enumerate(zip(images, labels))]
    assert 0 < sum(isinstance(y, Mixed) for _, y in alone) < 5
    for i, (x, y) in enumerate(alone):
        share, partners = (y.share, y.partners) if isinstance(y, Mixed) else (1.0, y)
        assert torch.equal(stacked[i], x) and torch.equal(both.partners[i], partners)
        assert both.share[i].item() == pytest.approx(share)


def test_the_seed_decides_and_the_global_generator_is_left_alone(data):
    protocol = replace(PLAIN, epochs=2, cutmix=0.5, augmentation="composed", strategy=FULL)
    nets, before = [build("MLP") for _ in range(3)], torch.get_rng_state()
    for net, seed in zip(nets, (1, 1, 2)):
        train_network(net, data, protocol, seeded(seed))
    assert torch.equal(torch.get_rng_state(), before)
    assert_same_state(nets[0], nets[1], 0)
    assert not torch.equal(nets[0].fc_1.weight, nets[2].fc_1.weight)


def test_composed_minibatches_have_one_choice_and_magnitudes_of_each_image(data, monkeypatch):
    protocol, records = replace(PLAIN, epochs=20, augmentation="composed", strategy=FULL), []
    original = Record.__call__
    monkeypatch.setattr(Record, "__call__", lambda self, images: records.append(self) or original(self, images))
    train_network(build("MLP"), data, protocol, seeded())
    assert len(records) == 21 * 3
    choices = [[name for name, _, _ in record.stages[2]] for record in records]
    assert all(len(names) == 1 for names in choices) and {names[0] for names in choices} == {"crop", "scale", "rotate"}
    uniforms = torch.cat([u for record in records for stage in record.stages for _, _, u in stage])
    assert len(uniforms.unique(dim=0)) == 21 * 23 * 4


def test_draws_of_other_augmentations_are_as_wide_as_ever():
    for augmentation, strategy, width in (("siamese", FULL, 3), ("none", "none", 3), ("composed", FULL, 12),
                                          ("composed", "none", 3)):
        protocol = replace(PLAIN, augmentation=augmentation, strategy=strategy)
        draws = TrainingDraws.of(seeded(), 5, protocol, siamese_operators(protocol), "cpu")
        assert draws.epoch()[2].shape == (5, width)


def test_loss_of_mixed_labels_is_the_weighted_sum():
    logits = torch.randn(4, 3, generator=seeded(), dtype=torch.float64)
    labels, partners = torch.tensor([0, 1, 2, 0]), torch.tensor([2, 2, 0, 1])
    losses = [nn.functional.cross_entropy(logits, y) for y in (labels, partners)]
    mixed = Mixed(labels, partners, 0.3).loss(lambda y: nn.functional.cross_entropy(logits, y))
    assert mixed.item() == pytest.approx((0.3 * losses[0] + 0.7 * losses[1]).item())
