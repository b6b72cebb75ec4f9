"""main_DM.py as a user runs it: on Digits, with tiny settings."""

import logging

import pytest
import torch

RESULT = "res_DM_Digits_ConvNetW32_2ipc.pt"


def same_tensors(a, b):
    return all(torch.equal(x, y) for e, f in zip(a["data"], b["data"], strict=True) for x, y in zip(e, f, strict=True))


def test_result_has_the_reference_layout_and_says_what_it_is(dm, tmp_path):
    result = dm.run(tmp_path, "--num_exp", "2")
    assert [type(entry) for entry in result["data"]] == [list, list]
    assert [path.name for path in tmp_path.glob("*.pt")] == [RESULT]
    images, labels = result["data"][1]
    assert images.shape == (20, 1, 8, 8) and images.dtype == torch.float32
    assert labels.tolist() == [c for c in range(10) for _ in range(2)]
    accuracies = result["accs_all_exps"]["ConvNetW32"]
    assert len(accuracies) == 4 and all(type(a) is float and 0 <= a <= 1 for a in accuracies)
    meta = result["meta"]
    assert meta["method"] == "DM" and meta["seed"] == 0 and meta["class_names"] == [str(d) for d in range(10)]
    assert meta["storage"]["floats"] == meta["storage"]["budget_floats"] == 10 * 2 * 64
    assert meta["options"]["lr_img"] == 1.0 and "save_path" not in meta["options"]


def test_condensing_moves_every_class_away_from_its_start(dm, tmp_path):
    start, end = dm.run(tmp_path / "a", "--Iteration", "0"), dm.run(tmp_path / "b")
    moved = (start["data"][0][0] - end["data"][0][0]).abs().flatten(1).amax(1)
    assert (moved > 1e-4).all()


def test_same_seed_gives_the_same_bytes_and_another_seed_other_images(dm, tmp_path):
    one, two = dm.run(tmp_path / "a"), dm.run(tmp_path / "b")
    assert (tmp_path / "a" / RESULT).read_bytes() == (tmp_path / "b" / RESULT).read_bytes()
    assert same_tensors(one, two)
    assert not same_tensors(one, dm.run(tmp_path / "c", "--seed", "1"))


def test_evaluating_more_often_leaves_every_number_as_it_was(dm, tmp_path):
    often, once = dm.run(tmp_path / "a", "--eval_every", "1"), dm.run(tmp_path / "b", "--eval_every", "0")
    assert same_tensors(often, once) and often["accs_all_exps"] == once["accs_all_exps"]
    count = [sum(line["event"] == "evaluation" for line in dm.journal(tmp_path / name)) for name in "ab"]
    assert count == [7, 1]


def test_last_iteration_is_evaluated_whatever_the_cadence(dm, tmp_path):
    dm.run(tmp_path, "--eval_every", "4")
    assert [line["iteration"] for line in dm.journal(tmp_path) if line["event"] == "evaluation"] == [0, 4, 6]


def test_chunks_change_nothing_but_rounding(dm, tmp_path):
    whole, chunked = dm.run(tmp_path / "a", "--chunk", "1000"), dm.run(tmp_path / "b", "--chunk", "7")
    torch.testing.assert_close(whole["data"][0][0], chunked["data"][0][0], rtol=1e-4, atol=1e-4)


def test_pictures_are_written_at_each_evaluation_and_metrics_beside_the_result(dm, tmp_path):
    dm.run(tmp_path, "--eval_every", "3")
    names = sorted(path.name for path in tmp_path.glob("*.png"))
    assert names == [f"vis_DM_Digits_ConvNetW32_2ipc_exp0_iter{it}.png" for it in (0, 3, 6)]
    events = dm.journal(tmp_path)
    assert events[0]["event"] == "start" and "torch" in events[0]["versions"] and events[-1]["event"] == "end"
    assert [line["iteration"] for line in events if line["event"] == "step"] == [0]
    assert not list(tmp_path.glob("*.ckpt")) and not list(tmp_path.glob("*unfinished*"))


def test_after_the_first_iterations_a_line_says_how_long_and_which_flags_shorten_it(dm, tmp_path, capsys):
    dm.run(tmp_path, "--eval_every", "3")
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("stored:")]
    assert "iteration 0, ConvNetW32" in lines[0] and "iteration 3, ConvNetW32" in lines[2]
    assert lines[1].startswith("about ") and "6 iterations" in lines[1] and "--Iteration" in lines[1]


@pytest.mark.parametrize("flags", [["--model", "ConvNetBN", "--eval_mode", "S"], ["--dsa_strategy", "none"],
                                   ["--init", "noise"], ["--batch_real", "all"], ["--batch_real", "1000"],
                                   ["--precision", "bf16"], ["--dsa_strategy", "flip_color"]], ids=" ".join)
