"""Multi-formation's decoding: tiles, order, enlargement, padding and gradients."""

import pytest
import torch
import torch.nn.functional as F

from condense.synthetic.multi_formation import decode
from tests.synthetic.multi_formation_sets import enlarged, some


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
@pytest.mark.parametrize("height, width", [(8, 8), (8, 6), (7, 10)])
def test_tiles_are_cut_row_by_row_enlarged_and_ordered_tile_by_tile(factor, height, width):
    images = some(3, 2, height, width)
    tall, wide = -(-height // factor), -(-width // factor)
    canvas = torch.full((3, 2, tall * factor, wide * factor), 0.25, dtype=torch.float64)
    canvas[:, :, :height, :width] = images
    expected = []
    for row in range(factor):
        for column in range(factor):
            for image in canvas:                          # tile slow, image fast
                tile = image[:, row * tall:(row + 1) * tall, column * wide:(column + 1) * wide]
                expected.append(enlarged(tile, height, width))
    decoded = decode(images, factor, pad=0.25)
    assert decoded.shape == (3 * factor**2, 2, height, width)
    assert torch.allclose(decoded, torch.stack(expected), atol=1e-12)


def test_factor_one_is_the_images_themselves():
    images = some()
    assert decode(images, 1) is images


def test_tiles_of_a_constant_image_are_constant_but_for_padding_which_is_mid_grey():
    images = torch.full((2, 1, 7, 7), 0.9, dtype=torch.float64)
    decoded = decode(images, 2).view(4, 2, 1, 7, 7)
    assert torch.allclose(decoded[0], torch.tensor(0.9, dtype=torch.float64))
    assert torch.allclose(decoded[3, ..., -1, :], torch.tensor(0.5, dtype=torch.float64))      # 4 - 3 lines of it
    even = decode(torch.full((2, 1, 8, 8), 0.9, dtype=torch.float64), 2)
    assert torch.allclose(even, torch.tensor(0.9, dtype=torch.float64))


@pytest.mark.parametrize("factor", [2, 3])
def test_decoding_commutes_with_normalisation_where_the_padding_is_normalised_too(factor):
    images = some(2, 3, 8, 8).sigmoid()
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in ([0.5, 0.4, 0.3], [0.2, 0.3, 0.4]))

    def normalise(pixels):
        return (pixels - mean[:, None, None]) / std[:, None, None]

    inside = decode(normalise(images), factor, pad=((0.5 - mean) / std).tolist())
    assert torch.allclose(inside, normalise(decode(images, factor)), atol=1e-12)


@pytest.mark.parametrize("side, factor", [(8, 2), (8, 3), (7, 3)])
def test_gradients_reach_every_stored_pixel_and_are_right(side, factor):
    images = some(2, 1, side, side).requires_grad_()
    decode(images, factor).sum().backward()
    assert bool((images.grad > 0).all())
    assert torch.autograd.gradcheck(lambda x: decode(x, factor), some(1, 1, side, side).requires_grad_())


def test_images_drawn_as_mosaics_come_back_as_small_images_enlarged():
    small = some(8, 3, 4, 4).view(4, 2, 3, 4, 4)            # tile, image
    mosaic = torch.cat([torch.cat([small[0], small[1]], 3), torch.cat([small[2], small[3]], 3)], 2)
    expected = F.interpolate(small.flatten(0, 1), (8, 8), mode="bilinear", align_corners=False)
    assert torch.equal(decode(mosaic, 2), expected)


def test_labels_follow_as_repeated_labels():
    labels = torch.tensor([0, 0, 1, 1])
    images = labels.double().view(4, 1, 1, 1).expand(4, 1, 6, 6)
    assert torch.equal(decode(images, 3)[:, 0, 0, 0], labels.repeat(9).double())


@pytest.mark.parametrize("factor", [0, -1, 9])
def test_factors_that_leave_no_tile_are_refused(factor):
    with pytest.raises(ValueError, match=r"between 1 and 6, not -?\d+$"):
        decode(some(), factor)
