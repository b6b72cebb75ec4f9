"""Baselines of a set that has starts of its own, or attacks a class: they begin, and are labelled, as it is."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from condense.comparison import baselines
from condense.comparison.baseline_rows import Baselines
from condense.comparison.baselines import best_draws, chosen_real, optimised_real, random_real, tuned_rate
from condense.comparison.conditions import USUAL, Conditions
from condense.comparison.real_sets import MAKERS, made_set, random_set
from condense.comparison.scored_set import together
from condense.core.randomness import Streams
from condense.networks import get_network
from condense.operators import Compute
from condense.training import Protocol
from condense.training.protocols import StepProtocol
from tests.unrolled_sets import network

STEPS = StepProtocol(2, distill_steps=3, constant=0.1, momentum=0.5)
CALL = dict(rng=Streams(0), compute=Compute(), progress=False)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CONDENSE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def starts():
    """The parameters of two networks, (2, P)."""
    return torch.stack([torch.cat([p.detach().flatten() for p in network(seed).parameters()]) for seed in (9, 10)])


@pytest.fixture
def calls(monkeypatch):
    """A list that receives the number of networks of every training."""
    found, original = [], baselines.evaluate
    monkeypatch.setattr(baselines, "evaluate", lambda *args, **more: found.append(args[3]) or original(*args, **more))
    return found


def by_hand(digits, start, images, labels, classes, test=None):
    """Descend from `start` in double precision; class-major images, three batches twice, momentum 0.5, size 0.1."""
    net, theta, place = get_network("MLP", *digits.spec).double(), {}, 0
    for name, parameter in net.named_parameters():
        theta[name] = start[place:place + parameter.numel()].double().view(parameter.shape)
        place += parameter.numel()
    velocity = {name: 0 for name in theta}
    for t in range(6):
        rows = torch.cat([(classes == label).nonzero()[t % 3] for label in range(10)])
        theta = {name: tensor.detach().requires_grad_() for name, tensor in theta.items()}
        loss = F.cross_entropy(functional_call(net, theta, (images[rows].double(),)), labels[rows])
        for name, slope in zip(theta, torch.autograd.grad(loss, list(theta.values()))):
            velocity[name] = 0.5 * velocity[name] + slope
        theta = {name: tensor - 0.1 * velocity[name] for name, tensor in theta.items()}
    tested, truth = test or next(iter(digits.test_batches(10**6)))
    return float((functional_call(net, theta, (tested.double(),)).argmax(1) == truth).double().mean())


def accuracies(scores):
    return pytest.approx([score.test_accuracy for score in scores], abs=0.006)       # equal but for rounding


# NetworkStarts

def test_network_i_of_random_images_begins_as_start_i_modulo_their_number(digits, starts):
    scores = random_real(digits, 3, {"MLP": STEPS}, 3, **CALL, given=Conditions(starts))["MLP"]
    draws = [random_set(digits, 3, Streams(0)("data", 2**31, 1, i)) for i in range(3)]
    expected = [by_hand(digits, starts[i % 2], one.tensor, one.labels, one.labels) for i, one in enumerate(draws)]
    assert expected == accuracies(scores)
    assert scores != random_real(digits, 3, {"MLP": STEPS}, 3, **CALL)["MLP"]


@pytest.mark.parametrize("kind", MAKERS)
def test_sets_that_are_chosen_or_made_begin_there_too(digits, starts, kind):
    scores = chosen_real(digits, kind, 3, {"MLP": STEPS}, 2, **CALL, given=Conditions(starts))["MLP"]
    one = made_set(digits, kind, 3, Streams(0)("init", 0))
    assert [by_hand(digits, start, one.images(), one.labels, one.labels) for start in starts] == accuracies(scores)


def test_each_of_many_draws_is_chosen_with_the_same_starts(digits, starts):
    def draw(i):
        return random_set(digits, 3, Streams(0)("data", 2**31, 4, 0, i))

    kept = best_draws(draw, digits, "MLP", STEPS, 5, 3, **CALL, given=Conditions(starts))
    images = baselines.SelectionImages(digits, Streams(0)("data", 2**31, 4, 1))
    test = next(iter(images.test_batches(10**6)))
    means = [sum(by_hand(digits, starts[i], one.tensor, one.labels, one.labels, test=test) * weight
                 for i, weight in ((0, 2), (1, 1))) for one in map(draw, range(5))]
    assert kept == [max(range(5), key=means.__getitem__)]
    scores = optimised_real(digits, 3, {"MLP": STEPS}, 2, **CALL, num_sets=5, num_nets=3, given=Conditions(starts))
    best = draw(kept[0])
    assert [by_hand(digits, start, best.tensor, best.labels, best.labels) for start in starts] == accuracies(
        scores["MLP"])


def test_a_step_size_is_chosen_from_the_same_starts(digits, starts):
    def tried(given):
        return tuned_rate(digits, "average", 3, "MLP", STEPS, (0.3, 0.05), 2, **CALL, given=given)[1]

    other = starts.flip(1)
    assert len({tuple(tried(given).values()) for given in (USUAL, Conditions(starts), Conditions(other))}) == 3


def test_scores_from_other_starts_or_other_labels_are_others_and_the_same_ones_are_kept(digits, starts, calls):
    for given in (USUAL, Conditions(starts), Conditions(starts.clone()), Conditions(starts.flip(0)), Conditions(),
                  Conditions(starts, (3, 5)), Conditions(starts, (3, 4)), Conditions(starts, (3, 5))):
        random_real(digits, 1, {"MLP": STEPS}, 2, **CALL, given=given)
    assert len(calls) == 5


def test_rows_have_one_network_for_each_start_where_more_would_be_the_same_again(digits, starts):
    held = Baselines(digits, ("random", "average", "full"), 5, 1, Streams(0), Compute(), {}, progress=False)
    held.full = lambda model, recipe: baselines.random_real(digits, 1, {model: STEPS}, 1, **CALL)[model]
    random, average, full = held.rows("MLP", STEPS, STEPS, 7680, 30, "set.pt", given=Conditions(starts))
    assert [len(row.pooled) for row in (random, average)] == [5, 2]
    assert random.source["recipe"]["starts"] == average.source["recipe"]["starts"] == Conditions(starts).key()["starts"]
    assert "starts" not in full.source["recipe"]


def test_starts_of_several_experiments_alternate_and_those_of_a_bank_count_once():
    one, two = torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [4.0]])
    assert together([one, two]).flatten().tolist() == [1, 3, 2, 4]
    assert torch.equal(together([one, one.clone()]), one) and together([one, two[:1]]).flatten().tolist() == [1, 2, 3]


# An attack

def test_real_images_of_the_attacked_class_are_labelled_with_the_target_in_batches_as_ever(digits, starts):
    (score,) = chosen_real(digits, "average", 3, {"MLP": STEPS}, 1, **CALL, given=Conditions(starts, (3, 5)))["MLP"]
    one = made_set(digits, "average", 3, None)
    labels = torch.tensor([5 if label == 3 else label for label in one.labels.tolist()])
    assert [by_hand(digits, starts[0], one.tensor, labels, one.labels)] == accuracies([score])
    assert one.labels.tolist().count(3) == 3               # changed on a copy


@pytest.mark.parametrize("protocol", [STEPS, Protocol(20, batch_size=16, augmentation="none", schedule="constant")])
def test_rows_say_what_became_of_the_attacked_class(digits, protocol):
    held = Baselines(digits, ("random",), 5, 1, Streams(0), Compute(), {}, progress=False)
    protocol = replace(protocol, epochs=60)
    for _ in range(2):                                     # computed, and from the cache
        (row,) = held.rows("MLP", protocol, protocol, 7680, 30, "set.pt", given=Conditions(attack=(3, 5)))
        figures = row.facts["attack"]
        assert figures["attacked_class_accuracy"] == 0 and figures["attacked_as_target"] > 0.4
        assert "class 3 attacked to be taken for 5: 0.0 % of it are right" in row.facts["caveat"]
