"""LoMTT: trajectory matching of images that are products of thin matrices; the same storage holds more of them.

Yang et al., "An Efficient Dataset Condensation Plugin and Its Application to Continual Learning", NeurIPS 2023:
main_MTT.py with --parameterization low_rank, and that paper's defaults. Experts are main_MTT.py's.

    python buffer.py --dataset CIFAR10 --train_epochs 6
    python main_LoMTT.py --dataset CIFAR10 --ipc 1 --rank 2
"""

from dataclasses import dataclass
from functools import partial

import main_MTT
from condense.cli import redefault
from condense.run import run_script


@dataclass(frozen=True)
class Config(main_MTT.Config):
    parameterization: str = redefault("parameterization", "low_rank", choices=("low_rank",))
    init: str = redefault("init", "noise", config=main_MTT.Config)
    expert_epochs: int = redefault("expert_epochs", 2, config=main_MTT.Config)
    syn_steps: int = redefault("syn_steps", 50, config=main_MTT.Config)
    max_start_epoch: int = redefault("max_start_epoch", 5, config=main_MTT.Config)
    lr_lr: float = redefault("lr_lr", 1e-7, config=main_MTT.Config)


main = partial(main_MTT.main, name="LoMTT")

if __name__ == "__main__":
    run_script(main, Config, __doc__)
