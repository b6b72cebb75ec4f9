"""Train fresh networks on a small set and test them: one after another, or all of one architecture at once.

Both ways draw the same numbers from the same generators, so a network's accuracy does not depend on which way
it was trained, up to rounding.
"""

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.func import functional_call, stack_module_state, vmap

from condense.augmentation.classic import augment_classic
from condense.augmentation.siamese import one_operator_each, parse_strategy
from condense.networks.batchnorm import has_batchnorm
from condense.randomness import generator_on

FLOATS_PER_PIXEL = 2000                    # activations and gradients of one training image, largest family
EPOCHS_PER_BLOCK = 16                     # random numbers are drawn for this many epochs at a time


@dataclass(frozen=True)
class TensorSet:
    """Images (n, C, H, W) float32 normalised with labels (n,) int64 or (n, K) soft, ready to train on."""

    tensor: torch.Tensor
    labels: torch.Tensor

    def images(self, index=None):
        return self.tensor if index is None else self.tensor[index]


class TrainingDraws:
    """The random numbers of one network's training: per epoch an order, operators and magnitudes.

    Drawn in blocks of `block` epochs, magnitudes on `device`; the operators' choice stays on the host.
    """

    def __init__(self, rng, num_images, batch_size, num_operators, device, block=EPOCHS_PER_BLOCK):
        self.host, self.device, self.block = rng, device, block
        self.rng = generator_on(device, rng)
        self.num_images, self.num_operators = num_images, num_operators
        self.num_batches = -(-num_images // batch_size)
        self.left = 0

    def epoch(self):
        """Return (order (n,), operator of each minibatch (list), uniforms (n, 3)) of the next epoch."""
        if self.left == 0:
            self._draw()
        self.left -= 1
        return self.order[self.left], self.operators[self.left], self.uniforms[self.left]

    def _draw(self):
        self.left, shape = self.block, (self.block, self.num_images)
        self.order = torch.rand(shape, generator=self.rng, device=self.device).argsort(1)
        self.uniforms = torch.rand((*shape, 3), generator=self.rng, device=self.device)
        size = (self.block, self.num_batches)
        self.operators = torch.randint(max(self.num_operators, 1), size, generator=self.host).tolist()


def train_network(net, data, protocol, rng, forward=None, chunk=None, tick=None):
    """Train `net` in place on `data` by `protocol`; returns (accuracy, mean loss) of the last epoch, as tensors.

    `data` has `labels` (n,) or (n, K) and `images(index)`. `forward` (default `net`) maps images to logits;
    gradients accumulate over `chunk` images at a time unless the network has batch norm. `tick` is called
    after every epoch. Draws come from `rng`, a CPU generator, alone.
    """
    forward, chunk = forward or net, None if has_batchnorm(net) else chunk
    names = siamese_operators(protocol)
    draws = TrainingDraws(rng, len(data.labels), protocol.batch_size, len(names), data.labels.device)
    optimizer = _sgd(net.parameters(), protocol, protocol.lr)
    net.train()
    totals = torch.full((2,), torch.nan, device=data.labels.device)       # of no epoch nothing is known
    for epoch in range(protocol.num_epochs):
        if epoch == protocol.drop_epoch:
            optimizer = _sgd(net.parameters(), protocol, 0.1 * protocol.lr)
        totals = torch.zeros(2, device=data.labels.device)
        for images, labels in minibatches(data, protocol, names, draws):
            optimizer.zero_grad()
            totals += accumulate_gradients(forward, images, labels, chunk or len(images))
            optimizer.step()
        if tick:
            tick()
    return totals[1] / len(data.labels), totals[0] / len(data.labels)


def siamese_operators(protocol):
    """Return the names of the Siamese operators that `protocol` augments with; none for another augmentation."""
    return parse_strategy(protocol.strategy) if protocol.augmentation == "siamese" else ()


def minibatches(data, protocol, names, draws):
    """Yield (images, labels) of one epoch: `data` in the next order of `draws`, cut and augmented by `protocol`.

    `names` are the protocol's `siamese_operators`.
    """
    order, operators, uniforms = draws.epoch()
    for index, operator, part in zip(order.split(protocol.batch_size), operators, uniforms.split(protocol.batch_size)):
        images, labels = data.images(index).detach(), data.labels[index]
        yield _augment(images, protocol, names, [operator] * len(images), part, draws.host), labels


def accumulate_gradients(forward, images, labels, chunk, loss=F.cross_entropy):
    """Add the gradient of the minibatch's mean loss to the parameters', from `chunk` images at a time.

    `loss(logits, labels, reduction="sum")`. Returns the (summed loss, number correct) of the minibatch.
    """
    totals = torch.zeros(2, device=images.device)
    for x, y in zip(images.split(chunk), labels.split(chunk)):
        logits = forward(x)
        summed = loss(logits, y, reduction="sum")
        (summed / len(images)).backward()
        totals += torch.stack((summed.detach(), _correct(logits.detach(), y)))
    return totals


def _sgd(parameters, protocol, lr):
    return torch.optim.SGD(parameters, lr=lr, momentum=protocol.momentum, weight_decay=protocol.weight_decay)


def _correct(logits, labels):
    """Number of right guesses in the last but one dimension: logits (..., n, K), labels (..., n) or (..., n, K)."""
    target = labels if labels.dtype == torch.int64 else labels.argmax(-1)
    return (logits.argmax(-1) == target).sum(-1, dtype=torch.float32)


def _augment(images, protocol, names, operators, uniforms, rng):
    """Augment a minibatch: `operators` (position in `names` of each image) and `uniforms` (n, 3) are drawn."""
    if protocol.augmentation == "siamese" and names:
        return one_operator_each(names, operators, uniforms)(images)
    if protocol.augmentation == "classic" and protocol.strategy != "none":
        return augment_classic(images, protocol.strategy, rng)
    return images


@torch.no_grad()
def accuracy(net, real, forward=None, batch_size=256):
    """Return the fraction of `real`'s test images that `net` gets right, a tensor; nothing syncs before."""
    forward = forward or net
    net.eval()
    correct = sum(_correct(forward(images), labels) for images, labels in real.test_batches(batch_size))
    net.train()
    return correct / len(real.test_labels)


def train_stacked(nets, datasets, protocol, rngs, wrap=None, tick=None):
    """Train `nets` (one architecture) in place, all in one go: parameters stacked, one vectorised call a step.

    `datasets` and `rngs` hold one entry per network; all sets have the same size. `wrap` turns the vectorised
    call into one of another precision, or a compiled one. Returns (accuracies, losses) of the last epoch,
    tensors (M,). Same draws, and up to rounding the same numbers, as `train_network`.
    """
    names = siamese_operators(protocol)
    device, num_images = datasets[0].labels.device, len(datasets[0].labels)
    draws = [TrainingDraws(rng, num_images, protocol.batch_size, len(names), device) for rng in rngs]
    call, parameters, buffers = stack_networks([net.train() for net in nets])
    call = wrap(call) if wrap else call
    optimizer = _sgd(parameters.values(), protocol, protocol.lr)
    totals = torch.full((2, len(nets)), torch.nan, device=device)
    for epoch in range(protocol.num_epochs):
        if epoch == protocol.drop_epoch:
            optimizer = _sgd(parameters.values(), protocol, 0.1 * protocol.lr)
        totals = torch.zeros(2, len(nets), device=device)
        for images, labels in stacked_minibatches(datasets, protocol, names, draws):
            optimizer.zero_grad()
            totals += accumulate_stacked(call, parameters, buffers, images, labels)
            optimizer.step()
        if tick:
            tick()
    unstack_networks(nets, parameters, buffers)
    return totals[1] / num_images, totals[0] / num_images


def accumulate_stacked(call, parameters, buffers, images, labels, loss=F.cross_entropy):
    """Add the gradient of each network's mean loss to the stacked parameters'; see `stack_networks`.

    Returns the (summed loss, number correct) of every network's minibatch, (2, M).
    """
    logits = call(parameters, buffers, images)
    losses = vmap(loss)(logits, labels)
    losses.sum().backward()
    return torch.stack((losses.detach() * images.shape[1], _correct(logits.detach(), labels)))


def stacked_minibatches(datasets, protocol, names, draws):
    """Yield (images (M, B, C, H, W), labels (M, B[, K])) of one epoch of every network; see `minibatches`."""
    epoch_draws = [draw.epoch() for draw in draws]
    for number in range(draws[0].num_batches):
        yield _stacked_minibatch(datasets, protocol, names, epoch_draws, number, draws)


def _stacked_minibatch(datasets, protocol, names, epoch_draws, number, draws):
    """Gather and augment minibatch `number` of every network: (M, B, C, H, W) and (M, B[, K])."""
    part = slice(number * protocol.batch_size, (number + 1) * protocol.batch_size)
    orders = [order[part] for order, _, _ in epoch_draws]
    images = [data.images(index).detach() for data, index in zip(datasets, orders)]
    labels = torch.stack([data.labels[index] for data, index in zip(datasets, orders)])
    if names:                                             # one record over all networks: few kernels, not M times few
        operators = [ops[number] for _, ops, _ in epoch_draws for _ in range(len(images[0]))]
        uniforms = torch.cat([u[part] for _, _, u in epoch_draws])
        images = _augment(torch.cat(images), protocol, names, operators, uniforms, None)
        return images.view(len(datasets), -1, *images.shape[1:]), labels
    images = [_augment(x, protocol, (), [], None, draw.host) for x, draw in zip(images, draws)]
    return torch.stack(images), labels


def stack_networks(nets):
    """Return (vectorised call, stacked parameters, stacked buffers) of networks of one architecture."""
    parameters, buffers = stack_module_state(nets)
    skeleton = copy.deepcopy(nets[0]).to("meta")

    def call(parameters, buffers, images):
        return vmap(lambda p, b, x: functional_call(skeleton, (p, b), (x,)))(parameters, buffers, images)

    return call, parameters, buffers


@torch.no_grad()
def unstack_networks(nets, parameters, buffers):
    """Copy stacked parameters and buffers back into `nets`."""
    for number, net in enumerate(nets):
        for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
            tensor.copy_((parameters if name in parameters else buffers)[name][number])


def networks_that_fit(batch_size, im_size, device):
    """Return how many networks that train on minibatches of images (H, W) half of a GPU's free memory holds."""
    free, _ = torch.cuda.mem_get_info(device)
    return free // 2 // (4 * FLOATS_PER_PIXEL * batch_size * im_size[0] * im_size[1])
