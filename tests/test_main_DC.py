"""main_DC.py as a user runs it: DC and DSA on Digits, with tiny settings."""

import logging
from functools import partial
from itertools import count
from math import sqrt
from statistics import fmean, variance
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

import main_DC
from condense.augmentation.siamese import DIGIT_STRATEGY, FULL_STRATEGY, OPERATORS, Strengths, draw_siamese
from condense.cli import parse
from condense.comparison.baselines import random_real
from condense.core.randomness import Streams
from condense.data import load_data
from condense.evaluation import evaluate
from condense.networks import get_network
from condense.operators import Compute
from condense.run.run import Run
from condense.training import Protocol, TensorSet
from condense.training.train import TrainingDraws

UNSCORED = ["--eval_every", "0", "--num_eval", "1", "--epoch_eval_train", "0"]         # as little as there is


def settings(*flags):
    return parse(main_DC.Config, ["--dataset", "Digits", *flags])


@pytest.mark.parametrize("method, augmentation, strategy",
                         [("DC", "classic", "none"), ("DSA", "siamese", DIGIT_STRATEGY)])
def test_result_is_named_for_its_method_and_says_what_it_is(dc, tmp_path, method, augmentation, strategy):
    result = dc.run(tmp_path, "--method", method, "--num_exp", "2")
    stem = f"{method}_Digits_ConvNetD1_2ipc"
    pictures = [f"vis_{stem}_exp{exp}_iter{it}.png" for exp in (0, 1) for it in (0, 2)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"res_{stem}.jsonl", f"res_{stem}.pt", *pictures]
    assert set(result) == {"data", "accs_all_exps", "meta"} and len(result["data"]) == 2
    images, labels = result["data"][1]
    assert images.shape == (20, 1, 8, 8) and images.dtype == torch.float32 and images.isfinite().all()
    assert labels.tolist() == [c for c in range(10) for _ in range(2)]
    (accuracies,) = result["accs_all_exps"].values()
    assert len(accuracies) == 4 and all(type(a) is float and 0 <= a <= 1 for a in accuracies)
    meta = result["meta"]
    assert meta["method"] == meta["options"]["method"] == method and meta["options"]["outer_loop"] == 3
    protocol = meta["protocols"]["ConvNetD1"]
    assert (protocol["epochs"], protocol["augmentation"], protocol["strategy"]) == (2, augmentation, strategy)


@pytest.mark.parametrize("method, dataset, model, epochs, augmentation, strategy", [
    ("DC", "Digits", "ConvNet", 300, "classic", "none"),
    ("DC", "CIFAR10", "ConvNet", 300, "classic", "none"),
    ("DC", "MNIST", "ConvNet", 1000, "classic", "crop_scale_rotate"),
    ("DC", "MNIST", "ConvNetBN", 1000, "classic", "crop_noise"),
    ("DC", "CIFAR10", "ConvNetBN", 1000, "classic", "crop_noise"),
    ("DC", "CIFAR10", "VGG11BN", 300, "classic", "none"),
    ("DSA", "Digits", "ConvNet", 1000, "siamese", DIGIT_STRATEGY),
    ("DSA", "MNIST", "ConvNetBN", 1000, "siamese", DIGIT_STRATEGY),
    ("DSA", "CIFAR10", "ConvNet", 1000, "siamese", FULL_STRATEGY),
])
def test_evaluation_trains_as_published_unless_epochs_are_given(method, dataset, model, epochs, augmentation, strategy):
    for given in ("auto", 7):
        cfg = settings("--method", method, "--epoch_eval_train", str(given), "--lr_net", "0.02", "--batch_train", "64")
        matched, protocols = main_DC.recipes(cfg, (model,), SimpleNamespace(name=dataset))
        protocol = protocols[model]
        assert matched == ("none" if method == "DC" else strategy)
        assert protocol.epochs == (epochs if given == "auto" else 7)
        assert (protocol.augmentation, protocol.strategy) == (augmentation, strategy)
        assert (protocol.lr, protocol.batch_size) == (0.02, 64)


def test_pool_members_are_augmented_each_by_its_own_rule():
    cfg = settings("--method", "DC")
    _, protocols = main_DC.recipes(cfg, ("ConvNetBN", "ConvNetIN"), SimpleNamespace(name="Digits"))
    assert [(p.strategy, p.epochs) for p in protocols.values()] == [("crop_noise", 1000), ("none", 300)]


