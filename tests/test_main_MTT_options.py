"""What main_MTT.py and main_LoMTT.py take: options, names of the original, experts that fit, and what they refuse."""

import shlex
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

import buffer
import main_MTT
from condense.augmentation.siamese import DIGIT_STRATEGY
from condense.cli import parse, with_forms
from condense.experts import expert_folder, open_experts
from condense.synthetic import PARAMETERIZATIONS
from tests.mtt_runs import UNSCORED, same_sets


def begun(script, tmp_path, *flags):
    """Return the images that the script starts from."""
    return script.run(tmp_path / "begun", "--Iteration", "0", *flags, *UNSCORED)["data"][0][0]


@pytest.mark.parametrize("flags", [["--no_aug", "True"], ["--dsa", "False"], ["--dsa_strategy", "none"],
                                   ["--batch_syn", "7"], ["--load_all"], ["--max_experts", "1"], ["--max_files", "1"],
                                   ["--init", "noise"], ["--min_start_epoch", "1"], ["--random_trajectory"],
                                   ["--current_max_start_epoch", "1", "--expansion_end_epoch", "9"]], ids=" ".join)
def test_option_changes_the_set(mtt, tmp_path, usual, flags):
    result = mtt.run(tmp_path, *flags, *UNSCORED)
    assert result["data"][0][0].isfinite().all() and not same_sets(result, usual)


@pytest.fixture(scope="module")
def usual(mtt, tmp_path_factory):
    return mtt.run(tmp_path_factory.mktemp("usual"), *UNSCORED)


@pytest.mark.parametrize("flags", [["--batch_syn", "20"], ["--batch_syn", "1000"], ["--no_aug", "False"],
                                   ["--current_max_start_epoch", "2", "--expansion_end_epoch", "9"],
                                   ["--pix_init", "real"], ["--chunk", "1000"]], ids=" ".join)
def test_option_that_says_what_is_so_anyhow_changes_nothing(mtt, tmp_path, usual, flags):
    assert same_sets(mtt.run(tmp_path, *flags, *UNSCORED), usual)


@pytest.mark.parametrize("flags, augmentation, strategy", [
    ([], "siamese", DIGIT_STRATEGY), (["--no_aug", "True"], "siamese", DIGIT_STRATEGY),
    (["--dsa_strategy", "flip_color"], "siamese", "flip_color"), (["--dsa", "False"], "classic", "none")])
def test_networks_are_augmented_as_published_whatever_the_students_steps_are(
        mtt, tmp_path, flags, augmentation, strategy):
    protocol = mtt.run(tmp_path, "--Iteration", "0", *flags, *UNSCORED)["meta"]["protocols"]["ConvNetD1"]
    assert (protocol["augmentation"], protocol["strategy"]) == (augmentation, strategy)


def test_names_of_the_original_are_accepted_as_flags_and_in_yaml(tmp_path):
    config = with_forms(main_MTT.Config, PARAMETERIZATIONS)
    cfg = parse(config, ["--pix_init", "noise", "--eval_it", "7", "--res", "64"])
    assert (cfg.init, cfg.eval_every, cfg.im_size) == ("noise", 7, 64)
    path = tmp_path / "original.yaml"
    path.write_text("pix_init: noise\neval_it: 7\nres: 64\n")
    assert parse(config, ["--config", str(path)]) == replace(cfg, config=str(path))
    assert parse(config, ["--config", str(path), "--init", "real"]).init == "real"
    for both in ("init: real\npix_init: noise\n", "pix_init: noise\ninit: real\n"):
        path.write_text(both)
        with pytest.raises(ValueError, match="original.yaml: .*init is another name of an option"):
            parse(config, ["--config", str(path)])


def test_flags_that_do_nothing_in_the_original_are_answered_by_one_line_each(mtt, tmp_path, usual, capsys):
    result = mtt.run(tmp_path, "--lr_init", "0.1", "--batch_real", "32", "--force_save", *UNSCORED)
    lines = capsys.readouterr().out.splitlines()
    for flag in ("--lr_init", "--batch_real", "--force_save"):
        assert sum(line.startswith(f"{flag} has no effect") for line in lines) == 1
    assert same_sets(result, usual)


def test_random_networks_need_no_experts(mtt, tmp_path):
    result = mtt.run(tmp_path / "out", "--random_trajectory", "--buffer_path", str(tmp_path / "nowhere"), *UNSCORED,
                     "--max_start_epoch", "25", "--expert_epochs", "30")
    assert result["meta"]["experts"] == [{"experts": "random networks"}]
    assert not torch.equal(result["data"][0][0], begun(mtt, tmp_path))


