"""A run that makes experts: what there is, what is left to do, progress, checkpoints, signals."""

import contextlib
import logging
import math
import platform
import statistics
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from tqdm import tqdm

from condense.core.errors import Interrupted, OptionError, RunError
from condense.core.journal import log_to_terminal
from condense.core.randomness import Streams
from condense.core.stopping import StopRequest
from condense.core.words import percent
from condense.data.real import RealData
from condense.experts.folder import FORMAT_VERSION, WHITENING
from condense.experts.progress import Clock, counted, gigabytes, require_space, word_forecast
from condense.experts.recipe import Recipe
from condense.experts.store import ExpertStore
from condense.experts.training import experts_at_once, networks_of_experts
from condense.networks.batchnorm import has_batchnorm
from condense.operators import Compute
from condense.run.results import save_atomically

log = logging.getLogger("condense")

BAR_STEPS = 20                             # how often within an epoch the bar is redrawn


class ExpertRun:
    """Experts of one recipe and one data set in `folder`: those that are missing are trained.

    `net` is a network of theirs, `options` what makes them what they are, for the file in their folder; `rng` are the
    run's `Streams`, `lines` are said before anything else. Raises OptionError for a network with batch norm.
    """

    def __init__(self, folder: str | Path, real: RealData, net: nn.Module, recipe: Recipe, options: dict[str, Any],
                 compute: Compute, rng: Streams, lines: Iterable[str] = ()) -> None:
        log_to_terminal()
        for line in lines:
            log.info(line)
        if has_batchnorm(net):
            raise OptionError(f"--model {options['model']} has batch norm, whose running statistics are not stored in "
                              "buffers; choose a network without, such as ConvNet")
        self.real, self.model, self.recipe, self.compute, self.rng = real, options["model"], recipe, compute, rng
        self.size = sum(parameter.numel() for parameter in net.parameters())
        self.store = ExpertStore(folder, describe(real, net, recipe, options))
        self.stop, self.clock = StopRequest(), Clock(real.device)

    @contextlib.contextmanager
    def making(self, total: int, save_interval: int, test_every: int, checkpoint_every_s: float, resume: bool,
               overwrite: bool, progress: bool) -> "Iterator[ExpertRun]":
        """Within: the folder is this process's own, and signals stop the run where nothing is lost.

        `total` experts in all, `save_interval` in a file, tested every `test_every` epochs (0: after the last one);
        the state of those under way is kept every `checkpoint_every_s` seconds. Raises OptionError, before anything is
        written, where going on would lose something or the disk is too full.
        """
        self.total, self.save_interval, self.test_every = total, save_interval, test_every
        self.checkpoint_every_s = checkpoint_every_s
        self.store.take_up(resume, overwrite)
        self._tell_room(total if overwrite and not resume else len(self.store.missing(total)))
        with self.store.held(resume, overwrite), self.stop.listening():
            if self.real.zca and not (self.store.folder / WHITENING).exists():
                save_atomically(self.real.zca.state(), self.store.folder / WHITENING)
            self.store.pack(save_interval)
            with tqdm(total=len(self.store.missing(total)) * self.recipe.last, unit="epoch", desc="experts",
                      disable=None if progress else True, dynamic_ncols=True) as self.bar:
                yield self
            self.store.pack(save_interval, rest=True)

    def _tell_room(self, missing):
        each = self.recipe.kept * self.size * self.recipe.dtype.itemsize
        require_space(self.store.folder, missing, min(self.total, self.save_interval), each)
        if missing:
            log.info("%s x %d snapshots of %s parameters: %s", counted(missing), self.recipe.kept, f"{self.size:,}",
                     gigabytes(missing * each))

    def groups(self) -> Iterator:
        """Yield the experts still to train: one at a time on a CPU, as many as fit on a GPU."""
        self.experts: Any = ()
        while missing := self.store.missing(self.total):
            state = self._state_of(missing)
            at_once = experts_at_once(self.real, self.recipe, self.size, len(missing), self.real.device)
            numbers = [entry["number"] for entry in state["experts"]] if state else missing[:at_once]
            if len(self.experts) != len(numbers):
                self.experts = networks_of_experts(len(numbers), self.model, self.real, self.recipe, self.compute,
                                                   self.rng)
            self.rounds = math.ceil(len(missing) / len(numbers))
            self._begin(numbers, state)
            yield self.experts
            self._finish()

    def _state_of(self, missing):
        """Return the state kept of experts under way, if some of those that are missing are among them."""
        state = self.store.load_state()
        return state if state and {entry["number"] for entry in state["experts"]} & set(missing) else None

    def _begin(self, numbers, state):
        """Begin with the initialisation, or where `state` was left."""
        self.experts.begin(numbers)
        self.saved_s, self.first = time.monotonic(), 0
        self.trajectories = [[] for _ in numbers]
        self.figures = [{"test_accuracy": {}, "train_accuracy": [], "train_loss": []} for _ in numbers]
        if state:
            self.first, entries = state["epoch"], state["experts"]
            self.trajectories = [entry["trajectory"] for entry in entries]
            self.figures = [entry["figures"] for entry in entries]
            self.experts.restore([(entry["parameters"], entry["momenta"]) for entry in entries], self.first)
            self.bar.update(self.first * len(numbers))
            log.info("going on with %s after epoch %d", self._names(), self.first)

    def epochs(self) -> Iterator[int]:
        """Yield the epochs still to train; keeps a snapshot in front of the first one and after each."""
        for epoch in range(self.first, self.recipe.last):
            self.epoch = epoch
            self._pause()
            self.experts.start_epoch(epoch)
            yield epoch
            self._take_figures()
        self.epoch = self.recipe.last
        self._pause()

    def _pause(self):
        """Between two epochs: keep snapshots, test and write where due, stop where asked."""
        self.state = self.experts.state()
        if self.epoch >= self.recipe.first + len(self.trajectories[0]):          # else `state` had it
            for trajectory, (parameters, _) in zip(self.trajectories, self.state):
                trajectory.append([tensor.to(self.recipe.dtype) for tensor in parameters])
        if self.epoch == self.recipe.last or (self.test_every and self.epoch and not self.epoch % self.test_every):
            self._test()
        if self.epoch < self.recipe.last and time.monotonic() - self.saved_s >= self.checkpoint_every_s:
            self._save_state()
        self._stop_if_asked()

    def minibatches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the minibatches of the epoch, (images, labels); between two of them the run can stop."""
        number_of = math.ceil(len(self.real) / self.recipe.batch_size)
        for number, minibatch in enumerate(self.clock.watch(self.experts.minibatches())):
            self._stop_if_asked()
            if number % math.ceil(number_of / BAR_STEPS) == 0:
                self.bar.set_description(f"{self._names()}, epoch {self.epoch + 1}/{self.recipe.last} "
                                         f"{100 * number // number_of:3d} %")
            if self.clock.ready(epoch_over=False):
                self._forecast()
            yield minibatch
        if self.clock.ready(epoch_over=True):
            self._forecast()

    def _forecast(self):
        epochs = self.rounds * self.recipe.last - self.epoch
        tests = self.rounds * (math.ceil(self.recipe.last / self.test_every) if self.test_every else 1)
        total_s, epoch_s = self.clock.forecast(epochs, tests, len(self.real), len(self.real.test_labels),
                                               self.recipe.batch_size)
        log.info(word_forecast(total_s, epoch_s, len(self.store.missing(self.total)), self.recipe.last,
                               len(self.experts)))

    def _take_figures(self):
        """Note the figures of the epoch that is over; raises RunError where an expert's loss is not finite."""
        figures = self.experts.figures()
        for number, of_expert, (accuracy, loss) in zip(self.experts.numbers, self.figures, figures):
            if not math.isfinite(loss):
                raise RunError(f"the loss of expert {number} is {loss} in epoch {self.epoch}; the finished experts are "
                               "kept; try a smaller --lr_teacher, which needs --overwrite or another --buffer_path")
            of_expert["train_accuracy"].append(accuracy)
            of_expert["train_loss"].append(loss)
        accuracy, loss = (statistics.fmean(values) for values in zip(*figures))
        self.bar.set_postfix(loss=f"{loss:.4g}", accuracy=f"{100 * accuracy:.2f} %", refresh=False)
        self.bar.update(len(figures))

    def _test(self):
        """Measure test accuracy, once for each epoch; a stop in here loses no more than that."""
        if str(self.epoch) in self.figures[0]["test_accuracy"]:
            return
        self._stop_if_asked()
        try:
            with self.stop.at_once():
                accuracies = self.experts.test_accuracies()
        except Interrupted:
            self._stop_if_asked()
        for figures, accuracy in zip(self.figures, accuracies):
            figures["test_accuracy"][str(self.epoch)] = accuracy         # text: this becomes JSON

    def _finish(self):
        """Keep the experts, which have reached their last epoch."""
        for number, trajectory, figures in zip(self.experts.numbers, self.trajectories, self.figures):
            self.store.keep_expert(number, trajectory, figures)
            log.info("expert %d: test accuracy %.2f %%, training accuracy %.2f %%, loss %.4g (%d of %d)", number,
                     100 * figures["test_accuracy"][str(self.recipe.last)], 100 * figures["train_accuracy"][-1],
                     figures["train_loss"][-1], len(self.store.finished()), self.total)
        self.store.clear_state()
        self.store.pack(self.save_interval)

    def _save_state(self):
        experts = [{"number": number, "parameters": parameters, "momenta": momenta, "trajectory": trajectory,
                    "figures": figures}
                   for number, (parameters, momenta), trajectory, figures
                   in zip(self.experts.numbers, self.state, self.trajectories, self.figures)]
        self.store.save_state({"epoch": self.epoch, "experts": experts})
        self.saved_s = time.monotonic()

    def _stop_if_asked(self):
        if self.stop.number is None:
            return
        if self.epoch > 0:
            self._save_state()
        raise Interrupted(f"stopped {self._names()} after epoch {self.epoch} of {self.recipe.last}; "
                          f"{len(self.store.finished())} of {self.total} are finished, in {self.store.folder}; go on "
                          "with the same command and --resume", self.stop.number)

    def _names(self):
        numbers = self.experts.numbers
        return f"expert {numbers[0]}" if len(numbers) == 1 else f"experts {numbers[0]}-{numbers[-1]}"

    def summary(self) -> dict[str, Any]:
        """Say where the experts are and how good they are; returns what `buffer.json` says."""
        tested = [entry["test_accuracy"][str(self.recipe.last)] for entry in self.store.listed]
        log.info("%s in %s: test accuracy %s", counted(len(tested)), self.store.folder, percent(tested))
        return self.store.about


def describe(real: RealData, net: nn.Module, recipe: Recipe, options: dict[str, Any]) -> dict[str, Any]:
    """Return what `buffer.json` says of the experts: plain values."""
    return {"format_version": FORMAT_VERSION, "dataset": real.name, "fingerprint": real.fingerprint,
            "num_classes": real.num_classes, "channel": real.channel, "im_size": list(real.im_size),
            "mean": list(real.mean), "std": list(real.std), "zca": real.zca.fingerprint if real.zca else None,
            "model": options["model"], "parameters": [[name, list(p.shape)] for name, p in net.named_parameters()],
            "options": options, "seed": options["seed"], "first_epoch": recipe.first, "last_epoch": recipe.last,
            "dtype": str(recipe.dtype).removeprefix("torch."),
            "versions": {"python": platform.python_version(), **{name: version(name) for name in ("torch", "numpy")}}}
