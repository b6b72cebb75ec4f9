"""Addressable memory: the budget rule, combining and enlarging, labels of any kind, gradients of both tables."""

import math
import re

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from condense.augmentation import draw_siamese
from condense.matching.class_gradients import class_gradients, matching_over_classes
from condense.matching.features import class_means
from condense.matching.gradients import class_distances
from condense.networks import get_network
from condense.operators import Compute
from condense.synthetic import Pixels
from condense.synthetic.memory import AddressableMemory, recalled_within
from tests.synthetic.memory_sets import random_memory, seeded

FORMS = dict(num_classes=st.integers(1, 6), ipc=st.integers(1, 5), channel=st.integers(1, 3),
             small=st.tuples(st.integers(1, 6), st.integers(1, 6)), n_basis=st.integers(1, 40), scale=st.integers(1, 4))


# the budget

@given(**FORMS)
@settings(max_examples=200, deadline=None)
def test_budget_is_filled_with_whole_images_and_never_exceeded(num_classes, ipc, channel, small, n_basis, scale):
    im_size = small[0] * scale, small[1] * scale
    budget, bases = num_classes * ipc * channel * im_size[0] * im_size[1], n_basis * channel * small[0] * small[1]
    one_image_each = num_classes * n_basis
    if bases + one_image_each > budget:
        with pytest.raises(ValueError, match="holds no"):
            AddressableMemory(num_classes, ipc, channel, im_size, n_basis, scale)
        return
    memory = AddressableMemory(num_classes, ipc, channel, im_size, n_basis, scale)
    storage = memory.storage()
    assert storage["budget_floats"] == budget
    assert storage["floats"] == memory.bases.numel() + memory.coefficients.numel()
    assert storage["floats"] <= budget < storage["floats"] + one_image_each
    assert len(set(memory.counts)) == 1 and len(memory.counts) == num_classes
    assert memory.images().shape == (sum(memory.counts), channel, *im_size)


@given(**FORMS)
@settings(max_examples=200, deadline=None)
def test_refused_budget_names_the_most_bases_and_the_smallest_ipc_that_fit(
        num_classes, ipc, channel, small, n_basis, scale):
    im_size = small[0] * scale, small[1] * scale

    def fits(ipc=ipc, n_basis=n_basis):
        return recalled_within(num_classes, ipc, channel, im_size, n_basis, scale) >= 1

    if fits():
        return
    with pytest.raises(ValueError) as refused:
        AddressableMemory(num_classes, ipc, channel, im_size, n_basis, scale)
    assert "\n" not in str(refused.value)
    smallest = int(re.search(r"--ipc (\d+) or more$", str(refused.value))[1])
    assert fits(ipc=smallest) and not fits(ipc=smallest - 1)
    most = re.search(r"use --n_basis (\d+) or less", str(refused.value))
    most = int(most[1]) if most else 0
    assert (most == 0 or fits(n_basis=most)) and not fits(n_basis=most + 1)


@pytest.mark.parametrize("num_classes, channel, im_size, ipc, scale, rows", [
    (10, 3, (32, 32), 1, 2, {8: 307, 16: 115, 32: 19, 64: None}), (10, 3, (32, 32), 1, 1, {8: 76, 16: None}),
    (10, 3, (32, 32), 10, 2, {16: 1843, 256: 43}), (10, 3, (32, 32), 50, 2, {1024: 73}),
    (10, 1, (28, 28), 1, 2, {8: 78, 16: 29, 32: 4}), (10, 1, (28, 28), 10, 2, {256: 11}),
    (100, 3, (32, 32), 1, 2, {16: 184, 256: 4}), (100, 3, (32, 32), 10, 2, {1024: 22}),
    (200, 3, (64, 64), 1, 2, {8: 1520, 512: 8, 1024: None}),
])
def test_images_per_class_are_those_of_the_published_rule(num_classes, channel, im_size, ipc, scale, rows):
    for n_basis, number in rows.items():
        found = recalled_within(num_classes, ipc, channel, im_size, n_basis, scale)
        assert found < 1 if number is None else found == number


