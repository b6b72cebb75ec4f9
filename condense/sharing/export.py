"""Write a synthetic set for others: as PNG files, plain tensors, safetensors or the reference's layout."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from condense.core.errors import InputError
from condense.core.files import atomic_path
from condense.run.results import save_atomically
from condense.run.stored_steps import stored_steps
from condense.sharing.bundle import Bundle, SetToExport, accuracies
from condense.sharing.tree import STEPS, write_tree

KEY = "condense"                           # of the metadata in a safetensors header


@dataclass(frozen=True)
class Choice:
    """What of a set is written, and how: its `experiment`, the `which` ("last" or "best") iteration, in `space`.

    None is the set's own space. `replace` allows an earlier export to go. `rows` (of a scores.json) and `picture`
    concern cards.
    """

    experiment: int = 0
    which: str = "last"
    space: str | None = None
    replace: bool = False
    rows: tuple = ()
    picture: bool = True


def write_folder(path: Path, to_export: SetToExport, choice: Choice) -> list[str]:
    """Write the PNG tree of `write_tree` at `path`; returns what to say of it, line by line."""
    bundle = to_export.bundle(choice.experiment, choice.which, "raw")
    about = {name: value for name, value in bundle.metadata().items()
             if name not in ("class_names", "space", "zca", "soft_labels")}
    clamped = write_tree(path, bundle.images, bundle.classes, bundle.about["class_names"], about,
                         choice.replace, steps_in(bundle))
    lines = [f"8 bits keep less than the set has: rounded to 1/255, and {clamped:,} of {bundle.images.numel():,} "
             "values outside [0, 1] clamped"]
    if bundle.soft:
        lines.append("folders hold one class per image: of soft labels the most probable; other formats keep them")
    if bundle.steps is not None:
        lines.append(f"step sizes and what belongs to them are in {STEPS}")
    if bundle.views > 1:
        lines.append(f"folders do not say that {bases_in_words(bundle.views)}; --format tensors does")
    return lines


def bases_in_words(views: int) -> str:
    """Word what every `views` images in a row are, where that is more than one."""
    return f"every {views} images in a row show one base, of which an epoch sees one"


def steps_in(bundle: Bundle) -> dict[str, Any]:
    """Return {'steps', 'start'} of a set of unrolled training as `stored_steps` has them; {} where there is none."""
    content = dict(zip(("steps", "start"), stored_steps(bundle.steps)))
    return {name: part for name, part in content.items() if part is not None}


def write_tensors(path: Path, to_export: SetToExport, choice: Choice) -> list[str]:
    """Write a dict of plain tensors and values that `torch.load(path, weights_only=True)` reads."""
    bundle = to_export.bundle(choice.experiment, choice.which, choice.space)
    content = {"images": bundle.images, "labels": bundle.labels, **bundle.metadata(), **steps_in(bundle)}
    if bundle.space.name == "zca":
        content["zca"] = bundle.space.zca.state()  # type: ignore[union-attr]
    save_atomically(_whole(content), path)
    return [f"{bundle.space.name} images, dict with images, labels and {', '.join(list(content)[2:])}"]


def write_safetensors(path: Path, to_export: SetToExport, choice: Choice) -> list[str]:
    """Write tensors with their metadata as JSON in the header, under "condense", and the same JSON in a file."""
    save_file = _safetensors()
    bundle = to_export.bundle(choice.experiment, choice.which, choice.space)
    tensors = {"images": bundle.images, "labels": bundle.labels}
    if bundle.lr is not None:
        tensors["lr"] = torch.tensor(bundle.lr)
    said = bundle.metadata()
    for name, part in steps_in(bundle).items():            # start.model is a word, and goes into the header
        tensors |= {f"{name}.{key}": value for key, value in part.items() if torch.is_tensor(value)}
        said |= {f"{name}.{key}": value for key, value in part.items() if not torch.is_tensor(value)}
    if bundle.space.name == "zca":
        state = bundle.space.zca.state()  # type: ignore[union-attr]
        tensors |= {f"zca.{name}": state[name] for name in ("mean", "eigenvectors", "eigenvalues")}
    text = json.dumps(said, ensure_ascii=False)
    with atomic_path(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, {KEY: text})
    with atomic_path(metadata_path(path)) as temporary:
        temporary.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return [f"{bundle.space.name} images, tensors {', '.join(tensors)}; metadata in its header and in "
            f"{metadata_path(path).name}"]


def require_safetensors() -> None:
    """Raise ValueError with the mend where the package is not installed."""
    _safetensors()


def _safetensors():
    try:
        from safetensors.torch import save_file
    except ImportError:
        raise InputError("--format safetensors needs a package that is not here: pip install safetensors") from None
    return save_file


def metadata_path(path: str | Path) -> Path:
    """Return the path of the JSON file that goes with a safetensors file."""
    return Path(path).with_suffix(".json")


def write_reference(path: Path, to_export: SetToExport, choice: Choice) -> list[str]:
    """Write the reference repositories' layout: dense images of all experiments, normalised, and their accuracies.

    A whitened set stays whitened unless `choice.space` says otherwise: it is what its networks saw.
    """
    space = choice.space or ("zca" if to_export.found[0] == "zca" else "normalised")
    number = len(to_export.sets(choice.which))
    bundles = [to_export.bundle(i, choice.which, space, standard=True) for i in range(number)]
    data = [[bundle.images, bundle.labels] for bundle in bundles]
    save_atomically(_whole({"data": data, "accs_all_exps": accuracies(to_export.file, choice.which)}), path)
    return list(_losses(bundles, space))


def _losses(bundles, space):
    """Yield what the layout of the reference repositories does not say, one line each."""
    number = len(bundles)
    yield f"{space} images of {number} experiment{'s' * (number != 1)}"
    if space == "zca":
        yield "whitened images in a layout that cannot say so: --space normalised for scripts that know no ZCA"
    if bundles[0].soft:
        yield "labels are probabilities (n, K), and stay so; the reference's own scripts expect (n,) classes"
    if bundles[0].steps is not None:
        yield "left out: the step sizes, which images each step sees, and a fixed start; --format tensors keeps them"
    elif bundles[0].lr is not None:
        yield "left out: the learned step size" + "s" * (number > 1) + " " + ", ".join(f"{bundle.lr:.6g}"
                                                                                       for bundle in bundles)
    if bundles[0].views > 1:
        yield f"left out: that {bases_in_words(bundles[0].views)}; --format tensors says it"


def _whole(content):
    """Return `content` with every tensor contiguous in a storage of its own, so that the file holds nothing else."""
    if torch.is_tensor(content):
        return content.detach().clone(memory_format=torch.contiguous_format)
    if isinstance(content, dict):
        return {key: _whole(value) for key, value in content.items()}
    return [_whole(value) for value in content] if isinstance(content, list) else content
