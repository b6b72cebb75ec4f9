"""Differentiable Siamese augmentation (DSA): first drawn as a record, then applied.

Zhao & Bilen, "Dataset Condensation with Differentiable Siamese Augmentation", ICML 2021; the operators
follow differentiable augmentation for GANs (Zhao et al., NeurIPS 2020).

A record divides images into groups. All images of one group share one draw: with one group per class
and the same record for real and synthetic images, the augmentation is Siamese; with one group per image
it is the ordinary augmentation of network training. Images are in normalised space, so whatever an
operator leaves empty is filled with 0, the data set's mean colour, as in the published method.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from condense.core.errors import InputError
from condense.core.randomness import generator_on
from condense.core.registry import unknown
from condense.core.types import Groups

FULL_STRATEGY = "color_crop_cutout_flip_scale_rotate"
DIGIT_STRATEGY = "color_crop_cutout_scale_rotate"          # a mirrored digit is no digit
DRAWS = 3                                                  # uniforms per group and operator, at most


@dataclass(frozen=True)
class Strengths:
    """How strong each operator is; the published values. Reads like the reference's parameter object."""

    prob_flip: float = 0.5
    ratio_scale: float = 1.2
    ratio_rotate: float = 15.0                             # degrees
    ratio_crop_pad: float = 0.125
    ratio_cutout: float = 0.5
    brightness: float = 1.0
    saturation: float = 2.0
    contrast: float = 0.5


# Operators: images (N, C, H, W), uniforms u (N, 3) or (1, 3) in [0, 1), strengths -> images of the same shape.

def brightness(x: Float[Tensor, "n c h w"], u: Float[Tensor, " #n"], strengths: Strengths) -> Float[Tensor, "n c h w"]:
    """Add one offset in ±brightness/2 to all pixels of an image."""
    return x + (_column(u) - 0.5) * strengths.brightness


def saturation(x: Float[Tensor, "n c h w"], u: Float[Tensor, " #n"], strengths: Strengths) -> Float[Tensor, "n c h w"]:
    """Stretch a pixel's channels around their mean by a factor in [0, saturation); nothing for one channel."""
    if x.shape[1] == 1:
        return x
    grey = x.mean(1, keepdim=True)
    return torch.lerp(grey, x, _column(u) * strengths.saturation)


def contrast(x: Float[Tensor, "n c h w"], u: Float[Tensor, " #n"], strengths: Strengths) -> Float[Tensor, "n c h w"]:
    """Stretch an image around its mean by a factor in [contrast, 1 + contrast)."""
    mean = x.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, x, _column(u) + strengths.contrast)


def color(x: Float[Tensor, "n c h w"], u: Float[Tensor, "#n 3"], strengths: Strengths) -> Float[Tensor, "n c h w"]:
    """Brightness, then saturation, then contrast."""
    x = brightness(x, u[:, 0], strengths)
    x = saturation(x, u[:, 1], strengths)
    return contrast(x, u[:, 2], strengths)


def crop(x: Float[Tensor, "n c h w"], u: Float[Tensor, "#n 3"], strengths: Strengths) -> Float[Tensor, "n c h w"]:
    """Shift by up to an eighth of the side: pixel (i, j) comes from (i + t_v, j + t_h), zero from outside."""
    for axis, uniform in ((2, u[:, 0]), (3, u[:, 1])):
        side = x.shape[axis]
        most = int(side * strengths.ratio_crop_pad + 0.5)
        shift = _integers(uniform, 2 * most + 1) - most
        source = torch.arange(side, device=x.device) + shift[:, None]          # (N or 1, side)
        inside = (source >= 0) & (source < side)
        shape = [source.shape[0], 1, 1, 1]
        shape[axis] = side
        index = source.clamp(0, side - 1).view(shape).expand_as(x)
        x = x.gather(axis, index) * inside.view(shape)
    return x


def cutout(x: Float[Tensor, "n c h w"], u: Float[Tensor, "#n 3"], strengths: Strengths) -> Float[Tensor, "n c h w"]:
    """Erase a rectangle of half the side lengths around a random centre, cut off at the border."""
    erased = True
    for axis, uniform in ((2, u[:, 0]), (3, u[:, 1])):
        side = x.shape[axis]
        size = int(side * strengths.ratio_cutout + 0.5)
        first = _integers(uniform, side - size % 2 + 1) - size // 2            # even sizes: centres 0..side
        offset = torch.arange(side, device=x.device) - first[:, None]
        shape = [offset.shape[0], 1, 1, 1]
        shape[axis] = side
        erased = erased & ((offset >= 0) & (offset < size)).view(shape)
    return x.masked_fill(erased, 0)                                            # type: ignore[arg-type]


