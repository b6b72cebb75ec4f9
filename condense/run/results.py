"""The result file: one `.pt` layout for every method. And the picture of a set, in the same folder.

The layout is that of the reference repositories (keys `data` and `accs_all_exps`) plus `meta`, which says
everything one needs to use the set. Only tensors and plain Python types are inside, so that
`torch.load(path, weights_only=True)` reads it.
"""

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from condense.core.errors import InputError, MissingFile
from condense.core.files import NUMPY_TYPES, atomic_path
from condense.data.real import RealData
from condense.synthetic import restore_synthetic

FORMAT_VERSION = 1
TINY = 28                                  # sides below this many pixels are shown enlarged
MAX_COLUMNS = 50                           # images of a class that a picture shows


def result_stem(method: str, dataset: str, model: str, ipc: int) -> str:
    """Return the file name without suffix, as the reference spells it."""
    return f"res_{method}_{dataset}_{model}_{ipc}ipc"


def describe(real: RealData, method: str, options: Mapping[str, Any], storage: Mapping[str, Any],
             **more: Any) -> dict[str, Any]:
    """Return the `meta` of a result: what is needed to use, display and repeat it; tensors and plain types only.

    `storage` is what `SyntheticSet.storage` returns; a run adds what `SyntheticSet.form` does.

    `classes` are the numbers of its classes in the data set where they are some of them (--classes), else None.

    `mean` and `std` undo the normalisation of its images. Where they are whitened instead, `zca` is what
    `Whitening.from_state` takes, and `mean` and `std` are None: a reader that overlooks it fails at once, and shows no
    wrong colours.
    """
    whitened = real.zca is not None
    return {"format_version": FORMAT_VERSION, "method": method, "dataset": real.name,
            "class_names": list(real.class_names), "classes": real.class_ids,
            "channel": real.channel, "im_size": list(real.im_size),
            "mean": None if whitened else list(real.mean), "std": None if whitened else list(real.std),
            "zca": real.zca.state() if whitened else None, "fingerprint": real.fingerprint,  # type: ignore[union-attr]
            "options": dict(options), "seed": options["seed"], "storage": dict(storage), **more}


def form_in(meta: Mapping[str, Any], where: object = "meta") -> dict[str, int]:
    """Return what `meta` of a result says of the form of its sets: {"views", "decoded"} of `SyntheticSet.form`.

    Older results leave it to their options. Raises ValueError, opened by `where`, for what is no
    number from 1 on.
    """
    options = meta.get("options") or {}
    mosaics = options.get("parameterization") == "multi_formation"
    before = {"views": options.get("n_style", 1), "decoded": options.get("factor", 1) if mosaics else 1}
    form = {name: meta.get(name, value) for name, value in before.items()}
    for name, value in form.items():
        if type(value) is not int or value < 1:
            raise InputError(f"{where} says {name} {value!r}, not a whole number of 1 or more; make the result again")
    return form


def save_result(path: str | Path, data: Sequence[Any], accuracies: Mapping[str, Iterable[float]],
                meta: Mapping[str, Any], factors: Sequence[Any] = (), best: Sequence[Any] = (),
                best_factors: Sequence[Any] = (), steps: Sequence[Any] = (), start: Sequence[Any] = ()) -> None:
    """Write a result atomically: `data` list of [images, labels], `accuracies` {network: [fractions]}, `meta`.

    `factors` lists what each set stores instead of images, if it does; `best` and `best_factors` are the
    same of the iterations chosen, where they are. `steps` and `start` list what sets of unrolled training bring with
    their images, as `stored_steps` returns it. Raises OSError where the disk
    cannot take it; an existing file then stays as it was.
    """
    content = {"data": _whole_sets(data),
               "accs_all_exps": {model: [float(a) for a in values] for model, values in accuracies.items()},
               "meta": meta}
    content |= {"best": _whole_sets(best)} if best else {}
    optional = {"factors": factors, "best_factors": best_factors, "steps": steps, "start": start}
    for name, listed in optional.items():
        if listed:
            content[name] = [{key: _whole(value) if torch.is_tensor(value) else value for key, value in parts.items()}
                             for parts in listed]
    save_atomically(content, path)


def _whole_sets(sets):
    return [[_whole(images.float()), _whole(labels)] for images, labels in sets]


