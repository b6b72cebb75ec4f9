"""Train fresh networks on a small set: one after another, or all of one architecture at once.

Both ways draw the same numbers from the same generators, so a network's accuracy does not depend on which way
it was trained, up to rounding.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from condense.core.types import Forward, LabelledImages, Labels, Rows, Size, Tick
from condense.data.space import Space
from condense.networks.batchnorm import has_batchnorm
from condense.training.minibatches import TrainingDraws, minibatches, siamese_operators, stacked_minibatches
from condense.training.mixing import Mixed, loss_of, mix_stacked, mixers
from condense.training.protocols import Protocol, StepProtocol
from condense.training.step_training import descend
from condense.training.steps import Steps, split_steps
from condense.training.transforms import require_pixels

FLOATS_PER_PIXEL = 2000                    # activations and gradients of one training image, largest family


@dataclass(frozen=True)
class TensorSet:
    """Images (n, C, H, W) float32 normalised with labels (n,) int64 or (n, K) soft, ready to train on.

    `steps` are those of a set of unrolled training, which a `StepProtocol` follows. Every `views` images in a row are
    views of one thing, of which every other protocol's epoch sees one.
    """

    tensor: torch.Tensor
    labels: torch.Tensor
    steps: Steps | None = None
    views: int = 1

    def images(self, index: Rows | None = None) -> Float[Tensor, "m c h w"]:
        return self.tensor if index is None else self.tensor[index]


def train_network(net: nn.Module, data: LabelledImages, protocol: Protocol, rng: torch.Generator | None,
                  forward: Forward | None = None, chunk: int | None = None, tick: Tick | None = None,
                  pixels: Space | None = None) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Train `net` in place on `data` by `protocol`; returns (accuracy, mean loss) of the last epoch, as tensors.

    `data` has `labels` (n,) or (n, K) and `images(index)`. `forward` (default `net`) maps images to logits;
    gradients accumulate over `chunk` images at a time unless the network has batch norm. `tick` is called
    after every epoch. Draws come from `rng`, a CPU generator, alone. `pixels` is the `Space` of the images, for
    the augmentations that work on pixels; without it they raise ValueError.
    """
    require_pixels(protocol.augmentation, pixels)
    forward, chunk = forward or net, None if has_batchnorm(net) else chunk
    if isinstance(protocol, StepProtocol):
        return _train_along(net, data, protocol, forward, chunk, tick)
    names, device = siamese_operators(protocol), data.labels.device
    draws = TrainingDraws.of(rng, len(data.labels), protocol, names, device, getattr(data, "views", 1))
    mixer = mixers(protocol, [rng], device)
    optimizer = _sgd(net.parameters(), protocol)
    net.train()
    totals = torch.full((2,), torch.nan, device=data.labels.device)       # of no epoch nothing is known
    for epoch in range(protocol.num_epochs):
        optimizer = _scheduled(optimizer, protocol, epoch)
        totals = torch.zeros(2, device=data.labels.device)
        for images, labels in minibatches(data, protocol, names, draws, pixels):
            if mixer:
                images, labels = mixer[0](images, labels)
            optimizer.zero_grad()
            totals += accumulate_gradients(forward, images, labels, chunk or len(images))
            optimizer.step()
        if tick:
            tick()
    return totals[1] / draws.num_images, totals[0] / draws.num_images


def _train_along(net, data, protocol, forward, chunk, tick):
    """`train_network` by a `StepProtocol`."""
    steps, device = steps_in(data, protocol), data.labels.device

    def accumulate(batch):
        images, labels = data.images(steps.rows[batch]).detach(), data.labels[steps.rows[batch]]
        return accumulate_gradients(forward, images, labels, chunk or len(images))

    totals = descend(net.train().parameters(), accumulate, _sizes(steps, protocol), protocol.epochs, protocol.momentum,
                     tick)
    return _figures(totals, steps, torch.full((2,), torch.nan, device=device))


def steps_in(data: LabelledImages, protocol: StepProtocol) -> Steps:
    """Return the `Steps` that `protocol` takes on `data`: those it has, else all its images cut as `protocol` says."""
    own = getattr(data, "steps", None)
    return own or Steps(split_steps(data.labels, protocol.distill_steps))


def _sizes(steps, protocol):
    return steps.sizes_of(protocol.epochs, protocol.lr, protocol.constant)


def _figures(totals, steps, unknown):
    """Return (accuracies, losses) from an epoch's (losses, numbers correct); `unknown` where no epoch was."""
    losses, correct = unknown if totals is None else totals / sum(map(len, steps.rows))
    return correct, losses


def accumulate_gradients(forward: Forward, images: Float[Tensor, "n c h w"], labels: Labels | Mixed, chunk: int,
                         loss: Callable[..., Tensor] = F.cross_entropy) -> Float[Tensor, "2"]:
    """Add the gradient of the minibatch's mean loss to the parameters', from `chunk` images at a time.

    `loss(logits, labels, reduction="sum")`. Returns the (summed loss, number correct) of the minibatch.
    """
    totals = torch.zeros(2, device=images.device)
    for x, y in zip(images.split(chunk), labels.split(chunk)):
        logits = forward(x)
        summed = loss_of(partial(loss, logits, reduction="sum"), y)
        (summed / len(images)).backward()
        totals += torch.stack((summed.detach(), _correct(logits.detach(), y)))
    return totals


def _sgd(parameters, protocol, epoch=0):
    return torch.optim.SGD(parameters, lr=protocol.rate(epoch), momentum=protocol.momentum,
                           weight_decay=protocol.weight_decay)


