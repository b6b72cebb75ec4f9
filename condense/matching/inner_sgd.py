"""Stochastic gradient descent with momentum as a step of `unroll`: the network's training that is differentiated.

The heavy ball as PyTorch has it, v <- mu v + g and theta <- theta - lr v. Its two vectors travel as one state, so
that every way to differentiate an unroll carries both adjoints back. Without momentum there is one vector.
Wang, Zhu, Torralba & Efros, "Dataset Distillation", 2018, train by plain descent, each step with a learned size of its
own; Deng & Russakovsky, "Remember the Past", NeurIPS 2022, with momentum, over a hundred steps and more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from condense.core.errors import InputError
from condense.core.types import Forward, Labels
from condense.matching.trajectories import Student
from condense.matching.unrolling import unroll


@dataclass(frozen=True)
class InnerSGD:
    """Descent with `momentum` mu, 0 <= mu < 1; raises ValueError for any other.

    A state is (P,), the weights alone, where mu is 0, else (2, P): weights and velocity. Step sizes are one number,
    a tensor (), or a vector (T,) with one for each step; both are differentiable.
    """

    momentum: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise InputError(f"--inner_momentum must be 0 or larger and below 1, not {self.momentum}")

    def start(self, theta: Float[Tensor, " p"]) -> Float[Tensor, "*v p"]:
        """Return the state of weights `theta` (P,) at rest."""
        return torch.stack((theta, torch.zeros_like(theta))) if self.momentum else theta

    def weights(self, state: Float[Tensor, "*v p"]) -> Float[Tensor, " p"]:
        """Return the weights (P,) of a state."""
        return state[0] if self.momentum else state

    def step(self, i: int, state: Float[Tensor, "*v p"], gradient: Float[Tensor, " p"],
             lr: Float[Tensor, "*t"]) -> Float[Tensor, "*v p"]:
        """Return the state after step `i` down `gradient` (P,)."""
        lr = lr if lr.dim() == 0 else lr[i]
        if not self.momentum:
            return state - lr * gradient
        theta, velocity = state
        velocity = self.momentum * velocity + gradient
        return torch.stack((theta - lr * velocity, velocity))

    def check(self, mode: str) -> None:
        """Raise ValueError for a way to differentiate the unroll that has no meaning with momentum."""
        if self.momentum and mode == "tesla":
            raise InputError("--unroll tesla treats each step's effect on the next as the identity, which is wrong for "
                             "the velocity of --inner_momentum; use --unroll constant")

    def unroll(self, gradient: Callable[..., Tensor], theta: Float[Tensor, " p"], lr: Float[Tensor, "*t"],
               num_steps: int, inputs: Sequence[Tensor], mode: str = "full", first: int = 0) -> Float[Tensor, " p"]:
        """Return the weights (P,) after `num_steps` steps from `theta` at rest, differentiable in `lr` and `inputs`.

        `gradient(i, theta, *inputs)` -> (P,) is what step `i` descends, and `lr` its step size, as above. `mode` and
        `first` are those of `unroll`. Raises ValueError where `unroll` does, for "tesla" with momentum, and for a
        vector of fewer step sizes than steps.
        """
        self.check(mode)
        if lr.dim() and len(lr) < num_steps:
            raise InputError(f"{num_steps} steps with {len(lr)} step sizes; give one for each")

        def step(i, state, lr, *inputs):
            return self.step(i, state, gradient(i, self.weights(state), *inputs), lr)

        return self.weights(unroll(step, self.start(theta), num_steps, (lr, *inputs), mode, first))


def inner_gradient(student: Student, rows: Sequence[Int[Tensor, " b"]], augment: Forward) -> Callable[..., Tensor]:
    """Return the gradient that step t descends, that of the mean cross-entropy on images rows[t]: (t, theta, x, y)."""
    def gradient(t, theta, images, labels):
        return student.gradient(theta, augment(images[rows[t]]), labels[rows[t]])
    return gradient


def real_loss(student: Student, theta: Float[Tensor, " p"], images: Float[Tensor, "n c h w"], labels: Labels,
              chunk: int) -> tuple[Float[Tensor, ""], Float[Tensor, " p"]]:
    """Return (CE(f(x; theta_T), y), its gradient lambda_T by theta_T (P,)): the mean over a real minibatch.

    It is taken after the last step alone, of first order, and `chunk` images at a time.
    """
    theta, total = theta.detach().requires_grad_(), 0
    for x, y in zip(images.split(chunk), labels.split(chunk)):
        loss = F.cross_entropy(student.logits(theta, x), y, reduction="sum") / len(images)
        loss.backward()
        total = total + loss.detach()
    return total, theta.grad  # type: ignore[return-value]