@pytest.mark.parametrize("im_size, scale, fits", [((32, 32), 3, "1, 2, 4, 8, 16, 32"), ((28, 28), 8, "1, 2, 4, 7, "),
                                                  ((6, 9), 2, "use one of: 1, 3$"), ((8, 8), 0, "1, 2, 4, 8$")])
def test_scale_that_does_not_divide_the_sides_is_refused_naming_those_that_do(im_size, scale, fits):
    with pytest.raises(ValueError, match=f"--downsample_scale {scale} does not divide.*{fits}"):
        AddressableMemory(2, 50, 3, im_size, 2, scale)


def test_no_base_is_refused():
    with pytest.raises(ValueError, match="--n_basis must be 1 or larger, not 0"):
        AddressableMemory(2, 1, 3, (8, 8), 0)


def test_number_given_directly_is_obeyed_and_storage_tells_the_truth():
    memory = AddressableMemory(2, 1, 3, (4, 6), n_basis=20, downsample_scale=2, num_per_class=5)
    assert memory.images().shape == (10, 3, 4, 6) and memory.labels.tolist() == [0] * 5 + [1] * 5
    assert memory.storage() == {"floats": 20 * 18 + 10 * 20, "bytes": 4 * 560, "budget_floats": 144,
                                "budget_bytes": 576}


# combining and enlarging

def enlarged_by_hand(image, scale):
    """Bilinear enlargement of (h, w), pixel by pixel: pixel centres, edges repeated."""
    small = image.shape
    out = torch.zeros(small[0] * scale, small[1] * scale, dtype=image.dtype)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            for side_y, weight_y in neighbours(y, scale, small[0]):
                for side_x, weight_x in neighbours(x, scale, small[1]):
                    out[y, x] += weight_y * weight_x * image[side_y, side_x]
    return out


def neighbours(position, scale, size):
    """The two pixels next to a position of the enlarged line, and their weights."""
    place = max((position + 0.5) / scale - 0.5, 0)
    low = math.floor(place)
    return (low, 1 - (place - low)), (min(low + 1, size - 1), place - low)


@pytest.mark.parametrize("n_basis", [3, 30])               # fewer bases than images, and more: what is enlarged differs
@pytest.mark.parametrize("scale, im_size", [(1, (3, 2)), (2, (4, 6)), (3, (6, 3))])
def test_images_are_the_sums_over_all_bases_enlarged_pixel_by_pixel(n_basis, scale, im_size):
    memory = random_memory(im_size=im_size, n_basis=n_basis, scale=scale)
    images = memory.images()
    for n in range(12):
        for channel in range(2):
            combined = sum(memory.coefficients[n, b] * memory.bases[b, channel] for b in range(n_basis))
            torch.testing.assert_close(images[n, channel], enlarged_by_hand(combined, scale))


def test_all_images_lie_in_the_space_of_the_bases_and_stay_there_in_training():
    memory = random_memory(n_basis=3, num_per_class=20)
    optimizer = torch.optim.SGD(memory.param_groups(1e-3, momentum=0.5))
    for _ in range(20):
        optimizer.zero_grad()
        (memory.images() - 1).square().sum().backward()
        optimizer.step()
    assert torch.linalg.matrix_rank(memory.images().flatten(1)) == 3


@pytest.mark.parametrize("index", [slice(2, 9), slice(8, 100), slice(3, 3), torch.tensor([7, 0, 7]), [4, 1],
                                   torch.arange(12) % 3 == 0], ids=str)
@pytest.mark.parametrize("n_basis", [2, 30])
def test_picked_images_are_those_of_the_whole(index, n_basis):
    memory = random_memory(n_basis=n_basis)
    torch.testing.assert_close(memory.images(index), memory.images()[index])


