"""Score any synthetic set, ours or of any known layout, from a file, a folder or a URL, and compare it with baselines.

    python evaluate.py result/res_DM_CIFAR10_ConvNet_10ipc.pt
    python evaluate.py res_DSA_CIFAR10_ConvNet_10ipc.pt images_best.pt --dataset CIFAR10 --pool M --format markdown
    python evaluate.py https://.../res_DM_CIFAR10_ConvNet_10ipc.pt --sha256 ... --baselines random,full --ranking

Our own sets are evaluated as in their run, with the same numbers; others by the protocol of their layout. Every row
goes into scores.json, with everything that is needed to repeat it.
"""

import logging
import signal
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from condense import cli
from condense.cli import OptionError, option, redefault
from condense.cli.option import DATA, RUN, SET
from condense.cli.option import EVALUATION as HOW
from condense.comparison.baseline_rows import BASELINES, Baselines
from condense.comparison.baselines import save_baselines
from condense.comparison.rows import load_rows, merge_rows, save_rows, show_rows
from condense.comparison.scored_rows import Scoring
from condense.comparison.scored_set import Changes, ScoredSet
from condense.core.errors import Interrupted
from condense.core.journal import log_to_terminal, versions
from condense.core.randomness import Streams
from condense.operators import start_compute
from condense.run import run_script
from condense.run.checkpoints import check_writable
from condense.sharing.fetch import local_copy
from condense.sharing.layouts import LAYOUTS, read_set
from condense.sharing.loading import place
from condense.sharing.real_data import data_of, require_data_of
from condense.sharing.spaces import SPACES, Spaces
from networks import get_network
from utils import PROTOCOLS, load_data

log = logging.getLogger("condense")

NOT_STORED = ("protocol", "pool", "num_eval", "epoch_eval_train", "lr_net", "batch_train", "augmentation", "search_lr",
              "ranking", "per_class", "experiment", "which", "seed", "precision", "space", "decode")


AUGMENTATIONS = tuple(dict.fromkeys(name for record in PROTOCOLS.values() for name in record.augmentations))


@dataclass(frozen=True)
class Config(cli.SourceOptions, cli.ComputeOptions, cli.CommandOptions):
    sets: tuple[str, ...] = option((), "synthetic sets: files, folders or URLs", group=SET, positional="SET")
    sha256: str | None = option(None, "checksum that the file must have", group=SET)
    labels: str | None = option(None, "file of labels, if it is not in the folder of the images", group=SET)
    space: str | None = option(None, "space of the pixels, if the file does not say it", group=SET, choices=SPACES)
    decode: int | None = option(None, "tiles per side of an image of multi-formation (IDC)", group=SET,
                                ge=1)
    which: str = option("last", "the last iteration, the best one that the run chose, or both", group=SET,
                        choices=("last", "best", "both"))
    experiment: int | None = option(None, "evaluate only this experiment of the file, counted from 0; default: "
                                          "all", group=SET,
                                    ge=0)

    dataset: str | None = option(None, "name of the data set, 'folder' or 'file'; default: as stored in the "
                                       "set", group=DATA)
    classes: str | None = redefault("classes", None)

    protocol: str | None = option(None, "how networks are trained; default: as in the set's run, else by its layout",
                                  group=HOW, choices=tuple(PROTOCOLS))
    pool: tuple[str, ...] = option((), "networks by name, or a pool (M, B, W, D, A, P, N, I, S, SS); default: those of "
                                   "the set's run", group=HOW, aliases=("eval_mode",))
    num_eval: int | None = option(None, "fresh networks per set; default: as in its run, else 5", group=HOW,
                                  ge=1)
    epoch_eval_train: int | None = option(None, "epochs that each network trains; default: the "
                                                "protocol's", group=HOW, ge=0)
    lr_net: float | None = option(None, "learning rate; default: the protocol's, or learned with the set", group=HOW,
                                  gt=0)
    batch_train: int | None = option(None, "minibatch size; default: the protocol's", group=HOW, ge=1)
    augmentation: str = option("auto", "augmentation instead of the protocol's", group=HOW,
                               choices=("auto", *AUGMENTATIONS))
    search_lr: tuple[float, ...] = option((), "choose the learning rate among these on held-out training images; in "
                                          "protocol dd, a constant step size for each baseline",
                                          group=HOW, gt=0)
    stored: bool = option(False, "take the accuracies stored in the file instead of training networks",
                          group=HOW)

    baselines: tuple[str, ...] = option(("random",), "what each set is compared with, by the same protocol: "
                                        + "; ".join(f"{name} ({words})" for name, words in BASELINES.items())
                                        + "; or none", group=HOW, choices=(*BASELINES, "none"))
    optimise_sets: int = option(50, "draws of --baselines optimised, which keeps the best fifth", group=HOW, ge=2)
    optimise_nets: int = option(20, "networks with which --baselines optimised chooses", group=HOW, ge=1)
    full_networks: int = option(1, "networks trained on the full training set", group=HOW, ge=1)
    ranking: bool = option(False, "DD-Ranking's label-robust and augmentation-robust scores (LRS, ARS), of the first "
                           "set scored", group=HOW)

    per_class: bool = option(False, "also print accuracy by class", group=RUN)
    format: str = option("text", "how tables are printed", group=RUN, choices=("text", "markdown", "latex", "csv"))
    output: str = option("result/scores.json", "file that all rows are added to",
                         group=RUN)
    beside: bool = option(False, "save the accuracies of random images with a result of ours, for scripts/table.py",
                          group=RUN)
    seed: int | None = option(None, "seed of every random number; default: that of the set's run, else 0", group=RUN,
                              ge=0)
    precision: str | None = redefault("precision", None, help="number format of network arithmetic; default: that of "
                                      "the set's run, else fp32")


