"""Class-incremental learning: classes come in steps, and only a small memory of them is kept.

At every step, a memory of only that step's classes is made (random real images, a coreset, or a condensed set) and
added to the earlier ones. Fresh networks with an output for every class are trained on all of it, and tested on all
classes seen so far. The protocol of Zhao & Bilen, "Dataset Condensation with Distribution Matching", WACV 2023, and of
Yang et al., "An Efficient Dataset Condensation Plugin and Its Application to Continual Learning", NeurIPS 2023.

    python continual.py --dataset Digits --model ConvNetD2 --ipc 1 --steps 5 --Iteration 200 --epoch_eval_train 300
    python continual.py --dataset CIFAR100 --ipc 20 --steps 10 --methods random herding DSA DM
    python continual.py --config configs/CL/CIFAR100_5steps.yaml

Finished parts are kept: the same command continues where it was stopped.
"""

import logging
import shutil
import signal
import statistics
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from condense import cli
from condense import methods as registry
from condense.cli import auto, flags, option, redefault
from condense.cli.option import DATA, EVALUATION, RUN
from condense.comparison.tables import FORMATS
from condense.continual.methods import StepMethod, with_method_options
from condense.continual.order import class_order, require_equal_steps
from condense.continual.pace import ComparisonPace, timed
from condense.continual.plan import RANDOM, methods_of, sources_of, used_options
from condense.continual.plot import save_figure
from condense.continual.previous import read_previous, refuse_other, refuse_other_files, with_rows_kept
from condense.continual.published import PUBLISHED, SPACES
from condense.continual.scoring import ScoreBook
from condense.continual.summary import save_summary, summarise, table_of
from condense.core.errors import Interrupted
from condense.core.journal import log_to_terminal
from condense.core.randomness import Streams
from condense.core.words import duration
from condense.operators import start_compute
from condense.run import run_script
from condense.run.checkpoints import check_writable
from networks import get_network
from utils import load_data, siamese_protocols

log = logging.getLogger("condense")

# METHOD+FORM takes another parameterization.
METHODS = {name: StepMethod(row) for name, row in registry.METHODS.items() if row.shares is not None}


@dataclass(frozen=True)
class Options(cli.SourceOptions, cli.CellOptions, cli.ComputeOptions, cli.CommandOptions, flags.CONTINUAL):
    dataset: str = redefault("dataset", "CIFAR100")
    model: str = redefault("model", "ConvNet", help="network to condense with and to evaluate on")
    ipc: int = redefault("ipc", 20, help="images per class: the storage that the memory may take")
    steps: int = option(5, "number of steps; each brings equally many classes", group=DATA, ge=1)
    methods: tuple[str, ...] = option((RANDOM, "DM", "LoDM"), f"how the memory is made: {RANDOM}, "
                                      f"{', '.join(METHODS)}, or METHOD+FORM for another parameterization, such as "
                                      "DSA+low_rank")
    compare: str = option("bytes", "number of real images to compare with: equal bytes (bytes), equal to the most "
                          "images that a method decodes to (images), or both", choices=("bytes", "images", "both"))
    cl_data_path: str | None = option(None, "folder of published files, cl_DM_CIFAR100_ConvNet_20ipc_5steps_seed0.pt "
                                      f"and so on, to read {', '.join(PUBLISHED)} from instead of condensing",
                                      neutral=True)
    cl_space: str | None = option(None, "space of the pixels of published files: normalised, or raw (0..1 or 0..255); "
                                  "if not given, it is found from their statistics", choices=SPACES)
    dsa_strategy: str = option("auto", "Siamese augmentation, operators joined by _ ; auto: "
                               "color_crop_cutout_flip_scale_rotate, for digits without flip; none: no augmentation")
    seeds: int = option(5, "number of class orders, from seeds 0, 1, ... as published", group=EVALUATION, ge=1)
    num_eval: int = redefault("num_eval", 3, help="fresh networks per class order and step")
    lr_net: float = redefault("lr_net", 0.01, help="learning rate of the evaluated networks, and in the inner loop of "
                              "DC and DSA")
    batch_train: int = redefault("batch_train", 256, help="minibatch size of the evaluated networks, in the inner loop "
                                 "of DC and DSA, and of the experts of trajectory matching")
    overwrite: bool = redefault("overwrite", False, help="remove earlier results and start again; to go on after a "
                                "stop, leave it out")
    format: str = option("text", "how the table is printed", group=RUN, choices=tuple(FORMATS), neutral=True)
    epoch_eval_train: int = redefault("epoch_eval_train", 1000)
    seed: int = redefault("seed", 0)
    save_path: str = redefault("save_path", "result")
    checkpoint_every: int = redefault("checkpoint_every", 500)


