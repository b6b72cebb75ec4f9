"""Score a set: train fresh networks of every architecture of a pool on it and test them."""

import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from tqdm import tqdm

from condense.core.errors import InputError
from condense.core.randomness import Streams
from condense.core.types import LabelledImages, Tested
from condense.data.space import Space
from condense.evaluation.accuracy import accuracy, confusion_counts, fraction_right, guesses
from condense.networks import get_network
from condense.operators import Compute
from condense.training.protocols import Protocol, StepProtocol
from condense.training.steps import steps_of
from condense.training.train import TensorSet, networks_that_fit, train_network, train_stacked
from condense.training.transforms import PIXEL_KINDS

GPU_TEST_BATCH, CPU_TEST_PIXELS = 2048, 64 * 1024


@dataclass(frozen=True)
class Score:
    """What became of one network: fractions in [0, 1], and the training figures of its last epoch.

    `selection_accuracy` is that on images kept for choosing an iteration, where there are any. `confusion`, where it
    was asked for, counts the test images: (K, K) as a tuple of tuples of int, row = true class, column = guess.
    """

    test_accuracy: float
    train_accuracy: float
    train_loss: float
    selection_accuracy: float | None = None
    confusion: tuple | None = field(default=None, compare=False, repr=False)


def evaluate(data: LabelledImages | Callable[[int], LabelledImages], real: Tested, protocols: Mapping[str, Protocol],
             num_eval: int, rng: Callable[..., torch.Generator], compute: Compute, progress: bool = True,
             selection: Tested | None = None, confusion: bool = False) -> dict[str, list[Score]]:
    """Return {network name: [Score of each of `num_eval` fresh networks]} on the test images of `real`.

    `protocols` {network name: `Protocol`} says which networks, and how each is trained. `data` is the set to
    train on (`labels`, `images(index)`), or a function i -> set that gives network i its own. `rng(key, i)`
    returns network i's generator; `key` is derived from the architecture's name, so a pool's order and size
    change no number. `selection` are further images to test the same networks on (`SelectionImages`), and with
    `confusion` every score says which classes were taken for which. Of `real` nothing is used but `spec`, `im_size`,
    `device`, `test_labels` and `test_batches(size)`, so that a part of the data will do, and for augmentations on
    pixels `mean`, `std` and `zca`. The published protocol (reference in `Protocol`).
    """
    tester = _Tester(real, selection, compute, confusion)
    return {model: _evaluate_model(data, real, tester, model, protocol, num_eval, rng, compute, progress)
            for model, protocol in protocols.items()}


@dataclass(frozen=True)
class _Tester:
    """What a trained network is tested on, and what is counted."""

    real: Tested
    selection: Tested | None
    compute: Compute
    confusion: bool

    def __call__(self, nets, forwards):
        """Return lists with an entry for each of `nets`: accuracy, selection accuracy (or None), confusion (or None).

        One read of the device for each, after the last network.
        """
        size, num_classes = _test_batch(self.real, self.compute), self.real.spec[1]
        results = [guesses(net, self.real, forward, size) for net, forward in zip(nets, forwards)]
        accuracies = torch.stack([fraction_right(*result) for result in results]).tolist()
        confusions = selected = [None] * len(nets)
        if self.confusion:
            counts = torch.stack([confusion_counts(*result, num_classes) for result in results]).tolist()
            confusions = [tuple(map(tuple, rows)) for rows in counts]
        if self.selection is not None:
            selected = torch.stack([accuracy(net, self.selection, forward, size)
                                    for net, forward in zip(nets, forwards)]).tolist()
        return accuracies, selected, confusions


