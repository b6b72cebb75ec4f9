"""Both augmentations as the reference calls them: `DiffAugment` with its parts, and DC's `augment`."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from condense.augmentation import siamese
from condense.augmentation.classic import CLASSIC_DEFAULTS, augment_classic, classic_strategy, parse_classic
from condense.augmentation.siamese import Strengths
from condense.core.errors import InputError
from condense.core.registry import lookup, unknown

MODES = {"S": "one operator, chosen at random", "M": "all operators, one after another"}


class ParamDiffAug:
    """How strong each operator is, as attributes to be changed at will, and how operators combine.

    `aug_mode` is S (one operator at a time) or M (all in the order written). `DiffAugment` notes in `Siamese`
    whether images share their draws and in `latestseed` the seed of the next draw, -1 for none.
    """

    Siamese: bool
    latestseed: int

    def __init__(self) -> None:
        self.aug_mode = "S"
        vars(self).update(asdict(Strengths()))


def set_seed_DiffAug(param: ParamDiffAug) -> None:
    """Seed PyTorch's global generator with `param.latestseed` and advance that by one; nothing for -1.

    Operators here do not need it, they draw from a generator of their own; a script's own ones may.
    """
    if param.latestseed != -1:
        torch.manual_seed(param.latestseed)
        param.latestseed += 1


def DiffAugment(x: Float[Tensor, "n c h w"], strategy: str | None = "", seed: int | np.integer = -1,
                param: ParamDiffAug | None = None) -> Float[Tensor, "n c h w"]:
    """Return `x` (N, C, H, W) augmented by `strategy`, operators of AUGMENT_FNS joined by _; differentiable.

    With `seed` 0 or larger all images share one draw, which is that seed's whatever the batch, and the global
    generator is left alone; otherwise one operator serves the batch and every image has its own magnitudes,
    from the global generator. `param` is a `ParamDiffAug` (None: published strengths). No strategy, none or
    None: `x` itself. Raises ValueError for an unknown operator or mode.
    """
    if strategy in (None, "", "none", "None"):
        return x
    param = ParamDiffAug() if param is None else param
    names = strategy.split("_")
    operators = [lookup(AUGMENT_FNS, name, "augmentation") for name in names]
    if param.aug_mode not in MODES:
        raise InputError(unknown("aug_mode", param.aug_mode, MODES))
    param.Siamese, param.latestseed = bool(seed >= 0), int(seed) if seed >= 0 else -1
    if param.aug_mode == "S":
        operators = [operators[int(torch.randint(len(operators), (), generator=_generator(param)))]]
    for functions in operators:
        for function in functions:
            x = function(x, param)
    return x.contiguous()


def rand_scale(x: Float[Tensor, "n c h w"], param: ParamDiffAug) -> Float[Tensor, "n c h w"]:
    """Zoom each axis by its own factor in [1/ratio_scale, ratio_scale)."""
    return siamese.scale(x, _uniforms(x, param), _strengths(param))


def rand_rotate(x: Float[Tensor, "n c h w"], param: ParamDiffAug) -> Float[Tensor, "n c h w"]:
    """Turn by an angle in ±ratio_rotate degrees."""
    return siamese.rotate(x, _uniforms(x, param), _strengths(param))


def rand_flip(x: Float[Tensor, "n c h w"], param: ParamDiffAug) -> Float[Tensor, "n c h w"]:
    """Mirror left and right with probability `prob_flip`."""
    return siamese.flip(x, _uniforms(x, param), _strengths(param))


def rand_brightness(x: Float[Tensor, "n c h w"], param: ParamDiffAug) -> Float[Tensor, "n c h w"]:
    """Add an offset in ±brightness/2 to an image."""
    return siamese.brightness(x, _uniforms(x, param)[:, 0], _strengths(param))


def rand_saturation(x: Float[Tensor, "n c h w"], param: ParamDiffAug) -> Float[Tensor, "n c h w"]:
    """Stretch channels around their mean by a factor in [0, saturation)."""
    return siamese.saturation(x, _uniforms(x, param)[:, 0], _strengths(param))


def rand_contrast(x: Float[Tensor, "n c h w"], param: ParamDiffAug) -> Float[Tensor, "n c h w"]:
    """Stretch an image around its mean by a factor in [contrast, 1 + contrast)."""
    return siamese.contrast(x, _uniforms(x, param)[:, 0], _strengths(param))


def rand_crop(x: Float[Tensor, "n c h w"], param: ParamDiffAug) -> Float[Tensor, "n c h w"]:
    """Shift by up to the share `ratio_crop_pad` of the side, zeros from outside."""
    return siamese.crop(x, _uniforms(x, param), _strengths(param))


def rand_cutout(x: Float[Tensor, "n c h w"], param: ParamDiffAug) -> Float[Tensor, "n c h w"]:
    """Set a rectangle of `ratio_cutout` of the side lengths to zero."""
    return siamese.cutout(x, _uniforms(x, param), _strengths(param))


# operator -> functions (x, param) -> x, applied in turn; a script may add its own
AUGMENT_FNS = {
    "color": [rand_brightness, rand_saturation, rand_contrast],
    "crop": [rand_crop],
    "cutout": [rand_cutout],
    "flip": [rand_flip],
    "scale": [rand_scale],
    "rotate": [rand_rotate],
}


def _strengths(param):
    published = asdict(Strengths())
    return Strengths(**{name: getattr(param, name, value) for name, value in published.items()})


def _generator(param):
    """Return a CPU generator with the seed that is due, and advance that; None (the global one) without."""
    seed = getattr(param, "latestseed", -1)
    if seed == -1:
        return None
    param.latestseed += 1
    return torch.Generator().manual_seed(seed)


def _uniforms(x, param):
    """Draw (n, 3) uniforms for `x`, n = 1 where its images share them.

    Seeded ones are drawn on the CPU, so that a seed means the same augmentation on every device.
    """
    count = 1 if getattr(param, "Siamese", False) else len(x)
    rng = _generator(param)
    device = x.device if rng is None else "cpu"
    return torch.rand(count, siamese.DRAWS, generator=rng, device=device).to(x.device, x.dtype)


def get_daparam(dataset: str, model: str, model_eval: str, ipc: int) -> dict[str, Any]:
    """Return the parameters of `augment` for evaluating `model_eval` in a DC run on `dataset`, as a dict.

    `model` and `ipc` decide nothing.
    """
    return {**CLASSIC_DEFAULTS, "strategy": classic_strategy(dataset, model_eval)}


def augment(images: Float[Tensor, "n c h w"], dc_aug_param: Mapping[str, Any] | None,
            device: torch.device | str) -> Float[Tensor, "n c h w"]:
    """Return `images` (N, C, H, W) on `device` under DC's augmentation, a new tensor; not differentiable.

    `dc_aug_param` is a dict as from `get_daparam`. The images themselves are returned where it is None or its
    strategy is none.
    """
    images = images.to(device)
    if dc_aug_param is None or not parse_classic(dc_aug_param["strategy"]):
        return images
    return augment_classic(images, dc_aug_param["strategy"], param=dc_aug_param)
