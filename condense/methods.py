"""The methods, one row each. Cards, pools, sweeps, continual learning and tests read their names here."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

DC = 'Zhao, Mopuri & Bilen, "Dataset Condensation with Gradient Matching", ICLR 2021'
DSA = 'Zhao & Bilen, "Dataset Condensation with Differentiable Siamese Augmentation", ICML 2021'
DM = 'Zhao & Bilen, "Dataset Condensation with Distribution Matching", WACV 2023'
MTT = 'Cazenavette et al., "Dataset Distillation by Matching Training Trajectories", CVPR 2022'
DATM = 'Guo et al., "Towards Lossless Dataset Distillation via Difficulty-Aligned Trajectory Matching", ICLR 2024'
TESLA = 'Cui et al., "Scaling Up Dataset Distillation to ImageNet-1K with Constant Memory", ICML 2023'
DD = 'Wang, Zhu, Torralba & Efros, "Dataset Distillation", arXiv 1811.10959, 2018'
RTP = ('Deng & Russakovsky, "Remember the Past: Distilling Datasets into Addressable Memories for Neural '
       'Networks", NeurIPS 2022')
RAT_BPTT = 'Feng, Vedantam & Kempe, "Embarrassingly Simple Dataset Distillation", ICLR 2024'
IDC = 'Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization", ICML 2022'
HABA = 'Liu et al., "Dataset Distillation via Factorization", NeurIPS 2022'
KFS = ('Lee, Lee & Hwang, "Dataset Condensation with Latent Space Knowledge Factorization and Sharing", '
       "arXiv 2208.10494, 2022")
LOW_RANK = ('Yang et al., "An Efficient Dataset Condensation Plugin and Its Application to Continual Learning", '
            "NeurIPS 2023")
HERDING = 'Welling, "Herding Dynamical Weights to Learn", ICML 2009'
K_CENTER = 'Sener & Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach", ICLR 2018'

GRADIENTS, FEATURES, TRAJECTORIES, UNROLLED, CORESET = (
    "gradient matching", "feature matching", "trajectory matching", "unrolled training", "coreset")


@dataclass(frozen=True)
class Method:
    """One method: the script that runs it, and what else of it is known without running it.

    `papers` are the ones it is from, the host's last. `objective` is what it minimises, `form` its default
    parameterization (None: it chooses real images), `protocol` the one its sets are scored by. `experts` says whether
    it reads what buffer.py writes. `options` are those of the script that make it this method. `host` is the method
    that it is with another form of the set, whose pools it is scored on. `result` is the name that its files bear,
    where that is another method's. `shares` are options of network training used while condensing, and not only
    for scores; None where continual learning does not offer the method.
    """

    script: str
    papers: tuple
    objective: str
    form: str | None = "pixels"
    protocol: str = "dsa"
    experts: bool = False
    options: dict = field(default_factory=dict)
    host: str | None = None
    result: str | None = None
    shares: tuple | None = None

    @property
    def module(self) -> str:
        """The script's module name."""
        return self.script.removesuffix(".py")

    def load(self) -> ModuleType:
        """Import and return the script's module; raises ImportError where only the package is installed."""
        return importlib.import_module(self.module)


NETWORKS, OF_EXPERTS = ("lr_net", "batch_train"), ("batch_train", "dsa_strategy")

METHODS = {
    "DC": Method("main_DC.py", (DC,), GRADIENTS, protocol="dc", options={"method": "DC"}, shares=NETWORKS),
    "DSA": Method("main_DC.py", (DSA,), GRADIENTS, options={"method": "DSA", "init": "real"},
                  shares=(*NETWORKS, "dsa_strategy")),
    "IDC": Method("main_IDC.py", (IDC,), GRADIENTS, "multi_formation", "idc"),
    "IDC-I": Method("main_IDC.py", (IDC,), GRADIENTS, protocol="idc", options={"parameterization": "pixels"}),
    "DM": Method("main_DM.py", (DM,), FEATURES, shares=("dsa_strategy",)),
    "KFS": Method("main_KFS.py", (KFS, DM), FEATURES, "latent_decoder", host="DM"),
    "MTT": Method("main_MTT.py", (MTT,), TRAJECTORIES, protocol="mtt", experts=True, shares=OF_EXPERTS),
    "TESLA": Method("main_MTT.py", (TESLA, MTT), TRAJECTORIES, protocol="mtt", experts=True, result="MTT",
                    options={"unroll": "tesla", "teacher_label": True}),
    "DATM": Method("main_MTT.py", (DATM, MTT), TRAJECTORIES, protocol="mtt", experts=True, result="MTT",
                   options={"init": "samples_predicted_correctly"}),
    "HaBa": Method("main_HaBa.py", (HABA, MTT), TRAJECTORIES, "hallucinator", "mtt", experts=True, host="MTT"),
    "DD": Method("main_DD.py", (DD,), UNROLLED, protocol="dd"),
    "BPTT": Method("main_RTP.py", (RTP,), UNROLLED, protocol="rtp", options={"parameterization": "pixels"}),
    "RTP": Method("main_RTP.py", (RTP,), UNROLLED, "memory", "rtp"),
    "LoDC": Method("main_LoDC.py", (LOW_RANK, DC), GRADIENTS, "low_rank", "dc", options={"method": "DC"},
                   host="DC", shares=NETWORKS),
    "LoDSA": Method("main_LoDC.py", (LOW_RANK, DSA), GRADIENTS, "low_rank", options={"method": "DSA"}, host="DSA",
                    shares=(*NETWORKS, "dsa_strategy")),
    "LoDM": Method("main_LoDM.py", (LOW_RANK, DM), FEATURES, "low_rank", host="DM", shares=("dsa_strategy",)),
    "LoMTT": Method("main_LoMTT.py", (LOW_RANK, MTT), TRAJECTORIES, "low_rank", "mtt", experts=True, host="MTT",
                    shares=OF_EXPERTS),
    "random": Method("select_coreset.py", (), CORESET, None, options={"method": "random"}),
    "herding": Method("select_coreset.py", (HERDING,), CORESET, None, options={"method": "herding"}, shares=()),
    "k-center": Method("select_coreset.py", (K_CENTER,), CORESET, None, options={"method": "k-center"}, shares=()),
    "k-means": Method("select_coreset.py", (), CORESET, None, options={"method": "k-means"}, shares=()),
}

EXPERTS_SCRIPT = Method("buffer.py", (MTT,), TRAJECTORIES, None)            # what makes experts; no method itself

# (method or None for any, option, value or None for any that is given) -> the paper of the variant that it turns on
VARIANTS = (("DD", "inner_momentum", None, RTP), ("DD", "window", None, RAT_BPTT), ("BPTT", "window", None, RAT_BPTT),
            ("RTP", "window", None, RAT_BPTT), (None, "unroll", "tesla", TESLA), (None, "lr_y", None, DATM),
            ("DD", "parameterization", "memory", RTP), (None, "threshold", None, DATM))


def papers_of(name: str, options: Mapping[str, Any]) -> list[str]:
    """Return the papers of method `name`, those of variants that its `options` {name: value} turn on included."""
    papers = list(METHODS[name].papers) if name in METHODS else []
    for method, option, wanted, paper in VARIANTS:
        value = options.get(option)
        if method in (None, name) and value and wanted in (None, value) and paper not in papers:
            papers.append(paper)
    return papers
