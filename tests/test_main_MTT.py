"""main_MTT.py as a user runs it, on Digits with experts of three epochs: the algorithm, its result, its options."""

import shutil
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

import main_MTT
from condense.augmentation.siamese import DIGIT_STRATEGY, draw_independent
from condense.cli import parse, with_forms
from condense.core.randomness import Streams
from condense.data import load_data
from condense.evaluation import Scorer, evaluate
from condense.networks import get_network
from condense.operators import Compute
from condense.run.run import Run
from condense.synthetic import PARAMETERIZATIONS
from condense.training import Protocol, TensorSet
from tests.mtt_runs import ALONE, RESULT, UNSCORED, lines_of, same_sets, step_size

# The algorithm

def condense_plainly(cfg, trajectory):
    """Algorithm 1 in float64 with one expert, the graph of all steps kept; returns (images, start, step size, losses).

    Step by step as the paper and its code have it: minibatches from the end of a shuffled order, plain SGD, and a
    distance summed over the network's parameters.
    """
    rng, real = Streams(cfg.seed), load_data("Digits")
    names = [name for name, _ in get_network(cfg.model, *real.spec).named_parameters()]
    net = get_network(cfg.model, *real.spec).double()
    start = real.sample(real.classes, cfg.ipc, rng("init", 0)).images().double()
    images, classes = start.clone().requires_grad_(), torch.arange(10).repeat_interleave(cfg.ipc)
    syn_lr = torch.tensor(cfg.lr_teacher, dtype=torch.float64, requires_grad=True)
    snapshots = [[tensor.double() for tensor in snapshot] for snapshot in trajectory]

    def logits(theta, x):
        return functional_call(net, dict(zip(names, theta)), (x,))

    soft = logits(snapshots[-1], start).detach().requires_grad_()
    groups = [{"params": [images], "lr": cfg.lr_img}, {"params": [syn_lr], "lr": cfg.lr_lr}]
    groups += [{"params": [soft], "lr": cfg.lr_y, "momentum": 0.9}] if cfg.lr_y else []
    optimizer, losses = torch.optim.SGD(groups, momentum=0.5), []
    for it in range(cfg.Iteration):
        draws, augmentation = rng("data", 0, it), rng("augmentation", 0, it)
        epoch = int(torch.randint(cfg.max_start_epoch, (), generator=draws))
        begun, target = snapshots[epoch], snapshots[epoch + cfg.expert_epochs]
        labels = logits(target, images).detach().softmax(1) if cfg.teacher_label else soft.softmax(1)
        labels = labels if cfg.lr_y or cfg.teacher_label else classes
        batches = []
        while len(batches) < cfg.syn_steps:
            batches += reversed(torch.randperm(len(images), generator=draws).split(cfg.batch_syn))
        theta, velocity = [tensor.clone().requires_grad_() for tensor in begun], [0] * len(begun)
        for rows in batches[:cfg.syn_steps]:
            augment = draw_independent(DIGIT_STRATEGY, len(rows), augmentation)
            error = F.cross_entropy(logits(theta, augment(images[rows])), labels[rows])
            gradients = torch.autograd.grad(error, theta, create_graph=True)
            velocity = [cfg.inner_momentum * v + gradient for v, gradient in zip(velocity, gradients)]
            theta = [tensor - syn_lr * v for tensor, v in zip(theta, velocity)]
        distance = sum((a - b).square().sum() for a, b in zip(theta, target))
        loss = distance / sum((a - b).square().sum() for a, b in zip(begun, target))
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return images.detach(), start, syn_lr.item(), (soft.softmax(1) if cfg.lr_y else labels).detach(), losses


@pytest.mark.parametrize("labels", [[], ["--lr_y", "5"], ["--teacher_label"], ["--inner_momentum", "0.8"]],
                         ids=" ".join)