def test_lomtt_is_mtt_with_thin_factors_and_the_same_experts(mtt, lomtt, tmp_path):
    flags = ["--ipc", "1", "--rank", "1", "--lr_lr", "1e-5"]
    ours = lomtt.run(tmp_path / "ours", *flags)
    theirs = mtt.run(tmp_path / "theirs", *flags, "--parameterization", "low_rank", "--init", "noise")
    assert lomtt.path(tmp_path / "ours").name == "res_LoMTT_Digits_ConvNetD1_1ipc.pt"
    assert (ours["meta"]["method"], theirs["meta"]["method"]) == ("LoMTT", "MTT")
    assert same_sets(ours, theirs) and ours["accs_all_exps"] == theirs["accs_all_exps"]
    assert ours["meta"]["experts"] == theirs["meta"]["experts"]
    for images, factors in (("data", "factors"), ("best", "best_factors")):
        a, b = ours[factors][0]["a"], ours[factors][0]["b"]
        assert a.shape == (40, 1, 8, 1) and torch.equal(a @ b, ours[images][0][0])
    assert not torch.equal(ours["data"][0][0], begun(lomtt, tmp_path, *flags))


# Bad input

@pytest.mark.parametrize("flags, mend", [
    (["--min_start_epoch", "2"], "--min_start_epoch 2 leaves no epoch before --max_start_epoch 2"),
    (["--min_start_epoch", "5"], "--min_start_epoch 5 leaves no epoch before --max_start_epoch 2"),
    (["--max_start_epoch", "3"], "hold epochs 0 to 3, but epochs up to 4 are needed"),
    (["--expert_epochs", "3"], "hold epochs 0 to 3, but epochs up to 4 are needed"),
    (["--current_max_start_epoch", "1"], "--expansion_end_epoch go together"),
    (["--expansion_end_epoch", "1"], "--expansion_end_epoch go together"),
    (["--current_max_start_epoch", "3", "--expansion_end_epoch", "9"], "at most --max_start_epoch 2, not 3"),
    (["--lr_y", "1", "--teacher_label"], "leave one out"),
    (["--random_trajectory", "--lr_y", "1"], "--random_trajectory has no experts"),
    (["--random_trajectory", "--init", "samples_predicted_correctly"], "--random_trajectory has no experts"),
    (["--model", "ConvNetBN"], "batch norm"),
    (["--model", "ConvNetD2"], "no expert trajectories"),
    (["--zca"], "no expert trajectories"),
    (["--init", "noise_scaled"], "unknown start 'noise_scaled'"),
    (["--ipc", "200"], "use --ipc 139 or less, or --init noise"),
    (["--unroll", "ful"], "did you mean full?"),
    (["--select_on", "train"], "choose one of: val, test, none"),
    (["--no_aug", "yes"], "choose one of: True, False"),
    (["--dsa_strategy", "flip_colour"], "did you mean color?"),
    (["--lr_net", "0.1"], "unknown flag --lr_net"),
    (["--syn_steps", "0"], "--syn_steps must be 1 or larger"),
    (["--threshold", "0"], "--threshold must be larger than 0"),
    (["--eval_mode", "Q"], "choose one of: S, SS, M"),
    (["--dataset", "folder", "--data_path", "nowhere"], "nowhere"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_bad_input_is_one_line_with_the_mend_exit_code_2_and_nothing_written(mtt, tmp_path, capsys, flags, mend):
    code, line = mtt.error_line(capsys, tmp_path, *flags)
    assert code == 2 and mend in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flags", [[], ["--zca"], ["--max_start_epoch", "70"],
                                   ["--dataset", "file", "--data_path", "{path}/my data.pt"]], ids=" ".join)
def test_message_about_missing_experts_holds_the_command_that_makes_those_the_run_looks_for(
        mtt, tmp_path, capsys, flags):
    pixels = torch.randint(256, (40, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    torch.save({"images_train": pixels, "labels_train": torch.arange(40) % 4}, tmp_path / "my data.pt")
    flags = ["--buffer_path", str(tmp_path / "my buffers"), *(flag.format(path=tmp_path) for flag in flags)]
    code, line = mtt.error_line(capsys, tmp_path / "out", *flags)
    assert code == 2 and line.startswith("error: no expert trajectories in ")
    words = shlex.split(line.split("make them: ")[1])
    assert words[:2] == ["python", "buffer.py"]
    made, cfg = buffer.settled(parse(buffer.Config, words[2:])), parse(main_MTT.Config, [*mtt.settings, *flags])
    assert (made.dataset, made.model, made.zca, made.data_path) == (cfg.dataset, cfg.model, cfg.zca, cfg.data_path)
    folder = expert_folder(made.buffer_path, made.dataset, made.model, zca=made.zca)
    assert f"no expert trajectories in {folder};" in line
    assert made.train_epochs >= cfg.max_start_epoch - 1 + cfg.expert_epochs


@pytest.mark.parametrize("flags, name, mend", [
    (["--model", "ConvNetW32"], "Digits/ConvNetW32", "holds experts of ConvNetD1, this run uses ConvNetW32; give "
                                                     "--model ConvNetD1"),
    (["--zca"], "Digits_ZCA/ConvNetD1", "saw normalised images, this run's are ZCA-whitened; leave out --zca"),
    (["--dataset", "file", "--data_path", "{path}/data.pt"], "file/ConvNetD1", "experts of Digits, this run condenses "
                                                                              "file"),
])
@pytest.mark.parametrize("sidecar", [True, False], ids=["described", "bare"])
def test_experts_of_something_else_are_refused_where_one_can_know(
        mtt, tmp_path, able_experts, capsys, flags, name, mend, sidecar):
    torch.save({"images_train": torch.zeros(40, 1, 8, 8), "labels_train": torch.arange(40) % 10}, tmp_path / "data.pt")
    folder = tmp_path / "buffers" / name
    shutil.copytree(able_experts / "Digits" / "ConvNetD1", folder)
    flags = ["--buffer_path", str(tmp_path / "buffers"), *(flag.format(path=tmp_path) for flag in flags), *UNSCORED]
    if sidecar or "--model" in flags:
        code, line = mtt.error_line(capsys, tmp_path / "out", *flags)
        assert code == 2 and mend in line and not list((tmp_path / "out").iterdir())
        return
    (folder / "buffer.json").unlink()
    mtt.run(tmp_path / "out", *flags)
    assert "has no buffer.json" in capsys.readouterr().out


def test_file_that_is_cut_off_is_refused_by_name_unless_bad_ones_may_be_left_out(
        mtt, tmp_path, able_experts, capsys):
    folder = tmp_path / "buffers" / "Digits" / "ConvNetD1"
    shutil.copytree(able_experts / "Digits" / "ConvNetD1", folder)
    cut = folder / "replay_buffer_1.pt"
    cut.write_bytes(cut.read_bytes()[:-1000])
    flags = ["--buffer_path", str(tmp_path / "buffers"), *UNSCORED]
    code, line = mtt.error_line(capsys, tmp_path / "out", *flags)
    assert code == 2 and str(cut) in line and "--skip_bad" in line and not list((tmp_path / "out").iterdir())
    result = mtt.run(tmp_path / "out", *flags, "--skip_bad")
    assert str(cut) in capsys.readouterr().out
    (experts,) = result["meta"]["experts"]
    assert (experts["experts"], experts["files"]) == (2, 1)


def test_yaml_may_write_the_words_true_and_false_without_quotes(tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text("dsa: False\nno_aug: true\n")
    cfg = parse(with_forms(main_MTT.Config, PARAMETERIZATIONS), ["--config", str(path)])
    assert (cfg.dsa, cfg.no_aug) == ("False", "True")


def test_command_for_experts_of_own_images_says_what_is_held_out(mtt, tmp_path, capsys):
    flags = ["--dataset", "folder", "--data_path", str(two_classes(tmp_path)), "--seed", "3", "--resize", "squash"]
    code, line = mtt.error_line(capsys, tmp_path / "out", *flags)
    assert code == 2
    cfg = parse(with_forms(buffer.Config, PARAMETERIZATIONS), shlex.split(line.split("python buffer.py ")[1]))
    assert (cfg.seed, cfg.resize, cfg.data_path) == (3, "squash", flags[3])


def two_classes(tmp_path):
    """A folder with five 8x8 images of each of two classes."""
    for name in ("ants", "bees"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(5):
            Image.new("L", (8, 8), 25 * number).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


@pytest.mark.parametrize("flags, mend", [
    (["--texture"], "not offered here"), (["--dsa", "False", "--dsa_strategy", "color"], "leave one of the two out"),
    (["--random_trajectory", "--load_all"], "reads no experts")])
def test_what_cannot_be_obeyed_is_refused(mtt, tmp_path, capsys, flags, mend):
    code, line = mtt.error_line(capsys, tmp_path, *flags)
    assert code == 2 and mend in line and not list(tmp_path.glob("res_*"))


def test_experts_where_the_published_code_has_them_are_found(tmp_path):
    net = torch.nn.Linear(2, 3)
    trajectory = [[p.detach() + epoch for p in net.parameters()] for epoch in range(4)]
    folder = tmp_path / "Tiny" / "ConvNetD4"
    folder.mkdir(parents=True)
    torch.save([trajectory], folder / "replay_buffer_0.pt")
    real = SimpleNamespace(name="TinyImageNet", zca=None, im_size=(64, 64), fingerprint="0", class_ids=None)
    experts = open_experts(tmp_path, net, real, "ConvNetD4", (0, 3))
    assert len(experts) == 1 and torch.equal(experts.snapshot(0, 1), experts.snapshot(0, 0) + 1)
