"""KFS: distribution matching of images that a few shared decoders make of latent codes.

Lee, Lee & Hwang, "Dataset Condensation with Latent Space Knowledge Factorization and Sharing", arXiv 2208.10494, 2022:
main_DM.py with --parameterization latent_decoder. From the paper are codes and decoders, the loss (a multiple of DM's),
and that it takes all images, synthetic and real; --batch_real 256 is DM's share. The other defaults are our proposal.
Left out of it are step sizes that fall by a cosine (these stay as they are), a start from a file, and scoring after as
many steps as whole images of the same storage would take.

    python main_KFS.py --dataset CIFAR10 --ipc 10
    python main_KFS.py --config configs/KFS/CIFAR10_ipc10.yaml
"""

from dataclasses import dataclass
from functools import partial

import main_DM
from condense.cli import redefault
from condense.run import run_script


@dataclass(frozen=True)
class Config(main_DM.Config):
    ipc: int = redefault("ipc", 1)
    parameterization: str = redefault("parameterization", "latent_decoder", choices=("latent_decoder",))
    init: str = redefault("init", "real")
    optimizer: str = redefault("optimizer", "adam")
    Iteration: int = redefault("Iteration", 10000, config=main_DM.Config)
    lr_img: float = redefault("lr_img", 0.01, config=main_DM.Config, help="step size of codes; that of decoders is "
                              "a tenth of it (see --lr_code and --lr_decoder)")
    batch_real: int | str = redefault("batch_real", "all", config=main_DM.Config)


main = partial(main_DM.main, name="KFS")

if __name__ == "__main__":
    run_script(main, Config, __doc__)
