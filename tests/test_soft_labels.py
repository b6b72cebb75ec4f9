"""Soft labels: what experts say, learned or set anew, on the way through a run, its file and back."""

from functools import partial

import pytest
import torch
from torch.func import functional_call

from condense.augmentation.siamese import DIGIT_STRATEGY
from condense.core.randomness import Streams
from condense.data import load_data
from condense.evaluation import evaluate
from condense.networks import get_network
from condense.operators import Compute
from condense.run.results import load_result
from condense.synthetic import build_synthetic, restore_synthetic, stored_factors
from condense.training import Protocol, TensorSet

UNSCORED = ["--eval_every", "0", "--num_eval", "1", "--epoch_eval_train", "0"]         # as little as there is
CLASSES = torch.arange(10).repeat_interleave(2)
RIGHT = ["--init", "samples_predicted_correctly"]


@pytest.fixture(scope="module")
def trajectories(able_experts):
    """All experts' snapshots, as the files have them."""
    return [trajectory for number in (0, 1)
            for trajectory in torch.load(able_experts / "Digits" / "ConvNetD1" / f"replay_buffer_{number}.pt")]


@torch.no_grad()
def says(snapshot, images):
    """Return logits of the network whose parameters are `snapshot`, by PyTorch alone."""
    net = get_network("ConvNetD1", 1, 10, (8, 8))
    return functional_call(net, dict(zip(dict(net.named_parameters()), snapshot, strict=True)), (images,))


@pytest.mark.parametrize("flags", [["--lr_y", "20"], ["--teacher_label"], ["--lr_y", "20", *RIGHT],
                                   ["--lr_y", "20", "--parameterization", "low_rank"]], ids=" ".join)
def test_labels_are_probabilities_that_the_run_changes_and_that_count_as_stored(mtt, tmp_path, capsys, flags):
    result = mtt.run(tmp_path / "end", *flags)
    storage = result["meta"]["storage"]
    assert storage["label_floats"] == 10 * len(result["data"][0][1])
    assert storage["bytes"] == 4 * (storage["floats"] + storage["label_floats"]) > storage["budget_bytes"]
    told = f"{storage['floats']:,} of 1,280 floats and {storage['label_floats']:,} of soft labels"
    assert told in capsys.readouterr().out
    start = mtt.run(tmp_path / "start", *flags, "--Iteration", "0")
    for images, labels in (*result["data"], *result["best"]):
        assert labels.shape == (len(images), 10) and labels.dtype == torch.float32
        torch.testing.assert_close(labels.sum(1), torch.ones(len(images)))
        assert labels.min() >= 0 and (labels.max(1).values < 1).any()
    moved = (result["data"][0][1] - start["data"][0][1]).abs().amax(1)
    assert (moved > 1e-4).all()


def test_learned_labels_begin_as_the_first_experts_opinion(mtt, tmp_path, trajectories):
    images, labels = mtt.run(tmp_path, "--lr_y", "1", "--Iteration", "0", *UNSCORED)["data"][0]
    torch.testing.assert_close(labels, says(trajectories[0][-1], images).softmax(1))


def test_images_of_datm_are_those_an_expert_gets_right_with_the_mean_opinion_of_all_that_do(
        mtt, tmp_path, trajectories):
    images, labels = mtt.run(tmp_path, *RIGHT, "--lr_y", "1", "--Iteration", "0", *UNSCORED)["data"][0]
    opinions = torch.stack([says(trajectory[-1], images) for trajectory in trajectories])           # (3, n, K)
    right = opinions.argmax(2) == CLASSES                                                           # (3, n)
    chooser = int(torch.randint(3, (), generator=Streams(0)("init", 0, 1)))
    assert right[chooser].all()
    real = load_data("Digits")
    of_class = [real.sample([c]).images() for c in real.classes]
    for image, c in zip(images, CLASSES):
        assert (of_class[c] == image).flatten(1).all(1).sum() == 1
    for i in range(len(images)):
        mean = opinions[right[:, i], i].mean(0)
        torch.testing.assert_close(labels[i], mean.softmax(0))


def test_images_that_an_expert_gets_right_serve_hard_labels_and_low_rank_sets_too(mtt, tmp_path, trajectories):
    result = mtt.run(tmp_path / "hard", *RIGHT, "--Iteration", "0", *UNSCORED)
    images, labels = result["data"][0]
    assert torch.equal(labels, CLASSES)
    whole = ["--ipc", "8", "--parameterization", "low_rank", "--rank", "8"]        # of full rank: 32 images a class
    low_rank = mtt.run(tmp_path / "low", *RIGHT, *whole, "--Iteration", "0", *UNSCORED)
    chooser = int(torch.randint(3, (), generator=Streams(0)("init", 0, 1)))
    images, labels = low_rank["data"][0]
    assert (says(trajectories[chooser][-1], images).argmax(1) == labels).float().mean() > 0.99


