"""LoDM: distribution matching of images that are products of thin matrices; the same storage holds more of them.

Yang et al., "An Efficient Dataset Condensation Plugin and Its Application to Continual Learning", NeurIPS 2023:
main_DM.py with --parameterization low_rank, and that paper's defaults.

    python main_LoDM.py --dataset CIFAR10 --ipc 10 --rank 2
    python main_LoDM.py --config configs/LoDM/CIFAR10_ipc10.yaml
"""

from dataclasses import dataclass
from functools import partial

import main_DM
from condense.cli import redefault
from condense.run import run_script


@dataclass(frozen=True)
class Config(main_DM.Config):
    dataset: str = redefault("dataset", "MNIST")
    ipc: int = redefault("ipc", 1)
    parameterization: str = redefault("parameterization", "low_rank", choices=("low_rank",))
    init: str = redefault("init", "noise")


main = partial(main_DM.main, name="LoDM")

if __name__ == "__main__":
    run_script(main, Config, __doc__)