def test_images_step_size_labels_and_loss_are_those_of_the_published_algorithm_written_plainly(
        mtt, tmp_path, able_experts, labels, monkeypatch):
    losses, original = [], Run.log

    def log(self, loss):
        losses.append(float(loss))
        original(self, loss)

    monkeypatch.setattr(Run, "log", log)
    flags = ["--batch_syn", "7", "--syn_steps", "5", "--Iteration", "3", *labels]
    result = mtt.run(tmp_path, *flags, *ALONE, *UNSCORED)
    cfg = parse(with_forms(main_MTT.Config, PARAMETERIZATIONS), [*mtt.settings, *flags])
    trajectory = torch.load(able_experts / "Digits" / "ConvNetD1" / "replay_buffer_0.pt")[0]
    images, start, syn_lr, soft, expected = condense_plainly(cfg, trajectory)
    moved, plainly = result["data"][0][0].double() - start, images - start
    assert torch.linalg.norm(moved - plainly) < 1e-3 * torch.linalg.norm(plainly)
    assert step_size(result) - 0.01 == pytest.approx(syn_lr - 0.01, rel=1e-3)
    assert losses == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(result["data"][0][1].to(soft.dtype), soft, atol=1e-5, rtol=1e-4)


def test_loss_is_exactly_1_where_the_steps_move_nothing(mtt, tmp_path):
    result = mtt.run(tmp_path, "--lr_teacher", "1e-30", "--lr_lr", "0", *UNSCORED)
    start = mtt.run(tmp_path / "start", "--Iteration", "0", *UNSCORED)
    assert [line["loss"] for line in lines_of(mtt, tmp_path, "step")] == [1.0]
    assert torch.allclose(result["data"][0][0], start["data"][0][0], atol=1e-6)


def test_every_way_to_unroll_runs_and_only_tesla_ends_elsewhere(mtt, tmp_path):
    ends = {}
    for mode in ("full", "checkpoint", "constant", "tesla", "auto"):
        result = mtt.run(tmp_path / mode, "--unroll", mode, "--syn_steps", "5", "--Iteration", "3", *UNSCORED)
        ends[mode] = result["data"][0][0], step_size(result)
        assert result["meta"]["unroll"] == ["full" if mode == "auto" else mode]
    moved = torch.linalg.norm(ends["full"][0] - begun(mtt, tmp_path))
    for mode in ("checkpoint", "constant", "auto", "tesla"):
        apart = torch.linalg.norm(ends[mode][0] - ends["full"][0])
        assert (apart < 1e-3 * moved) == (mode != "tesla"), (mode, apart, moved)
        assert (ends[mode][1] == pytest.approx(ends["full"][1], rel=1e-4)) == (mode != "tesla")


@pytest.mark.parametrize("mode", ["full", "constant", "tesla"])
def test_without_momentum_the_step_is_plain_descent_bit_for_bit(mtt, tmp_path, mode, monkeypatch):
    flags = ["--unroll", mode, "--syn_steps", "5", "--Iteration", "3", *UNSCORED]
    ours = mtt.run(tmp_path / "ours", *flags, "--inner_momentum", "0")

    def plain_step(student, rows, augment, descent):
        def step(i, theta, images, labels, syn_lr):
            x, y = augment[i](images[rows[i]]), labels[rows[i]]
            return theta - syn_lr * student.gradient(theta, x, y)
        return step

    monkeypatch.setattr(main_MTT, "student_step", plain_step)
    assert same_sets(ours, mtt.run(tmp_path / "plain", *flags))


def test_momentum_is_differentiated_alike_by_every_exact_way_and_refused_by_tesla(mtt, tmp_path, capsys):
    flags = ["--inner_momentum", "0.9", "--syn_steps", "5", "--Iteration", "2", *UNSCORED]
    full, *others = (mtt.run(tmp_path / mode, *flags, "--unroll", mode) for mode in ("full", "checkpoint", "constant"))
    moved = torch.linalg.norm(full["data"][0][0] - begun(mtt, tmp_path))
    for other in others:
        assert torch.linalg.norm(other["data"][0][0] - full["data"][0][0]) < 1e-3 * moved
    capsys.readouterr()
    code, line = mtt.error_line(capsys, tmp_path / "tesla", *flags, "--unroll", "tesla")
    assert code == 2 and line.endswith("use --unroll constant")
    assert "below 1" in mtt.error_line(capsys, tmp_path / "one", *UNSCORED, "--inner_momentum", "1")[1]


def begun(script, tmp_path, *flags):
    """Return the images that the script starts from."""
    return script.run(tmp_path / "begun", "--Iteration", "0", *flags, *UNSCORED)["data"][0][0]