def _scheduled(optimizer, protocol, epoch):
    """Return the optimiser that `epoch` trains with: at a milestone slower, under schedule "drop" a new one."""
    if epoch == protocol.drop_epoch:
        return _sgd(optimizer.param_groups[0]["params"], protocol, epoch)
    if epoch in protocol.milestones:
        for group in optimizer.param_groups:
            group["lr"] = protocol.rate(epoch)
    return optimizer


def _correct(logits, labels):
    """Number of right guesses in the last but one dimension: logits (..., n, K), labels (..., n) or (..., n, K).

    Of mixed labels those count that the images had of their own.
    """
    target = labels.labels if isinstance(labels, Mixed) else labels
    target = target if target.dtype == torch.int64 else target.argmax(-1)
    return (logits.argmax(-1) == target).sum(-1, dtype=torch.float32)


def train_stacked(nets: Sequence[nn.Module], datasets: Sequence[LabelledImages], protocol: Protocol,
                  rngs: Sequence[torch.Generator], wrap: Callable[[Callable], Callable] | None = None,
                  tick: Tick | None = None,
                  pixels: Space | None = None) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"]]:
    """Train `nets` (one architecture) in place, all in one go: parameters stacked, one vectorised call a step.

    `datasets` and `rngs` hold one entry per network; all sets have the same size. `wrap` turns the vectorised
    call into one of another precision, or a compiled one. Returns (accuracies, losses) of the last epoch,
    tensors (M,). Same draws, and up to rounding the same numbers, as `train_network`, with every augmentation.
    """
    require_pixels(protocol.augmentation, pixels)
    if isinstance(protocol, StepProtocol):
        return _train_stacked_along(nets, datasets, protocol, wrap, tick)
    names = siamese_operators(protocol)
    device, num_images = datasets[0].labels.device, len(datasets[0].labels)
    views = getattr(datasets[0], "views", 1)
    draws = [TrainingDraws.of(rng, num_images, protocol, names, device, views) for rng in rngs]
    mixing = mixers(protocol, rngs, device)
    call, parameters, buffers = stack_networks([net.train() for net in nets])
    call = wrap(call) if wrap else call
    optimizer = _sgd(parameters.values(), protocol)
    totals = torch.full((2, len(nets)), torch.nan, device=device)
    for epoch in range(protocol.num_epochs):
        optimizer = _scheduled(optimizer, protocol, epoch)
        totals = torch.zeros(2, len(nets), device=device)
        for images, labels in stacked_minibatches(datasets, protocol, names, draws, pixels):
            if mixing:
                images, labels = mix_stacked(mixing, images, labels)
            optimizer.zero_grad()
            totals += accumulate_stacked(call, parameters, buffers, images, labels)
            optimizer.step()
        if tick:
            tick()
    unstack_networks(nets, parameters, buffers)
    return totals[1] / draws[0].num_images, totals[0] / draws[0].num_images


def _train_stacked_along(nets, datasets, protocol, wrap, tick):
    """`train_stacked` by a `StepProtocol`: all sets have batches of the same sizes, and the same step sizes."""
    plans, device = [steps_in(data, protocol) for data in datasets], datasets[0].labels.device
    call, parameters, buffers = stack_networks([net.train() for net in nets])
    call = wrap(call) if wrap else call

    def accumulate(batch):
        rows = [steps.rows[batch] for steps in plans]
        images = torch.stack([data.images(index) for data, index in zip(datasets, rows)]).detach()
        labels = torch.stack([data.labels[index] for data, index in zip(datasets, rows)])
        return accumulate_stacked(call, parameters, buffers, images, labels)

    totals = descend(parameters.values(), accumulate, _sizes(plans[0], protocol), protocol.epochs, protocol.momentum,
                     tick)
    unstack_networks(nets, parameters, buffers)
    return _figures(totals, plans[0], torch.full((2, len(nets)), torch.nan, device=device))


def accumulate_stacked(call: Callable[..., Tensor], parameters: dict[str, Tensor], buffers: dict[str, Tensor],
                       images: Float[Tensor, "m b c h w"], labels: Int[Tensor, "m b"] | Float[Tensor, "m b k"] | Mixed,
                       loss: Callable[..., Tensor] = F.cross_entropy) -> Float[Tensor, "2 m"]:
    """Add the gradient of each network's mean loss to the stacked parameters'; see `stack_networks`.

    Returns the (summed loss, number correct) of every network's minibatch, (2, M).
    """
    logits = call(parameters, buffers, images)
    losses = loss_of(partial(vmap(loss), logits), labels)
    losses.sum().backward()
    return torch.stack((losses.detach() * images.shape[1], _correct(logits.detach(), labels)))


def stack_networks(nets: Sequence[nn.Module]) -> tuple[Callable[..., Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Return (vectorised call, stacked parameters, stacked buffers) of networks of one architecture."""
    parameters, buffers = stack_module_state(nets)
    skeleton = copy.deepcopy(nets[0]).to("meta")

    def call(parameters, buffers, images):
        return vmap(lambda p, b, x: functional_call(skeleton, (p, b), (x,)))(parameters, buffers, images)

    return call, parameters, buffers


@torch.no_grad()
def unstack_networks(nets: Sequence[nn.Module], parameters: Mapping[str, Tensor],
                     buffers: Mapping[str, Tensor]) -> None:
    """Copy stacked parameters and buffers back into `nets`."""
    for number, net in enumerate(nets):
        for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
            tensor.copy_((parameters if name in parameters else buffers)[name][number])


def networks_that_fit(batch_size: int, im_size: Size, device: torch.device) -> int:
    """Return how many networks that train on minibatches of images (H, W) half of a GPU's free memory holds."""
    free, _ = torch.cuda.mem_get_info(device)
    return free // 2 // (4 * FLOATS_PER_PIXEL * batch_size * im_size[0] * im_size[1])
