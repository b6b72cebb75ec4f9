"""Scores depend on the set, the seed and the architecture, and on nothing else."""

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch

from condense.core.randomness import Streams
from condense.evaluation import Scorer, evaluate
from condense.evaluation import score as score_module
from condense.networks import get_network, reset
from condense.operators import Compute
from condense.synthetic import build_synthetic
from condense.training import Protocol, TensorSet
from condense.training.train import train_network

QUICK = Protocol(epochs=2, lr=0.05, batch_size=8, strategy="color_crop_cutout_scale_rotate")
POOL = ("MLP", "ConvNetD1", "ConvNetW32")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def data(digits):
    return draw_set(digits, 0)


def draw_set(digits, seed, ipc=2):
    batch = digits.sample(digits.classes, ipc, seeded(seed))
    return TensorSet(batch.images(), batch.labels)


def run(digits, data, pool=("MLP",), num_eval=2, seed=0, protocol=QUICK, compute=Compute()):
    streams = Streams(seed)
    rng = partial(streams, "evaluation", 0, 0)
    return evaluate(data, digits, dict.fromkeys(pool, protocol), num_eval, rng, compute, progress=False)


def test_score_is_that_of_a_network_trained_and_tested_by_hand(digits, data):
    keys = []

    def rng(key, i):
        keys.append((key, i))
        return seeded(i)

    scores = evaluate(data, digits, {"MLP": QUICK}, 2, rng, Compute(), progress=False)["MLP"]
    assert [i for _, i in keys] == [0, 1] and len({key for key, _ in keys}) == 1
    for i, score in enumerate(scores):
        stream = seeded(i)
        net = reset(get_network("MLP", *digits.spec), stream)
        accuracy, loss = train_network(net, data, QUICK, stream)
        with torch.no_grad():
            right = net.eval()(digits.normalise(digits.test_images)).argmax(1) == digits.test_labels
        assert score.test_accuracy == pytest.approx(right.double().mean().item(), abs=1e-6)
        assert score.train_accuracy == pytest.approx(accuracy.item(), abs=1e-6)
        assert score.train_loss == pytest.approx(loss.item(), rel=1e-5)


def test_numbers_do_not_depend_on_order_or_size_of_the_pool(digits, data):
    whole = run(digits, data, POOL)
    assert list(whole) == list(POOL)
    assert run(digits, data, POOL[::-1]) == whole
    for model in POOL:
        assert run(digits, data, (model,)) == {model: whole[model]}


def test_first_networks_are_the_same_however_many_follow(digits, data):
    assert run(digits, data, num_eval=5)["MLP"][:2] == run(digits, data, num_eval=2)["MLP"]


def test_equal_seeds_give_equal_scores_and_other_seeds_others(digits, data):
    torch.manual_seed(1)
    one = run(digits, data, POOL[:2], seed=0)
    torch.manual_seed(2)
    assert run(digits, data, POOL[:2], seed=0) == one
    assert run(digits, data, POOL[:2], seed=1) != one


def test_networks_of_one_evaluation_differ(digits, data):
    assert len({score.train_loss for score in run(digits, data, num_eval=4)["MLP"]}) == 4


def test_a_function_gives_every_network_its_own_set(digits):
    sets = [draw_set(digits, seed) for seed in range(3)]
    scores = run(digits, lambda i: sets[i], num_eval=3)["MLP"]
    for i in range(3):
        assert scores[i] == run(digits, sets[i], num_eval=3)["MLP"][i]
    assert len({run(digits, s, num_eval=1)["MLP"][0].train_loss for s in sets}) == 3


def test_a_synthetic_set_and_a_real_batch_can_be_scored_as_they_are(digits):
    synthetic = build_synthetic("pixels", digits, 2, "real", seeded(4))
    batch = digits.sample(digits.classes, 2, seeded(4))
    scores = run(digits, TensorSet(batch.images(), batch.labels))
    assert run(digits, batch) == scores
    assert run(digits, synthetic) == scores and synthetic.pixels.grad is None


