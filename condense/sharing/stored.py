"""A synthetic set as a file of any layout holds it: the two dataclasses, and what every image must be."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from condense.core.errors import InputError
from condense.run.results import form_in
from condense.training.steps import Steps

NAME = re.compile(r"^(?:res_|cl_res_|cl_)(?P<method>[^_]+)_(?P<dataset>[^_]+)_(?P<model>.+?)_(?P<ipc>\d+)ipc(?=[_.]|$)")
CHOSEN = "its maker's best iteration, which the published code chooses on the test set: that flatters it"
SCORED = ("num_eval", "seed", "experiment", "iteration")   # whole numbers of how a set was scored
ROW_SUM = 1e-3                             # probabilities of a row, stored in half precision, add up to 1 within it


@dataclass(frozen=True, eq=False)
class StoredSet:
    """One set as its file stores it: `images` (n, C, H, W) float32 on the CPU, in whatever space the file has.

    `labels` (n,) int64, or (n, K) float32 probabilities. `lr` is the step size learned with it, or None. `factors` is
    what the file stores instead of images, as `restore_synthetic` takes it, or None. `steps` are those of a set of
    unrolled training, whose mean size is then `lr`, or None.
    """

    images: torch.Tensor
    labels: torch.Tensor
    lr: float | None = None
    factors: dict | None = None
    steps: Steps | None = None

    def steps_decoded(self, path: Path, factor: int) -> Steps | None:
        """Return `steps`; raises ValueError where images of theirs, in the file `path`, are decoded to several."""
        if self.steps is not None and factor != 1:
            raise InputError(f"{path} holds steps that use its images undecoded; leave --decode out")
        return self.steps


@dataclass(frozen=True, eq=False)
class SetFile:
    """What `read_set` found at `path`.

    `layout` is a key of LAYOUTS, `known_by` says in words how it was recognised. `sets` has one entry per experiment
    (per step for continual learning), `best` the chosen iterations where the file has them. `accuracies` {network:
    [fractions]} are its maker's, `meta` is ours or None. `dataset`, `method`, `model` and `ipc` are what meta or the
    file's name says. `space` is what the file itself says of its pixels, in the words `said_by`, and None where only
    statistics can tell; `decode` its decode factor, 1 but for multi-formation, where None is unknown. `mean` and `std`
    are what its pixels were normalised with, `zca` the state of the whitening in their place, where known. `caveat`
    says what its figures must be read with, `data` which images it was made from (`made_from`) and `scored` how its
    only set was scored (`scored_by`), both next to meta. `decoded` is the factor that its images have been decoded by
    already, 1 for none, where it says so: our results and what is exported.
    """

    path: Path
    layout: str
    known_by: str
    sets: tuple
    best: tuple = ()
    accuracies: dict = field(default_factory=dict)
    meta: dict | None = None
    dataset: str | None = None
    method: str | None = None
    model: str | None = None
    ipc: int | None = None
    class_names: tuple | None = None
    space: str | None = None
    said_by: str | None = None
    decode: int | None = 1
    mean: tuple | None = None
    std: tuple | None = None
    zca: dict | None = None
    caveat: str | None = None
    data: dict | None = None
    scored: dict | None = None
    decoded: int | None = None

    def __post_init__(self) -> None:
        """Raise ValueError where there is no set at all."""
        if not self.sets and not self.best:
            raise InputError(f"{self.path} holds no images; give a set of a finished run")

    @property
    def views(self) -> int:
        """How many images in a row show one stored thing, of which an epoch sees one; 1 where the file says nothing."""
        return form_in(self.meta)["views"] if self.meta else (self.scored or {}).get("views", 1)

    def factor(self, asked: int | None = None) -> int:
        """Return the factor to decode its images by: the one `asked` for, else its own.

        Raises ValueError if it is not known, and if decoded images would be decoded again.
        """
        factor = self.decode if asked is None else asked
        if factor is None:
            raise InputError(f"{self.path} holds mosaics of multi-formation but does not say how many images per side; "
                             "give --decode 2 (ImageNet: 3), or --decode 1 if they are no mosaics")
        for one in self.sets:
            one.steps_decoded(self.path, factor)
        if factor > 1 and self.decoded is not None:
            raise InputError(f"{self.path} holds decoded images already; leave --decode out")
        return factor

    def scored_by(self, experiment: int = 0, which: str = "last") -> dict[str, Any] | None:
        """Return in plain values how the run of a set scored it, None where the file does not say.

        `protocols` {network: fields of its `Protocol`} and the `epochs` that were asked for, `num_eval` networks of
        each, `seed` and `precision`, and the `experiment` and `iteration` that the networks' draws are keyed by. Every
        `views` images in a row are views of one thing. Of a set that is made to poison also the `attack`: [class K,
        class T that it is to be taken for].
        """
        if not self.meta or "protocols" not in self.meta:
            return self.scored
        meta, options = self.meta, self.meta["options"]
        iteration = options.get("Iteration", 0)
        if which == "best":
            iteration = meta["best"][experiment]["iteration"]
        elif iteration is None:
            iteration = meta["iterations"][experiment]
        poison = options.get("objective") == "poison"
        attack = {"attack": [options["attack_class"], options["target_class"]]} if poison else {}
        return {**attack, "protocols": meta["protocols"], "epochs": options.get("epoch_eval_train"),
                "num_eval": options["num_eval"], "seed": meta["seed"], "precision": options.get("precision", "fp32"),
                "experiment": experiment, "iteration": iteration, "views": self.views}


def checked_scored(where: object, scored: Any) -> dict[str, Any] | None:
    """Return what `SetFile.scored_by` returned when it was written; raises ValueError where that is no such thing."""
    if scored is None:
        return None
    numbers = [scored.get(name) for name in SCORED] if isinstance(scored, dict) else [None]
    protocols = scored.get("protocols") if isinstance(scored, dict) else None
    if not isinstance(protocols, dict) or not protocols \
            or not all(isinstance(protocol, dict) for protocol in protocols.values()) \
            or not all(type(number) is int and number >= 0 for number in numbers):
        raise InputError(f"{where}: scored is not protocols with {', '.join(SCORED)}; save the set again")
    attack = scored.get("attack")
    if attack is not None and not (isinstance(attack, (list, tuple)) and len(attack) == 2
                                   and all(type(label) is int for label in attack)):
        raise InputError(f"{where}: the attack of scored is not two classes; save the set again")
    views = scored.get("views", 1)
    if type(views) is not int or views < 1:
        raise InputError(f"{where}: scored has views {views!r}, not a whole number of 1 or more; save the set again")
    return {**scored, "views": views, "precision": str(scored.get("precision", "fp32"))}


def named(path: str | Path) -> dict[str, Any]:
    """Return {'method', 'dataset', 'model', 'ipc'} as the file's name spells them; empty where it does not."""
    match = NAME.match(Path(path).name)
    return {**match.groupdict(), "ipc": int(match["ipc"])} if match else {}


