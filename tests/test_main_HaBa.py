"""main_HaBa.py as a user runs it, and bases and hallucinators under every method."""


import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

import main_DC
import main_DM
import main_HaBa
import main_MTT
from condense.cli import parse, with_forms
from condense.core.randomness import Streams
from condense.data import load_data
from condense.evaluation import evaluate
from condense.evaluation.selection import SelectionImages
from condense.networks import get_network
from condense.operators import Compute
from condense.run.results import load_result
from condense.run.run import Run
from condense.synthetic import PARAMETERIZATIONS, build_synthetic, restore_synthetic
from condense.synthetic.hallucinator import HallucinatedBases
from condense.training import TensorSet
from condense.training.protocols import protocol_of
from tests import dd_runs
from tests.conftest import Script, short_segments, stopped
from tests.mtt_runs import UNSCORED, lines_of, same_sets, step_size

FORM = ["--parameterization", "hallucinator", "--n_style", "3"]
RESULT = "res_HaBa_Digits_ConvNetD1_4ipc.pt"


@pytest.fixture(scope="module")
def haba(able_experts):
    return Script(main_HaBa, *short_segments(able_experts), "--ipc", "4", "--n_style", "3")


@pytest.fixture(scope="module")
def hosts(able_experts):
    """Every method script with bases and hallucinators, on Digits."""
    plain = ["--model", "ConvNetD1", "--ipc", "4", "--Iteration", "3", *FORM]
    loops = ["--outer_loop", "2", "--inner_loop", "1", "--batch_real", "8"]
    return {"DM": Script(main_DM, *plain, "--batch_real", "16"), "DC": Script(main_DC, *plain, *loops),
            "DSA": Script(main_DC, *plain, *loops, "--method", "DSA", "--init", "real"),
            "MTT": Script(main_MTT, *short_segments(able_experts), *plain),
            "DD": dd_runs.script(*plain)}


# the preset

def test_haba_is_mtt_with_hallucinators_and_published_defaults(haba, hosts, tmp_path):
    ours = haba.run(tmp_path / "ours", *UNSCORED)
    published = ["--mom_img", "0.95", "--mom_lr", "0.9", "--Iteration", "4"]
    theirs = hosts["MTT"].run(tmp_path / "theirs", *published, *UNSCORED)
    assert haba.path(tmp_path / "ours").name == RESULT
    assert (ours["meta"]["method"], theirs["meta"]["method"]) == ("HaBa", "MTT")
    assert same_sets(ours, theirs) and ours["accs_all_exps"] == theirs["accs_all_exps"]


def test_defaults_are_those_of_the_published_code():
    cfg = parse(with_forms(main_HaBa.Config, PARAMETERIZATIONS), [])
    assert (cfg.Iteration, cfg.expert_epochs, cfg.syn_steps, cfg.max_start_epoch) == (15000, 3, 64, 25)
    assert (cfg.lr_img, cfg.lr_style, cfg.mom_img, cfg.lr_lr, cfg.mom_lr, cfg.lr_teacher) == \
        (100, 0, 0.95, 1e-5, 0.9, 0.01)
    assert (cfg.n_style, cfg.lambda_club_content, cfg.lambda_likeli_content, cfg.lambda_cls_content,
            cfg.lambda_contrast_content) == (5, 0.1, 1, 1, 1)
    assert (cfg.init, cfg.num_eval, cfg.eval_every) == ("real", 5, 100)
    assert (cfg.epoch_eval_train, cfg.batch_train) == (1000, 256)
    HallucinatedBases(10, cfg.ipc, 3, (32, 32), **cfg.form_options())          # CIFAR-10: there is room


# the algorithm

