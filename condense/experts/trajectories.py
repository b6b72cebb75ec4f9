"""Expert trajectories as trajectory matching reads them: checked once, then a snapshot at a time from the disk.

What is read follows Cazenavette et al., CVPR 2022: a segment of an expert, from one epoch to a later one.
"""

import logging
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from condense.core.errors import InputError, MissingFile
from condense.data import DataChoice
from condense.data.real import RealData
from condense.experts.folder import (
    buffer_command,
    expert_folder,
    is_resized,
    published_folder,
    read_sidecar,
    replay_files,
)
from condense.experts.replay import Unreadable, flat, is_mappable, open_replay, refuse_other_shapes, refuse_standstill

log = logging.getLogger("condense")

USUAL_EPOCHS = 50                          # of buffer.py, unless told otherwise
OPEN_FILES = 4                             # mapped files that stay open; of those read whole it is one
SIZED = ("folder", "file", "ImageNet")     # whose size a command says
ORDER = 1                                  # last key of the generators that choose experts: others have none there


def open_experts(buffer_path: str | Path, net: nn.Module, real: RealData, model: str, needs: tuple[int, int] | None,
                 data: DataChoice | None = None, number: int | None = None, **how: Any) -> "ExpertBuffer":
    """Return the `ExpertBuffer` of `real` and the network named `model` below `buffer_path`; see `open_buffer`.

    `net` is such a network; `needs` are the first and last epoch that will be read, or None where any will do. `data`
    is the `DataChoice` that `real` was loaded by, for the command that errors name. With `number` the first so many
    experts count, and fewer are refused. `how` goes on to `open_buffer`.
    """
    data = data or DataChoice(real.name)
    whitened, side = real.zca is not None, real.im_size[0]
    asked = real.im_size[1] == side and (real.name in SIZED or is_resized(real.name, side))
    folder = expert_folder(buffer_path, real.name, model, zca=whitened, subset=data.subset, side=side)
    published = published_folder(buffer_path, real.name, model)
    if published and not replay_files(folder) and replay_files(published):
        folder = published
    command = buffer_command(buffer_path, real.name, model, zca=whitened, subset=data.subset,
                             data_path=None if data.data_path == DataChoice.data_path else data.data_path,
                             seed=data.seed, resize=data.resize, classes=real.class_ids,
                             im_size=side if asked else None)
    shapes = [tuple(parameter.shape) for parameter in net.parameters()]
    return open_buffer(folder, shapes, needs=needs, model=model, dataset=real.name, fingerprint=real.fingerprint,
                       whitened=whitened, command=command, number=number, **how)


def open_buffer(folder: str | Path, shapes: Sequence[Sequence[int]], *, needs: tuple[int, int] | None, model: str,
                dataset: str, fingerprint: str, whitened: bool, command: str = "python buffer.py",
                skip_bad: bool = False, max_files: int | None = None, max_experts: int | None = None,
                number: int | None = None, load_all: bool = False) -> "ExpertBuffer":
    """Return the experts in `folder`, ours or anyone's, as an `ExpertBuffer`.

    They must have parameters of `shapes`, and snapshots of the epochs `needs` (first, last), or of any where that is
    None. Where `buffer.json` is with them, `model`, `dataset`, its `fingerprint` and whether it is `whitened` must
    match. Of the files the first `max_files` count, in each the first `max_experts`, and of all experts the
    first `number`, which must be there; `skip_bad` leaves out files that cannot be read. `load_all` holds all in
    memory. Raises FileNotFoundError or ValueError in one line; `command` makes such experts.
    """
    folder = Path(folder)
    if needs and needs[1] > USUAL_EPOCHS:
        command += f" --train_epochs {needs[1]}"
    if number is not None:
        command += f" --num_experts {number}"
    paths = list(replay_files(folder).values())
    if not paths:
        raise MissingFile(f"no expert trajectories in {folder}; make them: {command}")
    about = read_sidecar(folder)
    if about is None:
        log.info("%s has no buffer.json: it is not known which images its experts saw, and how these were "
                 "normalised", folder)
    else:
        _refuse_others(folder, about, model, dataset, fingerprint, whitened, command)
        _refuse_unlisted(folder, about, paths)
    files = _survey(paths, shapes, max_files, max_experts, skip_bad)
    if number is not None:
        files = _first(folder, files, number, command)
    buffer = ExpertBuffer(files, about["first_epoch"] if about else 0, about, load_all)
    if needs:
        _refuse_short(folder, buffer, needs, command)
    return buffer


