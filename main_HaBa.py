"""HaBa: trajectory matching of images that a few small shared networks make of each base.

Liu et al., "Dataset Distillation via Factorization", NeurIPS 2022: main_MTT.py with --parameterization hallucinator,
and that paper's defaults. Experts are main_MTT.py's.

    python buffer.py --dataset CIFAR10 --zca --train_epochs 30
    python main_HaBa.py --dataset CIFAR10 --zca --ipc 10
    python main_HaBa.py --config configs/HaBa/CIFAR10_ipc10.yaml
"""

from dataclasses import dataclass
from functools import partial

import main_MTT
from condense.cli import redefault
from condense.run import run_script


@dataclass(frozen=True)
class Config(main_MTT.Config):
    parameterization: str = redefault("parameterization", "hallucinator", choices=("hallucinator",))
    ipc: int = redefault("ipc", 10)                        # of 1, five hallucinators leave no room for a base
    Iteration: int = redefault("Iteration", 15000, config=main_MTT.Config)
    syn_steps: int = redefault("syn_steps", 64, config=main_MTT.Config)
    lr_img: float = redefault("lr_img", 100.0, config=main_MTT.Config)
    mom_img: float = redefault("mom_img", 0.95, config=main_MTT.Config)
    mom_lr: float = redefault("mom_lr", 0.9, config=main_MTT.Config)


main = partial(main_MTT.main, name="HaBa")

if __name__ == "__main__":
    run_script(main, Config, __doc__)
