"""main_IDC.py as a user runs it on Digits: the algorithm against its plain form, its state, its sets."""

from math import sqrt
from statistics import fmean, variance

import pytest
import torch
import torch.nn.functional as F

import main_IDC
from condense.augmentation.composed import Composition, draw_composed
from condense.comparison.baselines import random_real
from condense.core.randomness import Streams
from condense.evaluation import evaluate
from condense.evaluation.accuracy import accuracy
from condense.networks import get_network
from condense.operators import Compute
from condense.run.run import Run
from condense.synthetic import build_synthetic
from condense.synthetic.multi_formation import decode
from condense.training import TensorSet
from condense.training.continued import ContinuedTraining
from condense.training.minibatches import TrainingDraws
from condense.training.mixing import CutMix, loss_of
from condense.training.protocols import Protocol
from tests.idc_runs import PLAIN, script

FORMS = {"pixels": [], "multi_formation": ["--factor", "2"], "low_rank": ["--rank", "2"], "memory": ["--n_basis", "6"]}


@pytest.fixture(scope="module")
def idc():
    return script()


# The algorithm

def augmented(images, names, operator, uniforms):
    return names.record([operator] * len(images), uniforms.double().unflatten(1, (-1, 3)))(images)


def train_plainly(net, optimizer, images, labels, rng):
    """One pass over real images in minibatches of 8 (the settings): colour and crop per image, CutMix on half of them.

    Numbers are drawn as the toolkit draws them.
    """
    names = Composition.of("color_crop")
    draws = TrainingDraws(rng, len(labels), 8, len(names), "cpu", block=1, width=6)
    mixer = CutMix(0.5, rng, "cpu")
    order, operators, uniforms = draws.epoch()
    for number, rows in enumerate(order.split(8)):
        x = augmented(images[rows], names, operators[number], uniforms[8 * number:8 * number + 8])
        x, y = mixer(x, labels[rows])
        optimizer.zero_grad()
        logits = net(x)
        loss_of(lambda labels: F.cross_entropy(logits, labels), y).backward()           # noqa: B023
        optimizer.step()


def gradients_of(net, images, c, augment):
    error = F.cross_entropy(net(augment(images, [c] * len(images))), torch.full((len(images),), c))
    return torch.autograd.grad(error, list(net.parameters()), create_graph=True)


DISTANCES = {"mse": lambda a, b: (a - b).square().sum(), "l1": lambda a, b: (a - b).abs().sum()}


def condense_plainly(real, start, factor, metric, lr, model, iterations, inner_loop):
    """Algorithm 1 in float64, one graph per class, one step on all of them; returns (end, loss of every step)."""
    rng, images = Streams(0), start.double().requires_grad_()
    low, high = ((level - real.mean[0]) / real.std[0] for level in (0, 1))
    optimizer, losses = torch.optim.SGD([images], lr, momentum=0.5), []
    for it in range(iterations):
        net = get_network(model, *real.spec, rng=rng("nets", 0, it)).double()
        following = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
        images.data.clamp_(low, high)
        for inner in range(inner_loop):
            augment = draw_composed("color_crop_cutout", 10, rng("augmentation", 0, it, inner))
            batch, loss = real.sample(real.classes, 6, rng("data", 0, it, inner, 0)), 0
            for c in real.classes:
                of_real = gradients_of(net, batch.images(batch.labels == c).double(), c, augment)
                of_syn = gradients_of(net, decode(images[c:c + 1], factor), c, augment)
                loss = loss + sum(DISTANCES[metric](a.detach(), b) for a, b in zip(of_real, of_syn) if a.dim() == 4)
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            order = torch.randperm(len(real), generator=rng("data", 0, 0))
            rows = order[16 * (it * inner_loop + inner):][:16]                           # the pass goes on
            train_plainly(net, following, real.batch_of(rows).images().double(), real.labels[rows],
                          rng("nets", 0, it, inner, 0))
    return images.detach(), losses


@pytest.mark.parametrize("form, factor, metric, lr_img", [("pixels", 1, "mse", 30), ("multi_formation", 2, "l1", 1)])
def test_images_and_loss_are_those_of_the_published_algorithm_written_plainly(
        idc, tmp_path, monkeypatch, digits, form, factor, metric, lr_img):
    losses = logged(monkeypatch)
    result = idc.run(tmp_path, "--parameterization", form, *FORMS[form], "--metric", metric, "--lr_img", str(lr_img))
    start = build_synthetic(form, digits, 1, "real", Streams(0)("init", 0), **({"factor": 2} if factor > 1 else {}))
    start = next(start.parameters()).detach()
    lr = lr_img * 1 / 10 * (8 / 32) ** 2 / digits.std[0] ** 2
    expected, plain_losses = condense_plainly(digits, start, factor, metric, lr, "ConvNetD1", 2, 2)
    stored = result["factors"][0]["mosaics"] if factor > 1 else result["data"][0][0]
    moved = stored.double() - start
    assert moved.abs().mean() > 0.05
    assert torch.linalg.norm(moved - (expected - start)) < 1e-2 * torch.linalg.norm(moved)
    assert losses == pytest.approx(plain_losses, rel=1e-3)