def stored_set(where: object, images: Any, labels: Any, lr: Any = None, factors: dict[str, Any] | None = None,
               steps: Steps | None = None) -> tuple[StoredSet, str]:
    """Return (`StoredSet`, remark in words or "") of what a file holds; `where` opens the errors.

    Images are any floats (n, C, H, W), labels integers (n,), or numbers (n, K): rows that are not negative and add up
    to 1 are probabilities, others logits, of which the softmax is taken. Raises ValueError in one line.
    """
    images = checked_images(where, images)
    labels, remark = checked_labels(where, labels)
    if len(labels) != len(images):
        raise InputError(f"{where}: {len(images)} images with {len(labels)} labels; give each image one")
    return StoredSet(images, labels, checked_lr(where, lr), factors, steps), remark


def checked_images(where: object, images: Any) -> Float[Tensor, "n c h w"]:
    """Return `images` float32 (n, C, H, W); raises ValueError where they are none."""
    if not torch.is_tensor(images) or images.dim() != 4 or not images.is_floating_point():
        raise InputError(f"{where}: images are {described(images)}, not floats (n, C, H, W); reorder or convert them")
    if 0 in images.shape:
        raise InputError(f"{where} holds no images (its tensor is {tuple(images.shape)}); take another file")
    images = images.detach().to("cpu", torch.float32).contiguous()
    if not bool(images.isfinite().all()):
        raise InputError(f"{where}: images hold NaN or infinite values; take the set of an earlier iteration")
    return images


def checked_labels(where: object, labels: Any) -> tuple[Tensor, str]:
    """Return (labels (n,) int64 or (n, K) float32 probabilities, remark); raises ValueError where they are none."""
    if not torch.is_tensor(labels) or labels.dim() not in (1, 2) or labels.is_complex():
        raise InputError(f"{where}: labels are {described(labels)}, not (n,) classes or (n, K) probabilities; give one"
                         " for each image")
    labels = labels.detach().cpu()
    labels = labels[:, 0] if labels.dim() == 2 and labels.shape[1] == 1 else labels
    if labels.is_floating_point() and not bool(labels.isfinite().all()):
        raise InputError(f"{where}: labels hold NaN or infinite values; take the set of an earlier iteration")
    return _classes(where, labels) if labels.dim() == 1 else _probabilities(labels.float())


def _classes(where, labels):
    whole = labels.to(torch.int64)
    if not torch.equal(whole.to(labels.dtype), labels) or bool((whole < 0).any()):
        raise InputError(f"{where}: labels are not whole numbers from 0 on; number the classes 0, 1, ...")
    return whole, ""


def _probabilities(labels):
    if bool((labels >= 0).all()) and bool(((labels.sum(1) - 1).abs() < ROW_SUM).all()):
        return labels, "its labels are probabilities"
    return labels.softmax(1), "its labels are logits, of which the softmax is taken"


def checked_lr(where: object, lr: Any) -> float | None:
    """Return a learned step size as a float, None for None; raises ValueError where it is no positive number."""
    if lr is None:
        return None
    value = float(lr) if not torch.is_tensor(lr) or lr.numel() == 1 else float("nan")
    if not 0 < value < float("inf"):
        raise InputError(f"{where}: the learned step size is {described(lr)}, not a number above 0")
    return value


def described(value: object) -> str:
    """Word what a value is, for errors."""
    if torch.is_tensor(value):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return f"a {type(value).__name__}"
