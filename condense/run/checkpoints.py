"""Run state on disk: what an interrupted run needs to end with the tensors of an uninterrupted one."""

import copy
import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from condense.core.errors import OptionError
from condense.core.files import atomic_path
from condense.run.results import load_result, save_atomically

log = logging.getLogger("condense")

LONGEST_S = 600                            # between checkpoints, however few iterations that is


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the lines '--name was X, is Y' of two option dicts that do not agree."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return [f"--{name} was {before.get(name)}, is {now.get(name)}" for name in names]


class Checkpoint:
    """The checkpoint file of one run: written atomically, read back only for equal options and data."""

    def __init__(self, path: Path, options: Mapping[str, Any]) -> None:
        self.path, self.options = path, options
        self.saved_s = time.monotonic()

    def due(self, iteration: int, every: int) -> bool:
        """Say whether the state in front of `iteration` is to be saved: one of `every`, or the last is long ago."""
        return iteration % every == 0 or time.monotonic() - self.saved_s >= LONGEST_S

    def save(self, **state: Any) -> None:
        save_atomically({"options": self.options, **state}, self.path)
        self.saved_s = time.monotonic()

    def load(self, resume: bool, overwrite: bool) -> dict[str, Any] | None:
        """Return the saved state or None; raises OptionError where going on would lose or mix something."""
        if not self.path.is_file():
            if resume:
                log.info("no checkpoint %s; starting from the beginning", self.path)
            return None
        if overwrite and not resume:                      # replaced by this run's first one, removed at its end
            return None
        if not resume:
            raise OptionError(f"{self.path} holds an unfinished run; go on with --resume, or start again with "
                              "--overwrite")
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:                        # torch, zip and pickle errors alike: not a whole file
            raise OptionError(f"{self.path} cannot be read ({type(error).__name__}); start again with --overwrite "
                              "instead of --resume") from None
        lines = differing(state["options"], self.options)
        if lines:
            raise OptionError(f"--resume: {self.path} was made with other options ({'; '.join(lines)}); repeat "
                              "them, or use another --save_path")
        return state

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def refuse_other_result(path: Path, options: Mapping[str, Any], overwrite: bool) -> None:
    """Raise OptionError if `path` holds a result that this run must not replace."""
    if overwrite or not path.exists():
        return
    try:
        before = load_result(path).get("meta", {}).get("options", {})
    except ValueError as error:
        raise OptionError(f"{error}; use another --save_path, or --overwrite") from None
    lines = differing(before, options) if before else ["it names no options"]
    if lines:
        raise OptionError(f"{path} is a result of other options ({'; '.join(lines)}); use another --save_path, or "
                          "--overwrite")


def refuse_other_images(path: Path, state: Mapping[str, Any] | None, fingerprint: str) -> None:
    """Raise OptionError if the checkpoint at `path` with this `state` (None: there is none) is of other images."""
    if state and state["fingerprint"] != fingerprint:
        raise OptionError(f"--resume: {path} was made from other images; name the same --data_path, or use another "
                          "--save_path")


def refuse_result_of_others(path: Path, fingerprint: str, sources: Mapping[str, Any]) -> None:
    """Raise OptionError if the result at `path` was made from other images, or other `sources` {name: plain value}."""
    meta = load_result(path)["meta"]
    others = [] if meta.get("fingerprint") == fingerprint else ["images"]
    others += [name for name, source in sources.items() if meta.get(name, [source])[0] != source]
    if others:
        raise OptionError(f"{path} was made from other {' and '.join(others)}; use another --save_path, or --overwrite")


def check_writable(folder: Path, flag: str = "--save_path") -> None:
    """Make `folder`, named by `flag`, and prove that files can be written there; raises OptionError otherwise."""
    try:
        with atomic_path(folder / ".writable") as path:
            path.write_bytes(b"")
        (folder / ".writable").unlink()
    except OSError as error:
        raise OptionError(f"cannot write to {flag} {folder} ({error.strerror or error}); name a folder that "
                          "can be written to") from None


def copy_state(*owners: Any) -> list[dict[str, Any]]:
    """Return deep copies of the state dicts of modules or optimisers."""
    return [copy.deepcopy(owner.state_dict()) for owner in owners]


def restore_state(states: Iterable[dict[str, Any]], *owners: Any) -> None:
    """Load state dicts made by `copy_state` back."""
    for state, owner in zip(states, owners, strict=True):
        owner.load_state_dict(state)