def test_picked_images_multiply_their_own_coefficients_alone(monkeypatch):
    memory, asked = random_memory(), []
    combined = AddressableMemory._combined
    monkeypatch.setattr(AddressableMemory, "_combined", lambda self, rows: asked.append(rows) or combined(self, rows))
    memory.images(torch.tensor([3, 7])).square().sum().backward()
    assert [rows.shape for rows in asked] == [(2, 5)]
    assert memory.coefficients.grad.abs().sum(1).nonzero().flatten().tolist() == [3, 7]
    assert memory.bases.grad.flatten(1).abs().amin(1).min() > 0                  # all of them, whichever rows


# labels of any kind

def addressed_by_hand(memory, y):
    """x_i(y) = (y^T A_i) [b_1; ...; b_B] for each i, with A_i written out as (K, B)."""
    r, num_classes = memory.counts[0], len(memory.counts)
    images = []
    for i in range(r):
        matrix = torch.stack([memory.coefficients[c * r + i] for c in range(num_classes)])
        combined = torch.einsum("b,bchw->chw", y @ matrix, memory.bases)
        images.append(torch.stack([enlarged_by_hand(channel, memory.scale) for channel in combined]))
    return torch.stack(images)


@pytest.mark.parametrize("n_basis", [2, 30])
def test_one_hot_labels_and_classes_recall_exactly_the_images_of_training(n_basis):
    memory = random_memory(n_basis=n_basis)
    everything = memory.images()
    assert torch.equal(memory.recall(torch.eye(3, dtype=torch.float64)), everything)
    assert torch.equal(memory.recall(torch.arange(3)), everything)
    single = memory.float()
    assert torch.equal(single.recall(torch.eye(3)), single.images())


@pytest.mark.parametrize("labels", [
    [[0.0, 0.5, 0.5]], [[0.2, 0.3, 0.5], [-1.0, 2.0, 0.1]], [[0.0, 0.0, 0.0]]], ids=["mixture", "unseen", "none"])
def test_any_label_vector_recalls_its_combination_of_all_classes(labels):
    memory = random_memory()
    labels = torch.tensor(labels, dtype=torch.float64)
    by_hand = torch.cat([addressed_by_hand(memory, y) for y in labels])
    torch.testing.assert_close(memory.recall(labels), by_hand)


@pytest.mark.parametrize("which", [slice(1, 3), torch.tensor([3, 0]), [2]], ids=str)
@pytest.mark.parametrize("labels", [torch.tensor([2, 0]), torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]]).double()],
                         ids=["classes", "vectors"])
def test_some_images_of_each_label_are_those_of_all(labels, which):
    memory = random_memory()
    every = memory.recall(labels).unflatten(0, (2, 4))     # (m, r, C, H, W)
    torch.testing.assert_close(memory.recall(labels, which), every[:, which].flatten(0, 1))


def test_subset_of_the_classes_is_recalled_in_the_order_asked():
    memory = random_memory()
    parts = [memory.images(memory.class_slice(c)) for c in (2, 0)]
    torch.testing.assert_close(memory.recall(torch.tensor([2, 0])), torch.cat(parts))


def test_recalling_is_differentiable_in_the_labels_and_in_both_tables():
    memory = random_memory()
    labels = torch.randn(2, 3, generator=seeded(), dtype=torch.float64, requires_grad=True)
    weights = torch.randn(8, 2, 4, 6, generator=seeded(), dtype=torch.float64)
    (memory.recall(labels) * weights).sum().backward()
    expected = torch.tensor([[float((addressed_by_hand(memory, one) * weights[4 * m:4 * m + 4]).sum().detach())
                              for one in torch.eye(3, dtype=torch.float64)] for m in range(2)], dtype=torch.float64)
    torch.testing.assert_close(labels.grad, expected)
    assert memory.bases.grad.abs().min() > 0 and memory.coefficients.grad.abs().min() > 0


@pytest.mark.parametrize("labels", [torch.zeros(2, 4), torch.zeros(3), torch.zeros(2, 3, dtype=torch.int64),
                                    torch.zeros(1, 2, 3)], ids=str)
def test_labels_that_address_nothing_are_refused_saying_what_does(labels):
    with pytest.raises(ValueError, match=r"a memory of 3 classes is asked by .* or label vectors \(m, 3\), not"):
        random_memory().recall(labels)


