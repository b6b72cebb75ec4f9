"""Score any synthetic set: ours or of any known layout, from a file, a folder or a URL, beside its baselines.

    python evaluate.py result/res_DM_CIFAR10_ConvNet_10ipc.pt
    python evaluate.py res_DSA_CIFAR10_ConvNet_10ipc.pt images_best.pt --dataset CIFAR10 --pool M --format markdown
    python evaluate.py https://.../res_DM_CIFAR10_ConvNet_10ipc.pt --sha256 ... --baselines random,full --ranking

A set of ours is scored as its run scored it, to the same numbers; any other by the protocol of its layout. Every row
goes into a scores.json, with all that it takes to repeat it.
"""

import logging
from dataclasses import asdict, dataclass, replace
from functools import partial

from utils import (
    BASELINES,
    LAYOUTS,
    PROTOCOLS,
    SPACES,
    Baselines,
    Changes,
    Row,
    ScoredSet,
    Spaces,
    Streams,
    choose_lr,
    data_of,
    duration,
    estimate_seconds,
    evaluate,
    load_data,
    load_rows,
    local_copy,
    log_to_terminal,
    merge_rows,
    option,
    place,
    random_real,
    ranking_facts,
    read_set,
    redefault,
    require_data_of,
    run_script,
    save_baselines,
    save_rows,
    score_facts,
    show_rows,
    start_compute,
    versions,
)

log = logging.getLogger("condense")

LONG_S = 30                                # from here on, a set's scoring is announced

SET, DATA, HOW, RUN = "synthetic set", "what to condense", "evaluation", "run"


AUGMENTATIONS = tuple(dict.fromkeys(name for record in PROTOCOLS.values() for name in record.augmentations))


@dataclass(frozen=True)
class Config:
    sets: tuple[str, ...] = option((), "synthetic sets: files, folders or URLs", group=SET, positional="SET")
    sha256: str | None = option(None, "checksum that the file must have", group=SET)
    labels: str | None = option(None, "file of labels, where it is not beside the images", group=SET)
    space: str | None = option(None, "what the pixels are, where the file does not say", group=SET, choices=SPACES)
    decode: int | None = option(None, "tiles per side that an image of multi-formation (IDC) decodes to", group=SET,
                                least=1)
    which: str = option("last", "the last iteration, the best one that the run chose, or both", group=SET,
                        choices=("last", "best", "both"))
    experiment: int | None = option(None, "score this experiment of the file only, from 0; default: all", group=SET,
                                    least=0)

    dataset: str | None = option(None, "data set by name, 'folder' or 'file'; default: what the set says", group=DATA)
    data_path: str = redefault("data_path", "data")
    im_size: int | None = redefault("im_size", None)
    resize: str = redefault("resize", "auto")
    subset: str | None = redefault("subset", None)
    classes: str | None = redefault("classes", None)

    protocol: str | None = option(None, "how networks are trained; default: as the set's run did, else by its layout",
                                  group=HOW, choices=tuple(PROTOCOLS))
    pool: tuple[str, ...] = option((), "networks by name, or a pool (M, B, W, D, A, P, N, S, SS); default: those that "
                                   "the set was scored on", group=HOW, aliases=("eval_mode",))
    num_eval: int | None = option(None, "fresh networks per set; default: as many as its run had, else 5", group=HOW,
                                  least=1)
    epoch_eval_train: int | None = option(None, "epochs each trains; default: the protocol's", group=HOW, least=0)
    lr_net: float | None = option(None, "learning rate; default: the protocol's, or learned with the set", group=HOW,
                                  above=0)
    batch_train: int | None = option(None, "minibatch; default: the protocol's", group=HOW, least=1)
    augmentation: str | None = option(None, "another augmentation than the protocol's", group=HOW,
                                      choices=AUGMENTATIONS)
    search_lr: tuple[float, ...] = option((), "choose the learning rate among these, on training images kept for it",
                                          group=HOW, above=0)
    stored: bool = option(False, "take the accuracies that the file holds instead of training networks again",
                          group=HOW)

    baselines: tuple[str, ...] = option(("random",), "rows beside each set, of the same protocol: real images chosen "
                                        "in these ways, the full training set, or none", group=HOW,
                                        choices=BASELINES)
    full_networks: int = option(1, "networks trained on the full training set", group=HOW, least=1)
    ranking: bool = option(False, "DD-Ranking's label-robust and augmentation-robust scores (LRS, ARS), of the first "
                           "set scored", group=HOW)

    per_class: bool = option(False, "accuracy by class, too", group=RUN)
    format: str = option("text", "how tables are printed", group=RUN, choices=("text", "markdown", "latex", "csv"))
    output: str = option("result/scores.json", "file that every row goes into, beside those that are there",
                         group=RUN)
    beside: bool = option(False, "keep the accuracies of random images beside a result of ours, for scripts/table.py",
                          group=RUN)
    config: str | None = redefault("config", None)
    seed: int | None = option(None, "seed of every random number; default: that of the set's run, else 0", group=RUN,
                              least=0)
    device: str = redefault("device", "auto")
    precision: str | None = redefault("precision", None, help="arithmetic of networks; default: that of the set's run, "
                                      "else fp32")
    compile: bool = redefault("compile", False)
    deterministic: bool = redefault("deterministic", False)
    chunk: int | None = redefault("chunk", None)
    progress: bool = redefault("progress", True)
    debug: bool = redefault("debug", False)


