"""One replay file: how it is opened, and what can be wrong with it."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from condense.core.errors import InputError

log = logging.getLogger("condense")

ZIP = b"PK\x03\x04"                        # what PyTorch's files begin with since 1.6; older ones cannot be mapped


class Unreadable(InputError):
    """A file that is cut off, or holds something else than trajectories."""


def is_mappable(path: str | Path) -> bool:
    """Say whether the file can be mapped into memory, so that only what is read comes into it."""
    with open(path, "rb") as file:
        return file.read(len(ZIP)) == ZIP


def open_replay(path: str | Path) -> Sequence[Sequence[Sequence[Tensor]]]:
    """Return the trajectories in a replay file: lists of snapshots, lists of tensors in `net.parameters()` order.

    Mapped where the format allows, else read whole. Raises Unreadable in one line.
    """
    try:
        content = torch.load(path, map_location="cpu", mmap=is_mappable(path), weights_only=True)
    except Exception as error:                            # torch, zip and pickle errors alike: not a whole file
        raise Unreadable(f"{path} is incomplete or no replay file ({type(error).__name__})") from error
    if not (_are_lists([content]) and _are_lists(content) and all(map(_are_lists, content))):
        raise Unreadable(f"{path} holds no list of trajectories")
    if not all(torch.is_tensor(tensor) for trajectory in content for snapshot in trajectory for tensor in snapshot):
        raise Unreadable(f"{path} holds snapshots that are no lists of tensors")
    return content


def _are_lists(values):
    return all(isinstance(value, (list, tuple)) and len(value) for value in values)


def refuse_other_shapes(path: str | Path, trajectories: Sequence[Sequence[Sequence[Tensor]]],
                        shapes: Sequence[Sequence[int]]) -> None:
    """Raise ValueError, saying both sides, unless every snapshot has tensors of `shapes`."""
    for snapshot in (snapshot for trajectory in trajectories for snapshot in trajectory):
        found = [tuple(tensor.shape) for tensor in snapshot]
        if found == shapes:
            continue
        if len(found) != len(shapes):
            difference = f"{len(found)} tensors, not {len(shapes)}"
        else:
            place = next(i for i, pair in enumerate(zip(found, shapes)) if pair[0] != pair[1])
            difference = f"its tensor {place} is {found[place]}, not {shapes[place]}"
        raise InputError(f"{path} holds experts of another network than this run's: {difference}; give their --model "
                         "(and image size), or make experts of this one")


def refuse_standstill(path: str | Path, trajectories: Sequence[Sequence[Sequence[Tensor]]]) -> None:
    """Raise ValueError where an expert ends as it began: recorded without copies, snapshots are all the last one."""
    for trajectory in trajectories:
        if len(trajectory) > 1 and all(map(torch.equal, trajectory[0], trajectory[-1])):
            raise InputError(f"{path} holds an expert whose snapshots are all equal: it was recorded without copying; "
                             "make it again with buffer.py")


def flat(snapshot: Iterable[Tensor]) -> Float[Tensor, " p"]:
    """Return a snapshot as one vector (P,), in the dtype it is stored in; a copy."""
    return torch.cat([tensor.detach().reshape(-1) for tensor in snapshot])