def test_teacher_labels_are_the_last_targets_opinion_of_the_images_in_front_of_the_last_update(
        mtt, tmp_path, trajectories):
    flags = ["--teacher_label", "--max_files", "1", "--max_experts", "1", *UNSCORED]
    before = mtt.run(tmp_path / "before", *flags, "--Iteration", "3")["data"][0][0]
    images, labels = mtt.run(tmp_path / "end", *flags, "--Iteration", "4")["data"][0]
    start_epoch = int(torch.randint(2, (), generator=Streams(0)("data", 0, 3)))
    torch.testing.assert_close(labels, says(trajectories[0][start_epoch + 2], before).softmax(1))
    assert not torch.equal(before, images)


def test_networks_are_trained_on_the_soft_labels_that_are_stored(mtt, tmp_path):
    result = mtt.run(tmp_path, "--lr_y", "20", "--eval_every", "0")
    images, labels = result["data"][0]
    recipe = Protocol(1, result["meta"]["syn_lr"][0], strategy=DIGIT_STRATEGY)
    soft, hard = (scored(images, targets, recipe) for targets in (labels, labels.argmax(1)))
    (training,) = [line["train_losses"] for line in mtt.journal(tmp_path) if line["event"] == "evaluation"]
    assert [score.test_accuracy for score in soft] == result["accs_all_exps"]["ConvNetD1"]
    assert [score.train_loss for score in soft] == training != [score.train_loss for score in hard]


def scored(images, labels, protocol):
    """Return the scores of two networks trained on a set as the run trains them at iteration 4."""
    rng = partial(Streams(0), "evaluation", 0, 4)
    return evaluate(TensorSet(images, labels), load_data("Digits"), {"ConvNetD1": protocol}, 2, rng, Compute(),
                    False)["ConvNetD1"]


# Low rank: factors and labels

@pytest.mark.parametrize("flags", [["--lr_y", "5"], ["--teacher_label"]], ids=" ".join)
def test_factors_keep_the_labels_and_decode_to_the_same_bits(mtt, tmp_path, flags):
    flags = ["--parameterization", "low_rank", "--rank", "1", "--ipc", "1", *flags]
    whole = mtt.run(tmp_path / "both", *flags, "--save", "both")
    content = mtt.run(tmp_path / "factors", *flags, "--save", "factors")
    assert content["data"] == [] and "best" not in content
    assert all(factors["label_logits"].shape == (40, 10) for factors in (*content["factors"], *content["best_factors"]))
    read = load_result(mtt.path(tmp_path / "factors"))
    for name in ("data", "best"):
        assert all(map(torch.equal, read[name][0], whole[name][0]))
        assert read[name][0][1].shape == (40, 10)
    images = mtt.run(tmp_path / "images", *flags, "--save", "images")
    assert "factors" not in images and "best_factors" not in images
    assert all(map(torch.equal, images["best"][0], whole["best"][0]))


@pytest.mark.parametrize("damage", [
    lambda logits: logits[1:], lambda logits: logits[0], lambda logits: logits.long(), lambda logits: logits.tolist(),
    lambda logits: None, lambda logits: logits[:, 1:], lambda logits: logits / 0],
    ids=["a row less", "one row", "whole numbers", "a list", "nothing", "a column less", "not finite"])
def test_damaged_labels_are_refused_in_one_line(tmp_path, damage):
    content = {"data": [], "accs_all_exps": {}, "meta": {}, "factors": [factors_with_labels()]}
    content["factors"][0]["label_logits"] = damage(content["factors"][0]["label_logits"])
    torch.save(content, tmp_path / "res.pt")
    with pytest.raises(ValueError, match="res.pt: its factors are incomplete: label_logits") as error:
        load_result(tmp_path / "res.pt")
    assert "\n" not in str(error.value)


def factors_with_labels():
    rng = torch.Generator().manual_seed(0)
    synthetic = build_synthetic("low_rank", load_data("Digits"), 1, "noise", rng, rank=2)
    synthetic.own_labels.use_soft(torch.randn(len(synthetic.hard_labels), 10, generator=rng))
    return stored_factors(synthetic)


def test_a_set_comes_back_from_its_factors_with_labels_that_can_be_learned_on():
    factors = factors_with_labels()
    synthetic = restore_synthetic(factors)
    assert synthetic.own_labels.logits.requires_grad
    assert torch.equal(synthetic.labels, factors["label_logits"].softmax(1))
    assert torch.equal(stored_factors(synthetic)["label_logits"], factors["label_logits"])
