"""Scores of a memory: networks trained on it from scratch, tested on the classes seen so far; each is computed once."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from condense.continual.memory import Part, memory_of
from condense.continual.order import ClassOrder
from condense.continual.sources import file_name
from condense.continual.view import SeenClasses
from condense.core.files import atomic_path
from condense.core.randomness import Streams
from condense.data.real import RealData
from condense.evaluation import Score, evaluate
from condense.evaluation.cache_key import cache_key, code_of_scores
from condense.operators import Compute
from condense.training.protocols import Protocol

OWN_FILES = ("continual/memory.py", "continual/scoring.py", "continual/view.py")     # decide these scores, too
CODE = code_of_scores(*OWN_FILES)


class ScoreBook:
    """The scores of all memories of a run, a JSON file for each in `folder`, read back where everything agrees.

    `protocol` trains `num_eval` networks named `model`, with draws from `rng` (Streams) that are the same for every
    method. `made` says whether the last score was computed.
    """

    def __init__(self, folder: str | Path, real: RealData, model: str, protocol: Protocol, num_eval: int, rng: Streams,
                 compute: Compute, progress: bool = True) -> None:
        self.folder, self.real, self.model, self.protocol = Path(folder), real, model, protocol
        self.num_eval, self.rng, self.compute, self.progress = num_eval, rng, compute, progress
        self.made = False

    def score(self, name: str, order: ClassOrder, step: int, parts: Sequence[Part]) -> list[Score]:
        """Return [Score of each network] with its `confusion`, after `step` of `order`, on the union of `parts`."""
        key = self._key(order, step, parts)
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        path = self.folder / f"{file_name(name)}_seed{order.seed}_step{step}_{digest[:12]}.json"
        scores = _read(path, key)
        self.made = scores is None
        if self.made:
            scores = self._compute(order, step, parts)
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps({"key": key, "scores": [dataclasses.asdict(s) for s in scores]}))
        return scores

    def _key(self, order, step, parts):
        """Return everything that the scores depend on, as plain values."""
        return {**cache_key(self.compute, CODE), "data": self.real.fingerprint, "network": self.model,
                "protocol": dataclasses.asdict(self.protocol), "num_eval": self.num_eval, "seed": self.rng.seed,
                "order": order.seed, "step": step,
                "classes": list(order.seen(step)), "memory": [part.sha256 for part in parts]}

    def _compute(self, order, step, parts):
        streams = partial(self.rng, "evaluation", order.seed, step)
        return evaluate(memory_of(parts, self.real.device), SeenClasses(self.real, order.seen(step)),
                        {self.model: self.protocol}, self.num_eval, streams, self.compute, self.progress,
                        confusion=True)[self.model]


def _read(path, key):
    """Return the scores kept at `path`, or None where there are none, or not whole ones of `key`."""
    try:
        content = json.loads(path.read_text())
        scores = [Score(**{**values, "confusion": tuple(map(tuple, values["confusion"]))})
                  for values in content["scores"]]
        return scores if content["key"] == key and len(scores) == key["num_eval"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