@pytest.mark.parametrize("together", [2, 3])
@pytest.mark.parametrize("model", ["MLP", "ConvNetD1", "ConvNetBN"])
def test_networks_trained_together_score_as_one_by_one(digits, data, monkeypatch, model, together):
    alone = run(digits, data, (model,), num_eval=3)[model]
    monkeypatch.setattr(score_module, "_networks_together", lambda *_: together)
    stacked = run(digits, data, (model,), num_eval=3)[model]
    for one, two in zip(alone, stacked, strict=True):
        assert two.train_loss == pytest.approx(one.train_loss, rel=1e-3)
        assert two.test_accuracy == pytest.approx(one.test_accuracy, abs=0.01)


def test_chunked_training_scores_as_whole_minibatches(digits, data):
    one, two = (run(digits, data, ("ConvNetD1",), compute=Compute(chunk=chunk)) for chunk in (3, 100))
    assert one["ConvNetD1"][0].train_loss == pytest.approx(two["ConvNetD1"][0].train_loss, rel=1e-4)


def test_more_images_score_higher(digits):
    protocol = Protocol(epochs=30, lr=0.05, batch_size=64, augmentation="none")
    few, many = (run(digits, draw_set(digits, 0, ipc), protocol=protocol)["MLP"] for ipc in (1, 50))
    assert min(s.test_accuracy for s in many) > 0.85 > max(s.test_accuracy for s in few)


@pytest.fixture()
def scorer(digits):
    return Scorer(digits, dict.fromkeys(("MLP", "ConvNetBN"), QUICK), 2, Compute(), Streams(0), progress=False)


def test_scorer_keys_its_streams_by_experiment_and_iteration(digits, scorer):
    synthetic = build_synthetic("pixels", digits, 1, "real", seeded())
    one = scorer(synthetic, 0, 100)
    assert scorer(synthetic, 0, 100) == one
    assert scorer(synthetic, 1, 100) != one and scorer(synthetic, 0, 200) != one
    assert all(0 <= s.test_accuracy <= 1 for scores in one.values() for s in scores)


@pytest.mark.parametrize("act", ["estimate", "score"])
def test_scoring_leaves_no_trace(digits, scorer, act):
    synthetic = build_synthetic("pixels", digits, 1, "real", seeded())
    before = copy.deepcopy(synthetic.state_dict())
    expected = scorer(synthetic, 0, 0)
    torch.manual_seed(7)
    state = torch.get_rng_state()
    if act == "estimate":
        assert 0 < scorer.estimate(synthetic) < 60
    else:
        scorer(synthetic, 0, 0)
    assert torch.equal(torch.get_rng_state(), state)
    assert synthetic.pixels.grad is None
    assert all(torch.equal(before[name], tensor) for name, tensor in synthetic.state_dict().items())
    assert scorer(synthetic, 0, 0) == expected


def test_every_architecture_has_a_key_of_its_own(digits, data):
    keys = []

    def rng(key, i):
        keys.append(key)
        return seeded(i)

    pool = ("ConvNetD1", "ConvNetD2", "ConvNetD3", "MLP")
    evaluate(data, digits, dict.fromkeys(pool, Protocol(epochs=0)), 1, rng, Compute(), progress=False)
    assert len(set(keys)) == len(pool)


def test_every_network_is_trained_by_its_own_protocol(digits, data):
    protocols = {"MLP": QUICK, "ConvNetD1": replace(QUICK, epochs=0)}
    scores = evaluate(data, digits, protocols, 1, lambda key, i: seeded(i), Compute(), progress=False)
    for model, protocol in protocols.items():
        assert scores[model] == run_seeded(digits, data, model, protocol)
    assert scores["ConvNetD1"] != run_seeded(digits, data, "ConvNetD1", QUICK)


def run_seeded(digits, data, model, protocol):
    return evaluate(data, digits, {model: protocol}, 1, lambda key, i: seeded(i), Compute(), progress=False)[model]