# gradients of both tables

@pytest.mark.parametrize("n_basis", [3, 30])
def test_gradients_of_the_tables_are_the_analytic_ones(n_basis):
    memory = random_memory(n_basis=n_basis)
    images = memory.images()
    images.retain_grad()
    (images.sin() * images).sum().backward()
    bases, coefficients = memory.bases.detach(), memory.coefficients.detach()
    enlarged = torch.stack([torch.stack([enlarged_by_hand(c, 2) for c in base]) for base in bases]).flatten(1)
    torch.testing.assert_close(memory.coefficients.grad, images.grad.flatten(1) @ enlarged.T)     # dL/dA = G (B U)^T
    units = torch.eye(6, dtype=torch.float64).view(6, 2, 3)                                       # of a 2x3 channel
    enlarge = torch.stack([enlarged_by_hand(unit, 2).flatten() for unit in units])                # U, (6, 24)
    of_base = (coefficients.T @ images.grad.flatten(1)).view(n_basis, 2, 24) @ enlarge.T          # A^T G U^T
    torch.testing.assert_close(memory.bases.grad.flatten(2), of_base)


def test_optimizer_groups_are_the_two_tables():
    memory = random_memory()
    groups = memory.param_groups(0.3, momentum=0.5)
    assert [(group["name"], group["lr"], group["momentum"]) for group in groups] == \
        [("bases", 0.3, 0.5), ("coefficients", 0.3, 0.5)]
    assert groups[0]["params"][0] is memory.bases and groups[1]["params"][0] is memory.coefficients


def twins(memory):
    """The memory, and its images as pixels."""
    pixels = Pixels(10, memory.counts[0], 1, (8, 8))
    with torch.no_grad():
        pixels.pixels.copy_(memory.images())
    return memory, pixels


def assert_chain_rule(memory, pixels):
    """The gradients that reach the tables are those of the same images, handed on by the chain rule."""
    memory_images = memory.images()
    tables = memory.coefficients, memory.bases
    for table, expected in zip(tables, torch.autograd.grad(memory_images, tables, pixels.pixels.grad)):
        assert table.grad.abs().max() > 0
        torch.testing.assert_close(table.grad, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


@pytest.mark.parametrize("chunk, recompute", [(None, False), (7, False), (7, True)])
def test_distribution_matching_gives_the_hosts_loss_and_reaches_both_tables(digits, chunk, recompute):
    embed = get_network("ConvNetD2", *digits.spec, rng=seeded()).requires_grad_(False).embed
    augment = draw_siamese("scale_rotate", 10, seeded())
    target = class_means(embed, digits.sample(digits.classes, 20, seeded()), augment)
    sets = twins(AddressableMemory(10, 1, 1, (8, 8)).init_from(digits, "real", seeded()))
    losses = [(class_means(embed, one, augment, chunk, recompute) - target).square().sum() for one in sets]
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(*losses, rtol=1e-4, atol=0)
    assert_chain_rule(*sets)


def test_gradient_matching_gives_the_hosts_loss_and_reaches_both_tables(digits):
    net = get_network("ConvNetD2", *digits.spec, rng=seeded())
    gradients = class_gradients(net, Compute(), chunk=16)
    batch = digits.sample(digits.classes, 10, seeded())
    sets = twins(AddressableMemory(10, 1, 1, (8, 8)).init_from(digits, "real", seeded()))
    losses = [matching_over_classes(lambda *sides: class_distances(*sides).sum(), gradients, batch, own)
              for own in sets]
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(*losses, rtol=1e-4, atol=0)
    assert_chain_rule(*sets)


def test_enlarging_by_hand_is_what_pytorch_calls_bilinear_without_aligned_corners():
    image = torch.randn(3, 5, generator=seeded(), dtype=torch.float64)
    torch.testing.assert_close(enlarged_by_hand(image, 4), F.interpolate(
        image[None, None], size=(12, 20), mode="bilinear", align_corners=False)[0, 0])
