"""One synthetic set in one space, with all that its user must know: what every format of `export` is written from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from condense.core.errors import InputError
from condense.core.files import file_sha256
from condense.data.space import Space
from condense.sharing.loading import SetReader, chosen_set
from condense.sharing.real_data import made_from
from condense.sharing.stored import SetFile, StoredSet
from condense.training.steps import Steps

FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class Bundle:
    """One set in one space, with everything that its user must know.

    `images` (n, C, H, W) float32 in `space`, decoded; `labels` (n,) int64 or (n, K) float32. The mean and std of raw
    images are those of their data set, where known. `about` are plain values. `steps` are those of a set of unrolled
    training, whose mean size is then `lr`. Every `views` images in a row show one stored thing.
    """

    images: torch.Tensor
    labels: torch.Tensor
    space: Space
    lr: float | None = None
    about: dict = field(default_factory=dict)
    steps: Steps | None = None
    views: int = 1

    @property
    def soft(self) -> bool:
        return self.labels.dim() == 2

    @property
    def classes(self) -> Int[Tensor, " n"]:
        """The class of each image, (n,) int64; of soft labels the most probable."""
        return self.labels.argmax(1) if self.soft else self.labels

    def metadata(self) -> dict[str, Any]:
        """Return what a file says apart from its tensors, as values that JSON can hold."""
        whitened = self.space.name == "zca"
        mean, std = (None if value is None or whitened else [float(part) for part in value]
                     for value in (self.space.mean, self.space.std))
        zca = {"eps": self.space.zca.eps} if whitened else None  # type: ignore[union-attr]
        return {"format_version": FORMAT_VERSION, "space": self.space.name, "mean": mean, "std": std, "zca": zca,
                "lr": self.lr, "num_images": len(self.images), "channel": self.images.shape[1],
                "im_size": list(self.images.shape[2:]), "soft_labels": self.soft, **self.about}


@dataclass(frozen=True, eq=False)
class SetToExport(SetReader):
    """A set to export: a `SetReader` whose `space` is called --from_space, since --space is what it is to become."""

    flag: str = "--from_space"

    def __post_init__(self) -> None:
        """Raise ValueError where what is said contradicts what our own file says."""
        said = self.file.dataset if self.file.meta else None
        if None not in (said, self.dataset) and said != self.dataset:
            raise InputError(f"{self.file.path} was made for --dataset {said}, not {self.dataset}; leave --dataset out")

    @cached_property
    def sha256(self) -> str | None:
        """Hex sha256 of the file, None for a folder."""
        return file_sha256(self.file.path) if self.file.path.is_file() else None

    def sets(self, which: str = "last") -> Sequence[StoredSet]:
        """Return the sets of the `last` or the `best` iterations; raises ValueError where the file has none."""
        chosen_set(self.file, 0, which)
        return self.file.sets if which == "last" else self.file.best

    def bundle(self, experiment: int = 0, which: str = "last", space: str | None = None,
               standard: bool = False) -> Bundle:
        """Return one set as a `Bundle` in `space`, by default the file's own; see `SetReader.in_space`."""
        found = self.in_space(experiment, which, space, standard)
        return Bundle(found.images, found.labels, found.space, found.lr, self._about(experiment, which, found.labels),
                      found.steps, found.views)

    def _about(self, experiment, which, labels):
        file = self.file
        return {"class_names": self.class_names(labels), "dataset": self.name, "method": file.method,
                "model": file.model, "ipc": file.ipc, "decoded": max(self.factor, file.decoded or 1),
                "experiment": experiment, "which": which,
                "accuracies": accuracies_of(file, experiment, which), "made_from": made_from(file),
                "scored": file.scored_by(experiment, which), "source": file.path.name, "source_sha256": self.sha256}

    def class_names(self, labels: Tensor) -> list[str]:
        """Return the names of the classes: the file's, those of data that had to be loaded, or numbers as text."""
        number = labels.shape[1] if labels.dim() == 2 else int(labels.max()) + 1
        loaded = vars(self.real).get("normalised")       # asking for it would load it
        names = self.file.class_names or (loaded.class_names if loaded else None)
        return list(names) if names and len(names) >= number else [str(label) for label in range(number)]


def accuracies(file: SetFile, which: str = "last") -> dict[str, list[float]]:
    """Return {network: [fractions]} that the file's maker measured of its last or of its chosen iterations."""
    if which == "last":
        return {model: [float(value) for value in values] for model, values in file.accuracies.items()}
    pooled = {}
    for facts in (file.meta or {}).get("best", ()):
        for model, values in facts["accuracies"].items():
            pooled.setdefault(model, []).extend(map(float, values))
    return pooled


def accuracies_of(file: SetFile, experiment: int, which: str = "last") -> dict[str, list[float]]:
    """Return {network: [fractions]} of one experiment; without networks that not every experiment has as many of."""
    experiments = len(file.sets if which == "last" else file.best)
    shares = {model: len(values) // experiments for model, values in accuracies(file, which).items()
              if len(values) % experiments == 0}
    return {model: accuracies(file, which)[model][experiment * share:(experiment + 1) * share]
            for model, share in shares.items()}
