"""Bases and hallucinators: the budgets, decoding every pair, gradients, how they start, what a host is handed."""

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from condense.data import load_data
from condense.matching.features import class_means
from condense.networks import get_network
from condense.operators import Compute
from condense.synthetic import build_synthetic
from condense.synthetic.hallucinator import BASES_WITHIN, HallucinatedBases, Hallucinators, floats_of_one
from tests.synthetic.hallucinator_sets import as_layers, random_set, seeded

FORMS = dict(num_classes=st.integers(1, 12), ipc=st.integers(1, 12), channel=st.integers(1, 3),
             im_size=st.tuples(st.integers(3, 9), st.integers(3, 9)), n_style=st.integers(1, 6),
             base_channel=st.integers(1, 4))
ALONE = dict(lambda_club_content=0)                        # no adversary: nothing but decoding


# the budgets

@pytest.mark.parametrize("channel, base_channel, im_size, floats", [
    (3, 3, (32, 32), 5568), (3, 1, (32, 32), 5514), (3, 3, (64, 64), 23232), (3, 3, (128, 128), 95424),
    (1, 1, (28, 28), 1372)])
def test_hallucinator_takes_the_published_number_of_floats(channel, base_channel, im_size, floats):
    assert floats_of_one(channel, base_channel, im_size) == floats


@given(channel=st.integers(1, 4), base_channel=st.integers(1, 4), im_size=st.tuples(st.integers(3, 9),
                                                                                    st.integers(3, 9)))
def test_floats_of_a_hallucinator_are_those_of_pytorchs_layers_and_a_scale_and_shift_between(
        channel, base_channel, im_size):
    encoder, decoder = nn.Conv2d(base_channel, channel, 3), nn.ConvTranspose2d(channel, channel, 3)
    between = encoder(torch.zeros(1, base_channel, *im_size))
    layers = sum(parameter.numel() for layer in (encoder, decoder) for parameter in layer.parameters())
    stored = sum(p.numel() for p in Hallucinators(1, channel, base_channel, im_size).parameters())
    assert floats_of_one(channel, base_channel, im_size) == layers + 2 * between.numel() == stored


