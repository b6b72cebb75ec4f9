"""Evaluation protocols: how a fresh network is trained on a synthetic set before it is tested."""

from dataclasses import dataclass

AUGMENTATIONS = ("none", "siamese", "classic")


@dataclass(frozen=True)
class Protocol:
    """One training recipe: SGD for `epochs` + 1 epochs (the published code trains one more than its flag says).

    After epoch index epochs // 2 + 1 the learning rate falls to a tenth and the momentum buffer is cleared.
    `augmentation` names the kind (none, siamese, classic), `strategy` its operators. The number that counts is
    the test accuracy after the last epoch; there is no selection. Zhao et al., ICLR 2021, ICML 2021, WACV 2023.
    """

    epochs: int = 1000
    lr: float = 0.01
    batch_size: int = 256
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augmentation: str = "siamese"
    strategy: str = "none"

    @property
    def drop_epoch(self):
        """The first epoch index that trains at a tenth of the learning rate, with a fresh momentum buffer."""
        return self.epochs // 2 + 2
