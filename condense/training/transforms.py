"""Augmentations that work on pixels: images leave the normalised space, are changed, and come back.

DC-BENCH's (Cui et al., NeurIPS 2022 Datasets and Benchmarks) are torchvision's, one draw for a whole minibatch of 8-bit
pixels. IDC's for ImageNet (Kim et al., ICML 2022) is drawn per image, on float pixels that nothing clamps.
"""

import math
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from condense.core.errors import InputError
from condense.data.space import Space

PER_MINIBATCH = ("autoaugment", "randaugment", "jitter", "cifar")
PIXEL_KINDS = (*PER_MINIBATCH, "imagenet")
PADDING, HOLE = 4, 16                      # pixels
JITTER, HUE = 0.4, 0.2
CROP_AREA, CROP_RATIO, ATTEMPTS = (0.5, 1.0), (3 / 4, 4 / 3), 10
LUMA = (0.299, 0.587, 0.114)
LIGHTING = 0.1                             # standard deviation along the axes of ImageNet's colours, AlexNet's way
COLOUR_VALUES = (0.2175, 0.0188, 0.0045)   # eigenvalues, and below eigenvectors in columns
COLOUR_VECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


def _constant(values, like):
    """Return (nested) tuples as a tensor of the kind of `like`; one copy to its device, once."""
    return _on_device(values, like.dtype, like.device)


@cache
def _on_device(values, dtype, device):
    return torch.tensor(values, dtype=dtype).to(device)


def require_pixels(kind: str, pixels: Space | None) -> None:
    """Raise ValueError where augmentation `kind` cannot work on data of the `Space` `pixels` (None: unknown)."""
    if kind in PIXEL_KINDS and pixels is None:
        raise InputError(f"augmentation {kind} works on pixels; give their space with pixels=Space.of(real)")
    if kind == "imagenet" and len(pixels.mean) != 3:      # type: ignore[union-attr, arg-type]
        raise InputError("augmentation imagenet is for colour images; choose none, siamese or composed for grey ones")


@torch.no_grad()
def augment_pixels(images: Float[Tensor, "n c h w"], kind: str, strategy: str, pixels: Space,
                   host: torch.Generator | None, rng: torch.Generator | None) -> Float[Tensor, "n c h w"]:
    """Return a minibatch (N, C, H, W) augmented by `kind`, one of PIXEL_KINDS.

    `pixels` is the `Space` of the images. `host` is the CPU generator that seeds torchvision's draws, `rng` one on the
    images' device; None, for both, is PyTorch's own.
    """
    if kind == "imagenet":
        return pixels.encode(augment_imagenet(pixels.decode(images), rng))
    levels = (pixels.decode(images).clamp(0, 1) * 255).round().to(torch.uint8)
    seed = int(torch.randint(2**62, (), generator=host))
    with torch.random.fork_rng(devices=[]):               # torchvision draws from the global generator, on the host
        torch.default_generator.manual_seed(seed)
        levels = _transform(kind, strategy, tuple(images.shape[-2:]))(levels)
        images = pixels.encode(levels.to(images.dtype) / 255)
        return _hole(images) if kind == "cifar" and strategy == "cutout" else images


@cache
def _transform(kind, strategy, im_size):
    from torchvision.transforms import v2  # here: importing it takes a second

    if kind == "autoaugment":
        return v2.AutoAugment(v2.AutoAugmentPolicy(strategy))
    if kind == "randaugment":
        return v2.RandAugment(num_ops=1)
    crop = [v2.RandomCrop(im_size, padding=PADDING), v2.RandomHorizontalFlip()]
    return v2.Compose([*crop, v2.ColorJitter(JITTER, JITTER, JITTER, HUE)] if kind == "jitter" else crop)