def logged(monkeypatch):
    """Collect the loss of every step, summed over classes as `matching_loss` has it."""
    losses, original = [], Run.log

    def log(self, loss):
        losses.append(10 * float(loss))
        original(self, loss)

    monkeypatch.setattr(Run, "log", log)
    return losses


@pytest.mark.parametrize("flags", [["--metric", "l1_mean", "--lr_img", "30"], ["--metric", "cos", "--lr_img", "10"],
                                   ["--match", "feat", "--lr_img", "1"], ["--fc", "True", "--bias", "True"]], ids=str)
def test_loss_falls_whatever_is_matched(idc, tmp_path, monkeypatch, flags):
    losses = logged(monkeypatch)
    idc.run(tmp_path, *PLAIN, "--Iteration", "6", "--inner_loop", "1", "--batch_real", "40", "--aug_type", "none",
            "--fix_iter", "10", "--net_epoch", "0", *flags)
    assert len(losses) == 6 and losses[-1] < 0.9 * losses[0]


# The network

@pytest.fixture
def networks(monkeypatch):
    """Collect the network's first parameter at every matching step."""
    seen, original = [], main_IDC.matching_over_classes

    def matching_over_classes(distance, gradients, *sets):
        seen.append(gradients.parameters[0].detach().clone())
        return original(distance, gradients, *sets)

    monkeypatch.setattr(main_IDC, "matching_over_classes", matching_over_classes)
    return seen


@pytest.fixture
def trained(monkeypatch):
    """Collect the rows of real images in every call of training."""
    seen, original = [], ContinuedTraining.epoch

    def epoch(self, data, rng):
        seen.append(data.index.tolist())
        original(self, data, rng)

    monkeypatch.setattr(ContinuedTraining, "epoch", epoch)
    return seen


def test_network_is_fresh_in_every_iteration_and_follows_the_real_data_within(idc, tmp_path, networks, trained, digits):
    idc.run(tmp_path, *PLAIN)
    fresh = [next(get_network("ConvNetD1", *digits.spec, rng=Streams(0)("nets", 0, it)).parameters()) for it in (0, 1)]
    assert torch.equal(networks[0], fresh[0]) and torch.equal(networks[2], fresh[1])
    assert not torch.equal(networks[1], networks[0]) and not torch.equal(networks[3], networks[2])
    assert [len(rows) for rows in trained] == [16, 16]           # nobody needs it after an iteration's last step


@pytest.mark.parametrize("net_epoch", [0, 3])
def test_network_trains_net_epoch_times_after_a_step(idc, tmp_path, networks, trained, net_epoch):
    idc.run(tmp_path, *PLAIN, "--net_epoch", str(net_epoch), "--Iteration", "1", "--inner_loop", "3")
    assert len(trained) == 2 * net_epoch
    assert torch.equal(networks[0], networks[1]) == torch.equal(networks[1], networks[2]) == (net_epoch == 0)


def test_real_images_come_in_one_pass_that_goes_on_from_step_to_step(idc, tmp_path, trained, digits):
    idc.run(tmp_path, *PLAIN, "--n_data", "500", "--batch_train", "400", "--Iteration", "1", "--inner_loop", "3",
            "--fix_iter", "2")
    assert [len(rows) for rows in trained] == [800, len(digits) - 800, 800]
    assert sorted(trained[0] + trained[1]) == list(range(len(digits)))
    assert trained[2] != trained[0]


def test_a_network_is_kept_for_fix_iter_iterations(idc, tmp_path, networks, digits):
    idc.run(tmp_path, *PLAIN, "--fix_iter", "2", "--Iteration", "4", "--inner_loop", "1")
    fresh = [next(get_network("ConvNetD1", *digits.spec, rng=Streams(0)("nets", 0, it)).parameters()) for it in (0, 2)]
    assert torch.equal(networks[0], fresh[0]) and torch.equal(networks[2], fresh[1])
    for before, after in ((0, 1), (2, 3)):
        moved = (networks[after] - networks[before]).norm() / networks[before].norm()
        assert 0 < moved < 0.5


def test_early_epochs_come_before_the_first_step_and_teach_the_network(idc, tmp_path, monkeypatch, trained, digits):
    seen, original = [], main_IDC.matching_over_classes

    def matching_over_classes(distance, gradients, *sets):
        net = get_network("ConvNetD1", *digits.spec)
        for parameter, current in zip(net.parameters(), gradients.parameters):
            parameter.data.copy_(current.detach())
        seen.append(accuracy(net, digits).item())
        return original(distance, gradients, *sets)

    monkeypatch.setattr(main_IDC, "matching_over_classes", matching_over_classes)
    idc.run(tmp_path, *PLAIN, "--early", "2", "--batch_train", "32", "--Iteration", "1")
    assert [len(rows) for rows in trained] == [len(digits), len(digits), 32]
    assert min(seen[-2:]) > 0.7