def check(cfg):
    """Raise ValueError for options that do not go together."""
    if len(cfg.sets) > 1 and (cfg.sha256 or cfg.labels):
        raise OptionError("--sha256 and --labels are for one set; evaluate that set in a separate call")
    if "none" in cfg.baselines and len(cfg.baselines) > 1:
        raise OptionError("--baselines none cannot be combined with others; leave it out")
    idle = [name for name in NOT_STORED if getattr(cfg, name) != Config.__dataclass_fields__[name].default]
    if cfg.stored and idle:
        raise OptionError(f"--stored trains no network on the set, so --{idle[0]} has no effect; leave it out")
    if cfg.search_lr and cfg.lr_net:
        raise OptionError("--search_lr chooses the learning rate that --lr_net sets; leave one of them out")
    if "optimised" not in cfg.baselines:
        for name in ("optimise_sets", "optimise_nets"):
            if getattr(cfg, name) != getattr(Config, name):
                raise OptionError(f"--{name} belongs to --baselines optimised; leave it out")
    if cfg.beside and not cfg.stored:
        raise OptionError("--beside saves what the run's own accuracies are compared with; give --stored as well")


def main(cfg):
    check(cfg)
    log_to_terminal()
    check_writable(Path(cfg.output).parent, "the folder of --output")        # better refused now than after the work
    load_rows(cfg.output)
    labels = cfg.labels and local_copy(cfg.labels, progress=cfg.progress)
    files = {address: read_set(local_copy(address, cfg.sha256, cfg.progress), labels) for address in cfg.sets}
    requests = {address: data_of(file, cfg) for address, file in files.items()}
    held, rows = {}, []                                    # real data, held once for all sets that share them
    try:
        for address, file in files.items():
            for of_network in score_file(cfg, address, file, requests[address], held):
                save_rows(cfg.output, of_network)          # finished rows are kept if a later set fails
                rows += of_network
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; {len(rows)} rows are in {cfg.output}", signal.SIGINT) from None
    rows = merge_rows(rows)
    show_rows(rows, cfg.format, cfg.per_class)
    log.info("scores: %s", cfg.output)
    return rows


def score_file(cfg, address, file, request, held):
    """Yield the rows of each network on the sets of a file, with its baselines, as they are done.

    `request` are the arguments of `load_data`, `held` what was loaded so far.
    """
    told = file.scored_by() or {}
    precision = cfg.precision or told.get("precision", "fp32")
    rng = Streams(cfg.seed if cfg.seed is not None else told.get("seed", 0))
    compute = start_compute(**{**cfg.compute, "precision": precision})
    load = partial(load_data, device=compute.device, progress=cfg.progress, **request)
    spaces = held.setdefault(str(request), Spaces(lambda zca: load(zca=zca)))
    placed = place(file, spaces, cfg.space, cfg.decode)
    require_data_of(file, placed.real, cfg, stored=cfg.stored)
    log.info("%s: read as %s (%s); %s", file.path.name, LAYOUTS[file.layout].split(":")[0], file.known_by,
             placed.evidence)
    source = {"data": {**request, "fingerprint": placed.real.fingerprint}, "seed": rng.seed, "precision": precision,
              "device": str(compute.device), "versions": versions()}
    changes = Changes(cfg.protocol, cfg.epoch_eval_train, cfg.lr_net, cfg.batch_train,
                      None if cfg.augmentation == "auto" else cfg.augmentation)
    for which in ("last", "best") if cfg.which == "both" else (cfg.which,):
        ready = ScoredSet(file, placed, which, cfg.experiment)
        models = ready.stored_networks() if cfg.stored else ready.networks(cfg.pool, ready.protocol_name(changes))
        for model in models:                               # refused now, not after hours with the others
            get_network(model, *placed.real.spec)
        num_eval = cfg.num_eval or ready.num_eval(ready.protocol_name(changes))
        kinds = [kind for kind in cfg.baselines if kind != "none"]
        baselines = Baselines(placed.real, kinds, max(5, num_eval), cfg.full_networks, rng, compute, source,
                              cfg.progress, (cfg.optimise_sets, cfg.optimise_nets))
        scoring = Scoring(changes, baselines, num_eval, rng, compute, source, cfg.search_lr, cfg.stored, cfg.ranking,
                          cfg.progress)
        for model in models:
            yield scoring.rows(ready, address, model)
        if cfg.beside:
            save_baselines(file.path, file.meta, {
                model: baselines.random(model, file.ipc, protocol, ready.conditions(model, protocol))
                for model, protocol in ready.protocols(models, changes).items()})


if __name__ == "__main__":
    run_script(main, Config, __doc__)
