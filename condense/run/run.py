"""A run from start to result: random streams, progress, due evaluations, checkpoints, signals, saving.

A method script reads as its paper's algorithm because everything around the algorithm is here, once.
"""

import dataclasses
import logging
import math
import statistics
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm

from condense.cli import dead_flags
from condense.core.errors import Finished, Interrupted, RunError
from condense.core.journal import Journal, log_to_terminal
from condense.core.randomness import Streams
from condense.core.stopping import StopRequest
from condense.data.real import RealData
from condense.operators import start_compute
from condense.run.checkpoints import (
    Checkpoint,
    check_writable,
    copy_state,
    refuse_other_images,
    refuse_other_result,
    refuse_result_of_others,
    restore_state,
)
from condense.run.forecast import Forecast
from condense.run.outcome import Best, Outcome, as_stored
from condense.run.reports import nonsense, report_result, report_scores, stored, warn_of_extremes
from condense.run.results import describe, draw_set
from condense.run.run_files import RunFiles
from condense.synthetic import SyntheticSet

log = logging.getLogger("condense")

LOG_EVERY = 10                            # iterations between loss figures, as in the reference


class Run:
    """One command: `cfg` resolved to device, streams and files. See `start_run`."""

    def __init__(self, cfg: Any, method: str) -> None:
        log_to_terminal()
        self.cfg, self.method, self.options = cfg, method, cfg.identity()
        self.compute = start_compute(**cfg.compute)
        self.device, self.rng = self.compute.device, Streams(cfg.seed)
        self.files = RunFiles.of(cfg.save_path, method, cfg.dataset, cfg.model, cfg.ipc)
        check_writable(self.files.folder)
        refuse_other_result(self.files.result, self.options, cfg.overwrite)
        self.checkpoint = Checkpoint(self.files.checkpoint, self.options)
        self.state = self.checkpoint.load(cfg.resume, cfg.overwrite)
        self.midway = self.state["exp"] if self.state and self.state["owners"] else None       # to restore
        self.outcome, self.stop = Outcome(getattr(cfg, "save", "both")), StopRequest()
        self.forecast = Forecast(self.device)
        later: Any = None                                  # a value that comes, of whatever type it then has
        # what `begin` is told
        self.real = self.scorer = self.eval_every = self.select_on = later
        self.sources, self.length = {}, 0
        # the experiment under way
        self.exp = self.owners = self.best = self.bar = self.good = self.step = later
        self.it, self.skipped, self.losses, self.learned = 0, 0, [], {}
        # the whole run
        self.journal = self.storage = self.form = self.measured_steps = later
        for line in dead_flags(cfg):
            log.info(line)

    def begin(self, real: RealData, scorer: Any, eval_every: int, select_on: str | None = None,
              iterations: int | None = None, **sources: Any) -> None:
        """Say what the run works on, after every other check and before the first experiment.

        `scorer(synthetic, exp, it)` returns {network: scores}, `scorer.estimate(synthetic)` the seconds that
        takes. `eval_every` is the cadence of evaluations; 0 evaluates the last iteration only. `select_on` "val" or
        "test" keeps the best of the evaluated iterations as well as the last. `iterations` is how many there are where
        --Iteration does not say. `sources` are plain values that say what else all experiments are made from; they go
        into `meta`, as what `note` says. Raises OptionError where going on
        would mix or replace what was made from other images or sources, and Finished where nothing is left to do.
        """
        self.real, self.scorer, self.eval_every, self.select_on = real, scorer, eval_every, select_on
        self.sources, self.length = sources, self.cfg.Iteration if iterations is None else iterations
        refuse_other_images(self.checkpoint.path, self.state, real.fingerprint)
        if not self.cfg.overwrite and self.files.result.exists():
            refuse_result_of_others(self.files.result, real.fingerprint, sources)
            if self.cfg.resume and not self.state:
                raise Finished(f"already finished: {self.files.result}")
        if self.state:
            self.outcome.restore(self.state["outcome"])
            self.outcome.note(self.state["exp"], sources, of_all=True)
            log.info("going on at experiment %d, iteration %d", self.state["exp"], self.state["iteration"])

    def experiments(self) -> Iterator[int]:
        """Yield the experiments still to do."""
        yield from range(self.state["exp"] if self.state else 0, self.cfg.num_exp)

    def start_of(self, exp: int, init: Any) -> Any:
        """Return how to start the set of experiment `exp`: by `init`, or cheaply where a checkpoint takes its place."""
        return "noise" if exp == self.midway else init

    def note(self, exp: int, **facts: Any) -> None:
        """Put plain values about experiment `exp` into the result's `meta`, where each is a list over experiments."""
        self.outcome.note(exp, facts)

    def iterations(self, exp: int, synthetic: SyntheticSet, *optimizers: Any) -> Iterator[int]:
        """Yield the iterations of one experiment, 0..K-1; evaluates, saves and stops where due.

        The set is evaluated at 0, at every multiple of the cadence and at K = --Iteration (or what `begin` was told),
        always before the update of that iteration: what is evaluated at K is what is stored.
        """
        self.exp, self.owners = exp, (synthetic, *optimizers)
        if self.measured_steps is not None:
            yield from self._measure()
        if self.journal is None:                          # nothing is written before everything is known to fit
            position = self.state["journal"] if self.state else None
            self.journal = Journal(self.files.journal, self.cfg.tensorboard, position)
            self.journal.write_start(self.options, self.device)
        self.outcome.note(exp, self.sources, of_all=True)
        self.good, self.skipped = None, 0
        self.best = Best(self.select_on, len(self.scorer.selection or ())) if self.select_on else None
        first = self._take_up(exp)
        self._tell_storage(synthetic)
        with self.stop.listening():
            yield from self._steps(first, self.length)
        self._finish(exp, synthetic)

    def _steps(self, first, last):
        with tqdm(total=last, initial=first, unit="it", dynamic_ncols=True,
                  desc=f"{self.method} experiment {self.exp + 1}/{self.cfg.num_exp}",
                  disable=None if self.cfg.progress else True) as self.bar:
            for it in range(first, last + 1):
                self.it = it
                if first < it < last and self.checkpoint.due(it, self.cfg.checkpoint_every):
                    self._save_checkpoint()
                self._stop_if_asked()
                if self._evaluation_due(it):
                    self._evaluate()
                if it == last:
                    break
                self.losses = []
                self.forecast.pace.begin()
                yield it
                self.forecast.pace.end(last=it == last - 1)
                if self.forecast.is_due:
                    self.forecast.tell(self.scorer, self.owners[0], first=first, **self._counts())
                self._write_step()
                self.bar.update()

    def outer_steps(self, number: int) -> Iterator[int]:
        """Yield the outer steps of one iteration, 0..number-1, for methods that have several.

        The run can also stop between two of them; it then goes back to the start of the iteration.
        """
        before = copy_state(*self.owners)
        for step in range(number):
            if self.stop.number is not None:
                restore_state(before, *self.owners)
            self._stop_if_asked()
            self.step = f"{step + 1}/{number}"
            self.forecast.pace.step(number)
            yield step

    def log(self, loss: Any) -> None:
        """Take note of the `loss` in front of a step; stops the run where it, or a learned step size, is no use.

        May be a tensor: it is read in every tenth iteration, and on a CPU, where that is free, in all of them.
        The journal gets the mean over an iteration's steps.
        """
        if self.it % LOG_EVERY and self.device.type != "cpu":
            return
        self._require_step_size()
        self.losses.append(float(loss))
        if not math.isfinite(self.losses[-1]):
            self._stop_at_nonsense(f"the loss is {self.losses[-1]}")
        self.good, self.learned = (self.it, copy_state(self.owners[0])), self._learned()
        more = {"step": self.step} if self.step else {}
        more |= {name: f"{value:.4g}" for name, value in self.learned.items()}
        self.bar.set_postfix({"loss": f"{self.losses[-1]:.4g}", **more}, refresh=bool(self.step))

    def skip(self) -> None:
        """Count an update that the method leaves out."""
        self.skipped += 1

    def _learned(self):
        """Return {"syn_lr": value} where the set learns its step size, of many the mean, else nothing."""
        syn_lr = self.owners[0].learned_steps.mean()
        return {} if syn_lr is None else {"syn_lr": syn_lr}

    def _require_step_size(self):
        for syn_lr in self._learned().values():
            if not (math.isfinite(syn_lr) and syn_lr > 0):
                self._stop_at_nonsense(f"the learned step size is {syn_lr:.4g}")

    def _write_step(self):
        if self.losses and self.it % LOG_EVERY == 0:
            self.journal.write("step", exp=self.exp, iteration=self.it, loss=statistics.fmean(self.losses),
                               **self.learned)

    def save(self) -> dict[str, Any]:
        """Write the result, clear what only an unfinished run needs, and return the result's content."""
        meta = self._meta(self.outcome)
        self.outcome.save(self.files.result, meta)
        self.files.unfinished.unlink(missing_ok=True)
        self.checkpoint.remove()
        report_result(self.outcome, self.journal)
        self.journal.write("end")
        self.journal.close()
        log.info("synthetic set: %s (%s bytes)", self.files.result, f"{self.files.result.stat().st_size:,}")
        return {"data": self.outcome.data, "accs_all_exps": self.outcome.accuracies, "meta": meta}

    def _meta(self, outcome):
        step_sizes = outcome.facts.get("syn_lr")               # one of each experiment: the recipe has their mean
        protocols = self.scorer.protocols_with(statistics.fmean(step_sizes) if step_sizes else None)
        return describe(self.real, self.method, self.options, self.storage, **self.form, num_exp=len(outcome),
                        **outcome.facts,
                        protocols={model: dataclasses.asdict(protocol) for model, protocol in protocols.items()})

    def _evaluation_due(self, it):
        return it == self.length or (self.eval_every > 0 and it % self.eval_every == 0)

    def _evaluate(self):
        """Score and draw the current set; an interruption in here loses nothing but this evaluation."""
        synthetic, exp, it = self.owners[0], self.exp, self.it
        images = synthetic.images().detach()
        if not bool(images.isfinite().all()):
            self._stop_at_nonsense("the images are not finite")
        warn_of_extremes(images, it)
        self._require_step_size()
        self.forecast.time_evaluation(self.scorer, synthetic)
        picture = self.files.picture(exp, it)
        draw_set(picture, images, self.real)
        self._stop_if_asked()
        try:
            with self.stop.at_once():
                scores = self.scorer(synthetic, exp, it)
        except Interrupted:
            self._stop_if_asked()
        report_scores(scores, self.journal, exp, it, picture, self._learned().get("syn_lr"))
        if self.best:
            self.best.offer(scores, it, lambda: as_stored(synthetic), self._learned().get("syn_lr"))
        if it == self.length:
            for model, of_model in scores.items():
                self.outcome.accuracies.setdefault(model, []).extend(score.test_accuracy for score in of_model)

    def measure(self, steps: int) -> None:
        """Make this a run that saves nothing: it goes through `steps` iterations of its first experiment.

        Then `forecast` knows what an iteration and an evaluation take, in seconds, and Finished says how long the whole
        command would take.
        """
        self.measured_steps = steps

    def _measure(self):
        with tqdm(total=self.measured_steps, disable=True) as self.bar:
            for it in range(self.measured_steps):
                self.it, self.losses = it, []
                self.forecast.pace.begin()
                yield it
                self.forecast.pace.end(last=it == self.measured_steps - 1)
        self.forecast.time_evaluation(self.scorer, self.owners[0])
        raise Finished(self.forecast.words(first=0, **self._counts()))

    def _tell_storage(self, synthetic):
        first, self.storage, self.form = self.storage is None, synthetic.storage(), synthetic.form()
        if first:
            log.info(stored(self.storage, max(synthetic.counts)))

    def _counts(self):
        """Return how many iterations, evaluations and experiments are still to be gone through."""
        return {"iterations": self.length, "evaluations": sum(map(self._evaluation_due, range(self.length + 1))),
                "experiments": self.cfg.num_exp - len(self.outcome)}

    def _take_up(self, exp):
        """Return the iteration to begin with; restores the checkpoint that belongs to this experiment."""
        state, self.state = self.state, None
        if exp != self.midway:
            return 0
        restore_state(state["owners"], *self.owners)
        self.skipped = state["skipped"]
        if self.best:
            self.best.found = state["best"]
        return state["iteration"]

    def _save_checkpoint(self, exp=None):
        """Save the state in front of the current iteration, or (with `exp`) in front of a new experiment."""
        if exp is None and not bool(self.owners[0].images().isfinite().all()):
            self._stop_at_nonsense("the images are not finite")
        if exp is None:
            self._require_step_size()
        owners = copy_state(*self.owners) if exp is None else []
        where = {"exp": self.exp, "iteration": self.it} if exp is None else {"exp": exp, "iteration": 0}
        best = self.best.found if self.best and exp is None else None
        self.checkpoint.save(**where, owners=owners, best=best, skipped=self.skipped, outcome=self.outcome.state(),
                             journal=self.journal.position(), fingerprint=self.real.fingerprint)

    def _finish(self, exp, synthetic):
        if self.skipped:
            log.info("experiment %d: %d of %d updates were skipped", exp, self.skipped, self.length)
            self.journal.write("skipped", exp=exp, updates=self.skipped)
        self.note(exp, **self._learned())
        self.outcome.add(synthetic, self.best)
        if exp + 1 < self.cfg.num_exp:
            self._save_unfinished(self.outcome)
            self._save_checkpoint(exp + 1)

    def _save_unfinished(self, outcome):
        outcome.save(self.files.unfinished, {**self._meta(outcome), "unfinished": True})

    def _outcome_so_far(self):
        """Return the outcome with the set of the experiment under way."""
        so_far = self.outcome.with_current(self.owners[0], self.best)
        so_far.note(self.exp, self._learned())
        return so_far

    def _stop_at_nonsense(self, what):
        """Keep the last set whose loss was finite, and raise RunError that says what to lower."""
        what, mend = nonsense(what, self._learned().get("syn_lr"), self.cfg)
        kept = "no finite set was seen"
        if self.good:
            restore_state(self.good[1], self.owners[0])
            self._save_unfinished(self._outcome_so_far())
            kept = f"the set of iteration {self.good[0]} is in {self.files.unfinished}"
        raise RunError(f"{what} at experiment {self.exp}, iteration {self.it}; {kept}; {mend}")

    def _stop_if_asked(self):
        if self.stop.number is None:
            return
        self._save_checkpoint()
        self._save_unfinished(self._outcome_so_far())
        raise Interrupted(f"stopped before iteration {self.it} of experiment {self.exp}; the set so far is in "
                          f"{self.files.unfinished}; go on with the same command and --resume", self.stop.number)


def start_run(cfg: Any, method: str) -> Run:
    """Return the `Run` of `cfg`; raises OptionError or ValueError, before anything is written, where it cannot be.

    `method` names the result file (res_<method>_<dataset>_<model>_<ipc>ipc.pt).
    """
    return Run(cfg, method)