def _refuse_others(folder, about, model, dataset, fingerprint, whitened, command):
    """Raise ValueError, saying both sides, for experts of another network, data set or normalisation."""
    theirs = about["zca"] is not None
    if about["model"] != model:
        raise InputError(f"{folder} holds experts of {about['model']}, this run uses {model}; give --model "
                         f"{about['model']}, or make experts: {command} --overwrite")
    if theirs != whitened:
        mend = "give --zca" if theirs else "leave out --zca"
        raise InputError(f"the experts in {folder} saw {_normalised(theirs)} images, this run's are "
                         f"{_normalised(whitened)}; {mend}, or make experts: {command}")
    if about["dataset"] != dataset:
        raise InputError(f"{folder} holds experts of {about['dataset']}, this run condenses {dataset}; make experts: "
                         f"{command}")
    if about["fingerprint"] != fingerprint:
        raise InputError(f"the experts in {folder} saw other images of the name {dataset} (fingerprint "
                         f"{about['fingerprint'][:12]}) than this run has ({fingerprint[:12]}); name the same "
                         "--data_path, --subset, --classes, --im_size, --resize and --seed, or make experts: "
                         f"{command} --overwrite")


def _refuse_unlisted(folder, about, paths):
    """Raise ValueError for a replay file that `buffer.json` does not list: it is not known what its experts saw."""
    listed = {f"replay_buffer_{entry['file']}.pt" for entry in about["experts"]}
    strange = [path.name for path in paths if path.name not in listed]
    if strange:
        raise InputError(f"{folder / 'buffer.json'} does not list {strange[0]}; move it to another folder; if "
                         "buffer.py was stopped, let it finish with --resume")


def _normalised(whitened):
    return "ZCA-whitened" if whitened else "normalised"


def _survey(paths, shapes, max_files, max_experts, skip_bad):
    """Return [(path, number of experts, snapshots of the shortest)] of the first `max_files` that are whole."""
    files = []
    for path in paths:
        if len(files) == max_files:
            break
        try:
            trajectories = open_replay(path)[:max_experts]
        except Unreadable as error:
            if not skip_bad:
                raise Unreadable(f"{error}; --skip_bad goes on with the other files") from None
            log.warning("%s; going on without it", error)
            continue
        refuse_other_shapes(path, trajectories, shapes)
        refuse_standstill(path, trajectories)
        files.append((path, len(trajectories), min(map(len, trajectories))))
    if not files:
        raise InputError(f"none of the {len(paths)} replay files in {paths[0].parent} can be read; make them again")
    return files


def _first(folder, files, number, command):
    """Return `files` as `_survey` does, of the first `number` experts; raises ValueError where there are fewer."""
    found, chosen = sum(count for _, count, _ in files), []
    if found < number:
        raise InputError(f"{folder} holds {found} expert{'s' * (found > 1)}, but {number} are needed; make the others "
                         f"with the flags that made these: {command} --resume")
    for path, count, length in files:
        if number:
            chosen.append((path, min(count, number), length))
        number = max(0, number - count)
    return chosen


def _refuse_short(folder, buffer, needs, command):
    first, last = needs
    held = f"the experts in {folder} hold epochs {buffer.first_epoch} to {buffer.last_epoch}"
    if buffer.first_epoch == buffer.last_epoch and first < last:
        raise InputError(f"the experts in {folder} hold epoch {buffer.last_epoch} alone, but a segment needs two "
                         f"epochs; make experts with all epochs: {command} --overwrite")
    if last > buffer.last_epoch:
        raise InputError(f"{held}, but epochs up to {last} are needed (max_start_epoch - 1 + expert_epochs); lower "
                         f"--max_start_epoch or --expert_epochs, or make longer ones: {command} --overwrite")
    if first < buffer.first_epoch:
        raise InputError(f"{held}, but epochs from {first} on are needed; raise --min_start_epoch to "
                         f"{buffer.first_epoch}, or make experts with all epochs: {command} --overwrite")