def _hole(images):
    """Fill a square of 16 pixels, of small images half a side, with the mean colour; the same one for all images."""
    ranges = []
    for side in images.shape[-2:]:
        half, centre = min(HOLE, side // 2) // 2, int(torch.randint(side, ()))
        ranges.append(slice(max(0, centre - half), min(side, centre + half)))
    images[..., ranges[0], ranges[1]] = 0
    return images


def augment_imagenet(pixels: Float[Tensor, "n c h w"], rng: torch.Generator | None) -> Float[Tensor, "n c h w"]:
    """Return pixels (N, 3, H, W) with random resized crop, flip, colour jitter and lighting, all drawn per image."""
    def uniforms(*shape):
        return torch.rand(len(pixels), *shape, generator=rng, device=pixels.device, dtype=pixels.dtype)

    pixels = resized_crops(pixels, *_boxes(pixels.shape[-2:], uniforms(ATTEMPTS, 2), uniforms(2)))
    pixels = torch.where(uniforms(1, 1, 1) < 0.5, pixels.flip(3), pixels)
    pixels = jitter(pixels, 1 + JITTER * (2 * uniforms(3) - 1), uniforms(3).argsort(1))
    alphas = torch.randn(len(pixels), 3, generator=rng, device=pixels.device, dtype=pixels.dtype)
    return pixels + lighting(LIGHTING * alphas)[:, :, None, None]


def _boxes(im_size, attempts, places):
    """Return (top, left, height, width) of each image's crop, (N,) each, from uniforms (N, 10, 2) and (N, 2).

    Half of the area up to all of it, at 3:4 to 4:3; the first of ten attempts that fits, else the largest that does.
    """
    high, wide = im_size
    area = high * wide * (CROP_AREA[0] + (CROP_AREA[1] - CROP_AREA[0]) * attempts[..., 0])
    low, top = (math.log(ratio) for ratio in CROP_RATIO)
    ratio = torch.exp(low + (top - low) * attempts[..., 1])
    height, width = (area / ratio).sqrt().round(), (area * ratio).sqrt().round()
    fits = (height <= high) & (width <= wide)
    first = fits.int().argmax(1, keepdim=True)
    whole = min(high, round(wide / CROP_RATIO[0])), min(wide, round(high * CROP_RATIO[1]))
    height, width = (side.gather(1, first)[:, 0].where(fits.any(1), torch.full_like(side[:, 0], least))
                     for side, least in zip((height, width), whole))
    top, left = ((most - side + 1).mul(u).floor().clamp(max=most - side)
                 for most, side, u in zip(im_size, (height, width), places.unbind(1)))
    centred = ~fits.any(1)
    return ((high - height) / 2).floor().where(centred, top), ((wide - width) / 2).floor().where(centred, left), \
        height, width


def resized_crops(pixels: Float[Tensor, "n c h w"], top: Float[Tensor, " n"], left: Float[Tensor, " n"],
                  height: Float[Tensor, " n"], width: Float[Tensor, " n"]) -> Float[Tensor, "n c h w"]:
    """Return each image's own crop enlarged to the full size: bilinear, pixel centres aligned; boxes (N,)."""
    grid = [_positions(side, first, length) for side, first, length
            in zip(pixels.shape[-2:], (top, left), (height, width))]
    rows, columns = torch.broadcast_tensors(grid[0][:, :, None], grid[1][:, None])              # (N, H, W)
    return F.grid_sample(pixels, torch.stack((columns, rows), 3), mode="bilinear", padding_mode="border",
                         align_corners=False)


def _positions(side, first, length):
    """Return (N, side) in [-1, 1]: where each output pixel lies, within the `length` pixels from `first`."""
    centre = (torch.arange(side, device=first.device, dtype=first.dtype) + 0.5) * (length / side)[:, None] - 0.5
    inside = torch.minimum(centre.clamp(min=0), length[:, None] - 1) + first[:, None]
    return (2 * inside + 1) / side - 1


def jitter(pixels: Float[Tensor, "n c h w"], factors: Float[Tensor, "n 3"],
           order: Int[Tensor, "n 3"]) -> Float[Tensor, "n c h w"]:
    """Return pixels with brightness, contrast and saturation scaled by `factors` (N, 3), in each image's own `order`.

    `order` (N, 3) are permutations of 0, 1, 2 for the three; each stretches an image away from black, from its mean
    grey, and from its own greys. Nothing is clamped.
    """
    luma = _constant(LUMA, pixels)[:, None, None]
    for operation in order.unbind(1):
        operation = operation[:, None]
        factor = factors.gather(1, operation)[..., None, None]
        operation = operation[..., None, None]
        grey = (pixels * luma).sum(1, keepdim=True)
        pole = torch.where(operation == 2, grey, grey.mean((2, 3), keepdim=True) * (operation == 1))
        pixels = torch.lerp(pole.expand_as(pixels), pixels, factor)
    return pixels


def lighting(alphas: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Return the colours (N, 3) to add for steps `alphas` (N, 3) along the axes of ImageNet's colours."""
    return (alphas * _constant(COLOUR_VALUES, alphas)) @ _constant(COLOUR_VECTORS, alphas).T
