"""The experts that buffer.py writes as a user runs it: on Digits, with tiny settings."""

import shutil

import pytest
import torch

from condense.core.randomness import Streams
from condense.data import DATASETS, default_side, load_data
from condense.experts import Recipe, open_experts, run
from condense.experts.training import networks_of_experts
from condense.networks import get_network, network_for, reset
from condense.operators import Compute
from tests.buffer_runs import WHOLE, contents, experts_in, make, same, sidecar

# What it writes

def test_files_have_the_published_layout(tmp_path, digits):
    folder = make(tmp_path, "--model", "ConvNetD2", "--num_experts", "3")
    assert folder == tmp_path / "Digits" / "ConvNetD2"
    assert set(contents(folder)) == {"replay_buffer_0.pt", "replay_buffer_1.pt", "buffer.json", ".lock"}
    assert [len(torch.load(path, weights_only=True)) for path in sorted(folder.glob("*.pt"))] == [2, 1]
    net = get_network("ConvNetD2", *digits.spec)
    for number, trajectory in enumerate(experts_in(folder)):
        assert len(trajectory) == 3
        assert all(map(torch.equal, trajectory[0], reset(net, Streams(0)("nets", number)).parameters()))
        for before, after in zip(trajectory, trajectory[1:]):
            moved = [not torch.equal(one, two) for one, two in zip(before, after) if one.dim() > 1]
            assert all(moved) and len(moved) == 3                       # no weight stays, and none is another's
        for snapshot in trajectory:
            assert [tuple(t.shape) for t in snapshot] == [tuple(p.shape) for p in net.parameters()]
            assert all(t.dtype == torch.float32 and t.is_contiguous() and not t.requires_grad for t in snapshot)
    size = 4 * 3 * sum(p.numel() for p in net.parameters())
    assert 3 * size < sum(path.stat().st_size for path in folder.glob("*.pt")) < 3.1 * size


