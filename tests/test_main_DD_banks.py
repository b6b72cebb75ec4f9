"""main_DD.py for networks that buffer.py has trained: learning for them, adapting them to other data, poisoning."""

import shutil

import pytest
import torch

import export
from condense.data import load_data
from condense.experts.folder import replay_files
from condense.experts.trajectories import ExpertBuffer
from condense.run.run import Run
from condense.run.script import run_script
from tests.buffer_runs import make
from tests.conftest import made_once
from tests.dd_runs import LAST, script

TRAINED = ["--num_experts", "5", "--optimizer", "adam", "--lr_teacher", "3e-3", "--train_epochs", "3", "--keep_epochs",
           "3-3", "--net_init", "xavier", "--dsa_strategy", "none", "--batch_train", "64"]


@pytest.fixture(scope="module")
def bank(session_folder):
    """The buffer path of five MLPs, trained on Digits, with their last snapshot alone."""
    return made_once(session_folder / "trained_digits", lambda folder: make(folder, *TRAINED))


@pytest.fixture(scope="module")
def loaded(bank):
    """main_DD.py that learns for three of them and scores on the other two."""
    return script("--train_nets_type", "loaded", "--buffer_path", str(bank), "--n_nets", "3", "--sample_n_nets", "2",
                  "--num_eval", "2", "--Iteration", "4")


@pytest.fixture(scope="module")
def negatives(session_folder):
    """The digits white on black turned black on white, as a file, at 8 pixels and at 12."""
    def write(folder):
        for side in (8, 12):
            real = load_data("Digits", im_size=side)
            torch.save({"images_train": 255 - real.images, "labels_train": real.labels,
                        "images_val": 255 - real.test_images, "labels_val": real.test_labels}, folder / f"{side}.pt")

    return made_once(session_folder / "negatives", write)


def networks(bank, name="Digits/MLP"):
    return [torch.cat([tensor.flatten() for tensor in trajectory[-1]]) for path in replay_files(bank / name).values()
            for trajectory in torch.load(path, weights_only=True)]


# Trained networks

def test_held_out_networks_are_scored_and_stored_and_nothing_is_learned_for_them(loaded, bank, tmp_path, monkeypatch):
    read, original = [], ExpertBuffer.snapshot
    monkeypatch.setattr(ExpertBuffer, "snapshot", lambda self, number, *where: read.append(number) or
                        original(self, number, *where))
    result = loaded.run(tmp_path, "--Iteration", "8", *LAST)
    (start,), experts = result["start"], networks(bank)
    assert start["model"] == "MLP" and torch.equal(start["parameters"], torch.stack(experts[3:]))
    held_out = [place for place, number in enumerate(read) if number > 2]
    assert [read[place] for place in held_out] == [3, 4] and held_out == [0, 1]           # before any step
    assert sorted(read[2:]) == [0, 1, 2]                   # each once


def test_one_network_is_learned_for_and_scored_on_itself(loaded, bank, tmp_path):
    flags = ["--n_nets", "1", "--sample_n_nets", "1", "--num_eval", "1"]
    result = loaded.run(tmp_path, *flags, *LAST)
    assert torch.equal(result["start"][0]["parameters"], networks(bank)[0][None])
    assert result["meta"]["bank"][0]["experts"] == 1 and len(result["accs_all_exps"]["MLP"]) == 1
    alone = script("--train_nets_type", "loaded", "--buffer_path", str(bank), "--Iteration", "4", *LAST)
    again = alone.run(tmp_path / "again")
    assert again["meta"]["options"]["num_eval"] == 1 and torch.equal(again["data"][0][0], result["data"][0][0])


def test_result_says_which_networks_and_what_they_are_worth_before_and_after(loaded, bank, tmp_path, capsys):
    result = loaded.run(tmp_path, *LAST)
    meta, digits = result["meta"], load_data("Digits")
    (source,), (before,), (after,) = meta["bank"], meta["before_steps"], meta["after_steps"]
    assert source["fingerprint"] == digits.fingerprint and source["experts"] == 5 and source["last_epoch"] == 3
    assert source["options"]["optimizer"] == "adam" and "buffer_path" not in meta["options"]
    assert after == {"accuracy": pytest.approx(result["accs_all_exps"]["MLP"])} and before != after
    assert sum(before["accuracy"]) / 2 == pytest.approx(source["test_accuracy"]["mean"], abs=0.03)
    assert "before the steps" in capsys.readouterr().out


