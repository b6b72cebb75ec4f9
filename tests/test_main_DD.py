"""main_DD.py as a user runs it, on Digits with networks of one block: the algorithm, its result, its options."""

import zlib

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

import main_DD
from condense.core.randomness import Streams
from condense.evaluation.accuracy import accuracy
from condense.matching.inner_sgd import InnerSGD
from condense.matching.trajectories import Student
from condense.networks import get_network, reset
from condense.operators import Compute
from condense.run.run import Run
from condense.synthetic import build_synthetic
from condense.training.passes import crop_and_flip
from condense.training.steps import split_steps
from tests.dd_runs import LAST, script

PLANS = [(1, 1, 0.0), (3, 2, 0.0), (3, 2, 0.9)]            # S, E, momentum


# The algorithm

def plain_end(net, theta, images, sizes, steps, momentum):
    """Return the parameters {name: tensor} after descent in the order of the paper, with the graph of everything.

    Step t sees image t mod S of each class (one of each: ipc = S).
    """
    velocity = dict.fromkeys(theta, 0)
    for t in range(len(sizes)):
        x, y = images[t % steps::steps], torch.arange(10)
        loss = F.cross_entropy(functional_call(net, theta, (x,)), y)
        gradients = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
        velocity = {name: momentum * velocity[name] + g for name, g in zip(theta, gradients)}
        theta = {name: theta[name] - sizes[t] * velocity[name] for name in theta}
    return theta


def plain_gradients(real, model, images, raw, batch, start_rngs, steps, momentum):
    """Return (loss, gradient of images, gradient of raw step sizes) of an outer step, end to end in float64."""
    images, raw = images.double().requires_grad_(), raw.double().requires_grad_()
    losses = []
    for rng in start_rngs:
        net = reset(get_network(model, *real.spec), rng, "xavier").double()
        theta = {name: parameter.detach().requires_grad_() for name, parameter in net.named_parameters()}
        end = plain_end(net, theta, images, torch.log1p(raw.exp()), steps, momentum)
        losses.append(F.cross_entropy(functional_call(net, end, (batch.images().double(),)), batch.labels))
    loss = torch.stack(losses).mean()
    return loss.item(), *torch.autograd.grad(loss, (images, raw))


def outer_steps(monkeypatch):
    """Return a list that every outer step's (learning rate, parameters before, gradients, loss) will be put into."""
    found, latest, step, log = [], {}, torch.optim.Adam.step, Run.log

    def record(self):
        parameters = [p for group in self.param_groups for p in group["params"]]
        found.append({"lrs": {group["lr"] for group in self.param_groups},
                      "parameters": [p.detach().clone() for p in parameters],
                      "gradients": [p.grad.clone() for p in parameters], "loss": latest["loss"]})
        return step(self)

    def remember(self, loss):
        latest["loss"] = float(loss)
        log(self, loss)

    monkeypatch.setattr(torch.optim.Adam, "step", record)
    monkeypatch.setattr(Run, "log", remember)
    return found


def relative(a, b):
    return float(torch.linalg.norm(a.double() - b) / torch.linalg.norm(b))


@pytest.mark.parametrize("steps, epochs, momentum", PLANS)
@pytest.mark.parametrize("nets", [1, 2])
def test_an_outer_step_descends_the_gradient_of_the_whole_unroll_averaged_over_its_networks(
        dd, tmp_path, digits, monkeypatch, steps, epochs, momentum, nets):
    found = outer_steps(monkeypatch)
    dd.run(tmp_path, "--ipc", str(steps), "--distill_steps", str(steps), "--distill_epochs", str(epochs), "--n_nets",
           str(nets), "--inner_momentum", str(momentum), "--Iteration", "3", *LAST)
    rng = Streams(0)
    order = torch.randperm(len(digits), generator=rng("data", 0, 0))
    assert len(found) == 3
    for it, of_step in enumerate(found):
        images, raw = of_step["parameters"]
        batch = digits.batch_of(order[600 * it:600 * (it + 1)])
        starts = [rng("nets", 0, it, i) for i in range(nets)]
        loss, *gradients = plain_gradients(digits, "MLP", images, raw, batch, starts, steps, momentum)
        assert of_step["loss"] == pytest.approx(loss, rel=1e-5)
        assert relative(of_step["gradients"][0], gradients[0]) < 1e-3
        assert relative(of_step["gradients"][1], gradients[1]) < 1e-3


