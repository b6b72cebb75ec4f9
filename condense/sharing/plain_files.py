"""Sets as plain tensors: (images, labels), dicts of them, safetensors, and the mosaics of multi-formation."""

import json
import re
from pathlib import Path
from typing import Any

import torch

from condense.core.errors import InputError
from condense.data.space import SPACES
from condense.data.zca import EPS
from condense.run.stored_steps import read_steps
from condense.sharing.stored import CHOSEN, SetFile, checked_scored, described, named, stored_set

FACTORS = (re.compile(r"factor(\d+)"), re.compile(r"[_-]f(\d+)"))   # the published names' word, and short forms
MOSAICS = ("data_best.pt", "data.pt")      # what multi-formation's published code calls its sets
# How far outside 0..1 raw pixels lie on average, at most. They are clamped at the start of an outer iteration alone, so
# that some are off by hundredths; normalised ones, whose mean is 0, are off by half a unit (those of MNIST by 0.55).
OUTSIDE = 0.05
HEADER = "condense"                        # key of our JSON in the metadata of a safetensors file
ZCA = ("mean", "eigenvectors", "eigenvalues")


def is_pair(content: Any) -> bool:
    return isinstance(content, (list, tuple)) and len(content) == 2 and all(map(torch.is_tensor, content))


def is_mosaic(path: Path, content: Any) -> bool:
    """Whether a pair is what multi-formation's published code writes: a list, raw pixels, called data*.pt.

    One of another name has a path that states the factor. Where both name and path are its own, pixels decide nothing.
    """
    if not isinstance(content, list) or not is_pair(content) or content[0].dim() != 4 or not content[0].numel():
        return False
    called, stated = path.name in MOSAICS, decode_factor(path) is not None
    return content[0].is_floating_point() and (called and stated or (called or stated) and _is_raw(content[0]))


def _is_raw(images):
    """Whether pixels are on the scale 0..1, but for what they strayed since they were last clamped."""
    images = images.double()
    return float((images - images.clamp(0, 1)).abs().mean()) <= OUTSIDE


def decode_factor(path: Path) -> int | None:
    """Return the factor that the file's name or one of the two folders above states (factor2, else _f2), or None."""
    path = path.absolute()
    for pattern in FACTORS:                                # conv3in_f2_mse_factor1: _f2 is a feature there
        for name in (path.stem, *(folder.name for folder in path.parents[:2])):
            if match := pattern.search(name):
                return int(match[1])
    return None


def read_mosaic(path: Path, content: Any) -> SetFile:
    """Return the `SetFile` of a pair that `is_mosaic`; its space is open where its pixels are no raw ones."""
    one, remark = stored_set(path, *content)
    factor, raw = decode_factor(path), _is_raw(one.images)
    known_by = "; ".join(filter(None, [f"a list of {'raw ' * raw}images and labels as multi-formation (IDC) saves it",
                                       remark, factor and f"its path says factor {factor}"]))  # type: ignore[list-item]
    best = path.stem == "data_best"
    return SetFile(path, "idc", known_by, (one,), (one,) if best else (), space="raw" if raw else None, decode=factor,
                   said_by="multi-formation stores raw pixels" if raw else None, caveat=CHOSEN if best else None,
                   **named(path))


def read_pair(path: Path, content: Any) -> SetFile:
    images, space = _floats(content[0])
    one, remark = stored_set(path, images, content[1])
    return SetFile(path, "tensors", _words("a pair of images and labels", remark), (one,), space=space,
                   said_by=space and "its pixels are bytes", **named(path))