def test_no_update_where_the_loss_is_above_the_threshold(mtt, tmp_path):
    held, free, plain = (mtt.run(tmp_path / str(threshold), "--threshold", threshold, *UNSCORED)
                         for threshold in ("1e-9", "1e9", "none"))
    assert torch.equal(held["data"][0][0], begun(mtt, tmp_path)) and step_size(held) == step_size_of(0.01)
    assert same_sets(free, plain) and not same_sets(free, held)


def test_skipped_updates_are_counted_and_said(mtt, tmp_path, capsys):
    mtt.run(tmp_path, "--threshold", "1e-4", "--Iteration", "3", *UNSCORED)
    assert "3 of 3 updates were skipped" in capsys.readouterr().out
    (line,) = lines_of(mtt, tmp_path, "skipped")
    assert line["updates"] == 3


def step_size_of(lr):
    """Return `lr` as a set holds it, in single precision."""
    return float(torch.tensor(lr))


# The result

def test_result_says_what_it_is_and_what_it_was_made_from(mtt, tmp_path):
    result = mtt.run(tmp_path, "--num_exp", "2")
    assert [path.name for path in tmp_path.glob("*.pt")] == [RESULT]
    assert set(result) == {"data", "accs_all_exps", "meta", "best"}
    for images, labels in (*result["data"], *result["best"]):
        assert images.shape == (20, 1, 8, 8) and images.dtype == torch.float32 and images.isfinite().all()
        assert labels.tolist() == [c for c in range(10) for _ in range(2)]
    meta = result["meta"]
    assert meta["method"] == "MTT" and meta["unroll"] == ["full"] * 2
    assert all(experts["folder"] == "Digits/ConvNetD1" and experts["experts"] == 3 for experts in meta["experts"])
    assert meta["experts"][0]["fingerprint"] == meta["fingerprint"]
    assert [len(values) for values in result["accs_all_exps"].values()] == [4]
    assert meta["protocols"]["ConvNetD1"]["lr"] == sum(meta["syn_lr"]) / 2 and len(set(meta["syn_lr"])) == 2
    assert meta["storage"] == {"floats": 1280, "bytes": 5120, "budget_floats": 1280, "budget_bytes": 5120}


def test_best_is_the_set_of_the_iteration_that_selection_images_prefer_and_data_the_last(mtt, tmp_path, monkeypatch):
    original = Scorer.__call__

    def prefer_iteration_2(self, synthetic, exp, it):
        scores = original(self, synthetic, exp, it)
        return {model: [replace(score, selection_accuracy=(it == 2) + score.selection_accuracy) for score in of_model]
                for model, of_model in scores.items()}

    monkeypatch.setattr(Scorer, "__call__", prefer_iteration_2)
    result = mtt.run(tmp_path)
    (chosen,) = [line for line in lines_of(mtt, tmp_path, "evaluation") if line["iteration"] == 2]
    (facts,) = result["meta"]["best"]
    assert facts["iteration"] == 2 and facts["accuracies"] == {"ConvNetD1": chosen["accuracies"]}
    assert facts["selection_accuracy"] == pytest.approx(sum(chosen["selection_accuracies"]) / 2)
    assert facts["selected_on"] == "140 training images kept for selection"
    assert "experts" in facts["caveat"] and "may have seen" in facts["caveat"]
    then = mtt.run(tmp_path / "then", "--Iteration", "2")
    assert torch.equal(result["best"][0][0], then["data"][0][0]) and facts["syn_lr"] == step_size(then)
    assert not torch.equal(result["best"][0][0], result["data"][0][0])


def test_networks_are_scored_with_the_step_size_that_the_set_has_learned(mtt, tmp_path):
    result = mtt.run(tmp_path, "--lr_lr", "1e-3")
    recipe = Protocol(1, step_size(result), 256, strategy=DIGIT_STRATEGY)
    assert result["meta"]["protocols"]["ConvNetD1"]["lr"] == recipe.lr > 0.02
    assert scored(result["data"][0], 4, recipe) == result["accs_all_exps"]["ConvNetD1"]
    assert scored(result["data"][0], 4, replace(recipe, lr=0.01)) != result["accs_all_exps"]["ConvNetD1"]
    (best,) = result["meta"]["best"]
    of_best = scored(result["best"][0], best["iteration"], replace(recipe, lr=best["syn_lr"]))
    assert of_best == best["accuracies"]["ConvNetD1"]
    assert lines_of(mtt, tmp_path, "evaluation")[-1]["accuracies"] == result["accs_all_exps"]["ConvNetD1"]