def test_pretrained_networks_are_matched_where_they_are_asked_for(idc, tmp_path, networks, able_experts, digits):
    from condense.experts.trajectories import open_experts
    net = get_network("ConvNetD1", *digits.spec)
    experts = open_experts(able_experts, net, digits, "ConvNetD1", (2, 3))
    first = next(net.parameters())
    known = [experts.snapshot(number, epoch)[:first.numel()].view(first.shape) for number in range(3)
             for epoch in (2, 3)]
    result = idc.run(tmp_path, *PLAIN, "--pt_from", "2", "--pt_num", "2", "--buffer_path", str(able_experts))
    assert all(any(torch.equal(networks[step], one) for one in known) for step in (0, 2))
    assert not any(torch.equal(networks[step], one) for one in known for step in (1, 3))
    assert result["meta"]["experts"][0] == experts.source


# The set

def test_pixels_are_brought_into_their_range_at_the_start_of_an_iteration_alone(idc, tmp_path, monkeypatch, digits):
    low, high = ((level - digits.mean[0]) / digits.std[0] for level in (0, 1))
    inside, original = [], main_IDC.matching_over_classes

    def matching_over_classes(distance, gradients, batch, synthetic, augment):
        images = synthetic.images().detach()
        inside.append(bool(((images >= low - 1e-5) & (images <= high + 1e-5)).all()))
        return original(distance, gradients, batch, synthetic, augment)

    monkeypatch.setattr(main_IDC, "matching_over_classes", matching_over_classes)
    idc.run(tmp_path, *PLAIN, "--lr_img", "30", "--inner_loop", "3")
    assert inside[-6:] == [True, False, False] * 2


def test_a_part_of_many_images_is_matched_and_another_one_in_each_step(idc, tmp_path, monkeypatch):
    parts, original = [], main_IDC.matching_over_classes

    def matching_over_classes(distance, gradients, batch, synthetic, augment):
        parts.append((synthetic.counts, synthetic.index.tolist()))
        return original(distance, gradients, batch, synthetic, augment)

    monkeypatch.setattr(main_IDC, "matching_over_classes", matching_over_classes)
    idc.run(tmp_path, "--batch_syn_max", "3")
    assert all(counts == [3] * 10 for counts, _ in parts) and parts[-1][1] != parts[-2][1]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_set_moves_and_is_scored_by_idcs_protocol(idc, tmp_path, form):
    flags = ["--parameterization", form, *FORMS[form]]
    begun = idc.run(tmp_path / "begun", *flags, "--Iteration", "0")
    result = idc.run(tmp_path / "run", *flags)
    name = "IDC-I" if form == "pixels" else "IDC"
    assert idc.path(tmp_path / "run").name == f"res_{name}_Digits_ConvNetD1_1ipc.pt"
    images, labels = result["data"][0]
    assert images.isfinite().all() and not torch.allclose(images, begun["data"][0][0])
    assert result["meta"]["method"] == name and len(images) == len(labels)
    protocol = Protocol(**result["meta"]["protocols"]["ConvNetD1"])
    assert (protocol.schedule, protocol.cutmix, protocol.strategy) == ("idc", 0.5, "color_crop_scale_rotate")
    assert len(result["accs_all_exps"]["ConvNetD1"]) == 1


def test_mosaics_of_one_tile_are_idc_i(idc, tmp_path):
    one, other = idc.run(tmp_path / "a", "--factor", "1"), idc.run(tmp_path / "b", *PLAIN)
    assert torch.equal(one["data"][0][0], other["data"][0][0])
    assert one["meta"]["method"] == other["meta"]["method"] == "IDC-I"


def test_batch_norm_condenses_and_is_scored_without_it(idc, tmp_path):
    result = idc.run(tmp_path, *PLAIN, "--model", "ConvNetBN", "--Iteration", "1", "--batch_real", "3")
    assert list(result["accs_all_exps"]) == ["ConvNet"] and result["data"][0][0].isfinite().all()


def test_short_runs_beat_random_real_images(digits, tmp_path):
    protocol = {"ConvNetD1": Protocol(40, batch_size=64, augmentation="composed", strategy="color_crop_scale_rotate",
                                      schedule="idc", cutmix=0.5)}
    rng, compute = Streams(0), Compute()
    theirs = random_real(digits, 1, protocol, 5, rng, compute, progress=False)["ConvNetD1"]
    result = script("--Iteration", "3", "--inner_loop", "10", "--n_data", "64", "--batch_train", "16",
                    "--batch_real", "12").run(tmp_path, *PLAIN)
    condensed = TensorSet(*result["data"][0])
    ours = evaluate(condensed, digits, protocol, 5, lambda *key: rng("evaluation", 0, *key), compute,
                    progress=False)["ConvNetD1"]
    assert beats(ours, theirs), (ours, theirs)


def beats(scores, others):
    """Say whether the mean test accuracy is higher by more than three standard errors."""
    ours, theirs = ([score.test_accuracy for score in side] for side in (scores, others))
    error = sqrt(variance(ours) / len(ours) + variance(theirs) / len(theirs))
    return fmean(ours) - fmean(theirs) > 3 * error