class ExpertBuffer:
    """Experts by number, 0..len - 1, file after file; each holds epochs `first_epoch`..`last_epoch`.

    `source` says in plain values what they are, for the `meta` of a result. Snapshots come from mapped files, so that
    memory stays small however large the buffer; with `load_all` they are all in memory.
    """

    def __init__(self, files: Sequence[tuple[Path, int, int]], first_epoch: int, about: Mapping[str, Any] | None,
                 load_all: bool = False) -> None:
        self._paths, counts, lengths = zip(*files)
        self._file_of = np.repeat(np.arange(len(counts)), counts)                          # (number of experts,)
        self._place = np.concatenate([np.arange(count) for count in counts])
        self.first_epoch, self.last_epoch = first_epoch, first_epoch + min(lengths) - 1
        self.source = self._describe(about, counts)
        self._open, self._held = {}, None
        if load_all:
            self._held = [torch.stack([flat(snapshot) for snapshot in self._trajectory(number)[:min(lengths)]])
                          for number in range(len(self))]
            self._open.clear()

    def __len__(self) -> int:
        return len(self._file_of)

    def _describe(self, about, counts):
        folder = self._paths[0].parent
        source = {"folder": f"{folder.parent.name}/{folder.name}", "experts": sum(counts), "files": len(counts),
                  "first_epoch": self.first_epoch, "last_epoch": self.last_epoch, "sidecar": about is not None}
        if about is None:
            return source
        used = {path.name: count for path, count in zip(self._paths, counts)}
        tested = [list(entry["test_accuracy"].values())[-1] for entry in about["experts"]
                  if entry["index"] < used.get(f"replay_buffer_{entry['file']}.pt", 0)]
        if tested:
            source["test_accuracy"] = {"mean": statistics.fmean(tested), "std": statistics.pstdev(tested)}
        return {**source, "fingerprint": about["fingerprint"], "options": about["options"]}

    def pick(self, iteration: int, rng: Callable[..., torch.Generator]) -> int:
        """Return the number of the expert that `iteration` matches; `rng(*key)` returns the generator of a key.

        Every expert once in a pass: files in a random order, in each its experts in a random order. With `load_all`
        uniform draws instead, as published. Iteration k has the same expert whatever came before.
        """
        if self._held:
            return int(torch.randint(len(self), (), generator=rng(iteration, ORDER)))
        number_of_pass, place = divmod(iteration, len(self))
        draws = torch.rand(len(self._paths) + len(self), generator=rng(number_of_pass, ORDER), dtype=torch.float64)
        of_files, of_experts = draws.numpy()[:len(self._paths)], draws.numpy()[len(self._paths):]
        return int(np.lexsort((of_experts, of_files[self._file_of]))[place])

    def segment(self, number: int, start_epoch: int, end_epoch: int,
                device: torch.device | str = "cpu") -> tuple[Float[Tensor, " p"], Float[Tensor, " p"]]:
        """Return expert `number` after `start_epoch` and after `end_epoch` epochs: float32 vectors (P,) on `device`."""
        return self.snapshot(number, start_epoch, device), self.snapshot(number, end_epoch, device)

    def snapshot(self, number: int, epoch: int, device: torch.device | str = "cpu") -> Float[Tensor, " p"]:
        """Return the parameters of expert `number` after `epoch` epochs: a float32 vector (P,) on `device`, a copy."""
        if not self.first_epoch <= epoch <= self.last_epoch:
            raise IndexError(f"epoch {epoch} is none of {self.first_epoch} to {self.last_epoch}, which experts hold")
        place = epoch - self.first_epoch
        stored = self._held[number][place].clone() if self._held else flat(self._trajectory(number)[place])
        return stored.to(device, torch.float32)

    def _trajectory(self, number):
        return self._file(self._paths[self._file_of[number]])[self._place[number]]

    def _file(self, path):
        """Return the trajectories of the file, from those that are open where it is one, the latest being the last."""
        content = self._open.pop(path, None)
        if content is None:
            most = OPEN_FILES if is_mappable(path) else 1
            while len(self._open) >= most:
                del self._open[next(iter(self._open))]
            content = open_replay(path)
        self._open[path] = content
        return content