def test_variant_runs_to_a_finite_result(dm, tmp_path, flags):
    result = dm.run(tmp_path, "--Iteration", "2", *flags)
    assert result["data"][0][0].isfinite().all()
    if "ConvNetBN" in flags:
        assert list(result["accs_all_exps"]) == ["ConvNet"]


def test_pool_mode_scores_every_architecture_at_the_end_only(dm, tmp_path):
    result = dm.run(tmp_path, "--eval_mode", "W", "--Iteration", "1", "--epoch_eval_train", "0", "--num_eval", "1")
    assert list(result["accs_all_exps"]) == ["ConvNetW32", "ConvNetW64", "ConvNetW128", "ConvNetW256"]
    assert {line["iteration"] for line in dm.journal(tmp_path) if line["event"] == "evaluation"} == {1}


def test_flag_that_does_nothing_in_the_original_is_answered_by_one_line(dm, tmp_path, capsys):
    dm.run(tmp_path, "--dis_metric", "mse")
    assert sum("--dis_metric" in line for line in capsys.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize("flags, mend", [
    (["--dataset", "Digit"], "did you mean Digits?"),
    (["--model", "ConvNe"], "did you mean ConvNet?"),
    (["--dsa_strategy", "flip_colour"], "did you mean color?"),
    (["--eval_mode", "Q"], "choose one of: S, SS, M, B, W, D, A, P, N"),
    (["--ipc", "0"], "--ipc must be 1 or larger, not 0"),
    (["--ipc", "500"], "class '8' has 139"),
    (["--num_eval", "0"], "--num_eval must be 1 or larger"),
    (["--lr_img", "-1"], "--lr_img must be larger than 0"),
    (["--lr_img", "fast"], "--lr_img must be a number"),
    (["--init", "reel"], "did you mean real?"),
    (["--batch_real", "al"], "did you mean all?"),
    (["--lr_imgs", "1"], "did you mean --lr_img?"),
    (["--device", "tpu"], "--device must be auto, cpu, cuda"),
    (["--model", "ConvNetD6"], "ConvNetD3"),
    (["--eval_mode", "M"], "LeNet"),
    (["--dataset", "folder", "--data_path", "nowhere"], "nowhere"),
    (["--dataset", "file", "--data_path", "nowhere.pt"], "nowhere.pt"),
    (["--config", "nowhere.yaml"], "nowhere.yaml"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_bad_input_is_one_line_with_the_mend_and_exit_code_2(dm, tmp_path, capsys, flags, mend):
    code, line = dm.error_line(capsys, tmp_path, *flags)
    assert code == 2 and mend in line
    assert not list(tmp_path.glob("res_*"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA GPU")
def test_cuda_without_a_gpu_says_what_to_use_instead(dm, tmp_path, capsys):
    code, line = dm.error_line(capsys, tmp_path, "--device", "cuda")
    assert code == 2 and "--device cpu" in line


def test_unknown_config_key_names_file_key_and_the_nearest(dm, tmp_path, capsys):
    (tmp_path / "my.yaml").write_text("lr_image: 3\n")
    code, line = dm.error_line(capsys, tmp_path, "--config", str(tmp_path / "my.yaml"))
    assert code == 2 and "my.yaml" in line and "'lr_image'" in line and "did you mean lr_img?" in line


def test_unwritable_output_is_refused_before_the_work(dm, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    code, line = dm.error_line(capsys, tmp_path / "file" / "below")
    assert code == 2 and "--save_path" in line


def test_debug_shows_where_an_error_came_from(dm, tmp_path):
    with pytest.raises(ValueError, match="did you mean Digits"):
        dm.run(tmp_path, "--dataset", "Digit", "--debug")


def test_tensorboard_events_are_written_or_the_missing_package_is_named(dm, tmp_path, capsys):
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        code, line = dm.error_line(capsys, tmp_path, "--tensorboard")
        assert code == 2 and "pip install tensorboard" in line
        return
    dm.run(tmp_path, "--tensorboard")
    assert list(tmp_path.glob("*/events*"))


@pytest.mark.parametrize("lr, told", [("1e6", True), ("1", False)])
def test_images_far_from_anything_real_are_told_of(dm, tmp_path, capsys, lr, told):
    log = logging.getLogger("condense")
    log.handlers.clear()                                   # as in a process that has just started
    log.setLevel(logging.NOTSET)
    dm.run(tmp_path, "--Iteration", "2", "--num_exp", "1", "--lr_img", lr, "--eval_every", "0")
    found = capsys.readouterr()
    assert ("standard deviations, far beyond real images; lower the step sizes" in found.out + found.err) == told
