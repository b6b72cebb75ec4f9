"""Training written out step by step: epochs, momentum, weight decay and schedule, and small networks to compare on."""

import copy
from dataclasses import dataclass

import torch
from torch import nn

from condense.data import load_data
from condense.networks import MLP, ConvNet, reset
from condense.training import Protocol, TensorSet
from condense.training.train import TrainingDraws, train_network, train_stacked

PLAIN = Protocol(epochs=7, lr=0.05, batch_size=8, augmentation="none")
FULL = "color_crop_cutout_flip_scale_rotate"


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def some_digits():
    """Return 23 digits in float64: with minibatches of 8, the last one is partial."""
    digits = load_data("Digits")
    batch = digits.sample(digits.classes, 3, seeded())
    chosen = torch.randperm(30, generator=seeded(1))[:23]
    return TensorSet(batch.images()[chosen].double(), batch.labels[chosen])


def soft_labels(number=23):
    return torch.rand(number, 10, generator=seeded(4), dtype=torch.float64).softmax(1)


def build(kind, seed=0):
    if kind == "MLP":
        net = MLP(1, 10, im_size=(8, 8))
    else:
        net = ConvNet(1, 10, 8, 2, "relu", kind, "avgpooling", im_size=(8, 8))
    return reset(net, seeded(seed)).double()


def orders(rng, data, protocol):
    """The order of the images in each epoch, as the generator gives it."""
    draws = TrainingDraws(rng, len(data.labels), protocol.batch_size, 0, "cpu")
    return [draws.epoch()[0] for _ in range(protocol.epochs + (protocol.schedule == "drop"))]


def train_plainly(net, data, protocol, rng, change=None):
    """The published recipe with everything written out; returns (accuracy, mean loss) of the last epoch.

    `change(images, soft labels)` are made of every minibatch. A guess is right that is the image's own label.
    """
    net.train()
    lr, velocity, parameters = protocol.lr, None, list(net.parameters())
    soft = data.labels if data.labels.is_floating_point() else nn.functional.one_hot(data.labels, 10).double()
    for epoch, order in enumerate(orders(rng, data, protocol)):
        right = total = 0
        for start in range(0, len(order), protocol.batch_size):
            index = order[start:start + protocol.batch_size]
            images, labels = data.tensor[index], soft[index]
            if change:
                images, labels = change(images, labels)
            logits = net(images)
            losses = -(labels * logits.log_softmax(1)).sum(1)
            gradients = torch.autograd.grad(losses.mean(), parameters)
            with torch.no_grad():
                steps = [g + protocol.weight_decay * p for g, p in zip(gradients, parameters)]
                if velocity is None:
                    velocity = steps
                else:
                    velocity = [protocol.momentum * v + step for v, step in zip(velocity, steps)]
                for parameter, v in zip(parameters, velocity):
                    parameter -= lr * v
            total += losses.sum().item()
            right += (logits.argmax(1) == soft[index].argmax(1)).sum().item()
        if protocol.schedule == "drop" and epoch == protocol.epochs // 2 + 1:
            lr, velocity = lr * 0.1, None
        if protocol.schedule == "idc":
            lr *= 0.2 ** [2 * protocol.epochs // 3, 5 * protocol.epochs // 6].count(epoch + 1)
    return right / len(soft), total / len(soft)


def assert_same_state(one, two, tolerance=1e-10):
    for (name, a), b in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        def named(text, name=name):
            return f"{name}: {text}"

        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance, msg=named)


@dataclass
class Spy:
    """A forward function that notes how many images it sees at a time."""

    net: nn.Module
    seen: list

    def __call__(self, images):
        self.seen.append(len(images))
        return self.net(images)


def train_both_ways(kind, datasets, protocol, pixels=None):
    """Train networks of `kind` alone and stacked; returns both lists, with figures found equal."""
    alone = [build(kind, seed) for seed in range(len(datasets))]
    stacked = copy.deepcopy(alone)
    seeds = range(10, 10 + len(datasets))
    figures = [train_network(net, d, protocol, seeded(s), pixels=pixels) for net, d, s in zip(alone, datasets, seeds)]
    together = train_stacked(stacked, datasets, protocol, [seeded(s) for s in seeds], pixels=pixels)
    torch.testing.assert_close(torch.stack(together, 1), torch.stack([torch.stack(f) for f in figures]))
    return alone, stacked