def read_dict(path: Path, content: dict[str, Any], layout: str = "tensors",
              known_by: str = "a dict with images and labels") -> SetFile:
    """Return the `SetFile` of a dict with images and labels, and perhaps what says how to use them.

    That is space, mean, std, zca (as `Whitening.state`), class_names, lr, dataset, method, model, ipc, decode, decoded
    (see `SetFile`), accuracies, made_from (see the function of this name), steps and start (`stored_steps`) and scored
    (`SetFile.scored_by`). Raises ValueError where a value of these is not what it
    must be.
    """
    missing = [key for key in ("images", "labels") if not torch.is_tensor(content.get(key))]
    if missing:
        raise InputError(f"{path} has no tensor {' and '.join(missing)}; save the set with both")
    images, bytes_space = _floats(content["images"])
    steps = read_steps(path, content.get("steps"), content.get("start"), len(images))
    one, remark = stored_set(path, images, content["labels"], content.get("lr"), steps=steps)
    space = _said(path, content, "space", str) or bytes_space
    if space is not None and space not in SPACES:
        raise InputError(f"{path} says space {space!r}; it is one of: {', '.join(SPACES)}")
    facts = {**named(path), **{name: value for name in ("dataset", "method", "model")
                               if (value := _said(path, content, name, str))}}
    facts |= {name: value for name in ("ipc", "decode", "decoded") if (value := _said(path, content, name, int))}
    return SetFile(path, layout, _words(known_by, remark), (one,), space=space,
                   said_by=space and ("it says space" if "space" in content else "its pixels are bytes"),
                   mean=_numbers(path, content, "mean", one), std=_numbers(path, content, "std", one),
                   zca=_said(path, content, "zca", dict), class_names=_class_names(path, content),
                   accuracies=_said(path, content, "accuracies", dict) or {},
                   data=_said(path, content, "made_from", dict), scored=checked_scored(path, content.get("scored")),
                   **facts)


def read_safetensors(path: Path) -> SetFile:
    """Return the `SetFile` of a safetensors file; what says how to use it is JSON under "condense" in its header."""
    try:
        from safetensors import SafetensorError, safe_open  # here: only who has such a file needs the package
        from safetensors.torch import load_file
    except ImportError as error:
        raise InputError(f"{path} needs a package to be read: pip install safetensors") from error
    try:
        with safe_open(path, "pt") as file:
            said = json.loads((file.metadata() or {}).get(HEADER, "{}"))
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is incomplete or no safetensors file ({reason}); download or copy it "
                         "again") from error
    if not isinstance(said, dict):
        raise InputError(f"{path}: {HEADER!r} in its header is {described(said)}, not a dict; export the set again")
    if all(f"zca.{name}" in tensors for name in ZCA):
        eps = said["zca"].get("eps", EPS) if isinstance(said.get("zca"), dict) else EPS
        said["zca"] = {"eps": eps, **{name: tensors.pop(f"zca.{name}") for name in ZCA}}
    for name in ("steps", "start"):
        said |= _gathered({**said, **tensors}, name)
    return read_dict(path, {**said, **tensors}, "safetensors", "safetensors with images and labels")


def _gathered(content, name):
    """Return {name: {key: value}} of what is called name.key in `content`; {} where nothing is."""
    of_one = {key.removeprefix(f"{name}."): value for key, value in content.items() if key.startswith(f"{name}.")}
    return {name: of_one} if of_one else {}


def _floats(images):
    """Return (float images, "raw") of bytes 0..255, (images, None) of others."""
    if torch.is_tensor(images) and images.dtype == torch.uint8:
        return images.float() / 255, "raw"
    return images, None


def _words(known_by, remark):
    return "; ".join(filter(None, [known_by, remark]))


def _said(path, content, name, kind):
    value = content.get(name)
    if value is not None and not isinstance(value, kind):
        raise InputError(f"{path}: {name} is {described(value)}, not of type {kind.__name__}; save the set again")
    return value


def _numbers(path, content, name, one):
    """Return mean or std as a tuple of float, one for each channel; None where the file does not say."""
    value = content.get(name)
    if value is None:
        return None
    try:
        numbers = tuple(float(number) for number in value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: {name} is {described(value)}, not numbers; save the set again") from error
    if len(numbers) != one.images.shape[1]:
        raise InputError(f"{path}: {len(numbers)} numbers in {name} for {one.images.shape[1]} channels; save one each")
    return numbers


def _class_names(path, content):
    names = content.get("class_names")
    if names is None:
        return None
    if not isinstance(names, (list, tuple)):
        raise InputError(f"{path}: class_names is {described(names)}, not a list of names; save the set again")
    return tuple(map(str, names))
