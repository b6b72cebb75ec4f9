"""A set file made ready to score: beside its real data, with its protocols, its streams, and what it stores."""

import dataclasses
import logging
import math
from dataclasses import dataclass
from functools import partial

import torch

from condense.evaluation.baselines import protocols_of
from condense.evaluation.pools import EVAL_MODES, eval_pool
from condense.evaluation.published import default_models, named_protocols
from condense.evaluation.train import TensorSet
from condense.files import file_sha256
from condense.networks import network_for

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
    """The sets of one `SetFile`, `placed` beside their real data: one for each experiment, `which` of them.

    `which` is "last" or "best"; `experiment` picks one. A file of continual learning has one set, the union of its
    steps. Raises ValueError, naming the mend, where there is no such set.
    """

    def __init__(self, file, placed, which="last", experiment=None):
        self.file, self.placed, self.which, self.experiment = file, placed, which, experiment
        self.stored = file.best if which == "best" else file.sets
        self.sets = placed.best if which == "best" else placed.sets
        if not self.sets:
            raise ValueError(f"{file.path} holds no {which} set; leave --which out")
        if file.layout == "steps":
            self.sets = [TensorSet(torch.cat([data.images() for data in self.sets]),
                                   torch.cat([data.labels for data in self.sets]))]
        if experiment is not None and experiment >= len(self.sets):
            raise ValueError(f"{file.path} holds {len(self.sets)} experiments; --experiment counts them from 0")
        self.experiments = range(len(self.sets)) if experiment is None else [experiment]

    @property
    def real(self):
        return self.placed.real

    @property
    def images(self):
        """How many images networks train on: of one set."""
        return len(self.sets[0].labels)

    @property
    def bytes(self):
        """The bytes that one set stores: as its maker counts them, else 4 per value, and per soft label."""
        if self.file.meta and "storage" in self.file.meta:
            return self.file.meta["storage"]["bytes"]
        values = [of.images.numel() + (of.labels.numel() if of.labels.dim() > 1 else 0) for of in self.stored]
        return 4 * (sum(values) if self.file.layout == "steps" else values[0])

    def name(self):
        """Name the set in a table."""
        return f"{self.file.path.stem or self.file.path.name}{', best' if self.which == 'best' else ''}"

    def streams(self, rng, exp):
        """Return `rng(key, i)` of experiment `exp`: for a set of ours, the one its run scored it with."""
        meta, iteration = self.file.meta or {}, 0
        if meta and self.which == "best":
            iteration = meta["best"][exp]["iteration"]
        elif meta:
            iteration = meta["options"].get("Iteration", 0)
        return partial(rng, "evaluation", exp, iteration)

    def networks(self, names, protocol):
        """Return the networks to score on: `names` (pools or networks; none: those of its run, or of `protocol`)."""
        model, method = self.file.model or network_for(self.real.im_size[0]), self.file.method
        if not names:
            return list(self.file.meta["protocols"]) if self.file.meta else list(default_models(protocol, model))
        found = [name for given in names for name in
                 (eval_pool(given, model, method) if given in (*EVAL_MODES, "C") else (given,))]
        return list(dict.fromkeys(found))

    def stored_accuracies(self):
        """Return ({network: accuracies over experiments} as the file holds them, {network: {}}).

        Raises ValueError where it holds none.
        """
        if not self.file.accuracies or not all(self.file.accuracies.values()):
            raise ValueError(f"{self.file.path} holds no accuracies; leave --stored out")
        number = len(self.sets)
        parts = {model: [values[exp * len(values) // number:(exp + 1) * len(values) // number]
                         for exp in range(number)] for model, values in self.file.accuracies.items()}
        return parts, {model: {} for model in parts}

    def source(self, address):
        """Return plain values that say which set this is, and how it was read."""
        placed, path = self.placed, self.file.path
        return {"set": str(address), "sha256": file_sha256(path) if path.is_file() else None, "which": self.which,
                "experiment": self.experiment, "layout": self.file.layout, "known_by": self.file.known_by,
                "space": placed.space, "evidence": placed.evidence, "decode": placed.decode}

    def num_eval(self):
        """Return how many networks its run evaluated, or 5."""
        return self.file.meta["options"]["num_eval"] if self.file.meta else NUM_EVAL

    def learned(self, exp=None):
        """Return the step size learned with the set of an experiment (None: the mean over all), or None."""
        lrs = [of.lr for of in self.stored if of.lr is not None]
        if not lrs or exp is not None:
            return self.stored[exp].lr if lrs else None
        return math.fsum(lrs) / len(lrs)

    def protocol_name(self, changes):
        """Return the name of its protocol: one asked for, its meta's, or that of its layout and method."""
        if changes.protocol:
            return changes.protocol
        if self.file.meta:
            return _name_in(self.file.meta)
        return LAYOUT_PROTOCOLS.get(self.file.layout, "dc" if self.file.method == "DC" else "dsa")

    def protocols(self, models, changes, exp=None):
        """Return {network name: `Protocol`} for `models`, with the step size learned in experiment `exp` (None: mean).

        A set of ours is scored as its run scored it, unless `changes` name another protocol.
        """
        told = protocols_of(self.file.meta) if self.file.meta and not changes.protocol else {}
        return {model: self._told(told[model], changes, exp) if model in told and not changes.augmentation else
                self._named(model, told, changes, exp) for model in models}

    def _told(self, protocol, changes, exp):
        values = {"epochs": changes.epochs, "lr": changes.lr or self.learned(exp), "batch_size": changes.batch_size}
        return dataclasses.replace(protocol, **{name: value for name, value in values.items() if value is not None})

    def _named(self, model, told, changes, exp):
        """The protocol by its name; for a network, or an augmentation, that its run had not, else as that had it."""
        like = told.get(model) or next(iter(told.values()), None)
        given = {name: getattr(changes, name) if getattr(changes, name) is not None else getattr(like, name, None)
                 for name in ("epochs", "batch_size")}
        return named_protocols(self.protocol_name(changes), [model], self.real, **given, lr=changes.lr,
                               augmentation=changes.augmentation, num_images=-(-self.images // self.real.num_classes),
                               lr_learned=self.learned(exp))[model]


def _name_in(meta):
    """Return the name of the protocol that the networks of a result were trained by."""
    if "syn_lr" in meta:
        return "mtt"
    return "dc" if any(values["augmentation"] == "classic" for values in meta["protocols"].values()) else "dsa"
