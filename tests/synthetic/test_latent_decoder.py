"""Latent codes and decoders: what is decoded, in which order, from which parts, with which gradients."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from condense.augmentation import draw_siamese
from condense.matching.class_gradients import class_gradients, matching_over_classes
from condense.matching.features import class_means
from condense.matching.gradients import class_distances
from condense.networks import get_network
from condense.operators import Compute
from condense.synthetic import build_synthetic
from condense.synthetic.latent_decoder import LatentDecoder
from condense.synthetic.optimisers import build_optimizer
from tests.synthetic.latent_sets import decoded_one_by_one, random_set, seeded

FORMS = [dict(), dict(im_size=(28, 28), latent_hidden=(5, 4)), dict(im_size=(7, 10), channel=1),
         dict(n_decoder=1, codes_per_class=3), dict(decoder_act="leaky", out="sigmoid")]


@pytest.mark.parametrize("form", FORMS)
def test_all_decoders_at_once_make_what_single_ones_make(form):
    latent = random_set(**form)
    latent.mean.copy_(torch.tensor([0.3, 0.6][:len(latent.mean)]))
    latent.std.copy_(torch.tensor([0.2, 0.5][:len(latent.std)]))
    images = latent.images()
    torch.testing.assert_close(images, decoded_one_by_one(latent), rtol=1e-10, atol=1e-10)
    with torch.no_grad():
        torch.testing.assert_close(latent.images(), images, rtol=1e-12, atol=1e-12)


def test_images_are_in_the_order_class_then_code_then_decoder():
    latent = random_set(num_classes=3, n_decoder=4, codes_per_class=2)
    assert latent.labels.tolist() == [0] * 8 + [1] * 8 + [2] * 8 and latent.counts == [8] * 3
    pairs = [(c, m, d) for c in range(3) for m in range(2) for d in range(4)]
    for position in (0, 3, 4, 13, 23):
        c, m, d = pairs[position]
        only = random_set(num_classes=3, n_decoder=4, codes_per_class=2)
        with torch.no_grad():
            only.codes[2 * c + m] += 1
            only.decoders.biases[-1][d] += 100
        moved = (only.images() - latent.images()).abs().amax((1, 2, 3))
        assert moved[position] > 90 and set(moved.gt(90).nonzero().flatten().tolist()) == set(range(d, 24, 4))
        changed = (only.images() - latent.images() - 100 * (torch.arange(24) % 4 == d).view(-1, 1, 1, 1)).abs()
        assert set((changed.amax((1, 2, 3)) > 1e-9).nonzero().flatten().tolist()) == \
            set(range(position - d, position - d + 4))


@given(number=st.integers(1, 4), codes=st.integers(1, 3), data=st.data())
@settings(max_examples=40, deadline=None)
def test_any_index_gives_the_images_that_it_names_with_their_gradients(number, codes, data):
    latent = random_set(num_classes=2, n_decoder=number, codes_per_class=codes, im_size=(4, 4), latent_hidden=(2,),
                        ipc=40)
    n = len(latent.labels)
    ends = st.one_of(st.none(), st.integers(-n - 2, n + 2))
    index = data.draw(st.one_of(
        st.builds(slice, ends, ends, st.sampled_from([None, 1, 2])),
        st.lists(st.integers(0, n - 1), min_size=1, max_size=8),
        st.lists(st.integers(-n, n - 1), min_size=1, max_size=8).map(torch.tensor),
        st.lists(st.booleans(), min_size=n, max_size=n).filter(any).map(torch.tensor),
        st.lists(st.integers(0, n - 1), min_size=1, max_size=8).map(np.array)))
    part, whole = latent.images(index), latent.images()[index]
    torch.testing.assert_close(part, whole, rtol=1e-10, atol=1e-10)
    pull = torch.randn(whole.shape, generator=seeded(), dtype=torch.float64)
    parameters = list(latent.parameters())
    for ours, expected in zip(torch.autograd.grad((part * pull).sum(), parameters, allow_unused=True),
                              torch.autograd.grad((whole * pull).sum(), parameters)):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)


def test_only_the_codes_asked_for_are_decoded(monkeypatch):
    latent, seen = random_set(num_classes=3, n_decoder=3, codes_per_class=4), []
    original = latent.decoders.forward
    monkeypatch.setattr(latent.decoders, "forward", lambda codes: seen.append(len(codes)) or original(codes))
    latent.images(slice(3, 9))
    latent.images(slice(4, 8))
    latent.images(torch.arange(0, 36, 3))                  # twelve images of decoder 0
    latent.images(torch.arange(6))
    assert seen == [2, 2, 12, 2]


def test_blocks_that_are_decoded_without_a_gradient_make_no_difference(monkeypatch):
    latent = random_set()
    whole = latent.images().detach()
    monkeypatch.setattr("condense.synthetic.latent_decoder.BLOCK", 6)
    with torch.no_grad():
        torch.testing.assert_close(latent.images(), whole, rtol=1e-12, atol=1e-12)


class Images(nn.Module):
    """A module whose forward pass are a set's images."""

    def __init__(self, latent):
        super().__init__()
        self.latent = latent

    def forward(self):
        return self.latent.images()


