"""Latent codes and decoders: noise, and the fit to real images that are alike."""

import logging

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from condense.data import RealData, load_data
from condense.synthetic import build_synthetic, latent_start
from condense.synthetic.latent_decoder import LatentDecoder
from condense.synthetic.latent_start import _minibatches, fit, regression_targets, similar_rows
from tests.synthetic.latent_sets import random_set, seeded

QUICK = dict(n_decoder=2, latent_channels=2, latent_hidden=(3,), codes_per_class=2)


def tiny_real(counts=(9, 7, 8), im_size=(4, 6)):
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    images = torch.randint(256, (len(labels), 3, *im_size), generator=seeded(), dtype=torch.uint8)
    return RealData("tiny", images, labels, images, labels, ["ape", "bee", "cat"][:len(counts)])


@pytest.mark.parametrize("how", LatentDecoder.INITS)
def test_start_depends_on_the_generator_alone(digits, how):
    before = torch.get_rng_state()
    one, two, other = (build_synthetic("latent_decoder", digits, 1, how, seeded(s), warmup_steps=3).images()
                       for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_noise_start_draws_normal_codes_and_different_decoders():
    latent = LatentDecoder(10, 10, 3, (32, 32)).init_from(None, "noise", seeded())
    assert abs(latent.codes.mean()) < 0.01 and latent.codes.std().item() == pytest.approx(1, abs=0.01)
    images = latent.images(slice(0, 400)).detach().unflatten(0, (-1, 4))
    assert 0.6 < images.std() < 1.4
    assert min((images[:, a] - images[:, b]).std() for a in range(4) for b in range(a)) > 0.5


@given(groups=st.integers(1, 6), size=st.integers(1, 5), spare=st.integers(0, 10), dim=st.integers(1, 3),
       seed=st.integers(0, 5), distinct=st.booleans())
@settings(max_examples=100, deadline=None)
def test_rows_of_all_groups_are_different_whatever_the_points(groups, size, spare, dim, seed, distinct):
    points = torch.randn(groups * size + spare, dim, generator=seeded(seed))
    points = points if distinct else points.round()        # many at the same place
    rows = similar_rows(points, groups, size, seeded(seed))
    assert rows.shape == (groups, size) and len(set(rows.flatten().tolist())) == groups * size
    assert 0 <= rows.min() and rows.max() < len(points)


def test_a_group_takes_the_members_of_its_cluster_and_the_nearest_others_only_where_it_lacks_some():
    rings = torch.tensor([0.0, 100.0, 200.0]).repeat_interleave(torch.tensor([5, 2, 4]))
    points = torch.stack((rings, torch.tensor([0, .1, .2, 3, 4, 0, .1, 0, .1, .2, 3.])), 1)
    found = {frozenset(group.tolist()) for seed in range(5) for group in similar_rows(points, 3, 3, seeded(seed))
             if 5 in group.tolist() and 6 in group.tolist()}
    assert found and all(group - {5, 6} <= {0, 1, 2, 3, 4, 7, 8, 9, 10} and len(group) == 3 for group in found)
    two = [similar_rows(points[[0, 1, 2, 3, 7, 8, 9, 10]], 2, 3, seeded(seed)) for seed in range(5)]
    assert {frozenset(group.tolist()) for rows in two for group in rows} == {frozenset({0, 1, 2}), frozenset({4, 5, 6})}


def test_targets_are_different_images_of_the_class_from_dark_to_bright():
    real = tiny_real((9, 7, 8))
    batch = real.sample(real.classes)
    targets = regression_targets(batch, 3, 2, seeded())
    assert targets.shape == (9, 2) and len(set(targets.flatten().tolist())) == 18
    assert torch.equal(batch.labels[targets], torch.arange(3).repeat_interleave(3)[:, None].expand(9, 2))
    brightness = batch.images().mean((1, 2, 3))[targets]
    assert (brightness[:, 0] <= brightness[:, 1]).all()


def test_targets_of_a_code_are_more_alike_than_images_of_the_class_are(digits):
    batch = digits.sample(digits.classes)
    targets = regression_targets(batch, 8, 4, seeded())
    images = batch.images()[targets].flatten(2)                                  # (80, 4, 64)
    within = (images - images.mean(1, keepdim=True)).square().mean()
    of_class = images.unflatten(0, (10, 8)).flatten(1, 2)
    assert within < 0.5 * (of_class - of_class.mean(1, keepdim=True)).square().mean()


def test_images_are_compared_in_parts_without_a_difference(digits, monkeypatch):
    batch = digits.sample(digits.classes)
    whole = regression_targets(batch, 3, 2, seeded())
    monkeypatch.setattr("condense.synthetic.latent_start.READ", 100)
    assert torch.equal(regression_targets(batch, 3, 2, seeded()), whole)


@pytest.mark.parametrize("options", [QUICK, {**QUICK, "out": "sigmoid"}, {}])
def test_fit_lowers_the_error_and_decoders_differ(digits, options):
    def error(steps):
        latent = build_synthetic("latent_decoder", digits, 2, "real", seeded(), warmup_steps=steps, **options)
        rng = seeded()
        build_synthetic("latent_decoder", digits, 2, "noise", rng, **options)                    # the same draws
        batch, plan = digits.sample(digits.classes), latent.plan
        targets = regression_targets(batch, plan.codes_per_class, plan.number, rng)
        images = latent.images().detach()
        return F.mse_loss(images, batch.images(targets.flatten())), images.unflatten(0, (-1, plan.number))

    (before, _), (after, images) = error(0), error(150)
    assert after < 0.8 * before
    assert (images[:, 0] - images[:, 1]).square().mean() > 0.05


def test_fit_is_adam_on_the_mean_squared_error():
    latent, real = random_set(num_classes=2, channel=3, im_size=(4, 6), **QUICK), tiny_real((9, 7))
    batch = real.sample(real.classes)
    targets = torch.tensor([[0, 1], [2, 3], [9, 10], [11, 12]])
    expected = random_set(num_classes=2, channel=3, im_size=(4, 6), **QUICK)
    wanted = batch.images(targets.flatten()).double()
    optimizer = torch.optim.Adam(expected.parameters(), lr=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        (expected.images() - wanted).square().mean().backward()
        optimizer.step()
    fit(lambda rows: latent._of_all_decoders(latent.codes[rows]), list(latent.parameters()), batch, targets, 3,
        seeded())
    for ours, theirs in zip(latent.parameters(), expected.parameters()):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
        assert ours.grad is None


@pytest.mark.parametrize("steps, told", [
    (40, "this start takes about 20 s: 40 steps (0.5 s each), repeated in each experiment; shorter with "
         "--warmup_steps"),
    (200, "this start takes about 2 min: 200 steps (0.5 s each)"), (20, "this start takes about 10 s"), (19, None)])
def test_a_fit_that_takes_long_says_so_after_a_few_steps_of_which_the_first_does_not_count(
        caplog, monkeypatch, steps, told):
    latent, batch = random_set(num_classes=1, channel=3, im_size=(4, 6), **QUICK), tiny_real((9,)).sample([0])
    seconds, lines = [0.0], []

    def decode(rows):
        lines.append([record.getMessage() for record in caplog.records if "--warmup_steps" in record.getMessage()][1:])
        seconds.append(seconds[-1] + (0.5 if len(lines) > 1 else 100))
        return latent._of_all_decoders(latent.codes[rows])

    monkeypatch.setattr(latent_start, "_now", lambda device: seconds[-1])
    with caplog.at_level(logging.INFO, "condense"):
        fit(decode, list(latent.parameters()), batch, torch.tensor([[0, 1], [2, 3]]), steps, seeded())
    assert len(lines) == steps and lines[:4] == [[]] * 4
    assert all(len(said) == 1 and said[0].startswith(told) if told else not said for said in lines[4:])


def test_minibatches_go_through_all_rows_in_random_order_time_and_again(monkeypatch):
    monkeypatch.setattr("condense.synthetic.latent_start.MINIBATCH", 4)
    rows = list(_minibatches(torch.zeros(10, 2), 7, seeded()))
    assert [len(part) for part in rows] == [4, 4, 2, 4, 4, 2, 4]
    first, second = torch.cat(rows[:3]), torch.cat(rows[3:6])
    assert first.sort().values.tolist() == second.sort().values.tolist() == list(range(10))
    assert not torch.equal(first, second)
    assert [part.tolist() for part in _minibatches(torch.zeros(3, 2), 2, seeded())] == [[0, 1, 2]] * 2


def test_images_that_a_method_chose_can_be_started_from(digits):
    chosen = []

    def choose(number):
        chosen.append(digits.sample(digits.classes, number, seeded(4)))
        return chosen[0]

    latent = build_synthetic("latent_decoder", digits, 2, choose, seeded(), warmup_steps=300, **QUICK)
    assert chosen[0].counts == latent.counts == [4] * 10
    images, shown = chosen[0].images(), latent.images().detach()
    means = [x.unflatten(0, (10, 4)).mean(1).flatten(1) for x in (images, shown)]
    noise = build_synthetic("latent_decoder", digits, 2, "noise", seeded(), **QUICK).images().detach()
    assert (means[0] - means[1]).square().mean() < \
        0.7 * (means[0] - noise.unflatten(0, (10, 4)).mean(1).flatten(1)).square().mean()


def test_more_images_than_a_class_has_are_refused_for_a_real_start_only():
    real = tiny_real()
    with pytest.raises(ValueError, match="of every class, but class 'bee' has 7.*--init noise"):
        build_synthetic("latent_decoder", real, 10, "real", seeded(), n_decoder=4, latent_channels=1)
    assert build_synthetic("latent_decoder", real, 10, "noise", seeded(), n_decoder=4, latent_channels=1).counts[0] > 7


def test_pixels_between_black_and_white_are_no_whitened_images():
    with pytest.raises(ValueError, match="--zca whitens images; use --out linear"):
        build_synthetic("latent_decoder", load_data("Digits", zca=True), 1, "noise", seeded(), out="sigmoid")


def test_unknown_start_is_refused():
    with pytest.raises(ValueError, match="unknown start 'nois'; did you mean noise"):
        random_set().init_from(None, "nois", seeded())