def check(cfg):
    """Raise ValueError for options that do not go together."""
    if len(cfg.sets) > 1 and (cfg.sha256 or cfg.labels):
        raise ValueError("--sha256 and --labels are those of one set; score it in a call of its own")
    if "none" in cfg.baselines and len(cfg.baselines) > 1:
        raise ValueError("--baselines none goes with no other; leave it out")
    retrains = [name for name in ("protocol", "pool", "epoch_eval_train", "lr_net", "batch_train", "augmentation",
                                  "search_lr", "ranking", "per_class", "experiment", "num_eval") if getattr(cfg, name)]
    if cfg.stored and (retrains or cfg.which != "last"):
        raise ValueError(f"--stored trains no network on the set; leave --{(retrains or ['which'])[0]} out")
    if cfg.search_lr and cfg.lr_net:
        raise ValueError("--search_lr chooses what --lr_net sets; leave one of them out")
    if cfg.beside and (not cfg.stored or cfg.dataset):
        raise ValueError("--beside keeps what the run's own accuracies are held against; give "
                         "--stored, and no --dataset")


def main(cfg):
    check(cfg)
    log_to_terminal()
    load_rows(cfg.output)                                  # refuses, before the work, a file that is none of ours
    files = [read_set(local_copy(address, cfg.sha256, cfg.progress), cfg.labels) for address in cfg.sets]
    held, rows = {}, []                                    # real data, held once for all sets that share them
    for address, file in zip(cfg.sets, files):
        of_file = score_file(cfg, address, file, held)
        save_rows(cfg.output, of_file)                     # what is done is kept, whatever becomes of the next
        rows += of_file
    rows = merge_rows(rows)
    show_rows(rows, cfg.format, next(iter(held.values())).normalised.class_names if cfg.per_class else None)
    log.info("scores: %s", cfg.output)
    return rows


def score_file(cfg, address, file, held):
    """Return the rows of one file: its sets, each network followed by its baselines."""
    told = file.meta["options"] if file.meta else {}
    precision = cfg.precision or told.get("precision", "fp32")
    seed = cfg.seed if cfg.seed is not None else told.get("seed", 0)
    compute = start_compute(cfg.device, precision, cfg.compile, cfg.chunk, cfg.deterministic)
    request = data_of(file, cfg)
    load = partial(load_data, device=compute.device, progress=cfg.progress, **request)
    spaces = held.setdefault(str(request), Spaces(lambda zca: load(zca=zca)))
    placed = place(file, spaces, cfg.space, cfg.decode)
    require_data_of(file, placed.real, cfg)
    log.info("%s: taken for %s (%s); %s", file.path.name, LAYOUTS[file.layout].split(":")[0], file.known_by,
             placed.evidence)
    source = {"data": {**request, "fingerprint": placed.real.fingerprint}, "seed": seed, "precision": precision,
              "versions": versions()}
    setting = Setting(cfg, Streams(seed), compute, source)
    rows = []
    for which in ("last", "best") if cfg.which == "both" else (cfg.which,):
        rows += score_sets(setting, address, ScoredSet(file, placed, which, cfg.experiment))
    return rows


@dataclass(frozen=True)
class Setting:
    """What all sets of a file are scored with: `source` are the plain values that say so in scores.json."""

    cfg: Config
    rng: Streams
    compute: object
    source: dict