def _whole(tensor):
    """Return `tensor` on the CPU with a storage of its own, so that the file holds nothing else."""
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def save_atomically(content: Any, path: str | Path) -> None:
    """torch.save `content` to `path`, whole or not at all; equal contents give equal bytes."""
    with atomic_path(path) as temporary:
        try:
            with open(temporary, "wb") as file:           # a name would end up inside the archive
                torch.save(_canonical(content), file)
        except RuntimeError as error:                     # what PyTorch's writer makes of a failed write
            raise OSError(f"could not write {path} ({str(error).splitlines()[0]}); is the disk full?") from error


def _canonical(content):
    """Return `content` rebuilt such that equal strings are one object: pickle writes the second as a reference.

    Without it the bytes would tell whether a part had been through a checkpoint, or (as torch's own "cpu" is in every
    file) whether a word came from the command line.
    """
    if isinstance(content, str):
        return sys.intern(content)
    if isinstance(content, dict):
        return {_canonical(key): _canonical(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return type(content)(map(_canonical, content))
    return content


def load_result(path: str | Path) -> dict[str, Any]:
    """Read and check a result file; returns the dict.

    Where it holds factors alone, `data` (and `best`, where there is one) are decoded from them.

    Raises FileNotFoundError, or ValueError in one line for a file that is cut off or of another layout.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFile(f"no result file {path}")
    try:
        with torch.serialization.safe_globals(NUMPY_TYPES):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:                            # pickle, zip and torch errors: the file is not whole
        raise InputError(f"{path} is incomplete or no result file ({type(error).__name__})") from error
    return checked_result(path, content)


def checked_result(path: str | Path, content: Any) -> dict[str, Any]:
    """Return the dict of a result file, decoded as `load_result` says; raises ValueError for another layout."""
    missing = [key for key in ("data", "accs_all_exps") if not isinstance(content, dict) or key not in content]
    if missing:
        raise InputError(f"{path} is no result file: it lacks {' and '.join(missing)}")
    for entry in content["data"] if isinstance(content["data"], list) else [None]:
        if not _is_entry(entry):
            raise InputError(f"{path}: an entry of data is not [images (n, C, H, W), labels (n,)]")
    for images, factors in (("data", "factors"), ("best", "best_factors")):
        if content.get(factors) and not content.get(images):
            content[images] = _decoded(path, content[factors])
    return content


def _decoded(path, factors):
    try:
        return [list(restore_synthetic(stored).snapshot()) for stored in factors]
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: its factors are incomplete: {error}") from error


def _is_entry(entry):
    tensors = isinstance(entry, (list, tuple)) and len(entry) == 2 and all(map(torch.is_tensor, entry))
    return tensors and entry[0].dim() == 4 and entry[1].dim() > 0 and len(entry[0]) == len(entry[1])


def shown_images(images: Float[Tensor, "n c h w"], ipc: int) -> Float[Tensor, "m c h w"]:
    """Return those of class-major `images` (n, C, H, W) with `ipc` per class that a picture shows: 50 of each class."""
    return images.view(-1, ipc, *images.shape[1:])[:, :MAX_COLUMNS].flatten(0, 1)


def draw_set(path: str | Path, images: Float[Tensor, "n c h w"], real: RealData) -> None:
    """Write the picture of class-major `images` (n, C, H, W) in the space of `real`; see `save_picture`."""
    shown = shown_images(images, len(images) // real.num_classes)       # of many to whiten back, only what is seen
    save_picture(path, real.denormalise(shown), len(shown) // real.num_classes)


def save_picture(path: str | Path, images: Float[Tensor, "n c h w"], ipc: int) -> None:
    """Write `images` (n, C, H, W) in [0, 1], class-major with `ipc` per class, as a PNG: one row per class.

    Two pixels of black between images; images with sides under 28 pixels are enlarged by a whole factor; at
    most 50 images of a class are shown.
    """
    from torchvision.utils import make_grid, save_image  # here: importing it takes as long as importing torch

    shown = shown_images(images.detach().float().cpu(), ipc)
    factor = math.ceil(TINY / min(images.shape[2:]))
    pixels = shown.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    grid = make_grid(pixels, nrow=min(ipc, MAX_COLUMNS), padding=2)
    if len(pixels) == 1:                                   # torchvision gives a single image no frame
        grid = torch.nn.functional.pad(grid, (2, 2, 2, 2))
    with atomic_path(path) as temporary:
        save_image(grid, temporary, format="png")