def condense_plainly(cfg, trajectory):
    """Two iterations or more with one expert in float64, without augmentation: each step decodes its own bases.

    Returns the set, the step size and the losses. Step by step as the paper's code has it: one hallucinator for a
    step, L_cos through the adversary with two, and then the adversary's own step with two others.
    """
    rng, real = Streams(cfg.seed), load_data("Digits")
    names = [name for name, _ in get_network(cfg.model, *real.spec).named_parameters()]
    net = get_network(cfg.model, *real.spec).double()
    synthetic = build_synthetic("hallucinator", real, cfg.ipc, "real", rng("init", 0), **cfg.form_options()).double()
    styles, adversary, classes = synthetic.hallucinators, synthetic.adversary, synthetic.labels[::3]
    syn_lr = torch.tensor(cfg.lr_teacher, dtype=torch.float64, requires_grad=True)
    snapshots = [[tensor.double() for tensor in snapshot] for snapshot in trajectory]
    optimizer = torch.optim.SGD([{"params": [synthetic.bases], "lr": cfg.lr_img},
                                 {"params": list(styles.parameters()), "lr": cfg.lr_style},
                                 {"params": [syn_lr], "lr": cfg.lr_lr, "momentum": cfg.mom_lr}], momentum=cfg.mom_img)

    def views(draws):
        torch.randperm(len(classes), generator=draws)
        one, other = torch.randperm(3, generator=draws)[:2].tolist()
        return torch.cat([styles(synthetic.bases)[:, one], styles(synthetic.bases)[:, other]])

    losses = []
    for it in range(cfg.Iteration):
        draws = rng("data", 0, it)
        epoch = int(torch.randint(cfg.max_start_epoch, (), generator=draws))
        begun, target = snapshots[epoch], snapshots[epoch + cfg.expert_epochs]
        batches = []
        while len(batches) < cfg.syn_steps:
            batches += reversed(torch.randperm(len(classes), generator=draws).split(cfg.batch_syn))
        chosen = torch.randint(3, (cfg.syn_steps,), generator=draws).tolist()
        theta = [tensor.clone().requires_grad_() for tensor in begun]
        for rows, style in zip(batches, chosen):
            images = styles(synthetic.bases[rows])[:, style]
            error = F.cross_entropy(functional_call(net, dict(zip(names, theta)), (images,)), classes[rows])
            gradients = torch.autograd.grad(error, theta, create_graph=True)
            theta = [tensor - syn_lr * gradient for tensor, gradient in zip(theta, gradients)]
        distance = sum((a - b).square().sum() for a, b in zip(theta, target))
        loss = distance / sum((a - b).square().sum() for a, b in zip(begun, target))
        one, other = adversary.features(views(rng("set", 0, it, 0))).chunk(2)
        loss = loss + cfg.lambda_club_content * (F.cosine_similarity(one, other) + 1).mean() / 2
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            syn_lr.clamp_(min=0.001)
            images = views(rng("set", 0, it, 1))
        adversary.step(images, classes.repeat(2), cfg.lambda_cls_content, cfg.lambda_likeli_content,
                       cfg.lambda_contrast_content)
    return synthetic, syn_lr.item(), losses


def test_set_step_size_and_loss_are_those_of_the_published_algorithm_written_plainly(
        haba, tmp_path, able_experts, monkeypatch):
    losses, original = [], Run.log

    def log(self, loss):
        losses.append(float(loss))
        original(self, loss)

    monkeypatch.setattr(Run, "log", log)
    flags = ["--batch_syn", "7", "--syn_steps", "5", "--Iteration", "3", "--no_aug", "True", "--max_files", "1",
             "--max_experts", "1", "--lr_style", "30", "--lambda_club_content", "2", "--lr_lr", "1e-4"]
    result = haba.run(tmp_path, *flags, *UNSCORED)
    begun = haba.run(tmp_path / "start", *flags, "--Iteration", "0", *UNSCORED)["factors"][0]
    cfg = parse(with_forms(main_HaBa.Config, PARAMETERIZATIONS), [*haba.settings, *flags])
    plain, syn_lr, expected = condense_plainly(
        cfg, torch.load(able_experts / "Digits" / "ConvNetD1" / "replay_buffer_0.pt")[0])
    assert losses == pytest.approx(expected, rel=1e-4)
    assert step_size(result) - 0.01 == pytest.approx(syn_lr - 0.01, rel=1e-3)
    for name, end in plain.factors().items():
        if torch.is_tensor(end) and end.is_floating_point():
            moved, plainly = (value - begun[name] for value in (result["factors"][0][name], end))
            assert torch.linalg.norm(moved - plainly) < 2e-3 * torch.linalg.norm(plainly), name