def score_sets(setting, address, ready):
    """Return the rows of the sets in `ready`, one of each network, with the rows they are held against."""
    cfg, real = setting.cfg, ready.real
    changes = Changes(cfg.protocol, cfg.epoch_eval_train, cfg.lr_net, cfg.batch_train, cfg.augmentation)
    models = ready.networks(cfg.pool, ready.protocol_name(changes))
    num_eval = cfg.num_eval or ready.num_eval()
    searched = searched_lrs(setting, ready, models, changes, num_eval)
    protocols = with_lrs(ready.protocols(models, changes), searched)
    accuracies, facts = ready.stored_accuracies() if cfg.stored else \
        trained_accuracies(setting, ready, models, changes, num_eval, searched)
    baselines = Baselines(real, cfg.baselines, max(5, num_eval), cfg.full_networks, setting.rng, setting.compute,
                          setting.source, cfg.progress)
    beside = baselines.rows(protocols, ready.bytes, ready.images, address)
    if cfg.ranking:
        first = ready.experiments[0]
        ranked = ranking_facts(ready.sets[first], real, protocols, num_eval, ready.streams(setting.rng, first),
                               setting.compute, baselines, {model: of[0] for model, of in accuracies.items()},
                               ready.bytes, cfg.progress)
        facts = {model: {**facts[model], **ranked[model]} for model in models}
    if cfg.beside:
        keep_beside(setting, ready, protocols, max(5, num_eval))
    rows = []
    for model in models:
        source = {**setting.source, **ready.source(address), "num_eval": num_eval, "stored": cfg.stored,
                  "protocol": ready.protocol_name(changes), "recipe": asdict(protocols[model])}
        beaten = tuple(row for row in beside[model] if row.kind == "random")
        rows += [Row(ready.name(), model, accuracies[model], ready.images, ready.bytes, source,
                     {**facts[model], **searched.get(model, {})}, beaten, told_apart=str(address)), *beside[model]]
    return rows


def keep_beside(setting, ready, protocols, num_eval):
    """Write the accuracies of random images, `ipc` of each class, beside a result of ours."""
    path, meta = ready.file.path, ready.file.meta
    save_baselines(path, meta, random_real(ready.real, meta["options"]["ipc"], protocols, num_eval, setting.rng,
                                           setting.compute, setting.cfg.progress))


def trained_accuracies(setting, ready, models, changes, num_eval, searched):
    """Train `num_eval` fresh networks on each set; returns {network: accuracies over experiments}, {network: facts}."""
    scores = {model: [] for model in models}
    announce(setting, ready, with_lrs(ready.protocols(models, changes, ready.experiments[0]), searched), num_eval)
    for exp in ready.experiments:
        protocols = with_lrs(ready.protocols(models, changes, exp), searched)
        found = evaluate(ready.sets[exp], ready.real, protocols, num_eval, ready.streams(setting.rng, exp),
                         setting.compute, setting.cfg.progress, confusion=True)
        for model in models:
            scores[model].append(found[model])
    return ({model: [[score.test_accuracy for score in of] for of in listed] for model, listed in scores.items()},
            {model: score_facts([score for of in listed for score in of]) for model, listed in scores.items()})


def announce(setting, ready, protocols, num_eval):
    """Say how long the networks of this set take, where that is worth a line."""
    first = ready.sets[ready.experiments[0]]
    once = estimate_seconds(first, ready.real, protocols, num_eval, setting.compute, len(ready.real.test_labels))
    if once * len(ready.experiments) > LONG_S:
        log.info("about %s for %d networks on each of %d sets; shorter with --num_eval, --experiment, "
                 "--epoch_eval_train", duration(once * len(ready.experiments)), num_eval * len(protocols),
                 len(ready.experiments))


def searched_lrs(setting, ready, models, changes, num_eval):
    """Return {network: facts of the learning rate chosen} on training images; {} where none is searched."""
    if not setting.cfg.search_lr:
        return {}
    first = ready.experiments[0]
    chosen = choose_lr(ready.sets[first], ready.real, ready.protocols(models, changes, first), setting.cfg.search_lr,
                       num_eval, setting.rng, setting.compute, setting.cfg.progress)
    for model, (lr, tried) in chosen.items():
        log.info("%s: learning rate %g, the best of %s on training images kept for it", model, lr,
                 ", ".join(f"{value:g} ({100 * accuracy:.1f} %)" for value, accuracy in tried.items()))
    return {model: {"searched_lr": lr, "lr_candidates": {str(value): accuracy for value, accuracy in tried.items()}}
            for model, (lr, tried) in chosen.items()}


def with_lrs(protocols, searched):
    """Return `protocols` with the learning rates that were searched, where they were."""
    return {model: replace(protocol, lr=searched[model]["searched_lr"]) if model in searched else protocol
            for model, protocol in protocols.items()}


if __name__ == "__main__":
    run_script(main, Config, __doc__)
