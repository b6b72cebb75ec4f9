"""The networks of experts while they train: one at a time, or several of them stacked.

Both draw the same numbers, keyed by expert and epoch, so that an expert can go on from the end of any epoch and does
not depend on how many train at the same time, up to rounding.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from condense.core.randomness import Streams
from condense.data.real import RealData
from condense.evaluation.accuracy import accuracy
from condense.experts.recipe import BETAS, LOSSES, SLOTS, Recipe
from condense.experts.sharpness import sharpen
from condense.networks import get_network, reset
from condense.operators import Compute
from condense.training.minibatches import TrainingDraws, minibatches, siamese_operators, stacked_minibatches
from condense.training.train import (
    accumulate_gradients,
    accumulate_stacked,
    networks_that_fit,
    stack_networks,
    unstack_networks,
)

RECORDED_BYTES = 4 << 30                   # of the trajectories of experts that train at once


def networks_of_experts(number_of: int, model: str, real: RealData, recipe: Recipe, compute: Compute,
                        rng: Streams) -> "Alone | Stacked":
    """Return the networks of `number_of` experts, to `begin` with: `Alone`, or `Stacked` if several."""
    nets = [compute.prepare(get_network(model, *real.spec, rng=torch.Generator())) for _ in range(number_of)]
    return (Alone if number_of == 1 else Stacked)(nets, real, recipe, compute, rng)


def experts_at_once(real: RealData, recipe: Recipe, parameters: int, wanted: int, device: torch.device) -> int:
    """Return how many experts train at once: one on a CPU, on a GPU as many as half of its free memory holds.

    `parameters` is the size of a network. Their trajectories wait in the host's memory, at most 4 GiB of it.
    """
    if device.type != "cuda":
        return 1
    fit = networks_that_fit(min(recipe.batch_size, len(real)), real.im_size, device)
    return max(1, min(wanted, fit, RECORDED_BYTES // (4 * parameters * recipe.kept)))


class _Experts:
    """What both ways share. `numbers` are the experts' own, `totals` (2, M) the epoch's summed losses and hits.

    `rng(purpose, *key)` are the run's `Streams`: ("nets", number) draws an expert's initialisation, ("nets", number,
    1 + epoch) an epoch's order and augmentation.
    """

    stacked = False

    def __init__(self, nets: list[nn.Module], real: RealData, recipe: Recipe, compute: Compute, rng: Streams) -> None:
        self.nets, self.real, self.recipe, self.compute, self.rng = nets, real, recipe, compute, rng
        self.data, self.chunk = real.sample(real.classes), compute.chunk_for(real.im_size)
        self.names, self.loss = siamese_operators(recipe.protocol), LOSSES[recipe.loss]
        self.numbers, self.epoch, self.optimizer = [], 0, None

    def __len__(self) -> int:
        return len(self.nets)

    def begin(self, numbers: Sequence[int]) -> None:
        """Become the experts `numbers`, freshly initialised."""
        self.numbers, self.epoch, self.optimizer = list(numbers), 0, None
        for number, net in zip(self.numbers, self.nets, strict=True):
            reset(net, self.rng("nets", number), self.recipe.init, self.recipe.gain).train()     # drawn on the device
        self._load([list(net.parameters()) for net in self.nets])

    def start_epoch(self, epoch: int) -> None:
        """Take up `epoch`: its draws, its learning rate, and where that drops by --decay a new optimiser."""
        self.epoch = epoch
        if self.optimizer is None or self.recipe.drops_at(epoch):
            self.optimizer = self._new_optimizer(epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate(epoch)
        self.draws = [TrainingDraws(self.rng("nets", number, 1 + epoch), len(self.real), self.recipe.batch_size,
                                    len(self.names), self.real.device, block=1) for number in self.numbers]
        self.totals = torch.zeros(2, len(self.numbers), device=self.real.device)

    def step(self, images: Tensor, labels: Tensor) -> None:
        """One step on a minibatch: the optimiser's, or GSAM's where the recipe asks for flat minima."""
        self.optimizer.zero_grad()
        self.totals += self._accumulate(images, labels).view(2, -1)
        rho = self.recipe.rho(self.epoch)
        if rho > 0:
            sharpen(self.parameters, partial(self._accumulate, images, labels), rho, self.recipe.alpha,
                    self.recipe.adaptive, self.stacked)
        self.optimizer.step()

    def figures(self) -> list[tuple[float, float]]:
        """Return [(training accuracy, mean loss)] of each expert in the epoch that is over."""
        losses, hits = (self.totals / len(self.real)).tolist()
        return list(zip(hits, losses))

    def test_accuracies(self) -> list[float]:
        """Return the fraction of test images that each expert classifies correctly."""
        return [float(accuracy(net, self.real, self.compute.wrap(net, compiled=False), self.chunk))
                for net in self.current_networks()]

    def state(self) -> list[tuple[list[Tensor], list[Tensor]]]:
        """Return [(parameters, momenta)] of each expert: lists of float32 CPU tensors, copies; momenta [] if none.

        Momenta are all that the optimiser remembers of every parameter: of Adam the first moments, then the second.
        """
        used = self.optimizer.state if self.optimizer is not None else {}
        momenta = [used[p][slot] for slot in SLOTS[self.recipe.optimizer] for p in self.parameters if used.get(p)]
        return list(zip(self._per_expert(self.parameters), self._per_expert(momenta)))

    def restore(self, states: Sequence[tuple[list[Tensor], list[Tensor]]], epoch: int) -> None:
        """Take over what `state` returned in front of `epoch`."""
        parameters, momenta = zip(*states)
        self._load(parameters)
        self.optimizer = self._new_optimizer(epoch)
        places = [(slot, parameter) for slot in SLOTS[self.recipe.optimizer] for parameter in self.parameters]
        steps = float(epoch * math.ceil(len(self.real) / self.recipe.batch_size))
        for (slot, parameter), value in zip(places, self._together(momenta)):
            self.optimizer.state[parameter][slot] = torch.empty_like(parameter).copy_(value).detach()
            if self.recipe.optimizer == "adam":
                self.optimizer.state[parameter]["step"] = torch.tensor(steps)

    @torch.no_grad()
    def _load(self, lists):
        for parameter, value in zip(self.parameters, self._together(lists), strict=True):
            parameter.copy_(value)

    def _new_optimizer(self, epoch):
        if self.recipe.optimizer == "adam":
            return torch.optim.Adam(self.parameters, self.recipe.rate(epoch), BETAS,
                                    weight_decay=self.recipe.weight_decay)
        return torch.optim.SGD(self.parameters, lr=self.recipe.rate(epoch), momentum=self.recipe.momentum,
                               weight_decay=self.recipe.weight_decay)


class Alone(_Experts):
    """One expert: minibatches go through its network in chunks that fit a CPU's cache."""

    def __init__(self, nets: list[nn.Module], real: RealData, recipe: Recipe, compute: Compute, rng: Streams) -> None:
        super().__init__(nets, real, recipe, compute, rng)
        self.parameters, self.forward = list(nets[0].parameters()), compute.wrap(nets[0])

    def minibatches(self) -> Iterator[tuple[Float[Tensor, "b c h w"], Int[Tensor, " b"]]]:
        """Yield the epoch's (images (B, C, H, W), labels (B,)): shuffled, augmented, the last one partial."""
        return minibatches(self.data, self.recipe.protocol, self.names, self.draws[0])

    def current_networks(self) -> list[nn.Module]:
        """Return the network, in a list."""
        return self.nets

    def _accumulate(self, images, labels):
        return accumulate_gradients(self.forward, images, labels, self.chunk, self.loss)

    def _per_expert(self, tensors):
        return [[_plain(tensor) for tensor in tensors]]

    def _together(self, lists):
        return lists[0]