def flip(x: Float[Tensor, "n c h w"], u: Float[Tensor, "#n 3"], strengths: Strengths) -> Float[Tensor, "n c h w"]:
    """Mirror left and right with probability `prob_flip`."""
    return torch.where(_column(u[:, 0]) < strengths.prob_flip, x.flip(3), x)


def scale(x: Float[Tensor, "n c h w"], u: Float[Tensor, "#n 3"], strengths: Strengths) -> Float[Tensor, "n c h w"]:
    """Zoom each axis by its own factor in [1/ratio, ratio); factors above 1 shrink the content."""
    ratio = strengths.ratio_scale
    factor = u[:, :2] * (ratio - 1 / ratio) + 1 / ratio
    return _warp(x, torch.diag_embed(factor))


def rotate(x: Float[Tensor, "n c h w"], u: Float[Tensor, "#n 3"], strengths: Strengths) -> Float[Tensor, "n c h w"]:
    """Turn by an angle in ±ratio_rotate degrees; positive angles anticlockwise on screen."""
    angle = (u[:, 0] - 0.5) * (2 * math.radians(strengths.ratio_rotate))
    cos, sin = angle.cos(), angle.sin()
    return _warp(x, torch.stack((cos, -sin, sin, cos), 1).view(-1, 2, 2))


OPERATORS = {"color": color, "crop": crop, "cutout": cutout, "flip": flip, "scale": scale, "rotate": rotate}


def _column(u):
    return u.view(-1, 1, 1, 1)


def _integers(u, count):
    """Map uniforms to the integers 0..count-1; the clamp catches products that round up to `count`."""
    return (u * count).floor().clamp(max=count - 1).long()


def _warp(x, matrix):
    """Sample `x` where the 2x2 `matrix` sends normalised (x, y): bilinear, zero outside; (N or 1, 2, 2)."""
    theta = F.pad(matrix, (0, 1)).expand(len(x), -1, -1).to(x.dtype)
    grid = F.affine_grid(theta, x.shape, align_corners=False)
    if torch.are_deterministic_algorithms_enabled() and x.is_cuda:
        return sample_bilinear(x, grid)                    # grid_sample's backward adds in random order there
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def sample_bilinear(x: Float[Tensor, "n c h w"], grid: Float[Tensor, "n p q 2"]) -> Float[Tensor, "n c p q"]:
    """Bilinear sampling with zeros outside by four gathers; equals `grid_sample` (align_corners=False).

    x (N, C, H, W), grid (N, H', W', 2) in [-1, 1] -> (N, C, H', W').
    """
    height, width = x.shape[2:]
    column = (grid[..., 0] + 1) * (width / 2) - 0.5
    row = (grid[..., 1] + 1) * (height / 2) - 0.5
    left, top = column.floor(), row.floor()
    pixels = x.flatten(2)
    total = 0
    for r, c in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        weight = (1 - (row - r).abs()) * (1 - (column - c).abs())
        inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
        index = r.clamp(0, height - 1).long() * width + c.clamp(0, width - 1).long()
        values = pixels.gather(2, index.flatten(1)[:, None].expand(-1, x.shape[1], -1))
        total = total + values.view(*x.shape[:2], *index.shape[1:]) * (weight * inside)[:, None]
    return total                                                               # type: ignore[return-value]


@dataclass(frozen=True)
class Record:
    """What was drawn for `num_groups` groups of images; calling it augments images.

    `stages` run in order. A stage lists (operator name, groups, uniforms (len(groups), 3)) with disjoint
    groups; a group that a stage does not list stays as it is. Replay it on any images whose groups it knows.
    """

    num_groups: int
    stages: tuple = ()
    strengths: Strengths = field(default_factory=Strengths)

    def __call__(self, images: Float[Tensor, "n c h w"], groups: Groups | None = None) -> Float[Tensor, "n c h w"]:
        """Return augmented `images` (N, C, H, W), differentiable in them.

        `groups` (N,) names each image's group, on the host (array or list); by default image i belongs to
        group i, or every image to the only group there is.
        """
        if groups is None and len(images) != self.num_groups and self.num_groups != 1:
            raise InputError(f"{len(images)} images, but the augmentation was drawn for {self.num_groups} groups")
        for entries in self.stages:
            images = self._apply(images, entries, groups)
        return images

    def _apply(self, images, entries, groups):
        if len(entries) == 1 and len(entries[0][1]) == self.num_groups and groups is None:
            name, _, uniforms = entries[0]
            return OPERATORS[name](images, uniforms.to(images.dtype), self.strengths)
        groups = np.arange(len(images)) % self.num_groups if groups is None else np.asarray(groups)
        entry_of, row_of = self._tables(entries)
        entry = entry_of[groups]
        parts, order = [], []
        for number in np.unique(entry):
            chosen = np.flatnonzero(entry == number)
            whole = len(chosen) == len(images)
            part = images if whole else images[_to(chosen, images.device)]
            if number >= 0:
                name, _, uniforms = entries[number]
                rows = row_of[groups[chosen]]
                shared = rows[:1] if (rows == rows[0]).all() else rows
                drawn = uniforms[_to(shared, uniforms.device)].to(images.dtype)
                part = OPERATORS[name](part, drawn, self.strengths)
            if whole:
                return part
            parts.append(part)
            order.append(chosen)
        return torch.cat(parts)[_to(np.argsort(np.concatenate(order)), images.device)]

    def _tables(self, entries):
        """Which entry (-1: none) and which row of its uniforms belong to each group."""
        entry_of, row_of = np.full(self.num_groups, -1), np.zeros(self.num_groups, dtype=np.int64)
        for number, (_, members, _) in enumerate(entries):
            entry_of[members] = number
            row_of[members] = np.arange(len(members))
        return entry_of, row_of