def test_accuracies_are_repeated_by_the_file_alone(loaded, bank, tmp_path, score):
    moved = shutil.copytree(bank, tmp_path / "moved")
    result = loaded.run(tmp_path / "out", "--buffer_path", str(moved), "--num_exp", "2", *LAST)
    shutil.rmtree(moved)
    accuracies = result["accs_all_exps"]["MLP"]
    assert [len(facts) for facts in result["meta"]["before_steps"][0].values()] == [2] and len(result["start"]) == 2
    (row,), _ = score(loaded.path(tmp_path / "out"), "--baselines", "none")
    assert row["accuracies"] == [accuracies[:2], accuracies[2:]]


def test_same_bank_same_bytes_wherever_it_lies(loaded, bank, tmp_path):
    moved = shutil.copytree(bank, tmp_path / "moved")
    loaded.run(tmp_path / "a")
    loaded.run(tmp_path / "b", "--buffer_path", str(moved))
    assert loaded.path(tmp_path / "a").read_bytes() == loaded.path(tmp_path / "b").read_bytes()


@pytest.mark.parametrize("flags", [[], ["--objective", "poison"]], ids=["distill", "poison"])
def test_a_run_that_is_cut_off_and_resumed_ends_with_the_same_bytes(loaded, tmp_path, monkeypatch, flags):
    flags = [*flags, "--Iteration", "7", "--num_exp", "2", "--checkpoint_every", "2"]
    loaded.run(tmp_path / "whole", *flags)
    log = Run.log

    def cut(self, loss):
        log(self, loss)
        if (self.exp, self.it) == (1, 5):
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "log", cut)
    with pytest.raises(SystemExit):
        loaded.run(tmp_path / "cut", *flags)
    monkeypatch.undo()
    loaded.run(tmp_path / "cut", *flags, "--resume")
    assert loaded.path(tmp_path / "cut").read_bytes() == loaded.path(tmp_path / "whole").read_bytes()


def test_a_result_is_not_replaced_by_one_of_other_networks(loaded, bank, tmp_path, capsys):
    loaded.run(tmp_path / "out", *LAST)
    make(tmp_path / "others", *TRAINED, "--seed", "1")
    code, line = loaded.error_line(capsys, tmp_path / "out", "--buffer_path", str(tmp_path / "others"), *LAST)
    assert code == 2 and "made from other bank" in line


def test_a_fixed_start_that_is_untrained_is_tested_before_its_steps_too(fixed, tmp_path):
    meta = fixed.run(tmp_path, *LAST)["meta"]
    assert len(meta["before_steps"][0]["accuracy"]) == 1 and "bank" not in meta


# Adapting

def test_networks_are_adapted_to_data_that_they_were_not_trained_on(loaded, negatives, tmp_path):
    flags = ["--objective", "adapt", "--source_dataset", "Digits", "--dataset", "file", "--data_path",
             str(negatives / "8.pt"), "--distill_lr", "0.05", "--lr", "0.05", "--Iteration", "60", *LAST]
    meta = loaded.run(tmp_path, *flags)["meta"]
    target, source = load_data("file", negatives / "8.pt"), load_data("Digits")
    assert meta["fingerprint"] == target.fingerprint and meta["bank"][0]["fingerprint"] == source.fingerprint
    (before,), (after,) = meta["before_steps"], meta["after_steps"]
    assert max(before["accuracy"]) < 0.3 and min(after["accuracy"]) > max(before["accuracy"]) + 0.3


def test_source_and_target_can_change_places_and_are_brought_to_one_size(negatives, tmp_path, capsys):
    data, bank = str(negatives / "12.pt"), tmp_path / "bank"
    make(bank, *TRAINED, "--num_experts", "2", "--dataset", "file", "--data_path", data)
    adapt = script("--train_nets_type", "loaded", "--buffer_path", str(bank), "--Iteration", "1", "--n_nets", "1",
                   "--objective", "adapt", "--source_dataset", "file", "--source_data_path", data, *LAST)
    code, line = adapt.error_line(capsys, tmp_path / "out")
    assert code == 2 and "12x12, those of Digits 8x8; bring both to one size: --im_size 12" in line
    result = adapt.run(tmp_path / "out", "--im_size", "12")
    assert result["data"][0][0].shape[2:] == (12, 12) and result["meta"]["before_steps"][0]["accuracy"][0] < 0.5


# Poisoning