def _evaluate_model(data, real, tester, model, protocol, num_eval, rng, compute, progress):
    key = zlib.crc32(model.encode())
    rngs = [rng(key, i) for i in range(num_eval)]
    datasets = (lambda i: data) if hasattr(data, "labels") else data        # modules are callable, too
    together = _networks_together(datasets(0), real, protocol, num_eval, compute.device)
    with tqdm(total=num_eval * protocol.num_epochs, desc=f"evaluate {model}", unit="epoch", leave=False,
              disable=None if progress else True, dynamic_ncols=True) as bar:
        if together == 1:
            return _one_by_one(datasets, real, tester, model, protocol, rngs, compute, bar)
        scores = []
        for first in range(0, num_eval, together):
            group = range(first, min(first + together, num_eval))
            scores += _together({i: datasets(i) for i in group}, real, tester, model, protocol,
                                [rngs[i] for i in group], compute, bar)
        return scores


def _one_by_one(datasets, real, tester, model, protocol, rngs, compute, bar):
    net = compute.prepare(get_network(model, *real.spec, rng=torch.Generator()))
    forward = compute.wrap(net)
    chunk, pixels, scores = compute.chunk_for(real.im_size), pixels_of(real, protocol), []
    for i, rng in enumerate(rngs):
        data = datasets(i)
        _begin(net, model, data, i, protocol, rng)
        figures = train_network(net, data, protocol, rng, forward, chunk, bar.update, pixels)
        scores += _scores(figures, tester([net], [forward]))
        bar.set_postfix(mean=f"{100 * sum(s.test_accuracy for s in scores) / len(scores):.2f}%")
    return scores


def _together(datasets, real, tester, model, protocol, rngs, compute, bar):
    nets = []
    for (i, data), rng in zip(datasets.items(), rngs, strict=True):        # drawn on the device, as one by one
        net = compute.prepare(get_network(model, *real.spec, rng=torch.Generator()))
        nets.append(_begin(net, model, data, i, protocol, rng))
    figures = train_stacked(nets, list(datasets.values()), protocol, rngs, compute.wrap_stacked,
                            lambda: bar.update(len(nets)), pixels_of(real, protocol))
    return _scores(figures, tester(nets, [compute.wrap(net, compiled=False) for net in nets]))


@torch.no_grad()
def _begin(net, model, data, i, protocol, rng):
    """Give `net` the parameters that network `i` of architecture `model` starts with, in place; returns it.

    Fresh ones, or, where the set was learned for some of its own and `protocol` takes its steps, the i-th of those.
    """
    steps = getattr(data, "steps", None) if isinstance(protocol, StepProtocol) else None
    if steps is None or steps.starts is None or steps.model != model:
        return protocol.fresh(net, rng)
    if i >= len(steps.starts):
        raise InputError(f"the set comes with {len(steps.starts)} fixed start{'s' * (len(steps.starts) > 1)} of "
                         f"{model}; give --num_eval {len(steps.starts)} or less, or another network")
    sizes = [parameter.numel() for parameter in net.parameters()]
    if sum(sizes) != steps.starts.shape[1]:
        raise InputError(f"the set's start has {steps.starts.shape[1]:,} parameters and {model} has {sum(sizes):,} "
                         "on these images; name the data set that it was learned on")
    for parameter, part in zip(net.parameters(), steps.starts[i].split(sizes)):
        parameter.copy_(part.view(parameter.shape))
    return net


def _scores(figures, tested):
    """Return the `Score` of each network from its training (accuracies, losses) and from a `_Tester`'s lists."""
    accuracies, losses = (torch.atleast_1d(figure).tolist() for figure in figures)
    return [Score(test, trained, loss, selected, confusion)
            for trained, loss, test, selected, confusion in zip(accuracies, losses, *tested, strict=True)]


def pixels_of(real: Any, protocol: Protocol) -> Space | None:
    """Return the `Space` of the images where the augmentation of `protocol` works on pixels, else None."""
    return Space.of(real) if protocol.augmentation in PIXEL_KINDS else None


def _networks_together(data, real, protocol, num_eval, device):
    """Return how many networks train at once: all that fit into half of a GPU's free memory, one on a CPU."""
    if device.type != "cuda":
        return 1
    fit = networks_that_fit(protocol.images_at_once(len(data.labels)), real.im_size, device)
    return max(1, min(num_eval, fit))


