"""Banks of trained networks: which experts are in them, what they say of themselves, and which are refused."""

import shutil
from types import SimpleNamespace

import pytest
import torch

from condense.data import DataChoice
from condense.experts import banks as module
from condense.experts.banks import open_banks, require_alike
from condense.experts.folder import read_sidecar, replay_files, write_sidecar
from condense.experts.trajectories import ExpertBuffer
from condense.networks import get_network


@pytest.fixture(scope="module")
def net(digits):
    return get_network("ConvNetD1", *digits.spec)


def last_snapshots(buffer_path):
    folder = buffer_path / "Digits" / "ConvNetD1"
    return [torch.cat([tensor.flatten() for tensor in trajectory[-1]]) for path in replay_files(folder).values()
            for trajectory in torch.load(path, weights_only=True)]


def banks(able_experts, net, digits, n_nets, num_eval, **data):
    return open_banks(able_experts, net, digits, "ConvNetD1", n_nets, num_eval, DataChoice("Digits", **data))


def test_the_first_networks_are_learned_for_and_the_next_are_held_out(able_experts, net, digits):
    expected = last_snapshots(able_experts)                # three, two in a file
    training, held_out = banks(able_experts, net, digits, 2, 1)
    assert len(training) == 2 and len(held_out) == 1
    assert torch.equal(training.together(), torch.stack(expected[:2])) and torch.equal(held_out[0], expected[2])
    with pytest.raises(IndexError):
        training[2]
    with pytest.raises(IndexError):
        held_out[-1]


def test_a_network_is_what_its_experts_accuracy_was_measured_of(able_experts, net, digits):
    entries = read_sidecar(able_experts / "Digits" / "ConvNetD1")["experts"]
    training, _ = banks(able_experts, net, digits, 2, 1)
    for i, entry in enumerate(entries[:2]):
        torch.nn.utils.vector_to_parameters(training[i], net.parameters())
        with torch.no_grad():
            right = net(digits.normalise(digits.test_images)).argmax(1) == digits.test_labels
        assert right.double().mean().item() == pytest.approx(entry["test_accuracy"]["3"])


def test_one_network_alone_is_learned_for_and_scored_on(able_experts, net, digits):
    training, scored = banks(able_experts, net, digits, 1, 1)
    assert scored is training and torch.equal(training.together(), torch.stack(last_snapshots(able_experts)[:1]))


def test_networks_stay_in_memory_as_long_as_it_holds_them(able_experts, net, digits, monkeypatch):
    read, snapshot = [], ExpertBuffer.snapshot
    monkeypatch.setattr(ExpertBuffer, "snapshot", lambda self, number, *where: read.append(number) or
                        snapshot(self, number, *where))
    training, _ = banks(able_experts, net, digits, 2, 1)
    first = [training[i].clone() for i in (0, 1, 0, 1)]
    assert read == [0, 1]
    monkeypatch.setattr(module, "HELD_BYTES", 4 * len(first[0]))
    tight, _ = banks(able_experts, net, digits, 2, 1)
    assert all(map(torch.equal, first, [tight[i] for i in (0, 1, 0, 1)]))
    assert read == [0, 1, 0, 1, 1]


def test_it_says_which_networks_were_used_and_not_how_many_there_are(able_experts, net, digits, tmp_path):
    training, held_out = banks(able_experts, net, digits, 1, 1)
    about = read_sidecar(able_experts / "Digits" / "ConvNetD1")
    accuracies = [entry["test_accuracy"]["3"] for entry in about["experts"]]
    assert training.source["experts"] == 1 and training.source["test_accuracy"]["mean"] == accuracies[0]
    fewer = shutil.copytree(able_experts, tmp_path / "fewer") / "Digits" / "ConvNetD1"
    (fewer / "replay_buffer_1.pt").unlink()
    write_sidecar(fewer, {**about, "experts": about["experts"][:2]})
    assert banks(tmp_path / "fewer", net, digits, 1, 1)[0].source == training.source
    training, held_out = banks(able_experts, net, digits, 2, 1)
    assert training.source["experts"] == 3 and held_out.source == training.source
    assert training.source["test_accuracy"]["mean"] == pytest.approx(sum(accuracies) / 3)
    assert training.source["fingerprint"] == digits.fingerprint and training.source["last_epoch"] == 3


@pytest.mark.parametrize("n_nets, num_eval, words", [(3, 2, "holds 3 experts, but 5 are needed"),
                                                     (4, 1, "holds 3 experts, but 5 are needed")])
def test_too_few_are_refused_with_the_command_that_makes_the_others(able_experts, net, digits, n_nets, num_eval, words):
    with pytest.raises(ValueError, match=words) as error:
        banks(able_experts, net, digits, n_nets, num_eval)
    assert str(error.value).endswith("python buffer.py --dataset Digits --model ConvNetD1 --buffer_path "
                                     f"{able_experts} --num_experts 5 --resume") and "\n" not in str(error.value)


def test_none_at_all_are_refused_with_the_command_that_makes_them(tmp_path, net, digits):
    with pytest.raises(FileNotFoundError, match="no expert trajectories .* --num_experts 7$"):
        banks(tmp_path, net, digits, 5, 2)


def real(**changes):
    return SimpleNamespace(**{"name": "A", "im_size": (28, 28), "channel": 1, "num_classes": 10, **changes})


@pytest.mark.parametrize("changes, mend", [({"im_size": (32, 32)}, "--im_size 32"), ({"channel": 3}, "both grey"),
                                           ({"num_classes": 26}, "keep some --classes")])
def test_data_that_the_networks_cannot_take_is_refused(changes, mend):
    require_alike(real(), real(name="B"))
    with pytest.raises(ValueError, match=mend):
        require_alike(real(), real(name="B", **changes))
