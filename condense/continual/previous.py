"""The comparison that a folder holds already: which options must not change, and which of its rows stay.

A summary is derived: the sets and scores of single steps are kept on their own, and each is checked on its own. So a
later command may score otherwise, with other methods and orders; only other data or other condensation are refused.
"""

import json
import logging
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from condense.core.errors import OptionError
from condense.run.checkpoints import differing

log = logging.getLogger("condense")

SCORING = ("num_eval", "epoch_eval_train", "lr_net", "batch_train", "dsa_strategy", "precision")
MAY_DIFFER = ("methods", "seeds", "compare", "cl_space", *SCORING)
MEND = "use another --save_path, or --overwrite"


def read_previous(path: Path) -> dict[str, Any] | None:
    """Return the summary at `path`, None where there is none; raises OptionError where it cannot be read."""
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text())
        content["options"]["methods"], content["fingerprint"], content["methods"].items()
        return content
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise OptionError(f"{path} cannot be read; move it to another folder, or give --overwrite") from None


def refuse_other(path: str | Path, before: dict[str, Any], options: dict[str, Any], fingerprint: str,
                 free: Collection[str]) -> None:
    """Raise OptionError where the summary `before`, read from `path`, is of other images or other condensation.

    `options` are those now, `free` the names of those that the methods of only one of the two comparisons take.
    """
    names = options.keys() - {*MAY_DIFFER, *free}
    lines = differing(*({name: run.get(name) for name in sorted(names)} for run in (before["options"], plain(options))))
    if not lines and before["fingerprint"] != fingerprint:
        lines = ["the images are others"]
    if lines:
        raise OptionError(f"{path} is another comparison ({'; '.join(lines)}); {MEND}")


def refuse_other_files(path: str | Path, before: dict[str, Any], sources: Iterable[Any]) -> None:
    """Raise OptionError where published files of `sources` are not those that the summary `before` scored."""
    for source in sources:
        was, now = before["methods"].get(source.name, {}).get("files", {}), source.facts().get("files", {})
        other = next((now[seed]["name"] for seed in now if seed in was and now[seed] != was[seed]), None)
        if other is not None:
            raise OptionError(f"{path} scored another {other} than {source.path_of(other)} is; {MEND}")


def with_rows_kept(summary: dict[str, Any], before: dict[str, Any] | None, own: Iterable[str],
                   used: Collection[str]) -> dict[str, Any]:
    """Return `summary` with those rows of the summary `before` that it has not, where they were scored alike.

    `own` are the names of the methods' own options, `used` those that the methods of `summary` take: of the others,
    values go on with the rows. Rows that were scored otherwise are left out, which is said.
    """
    rows = {name: row for name, row in (before or {"methods": {}})["methods"].items() if name not in summary["methods"]}
    reasons = _scored_otherwise(before, summary) if rows else []
    if reasons:
        log.info("left out, because they were evaluated differently (%s): %s; name them in --methods to evaluate them "
                 "again",
                 "; ".join(reasons), ", ".join(rows))
    if reasons or not rows:
        return summary
    then, now = before["options"], summary["options"]            # type: ignore[index]
    options = {**now, **{name: then[name] for name in own if name in then and name not in used}}
    options["methods"] = list(dict.fromkeys([*now["methods"], *(name.split(",")[0] for name in rows)]))
    options["compare"] = now["compare"] if then["compare"] == now["compare"] else "both"
    return {**summary, "options": options, "methods": {**summary["methods"], **rows}}


def _scored_otherwise(before, now):
    """Return in words what keeps rows of two summaries from standing in one table."""
    if _version_of(before) != _version_of(now):
        return ["by another version of this toolkit or of torch"]
    lines = differing(*({"seeds": len(run["orders"]), **{name: run["options"][name] for name in SCORING}}
                        for run in (before, now)))
    return lines or ["by another protocol"] * (before["protocol"] != now["protocol"])


def _version_of(summary):
    return summary.get("format_version"), summary.get("code"), summary.get("versions", {}).get("torch")


def plain(values: Any) -> Any:
    """Return `values` as JSON gives them back."""
    return json.loads(json.dumps(values))
