"""main_RTP.py, Remember the Past: many steps of momentum on minibatches drawn from the set."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

import main_DD
import main_RTP
from condense.core.randomness import Streams
from condense.networks import get_network, reset
from condense.run.run import Run
from condense.synthetic import build_synthetic
from condense.training.sampled_minibatches import class_minibatches, draw_classes
from tests.dd_runs import LAST, script

SAMPLED = ["--dataset", "Digits", "--model", "MLP", "--ipc", "2", "--inner_steps", "4", "--inner_momentum", "0.9",
           "--parameterization", "pixels", "--batch_syn", "-1",
           "--distill_lr", "0.1", "--net_init", "default", "--optimizer", "sgd", "--lr", "0.1", "--clip_grad", "2",
           "--batch_real", "12", "--num_exp", "1", "--num_eval", "2", "--epoch_eval_train", "3", "--Iteration", "3",
           "--no-progress", "--device", "cpu"]
MEMORY = ["--parameterization", "memory", "--n_basis", "6", "--downsample_scale", "2"]


@pytest.fixture(scope="module")
def rtp():
    return script(settings=SAMPLED, module=main_RTP)


@pytest.fixture
def seen(monkeypatch):
    """A list that receives the gradients of every update before and after they are clipped, and its loss."""
    found, latest, clip, log = [], {}, torch.nn.utils.clip_grad_norm_, Run.log

    def record(tensors, largest):
        before = [tensor.grad.clone() for tensor in tensors]
        norm = clip(tensors, largest)
        found.append({"loss": latest["loss"], "before": before, "after": [t.grad.clone() for t in tensors],
                      "values": [t.detach().clone() for t in tensors]})
        return norm

    def remember(self, loss):
        latest["loss"] = float(loss)
        log(self, loss)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", record)
    monkeypatch.setattr(Run, "log", remember)
    return found


def by_hand(digits, synthetic, it, size, steps, classes, momentum=0.9, lr=0.1):
    """Return (loss, gradients of the set's parameters) of update `it`, by autograd end to end in double precision."""
    rng, synthetic = Streams(0), synthetic.double()
    chosen = draw_classes(10, classes, rng("data", 0, it, 0))
    rows = class_minibatches(synthetic.counts, size, steps, rng("data", 0, it, 1), chosen)
    net = reset(get_network("MLP", *digits.spec), rng("nets", 0, it, 0)).double()
    theta = {name: tensor.detach().requires_grad_() for name, tensor in net.named_parameters()}
    velocity, images = {name: 0 for name in theta}, synthetic.images()
    for index in rows:
        loss = F.cross_entropy(functional_call(net, theta, (images[index],)), synthetic.labels[index])
        slopes = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
        velocity = {name: momentum * velocity[name] + slope for name, slope in zip(theta, slopes)}
        theta = {name: tensor - lr * velocity[name] for name, tensor in theta.items()}
    batch = digits.sample(chosen, 12, rng("data", 0, it, 2))
    loss = F.cross_entropy(functional_call(net, theta, (batch.images().double(),)), batch.labels)
    return loss.item(), torch.autograd.grad(loss, [tensor for _, tensor in synthetic.stored_parameters()])


def relative(a, b):
    return float(torch.linalg.norm(a.double() - b) / torch.linalg.norm(b))


@pytest.mark.parametrize("form", [[], MEMORY], ids=["pixels", "memory"])
@pytest.mark.parametrize("size, classes", [(None, None), (1, None), (1, 4)])
@pytest.mark.parametrize("mode", ["full", "constant"])
def test_updates_follow_the_gradient_through_all_steps_of_momentum(rtp, tmp_path, digits, seen, form, size, classes,
                                                                   mode):
    rtp.run(tmp_path, *form, "--unroll", mode, "--batch_syn", str(size or -1), "--task_sampler_nc", str(classes or -1),
            *LAST)
    assert len(seen) == 3
    for it, update in enumerate(seen):
        name = "memory" if form else "pixels"
        more = {"n_basis": 6, "downsample_scale": 2} if form else {}
        synthetic = build_synthetic(name, digits, 2, "noise", Streams(0)("init", 0), **more)
        with torch.no_grad():
            for (_, parameter), value in zip(synthetic.stored_parameters(), update["values"], strict=True):
                parameter.copy_(value)
        loss, gradients = by_hand(digits, synthetic, it, size, 4, classes)
        assert update["loss"] == pytest.approx(loss, rel=1e-5)
        for found, expected in zip(update["before"], gradients, strict=True):
            assert relative(found, expected) < 1e-3


def test_bases_and_coefficients_are_clipped_together(rtp, tmp_path, seen):
    rtp.run(tmp_path, *MEMORY, "--clip_grad", "0.001", *LAST)
    for update in seen:
        norm = sum(gradient.square().sum() for gradient in update["after"]).sqrt().item()
        assert norm == pytest.approx(0.001, rel=1e-3)


def test_images_of_classes_that_were_not_drawn_stay_as_they_are(rtp, tmp_path, seen):
    rtp.run(tmp_path, "--task_sampler_nc", "3", *LAST)
    for it, update in enumerate(seen):
        moved = update["before"][0].flatten(1).abs().sum(1).view(10, 2).sum(1) > 0
        assert moved.nonzero().flatten().tolist() == draw_classes(10, 3, Streams(0)("data", 0, it, 0))


def test_one_draw_augments_all_images_of_an_update_synthetic_and_real(rtp, tmp_path, monkeypatch):
    calls, draw = [], main_RTP.draw_siamese

    def record(strategy, number, rng, device):
        augment = draw(strategy, number, rng, device)
        calls.append([])
        return lambda images: calls[-1].append(len(images)) or augment(images)

    monkeypatch.setattr(main_RTP, "draw_siamese", record)
    result = rtp.run(tmp_path, "--dsa_strategy", "scale_rotate", "--unroll", "full", *LAST)
    assert all(of_update == [120, 20, 20, 20, 20] for of_update in calls)      # the real ones, and each of four steps
    protocol = result["meta"]["protocols"]["MLP"]
    assert (protocol["augmentation"], protocol["strategy"]) == ("siamese", "scale_rotate")


def test_results_are_named_by_what_was_learned_and_scored_as_published(rtp, tmp_path):
    result, pixels = rtp.run(tmp_path / "memory", *MEMORY), rtp.run(tmp_path / "pixels")
    assert (result["meta"]["method"], pixels["meta"]["method"]) == ("RTP", "BPTT")
    assert "steps" not in result and "start" not in result
    protocol = result["meta"]["protocols"]["MLP"]
    assert {name: protocol[name] for name in ("lr", "momentum", "weight_decay", "batch_size", "schedule")} == {
        "lr": 0.01, "momentum": 0.9, "weight_decay": 0.0, "batch_size": 640, "schedule": "constant"}


def test_evaluation_repeats_the_accuracies_of_the_run(rtp, tmp_path, score):
    accuracies = rtp.run(tmp_path, *MEMORY, *LAST)["accs_all_exps"]["MLP"]
    (row,), _ = score(next(tmp_path.glob("*.pt")), "--baselines", "none")
    assert row["accuracies"] == [accuracies] and row["protocol"] == "rtp"


def test_the_set_becomes_better_with_its_updates(rtp, tmp_path):
    before, after = (rtp.run(tmp_path / iterations, "--ipc", "1", "--inner_steps", "10", "--Iteration", iterations,
                             "--lr", "5", "--lr_net", "0.1", "--epoch_eval_train", "10", *LAST)["accs_all_exps"]["MLP"]
                     for iterations in ("0", "80"))
    assert min(after) > max(before) + 0.2


@pytest.mark.parametrize("flags, mend", [
    (["--distill_steps", "2"], "--distill_steps has no meaning with many sampled steps; leave it out"),
    (["--batch_size", "64"], "--batch_size has no meaning with many sampled steps; leave it out"),
    (["--epochs", "3"], "give --Iteration"),
    (["--train_nets_type", "known_init"], "leave --train_nets_type known_init out"),
    (["--objective", "poison"], "run main_DD.py"),
    (["--batch_syn", "0"], "-1 for all; leave the 0 out"),
    (["--window", "5"], "--window 5 is longer than all 4 steps; lower it"),
    (["--init_param", "2"], "--init_param is the gain of --net_init xavier"),
    (["--model", "ConvNetBN"], "choose one with another norm"),
])
def test_what_does_not_go_together_is_refused_by_its_mend(rtp, tmp_path, capsys, flags, mend):
    code, line = rtp.error_line(capsys, tmp_path, *flags)
    assert code == 2 and mend in line
    assert not list(tmp_path.glob("res_*"))


@pytest.mark.parametrize("flag", ["batch_syn", "batch_real", "task_sampler_nc", "epoch_eval_train", "lr_net",
                                  "batch_train"])
def test_options_of_sampled_minibatches_are_refused_without_them(dd, tmp_path, capsys, flag):
    code, line = dd.error_line(capsys, tmp_path, f"--{flag}", "3")
    assert code == 2 and f"--{flag} has no meaning with a few ordered steps; leave it out, or run main_RTP.py" in line


@pytest.mark.parametrize("in_yaml", [False, True])
def test_main_dd_with_inner_steps_runs_this_script_with_its_own_defaults(tmp_path, capsys, yaml_file, in_yaml):
    few = ["--dataset", "Digits", "--model", "MLP", "--ipc", "2", "--Iteration", "2", "--num_eval", "1",
           "--epoch_eval_train", "1", "--device", "cpu", "--no-progress", *LAST]
    many = ["--config", yaml_file("inner_steps: 3")] if in_yaml else ["--inner_steps", "3"]
    main_DD.start([*few, *many, "--save_path", str(tmp_path / "dd")])
    assert "main_RTP.py" in capsys.readouterr().out
    as_dd = ["--parameterization", "pixels", "--distill_lr", "0.02", "--lr", "0.01", "--optimizer", "adam",
             "--clip_grad", "none", "--net_init", "xavier", "--inner_momentum", "0", "--batch_syn", "-1"]
    script(settings=few, module=main_RTP).run(tmp_path / "rtp", *as_dd, "--inner_steps", "3")
    sets = [torch.load(tmp_path / name / "res_BPTT_Digits_MLP_2ipc.pt")["data"] for name in ("dd", "rtp")]
    assert torch.equal(sets[0][0][0], sets[1][0][0])


@pytest.mark.parametrize("words", [["--config", "nowhere.yaml"], ["--config"]])
def test_main_dd_refuses_an_unreadable_config_in_one_line(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main_DD.start([*words])
    assert stop.value.code == 2 and len(capsys.readouterr().err.strip().splitlines()) == 1
