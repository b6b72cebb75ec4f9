"""IDC's composition of the Siamese operators: several of them for every image, instead of one.

Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization", ICML 2022: flip, where the strategy
lists it, then colour, then exactly one of the others (crop, scale, rotate), and last cutout. Reading a strategy as
DSA does, one operator of all, is another method.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from condense.augmentation.siamese import DRAWS, Record, Strengths, one_operator_each, parse_strategy
from condense.core.randomness import generator_on
from condense.core.types import Groups


@dataclass(frozen=True)
class Composition:
    """A strategy's operators by their part: all of `first`, exactly one of `choices`, all of `last`."""

    first: tuple
    choices: tuple
    last: tuple

    @classmethod
    def of(cls, strategy: str | None) -> "Composition":
        """Return the composition of a strategy string; raises ValueError as `parse_strategy` does."""
        names = parse_strategy(strategy)
        return cls(tuple(name for name in ("flip", "color") if name in names),
                   tuple(name for name in names if name not in ("flip", "color", "cutout")),
                   tuple(name for name in ("cutout",) if name in names))

    def __len__(self) -> int:
        """How many choices there are."""
        return len(self.choices)

    @property
    def num_stages(self) -> int:
        """How many operators an image goes through."""
        return len(self.first) + bool(self.choices) + len(self.last)

    def record(self, choice: Groups, uniforms: Float[Tensor, "g stages 3"],
               strengths: Strengths = Strengths()) -> Record:
        """Build the record in which group g has `choices[choice[g]]`; `uniforms` (G, stages, 3) are its magnitudes."""
        num_groups, stages = len(choice), []
        uniforms = uniforms.unbind(1)
        for place, name in enumerate((*self.first, *(("",) if self.choices else ()), *self.last)):
            if name:
                stages.append(((name, np.arange(num_groups), uniforms[place]),))
            else:
                stages += one_operator_each(self.choices, choice, uniforms[place]).stages
        return Record(num_groups, tuple(stages), strengths)


def draw_composed(strategy: str | None, num_groups: int, rng: torch.Generator | None = None,
                  device: torch.device | str = "cpu", same_choice: bool = False,
                  strengths: Strengths = Strengths()) -> Record:
    """Draw IDC's augmentation of `num_groups` groups of images: which of the choices, and all magnitudes, per group.

    With one group per class and the record used for real and synthetic images it is the one that IDC matches under.
    `same_choice`: the groups are the images of a training minibatch, which have one choice among them.
    """
    composition = Composition.of(strategy)
    drawn = torch.randint(max(1, len(composition.choices)), (1 if same_choice else num_groups,), generator=rng)
    uniforms = torch.rand(num_groups, composition.num_stages, DRAWS, generator=generator_on(device, rng), device=device)
    return composition.record(drawn.expand(num_groups).numpy(), uniforms, strengths)