@pytest.mark.parametrize("flags", [["--lambda_club_content", "0"], ["--lambda_likeli_content", "0"],
                                   ["--lambda_cls_content", "0"], ["--lambda_contrast_content", "0"],
                                   ["--lr_style", "10"], ["--single_channel", "--n_style", "2"], ["--mom_img", "0.5"],
                                   ["--batch_syn", "3"]], ids=" ".join)
def test_option_changes_the_set(haba, tmp_path, usual, flags):
    result = haba.run(tmp_path, *LOUD, *flags, *UNSCORED)
    assert result["data"][0][0].isfinite().all() and not same_sets(result, usual)


LOUD = ["--lambda_club_content", "30"]                     # so that what the adversary has learned shows


@pytest.fixture(scope="module")
def usual(haba, tmp_path_factory):
    return haba.run(tmp_path_factory.mktemp("usual"), *LOUD, *UNSCORED)


@pytest.mark.parametrize("flags", [["--lr_style", "100"], ["--base_channel", "1"], ["--batch_syn", "30"],
                                   ["--unroll", "full"]], ids=" ".join)
def test_option_that_says_what_is_so_anyhow_changes_nothing(haba, tmp_path, usual, flags):
    assert same_sets(haba.run(tmp_path, *LOUD, *flags, *UNSCORED), usual)


def test_learned_step_size_stays_from_a_thousandth_on(haba, tmp_path):
    result = haba.run(tmp_path, "--lr_teacher", "1e-5", "--lr_lr", "0", *UNSCORED, "--Iteration", "1")
    assert step_size(result) == pytest.approx(0.001)


# every method

@pytest.mark.parametrize("host", ["DM", "DC", "DSA", "MTT", "DD"])
def test_bases_and_hallucinators_are_learned_under_every_objective_within_the_budget(hosts, tmp_path, host):
    script = hosts[host]
    start, result = (script.run(tmp_path / number, "--num_eval", "1", "--eval_every", "0", "--Iteration", number)
                     for number in ("0", "3"))
    storage = result["meta"]["storage"]
    assert storage["floats"] == 10 * 3 * 64 + 3 * (9 + 1 + 72 + 9 + 1) <= storage["budget_floats"] == 2560
    before, after = (content["factors"][0] for content in (start, result))
    for name in ("bases", "encoder", "encoder_bias", "scale", "shift", "decoder", "decoder_bias"):
        moved = (after[name] != before[name]).flatten(1).any(1)
        assert after[name].isfinite().all() and moved.any(), name
        assert moved.all() or name == "encoder_bias", name          # a norm takes constants away, but at the edges
    images, labels = result["data"][0]
    assert images.shape == (90, 1, 8, 8) and labels.bincount().tolist() == [9] * 10
    assert torch.equal(images, restore_synthetic(after).snapshot()[0])


@pytest.mark.parametrize("host", ["DM", "MTT"])
def test_run_has_the_same_bytes_whether_stopped_and_resumed_or_not(hosts, tmp_path, monkeypatch, host):
    script, flags = hosts[host], [*LOUD, "--num_eval", "1", "--epoch_eval_train", "0", "--eval_every", "0"]
    script.run(tmp_path / "whole", *flags)
    stopped(lambda: script.run(tmp_path / "parts", *flags), monkeypatch)
    (checkpoint,) = (tmp_path / "parts").glob("*.ckpt")
    state = torch.load(checkpoint, weights_only=True)["owners"][0]
    assert state["adversary.velocity"].abs().sum() > 0
    script.run(tmp_path / "parts", *flags, "--resume")
    assert script.path(tmp_path / "parts").read_bytes() == script.path(tmp_path / "whole").read_bytes()