@pytest.mark.parametrize("mode", ["full", "checkpoint", "constant"])
@pytest.mark.parametrize("steps, epochs, momentum", PLANS)
def test_in_double_precision_the_gradients_are_end_to_end_autograds(digits, steps, epochs, momentum, mode):
    synthetic = build_synthetic("pixels", digits, steps, "noise", Streams(0)("init", 0)).double()
    synthetic.learned_steps.learn_each(0.1, steps, epochs)
    synthetic.double()
    net = reset(get_network("MLP", *digits.spec), Streams(0)("nets", 0), "xavier").double()
    theta = torch.cat([parameter.detach().flatten() for parameter in net.parameters()])
    batch, student = digits.batch_of(range(0, 1400, 14)), Student(net, Compute())
    rows = split_steps(synthetic.hard_labels, steps) * epochs
    descend = main_DD.inner_gradient(student, rows, lambda images: images)
    end = InnerSGD(momentum).unroll(descend, theta, synthetic.learned_steps.sizes, steps * epochs,
                                    (synthetic.images(), synthetic.labels), mode)
    loss, adjoint = main_DD.real_loss(student, end, batch.images().double(), batch.labels, 30)
    end.backward(adjoint)
    raw_sizes = synthetic.learned_steps.raw_sizes
    expected = plain_gradients(digits, "MLP", synthetic.pixels.detach(), raw_sizes.detach(), batch,
                               [Streams(0)("nets", 0)], steps, momentum)
    # the reference draws its start in single precision, as the network above did before it was widened
    assert loss.item() == pytest.approx(expected[0], rel=1e-12)
    assert relative(synthetic.pixels.grad, expected[1]) < 1e-9
    assert relative(raw_sizes.grad, expected[2]) < 1e-9


