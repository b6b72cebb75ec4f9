"""Sets to export, written as a run writes them: small, on Digits, with known pixels."""

import torch

from condense.cli import build
from condense.data import load_data
from condense.run.results import describe, save_result
from condense.sharing.bundle import SetToExport
from condense.sharing.layouts import read_set
from condense.sharing.spaces import Spaces
from condense.synthetic import build_synthetic, stored_factors
from condense.training import siamese_protocols

NAME = "res_DM_Digits_ConvNetD1_2ipc.pt"


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def soft_labels(n=20, classes=10):
    return drawn(n, classes, seed=9).softmax(1)


def own_result(folder, zca=False, experiments=2, name=NAME, labels=None, best=False, **more):
    """Write a result of ours with `experiments` sets of 20 images; returns (path, RealData, the sets)."""
    from dataclasses import asdict

    import main_DM
    real = load_data("Digits", zca=zca)
    labels = torch.arange(10).repeat_interleave(2) if labels is None else labels
    sets = [(drawn(20, 1, 8, 8, seed=exp), labels) for exp in range(experiments)]
    options = build(main_DM.Config, {"dataset": "Digits", "ipc": 2, "model": "ConvNetD1", "zca": zca}).identity()
    protocols = {"ConvNetD1": asdict(siamese_protocols(["ConvNetD1"], 30, 0.01, 256, "none")["ConvNetD1"])}
    storage = {"floats": 1280, "bytes": 5120, "budget_floats": 1280, "budget_bytes": 5120}
    chosen = [{"iteration": 3, "accuracies": {"ConvNetD1": [0.75, 0.25]}, "caveat": "seen by its experts",
               "syn_lr": 0.5}] * experiments
    meta = describe(real, "DM", options, storage, protocols=protocols, **({"best": chosen} if best else {}), **more)
    path = folder / name
    save_result(path, sets, {"ConvNetD1": [0.5, 0.625, 0.75, 0.875][:2 * experiments]}, meta,
                best=[(-images, labels) for images, labels in sets] if best else ())
    return path, real, sets


def low_rank_result(folder):
    """Write a result of ours that holds nothing but the factors of a low-rank set; returns (path, its images)."""
    real = load_data("Digits")
    synthetic = build_synthetic("low_rank", real, 1, "noise", torch.Generator().manual_seed(0), rank=2)
    options = {"dataset": "Digits", "ipc": 1, "model": "ConvNetD1", "seed": 0, "parameterization": "low_rank",
               "rank": 2}
    path = folder / "res_LoDM_Digits_ConvNetD1_1ipc.pt"
    save_result(path, [], {"ConvNetD1": [0.5]}, describe(real, "LoDM", options, synthetic.storage()),
                factors=[stored_factors(synthetic)])
    return path, synthetic.images().detach()


def foreign_result(folder, images, labels, name="res_DSA_MNIST_ConvNet_2ipc.pt"):
    """Write a result as the reference repositories do, without meta; returns its path."""
    torch.save({"data": [[images, labels]], "accs_all_exps": {"ConvNet": [0.5, 0.75]}}, folder / name)
    return folder / name


def nothing_to_load(zca):
    raise AssertionError("real data were loaded, which the file makes needless")


def source_of(path, load=nothing_to_load, **asked):
    return SetToExport(read_set(path), Spaces(load), **asked)