def scored(entry, it, protocol):
    """Return the accuracies of two networks trained on a set as the run trains them at iteration `it`."""
    rng = partial(Streams(0), "evaluation", 0, it)
    scores = evaluate(TensorSet(*entry), load_data("Digits"), {"ConvNetD1": protocol}, 2, rng, Compute(), False)
    return [score.test_accuracy for score in scores["ConvNetD1"]]


def test_same_seed_gives_the_same_bytes(mtt, tmp_path):
    for name in "ab":
        mtt.run(tmp_path / name)
    assert (tmp_path / "a" / RESULT).read_bytes() == (tmp_path / "b" / RESULT).read_bytes()


def test_another_seed_gives_other_images_from_other_segments(mtt, tmp_path):
    one, other = (mtt.run(tmp_path / seed, "--seed", seed, "--init", "noise", *UNSCORED) for seed in "01")
    assert not same_sets(one, other) and step_size(one) != step_size(other)


def test_evaluating_more_often_leaves_the_set_and_its_accuracy_as_they_were(mtt, tmp_path):
    often, once = (mtt.run(tmp_path / every, "--eval_every", every) for every in ("1", "0"))
    assert same_sets(often, once) and often["accs_all_exps"] == once["accs_all_exps"]
    assert [line["iteration"] for line in lines_of(mtt, tmp_path / "1", "evaluation")] == [0, 1, 2, 3, 4]


def test_choosing_on_test_images_is_labelled_as_such_in_the_file_and_on_screen(mtt, tmp_path, capsys):
    result = mtt.run(tmp_path, "--select_on", "test")
    (best,) = result["meta"]["best"]
    figures = {line["iteration"]: line["mean"] for line in lines_of(mtt, tmp_path, "evaluation")}
    assert best["iteration"] == max(figures, key=figures.get)
    assert best["selected_on"] == "the TEST set" and "flatters" in best["caveat"]
    assert "chosen on the TEST set" in capsys.readouterr().out
    assert lines_of(mtt, tmp_path, "best")[0]["selected_on"] == "the TEST set"


def test_none_keeps_no_best_and_the_same_last_set(mtt, tmp_path):
    none, val = (mtt.run(tmp_path / name, "--select_on", name) for name in ("none", "val"))
    assert "best" not in none and "best" not in none["meta"]
    assert same_sets(none, val) and none["accs_all_exps"] == val["accs_all_exps"]
    assert all("selection_accuracies" not in line for line in lines_of(mtt, tmp_path / "none", "evaluation"))


def test_test_images_have_no_say_in_the_set_or_in_which_iteration_is_chosen(mtt, tmp_path, able_experts):
    """Other test images with other labels: the same training set, experts, sets and choice, and other accuracies."""
    real = load_data("Digits")
    noise = torch.randint(256, real.test_images.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    tests = {"clean": (real.test_images, real.test_labels), "poisoned": (noise, real.test_labels.flip(0))}
    results = []
    for name, (images, labels) in tests.items():
        data = tmp_path / f"{name}.pt"
        torch.save({"images_train": real.images, "labels_train": real.labels, "images_val": images,
                    "labels_val": labels}, data)
        folder = experts_of_nobody(able_experts, tmp_path / name)
        results.append(mtt.run(tmp_path / name / "out", "--dataset", "file", "--data_path", str(data), "--buffer_path",
                               str(folder), "--epoch_eval_train", "8"))
    clean, poisoned = results
    assert same_sets(clean, poisoned)
    assert all(map(torch.equal, clean["best"][0], poisoned["best"][0]))
    (of_clean,), (of_poisoned,) = clean["meta"]["best"], poisoned["meta"]["best"]
    assert all(of_clean[name] == of_poisoned[name] for name in ("iteration", "selection_accuracy", "syn_lr"))
    assert of_clean["accuracies"] != of_poisoned["accuracies"]
    assert clean["meta"]["fingerprint"] != poisoned["meta"]["fingerprint"]


def experts_of_nobody(buffer_path, folder):
    """Return a buffer path below `folder` whose experts, for a tensor file, say nothing about their data."""
    to = folder / "buffers" / "file" / "ConvNetD1"
    shutil.copytree(buffer_path / "Digits" / "ConvNetD1", to)
    (to / "buffer.json").unlink()
    return folder / "buffers"
