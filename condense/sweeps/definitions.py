"""The sweeps, one row each: their lists, what else varies, and the rows and columns of their tables."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from condense.methods import METHODS
from condense.sweeps.matrix import SETTINGS, matrix_grids, plan_experts
from condense.sweeps.plan import Cell, Grid, SweepRequest

ACCURACY_DATA = "MNIST FashionMNIST SVHN CIFAR10 CIFAR100"
NETWORKS = "MLP LeNet ConvNet AlexNet VGG11BN ResNet18BN_AP"
STRATEGIES = ("color crop cutout flip scale rotate "
              "color_crop_cutout_scale_rotate color_crop_cutout_flip_scale_rotate")


def one_grid(request: SweepRequest, flags: tuple[str, ...] = ()) -> list[Grid]:
    """Return the grid of a sweep in which nothing varies but the lists."""
    return [Grid(request.lists["METHODS"], flags)]


def varied(request: SweepRequest, option: str, variable: str) -> list[Grid]:
    """Return a grid for each value of `--option` in the list `variable`."""
    return [Grid(request.lists["METHODS"], (), option, value) for value in request.lists[variable]]


def low_rank_and_hosts(request: SweepRequest) -> list[Grid]:
    """Return a grid for each method, those of low rank with the rank in their names."""
    start = ("--init", *request.lists["START"])
    return [Grid([name], start, "rank", " ".join(request.lists["RANK"])) if is_low_rank(name) else Grid([name], start)
            for name in request.lists["METHODS"]]


def is_low_rank(name: str) -> bool:
    return name in METHODS and METHODS[name].form == "low_rank"


def nothing_before(request: SweepRequest) -> list[Cell]:
    return []


@dataclass(frozen=True)
class Sweep:
    """One sweep.

    `rows` and `columns` are those of its table, `lists` {variable: default, words apart by spaces}. `grids(request)`
    returns its `Grid`s, `before(request)` the cells that must be done before theirs start. `note` goes below the table.
    """

    rows: str
    columns: str
    lists: dict = field(default_factory=dict)
    grids: Callable[[SweepRequest], list[Grid]] = one_grid
    before: Callable[[SweepRequest], list[Cell]] = nothing_before
    note: str = ""

    @property
    def defaults(self) -> dict[str, str]:
        """Every list of the sweep with its default."""
        return {"DATASETS": "MNIST", "IPCS": "1", "METHODS": "DC", "MODELS": "ConvNet", "SEEDS": "0", **self.lists}


def pool_sweep(mode: str, models: str) -> Sweep:
    """Return the sweep that condenses with each of `models` and evaluates with the pool of `--eval_mode mode`."""
    return Sweep("dataset,ipc,method,model", "network", {"MODELS": models},
                 partial(one_grid, flags=("--eval_mode", mode)))


SWEEPS = {
    "sweep_accuracy": Sweep("model,ipc,method", "dataset",
                            {"DATASETS": ACCURACY_DATA, "IPCS": "1 10 50", "METHODS": "DC DSA DM"}),
    "sweep_cross": pool_sweep("M", NETWORKS),
    "sweep_width": pool_sweep("W", "ConvNetW32 ConvNetW64 ConvNetW128 ConvNetW256"),
    "sweep_depth": pool_sweep("D", "ConvNetD1 ConvNetD2 ConvNetD3 ConvNetD4"),
    "sweep_activation": pool_sweep("A", "ConvNetAS ConvNetAR ConvNetAL ConvNetASwish"),
    "sweep_pooling": pool_sweep("P", "ConvNetNP ConvNetMP ConvNetAP"),
    "sweep_normalisation": pool_sweep("N", "ConvNetNN ConvNetBN ConvNetLN ConvNetIN ConvNetGN"),
    "sweep_metric": Sweep("dataset,ipc,method,model", "dis_metric", {"MODELS": NETWORKS, "METRICS": "ours mse cos"},
                          partial(varied, option="dis_metric", variable="METRICS")),
    "sweep_strategy": Sweep("ipc,method,model,dsa_strategy", "dataset",
                            {"DATASETS": "MNIST FashionMNIST SVHN CIFAR10", "IPCS": "10", "METHODS": "DSA",
                             "STRATEGIES": STRATEGIES}, partial(varied, option="dsa_strategy", variable="STRATEGIES")),
    "compare_low_rank": Sweep("dataset,ipc,model,method,images,bytes", "dataset",
                              {"METHODS": "DM LoDM", "START": "real", "RANK": "2"}, low_rank_and_hosts),
    "matrix": Sweep("dataset,ipc,model,method", "parameterization",
                    {"DATASETS": "Digits", "IPCS": "2", "METHODS": " ".join(SETTINGS), "MODELS": "ConvNetD2",
                     "FORMS": "all"}, matrix_grids, plan_experts,
                    "Each row is scored by its method's own protocol: compare along a row, not down a column."),
}