@pytest.mark.parametrize("strategy", ["none", "flip_color"])
def test_dsa_matches_and_evaluates_by_the_strategy_that_is_given(strategy):
    cfg = settings("--method", "DSA", "--dsa_strategy", strategy)
    matched, protocols = main_DC.recipes(cfg, ("ConvNet",), SimpleNamespace(name="Digits"))
    assert matched == protocols["ConvNet"].strategy == strategy


@pytest.mark.parametrize("flags, expected", [
    (["--ipc", "1"], (1, 1)), (["--ipc", "10"], (10, 50)), (["--ipc", "50"], (50, 10)), (["--ipc", "5"], (5, 50)),
    (["--ipc", "10", "--outer_loop", "3"], (3, 50)), (["--ipc", "10", "--inner_loop", "0"], (10, 0)),
    (["--ipc", "1", "--outer_loop", "4", "--inner_loop", "2"], (4, 2)),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_loops_are_those_published_for_the_ipc_and_each_can_be_given_alone(flags, expected):
    assert main_DC.loops(settings(*flags)) == expected


def distance(real, synthetic):
    """Equation 10 of the DC paper: one minus the cosine, summed over the rows of every tensor that has rows."""
    rows = [(a.flatten(1), b.flatten(1)) for a, b in zip(real, synthetic) if a.dim() > 1]
    return sum((1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)).sum() for a, b in rows)


def class_gradient(net, images, c, augment):
    error = F.cross_entropy(net(augment(images, [c] * len(images))), torch.full((len(images),), c))
    return torch.autograd.grad(error, list(net.parameters()), create_graph=True)


def hold_batchnorm_still(net, images):
    net.train()
    net(images)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()


def train_plainly(net, images, labels, strategy, epochs, lr, batch_size, rng):
    names = [] if strategy == "none" else strategy.split("_")
    draws = TrainingDraws(rng, len(images), batch_size, len(names), "cpu")
    optimizer = torch.optim.SGD(net.train().parameters(), lr)
    for _ in range(epochs):
        order, operators, uniforms = draws.epoch()
        for number, index in enumerate(order.split(batch_size)):
            batch = images[index]
            if names:
                drawn = uniforms[number * batch_size:(number + 1) * batch_size].double()
                batch = OPERATORS[names[operators[number]]](batch, drawn, Strengths())
            optimizer.zero_grad()
            F.cross_entropy(net(batch), labels[index]).backward()
            optimizer.step()


def condense_plainly(cfg, strategy):
    """Algorithm 1 of both papers in float64, one graph per class; returns (start, end, loss of every step)."""
    rng, real = Streams(cfg.seed), load_data("Digits")
    start = torch.randn((10 * cfg.ipc, 1, 8, 8), generator=rng("init", 0)).double()
    images, labels = start.clone().requires_grad_(), torch.arange(10).repeat_interleave(cfg.ipc)
    optimizer = torch.optim.SGD([images], cfg.lr_img, momentum=0.5)
    losses = []
    for it in range(cfg.Iteration):
        net = get_network(cfg.model, *real.spec, rng=rng("nets", 0, it)).double()
        for outer in range(cfg.outer_loop):
            key = 0, it, outer
            hold_batchnorm_still(net, real.sample(real.classes, 16, rng("data", *key, 1)).images().double())
            augment = draw_siamese(strategy, 10, rng("augmentation", *key))
            batch = real.sample(real.classes, cfg.batch_real, rng("data", *key, 0))
            loss = 0
            for c in real.classes:
                of_real = class_gradient(net, batch.images(batch.labels == c).double(), c, augment)
                of_syn = class_gradient(net, images[labels == c], c, augment)
                loss = loss + distance([g.detach() for g in of_real], of_syn)
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if outer < cfg.outer_loop - 1:
                train_plainly(net, images.detach(), labels, strategy, cfg.inner_loop, cfg.lr_net, cfg.batch_train,
                              rng("nets", *key))
    return start, images.detach(), losses


@pytest.mark.parametrize("method, model, iterations",
                         [("DC", "ConvNetD1", 2), ("DSA", "ConvNetD1", 2), ("DC", "ConvNetBN", 1)])
def test_images_and_logged_loss_are_those_of_the_published_algorithm_written_plainly(
        dc, tmp_path, method, model, iterations):
    flags = ["--method", method, "--model", model, "--Iteration", str(iterations), "--outer_loop", "2",
             "--inner_loop", "3", "--batch_train", "7", "--lr_net", "0.1", "--batch_real", "6", "--ipc", "2"]
    result = dc.run(tmp_path, *flags, *UNSCORED)
    strategy = "none" if method == "DC" else DIGIT_STRATEGY
    start, expected, losses = condense_plainly(settings(*flags), strategy)
    moved = result["data"][0][0].double() - start
    assert torch.linalg.norm(moved - (expected - start)) < 1e-3 * torch.linalg.norm(moved)
    (step,) = [line for line in dc.journal(tmp_path) if line["event"] == "step"]
    assert step["loss"] == pytest.approx(sum(losses[:2]) / 2 / 10, rel=1e-4)


@pytest.fixture
def networks(monkeypatch):
    """Collect the network's first parameter at every matching step."""
    seen, original = [], main_DC.matching_over_classes

    def matching_over_classes(distance, gradients, *sets):
        seen.append(gradients.parameters[0].detach().clone())
        return original(distance, gradients, *sets)

    monkeypatch.setattr(main_DC, "matching_over_classes", matching_over_classes)
    return seen


@pytest.mark.parametrize("inner", [0, 2])
def test_network_is_fresh_in_every_iteration_and_trains_between_steps_unless_the_inner_loop_is_0(
        dc, tmp_path, networks, inner):
    dc.run(tmp_path, "--Iteration", "2", "--inner_loop", str(inner), *UNSCORED)
    assert len(networks) == 6
    assert not torch.equal(networks[0], networks[3])
    same = [torch.equal(a, b) for a, b in ((networks[0], networks[1]), (networks[1], networks[2]))]
    assert same == [inner == 0] * 2


def test_nobody_trains_the_network_after_the_last_step(dc, tmp_path, monkeypatch):
    trained = []
    monkeypatch.setattr(main_DC, "train_network", lambda *args: trained.append(args))
    dc.run(tmp_path, "--Iteration", "2", *UNSCORED)
    assert len(trained) == 2 * (3 - 1)


@pytest.mark.parametrize("metric, lr_img", [("ours", 1), ("mse", 0.1), ("cos", 10)])
def test_loss_falls_by_half_in_every_metric(dc, tmp_path, monkeypatch, metric, lr_img):
    losses, original = [], Run.log

    def log(self, loss):
        losses.append(float(loss))
        original(self, loss)

    monkeypatch.setattr(Run, "log", log)
    dc.run(tmp_path, "--ipc", "1", "--outer_loop", "1", "--Iteration", "12", "--dis_metric", metric,
           "--lr_img", str(lr_img), *UNSCORED)
    assert len(losses) == 12 and sum(losses[-4:]) < sum(losses[:4]) / 2


def test_dc_and_dsa_beat_random_real_images(dc, tmp_path):
    real, rng, recipe = load_data("Digits"), Streams(0), {"ConvNetD2": Protocol(20)}
    baseline = random_real(real, 1, recipe, 8, rng, Compute(), progress=False)["ConvNetD2"]
    for method, init, lr_img in (("DC", "noise", "0.3"), ("DSA", "real", "1")):
        result = dc.run(tmp_path / method, "--method", method, "--init", init, "--lr_img", lr_img, "--ipc", "1",
                        "--outer_loop", "1", "--Iteration", "12", "--model", "ConvNetD2", *UNSCORED)
        condensed, streams = TensorSet(*result["data"][0]), partial(rng, "evaluation", 0, 12)
        scores = evaluate(condensed, real, recipe, 5, streams, Compute(), progress=False)["ConvNetD2"]
        assert beats(scores, baseline), (method, scores, baseline)


def beats(scores, others):
    """Say whether the mean test accuracy is higher by more than three standard errors."""
    ours, theirs = ([score.test_accuracy for score in side] for side in (scores, others))
    error = sqrt(variance(ours) / len(ours) + variance(theirs) / len(theirs))
    return fmean(ours) - fmean(theirs) > 3 * error


@pytest.mark.parametrize("method", ["DC", "DSA"])
def test_same_seed_gives_the_same_bytes_and_another_seed_other_images(dc, tmp_path, method):
    results = [dc.run(tmp_path / name, "--method", method, "--seed", seed) for name, seed in zip("abc", "001")]
    assert dc.path(tmp_path / "a").read_bytes() == dc.path(tmp_path / "b").read_bytes()
    assert not torch.equal(results[0]["data"][0][0], results[2]["data"][0][0])


def test_progress_bars_leave_no_trace(dc, tmp_path):
    dc.run(tmp_path / "a", *UNSCORED)
    dc.run(tmp_path / "b", "--progress", *UNSCORED)
    assert dc.path(tmp_path / "a").read_bytes() == dc.path(tmp_path / "b").read_bytes()


@pytest.mark.parametrize("outer", [1, 4])
def test_estimate_tells_the_seconds_of_an_iteration_with_all_its_outer_steps(dc, tmp_path, monkeypatch, capsys, outer):
    monkeypatch.setattr("condense.run.pace.time", SimpleNamespace(perf_counter=count(step=7).__next__))
    dc.run(tmp_path, "--outer_loop", str(outer), *UNSCORED)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("about ")]
    seconds = {1: 14, 4: 7 + 4 * 7}[outer]                 # a reading where it begins, one at each outer step
    assert f"1 experiment of 2 iterations ({seconds} s each)" in line and "--Iteration" in line