@pytest.mark.parametrize("form", FORMS[2:])
def test_gradients_agree_with_finite_differences(form):
    small = {"num_classes": 1, "latent_channels": 2, "latent_hidden": (2,), "im_size": (6, 5)}
    module = Images(random_set(**{**small, **form}))
    names, values = zip(*module.named_parameters())

    def images(*values):
        return functional_call(module, dict(zip(names, values)), ())

    assert torch.autograd.gradcheck(images, tuple(value.detach().requires_grad_() for value in values), eps=1e-6)


def gradients_of(loss, latent):
    return torch.autograd.grad(loss, list(latent.parameters()))


def feature_network(channel=2, side=8):
    net = get_network("ConvNetD2", channel, 3, (side, side), rng=seeded(3)).double().requires_grad_(False)
    return Compute().wrap(net.embed)


@pytest.mark.parametrize("chunk, recompute", [(1, True), (4, True), (7, True), (5, False), (7, None), (100, None)])
def test_chunks_in_two_passes_give_the_loss_and_gradient_of_one_pass(chunk, recompute):
    """Codes and decoders are in every chunk, or cut by its edge: what chunks give them adds up."""
    latent, embed = random_set(num_classes=3, n_decoder=3, codes_per_class=3), feature_network()
    augment = draw_siamese("color_crop_cutout_flip_scale_rotate", 3, seeded(5), "cpu")
    target = torch.randn(3, 128 * 2 * 2, generator=seeded(9), dtype=torch.float64)

    def loss(means):
        return (means - target).square().sum()

    images = latent.images()                                                     # one pass by hand
    features = embed(augment(images, np.repeat(np.arange(3), 9))).view(3, 9, -1)
    whole = loss(features.mean(1))
    ours = loss(class_means(embed, latent, augment, chunk, recompute))
    torch.testing.assert_close(ours, whole, rtol=1e-12, atol=0)
    for found, expected in zip(gradients_of(ours, latent), gradients_of(whole, latent)):
        assert (found - expected).norm() <= 1e-12 * expected.norm()


def test_the_two_passes_of_the_derivation_are_the_gradient_that_is_taken():
    """First the means without a graph, then the inner product of every chunk's features with the constant error."""
    latent, embed = random_set(num_classes=2, n_decoder=2, codes_per_class=3), feature_network()
    target = torch.randn(2, 128 * 2 * 2, generator=seeded(9), dtype=torch.float64)
    ours = gradients_of((class_means(embed, latent, chunk=4, recompute=True) - target).square().sum(), latent)
    with torch.no_grad():
        error = 2 * (embed(latent.images()).view(2, 6, -1).mean(1) - target)     # (K, features)
    total = [torch.zeros_like(p) for p in latent.parameters()]
    for first in range(0, 12, 4):
        features = embed(latent.images(slice(first, first + 4)))
        product = (features * error[latent.labels[first:first + 4]]).sum() / 6
        total = [a + b for a, b in zip(total, torch.autograd.grad(product, list(latent.parameters())))]
    for found, expected in zip(ours, total):
        assert (found - expected).norm() <= 1e-12 * expected.norm()