Config = with_method_options(Options, METHODS)


def main(cfg):
    log_to_terminal()
    auto.check_strategy(cfg.dsa_strategy)
    methods = methods_of(cfg, METHODS)
    compute = start_compute(**cfg.compute)
    stem = f"{cfg.dataset}_{cfg.model}_{cfg.ipc}ipc_{cfg.steps}steps" + "_published" * (cfg.cl_data_path is not None)
    folder, summary_path = Path(cfg.save_path) / f"cl_{stem}", Path(cfg.save_path) / f"scores_{stem}.json"
    check_writable(Path(cfg.save_path))
    before, used = None if cfg.overwrite else read_previous(summary_path), used_options(cfg.methods, METHODS)
    real = load_data(cfg.data, device=compute.device)
    if before:
        of_one = used ^ used_options(before["options"]["methods"], METHODS)
        refuse_other(summary_path, before, cfg.identity(), real.fingerprint, of_one)
    require_equal_steps(real.num_classes, cfg.steps)
    get_network(cfg.model, *real.spec)                           # better refused now than after the first step
    orders = [class_order(real.num_classes, cfg.steps, seed) for seed in range(cfg.seeds)]
    strategy = auto.strategy_for(cfg.dsa_strategy, real.name)
    (protocol,) = siamese_protocols((cfg.model,), cfg.epoch_eval_train, cfg.lr_net, cfg.batch_train, strategy).values()
    sources = sources_of(cfg, methods, real, folder)
    for source in sources:
        source.check(orders)                                     # all steps of all orders: what is there must fit
    if before:
        refuse_other_files(summary_path, before, sources)
    if cfg.overwrite:
        remove(folder, summary_path)
    book = ScoreBook(folder / "scores", real, cfg.model, protocol, cfg.num_eval, Streams(cfg.seed), compute,
                     cfg.progress)
    try:
        parts, scores = learn(sources, orders, cfg.steps, book, cfg.progress)
    except (Interrupted, KeyboardInterrupt) as stop:
        raise Interrupted(f"stopped; what is finished is in {folder}; go on with the same command"
                          + " without --overwrite" * cfg.overwrite, getattr(stop, "signal", signal.SIGINT)) from None
    facts = {key: [{"sha256": part.sha256, "images": len(part.labels), "bytes": part.bytes} for part in listed]
             for key, listed in parts.items()}
    summary = with_rows_kept(summarise(real, cfg, protocol, orders, sources, facts, scores), before,
                             cfg.METHOD_OPTIONS, used)
    save_summary(summary_path, summary)
    print(FORMATS[cfg.format](table_of(summary)), end="")
    drawn = save_figure(summary_path.with_name(f"accuracy_{stem}.png"), summary)
    log.info("all results: %s%s", summary_path, f"; picture in the same folder: {drawn.name}" if drawn else "")
    return summary


def learn(sources, orders, steps, book, progress):
    """Return {(source name, seed): [Part of each step]} and {the same: [[Score] of each step]}: the protocol itself."""
    parts, scores, pace = {}, {}, ComparisonPace(sources, len(orders), steps)
    with tqdm(total=len(sources) * len(orders) * steps, unit="step", dynamic_ncols=True,
              disable=None if progress else True) as bar:
        for order in orders:
            for step in range(steps):
                for source in sources:                           # all memories see the same classes in the same order
                    key = source.name, order.seed
                    bar.set_description(f"{source.name}, order {order.seed}, step {step + 1}/{steps}")
                    part, build_s = timed(source.part, order, step)
                    parts.setdefault(key, []).append(part)       # joins what is there, and never changes
                    score, score_s = timed(book.score, source.name, order, step, parts[key])
                    scores.setdefault(key, []).append(score)
                    pace.note(source, step, build_s if source.made else None, score_s if book.made else None)
                    bar.set_postfix_str(worded(source, score, len(order.seen(step))))
                    bar.update()
                    announce(pace.remaining())
                for source in sources:
                    source.clear(order, step)
    return parts, scores


def remove(folder, summary_path):
    """Remove an earlier comparison: first what it came to, then its sets and scores."""
    summary_path.unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)


def worded(source, scores, num_seen):
    """Word what networks come to on the classes seen."""
    mean = statistics.fmean(score.test_accuracy for score in scores)
    return f"{source.name}: {100 * mean:.1f} % on {num_seen} classes"


def announce(seconds):
    """Say how long the rest will take, once that is known."""
    if seconds is not None:
        log.info("about %s left; shorter with --seeds, --num_eval, --epoch_eval_train, --Iteration", duration(seconds))


if __name__ == "__main__":
    run_script(main, Config, __doc__)