@pytest.mark.parametrize("mode, evaluated", [("S", "ConvNet"), ("SS", "ConvNetBN")])
def test_set_condensed_with_batch_norm_is_scored_without_it_in_mode_s_and_with_it_in_mode_ss(
        dc, tmp_path, mode, evaluated):
    result = dc.run(tmp_path, "--model", "ConvNetBN", "--eval_mode", mode, "--Iteration", "1", "--outer_loop", "2",
                    "--num_eval", "1", "--eval_every", "0")
    assert dc.path(tmp_path).name == "res_DC_Digits_ConvNetBN_2ipc.pt"
    assert list(result["accs_all_exps"]) == list(result["meta"]["protocols"]) == [evaluated]
    assert result["data"][0][0].isfinite().all()


def test_strategy_is_answered_by_one_line_where_dc_does_not_augment(dc, tmp_path, capsys):
    log = logging.getLogger("condense")
    log.handlers.clear()                                 # as in a process that has just started
    log.setLevel(logging.NOTSET)
    given = dc.run(tmp_path / "a", "--dsa_strategy", "flip_color", *UNSCORED)
    assert sum("--dsa_strategy" in line for line in capsys.readouterr().out.splitlines()) == 1
    result = dc.run(tmp_path / "b", *UNSCORED)
    assert "--dsa_strategy" not in capsys.readouterr().out
    assert torch.equal(given["data"][0][0], result["data"][0][0])
    assert given["accs_all_exps"] == result["accs_all_exps"]