@given(**FORMS)
@settings(max_examples=200, deadline=None)
def test_strict_budget_is_filled_with_whole_bases_and_never_exceeded(
        num_classes, ipc, channel, im_size, n_style, base_channel):
    pixels = num_classes * math.prod(im_size)
    left = ipc * channel * pixels - n_style * floats_of_one(channel, base_channel, im_size)
    options = dict(n_style=n_style, base_channel=base_channel, **ALONE)
    if left < base_channel * pixels:
        with pytest.raises(ValueError, match="holds no base"):
            HallucinatedBases(num_classes, ipc, channel, im_size, **options)
        return
    synthetic = HallucinatedBases(num_classes, ipc, channel, im_size, **options)
    storage = synthetic.storage()
    assert storage["budget_floats"] == ipc * channel * pixels
    assert storage["floats"] == sum(parameter.numel() for parameter in synthetic.parameters())
    assert storage["floats"] <= storage["budget_floats"] < storage["floats"] + base_channel * pixels
    assert synthetic.images().shape == (sum(synthetic.counts), channel, *im_size)
    assert synthetic.counts == [n_style * (len(synthetic.bases) // num_classes)] * num_classes


@given(**FORMS, budget=st.sampled_from(["strict", "published"]))
@settings(max_examples=200, deadline=None)
def test_refused_budget_names_the_most_hallucinators_and_the_smallest_ipc_that_fit(
        num_classes, ipc, channel, im_size, n_style, base_channel, budget):
    def fits(ipc=ipc, n_style=n_style):
        return BASES_WITHIN[budget](num_classes, ipc, channel, im_size, n_style, base_channel) >= 1

    if fits():
        return
    with pytest.raises(ValueError) as refused:
        HallucinatedBases(num_classes, ipc, channel, im_size, n_style, base_channel=base_channel, budget=budget)
    assert "\n" not in str(refused.value)
    smallest = int(re.search(r"--ipc (\d+) or more", str(refused.value))[1])
    assert fits(ipc=smallest) and not fits(ipc=smallest - 1)
    if budget == "strict":
        most = re.search(r"use --n_style (\d+) or less", str(refused.value))
        most = int(most[1]) if most else 0
        assert (most == 0 or fits(n_style=most)) and not fits(n_style=most + 1)


@pytest.mark.parametrize("num_classes, ipc, single_channel, floats", [
    (10, 1, False, 58_560), (10, 1, True, 58_290), (10, 9, False, 304_320), (10, 10, False, 335_040),
    (10, 49, False, 1_533_120), (10, 50, False, 1_563_840), (100, 1, False, 335_040), (100, 10, False, 3_099_840)])
def test_published_budget_has_a_base_for_each_image_and_storage_tells_the_truth(
        num_classes, ipc, single_channel, floats):
    synthetic = HallucinatedBases(num_classes, ipc, 3, (32, 32), single_channel=single_channel, budget="published")
    whole = num_classes * ipc * 3072
    assert synthetic.storage() == {"floats": floats, "bytes": 4 * floats, "budget_floats": whole,
                                   "budget_bytes": 4 * whole}
    assert synthetic.counts == [ipc * 5 * (3 if single_channel else 1)] * num_classes


@pytest.mark.parametrize("options, mend", [
    (dict(n_style=0), "--n_style must be 1 or larger, not 0"),
    (dict(base_channel=-1), "--base_channel must be 0 or larger, not -1"),
    (dict(single_channel=True, base_channel=3), "--single_channel is --base_channel 1, not 3; leave one"),
    (dict(budget="strikt"), "did you mean strict?"),
    (dict(im_size=(2, 9)), "images are 2x9; use larger ones")])
def test_what_cannot_be_is_refused_by_its_mend(options, mend):
    with pytest.raises(ValueError, match=re.escape(mend)):
        HallucinatedBases(**{"num_classes": 2, "ipc": 50, "channel": 3, "im_size": (8, 8), **options})


# decoding

def test_images_are_every_base_under_every_hallucinator_base_after_base_and_class_after_class():
    synthetic = random_set()
    images = synthetic.images()
    assert images.shape == (24, 2, 5, 6) and synthetic.labels.tolist() == [c for c in range(3) for _ in range(8)]
    for i, base in enumerate(synthetic.bases):
        for j in range(4):
            torch.testing.assert_close(images[4 * i + j], as_layers(synthetic, j)(base))


def test_hallucinator_is_the_sum_over_kernels_written_out_pixel_by_pixel():
    synthetic = random_set(num_classes=1, im_size=(4, 5), n_style=2, bases_per_class=1, single_channel=True)
    base, own = synthetic.bases[0], dict(synthetic.hallucinators.named_parameters())
    for j, image in enumerate(synthetic.images()):
        expected = own["decoder_bias"][j][:, None, None].expand(2, 4, 5).clone()
        for y in range(2):
            for x in range(3):
                inner = (own["encoder"][j] * base[:, y:y + 3, x:x + 3]).sum((1, 2, 3)) + own["encoder_bias"][j]
                inner = own["scale"][j][:, y, x] * inner + own["shift"][j][:, y, x]
                expected[:, y:y + 3, x:x + 3] += torch.einsum("m,mcab->cab", inner, own["decoder"][j])
        torch.testing.assert_close(image, expected)


@given(weight=st.floats(-2, 3))
def test_hallucinators_are_affine(weight):
    synthetic = random_set(**ALONE)
    one, other = synthetic.bases[:2]
    mixed = synthetic.hallucinators((weight * one + (1 - weight) * other)[None])
    apart = synthetic.hallucinators(torch.stack((one, other)))
    torch.testing.assert_close(mixed[0], weight * apart[0] + (1 - weight) * apart[1])


def test_kernels_that_pass_the_middle_pixel_on_show_the_base_but_for_its_edge():
    synthetic = random_set(n_style=1)
    own = synthetic.hallucinators
    with torch.no_grad():
        for parameter in own.parameters():
            parameter.zero_()
        for kernels in (own.encoder, own.decoder):
            kernels[0, [0, 1], [0, 1], 1, 1] = 1
        own.scale.fill_(1)
    assert torch.equal(synthetic.images()[..., 1:-1, 1:-1], synthetic.bases[..., 1:-1, 1:-1])


@pytest.mark.parametrize("base_channel", [0, 1, 3])
@pytest.mark.parametrize("im_size", [(3, 3), (3, 8), (8, 8), (28, 28), (17, 32)])
def test_images_are_as_large_as_bases_and_have_the_channels_of_images(im_size, base_channel):
    synthetic = random_set(im_size=im_size, base_channel=base_channel)
    assert synthetic.bases.shape == (6, base_channel or 2, *im_size) and synthetic.images().shape == (24, 2, *im_size)


@given(first=st.integers(-30, 30), last=st.integers(-30, 30), step=st.sampled_from([None, 1, 2, 7]))
@settings(deadline=None)
def test_any_slice_of_images_is_what_it_is_of_all_images(first, last, step):
    synthetic, rows = random_set(**ALONE), list(range(24))[first:last:step]
    torch.testing.assert_close(synthetic.images(slice(first, last, step)), synthetic.images()[rows])


@given(rows=st.lists(st.integers(-24, 23), min_size=1, max_size=9))
@settings(deadline=None)
def test_any_index_of_images_is_what_it_is_of_all_images(rows):
    synthetic = random_set(**ALONE)
    for index in (rows, torch.tensor(rows)):
        torch.testing.assert_close(synthetic.images(index), synthetic.images()[rows])


def test_gradients_of_bases_and_hallucinators_are_those_of_finite_differences():
    synthetic = random_set(num_classes=2, im_size=(4, 3), n_style=2, bases_per_class=1, **ALONE)
    weights = torch.randn(4, 2, 4, 3, generator=seeded(1), dtype=torch.float64)

    def loss(*parameters):
        return (weights * torch.func.functional_call(synthetic, dict(zip(names, parameters)), ()).square()).sum()

    names = [name for name, _ in synthetic.named_parameters()]
    synthetic.forward = synthetic.images
    assert len(names) == 7
    assert torch.autograd.gradcheck(loss, tuple(synthetic.parameters()))


@pytest.mark.parametrize("chunk", [3, 7, 23])
def test_class_means_in_chunks_have_the_values_and_gradients_of_all_images_at_once(chunk):
    synthetic, net = random_set(channel=1, im_size=(8, 8)), get_network("ConvNetD1", 1, 3, (8, 8), seeded()).double()
    embed = Compute().wrap(net.requires_grad_(False).embed)
    found = []
    for size, recompute in ((None, False), (chunk, False), (chunk, True)):
        means = class_means(embed, synthetic, None, size, recompute)
        gradients = torch.autograd.grad(means.square().sum(), tuple(synthetic.parameters()))
        found.append((means.detach(), *gradients))
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


# how they start

def test_hallucinators_start_as_pytorchs_layers_do_and_scale_is_1_and_shift_0(digits):
    synthetic = HallucinatedBases(10, 9, 1, (8, 8), n_style=8).init_from(digits, "noise", seeded())
    own = synthetic.hallucinators
    for tensor in (own.encoder, own.encoder_bias, own.decoder, own.decoder_bias):
        assert tensor.abs().max() <= 1 / 3 and tensor.unique().numel() == tensor.numel()
    both = torch.cat((own.encoder.flatten(), own.decoder.flatten())).detach()
    assert both.std() == pytest.approx(1 / 3 / math.sqrt(3), rel=0.15) and both.mean().abs() < 0.05
    assert (own.scale == 1).all() and (own.shift == 0).all()


@pytest.mark.parametrize("channel, base_channel", [(1, 1), (3, 3), (3, 1), (1, 2)])
def test_near_start_shows_bases_almost_as_they_are_and_a_little_apart(channel, base_channel):
    synthetic = HallucinatedBases(2, 3, channel, (9, 12), base_channel=base_channel, budget="published", **ALONE)
    synthetic.hallucinators.draw(seeded(), "near")
    with torch.no_grad():
        synthetic.bases.copy_(torch.randn(synthetic.bases.shape, generator=seeded(1)))
        inside = synthetic.images().unflatten(0, (-1, 5))[..., 1:-1, 1:-1]
        shown = synthetic.bases[:, None, :, 1:-1, 1:-1]
    if base_channel != channel:                            # one channel is given to all, of two the mean is shown
        shown = shown.mean(2, keepdim=True)
    shown = shown.expand_as(inside)
    assert torch.corrcoef(torch.stack([inside.flatten(), shown.flatten()]))[0, 1] > 0.98
    apart = (inside[:, 1:] - inside[:, :1]).std() / inside.std()
    assert 0.02 < apart < 0.2


def test_images_of_white_bases_start_with_about_a_third_of_their_deviation():
    own = Hallucinators(200, 3, 3, (32, 32))
    own.draw(seeded())
    images = own(torch.randn(1, 3, 32, 32, generator=seeded(1)))[0].detach()
    centred = images - images.mean((2, 3), keepdim=True)
    assert centred[..., 3:-3, 3:-3].square().mean().sqrt() == pytest.approx(1 / 3, rel=0.1)


def test_real_start_has_distinct_real_images_as_bases(digits):
    synthetic = build_synthetic("hallucinator", digits, 9, "real", seeded())
    bases, number = synthetic.bases.detach(), len(synthetic.bases) // 10
    assert len(bases.flatten(1).unique(dim=0)) == 10 * number == 80
    for c in digits.classes:
        own = digits.sample([c]).images().flatten(1)
        for base in bases[c * number:(c + 1) * number].flatten(1):
            assert (own == base).all(1).any()


@pytest.mark.parametrize("base_channel, averaged", [
    (1, [[0, 1, 2]]), (2, [[0, 1], [1, 2]]), (3, [[0], [1], [2]]), (6, [[0], [0], [1], [1], [2], [2]])])
def test_bases_of_other_channels_start_as_averages_of_neighbouring_channels_of_images(base_channel, averaged):
    class Batch:
        def images(self):
            return images

    images = torch.randn(6, 3, 5, 6, generator=seeded())
    synthetic = random_set(channel=3, base_channel=base_channel).float().start_from(Batch())
    for channel, channels in enumerate(averaged):
        torch.testing.assert_close(synthetic.bases[:, channel].detach(), images[:, channels].mean(1))


def test_start_from_other_images_starts_hallucinators_too(digits):
    def first(number):
        return digits.sample(digits.classes, number, seeded(3))

    synthetic = build_synthetic("hallucinator", digits, 9, first, seeded())
    assert torch.equal(synthetic.bases, first(8).images())
    assert all(parameter.abs().sum() > 0 for name, parameter in synthetic.named_parameters() if "shift" not in name)
    assert synthetic.adversary.theta.abs().sum() > 0


def test_equal_seeds_start_equal_sets_and_others_others(digits):
    one, same, other = (build_synthetic("hallucinator", digits, 4, "noise", seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(one.images(), same.images()) and torch.equal(one.adversary.theta, same.adversary.theta)
    assert not torch.equal(one.images(), other.images())


@pytest.mark.parametrize("how", HallucinatedBases.INITS)
def test_a_set_starts_the_same_with_and_without_an_adversary(digits, how):
    one, other = (build_synthetic("hallucinator", digits, 4, how, seeded(), lambda_club_content=weight)
                  for weight in (0.1, 0.0))
    assert one.adversary and not other.adversary and torch.equal(one.images(), other.images())


def test_real_start_asks_for_as_many_images_as_there_are_bases(digits):
    smallest = min(digits.class_counts)
    fits = HallucinatedBases(10, smallest + 1, 1, (8, 8), lambda_club_content=0)
    assert fits.counts[0] > smallest >= fits.counts[0] // 5
    build_synthetic("hallucinator", digits, smallest + 1, "real", seeded())
    with pytest.raises(ValueError, match="--init real needs .* images of every class"):
        build_synthetic("hallucinator", digits, smallest + 9, "real", seeded())


def test_unknown_start_is_refused():
    with pytest.raises(ValueError, match="unknown start 'reel'; did you mean real?"):
        random_set().init_from(load_data("Digits"), "reel", seeded())


# what a host gets

def test_groups_of_the_optimiser_have_learning_rates_of_their_own():
    for lr_style, expected in ((0.0, 100.0), (7.0, 7.0)):
        synthetic = random_set(lr_style=lr_style)
        bases, others = synthetic.param_groups(100.0, 0.95)
        assert (bases["name"], bases["lr"], bases["momentum"]) == ("bases", 100.0, 0.95)
        assert (others["name"], others["lr"], others["momentum"]) == ("hallucinators", expected, 0.95)
        assert [*map(id, bases["params"] + others["params"])] == [*map(id, synthetic.parameters())]