def test_sidecar_says_what_the_experts_are(whole, digits):
    about = sidecar(whole)
    assert about["dataset"] == "Digits" and about["fingerprint"] == digits.fingerprint and about["zca"] is None
    assert (about["num_classes"], about["channel"], about["im_size"]) == (10, 1, [8, 8])
    assert about["mean"] == digits.mean and about["std"] == digits.std and about["model"] == "MLP"
    net = get_network("MLP", *digits.spec)
    assert about["parameters"] == [[name, list(p.shape)] for name, p in net.named_parameters()]
    assert (about["first_epoch"], about["last_epoch"], about["dtype"], about["seed"]) == (0, 2, "float32", 0)
    assert about["options"]["lr_teacher"] == 0.1
    assert about["options"]["dsa_strategy"] == "color_crop_cutout_scale_rotate"              # no flip for digits
    assert not {"num_experts", "buffer_path", "device", "save_interval", "ipc", "lr_net"} & set(about["options"])
    assert set(about["versions"]) == {"torch", "numpy", "python"}
    for number, entry in enumerate(about["experts"]):
        assert (entry["number"], entry["file"], entry["index"]) == (number, number // 2, number % 2)
        assert list(entry["test_accuracy"]) == ["2"] and len(entry["train_accuracy"]) == len(entry["train_loss"]) == 2


def test_accuracies_are_those_of_the_stored_networks(whole, digits):
    net, entries = get_network("MLP", *digits.spec), sidecar(whole)["experts"]
    for trajectory, entry in zip(experts_in(whole), entries, strict=True):
        with torch.no_grad():
            for parameter, value in zip(net.parameters(), trajectory[-1]):
                parameter.copy_(value)
            guesses = net(digits.normalise(digits.test_images)).argmax(1)
        assert entry["test_accuracy"]["2"] == pytest.approx((guesses == digits.test_labels).double().mean().item())
    assert min(entry["test_accuracy"]["2"] for entry in entries) > 0.3       # 0.1 is chance


def test_student_fed_the_real_batches_in_expert_order_reproduces_the_next_snapshot(tmp_path, digits):
    (expert,) = experts_in(make(tmp_path, "--num_experts", "1", "--dsa_strategy", "none", "--batch_train", "500",
                                "--lr_teacher", "0.1"))
    images, labels = digits.sample(digits.classes).images(), digits.labels
    student = get_network("MLP", *digits.spec)
    with torch.no_grad():
        for parameter, value in zip(student.parameters(), expert[1]):
            parameter.copy_(value)
    order = torch.rand(1, len(digits), generator=Streams(0)("nets", 0, 2)).argsort(1)[0]        # of epoch 1
    for index in order.split(500):
        loss = torch.nn.functional.cross_entropy(student(images[index]), labels[index])
        with torch.no_grad():
            for parameter, gradient in zip(student.parameters(), torch.autograd.grad(loss, list(student.parameters()))):
                parameter -= 0.1 * gradient
    for parameter, value in zip(student.parameters(), expert[2]):
        torch.testing.assert_close(parameter.detach(), value, rtol=1e-4, atol=1e-5)


def test_same_seed_gives_the_same_bytes_and_another_seed_other_experts(tmp_path, whole):
    again = make(tmp_path / "a", *WHOLE, "--eval_every", "1", "--checkpoint_every", "0")
    assert {name: data for name, data in contents(again).items() if name.endswith(".pt")} == \
        {name: data for name, data in contents(whole).items() if name.endswith(".pt")}
    other = make(tmp_path / "b", *WHOLE, "--seed", "1")
    assert not any(torch.equal(a[0][0], b[0][0]) for a, b in zip(experts_in(again), experts_in(other)))


def test_accuracy_is_measured_as_often_as_asked(tmp_path):
    folder = make(tmp_path, "--num_experts", "1", "--train_epochs", "5", "--eval_every", "2")
    assert list(sidecar(folder)["experts"][0]["test_accuracy"]) == ["2", "4", "5"]


@pytest.mark.parametrize("flags, first, last", [(["--keep_epochs", "1"], 0, 1), (["--keep_epochs", "2-3"], 2, 3),
                                                (["--keep_epochs", "3-3"], 3, 3)])
def test_only_the_epochs_that_are_kept_are_stored_and_none_is_trained_after_them(tmp_path, digits, flags, first, last):
    everything = experts_in(make(tmp_path / "a", "--train_epochs", "4", "--decay"))
    folder = make(tmp_path / "b", "--train_epochs", "4", "--decay", *flags)
    assert same(experts_in(folder), [trajectory[first:last + 1] for trajectory in everything])
    about = sidecar(folder)
    assert (about["first_epoch"], about["last_epoch"]) == (first, last)
    assert list(about["experts"][0]["test_accuracy"]) == [str(last)]
    experts = open_experts(tmp_path / "b", get_network("MLP", *digits.spec), digits, "MLP", (first, last))
    assert torch.equal(experts.snapshot(2, last), torch.cat([t.flatten() for t in everything[2][last]]))


def test_half_stores_float16_in_half_the_room(tmp_path, digits):
    full, half = make(tmp_path / "a"), make(tmp_path / "b", "--half")
    for one, two in zip(experts_in(full), experts_in(half), strict=True):
        assert all(b.dtype == torch.float16 and torch.equal(a.half(), b) for s, t in zip(one, two)
                   for a, b in zip(s, t, strict=True))
    sizes = [(folder / "replay_buffer_0.pt").stat().st_size for folder in (full, half)]
    assert 0.49 < sizes[1] / sizes[0] < 0.53 and sidecar(half)["dtype"] == "float16"
    experts = open_experts(tmp_path / "b", get_network("MLP", *digits.spec), digits, "MLP", (0, 2))
    assert experts.snapshot(0, 1).dtype == torch.float32


def test_whitened_experts_lie_apart_with_their_transform(tmp_path, digits):
    folder, real = make(tmp_path, "--zca"), load_data("Digits", zca=True)
    assert folder == tmp_path / "Digits_ZCA" / "MLP"
    about, state = sidecar(folder), torch.load(folder / "zca.pt", weights_only=True)
    assert about["zca"] == real.zca.fingerprint and about["fingerprint"] == real.fingerprint
    assert all(torch.equal(value, state[name]) for name, value in real.zca.state().items() if torch.is_tensor(value))
    net = get_network("MLP", *real.spec)
    assert len(open_experts(tmp_path, net, real, "MLP", (0, 2))) == 3
    shutil.copytree(folder, tmp_path / "Digits" / "MLP")
    with pytest.raises(ValueError, match="ZCA-whitened images, this run's are normalised"):
        open_experts(tmp_path, net, digits, "MLP", (0, 2))


# Recipes

@pytest.mark.parametrize("flags", [
    ["--dsa", "False"], ["--dsa_strategy", "flip_color"], ["--mom", "0.9"], ["--l2", "1e-2"], ["--decay"],
    ["--loss_type", "mse"], ["--rho_max", "0.05"], ["--rho_max", "0.05", "--alpha", "1"], ["--lr_teacher", "0.02"],
    ["--rho_max", "0.05", "--adaptive", "False"], ["--batch_train", "100"], ["--precision", "bf16"],
    ["--optimizer", "adam"], ["--decay_epochs", "2"]], ids=" ".join)
def test_flag_makes_other_experts_of_the_same_beginning(tmp_path, flags):
    epochs = ["--num_experts", "1", "--train_epochs", "5"]
    (plain,), (other,) = (experts_in(make(tmp_path / str(len(more)), *epochs, *more)) for more in ([], flags))
    assert all(map(torch.equal, plain[0], other[0])) and not all(map(torch.equal, plain[-1], other[-1]))
    assert all(tensor.isfinite().all() for tensor in other[-1])


def test_networks_can_start_as_xavier_says(tmp_path, digits):
    (expert,) = experts_in(make(tmp_path, "--num_experts", "1", "--net_init", "xavier", "--init_param", "0.5"))
    net = reset(get_network("MLP", *digits.spec), Streams(0)("nets", 0), "xavier", 0.5)
    assert all(map(torch.equal, expert[0], net.parameters()))


def test_experts_of_another_image_size_lie_apart_and_are_found_there(tmp_path, digits):
    here, there = make(tmp_path), make(tmp_path, "--im_size", "12", folder=tmp_path / "Digits" / "12" / "MLP")
    assert here == tmp_path / "Digits" / "MLP" and sidecar(there)["im_size"] == [12, 12]
    for side in (8, 12):
        real = load_data("Digits", im_size=side)
        experts = open_experts(tmp_path, get_network("MLP", *real.spec), real, "MLP", (0, 2))
        assert experts.source["fingerprint"] == real.fingerprint
    real = load_data("Digits", im_size=10)
    with pytest.raises(FileNotFoundError, match="Digits/10/MLP; make them: .* --im_size 10 "):
        open_experts(tmp_path, get_network("MLP", *real.spec), real, "MLP", (0, 2))


def test_flags_of_ftd_are_taken_as_published(tmp_path):
    folder = make(tmp_path, "--num_experts", "1", "--rho_max=0.01", "--rho_min=0.01", "--alpha=0.3",
                  "--lr_teacher=0.01", "--mom=0.", "--batch_train=256", "--adaptive=True", "--dsa=True")
    assert sidecar(folder)["options"]["alpha"] == 0.3


def test_several_at_once_are_the_same_experts_to_rounding(tmp_path, monkeypatch):
    alone = make(tmp_path / "a", "--num_experts", "5")
    monkeypatch.setattr(run, "experts_at_once", lambda real, recipe, size, wanted, device: min(wanted, 3))
    together = make(tmp_path / "b", "--num_experts", "5")
    for one, two in zip(experts_in(alone), experts_in(together), strict=True):
        for snapshot, expected in zip(one, two, strict=True):
            torch.testing.assert_close(snapshot, expected, rtol=1e-4, atol=1e-5)
    assert [(e["number"], e["file"], e["index"]) for e in sidecar(alone)["experts"]] == \
        [(e["number"], e["file"], e["index"]) for e in sidecar(together)["experts"]]


# Networks

def test_depth_follows_the_image():
    sides = {8: "ConvNetD2", 16: "ConvNetD2", 28: "ConvNet", 32: "ConvNet", 33: "ConvNetD4", 64: "ConvNetD4",
             96: "ConvNetD5", 128: "ConvNetD5", 256: "ConvNetD6", 4096: "ConvNetD8", None: "ConvNet"}
    assert {side: network_for(side) for side in sides} == sides


@pytest.mark.parametrize("side", [8, 16, 28, 32, 64, 96, 128, 256])
def test_every_side_gets_a_network_that_takes_it(side):
    get_network(network_for(side), 3, 10, (side, side), rng=torch.Generator())


def test_automatic_network_is_the_one_of_the_data_sets_images(tmp_path):
    assert make(tmp_path, "--model", "auto", "--num_experts", "1", "--train_epochs", "1").name == "ConvNetD2"
    assert all(default_side(name) is None or network_for(default_side(name)) for name in DATASETS)


def test_experts_of_the_modules_are_those_of_the_script(tmp_path, digits):
    (expert,) = experts_in(make(tmp_path, "--num_experts", "1", "--dsa_strategy", "none"))
    experts = networks_of_experts(1, "MLP", digits, Recipe(2, 0, 2, augmentation="none"), Compute(), Streams(0))
    experts.begin([0])
    for epoch in range(2):
        experts.start_epoch(epoch)
        for images, labels in experts.minibatches():
            experts.step(images, labels)
    assert all(map(torch.equal, experts.state()[0][0], expert[-1]))