@pytest.mark.parametrize("flags, mend", [
    (["--outer_loop", "0"], "--outer_loop must be 1 or larger, not 0"),
    (["--outer_loop", "manual"], "auto"),
    (["--inner_loop", "-1"], "--inner_loop must be 0 or larger, not -1"),
    (["--batch_real", "0"], "--batch_real must be 1 or larger, not 0"),
    (["--batch_real", "al"], "did you mean all?"),
    (["--lr_img", "0"], "--lr_img must be larger than 0, not 0.0"),
    (["--dis_metric", "our"], "did you mean ours?"),
    (["--method", "DSS"], "did you mean DSA?"),
    (["--epoch_eval_train", "long"], "auto"),
    (["--method", "DSA", "--dsa_strategy", "flip_colour"], "did you mean color?"),
    (["--ipc", "500", "--init", "real"], "class '8' has 139"),
    (["--model", "ConvNetD6"], "ConvNetD3"),
    (["--eval_mode", "M"], "LeNet"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_bad_input_is_one_line_with_the_mend_exit_code_2_and_nothing_written(dc, tmp_path, capsys, flags, mend):
    code, line = dc.error_line(capsys, tmp_path, *flags)
    assert code == 2 and mend in line
    assert not list(tmp_path.iterdir())


def test_mnist_condenses_and_is_scored_with_the_augmentation_of_dc(dc, tmp_path, mnist_folder):
    result = dc.run(tmp_path, "--dataset", "MNIST", "--data_path", str(mnist_folder), "--ipc", "1", "--Iteration", "1",
                    "--outer_loop", "1", "--model", "ConvNetW32", *UNSCORED)
    images, labels = result["data"][0]
    assert images.shape == (10, 1, 28, 28) and images.isfinite().all() and labels.tolist() == list(range(10))
    assert result["meta"]["protocols"]["ConvNetW32"]["strategy"] == "crop_scale_rotate"
    (accuracies,) = result["accs_all_exps"].values()
    assert len(accuracies) == 1 and 0 < accuracies[0] < 1