def test_adversary_is_in_no_result_file(haba, tmp_path):
    haba.run(tmp_path, "--save", "factors", *UNSCORED)
    content = torch.load(tmp_path / RESULT, weights_only=True)
    assert not content["data"] and not any("adversary" in name for name in content["factors"][0])
    adversary = HallucinatedBases(10, 4, 1, (8, 8), n_style=3).adversary
    assert (tmp_path / RESULT).stat().st_size < 4 * adversary.theta.numel()
    assert load_result(tmp_path / RESULT)["data"][0][0].shape == (90, 1, 8, 8)


# evaluation

def test_networks_see_each_base_once_in_an_epoch_under_a_hallucinator_of_its_own(haba, tmp_path):
    flags = ["--Iteration", "1", "--num_eval", "3", "--epoch_eval_train", "3", "--eval_every", "0"]
    result = haba.run(tmp_path, *flags)
    images, labels = result["data"][0]
    real = load_data("Digits")
    selection = SelectionImages(real, Streams(0)("evaluation"))
    protocol = protocol_of(result["meta"]["protocols"]["ConvNetD1"])

    def scored(views):
        scores = evaluate(TensorSet(images, labels, views=views), real, {"ConvNetD1": protocol}, 3,
                          lambda *key: Streams(0)("evaluation", 0, 1, *key), Compute(), False, selection)
        return [score.test_accuracy for score in scores["ConvNetD1"]]

    assert result["accs_all_exps"]["ConvNetD1"] == scored(3) != scored(1)


def test_evaluation_repeats_the_accuracies_of_the_run(haba, tmp_path, score):
    accuracies = haba.run(tmp_path)["accs_all_exps"]["ConvNetD1"]
    (row,), _ = score(haba.path(tmp_path), "--baselines", "none")
    assert row["accuracies"] == [accuracies]


# what is said, and what is refused

def test_published_budget_says_what_is_really_stored(haba, tmp_path, capsys):
    result = haba.run(tmp_path, "--budget", "published", "--ipc", "2", *UNSCORED)
    assert "stored: 1,556 of 1,280 floats (6,224 of 5,120 bytes), decoded to 6 images per class" in \
        capsys.readouterr().out
    assert result["meta"]["storage"]["bytes"] == 6224 and len(lines_of(haba, tmp_path, "end")) == 1


@pytest.mark.parametrize("flags, mend", [
    (["--ipc", "1"], "next to --n_style 3, which take 276 floats; use --ipc 2 or more"),
    (["--ipc", "2", "--n_style", "9"], "use --n_style 6 or less, or --ipc 3 or more"),
    (["--n_style", "0"], "--n_style must be 1 or larger, not 0"),
    (["--base_channel", "3", "--single_channel"], "leave one of the two out"),
    (["--budget", "publised"], "did you mean published?"),
    (["--rank", "2"], "--rank belongs to --parameterization low_rank, not hallucinator"),
    (["--parameterization", "pixels"], "unknown value 'pixels'; choose one of: hallucinator"),
    (["--init", "noise_scaled"], "unknown start 'noise_scaled'"),
    (["--lambda_club_content", "-1"], "--lambda_club_content must be 0 or larger"),
])
def test_what_cannot_be_is_refused_before_anything_is_written(haba, tmp_path, capsys, flags, mend):
    code, line = haba.error_line(capsys, tmp_path, *flags)
    assert code == 2 and mend in line and not list(tmp_path.iterdir())


@pytest.mark.parametrize("flag", ["--n_style", "--lr_style", "--lambda_club_content", "--lambda_likeli_content",
                                  "--lambda_cls_content", "--lambda_contrast_content"])
def test_options_of_the_form_are_no_dead_flags_of_other_forms(mtt, tmp_path, capsys, flag):
    code, line = mtt.error_line(capsys, tmp_path, flag, "3")
    assert code == 2 and f"{flag} belongs to --parameterization hallucinator, not pixels" in line
