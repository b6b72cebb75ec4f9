"""Multi-formation as the form of a set: budget, order, parts, gradients, starts and clamping."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from condense.data import load_data
from condense.synthetic import Pixels, build_synthetic
from condense.synthetic.multi_formation import MultiFormation
from tests.synthetic.low_rank_sets import random_set
from tests.synthetic.multi_formation_sets import decoded_by_hand, random_mosaics, seeded, tiny_real

USABLE = {8: {1, 2, 3, 4, 8}, 28: {1, 2, 3, 4, 5, 6, 7, 10, 14, 28}, 7: {1, 2, 3, 4, 7}}


# the budget

@given(num_classes=st.integers(1, 5), ipc=st.integers(1, 5), channel=st.integers(1, 3),
       im_size=st.tuples(st.integers(1, 12), st.integers(1, 12)), factor=st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_budget_is_stored_to_the_float_and_a_class_has_its_squared_factor_of_images(
        num_classes, ipc, channel, im_size, factor):
    assume(all((factor - 1) * -(-side // factor) < side for side in im_size))
    synthetic = MultiFormation(num_classes, ipc, channel, im_size, factor)
    storage = synthetic.storage()
    assert storage["floats"] == storage["budget_floats"] == num_classes * ipc * channel * im_size[0] * im_size[1]
    assert synthetic.counts == [ipc * factor**2] * num_classes
    assert synthetic.images().shape == (num_classes * ipc * factor**2, channel, *im_size)
    assert synthetic.labels.tolist() == [c for c in range(num_classes) for _ in range(ipc * factor**2)]


@pytest.mark.parametrize("side", USABLE)
def test_factor_that_leaves_a_tile_nothing_to_store_is_refused_naming_the_next_smaller(side):
    for factor in range(1, side + 3):
        if factor in USABLE[side]:
            synthetic = MultiFormation(1, 1, 1, (side, side), factor)
            assert all(reaches_pixels(synthetic, number) for number in {0, factor - 1, factor**2 - 1})
            continue
        smaller = max(fits for fits in USABLE[side] if fits < factor)
        for im_size in ((side, side), (40 * side, side)):
            with pytest.raises(ValueError, match=rf"--factor {factor} makes tiles of .* --factor {smaller}$"):
                MultiFormation(1, 1, 1, im_size, factor)


def reaches_pixels(synthetic, number):
    return bool(torch.autograd.grad(synthetic.images([number]).sum(), synthetic.mosaics)[0].any())


def test_factor_below_one_is_refused():
    with pytest.raises(ValueError, match="--factor must be 1 or larger, not 0"):
        MultiFormation(2, 1, 1, (8, 8), 0)


# decoding

@pytest.mark.parametrize("num_classes, ipc", [(3, 2), (2, 1), (1, 3)])
@pytest.mark.parametrize("im_size, factor", [((8, 6), 1), ((8, 6), 2), ((8, 8), 3), ((7, 5), 3), ((4, 4), 4)])
def test_images_are_the_tiles_cut_and_enlarged_one_by_one_class_after_class(num_classes, ipc, im_size, factor):
    synthetic = random_mosaics(num_classes, ipc, im_size=im_size, factor=factor)
    expected = decoded_by_hand(synthetic.mosaics.detach(), factor, ipc, synthetic.grey)
    torch.testing.assert_close(synthetic.images(), expected, rtol=1e-12, atol=1e-12)


def test_factor_one_stores_the_images_themselves():
    synthetic = random_mosaics(factor=1)
    assert torch.equal(synthetic.images(), synthetic.mosaics)


def test_pixels_are_mosaics_of_one_tile(digits):
    mosaics, pixels = (build_synthetic(form, digits, 2, "real", seeded(), **options) for form, options in
                       (("multi_formation", {"factor": 1}), ("pixels", {})))
    assert isinstance(pixels, Pixels) and torch.equal(mosaics.images(), pixels.images())


INDICES = [slice(2, 9), slice(8, 16), slice(0, 8), slice(20, 100), slice(3, 3), slice(23, 2), slice(-4, None),
           slice(1, 22, 3), torch.tensor([17, 0, 17]), [4, 1], torch.arange(24) % 3 == 0]


@pytest.mark.parametrize("index", INDICES, ids=str)
@pytest.mark.parametrize("im_size", [(8, 6), (7, 5)])
def test_picked_images_are_those_of_the_whole(index, im_size):
    synthetic = random_mosaics(im_size=im_size)            # 3 classes of 8 images
    assert torch.equal(synthetic.images(index), synthetic.images()[index])


def test_slice_cuts_no_other_classes_and_reaches_its_own_tiles_alone(monkeypatch):
    synthetic, cut = random_mosaics(ipc=2), []
    tiles = MultiFormation._tiles
    monkeypatch.setattr(MultiFormation, "_tiles", lambda self, part: cut.append(len(part)) or tiles(self, part))
    synthetic.images(synthetic.class_slice(1)).sum().backward()
    assert cut == [2]                                      # mosaics
    assert synthetic.mosaics.grad.flatten(1).abs().amin(1).ne(0).tolist() == [False] * 2 + [True] * 2 + [False] * 2
    synthetic.mosaics.grad = None
    synthetic.images(slice(13, 14)).sum().backward()       # class 1, tile 2 (below, left), mosaic 1
    reached = synthetic.mosaics.grad[3, 0].ne(0)
    assert reached[4:, :3].all() and reached.sum() == 4 * 3 and synthetic.mosaics.grad.ne(0).any((1, 2, 3)).sum() == 1


@pytest.mark.parametrize("factor, im_size", [(2, (4, 6)), (3, (5, 6))])
def test_gradient_of_the_stored_pixels_equals_central_differences(factor, im_size):
    synthetic = random_mosaics(2, 1, 1, im_size, factor)
    weights = torch.randn(synthetic.images().shape, generator=seeded(1), dtype=torch.float64)

    def loss():
        return ((synthetic.images().sin() + synthetic.images()) * weights).sum()

    loss().backward()
    step = 1e-6
    with torch.no_grad():
        flat = synthetic.mosaics.view(-1)
        for place in range(flat.numel()):
            kept = flat[place].item()
            values = []
            for moved in (kept + step, kept - step):
                flat[place] = moved
                values.append(loss())
            flat[place] = kept
            slope = (values[0] - values[1]) / (2 * step)
            assert synthetic.mosaics.grad.view(-1)[place].item() == pytest.approx(slope.item(), abs=1e-7)


@pytest.mark.parametrize("factor", [2, 3])
def test_decoding_commutes_with_normalisation(factor):
    """A set kept raw with grey 0.5 and normalised after decoding has the images of the same set kept normalised."""
    real, inside = tiny_real(), build_synthetic("multi_formation", tiny_real(), 2, "real", seeded(), factor=factor)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (real.mean, real.std))
    raw = MultiFormation(3, 2, 3, (8, 6), factor)
    raw.load_state_dict({**inside.state_dict(), "mosaics": inside.mosaics * std + mean,
                         "grey": torch.full((3, 1, 1), 0.5)})
    torch.testing.assert_close((raw.images() - mean) / std, inside.images(), rtol=1e-4, atol=1e-5)


# starts

def shrunk_by_hand(image, size):
    """Nearest neighbour as published: pixel i of a side comes from pixel floor(i * large / small)."""
    rows, columns = ([i * large // small for i in range(small)] for small, large in zip(size, image.shape[1:]))
    return image[:, rows][:, :, columns]


@pytest.mark.parametrize("im_size, factor, sides", [((8, 6), 2, ((4, 4), (3, 3))), ((8, 8), 3, ((3, 3, 2), (3, 3, 2))),
                                                    ((7, 10), 3, ((3, 3, 1), (4, 4, 2))), ((8, 6), 1, ((8,), (6,)))])
def test_real_start_shows_another_image_of_the_class_in_every_tile_in_the_order_of_decoding(im_size, factor, sides):
    real, ipc = tiny_real(im_size=im_size), 2
    synthetic = MultiFormation(3, ipc, 3, im_size, factor).init_from(real, "real", seeded())
    batch = real.sample(real.classes, ipc * factor**2, seeded())
    images, position = batch.images(), 0
    for c in range(3):
        for row, height in enumerate(sides[0]):
            for column, width in enumerate(sides[1]):
                for mosaic in synthetic.mosaics[c * ipc:(c + 1) * ipc]:
                    top, left = sum(sides[0][:row]), sum(sides[1][:column])
                    tile = mosaic[:, top:top + height, left:left + width]
                    assert torch.equal(tile, shrunk_by_hand(images[position], (height, width)))
                    position += 1
    assert torch.equal(batch.labels, synthetic.labels) and len(batch.index.unique()) == position


def test_decoded_real_start_is_the_real_images_shrunk_and_enlarged(digits):
    synthetic = build_synthetic("multi_formation", digits, 3, "real", seeded(), factor=2)
    small = F.interpolate(digits.sample(digits.classes, 12, seeded()).images(), (4, 4), mode="nearest")
    expected = F.interpolate(small, (8, 8), mode="bilinear", align_corners=False)
    torch.testing.assert_close(synthetic.images(), expected)


def test_noise_start_is_raw_noise_around_mid_grey_as_published():
    real = tiny_real()
    synthetic = build_synthetic("multi_formation", real, 50, "noise", seeded())
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (real.mean, real.std))
    raw = synthetic.mosaics * std + mean
    assert raw.min() > -1e-5 and raw.max() < 1 + 1e-5
    assert raw.mean().item() == pytest.approx(0.5, abs=0.01) and raw.std().item() == pytest.approx(0.24, abs=0.005)
    assert (raw > 1 - 1e-5).float().mean().item() == pytest.approx(0.0228, abs=0.004)       # clamped: P(N > 2)


@pytest.mark.parametrize("how", MultiFormation.INITS)
def test_grey_is_mid_grey_of_the_data_and_of_whitened_ones_their_mean(digits, how):
    synthetic = build_synthetic("multi_formation", tiny_real(), 1, how, seeded())
    grey = [(0.5 - mean) / std for mean, std in zip(tiny_real().mean, tiny_real().std)]
    assert synthetic.grey.flatten().tolist() == pytest.approx(grey, abs=1e-5)
    whitened = build_synthetic("multi_formation", load_data("Digits", zca=True), 1, how, seeded(), factor=3)
    assert whitened.grey.item() == 0 and whitened.images().isfinite().all()


@pytest.mark.parametrize("how", MultiFormation.INITS)
def test_start_depends_on_the_generator_alone(digits, how):
    before = torch.get_rng_state()
    one, two, other = (build_synthetic("multi_formation", digits, 2, how, seeded(s)).images() for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_unknown_start_and_too_few_images_for_all_tiles_are_refused():
    with pytest.raises(ValueError, match="unknown start 'reel'; did you mean real"):
        random_mosaics().init_from(tiny_real(), "reel", seeded())
    with pytest.raises(ValueError, match="--ipc 10 .* needs 40 images .* class 'bee' has 37; use --ipc 9"):
        build_synthetic("multi_formation", tiny_real(), 10, "real", seeded())


# clamping

@pytest.mark.parametrize("form, name", [("multi_formation", "mosaics"), ("pixels", "pixels")])
def test_clamping_holds_each_channel_between_its_own_bounds_and_leaves_the_rest_alone(form, name):
    synthetic = build_synthetic(form, tiny_real(), 3, "noise", seeded())
    stored = dict(synthetic.named_parameters())[name]
    before, low, high = stored.detach().clone(), [-0.5, -1.0, 0.1], [0.5, 0.2, 0.3]
    synthetic.clamp_(low, torch.tensor(high))
    for channel in range(3):
        expected = [min(max(value, low[channel]), high[channel]) for value in before[:, channel].flatten().tolist()]
        assert stored[:, channel].flatten().tolist() == pytest.approx(expected)
    assert stored.requires_grad and stored.is_leaf
    synthetic.clamp_(0.15, 0.2)                            # one bound for all
    assert stored.min() >= 0.15 and stored.max() <= 0.2


def test_forms_that_store_no_pixels_are_left_as_they_are_by_clamping():
    synthetic = random_set()
    before = synthetic.images().clone()
    synthetic.clamp_(-0.1, 0.1)
    assert torch.equal(synthetic.images(), before)