def test_matched_gradients_reach_codes_and_decoders_as_through_all_images_at_once(digits):
    latent = build_synthetic("latent_decoder", digits, 1, "noise", seeded()).double()
    net = get_network("ConvNetD1", *digits.spec, rng=seeded(1)).double()
    real = digits.sample(digits.classes, 3, seeded(2))
    real_images = real.images().double()
    batch = type("Batch", (), {"counts": real.counts, "labels": real.labels,
                               "images": lambda self, index: real_images[index]})()
    taken = class_gradients(net, Compute(), 16)

    def distance(*sides):
        return class_distances(*sides).sum()

    ours = gradients_of(matching_over_classes(distance, taken, batch, latent), latent)
    images, total = latent.images(), 0
    for c in range(10):
        rows = latent.class_slice(c)
        parameters = list(net.parameters())
        of_real = torch.autograd.grad(nn.functional.cross_entropy(
            net(real_images[3 * c:3 * c + 3]), torch.full((3,), c)), parameters)
        of_syn = torch.autograd.grad(nn.functional.cross_entropy(
            net(images[rows]), latent.labels[rows]), parameters, create_graph=True)
        total = total + distance([g[None] for g in of_real], [g[None] for g in of_syn])
    for found, expected in zip(ours, gradients_of(total, latent)):
        assert (found - expected).norm() <= 1e-8 * expected.norm() and expected.norm() > 0


def test_decoders_in_another_order_give_the_images_in_that_order():
    latent, order = random_set(n_decoder=3), [2, 0, 1]
    images = latent.images().detach().unflatten(0, (-1, 3))
    with torch.no_grad():
        for parameter in latent.decoders.parameters():
            parameter.copy_(parameter[order].clone())
        torch.testing.assert_close(latent.images().unflatten(0, (-1, 3)), images[:, order])


@pytest.mark.parametrize("ipc", [1, 2, 7])
def test_storage_counts_codes_and_decoders_with_their_biases(ipc):
    latent = LatentDecoder(10, ipc, 1, (8, 8))
    storage, architecture = latent.storage(), latent.plan.architecture
    assert storage["floats"] == sum(p.numel() for p in latent.parameters()) == \
        latent.plan.number * architecture.decoder_floats + len(latent.codes) * architecture.code_floats
    assert storage["floats"] <= storage["budget_floats"] == 640 * ipc and storage["bytes"] == 4 * storage["floats"]
    assert latent.out == "linear" and not latent.images().any()


def test_codes_and_decoders_have_step_sizes_of_their_own_and_betas_for_adam():
    options = [dict(), dict(lr_code=0.3), dict(lr_decoder=0.02), dict(lr_code=0.3, lr_decoder=0.02)]
    for form, rates in zip(options, [(1, 0.1), (0.3, 0.03), (1, 0.02), (0.3, 0.02)]):
        latent = random_set(**form)
        for name in ("sgd", "adam"):
            groups = build_optimizer(name, latent.param_groups(1.0, momentum=0.5)).param_groups
            assert [group["lr"] for group in groups] == pytest.approx(rates)
            assert all(group["momentum"] == 0.5 and group["betas"] == (0.9, 0.999) for group in groups)
            held = [id(p) for group in groups for p in group["params"]]
            assert sorted(held) == sorted(id(p) for p in latent.parameters())
            assert groups[0]["params"][0] is latent.codes


def test_images_of_the_sigmoid_are_pictures(digits):
    latent = build_synthetic("latent_decoder", digits, 1, "noise", seeded(), out="sigmoid")
    with torch.no_grad():
        latent.codes.mul_(100)
        images = latent.images()
    pixels = images * torch.tensor(digits.std).view(-1, 1, 1) + torch.tensor(digits.mean).view(-1, 1, 1)
    assert -1e-6 <= pixels.min() < 0.01 and 0.99 < pixels.max() <= 1 + 1e-6
    torch.testing.assert_close(digits.denormalise(images), pixels, atol=1e-6, rtol=0)


def test_state_dict_restores_the_set():
    one, two = (random_set(seed=seed, out="sigmoid") for seed in (0, 1))
    one.mean.fill_(0.3)
    two.load_state_dict(one.state_dict())
    assert torch.equal(one.images(), two.images())
