"""Scores before the first step and after the last, against networks that are tested and trained by hand."""

import pytest
import torch
import torch.nn.functional as F

from condense.core.randomness import Streams
from condense.evaluation.accuracy import accuracy
from condense.evaluation.before_after import BeforeAfter, accuracy_alone
from condense.evaluation.score import Scorer
from condense.networks import get_network, reset
from condense.operators import Compute
from condense.synthetic import build_synthetic
from condense.training.protocols import StepProtocol


@pytest.fixture(scope="module")
def synthetic(digits):
    """Two real images of each class, taken one after another, for two networks."""
    found = build_synthetic("pixels", digits, 2, "real", torch.Generator().manual_seed(0))
    found.learned_steps.learn_each(0.2, 2, 1)
    starts = [torch.cat([p.detach().flatten() for p in network(i).parameters()]) for i in range(2)]
    found.learned_steps.start_from("MLP", torch.stack(starts))
    return found


def network(seed):
    return reset(get_network("MLP", 1, 10, (8, 8)), torch.Generator().manual_seed(seed))


def scorer(digits, noted, **how):
    def note(exp, **facts):
        noted.append((exp, facts))

    scorer = Scorer(digits, {"MLP": StepProtocol(1, distill_steps=2)}, 2, Compute(), Streams(0), False)
    return BeforeAfter(**vars(scorer) | {"confusion": True}, last=7, note=note, **how)


def stepped(net, synthetic):
    for rows in (slice(0, None, 2), slice(1, None, 2)):
        loss = F.cross_entropy(net(synthetic.images()[rows]), synthetic.labels[rows])
        gradients = torch.autograd.grad(loss, list(net.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(net.parameters(), gradients):
                parameter -= 0.2 * gradient
    return net


def test_the_last_iteration_notes_the_accuracy_of_every_network_before_and_after_its_steps(digits, synthetic):
    noted = []
    scores = scorer(digits, noted)(synthetic, 3, 7)
    ((exp, facts),) = noted
    before = [accuracy(network(i), digits).item() for i in range(2)]
    after = [accuracy(stepped(network(i), synthetic), digits).item() for i in range(2)]
    assert exp == 3 and facts["before_steps"] == {"accuracy": pytest.approx(before, abs=1e-6)}
    assert facts["after_steps"] == {"accuracy": pytest.approx(after, abs=1e-6)} and before != after
    assert [score.test_accuracy for score in scores["MLP"]] == pytest.approx(after, abs=1e-6)


def test_scores_are_those_of_the_scorer_without_it_and_other_iterations_note_nothing(digits, synthetic):
    noted, one = [], scorer(digits, [])
    plain = Scorer(digits, one.protocols, 2, one.compute, one.rng, False)(synthetic, 0, 4)
    assert scorer(digits, noted)(synthetic, 0, 4) == plain and noted == []


def test_other_figures_are_taken_from_the_confusion_of_every_network(digits, synthetic):
    noted = []
    scorer(digits, noted, figures=lambda confusion: {"row": sum(confusion[2]), **accuracy_alone(confusion)})(
        synthetic, 0, 7)
    members = int((digits.test_labels == 2).sum())
    assert noted[0][1]["before_steps"]["row"] == noted[0][1]["after_steps"]["row"] == [members] * 2
