"""A synthetic set evaluated in one call from your own code: `evaluate_set` gives the numbers of evaluate.py."""

from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor

from condense.comparison.scored_set import Changes, ScoredSet
from condense.core.errors import InputError
from condense.core.randomness import Streams
from condense.core.registry import lookup
from condense.data import RealData, load_data
from condense.evaluation.score import evaluate
from condense.networks import get_network
from condense.operators import start_compute
from condense.operators.compute import PRECISIONS
from condense.sharing.fetch import local_copy
from condense.sharing.layouts import read_set
from condense.sharing.loading import LoadedSet, chosen_set, place
from condense.sharing.real_data import DEFAULTS, data_of, require_data_of
from condense.sharing.spaces import Spaces
from condense.sharing.stored import SetFile, named, stored_set


def evaluate_set(synthetic: str | PathLike | LoadedSet | tuple[Tensor, Tensor], dataset: str | RealData | None = None,
                 networks: str | Sequence[str] = (), protocol: str | None = None, num_eval: int | None = None,
                 seed: int | None = None, device: str = "auto", *, epochs: int | None = None, lr: float | None = None,
                 batch_size: int | None = None, augmentation: str | None = None, precision: str | None = None,
                 experiment: int = 0, which: str = "last", space: str | None = None, decode: int | None = None,
                 data_path: str | Path = "data", progress: bool = False) -> dict[str, list[float]]:
    """Train fresh networks on a synthetic set and test them on real images: {network name: [test accuracies]}.

    `synthetic` is the file, folder or URL of a set (any layout of `read_set`), a `LoadedSet`, or a pair (images
    (n, C, H, W) float, normalised with the constants of the data set; labels (n,) or (n, K)). `dataset` is a name of
    DATASETS, found under `data_path`, or a `RealData` that is not whitened, on whose device all is then computed; None:
    the one that the file names.
    `networks` are names, or pools (M, B, W, ...), `protocol` one of PROTOCOLS, which `epochs`, `lr`, `batch_size` and
    `augmentation` vary; `num_eval` networks of each name are trained. What is None is as the set's run had it, or else
    as its layout is scored. `experiment`, `which`, `space` and `decode` are those of `load_synthetic_set`.

    Accuracies are fractions, and those that `evaluate.py` gives for the same file, seed and protocol. Tensors do not
    say which run made them: their networks are those of a file of another maker, and not the ones of our run. Raises
    FileNotFoundError, OSError or ValueError in one line with the mend.
    """
    if num_eval is not None and num_eval < 1:
        raise InputError(f"num_eval must be at least 1, not {num_eval}")
    file = _file_of(synthetic)
    chosen_set(file, experiment, which)                    # refused before anything is loaded
    told = file.scored_by() or {}
    rng = Streams(told.get("seed", 0) if seed is None else seed)
    changes = Changes(protocol, epochs, lr, batch_size, augmentation)
    with _torch_left_as_it_was():
        compute = start_compute(_device(device, dataset), _known(precision or told.get("precision", "fp32")),
                                deterministic=torch.are_deterministic_algorithms_enabled())
        placed = place(file, _real_of(file, dataset, data_path, compute.device), space, decode)
        _require_its_data(file, placed.real, dataset, data_path)
        ready = ScoredSet(file, placed, which, experiment)
        if isinstance(synthetic, LoadedSet):
            ready.sets = [replace(one, views=synthetic.views) for one in ready.sets]
        return _accuracies(ready, networks, changes, num_eval, rng, compute, progress)


def _device(device, dataset):
    """Return the device to compute on: that of real data which are given; raises ValueError for another one."""
    if not isinstance(dataset, RealData):
        return device
    if device not in ("auto", dataset.device.type, str(dataset.device)):
        raise InputError(f"{dataset.name} is on {dataset.device}, not on {device}; load it there, or leave device out")
    return str(dataset.device)


def _known(precision):
    lookup(dict.fromkeys(PRECISIONS), precision, "precision")
    return precision


def _accuracies(ready, networks, changes, num_eval, rng, compute, progress):
    """Return {network name: [accuracies]} of the one set of `ready`, a `ScoredSet`."""
    (exp,) = ready.experiments
    networks = (networks,) if isinstance(networks, str) else tuple(networks)
    models = ready.networks(networks, ready.protocol_name(changes))
    for model in models:                                   # refused now, not after hours with the others
        get_network(model, *ready.real.spec)
    scores = evaluate(ready.sets[exp], ready.real, ready.protocols(models, changes, exp),
                      num_eval or ready.num_eval(ready.protocol_name(changes)), ready.streams(rng, exp), compute,
                      progress)
    return {model: [score.test_accuracy for score in listed] for model, listed in scores.items()}


def _file_of(synthetic):
    """Return the `SetFile` that is meant: read from its address, or made of the tensors given."""
    if isinstance(synthetic, (str, PathLike)):
        return read_set(local_copy(synthetic))
    if isinstance(synthetic, LoadedSet):
        one, _ = stored_set(synthetic.path, synthetic.images, synthetic.labels, synthetic.lr, None, synthetic.steps)
        zca = None if synthetic.zca is None else synthetic.zca.state()
        return SetFile(synthetic.path, "tensors", "as it was loaded", (one,), class_names=synthetic.class_names,
                       dataset=named(synthetic.path).get("dataset"), space=synthetic.space.name,
                       said_by="as it was loaded", mean=synthetic.mean, std=synthetic.std, zca=zca)
    if isinstance(synthetic, (tuple, list)) and len(synthetic) == 2:
        one, _ = stored_set("the set", *synthetic)
        return SetFile(Path("the set"), "tensors", "given", (one,), space="normalised", said_by="as it is given")
    raise InputError(f"a set is a path, a URL, a LoadedSet or a pair (images, labels), not a "
                     f"{type(synthetic).__name__}")


def _real_of(file, dataset, data_path, device):
    """Return the `Spaces` of the real data: those that are given, or those of a name that is given or in the file."""
    if isinstance(dataset, RealData):
        if dataset.zca is not None:
            raise InputError(f"{dataset.name} is whitened already; load it without zca: a whitened set brings its own")
        return Spaces(lambda zca: dataset)
    given = SimpleNamespace(**{**DEFAULTS, "dataset": dataset, "data_path": data_path})
    arguments = data_of(file, given)
    return Spaces(lambda zca: load_data(**arguments, device=device, zca=zca, progress=False))


def _require_its_data(file, real, dataset, data_path):
    name = real.name if isinstance(dataset, RealData) else dataset
    require_data_of(file, real, SimpleNamespace(dataset=name, data_path=data_path))


@contextmanager
def _torch_left_as_it_was():
    """Within: PyTorch's global switches may be set as a run sets them; afterwards they are the caller's again."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.benchmark
    try:
        yield
    finally:
        matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.benchmark = before
