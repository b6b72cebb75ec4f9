"""Banks of trained networks: the last snapshots of the experts of a folder, to learn for and to evaluate on.

Wang, Zhu, Torralba & Efros, "Dataset Distillation", 2018: fixed and random pre-trained networks. `buffer.py` makes
them; a folder whose experts keep their last snapshot alone is as good as one of whole trajectories.
"""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from condense.core.errors import InputError
from condense.data import DataChoice, load_data
from condense.data.real import RealData
from condense.experts.trajectories import ExpertBuffer, open_experts

HELD_BYTES = 1 << 30                       # opening a file anew takes as long as some steps


class Bank:
    """`number` networks from `first` on, of `experts` (an `ExpertBuffer`), each as its last snapshot has it.

    bank[i] is one of them, flat parameters (P,) float32 on `device` in the order of `net.parameters()`; read only. It
    comes from the disk when it is first asked for, and then stays in the host's memory, as long as 1 GiB holds them.
    """

    def __init__(self, experts: ExpertBuffer, first: int, number: int, device: torch.device | str = "cpu") -> None:
        self.experts, self.first, self.number, self.device = experts, first, number, device
        self._held = {}

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, i: int) -> Float[Tensor, " p"]:
        if not 0 <= i < self.number:
            raise IndexError(f"network {i} of a bank of {self.number}")
        theta = self._held.get(i)
        if theta is None:
            theta = self.experts.snapshot(self.first + i, self.experts.last_epoch)
            if (len(self._held) + 1) * theta.nbytes <= HELD_BYTES:
                self._held[i] = theta
        return theta.to(self.device)

    @property
    def source(self) -> dict[str, Any]:
        """Plain values that say which experts these and their neighbours are, for the `meta` of a result."""
        return self.experts.source

    def together(self) -> Float[Tensor, "number p"]:
        """Return all of them, (number, P)."""
        return torch.stack([self[i] for i in range(self.number)])


def open_banks(buffer_path: str | Path, net: nn.Module, real: RealData, model: str, n_nets: int, num_eval: int,
               data: DataChoice, device: torch.device | str = "cpu",
               source: DataChoice | None = None) -> tuple[Bank, Bank]:
    """Return (`Bank` to learn for, `Bank` to score on), of networks like `net`, named `model`.

    They were trained on `real`, which `data` (`DataChoice`) names, or on the images that the `DataChoice` `source`
    names. The first `n_nets` experts below `buffer_path`, and the `num_eval` next ones, which nothing is learned for;
    of one network alone (`n_nets` 1) both are that. Raises ValueError for images of `source` that are not like those
    of `real`, and what `open_experts` raises; where there are too few, with the command that makes them.
    """
    trained_on = real
    if source is not None:
        trained_on = load_data(source)
        require_alike(trained_on, real)
    alone = n_nets == 1
    experts = open_experts(buffer_path, net, trained_on, model, None, source or data,
                           number=n_nets if alone else n_nets + num_eval)
    training = Bank(experts, 0, n_nets, device)
    return training, training if alone else Bank(experts, n_nets, num_eval, device)


def require_alike(source: RealData, target: RealData) -> None:
    """Raise ValueError where networks that were trained on `source` cannot take the images of `target`, or its classes.

    Both are `RealData`. Colour can be told apart from grey, and one size be brought to the other.
    """
    if source.im_size != target.im_size:
        sides = ["x".join(map(str, real.im_size)) for real in (source, target)]
        raise InputError(f"images of --source_dataset {source.name} are {sides[0]}, those of {target.name} {sides[1]}; "
                         f"bring both to one size: --im_size {max(*source.im_size, *target.im_size)}")
    if source.channel != target.channel:
        raise InputError(f"images of --source_dataset {source.name} have {_channels(source)}, those of {target.name} "
                         f"{_channels(target)}; choose two data sets that are both grey or both in colour")
    if source.num_classes != target.num_classes:
        raise InputError(f"--source_dataset {source.name} has {source.num_classes} classes and {target.name} has "
                         f"{target.num_classes}; choose two data sets of as many, or keep some --classes")


def _channels(real):
    return f"{real.channel} channel{'s' * (real.channel > 1)}"
