"""What a card says of a set's accuracies: those in its file, and those of a `scores.json`."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from condense.core.errors import InputError, MissingFile
from condense.core.words import percent
from condense.sharing.bundle import SetToExport, accuracies

NOT_SCORED = ("not scored", "–")           # instead of an accuracy and its number of networks


def scores(to_export: SetToExport, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the blocks about scores: what the file holds, and what `rows` have of it."""
    lines = [[words, model, _protocol(to_export.file.meta, model), *_figures(to_export.file.meta, model, values)]
             for which, words in (("last", "last iteration"), ("best", "chosen iteration"))
             for model, values in accuracies(to_export.file, which).items() if values]
    for row in rows:
        if to_export.sha256 is not None and row.get("sha256") == to_export.sha256:
            lines.append(_of_row(row))
    if not lines:
        return []
    header = ["set", "network", "protocol", "test accuracy", "networks"]
    grid = ["| " + " | ".join(map(cell, line)) + " |" for line in [header, ["---"] * len(header), *lines]]
    chosen = [facts["caveat"] for facts in (to_export.file.meta or {}).get("best", ())[:1] if facts.get("caveat")]
    return ["## Scores", "Test accuracy in percent, mean ± population standard deviation over the networks of all "
            "experiments." + (f" Chosen iteration: {chosen[0]}." if chosen else ""), "\n".join(grid)]


def _figures(meta, model, values):
    """Return accuracy in words and number of networks; epochs 0 tell nothing."""
    return NOT_SCORED if (_of_model(meta, model) or {}).get("epochs") == 0 else (percent(values), len(values))


def _of_row(row):
    told = row["recipe"] if isinstance(row.get("recipe"), dict) else {}
    recipe = ": ".join(filter(None, [row.get("protocol"), _recipe_in_words(told) if told else ""]))
    scored = f"{100 * row['mean']:.2f} ± {100 * row['std']:.2f} %", row["networks"]
    return [row.get("name", "scored anew"), row["network"], recipe, *(scored if told.get("epochs", 1) else NOT_SCORED)]


def _protocol(meta, model):
    if not (recipe := _of_model(meta, model)):
        return "not said by the file"
    return ": ".join(filter(None, [recipe.get("name"), _recipe_in_words(recipe)]))


def _of_model(meta, model):
    """Return the protocol that the file says of network `model`, or None."""
    return ((meta or {}).get("protocols") or {}).get(model)


def _recipe_in_words(recipe):
    """Word one evaluation protocol, as `dataclasses.asdict` of it."""
    figures = (("epochs", "epochs {}"), ("lr", "lr {:.4g}"), ("batch_size", "batch {}"))
    words = [text.format(recipe[name]) for name, text in figures if recipe.get(name) is not None]
    if recipe.get("schedule") == "steps":
        momentum = [f"momentum {recipe['momentum']:g}"] if recipe.get("momentum") else []
        return ", ".join(["descent along the set's steps", *words, *momentum])
    kind, strategy = recipe.get("augmentation", "none"), recipe.get("strategy", "none")
    plain = strategy == "none" and kind in ("none", "siamese", "classic")
    words.append("no augmentation" if plain else kind if strategy == "none" else f"{kind} {strategy}")
    return ", ".join([*words, *([f"CutMix {recipe['cutmix']:g}"] if recipe.get("cutmix") else [])])


def cell(text: object) -> str:
    """Return `text` as a cell of a Markdown table."""
    return str(text).replace("|", r"\|").replace("\n", " ")


def load_scores(path: str | Path) -> list[dict[str, Any]]:
    """Return the rows of a `scores.json`; raises FileNotFoundError or ValueError in one line."""
    path = Path(path)
    if not path.is_file():
        raise MissingFile(f"no file {path}; evaluate.py writes files of scores")
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        for row in rows:
            statistics.fmean([row["mean"], row["std"], row["networks"]])
            row["network"]
        return rows
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} holds no rows of scores ({type(error).__name__}); give a file that evaluate.py wrote"
                         ) from error
