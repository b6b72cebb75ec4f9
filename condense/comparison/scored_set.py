"""A set file made ready to score: with its real data, its protocols, its random streams, and what it stores."""

import dataclasses
import hashlib
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from condense.comparison.conditions import Conditions, attack_facts
from condense.core.errors import InputError
from condense.core.files import file_sha256
from condense.core.randomness import Streams
from condense.data.real import RealData
from condense.evaluation.poisoning import require_classes
from condense.methods import METHODS
from condense.networks import network_for
from condense.training.pools import EVAL_MODES, eval_pool
from condense.training.protocols import Protocol, dc_protocols, protocol_of
from condense.training.published import default_models, named_protocols, varied
from condense.training.train import TensorSet

log = logging.getLogger("condense")

LAYOUT_PROTOCOLS = {"mtt": "mtt", "idc": "idc"}            # all others: as DSA and DM, or DC where the method says so
NUM_EVAL = 5                                               # networks, where nothing says how many


@dataclass(frozen=True)
class Changes:
    """What the command line asks to be other than a set's own protocol says; None leaves it."""

    protocol: str | None = None
    epochs: int | None = None
    lr: float | None = None
    batch_size: int | None = None
    augmentation: str | None = None


class ScoredSet:
    """The sets of one `SetFile`, `placed` with their real data: one for each experiment, `which` of them.

    `which` is "last" or "best"; `experiment` picks one. A file of continual learning has one set, the union of its
    steps. Raises ValueError, naming the mend, where there is no such set.
    """

    def __init__(self, file: Any, placed: Any, which: str = "last", experiment: int | None = None) -> None:
        if file.meta and not {"protocols", "fingerprint"} <= file.meta.keys():
            raise InputError(f"{file.path}: its meta has no protocols or no fingerprint; make the result again with "
                             "this version")
        self.file, self.placed, self.which, self.experiment = file, placed, which, experiment
        self.stored = file.best if which == "best" else file.sets
        self.sets = placed.best if which == "best" else placed.sets
        if not self.sets:
            raise InputError(f"{file.path} holds no {which} set; leave --which out")
        if file.layout == "steps":
            self.sets = [TensorSet(torch.cat([data.images() for data in self.sets]),
                                   torch.cat([data.labels for data in self.sets]))]
        else:
            self.sets = [_along(one, stored, file.path, placed.decode) for one, stored in zip(self.sets, self.stored)]
        if experiment is not None and experiment >= len(self.sets):
            raise InputError(f"{file.path} holds {len(self.sets)} experiments; --experiment counts them from 0")
        self.experiments = range(len(self.sets)) if experiment is None else [experiment]
        self.record = file.scored_by(self.experiments[0], which) or {}
        self.sets = [dataclasses.replace(one, views=self.record.get("views", 1)) for one in self.sets]
        self.steps = getattr(self.sets[self.experiments[0]], "steps", None)

    @property
    def real(self) -> RealData:
        return self.placed.real

    @property
    def images(self) -> int:
        """How many images networks train on: of one set."""
        return len(self.sets[0].labels)

    @property
    def factor(self) -> int:
        """Tiles per side of a stored image, whether the file or this reader decoded them."""
        return max(self.placed.decode, self.file.decoded or 1)

    @property
    def bytes(self) -> int:
        """The bytes that one set stores: as its maker counts them, else 4 per value, and per soft label."""
        if self.file.meta and "storage" in self.file.meta:
            return self.file.meta["storage"]["bytes"]
        values = [one.images.numel() + (one.labels.numel() if one.labels.dim() > 1 else 0) for one in self.stored]
        return 4 * (sum(values) if self.file.layout == "steps" else values[0])

    def name(self) -> str:
        """Name the set in a table."""
        return f"{self.file.path.stem or self.file.path.name}{', best' if self.which == 'best' else ''}"

    def streams(self, rng: Streams, exp: int) -> Callable[..., torch.Generator]:
        """Return `rng(key, i)` of experiment `exp`: for a set of ours, the one its run scored it with."""
        record = self.file.scored_by(exp, self.which) or {"experiment": exp, "iteration": 0}
        return partial(rng, "evaluation", record["experiment"], record["iteration"])

    def networks(self, names: Sequence[str], protocol: str) -> list[str]:
        """Return the networks to score on: `names` (pools or networks; none: those of its run, or of `protocol`)."""
        model, method = self.file.model or network_for(self.real.im_size[0]), self.file.method
        if not names:
            return list(self.record["protocols"] if self.record else default_models(protocol, model))
        found = [name for given in names for name in
                 (eval_pool(given, model, method) if given in (*EVAL_MODES, "C") else (given,))]
        return list(dict.fromkeys(found))

    def stored_networks(self) -> list[str]:
        """Return the networks that the file holds accuracies of; raises ValueError where it holds none."""
        meta = self.file.meta or {"protocols": {}}
        untrained = any(values.get("epochs") == 0 for values in meta["protocols"].values())
        if untrained or not self.file.accuracies or not all(self.file.accuracies.values()):
            raise InputError(f"{self.file.path} holds no accuracies of trained networks; leave --stored out")
        return list(self.file.accuracies)

    def stored_accuracies(self, model: str) -> list[list[float]]:
        """Return the accuracies of `model` over the experiments, as the file holds them."""
        values, number = self.file.accuracies[model], len(self.sets)
        return [values[exp * len(values) // number:(exp + 1) * len(values) // number] for exp in range(number)]

    @property
    def attack(self) -> tuple[int, int] | None:
        """(class attacked, class that it is to be taken for) of a set that was made to poison, else None."""
        if self.record.get("attack") is None:
            return None
        attacked, target = self.record["attack"]
        require_classes(attacked, target, self.real.num_classes)
        return attacked, target

    def conditions(self, model: str, protocol: Protocol) -> Conditions:
        """Return the `Conditions` of its baselines, with networks `model` trained by `protocol`."""
        starts = None
        if protocol.schedule == "steps" and self.steps is not None and self.steps.model == model:
            starts = together([self.sets[exp].steps.starts for exp in self.experiments])
        return Conditions(starts, self.attack)

    def stored_attack(self) -> dict[str, Any]:
        """Return what its run says of an attack as facts, meaned over networks and experiments; {} where none is."""
        told = (self.file.meta or {}).get("after_steps")
        if self.attack is None or not told or self.which == "best":
            return {}
        chosen = [told[exp] for exp in self.experiments]
        figures = {name: fmean(value for fact in chosen for value in fact[name]) for name in chosen[0]}
        return attack_facts(figures, self.attack)

    def facts(self) -> dict[str, Any]:
        """Return what a reader of its figures must know: how a chosen iteration was chosen, step sizes learned."""
        lrs = [self.stored[exp].lr for exp in self.experiments] if self.learned() is not None else None
        chosen = self.file.meta.get("best") if self.file.meta and self.which == "best" else None
        chosen = [{name: chosen[exp][name] for name in ("iteration", "selected_on", "caveat")}
                  for exp in self.experiments] if chosen else None
        caveat = self.file.caveat if not self.file.meta else chosen and chosen[0]["caveat"]
        return {name: value for name, value in (("learned_lrs", lrs), ("chosen", chosen), ("caveat", caveat)) if value}

    def source(self, address: object) -> dict[str, Any]:
        """Return plain values that say which set this is, and how it was read."""
        file, placed = self.file, self.placed
        return {"set": str(address), "sha256": file_sha256(file.path) if file.path.is_file() else None,
                "tensors_sha256": self._digest(), "which": self.which, "experiment": self.experiment,
                "layout": file.layout, "known_by": file.known_by, "space": placed.space, "evidence": placed.evidence,
                "decode": placed.decode}

    def _digest(self):
        """Hex sha256 of the images and labels that networks see: it tells spaces, factors and labels apart."""
        digest = hashlib.sha256()
        for exp in self.experiments:
            for tensor in (self.sets[exp].images(), self.sets[exp].labels):
                digest.update(repr(tuple(tensor.shape)).encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def num_eval(self, protocol: str) -> int:
        """Return how many networks its run evaluated, or 5; of fixed starts, which no other `protocol` takes, all."""
        starts = None if self.steps is None else self.steps.starts
        if starts is not None:
            return len(starts) if protocol == "dd" else max(NUM_EVAL, len(starts))
        return self.record.get("num_eval", NUM_EVAL)

    def learned(self, exp: int | None = None) -> float | None:
        """Return the step size learned with the set of an experiment (None: the mean over those scored), or None."""
        lrs = [self.stored[i].lr for i in (self.experiments if exp is None else [exp])]
        return math.fsum(lrs) / len(lrs) if None not in lrs else None

    def protocol_name(self, changes: Changes) -> str:
        """Return the name of its protocol: one asked for, its run's, or that of its layout and method."""
        return changes.protocol or self._own_protocol()

    def _own_protocol(self):
        """Return the name of the protocol that its run scored it by, or that of its layout and method."""
        if self.record:
            return _name_in(self.record["protocols"], self.learned() is not None)
        if self.steps is not None:
            return "dd"
        if self.factor > 1:                                # mosaics are IDC's
            return "idc"
        if self.learned() is not None:
            return "mtt"
        return LAYOUT_PROTOCOLS.get(self.file.layout, "dc" if _is_dc(self.file.method) else "dsa")

    def protocols(self, models: Iterable[str], changes: Changes, exp: int | None = None) -> dict[str, Protocol]:
        """Return {network name: `Protocol`} for `models`, with the step size learned in experiment `exp` (None: mean).

        A set of ours is scored as its run scored it, unless that trained for no epoch or `changes` name another one.
        """
        told = {}
        if self.record and (not changes.protocol or changes.protocol == self._own_protocol() == "dd"):
            told = {model: protocol_of(values) for model, values in self.record["protocols"].items()
                    if values.get("epochs")}
        return {model: self._told(model, told, changes, exp) if told else self._named(model, changes, exp)
                for model in models}

    def _told(self, model, told, changes, exp):
        """The protocol of the run; of a network that it did not score, as it would have scored that."""
        protocol = told.get(model) or self._like(model, next(iter(told.values())))
        if changes.augmentation:
            protocol = varied(protocol, self.protocol_name(changes), changes.augmentation, model, self.real)
        learned = self.learned(exp)
        protocol = protocol if learned is None else protocol.with_step_size(learned)
        values = {"epochs": changes.epochs, "lr": changes.lr, "batch_size": changes.batch_size}
        return dataclasses.replace(protocol, **{name: value for name, value in values.items() if value is not None})

    def _like(self, model, other):
        """Return the protocol of `model` where another network had `other`: DC's and IDC's depend on the network."""
        if other.schedule == "idc" and self.record.get("epochs") == "auto":
            return dataclasses.replace(other, epochs=self._named(model, Changes("idc"), None).epochs)
        if other.augmentation != "classic":
            return other
        epochs = self.record.get("epochs") or other.epochs
        return dc_protocols([model], self.real.name, epochs, other.lr, other.batch_size)[model]

    def _named(self, model, changes, exp):
        protocol = named_protocols(self.protocol_name(changes), [model], self.real, epochs=changes.epochs,
                                   lr=changes.lr, batch_size=changes.batch_size, augmentation=changes.augmentation,
                                   num_images=-(-self.images // self.real.num_classes),
                                   lr_learned=self.learned(exp), factor=self.factor)[model]
        if protocol.schedule != "steps" or self.steps is None or changes.epochs is not None:
            return protocol
        batches = len(self.steps.rows)
        return dataclasses.replace(protocol, epochs=len(self.steps.sizes) // batches, distill_steps=batches)

    def keeps_its_steps(self, protocol: Protocol) -> bool:
        """Say whether `protocol` takes step sizes that were learned with the set, one for each step."""
        return protocol.schedule == "steps" and protocol.lr is None and self.steps is not None

    def fixed_lr(self, protocol: Protocol, searched: bool = False) -> Protocol:
        """Return `protocol` at a learning rate that was not made for this set: the published one, if it was."""
        if protocol.schedule == "steps" or not (searched or self.learned() is not None):
            return protocol
        return dataclasses.replace(protocol, lr=Protocol.lr)


def _is_dc(method):
    return method in METHODS and METHODS[method].protocol == "dc"


def together(starts: list[Float[Tensor, "m p"]]) -> Float[Tensor, "n p"]:
    """Return the starts (m, P) of several experiments as one tensor: each experiment's first, then their second, ..."""
    first = starts[0]
    if all(torch.equal(start, first) for start in starts[1:]):
        return first
    if any(start.shape != first.shape for start in starts):
        return torch.cat(starts)
    return torch.stack(starts, 1).flatten(0, 1)


def _along(one, stored, path, decode):
    """Return the placed set `one` with the steps that its file `stored`, if it did, on the set's device."""
    steps = stored.steps_decoded(path, decode)
    if steps is None:
        return one
    starts = None if steps.starts is None else steps.starts.to(one.labels.device)
    rows = tuple(rows.to(one.labels.device) for rows in steps.rows)
    return dataclasses.replace(one, steps=dataclasses.replace(steps, rows=rows, starts=starts))


def _name_in(protocols, learned):
    """Return the name of the protocol of `protocols` {network: fields}; `learned`: the set brings its step size."""
    named = [values["name"] for values in protocols.values() if "name" in values]
    if named:
        return named[0]
    schedules = {values.get("schedule") for values in protocols.values()}
    if "steps" in schedules:
        return "dd"
    if "idc" in schedules:
        return "idc"
    if learned:
        return "mtt"
    return "dc" if any(values.get("augmentation") == "classic" for values in protocols.values()) else "dsa"
