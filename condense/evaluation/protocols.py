"""Evaluation protocols: how a fresh network is trained on a synthetic set before it is tested."""

from dataclasses import dataclass

from condense.augmentation.classic import classic_strategy

AUGMENTATIONS = ("none", "siamese", "classic")


@dataclass(frozen=True)
class Protocol:
    """One training recipe: SGD on shuffled minibatches, the last one smaller where the set does not divide.

    Schedule "drop" trains `epochs` + 1 epochs (the published code trains one more than its flag says); after
    epoch index epochs // 2 + 1 the learning rate falls to a tenth and the momentum buffer is cleared. "constant"
    trains `epochs` epochs at one learning rate. `augmentation` names the kind (none, siamese, classic), `strategy`
    its operators. The number that counts is the test accuracy after the last epoch; there is no selection. Zhao
    et al., ICLR 2021, ICML 2021, WACV 2023.
    """

    epochs: int = 1000
    lr: float = 0.01
    batch_size: int = 256
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augmentation: str = "siamese"
    strategy: str = "none"
    schedule: str = "drop"

    @property
    def num_epochs(self):
        """How many epochs are trained."""
        return self.epochs + (self.schedule == "drop")

    @property
    def drop_epoch(self):
        """The first epoch index that trains at a tenth of the learning rate, with a fresh momentum buffer."""
        return self.epochs // 2 + 2 if self.schedule == "drop" else None


def siamese_protocols(pool, epochs, lr, batch_size, strategy):
    """Return {network name: `Protocol`} of DSA and DM: one recipe for all, `epochs` "auto" for 1000."""
    return dict.fromkeys(pool, Protocol(1000 if epochs == "auto" else epochs, lr, batch_size, strategy=strategy))


def dc_protocols(pool, dataset, epochs, lr, batch_size):
    """Return {network name: `Protocol`} of DC, whose augmentation depends on the data and on the network.

    `epochs` "auto" means 300, or 1000 where the augmentation is on, as the published code forces it.
    """
    protocols = {}
    for model in pool:
        strategy = classic_strategy(dataset, model)
        automatic = 300 if strategy == "none" else 1000
        protocols[model] = Protocol(automatic if epochs == "auto" else epochs, lr, batch_size,
                                    augmentation="classic", strategy=strategy)
    return protocols


def mtt_protocols(pool, dataset, epochs, lr, batch_size, strategy, siamese=True):
    """Return {network name: `Protocol`} of trajectory matching; `lr` gives way to the step size that a set learns.

    `siamese` False augments as DC does, by data set and network, as the published code does without DSA.
    """
    return {model: Protocol(epochs, lr, batch_size, strategy=strategy) if siamese else
            Protocol(epochs, lr, batch_size, augmentation="classic", strategy=classic_strategy(dataset, model))
            for model in pool}
