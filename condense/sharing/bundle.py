"""One synthetic set in one space, with all that its user must know: what every format of `export` is written from."""

from dataclasses import dataclass, field
from functools import cached_property

import torch

from condense.core.errors import InputError
from condense.core.files import file_sha256
from condense.data import Whitening
from condense.sharing.conversion import PUBLISHED, Constants, from_pixels, to_pixels
from condense.sharing.layouts import SetFile
from condense.sharing.loading import chosen_set
from condense.sharing.real_data import made_from
from condense.sharing.spaces import Spaces, space_of, stated_constants
from condense.synthetic.multi_formation import decode as decode_tiles
from condense.training.steps import Steps

FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class Bundle:
    """One set in one space, with everything that whoever uses it must know.

    `images` (n, C, H, W) float32 in `space`, decoded; `labels` (n,) int64 or (n, K) float32. `constants` made the
    space, or for raw images would make the data set's own, where known. `about` are plain values. `steps` are those of
    a set of unrolled training, whose mean size is then `lr`. Every `views` images in a row show one stored thing.
    """

    images: torch.Tensor
    labels: torch.Tensor
    space: str
    constants: Constants
    lr: float | None = None
    about: dict = field(default_factory=dict)
    steps: Steps | None = None
    views: int = 1

    @property
    def soft(self):
        return self.labels.dim() == 2

    @property
    def classes(self):
        """The class of each image, (n,) int64; of soft labels the most probable."""
        return self.labels.argmax(1) if self.soft else self.labels

    def metadata(self):
        """Return what a file says beside its tensors, as JSON takes it."""
        mean, std = (None if value is None or self.space == "zca" else [float(part) for part in value]
                     for value in (self.constants.mean, self.constants.std))
        zca = {"eps": self.constants.zca.eps} if self.space == "zca" else None
        return {"format_version": FORMAT_VERSION, "space": self.space, "mean": mean, "std": std, "zca": zca,
                "lr": self.lr, "num_images": len(self.images), "channel": self.images.shape[1],
                "im_size": list(self.images.shape[2:]), "soft_labels": self.soft, **self.about}


@dataclass(frozen=True, eq=False)
class Source:
    """A set to export: the `file` as read, and what is known or asked about its pixels.

    `load(zca)` returns the `RealData` that it was made for; it is called only where the file leaves something open.
    `from_space` and `decode` say what the file does not, `dataset` the name of those data.
    """

    file: SetFile
    load: object
    from_space: str | None = None
    decode: int | None = None
    dataset: str | None = None

    def __post_init__(self):
        """Raise ValueError where what is said contradicts what our own file says."""
        said = self.file.dataset if self.file.meta else None
        if None not in (said, self.dataset) and said != self.dataset:
            raise InputError(f"{self.file.path} is of --dataset {said}, not {self.dataset}; leave --dataset out")

    @property
    def name(self):
        """The data set's name, None where nobody says it."""
        return self.dataset or self.file.dataset

    @cached_property
    def spaces(self):
        return Spaces(self.load)

    @cached_property
    def found(self):
        """(space of the file's pixels, evidence in words); --space is here what they are to become."""
        try:
            space, evidence = space_of(self.file, self.spaces, self.from_space)
        except ValueError as error:
            raise InputError(str(error).replace("--space", "--from_space")) from error
        return space, evidence.replace("--space", "--from_space")

    @cached_property
    def factor(self):
        """The decode factor; raises ValueError as `SetFile.factor` does."""
        return self.file.factor(self.decode)

    @cached_property
    def sha256(self):
        """Hex sha256 of the file, None for a folder."""
        return file_sha256(self.file.path) if self.file.path.is_file() else None

    def sets(self, which="last"):
        """Return the sets of the `last` or the `best` iterations; raises ValueError where the file has none."""
        chosen_set(self.file, 0, which)
        return self.file.sets if which == "last" else self.file.best

    def constants(self, space):
        """Return the `Constants` of the set's pixels in `space`; of raw ones those of its data set, where known."""
        if space == "zca":
            state = self.file.zca
            return Constants(zca=Whitening.from_state(state) if state else self.spaces.whitened().zca)
        stated = stated_constants(self.file, self.name)[0] if space == self.found[0] == "normalised" else None
        return stated or self._of_data_set(space)

    def _of_data_set(self, space):
        if self.file.mean is not None:
            return Constants(self.file.mean, self.file.std)
        if self.name in PUBLISHED:
            return PUBLISHED[self.name]
        if space == "raw":
            return Constants()                             # nothing is to be converted: not worth loading the data
        return Constants(self.spaces.normalised.mean, self.spaces.normalised.std)

    def bundle(self, experiment=0, which="last", space=None, standard=False):
        """Return one set as a `Bundle` in `space`, by default the file's own.

        `standard` normalises with the data set's constants where the file has others. Images that need no conversion
        are those of the file to the bit.
        """
        stored, own = chosen_set(self.file, experiment, which), self.found[0]
        space = space or own
        if space == "zca" != own:
            raise InputError(f"{self.file.path} is {own}, and no ZCA belongs to it; take --space normalised or raw")
        before, after = self.constants(own), self.constants(space)
        if standard and space == "normalised":
            after = PUBLISHED.get(self.name, after)
        images, labels = stored.images, stored.labels
        if self.factor > 1 or space != own or (before.mean, before.std) != (after.mean, after.std):
            pixels = decode_tiles(to_pixels(images, own, before), self.factor)
            images = from_pixels(pixels, space, after)
            labels = labels.repeat(self.factor**2, *[1] * (labels.dim() - 1))      # tiles are slow, images fast
        return Bundle(images, labels, space, after, stored.lr, self._about(experiment, which, labels),
                      stored.steps_decoded(self.file.path, self.factor), self.file.views)

    def _about(self, experiment, which, labels):
        file = self.file
        return {"class_names": self.class_names(labels), "dataset": self.name, "method": file.method,
                "model": file.model, "ipc": file.ipc, "decoded": max(self.factor, file.decoded or 1),
                "experiment": experiment, "which": which,
                "accuracies": accuracies_of(file, experiment, which), "made_from": made_from(file),
                "scored": file.scored_by(experiment, which), "source": file.path.name, "source_sha256": self.sha256}

    def class_names(self, labels):
        """Return the names of the classes: the file's, those of data that had to be loaded, or numbers as text."""
        number = labels.shape[1] if labels.dim() == 2 else int(labels.max()) + 1
        loaded = vars(self.spaces).get("normalised")       # asking for it would load it
        names = self.file.class_names or (loaded.class_names if loaded else None)
        return list(names) if names and len(names) >= number else [str(label) for label in range(number)]


def accuracies(file, which="last"):
    """Return {network: [fractions]} that the file's maker measured of its last or of its chosen iterations."""
    if which == "last":
        return {model: [float(value) for value in values] for model, values in file.accuracies.items()}
    pooled = {}
    for facts in (file.meta or {}).get("best", ()):
        for model, values in facts["accuracies"].items():
            pooled.setdefault(model, []).extend(map(float, values))
    return pooled


def accuracies_of(file, experiment, which="last"):
    """Return {network: [fractions]} of one experiment; without networks that not every experiment has as many of."""
    experiments = len(file.sets if which == "last" else file.best)
    shares = {model: len(values) // experiments for model, values in accuracies(file, which).items()
              if len(values) % experiments == 0}
    return {model: accuracies(file, which)[model][experiment * share:(experiment + 1) * share]
            for model, share in shares.items()}