def test_the_learning_rate_falls_where_an_epoch_ends_and_not_before(dd, tmp_path, monkeypatch, digits):
    found, per_epoch = outer_steps(monkeypatch), -(-len(digits) // 600)
    dd.run(tmp_path, "--Iteration", str(5 * per_epoch), "--decay_epochs", "2", "--decay_factor", "0.1", *LAST)
    lrs = [of_step["lrs"] for of_step in found]
    assert lrs == [{0.01 * 0.1 ** (it // (2 * per_epoch))} for it in range(5 * per_epoch)]


def test_epochs_are_passes_over_the_real_images_unless_iterations_are_given(dd, tmp_path, digits):
    result = script("--num_eval", "2").run(tmp_path, "--epochs", "2", *LAST)
    assert result["meta"]["iterations"] == [2 * -(-len(digits) // 600)]
    assert dd.run(tmp_path / "given", *LAST)["meta"]["iterations"] == [4]


def test_images_are_learned_that_train_the_network_they_were_learned_for(fixed, tmp_path):
    before, after = (fixed.run(tmp_path / iterations, "--Iteration", iterations, "--ipc", "1", "--distill_steps",
                               "1", "--distill_epochs", "3", "--lr", "0.03", *LAST) for iterations in ("0", "150"))
    assert after["accs_all_exps"]["MLP"][0] > 0.7 > before["accs_all_exps"]["MLP"][0] + 0.3


@pytest.mark.parametrize("flags", [["--unroll", "checkpoint"], ["--unroll", "constant"]], ids=" ".join)
@pytest.mark.parametrize("momentum", ["0", "0.9"])
def test_every_way_to_unroll_learns_the_same_set(dd, tmp_path, flags, momentum):
    common = ["--inner_momentum", momentum, "--Iteration", "3", *LAST]
    full, other = (dd.run(tmp_path / str(i), *more, *common) for i, more in enumerate((["--unroll", "full"], flags)))
    assert full["meta"]["unroll"] == ["full"] and other["meta"]["unroll"] == [flags[1]]
    torch.testing.assert_close(other["steps"][0]["sizes"], full["steps"][0]["sizes"], rtol=1e-3, atol=0)
    assert (other["data"][0][0] - full["data"][0][0]).abs().mean() < 1e-4


def test_a_window_leaves_what_comes_before_it_without_gradient_and_ends_where_it_is_drawn(
        dd, tmp_path, monkeypatch):
    found = outer_steps(monkeypatch)
    dd.run(tmp_path, "--window", "2", "--Iteration", "12", *LAST)
    lasts = set()
    for of_step in found:
        moved = of_step["gradients"][1].nonzero().flatten().tolist()
        assert moved == [moved[0], moved[0] + 1]
        lasts.add(moved[-1])
    assert len(lasts) > 2 and lasts <= set(range(1, 6))


def test_real_images_are_cropped_and_flipped_where_asked_for_by_the_key_of_their_step(dd, tmp_path, monkeypatch):
    seen = []

    def crop(images, rng):
        seen.append((images, found := crop_and_flip(images, rng)))
        return found

    monkeypatch.setattr(main_DD, "crop_and_flip", crop)
    one, again = (dd.run(tmp_path / name, "--augment_real", "crop_flip", "--Iteration", "2", *LAST) for name in "ab")
    assert len(seen) == 4 and all(not torch.equal(*pair) for pair in seen)
    assert torch.equal(seen[0][1], crop_and_flip(seen[0][0], Streams(0)("augmentation", 0, 0)))
    assert torch.equal(one["data"][0][0], again["data"][0][0])
    dd.run(tmp_path / "none", "--Iteration", "2", *LAST)
    assert len(seen) == 4


@pytest.mark.parametrize("init", ["noise", "real"])
def test_images_start_from_noise_as_published_or_from_real_ones(dd, tmp_path, digits, init):
    result = dd.run(tmp_path, "--init", init, "--Iteration", "0", *LAST)
    rng = Streams(0)("init", 0)
    expected = {"noise": lambda: torch.randn(30, 1, 8, 8, generator=rng),
                "real": lambda: digits.sample(digits.classes, 3, rng).images()}[init]()
    assert torch.equal(result["data"][0][0], expected)


# The result

def test_a_fixed_start_stays_as_it_was_drawn_and_is_kept_with_the_set(fixed, tmp_path):
    result = fixed.run(tmp_path, "--n_nets", "2", "--sample_n_nets", "1")
    (start,), rng = result["start"], Streams(0)
    assert start["model"] == "MLP" and result["meta"]["options"]["num_eval"] == 2
    for i, parameters in enumerate(start["parameters"]):
        net = reset(get_network("MLP", 1, 10, (8, 8)), rng("nets", 0, i), "xavier")
        assert torch.equal(parameters, torch.cat([p.detach().flatten() for p in net.parameters()]))


def test_the_file_alone_tells_how_to_repeat_its_accuracies(dd, fixed, tmp_path, digits):
    for name, result in (("fresh", dd.run(tmp_path / "fresh")), ("fixed", fixed.run(tmp_path / "fixed"))):
        (steps,), (images, labels) = result["steps"], result["data"][0]
        assert steps["rows"].shape == (3, 10) and steps["sizes"].shape == (6,)
        for i, stored in enumerate(result["accs_all_exps"]["MLP"]):
            net = get_network("MLP", 1, 10, (8, 8))
            reset(net, Streams(0)("evaluation", 0, 4, zlib.crc32(b"MLP"), i), "xavier")
            if name == "fixed":
                torch.nn.utils.vector_to_parameters(result["start"][0]["parameters"][i].clone(), net.parameters())
            for t, size in enumerate(steps["sizes"]):
                rows = steps["rows"][t % 3]
                gradients = torch.autograd.grad(F.cross_entropy(net(images[rows]), labels[rows]), [*net.parameters()])
                with torch.no_grad():
                    for parameter, gradient in zip(net.parameters(), gradients):
                        parameter -= size * gradient
            assert accuracy(net, digits).item() == pytest.approx(stored, abs=1e-6)


def test_result_says_what_it_is(dd, tmp_path):
    result = dd.run(tmp_path, "--num_exp", "2", *LAST)
    meta = result["meta"]
    assert meta["method"] == "DD" and "start" not in result and len(result["steps"]) == 2
    assert meta["syn_lr"] == pytest.approx([steps["sizes"].mean().item() for steps in result["steps"]])
    assert meta["protocols"]["MLP"] == {
        "epochs": 2, "lr": None, "batch_size": None, "momentum": 0.0, "weight_decay": 0.0, "augmentation": "none",
        "strategy": "none", "schedule": "steps", "cutmix": 0.0, "distill_steps": 3, "net_init": "xavier", "gain": 1.0,
        "constant": pytest.approx(sum(meta["syn_lr"]) / 2)}
    assert meta["storage"]["bytes"] == meta["storage"]["budget_bytes"] == 4 * 30 * 64


def test_same_seed_same_bytes_and_another_seed_another_set(dd, tmp_path):
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        dd.run(tmp_path / name, "--seed", seed)
    a, b, c = (dd.path(tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


@pytest.mark.parametrize("run", ["fresh", "fixed"])
def test_a_run_that_is_cut_off_and_resumed_ends_with_the_same_bytes(dd, fixed, tmp_path, monkeypatch, run):
    start = {"fresh": dd, "fixed": fixed}[run].run
    flags = ["--Iteration", "9", "--num_exp", "2", "--checkpoint_every", "2", "--decay_epochs", "1"]
    start(tmp_path / "whole", *flags)
    log = Run.log

    def cut(self, loss):
        log(self, loss)
        if (self.exp, self.it) == (1, 7):
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "log", cut)
    with pytest.raises(SystemExit):
        start(tmp_path / "cut", *flags)
    monkeypatch.undo()
    start(tmp_path / "cut", *flags, "--resume")
    assert dd.path(tmp_path / "cut").read_bytes() == dd.path(tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("flags", [["--parameterization", "low_rank", "--rank", "1", "--ipc", "3"],
                                   ["--parameterization", "low_rank", "--rank", "1", "--ipc", "3", "--save",
                                    "factors"]], ids=["both", "factors"])
def test_other_forms_of_the_set_are_learned_and_scored_again(dd, tmp_path, score, flags):
    result = dd.run(tmp_path, *flags)                       # 12 images per class in the place of 3
    assert result["steps"][0]["rows"].shape == (3, 40)
    (row,), _ = score(dd.path(tmp_path), "--baselines", "none")
    assert row["accuracies"] == [result["accs_all_exps"]["MLP"]]
