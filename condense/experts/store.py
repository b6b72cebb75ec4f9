"""Expert trajectories on disk while they are made: nothing finished is lost, or made twice, however a run ends.

A finished expert is a file of its own in a hidden folder until enough of them fill a replay file. That file is
written first, then listed in `buffer.json`, and only then are the single files removed: after a kill in between, the
same file is written once more.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from condense.core.errors import OptionError
from condense.core.files import locked
from condense.experts.folder import SIDECAR, WHITENING, read_sidecar, replay_files, replay_path, write_sidecar
from condense.run.checkpoints import differing
from condense.run.results import save_atomically

UNFINISHED, STATE, LOCK = ".unfinished", "state.pt", ".lock"
# what experts had of options that came later than they did
BEFORE = {"optimizer": "sgd", "decay_epochs": None, "decay_factor": 0.5, "net_init": "default", "init_param": 1.0}


class ExpertStore:
    """The folder of a buffer that is being made; `about` is what its `buffer.json` says, `experts` included.

    An expert's entry there: its number, the file and the place in it, and its figures.
    """

    def __init__(self, folder: str | Path, about: dict[str, Any]) -> None:
        self.folder, self.about = Path(folder), {**about, "experts": []}
        self.unfinished, self.state_path = self.folder / UNFINISHED, self.folder / UNFINISHED / STATE

    @property
    def listed(self) -> list[dict[str, Any]]:
        """The entries of experts that are in replay files."""
        return self.about["experts"]

    def take_up(self, resume: bool, overwrite: bool) -> None:
        """Find out what is there already; raises OptionError where going on would lose or mix something.

        Reads only. With `overwrite` what is there does not count, unless `resume` is wanted as well.
        """
        if overwrite and not resume:
            return
        files, before = replay_files(self.folder), self._read_sidecar()
        if before is None and not files:
            return
        if not resume:
            raise OptionError(f"{self.folder} holds experts already; go on with --resume, start again with "
                              "--overwrite, or use another --buffer_path")
        if before is None:
            raise OptionError(f"{self.folder} holds replay files without {SIDECAR}, so the run cannot go on; use "
                              "another --buffer_path, or --overwrite")
        self._refuse_other(before)
        self._refuse_disorder(before["experts"], files)
        self.about["experts"] = before["experts"]

    def _read_sidecar(self):
        try:
            return read_sidecar(self.folder)
        except ValueError as error:
            raise OptionError(f"{error}; or start again with --overwrite") from None

    def _refuse_other(self, before):
        lines = differing({**BEFORE, **before["options"]}, {**BEFORE, **self.about["options"]})
        if lines:
            raise OptionError(f"--resume: the experts in {self.folder} were made with other options "
                              f"({'; '.join(lines)}); repeat them, or use another --buffer_path")
        if before["fingerprint"] != self.about["fingerprint"]:
            raise OptionError(f"--resume: the experts in {self.folder} were made from other images; name the same "
                              "--data_path, or use another --buffer_path")

    def _refuse_disorder(self, listed, files):
        """Refuse listed files that are gone, and files that are not listed (but for one written before a kill)."""
        numbers = {entry["file"] for entry in listed}
        gone = [replay_path(self.folder, number).name for number in numbers if number not in files]
        if gone:
            raise OptionError(f"{gone[0]}, which {self.folder / SIDECAR} lists, is missing; put it back, or start "
                              "again with --overwrite")
        strange = [path.name for number, path in files.items()
                   if number not in numbers and not (number == _first_free(listed) and self._single_files())]
        if strange:
            raise OptionError(f"{self.folder / SIDECAR} does not list {strange[0]}, which another program made; move "
                              "it to another folder, or use another --buffer_path")

    @contextlib.contextmanager
    def held(self, resume: bool, overwrite: bool) -> "Iterator[ExpertStore]":
        """Within: this process alone writes here. Makes the folder, clears it for `overwrite`, and takes up again."""
        self._make_folder()
        with locked(self.folder / LOCK, self._refuse_company):
            self.unfinished.mkdir(exist_ok=True)
            try:
                self.take_up(resume, overwrite)
                self._clear(everything=overwrite and not resume)
                if not self.listed:
                    write_sidecar(self.folder, self.about)
                yield self
            finally:
                with contextlib.suppress(OSError):
                    self.unfinished.rmdir()               # stays where it holds something

    def _make_folder(self):
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / LOCK, self._refuse_company):
                pass
        except OSError as error:
            raise OptionError(f"cannot write to --buffer_path {self.folder} ({error.strerror or error}); name a folder "
                              "that can be written to") from None

    def _refuse_company(self):
        raise OptionError(f"another process is making experts in {self.folder}; wait for its end, or use another "
                          "--buffer_path")

    def _clear(self, everything):
        """Remove what a killed process left half-written or no longer needs; with `everything` also all experts."""
        for folder in (self.folder, self.unfinished):
            for path in folder.glob(".*.part"):
                path.unlink()
        if everything:
            for path in (self.folder / SIDECAR, self.folder / WHITENING, *replay_files(self.folder).values()):
                path.unlink(missing_ok=True)
            shutil.rmtree(self.unfinished)
            self.unfinished.mkdir()
        for entry in self.listed:
            self._single_path(entry["number"]).unlink(missing_ok=True)
        state = self.load_state()
        if state and not {entry["number"] for entry in state["experts"]} - set(self.finished()):
            self.clear_state()

    def finished(self) -> list[int]:
        """Return the numbers of all experts that are done, ascending."""
        return sorted({entry["number"] for entry in self.listed} | set(self._single_files()))

    def missing(self, total: int) -> list[int]:
        """Return the numbers of experts that are still to do for `total` of them, ascending."""
        done = set(self.finished())
        return [number for number in range(total) if number not in done]

    def keep_expert(self, number: int, trajectory: list[list[Tensor]], figures: dict[str, Any]) -> None:
        """Write a finished expert, unless it is there."""
        if number not in self.finished():
            save_atomically({"trajectory": trajectory, "figures": figures}, self._single_path(number))

    def pack(self, interval: int, rest: bool = False) -> None:
        """Put finished experts into replay files of `interval` each; with `rest` a shorter one with what is left."""
        waiting = list(self._single_files())
        while len(waiting) >= interval or (rest and waiting):
            self._write_file(waiting[:interval])
            waiting = waiting[interval:]

    def _write_file(self, numbers):
        paths, place = [self._single_path(number) for number in numbers], _first_free(self.listed)
        experts = [torch.load(path, mmap=True, weights_only=True) for path in paths]
        save_atomically([expert["trajectory"] for expert in experts], replay_path(self.folder, place))
        entries = [{"number": number, "file": place, "index": index, **expert["figures"]}
                   for index, (number, expert) in enumerate(zip(numbers, experts))]
        self.about["experts"] = [*self.listed, *entries]
        write_sidecar(self.folder, self.about)
        del experts                                       # an open mapping would keep some systems from removing it
        for path in paths:
            path.unlink()

    def save_state(self, state: dict[str, Any]) -> None:
        """Keep the state of experts under way, plain values and tensors; it replaces the earlier one."""
        save_atomically(state, self.state_path)

    def load_state(self) -> dict[str, Any] | None:
        """Return the state of experts under way, or None; raises OptionError for one that cannot be read."""
        if not self.state_path.is_file():
            return None
        try:
            return torch.load(self.state_path, map_location="cpu", weights_only=True)
        except Exception as error:                        # torch, zip and pickle errors alike: not a whole file
            raise OptionError(f"{self.state_path} cannot be read ({type(error).__name__}); remove it; unfinished "
                              "experts then start again") from None

    def clear_state(self) -> None:
        self.state_path.unlink(missing_ok=True)

    def _single_path(self, number):
        return self.unfinished / f"expert_{number}.pt"

    def _single_files(self):
        """Return {number: path} of finished experts that wait for a replay file, ascending."""
        found = {int(path.stem.removeprefix("expert_")): path for path in self.unfinished.glob("expert_*.pt")}
        return dict(sorted(found.items()))


def _first_free(listed):
    """Return the number of the next replay file."""
    return 1 + max((entry["file"] for entry in listed), default=-1)
