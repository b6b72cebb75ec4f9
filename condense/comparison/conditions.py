"""Conditions that differ from the default: own starts of the networks, and an attack on a class.

Wang, Zhu, Torralba & Efros, "Dataset Distillation", 2018: networks that were fixed, or trained, before the first step.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from condense.comparison.intervals import added
from condense.core.types import LabelledImages
from condense.evaluation.poisoning import attack_figures, relabelled
from condense.training.protocols import Protocol, StepProtocol
from condense.training.steps import Steps, split_steps
from condense.training.train import TensorSet


@dataclass(frozen=True, eq=False)
class Conditions:
    """Network i begins as `starts`[i % m], (m, P), where they are given, else afresh: in protocol dd alone.

    Of an `attack` (class K, class T) images of class K are labelled T.
    """

    starts: torch.Tensor | None = None
    attack: tuple | None = None

    def key(self) -> dict[str, Any]:
        """Return plain values that tell these from other conditions; {} for the usual ones."""
        starts = {} if self.starts is None else {"starts": self._digest}
        return starts | ({} if self.attack is None else {"attack": list(self.attack)})

    @cached_property
    def _digest(self):
        values = self.starts.detach().float().cpu().contiguous()
        return hashlib.sha256(repr(tuple(values.shape)).encode() + values.numpy().tobytes()).hexdigest()

    def facts(self, confusions: Sequence[Sequence[Sequence[int]] | None]) -> dict[str, Any]:
        """Return what an attack comes to over all networks, from the `confusion` of each, as facts; {} without one."""
        if self.attack is None:
            return {}
        counts = added(confusions)                                                           # type: ignore[arg-type]
        return attack_facts(attack_figures(counts, *self.attack), self.attack)

    def applied(self, data: LabelledImages | Callable[[int], LabelledImages], model: str, protocol: Protocol,
                period: int | None = None) -> LabelledImages | Callable[[int], LabelledImages]:
        """Return `data` of `evaluate`, a set or a function i -> set, as networks `model` see it by `protocol`.

        With `period` network i begins as network i % `period` does.
        """
        if not self.key():
            return data
        if hasattr(data, "labels"):
            same = self._changed(data, protocol)
            return lambda i: self._begun(same, i if period is None else i % period, i, model)
        return lambda i: self._begun(self._changed(data(i), protocol), i if period is None else i % period, i, model)

    def _changed(self, data, protocol):
        """Return the set with the batches that it would be cut into, and with the labels of the attack."""
        steps = Steps(split_steps(data.labels, protocol.distill_steps)) if isinstance(protocol, StepProtocol) else None
        labels = data.labels if self.attack is None else relabelled(data.labels, *self.attack)
        return TensorSet(data.images(), labels, steps)

    def _begun(self, data, start, i, model):
        """Return the set with a start for each network up to `i`, the last of which is number `start`."""
        if self.starts is None or data.steps is None:
            return data
        starts = self.starts[start % len(self.starts)].to(data.labels.device).expand(i + 1, -1)    # a view: no copies
        return TensorSet(data.tensor, data.labels, Steps(data.steps.rows, None, starts, model))


def attack_facts(figures: dict[str, float], attack: Sequence[int]) -> dict[str, Any]:
    """Return the `attack_figures` of an attack (class K, class T) as facts, with what accuracies must be read with."""
    attacked, target = attack
    caveat = (f"class {attacked} attacked to be taken for {target}: {100 * figures['attacked_class_accuracy']:.1f} % "
              f"of it are right, {100 * figures['attacked_as_target']:.1f} % are taken for that")
    return {"attack": figures, "caveat": caveat}


USUAL = Conditions()
