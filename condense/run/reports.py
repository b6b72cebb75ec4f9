"""What a run reports in words: storage, accuracies, how long it will take."""

import logging
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from condense.core.journal import Journal
from condense.core.words import duration, percent
from condense.evaluation.score import Score

log = logging.getLogger("condense")

EXTREME = 100                              # standard deviations; sets that were driven hard reach some tens


def stored(storage: Mapping[str, Any], images_per_class: int) -> str:
    """Word what a set stores, against its budget."""
    soft = f" and {storage['label_floats']:,} of soft labels" if "label_floats" in storage else ""
    return (f"stored: {storage['floats']:,} of {storage['budget_floats']:,} floats{soft} ({storage['bytes']:,} of "
            f"{storage['budget_bytes']:,} bytes), decoded to {images_per_class} image{'s' * (images_per_class != 1)} "
            "per class")


def time_needed(seconds: float, experiments: int, iterations: int, per_step: float, evaluations: int,
                per_evaluation: float) -> str:
    """Word how long the whole command takes, all times in seconds, and which flags shorten it."""
    return (f"about {duration(seconds)} in all: {experiments} experiment{'s' * (experiments != 1)} of {iterations} "
            f"iterations ({per_step:.3g} s each) and {evaluations} evaluation{'s' * (evaluations != 1)} "
            f"({duration(per_evaluation)} each); shorter with --num_exp, --Iteration, --eval_every, --num_eval, "
            "--epoch_eval_train")


def nonsense(what: str, step_size: float | None, cfg: Any) -> tuple[str, str]:
    """Word what stopped a run, `what` and the learned `step_size` (None: none is), and which flags of `cfg` mend it."""
    if step_size is None:
        return what, "try a smaller --lr_img"
    what += f" and the learned step size is {step_size:.4g}" * ("step size" not in what)
    if not hasattr(cfg, "lr_lr"):                          # one learning rate for images and step sizes
        return what, "try a smaller --lr or --distill_lr"
    return what, "try a smaller --lr_lr" + ", or a smaller --lr_img" * math.isfinite(step_size)


def warn_of_extremes(images: Float[Tensor, "n c h w"], it: int) -> None:
    """Log a warning where `images`, normalised or whitened, are far from anything real: norm layers hide it."""
    reach = float(images.abs().max())
    if reach > EXTREME:
        log.warning("iteration %d: images reach %.3g standard deviations, far beyond real images; lower the step "
                    "sizes, --lr_img first", it, reach)


def report_scores(scores: Mapping[str, Sequence[Score]], journal: Journal, exp: int, it: int, picture: Any,
                  step_size: float | None) -> None:
    """Log and journal {network name: [Score]} of the set at iteration `it`; `step_size` is None if not learned."""
    learned = {} if step_size is None else {"syn_lr": step_size}
    for model, of_model in scores.items():
        values = [score.test_accuracy for score in of_model]
        held = [score.selection_accuracy for score in of_model if score.selection_accuracy is not None]
        chosen_on = f", on the images kept for selection {percent(held)}" if held else ""
        log.info("experiment %d, iteration %d, %s: test accuracy %s over %d networks (training accuracy %s%s)",
                 exp, it, model, percent(values), len(values), percent([score.train_accuracy for score in of_model]),
                 chosen_on)
        journal.write("evaluation", exp=exp, iteration=it, model=model, mean=statistics.fmean(values),
                      std=statistics.pstdev(values), accuracies=values, picture=picture.name,
                      train_accuracies=[score.train_accuracy for score in of_model],
                      train_losses=[score.train_loss for score in of_model], **learned,
                      **({"selection_accuracies": held} if held else {}))


def report_result(outcome: Any, journal: Journal) -> None:
    """Log and journal what the finished experiments come to: the last iteration first, then the chosen one."""
    for model, values in outcome.accuracies.items():
        log.info("%s: %s over %d networks%s", model, percent(values), len(values),
                 ", last iteration" if outcome.best else "")
        journal.write("final", model=model, mean=statistics.fmean(values), accuracies=values)
        if outcome.best:
            facts = [best["facts"] for best in outcome.best]
            values = [value for fact in facts for value in fact["accuracies"][model]]
            log.info("%s: %s over %d networks, best: iteration %s, chosen on %s", model, percent(values), len(values),
                     ", ".join(str(fact["iteration"]) for fact in facts), facts[0]["selected_on"])
            journal.write("best", model=model, mean=statistics.fmean(values), accuracies=values,
                          iterations=[fact["iteration"] for fact in facts], selected_on=facts[0]["selected_on"])