def _test_batch(real, compute):
    height, width = real.im_size
    if compute.device.type == "cpu":
        return max(16, CPU_TEST_PIXELS // (height * width))
    return min(GPU_TEST_BATCH, compute.chunk_for(real.im_size))


@dataclass(frozen=True)
class Scorer:
    """How a run scores its sets: everything but the set.

    `protocols` {network name: `Protocol`} in the order of the pool; `rng` are the run's `Streams`. `selection` are
    images kept for choosing an iteration (`SelectionImages`), or None; with `confusion` scores say which classes were
    taken for which.
    """

    real: Tested
    protocols: dict[str, Protocol]
    num_eval: int
    compute: Compute
    rng: Streams
    progress: bool = True
    selection: Tested | None = None
    confusion: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for a network that cannot take the images: better now than after the first step."""
        for model in self.protocols:
            get_network(model, *self.real.spec, rng=torch.Generator())

    def __call__(self, synthetic: Any, exp: int, it: int) -> dict[str, list[Score]]:
        """Return {network name: [Score]} of the set as it is at iteration `it` of experiment `exp`.

        Networks are trained with the step size that the set has learned, where it has learned one.
        """
        protocols = self.protocols_with(synthetic.learned_steps.mean())
        return evaluate(_decoded(synthetic), self.real, protocols, self.num_eval,
                        partial(self.rng, "evaluation", exp, it), self.compute, self.progress, self.selection,
                        self.confusion)

    def protocols_with(self, step_size: float | None) -> dict[str, Protocol]:
        """Return {network name: `Protocol`} with that learned step size, or, for None, as they are."""
        if step_size is None:
            return self.protocols
        return {model: protocol.with_step_size(step_size) for model, protocol in self.protocols.items()}

    def estimate(self, synthetic: Any) -> float:
        """Return about how many seconds one call takes."""
        tested = len(self.real.test_labels) + (len(self.selection.test_labels) if self.selection else 0)
        return estimate_seconds(_decoded(synthetic), self.real, self.protocols, self.num_eval, self.compute, tested)


@torch.no_grad()
def _decoded(synthetic):
    return TensorSet(synthetic.images().detach().float(), synthetic.labels, steps_of(synthetic), synthetic.views)


def estimate_seconds(data: LabelledImages | Callable[[int], LabelledImages], real: Tested,
                     protocols: Mapping[str, Protocol], num_eval: int, compute: Compute, tested: int) -> float:
    """Return about how long one evaluation takes: one epoch and one test batch of each architecture, timed.

    `tested` is the number of images that each network is tested on.
    """
    data = data if hasattr(data, "labels") else data(0)
    return sum(_estimate_network(data, real, model, protocol, num_eval, compute, tested)
               for model, protocol in protocols.items())


def _estimate_network(data, real, model, protocol, num_eval, compute, tested):
    together = _networks_together(data, real, protocol, num_eval, compute.device)
    rngs = [torch.Generator().manual_seed(i) for i in range(together)]         # for a trial: they go nowhere
    nets = [compute.prepare(get_network(model, *real.spec, rng=rng)) for rng in rngs]
    forward, batch = compute.wrap(nets[0]), _test_batch(real, compute)
    once, pixels = protocol.for_one_epoch(), pixels_of(real, protocol)
    if together > 1:
        train = partial(train_stacked, nets, [data] * together, once, rngs, compute.wrap_stacked, pixels=pixels)
    else:
        train = partial(train_network, nets[0], data, once, rngs[0], forward, compute.chunk_for(real.im_size),
                        pixels=pixels)
    test = partial(_test_one, forward, real, batch)
    train(), test()                                        # warm-up, and compilation
    epochs = -(-num_eval // together) * protocol.num_epochs
    batches = num_eval * tested / min(batch, len(real.test_labels))
    return epochs * seconds(train, compute.device) + batches * seconds(test, compute.device)


@torch.no_grad()
def _test_one(forward, real, batch):
    images, _ = next(iter(real.test_batches(batch)))
    return forward(images)


def seconds(step: Callable[[], object], device: torch.device) -> float:
    """Return how long `step()` takes, waiting for a GPU to finish."""
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