def _to(index, device):
    return torch.from_numpy(np.ascontiguousarray(index)).to(device, non_blocking=True)


def parse_strategy(strategy: str | None) -> tuple[str, ...]:
    """Return the operators of a strategy string such as 'color_crop_flip'; none for None, 'none' or ''.

    Raises ValueError naming the nearest operator for an unknown token.
    """
    if strategy in (None, "", "none", "None"):
        return ()
    names = tuple(strategy.split("_"))
    for name in names:
        if name not in OPERATORS:
            raise InputError(unknown("augmentation", name, OPERATORS))
    return names


def default_strategy(dataset: str) -> str:
    """Return the published strategy: without flip for digits, the full one otherwise."""
    return DIGIT_STRATEGY if dataset in ("MNIST", "SVHN", "Digits") else FULL_STRATEGY


def draw_siamese(strategy: str | None, num_groups: int, rng: torch.Generator | None = None,
                 device: torch.device | str = "cpu", mode: str = "S", strengths: Strengths = Strengths()) -> Record:
    """Draw one augmentation for each of `num_groups` groups of images.

    mode 'S': every group gets one operator of the strategy, chosen uniformly; 'M': all, in the order written.
    Operators are chosen on the host, magnitudes drawn on `device`. An empty strategy draws the identity.
    """
    names = _operators(strategy, mode)
    if not names:
        return Record(num_groups, (), strengths)
    if mode == "M":
        uniforms = _uniforms(len(names), num_groups, rng, device)
        everyone = np.arange(num_groups)
        return Record(num_groups, tuple(((n, everyone, u),) for n, u in zip(names, uniforms)), strengths)
    choice = torch.randint(len(names), (num_groups,), generator=rng).numpy()
    uniforms = _uniforms(1, num_groups, rng, device)[0]
    return Record(num_groups, (_entries(names, choice, uniforms),), strengths)


def draw_independent(strategy: str | None, num_images: int, rng: torch.Generator | None = None,
                     device: torch.device | str = "cpu", mode: str = "S", strengths: Strengths = Strengths()) -> Record:
    """Draw the augmentation of a training minibatch: one operator for all, its magnitudes per image."""
    names = _operators(strategy, mode)
    if not names:
        return Record(num_images, (), strengths)
    if mode == "S":
        names = (names[int(torch.randint(len(names), (), generator=rng))],)
    uniforms = _uniforms(len(names), num_images, rng, device)
    everyone = np.arange(num_images)
    return Record(num_images, tuple(((n, everyone, u),) for n, u in zip(names, uniforms)), strengths)


def one_operator_each(names: Sequence[str], choice: Groups, uniforms: Float[Tensor, "g 3"],
                      strengths: Strengths = Strengths()) -> Record:
    """Build the record in which group g has operator `names[choice[g]]` with `uniforms[g]` (G, 3)."""
    return Record(len(choice), (_entries(names, np.asarray(choice), uniforms),), strengths)


def _operators(strategy, mode):
    if mode not in ("S", "M"):
        raise InputError(f"augmentation mode must be S (one operator) or M (all of them), not {mode!r}")
    return parse_strategy(strategy)


def _entries(names, choice, uniforms):
    entries = []
    for number in np.unique(choice):
        members = np.flatnonzero(choice == number)
        rows = uniforms if len(members) == len(choice) else uniforms[_to(members, uniforms.device)]
        entries.append((names[number], members, rows))
    return tuple(entries)


def _uniforms(stages, num_groups, rng, device):
    return torch.rand(stages, num_groups, DRAWS, generator=generator_on(device, rng), device=device)
