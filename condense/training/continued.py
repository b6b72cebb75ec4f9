"""Training that continues from call to call on new images: a network that follows the real data."""

import torch
from torch import nn

from condense.core.types import Forward, LabelledImages
from condense.networks.batchnorm import has_batchnorm
from condense.training.minibatches import TrainingDraws, minibatches, siamese_operators
from condense.training.mixing import mixers
from condense.training.protocols import Protocol
from condense.training.train import accumulate_gradients


class ContinuedTraining:
    """SGD of one network at the rate of `protocol`, whose momentum lives on between calls of `epoch`.

    Minibatches are augmented and mixed as `protocol` says; its epochs and schedule play no part. `forward` (default
    `net`) maps images to logits; gradients accumulate over `chunk` images at a time unless the network has batch norm.
    `optimizer` holds the state that a checkpoint needs as well as the network's.
    """

    def __init__(self, net: nn.Module, protocol: Protocol, forward: Forward | None = None,
                 chunk: int | None = None) -> None:
        self.net, self.protocol, self.operators = net, protocol, siamese_operators(protocol)
        self.forward, self.chunk = forward or net, None if has_batchnorm(net) else chunk
        self.optimizer = torch.optim.SGD(net.parameters(), lr=protocol.lr, momentum=protocol.momentum,
                                         weight_decay=protocol.weight_decay)

    def restart(self) -> None:
        """Begin again from rest: the network is another one now."""
        self.optimizer.state.clear()

    def epoch(self, data: LabelledImages, rng: torch.Generator) -> None:
        """Train on each image of `data` (`labels`, `images(index)`) once, in an order that `rng` draws."""
        device = data.labels.device
        draws = TrainingDraws.of(rng, len(data.labels), self.protocol, self.operators, device)
        draws.block = 1                                    # this epoch is all that these draws are for
        mixer = mixers(self.protocol, [rng], device)
        self.net.train()
        for images, labels in minibatches(data, self.protocol, self.operators, draws):
            if mixer:
                images, labels = mixer[0](images, labels)
            self.optimizer.zero_grad()
            accumulate_gradients(self.forward, images, labels, self.chunk or len(images))
            self.optimizer.step()
