"""LoDC and LoDSA: gradient matching of images that are products of thin matrices; the same storage holds more of them.

Yang et al., "An Efficient Dataset Condensation Plugin and Its Application to Continual Learning", NeurIPS 2023:
main_DC.py with --parameterization low_rank. The loops follow from --ipc, the storage budget.

    python main_LoDC.py --dataset CIFAR10 --ipc 10 --rank 2
    python main_LoDC.py --method DSA --config configs/LoDSA/CIFAR10_ipc1.yaml
"""

from dataclasses import dataclass

import main_DC
from condense.cli import redefault
from condense.run import run_script


@dataclass(frozen=True)
class Config(main_DC.Config):
    parameterization: str = redefault("parameterization", "low_rank", choices=("low_rank",))


def main(cfg):
    return main_DC.main(cfg, name=f"Lo{cfg.method}")


if __name__ == "__main__":
    run_script(main, Config, __doc__)