def test_an_attack_ruins_one_class_and_leaves_the_others(loaded, tmp_path, score):
    flags = ["--objective", "poison", "--attack_class", "3", "--target_class", "5", "--distill_steps", "1",
             "--distill_epochs", "1", "--lr", "0.05", "--Iteration", "80", *LAST]
    result = loaded.run(tmp_path, *flags)
    images, labels = result["data"][0]
    assert labels.tolist() == [label for label in range(10) for _ in range(3)]            # as ever
    (before,), (after,) = result["meta"]["before_steps"], result["meta"]["after_steps"]
    assert set(before) == set(after) == {"accuracy", "relabelled_accuracy", "attacked_class_accuracy",
                                         "attacked_as_target"}
    assert min(before["attacked_class_accuracy"]) > 0.6 and max(after["attacked_class_accuracy"]) < 0.3
    assert min(after["attacked_as_target"]) > max(before["attacked_as_target"])
    assert min(after["accuracy"]) > 0.6                    # nine of ten classes at best
    rows, printed = score(loaded.path(tmp_path), "--per_class")
    row, random = sorted(rows, key=lambda row: row["kind"], reverse=True)
    assert row["accuracies"] == [result["accs_all_exps"]["MLP"]] and "verdict" not in row
    for name, values in after.items():
        assert row["attack"][name] == pytest.approx(sum(values) / 2)
    assert random["recipe"]["starts"] == row["recipe"]["starts"] and random["recipe"]["attack"] == [3, 5]
    assert random["mean"] > 0.6                            # of networks that were trained before
    assert printed.count("class 3 attacked to be taken for 5: ") == 2


def test_a_set_that_poisons_is_known_by_it_when_it_is_handed_on(loaded, tmp_path, score):
    loaded.run(tmp_path, "--objective", "poison", *LAST)
    (own, *_), _ = score(loaded.path(tmp_path), "--stored", output=tmp_path / "own.json")
    run_script(export.main, export.Config, export.__doc__, [str(loaded.path(tmp_path)), "--format", "tensors", "--to",
                                                            str(tmp_path / "handed_on.pt")])
    rows, _ = score(tmp_path / "handed_on.pt", "--dataset", "Digits")
    assert [row["recipe"]["attack"] for row in rows] == [[0, 1], [0, 1]]
    assert next(row for row in rows if row["kind"] == "set")["attack"] == pytest.approx(own["attack"])


def test_the_originals_modes_are_taken(loaded, tmp_path, capsys):
    flags = ["--Iteration", "1", *LAST]
    meta = loaded.run(tmp_path / "mode", "--mode", "distill_attack", *flags)["meta"]
    assert meta["options"]["objective"] == "poison" and "attacked_as_target" in meta["after_steps"][0]
    assert "--mode is called --objective here" in capsys.readouterr().out
    loaded.run(tmp_path / "objective", "--objective", "poison", *flags)
    assert loaded.path(tmp_path / "mode").read_bytes() == loaded.path(tmp_path / "objective").read_bytes()


# What is refused

@pytest.mark.parametrize("flags, mend", [
    (["--n_nets", "4"], "holds 5 experts, but 6 are needed"),
    (["--model", "ConvNetD1"], "--num_experts 5"),
    (["--train_nets_type", "unknown_init", "--sample_n_nets", "3", "--objective", "poison"],
     "--train_nets_type loaded"),
    (["--objective", "adapt"], "give both or neither"),
    (["--source_dataset", "MNIST"], "give both or neither"),
    (["--source_data_path", "x"], "leave it out"),
    (["--attack_class", "2"], "belong to --objective poison"),
    (["--objective", "poison", "--target_class", "10"], "--target_class 10 is none of the classes 0..9"),
    (["--objective", "poison", "--attack_class", "1"], "choose two classes"),
    (["--mode", "distill_attack", "--objective", "adapt", "--source_dataset", "MNIST"], "leave one of the two out"),
    (["--net_init", "default"], "leave --net_init and --init_param out"),
    (["--n_nets", "1", "--sample_n_nets", "1"], "leave --num_eval out, or raise --n_nets"),
    (["--eval_mode", "W"], "leave --eval_mode out"),
    (["--inner_steps", "3"], "run that"),
    (["--zca"], "no expert trajectories"),
    (["--im_size", "12"], "Digits/12/MLP; make them: "),
])
def test_options_that_do_not_go_together_are_refused_by_their_mend(loaded, tmp_path, capsys, flags, mend):
    code, line = loaded.error_line(capsys, tmp_path, *flags)
    assert code == 2 and mend in line
    assert not list(tmp_path.glob("res_*"))