class Stacked(_Experts):
    """Several experts: parameters stacked along a first axis, one vectorised call a step."""

    stacked = True

    def __init__(self, nets: list[nn.Module], real: RealData, recipe: Recipe, compute: Compute, rng: Streams) -> None:
        super().__init__(nets, real, recipe, compute, rng)
        call, self.by_name, self.buffers = stack_networks(nets)
        self.call, self.parameters = compute.wrap_stacked(call), list(self.by_name.values())

    def minibatches(self) -> Iterator[tuple[Float[Tensor, "m b c h w"], Int[Tensor, "m b"]]]:
        """Yield the epoch's (images (M, B, C, H, W), labels (M, B)), of every expert its own."""
        return stacked_minibatches([self.data] * len(self), self.recipe.protocol, self.names, self.draws)

    def current_networks(self) -> list[nn.Module]:
        """Return the networks as they are now."""
        unstack_networks(self.nets, self.by_name, self.buffers)
        return self.nets

    def _accumulate(self, images, labels):
        return accumulate_stacked(self.call, self.by_name, self.buffers, images, labels, self.loss)

    def _per_expert(self, tensors):
        whole = [_plain(tensor) for tensor in tensors]
        return [[tensor[i].clone() for tensor in whole] for i in range(len(self))]

    def _together(self, lists):
        return [torch.stack(tensors) for tensors in zip(*lists)]


def _plain(tensor):
    """Return a copy on the CPU in the default layout with storage of its own: float32, whatever it was."""
    return tensor.detach().to("cpu", torch.float32, copy=True, memory_format=torch.contiguous_format)
