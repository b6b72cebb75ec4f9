"""One page about a synthetic set: what it is, how to load it, its scores, how to make it again."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from condense.core.files import atomic_path
from condense.methods import METHODS, papers_of
from condense.run.reports import stored
from condense.run.results import save_picture
from condense.sharing.bundle import SetToExport
from condense.sharing.card_scores import cell, scores
from condense.sharing.export import Choice, bases_in_words
from condense.sharing.stored import SetFile, StoredSet
from condense.synthetic import PARAMETERIZATIONS

MOST_CLASSES, MOST_IMAGES = 10, 10         # that the small picture shows, and of each class
WIDTH = 100                                # characters of a line of the command


def write_card(path: str | Path, to_export: SetToExport, choice: Choice) -> list[str]:
    """Write the card of a `SetToExport` as Markdown at `path`; with `choice.picture` also a small PNG, linked.

    Of `choice.rows`, those of a `scores.json`, the ones of this very file, by its sha256, are shown. Returns what to
    say of it, line by line.
    """
    path, shown = Path(path), None
    if choice.picture and (drawn := small_picture(to_export)):
        shown = picture_of(path)
        save_picture(shown, *drawn)
    with atomic_path(path) as temporary:
        temporary.write_text(card(to_export, choice.rows, shown.name if shown else None), encoding="utf-8")
    return [f"a card of {to_export.file.path.name}" + (f", with {shown.name}" if shown else "")]


def picture_of(path: str | Path) -> Path:
    """Return the path of the picture that goes with the card at `path`."""
    return Path(path).with_suffix(".png")


def card(to_export: SetToExport, rows: Sequence[Mapping[str, Any]] = (), picture: str | None = None) -> str:
    """Return the card as Markdown; `picture` is the name of a file in its folder."""
    blocks = [f"# {title(to_export.file)}", f"![Some of its images, a row per class]({picture})" if picture else "",
              facts(to_export), *_loading(to_export), *scores(to_export, rows),
              *_recipe(to_export.file.meta), "## Licence", licence(to_export)]
    return "\n\n".join(filter(None, blocks)) + "\n"


def title(file: SetFile) -> str:
    words = [f"{file.method or 'Synthetic set'}", f"of {file.dataset}" if file.dataset else "",
             f"{file.ipc} image{'s' * (file.ipc != 1)} per class" if file.ipc else ""]
    return ", ".join(filter(None, [" ".join(filter(None, words[:2])), words[2]]))


def facts(to_export: SetToExport) -> str:
    """Return the table of what the set is."""
    file, meta = to_export.file, to_export.file.meta or {}
    sets = file.sets or file.best
    images, labels = sets[0].images, sets[0].labels
    names = to_export.class_names(labels)
    soft = f"soft, ({len(labels)}, {len(names)}) probabilities"
    lines = {"data set": f"{to_export.name or 'not said by the file'}, {len(names)} classes", "classes": _listed(names),
             "method": method(file), "form": form(file, to_export.factor), "condensed with": file.model,
             "holds": holds(file, to_export.factor), "views": bases_in_words(file.views) if file.views > 1 else "",
             "images": "x".join(map(str, images.shape[1:])) + " (channels, height, width)",
             "labels": soft if labels.dim() == 2 else "hard, a class each",
             "learned step size": ", ".join(f"{one.lr:.6g}" for one in sets if one.lr is not None and not one.steps),
             "steps": steps(sets), "networks start": starts(sets),
             "space": space(to_export), "stored": stored_in_words(meta, sets), "file": size(to_export),
             "sha256": to_export.sha256 and f"`{to_export.sha256}`", "layout": f"{file.layout}: {file.known_by}"}
    rows = [f"| {name} | {cell(text)} |" for name, text in lines.items() if text]
    return "\n".join(["| | |", "| --- | --- |", *rows])


def _listed(names, most=20):
    return ", ".join(names[:most]) + (f", ... ({len(names)})" if len(names) > most else "")


def method(file: SetFile) -> str:
    """Return the method with its papers, those of variants that the options tell included."""
    if file.method is None:
        return "not said by the file"
    papers = papers_of(file.method, (file.meta or {}).get("options", {}))
    return file.method + (f" ({'; '.join(papers)})" if papers else "")


def form(file: SetFile, factor: int) -> str:
    """Word how the set stores its images."""
    factors = (file.sets or file.best)[0].factors
    name: Any = (file.meta or {}).get("options", {}).get("parameterization") or (factors or {}).get("parameterization")
    if factor > 1:
        return f"mosaics of {factor} x {factor} images, each enlarged to a whole one"
    return PARAMETERIZATIONS[name or "pixels"].IN_WORDS if (name or "pixels") in PARAMETERIZATIONS else name


def holds(file: SetFile, factor: int) -> str:
    number = len((file.sets or file.best)[0].images) * factor**2
    unit = "step" if file.layout == "steps" else "experiment"
    text = f"{number:,} images" + (f" in each of {len(file.sets)} {unit}s" if len(file.sets) != 1 else "")
    chosen = len(file.best)
    return text + (f"; and {chosen} chosen iteration{'s' * (chosen != 1)}" if chosen else "")


def steps(sets: Sequence[StoredSet]) -> str:
    """Word the steps of descent that the sets are made for; '' where they are not."""
    known: list[Any] = [one.steps for one in sets if one.steps is not None]
    if not known:
        return ""
    sizes, batches = [size for of_one in known for size in of_one.sizes], known[0].rows
    return (f"{len(known[0].sizes)}, {len(known[0].sizes) // len(batches)} times through {len(batches)} batches of "
            f"{len(batches[0])} images, each with a learned size of {min(sizes):.4g} to {max(sizes):.4g}")


def starts(sets: Sequence[StoredSet]) -> str:
    """Word what networks such sets are learned for; '' where nothing is said."""
    known = sets[0].steps
    if known is None:
        return ""
    if known.starts is None:
        return "afresh"
    number, size = known.starts.shape
    return f"as {number} fixed {known.model} of {size:,} parameters, {'which is' if number == 1 else 'all'} in the file"


def space(to_export: SetToExport) -> str:
    """Word the space of the pixels and what leads back to the scale [0, 1]."""
    own, evidence = to_export.found
    if own == "zca":
        how = "the ZCA in the file" if to_export.file.zca else "the ZCA of the training images"
        return f"whitened by {how} ({evidence})"
    if own == "raw":
        return f"raw pixels on the scale [0, 1] ({evidence})"
    made: Any = to_export.space_named(own)
    mean, std = ((" ".join(f"{value:.4g}" for value in values)) for values in (made.mean, made.std))
    return f"normalised: (pixels - mean) / std with mean {mean}, std {std} ({evidence})"


def stored_in_words(meta: Mapping[str, Any], sets: Sequence[StoredSet]) -> str:
    """Word stored and budgeted bytes of one set; for sets of others those of their dense tensors."""
    if "storage" in meta:
        labels = sets[0].labels
        number = labels.shape[1] if labels.dim() == 2 else len(labels.unique())
        return stored(meta["storage"], round(len(labels) / number)).removeprefix("stored: ")
    floats = sets[0].images.numel() + (sets[0].labels.numel() if sets[0].labels.dim() == 2 else 0)
    return f"{floats:,} floats ({4 * floats:,} bytes)"


def size(to_export: SetToExport) -> str:
    path = to_export.file.path
    return f"`{path.name}`, {path.stat().st_size:,} bytes" if path.is_file() else f"`{path.name}/`"


def _loading(to_export):
    code = loading_code(to_export)
    with_toolkit = ", with the toolkit's folder on PYTHONPATH" if "from utils" in code else ""
    where = f"In the folder of the file{with_toolkit}:"
    return ["## Load it", where, f"```python\n{code}\n```"]


def loading_code(to_export: SetToExport) -> str:
    """Return five lines of Python that load the set from the folder of its file: plain PyTorch where that will do.

    They leave `images` (n, C, H, W), `labels` and `pixels`, which are clamped to [0, 1].
    """
    file, name = to_export.file, json.dumps(to_export.file.path.name, ensure_ascii=False)
    if file.layout == "result" and file.mean and file.sets and file.sets[0].factors is None:
        return "\n".join((
            "import torch", f"result = torch.load({name}, weights_only=True)",
            'images, labels = result["data"][0]                 # of the first experiment: normalised, as trained on',
            'mean, std = (torch.tensor(result["meta"][key]).view(-1, 1, 1) for key in ("mean", "std"))',
            "pixels = (images * std + mean).clamp(0, 1)"))
    how = {"which": None if file.sets else "best", "space": None if file.space else to_export.found[0],
           "decode": None if file.decode else to_export.factor, "dataset": None if file.dataset else to_export.name}
    arguments = ", ".join([name, *(f"{key}={json.dumps(value)}" for key, value in how.items() if value is not None)])
    return "\n".join(("from utils import load_synthetic_set",
                      f"data = load_synthetic_set({arguments})", "images, labels = data.images, data.labels",
                      "pixels = data.pixels()"))


def _recipe(meta):
    """Return the blocks that say how to make the set again; none where the file does not know."""
    if not (meta or {}).get("options") or meta.get("method") not in METHODS:
        return []
    more = "Further: `--data_path` where the data are, `--save_path` for the result"
    more += ", `--buffer_path` for the expert trajectories (meta[\"experts\"] says how they were made)." \
        if "experts" in meta else "."
    return ["## Make it again", f"```bash\n{command(meta)}\n```", more]


def command(meta: Mapping[str, Any]) -> str:
    """Return the command line that makes the set again, every option that has a part in it spelled out."""
    lines, line = [], f"python {METHODS[meta['method']].script}"
    for name, value in sorted(meta["options"].items(), key=lambda item: item[0].lower()):
        if isinstance(value, (list, tuple)) and not value:                     # no command line has an empty list
            continue
        flag = _flag(name, value)
        if len(line) + len(flag) + 3 > WIDTH:
            lines, line = [*lines, f"{line} \\"], "   "
        line = f"{line} {flag}"
    return "\n".join([*lines, line])


def _flag(name, value):
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    values = value if isinstance(value, (list, tuple)) else [value]
    return " ".join([f"--{name}", *(shlex.quote("none" if one is None else str(one)) for one in values)])


def licence(to_export: SetToExport) -> str:
    data = to_export.name or "the data set that it was made from"
    return (f"The images derive from those of {data}, whose licence and terms of use also apply to them; see there "
            "before passing them on.")


def small_picture(to_export: SetToExport) -> tuple[Float[Tensor, "n c h w"], int] | None:
    """Return (pixels in [0, 1], images per class) of the first set, class-major, for `save_picture`.

    None where PNG has no form for them, or where a class has no image.
    """
    first = (to_export.file.sets or to_export.file.best)[0]
    bundle = to_export.bundle(0, "last" if to_export.file.sets else "best")
    counts = bundle.classes.bincount()
    counts = counts[counts > 0].tolist()[:MOST_CLASSES]
    if first.images.shape[1] not in (1, 3):
        return None
    number = min(MOST_IMAGES, *counts) if len(counts) > 1 else min(MOST_IMAGES, counts[0])
    order = bundle.classes.argsort(stable=True)
    starts = [sum(counts[:i]) for i in range(len(counts))]
    rows = order[[start + i for start in starts for i in range(number)]]
    pixels = bundle.space.decode(bundle.images[rows].double())
    return pixels.clamp(0, 1).float(), number
