"""Result files: ours with `meta`, the reference repositories' without, and theirs for continual learning."""

import re
from pathlib import Path
from typing import Any

from condense.core.errors import InputError
from condense.run.results import checked_result, form_in
from condense.run.stored_steps import read_steps
from condense.sharing.stored import SetFile, named, stored_set

STEPS = re.compile(r"^cl_.*?(\d+)steps_seed\d+")


def is_result(content: Any) -> bool:
    return isinstance(content, dict) and "data" in content


def read_result(path: Path, content: dict[str, Any]) -> SetFile:
    """Return the `SetFile` of a dict with `data` (and, but for continual learning, `accs_all_exps`)."""
    meta = content.get("meta")
    content = checked_result(path, {"accs_all_exps": {}, **content})
    remarks = []
    sets = _sets(path, content, "data", "factors", _over(meta, "syn_lr"), remarks)
    chosen = meta.get("best") if isinstance(meta, dict) else None
    lrs = [one.get("syn_lr") for one in chosen] if isinstance(chosen, list) else []
    best = _sets(path, content, "best", "best_factors", lrs, remarks)
    facts = {"path": path, "sets": sets, "best": best, "accuracies": _accuracies(path, content["accs_all_exps"])}
    if isinstance(meta, dict) and "format_version" in meta:
        return SetFile(**facts, **_of_meta(path, meta), layout="result",
                       known_by=_worded("meta with data and accs_all_exps", remarks))
    steps = _steps(path, content, sets)
    layout, known_by = ("steps", steps) if steps else ("reference", "keys data and accs_all_exps without meta")
    return SetFile(**facts, **named(path), layout=layout, known_by=_worded(known_by, remarks))


def _sets(path, content, key, factors_key, lrs, remarks):
    entries = content.get(key) or []
    factors = content.get(factors_key) or []
    steps, starts = ((content.get(name) or []) if key == "data" else [] for name in ("steps", "start"))
    sets = []
    for i, (images, labels) in enumerate(entries):
        where = f"{path} ({key} {i})"
        along = read_steps(where, _at(steps, i), _at(starts, i), len(images))
        one, remark = stored_set(where, images, labels, _at(lrs, i), _at(factors, i), along)
        sets.append(one)
        remarks.append(remark)
    return tuple(sets)


def _at(values, i):
    return values[i] if i < len(values) else None


def _over(meta, name):
    """Return what `meta` lists over the experiments under `name`, [] where it does not."""
    values = meta.get(name) if isinstance(meta, dict) else None
    return values if isinstance(values, list) else []


def _worded(known_by, remarks):
    return "; ".join(dict.fromkeys([known_by, *filter(None, remarks)]))


def _of_meta(path, meta):
    """Return what our own `meta` says as fields of a `SetFile`."""
    options = meta.get("options") or {}
    said = {**named(path), **{name: meta[name] for name in ("method", "dataset") if meta.get(name)},
            **{name: options[name] for name in ("model", "ipc") if options.get(name)}}
    zca = meta.get("zca")
    mean, std = (tuple(meta[name]) if meta.get(name) else None for name in ("mean", "std"))
    return {**said, "meta": meta, "space": "zca" if zca else "normalised", "said_by": "its meta says so",
            "mean": mean, "std": std, "zca": zca, "decoded": form_in(meta, path)["decoded"],
            "class_names": tuple(meta["class_names"]) if meta.get("class_names") else None}


def _accuracies(path, accuracies):
    try:
        return {str(model): [float(accuracy) for accuracy in values] for model, values in accuracies.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{path}: accs_all_exps is not {{network: [fractions]}}; save the set again without it or "
                         "with plain numbers") from error


def _steps(path, content, sets):
    """Say how a file of continual learning, whose entries are steps, was recognised; None for one of experiments."""
    match = STEPS.match(path.name)
    if match:
        return f"its name, of {match[1]} steps"
    if content["accs_all_exps"] or len(sets) < 2 or any(one.labels.dim() == 2 for one in sets):
        return None
    seen = [set(one.labels.tolist()) for one in sets]
    return "no two entries of data share a class" if sum(map(len, seen)) == len(set.union(*seen)) else None
