"""Options in groups, of which a script composes its own: flat on the command line and in YAML files.

A method script has `DataOptions, SetOptions, EvaluationOptions, ComputeOptions, RunOptions`; others take smaller ones,
and single options by `redefault`.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from condense.cli.option import DATA, EVALUATION, RUN, SET, has, is_hidden, option
from condense.data import DataChoice


@dataclass(frozen=True)
class Options:
    """What every config class can say of itself."""

    def identity(self) -> dict[str, Any]:
        """Return the options that make a result what it is, as a dict of plain values."""
        return {f.name: getattr(self, f.name) for f in in_order(self)
                if not f.metadata["neutral"] and not is_hidden(f) and has(self, f)}

    def form_options(self) -> dict[str, Any]:
        """Return the options that the parameterization alone has and that make it what it is, as a dict."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)
                if f.metadata["forms"] and has(self, f) and not f.metadata["neutral"]}


@dataclass(frozen=True)
class SourceOptions(Options):
    """Which images there are, and at which size."""

    dataset: str = option("CIFAR10", "name of the data set; 'folder' or 'file' for your own images", group=DATA)
    data_path: str = option("data", "folder (or file) of the data; known sets download there", group=DATA,
                            neutral=True)
    im_size: int | None = option(None, "side in pixels that images are resized to; default for ImageNet: "
                                       "128", group=DATA,
                                 ge=4, aliases=("res",))
    resize: str = option("auto", "how images are resized: crop (short side, then the centre), squash (both sides), or "
                         "auto: squash for ImageNet, else crop", group=DATA, choices=("auto", "crop", "squash"))
    subset: str | None = option(None, "classes of ImageNet: imagenette, imagewoof, imagemeow, imagesquawk, "
                                "imagefruit or imageyellow (ten each), imagenet10 or imagenet100 (IDC's)", group=DATA)

    @property
    def data(self) -> DataChoice:
        """The `DataChoice` that `load_data` takes; `seed` and `progress` are those of the command."""
        names = {f.name for f in dataclasses.fields(DataChoice)} & {f.name for f in dataclasses.fields(self)}
        return DataChoice(self.dataset, **{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class DataOptions(SourceOptions):
    """And which classes of them, in which space."""

    classes: str | None = option(None, "condense these classes only: their numbers (3,7,9 or 0-4) or names, separated "
                                 "by commas; they are renumbered in this order", group=DATA)
    zca: bool = option(False, "whiten images by ZCA (fitted on the training images) instead of normalising them",
                       group=DATA)


@dataclass(frozen=True)
class CellOptions(Options):
    """With the data set, the cell of a published table."""

    model: str = option("ConvNet", "network to condense with", group=DATA)
    ipc: int = option(1, "images per class: the storage that the synthetic set may take", group=DATA, ge=1)


@dataclass(frozen=True)
class SetOptions(CellOptions):
    """The synthetic set, and how it is updated."""

    parameterization: str = option("pixels", "form of the synthetic set", group=SET)
    init: str = option("noise", "start from noise or from real images", group=SET)
    optimizer: str = option("sgd", "optimizer of the set: sgd, or adam with sgd's momentum as first beta",
                            group=SET, choices=("sgd", "adam"))
    clip_grad: float | None = option(None, "largest norm of the gradient of the whole set; larger gradients are scaled "
                                           "down to it", group=SET, gt=0)
    save: str = option("both", "what the result file holds if the set is not plain pixels: the stored tensors "
                       "(factors), the decoded images, or "
                       "both", group=SET, choices=("both", "factors", "images"), neutral=True)


@dataclass(frozen=True)
class ScoringOptions(Options):
    """Which networks a set is scored on, and how long each trains."""

    eval_mode: str = option("S", "networks to evaluate on: S (the condensing network without batch norm), SS (with "
                            "it), or a pool: M, B, W, D, A, P, N, I", group=EVALUATION)
    num_exp: int = option(5, "experiments: whole condensations", group=EVALUATION, ge=1)
    num_eval: int = option(20, "fresh networks per evaluation", group=EVALUATION, ge=1)
    epoch_eval_train: int = option(1000, "epochs that an evaluation network trains", group=EVALUATION, ge=0)
    batch_train: int = option(256, "minibatch size of network training", group=EVALUATION, ge=1)


@dataclass(frozen=True)
class EvaluationOptions(ScoringOptions):
    """And at which learning rate, how often along the way."""

    lr_net: float = option(0.01, "learning rate of networks", group=EVALUATION, gt=0)
    eval_every: int = option(1000, "iterations between evaluations; the first and last are always evaluated",
                             group=EVALUATION, ge=1)


@dataclass(frozen=True)
class ComputeOptions(Options):
    """Where and how networks are run."""

    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps", group=RUN)
    precision: str = option("fp32", "number format of network arithmetic", group=RUN, choices=("fp32", "tf32", "bf16"))
    compile: bool = option(False, "compile networks: takes minutes at the start, then runs faster", group=RUN)
    deterministic: bool = option(False, "identical tensors on a GPU as well, but slower", group=RUN)
    chunk: int | None = option(None, "most images that go through a network at a time; chosen by device if not "
                                     "given", group=RUN,
                               ge=1)

    @property
    def compute(self) -> dict[str, Any]:
        """The arguments of `start_compute`, a dict."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(ComputeOptions)}


@dataclass(frozen=True)
class CommandOptions(Options):
    """What every command has."""

    config: str | None = option(None, "YAML file of options; flags override it", group=RUN, neutral=True)
    progress: bool = option(True, "progress bars on a terminal", group=RUN, neutral=True)
    debug: bool = option(False, "show tracebacks", group=RUN, neutral=True)


@dataclass(frozen=True)
class ResultOptions(CommandOptions):
    """Where a result goes, and what becomes of one that is there."""

    seed: int = option(0, "seed of every random number", group=RUN, ge=0)
    save_path: str = option("result", "folder of results", group=RUN, neutral=True)
    resume: bool = option(False, "continue from the checkpoint in save_path", group=RUN, neutral=True)
    overwrite: bool = option(False, "replace a result or checkpoint of other options", group=RUN, neutral=True)
    tensorboard: bool = option(False, "also write TensorBoard events", group=RUN, neutral=True)


@dataclass(frozen=True)
class RunOptions(ResultOptions):
    """And how often what is under way is saved."""

    checkpoint_every: int = option(500, "iterations between checkpoints; one is also written every ten minutes",
                                   group=RUN, ge=1, neutral=True)


GROUPS = (DataOptions, SetOptions, EvaluationOptions, ComputeOptions, RunOptions)      # of a method script


@dataclass(frozen=True)
class RunConfig(DataOptions, SetOptions, EvaluationOptions, ComputeOptions, RunOptions):
    """All groups of a method script, for scripts that were written before there were groups."""


SHARED = {f.name: f for group in (SourceOptions, DataOptions, CellOptions, *GROUPS) for f in dataclasses.fields(group)}


def in_order(config: Any) -> list[dataclasses.Field]:
    """Return the fields of a config, or of its class: shared ones first, in the order of their groups."""
    places = {name: place for place, name in enumerate(SHARED)}
    return sorted(dataclasses.fields(config), key=lambda field: places.get(field.name, len(places)))


def redefault(name: str, default: Any, config: type[Any] | None = None, **changes: Any) -> Any:
    """Declare a shared option again, with another default, and other metadata where given.

    `config` is a class whose own option it is, where no group has it.
    """
    field = SHARED[name] if config is None else config.__dataclass_fields__[name]
    return dataclasses.field(default=default, metadata={**field.metadata, **changes})
