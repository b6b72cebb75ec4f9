"""The form of the synthetic set as an axis of its own: presets, budgets, files, and a form that a test adds."""

import logging
from dataclasses import replace

import pytest
import torch
from torch import nn

import main_DC
import main_DM
import main_LoDC
import main_LoDM
import main_MTT
from condense.cli import parse, with_forms
from condense.run.results import load_result
from condense.run.script import run_script
from condense.sharing.layouts import read_set
from condense.synthetic import PARAMETERIZATIONS
from condense.synthetic.base import SyntheticSet
from tests.conftest import stopped

TINY = ["--dataset", "Digits", "--model", "ConvNetD1", "--Iteration", "2", "--num_exp", "1", "--num_eval", "1",
        "--epoch_eval_train", "1", "--batch_real", "8", "--eval_every", "0", "--no-progress", "--device", "cpu"]
LOW_RANK = ["--parameterization", "low_rank"]
MEMORY = ["--parameterization", "memory", "--n_basis", "6", "--ipc", "1"]
OTHER_DEFAULTS = ["--ipc", "1", "--init", "noise"]


def run(script, folder, *flags):
    cfg = parse(with_forms(script.Config, PARAMETERIZATIONS), [*TINY, "--save_path", str(folder), *flags])
    return script.main(cfg)


def refusal(script, folder, capsys, *flags):
    with pytest.raises(SystemExit) as leaving:
        run_script(script.main, script.Config, "", [*TINY, "--save_path", str(folder), *flags])
    assert leaving.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and not list(folder.iterdir())
    return lines[0]


def assert_same_sets(one, other):
    for (images, labels), (others, other_labels) in zip(one["data"], other["data"], strict=True):
        assert torch.equal(images, others) and torch.equal(labels, other_labels)


@pytest.mark.parametrize("preset, host, flags", [
    (main_LoDM, main_DM, []), (main_LoDC, main_DC, []), (main_LoDC, main_DC, ["--method", "DSA", "--init", "real"])])
def test_a_preset_is_its_host_with_another_form(tmp_path, preset, host, flags):
    flags = [*OTHER_DEFAULTS, "--rank", "1", *flags]
    ours = run(preset, tmp_path, *flags)
    theirs = run(host, tmp_path, *LOW_RANK, *flags)
    assert_same_sets(ours, theirs)
    assert ours["accs_all_exps"] == theirs["accs_all_exps"]
    assert ours["meta"]["method"] == f"Lo{theirs['meta']['method']}"
    assert (tmp_path / f"res_{ours['meta']['method']}_Digits_ConvNetD1_1ipc.pt").is_file()


def test_the_sheet_of_defaults(tmp_path):
    cfg = parse(with_forms(main_LoDM.Config, PARAMETERIZATIONS), [])
    assert (cfg.dataset, cfg.ipc, cfg.rank, cfg.init, cfg.lr_img, cfg.eval_mode) == ("MNIST", 1, 2, "noise", 1.0, "SS")
    cfg = parse(with_forms(main_LoDC.Config, PARAMETERIZATIONS), [])
    assert (cfg.dataset, cfg.ipc, cfg.rank, cfg.init, cfg.lr_img, cfg.eval_mode) == ("CIFAR10", 1, 2, "noise", 0.1, "S")


def test_the_budget_is_ipc_whole_images_and_is_told(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "condense"):
        result = run(main_LoDM, tmp_path, "--ipc", "2", "--rank", "1")
    images, labels = result["data"][0]
    assert len(images) == 80 and labels.bincount().tolist() == [8] * 10            # 2 * 64 / (1 * 16) of each class
    assert result["meta"]["storage"] == {"floats": 1280, "bytes": 5120, "budget_floats": 1280, "budget_bytes": 5120}
    assert "stored: 1,280 of 1,280 floats (5,120 of 5,120 bytes), decoded to 8 images per class" in caplog.text


@pytest.mark.parametrize("flags, form", [
    (["--ipc", "1"], {"views": 1, "decoded": 1}),
    (["--parameterization", "multi_formation", "--ipc", "1"], {"views": 1, "decoded": 2}),
    (["--parameterization", "hallucinator", "--ipc", "3", "--n_style", "2"], {"views": 2, "decoded": 1})])
def test_meta_says_how_images_come_from_what_is_stored(tmp_path, flags, form):
    meta = run(main_DM, tmp_path, *flags)["meta"]
    assert {name: meta[name] for name in form} == form
    (path,) = tmp_path.glob("res_*ipc.pt")
    file = read_set(path)
    assert (file.views, file.decoded) == (form["views"], form["decoded"])


@pytest.mark.parametrize("kept, keys", [("both", {"data", "factors"}), ("factors", {"factors"}), ("images", {"data"})])
def test_save_says_what_the_file_holds_and_every_reader_gets_the_images(tmp_path, kept, keys):
    result = run(main_LoDM, tmp_path, "--save", kept)
    path = tmp_path / "res_LoDM_Digits_ConvNetD1_1ipc.pt"
    content = torch.load(path, weights_only=True)
    assert {key for key in ("data", "factors") if content.get(key)} == keys
    assert_same_sets(load_result(path), result)


def test_a_file_of_factors_stays_within_the_budget_and_64_kB(tmp_path):
    result = run(main_LoDM, tmp_path, "--save", "factors", "--ipc", "50", "--num_exp", "2")
    path = tmp_path / "res_LoDM_Digits_ConvNetD1_50ipc.pt"
    content = torch.load(path, weights_only=True)
    for factors in content["factors"]:
        tensors = [value for value in factors.values() if torch.is_tensor(value)]
        stored = sum(value.numel() for value in tensors if value.dtype.is_floating_point)
        assert stored <= result["meta"]["storage"]["budget_floats"]
    assert path.stat().st_size <= 2 * result["meta"]["storage"]["budget_bytes"] + 64_000


@pytest.mark.parametrize("damage, mend", [
    (lambda f: f.pop("b"), "without b"),
    (lambda f: f.update(a=f["a"][:, :, :-1]), "its factors are incomplete: a .*20, 1, 7, 2"),
    (lambda f: f.update(parameterization="low_rang"), "did you mean low_rank"),
])
def test_factors_that_are_not_whole_are_refused_by_name(tmp_path, damage, mend):
    run(main_LoDM, tmp_path, "--save", "factors")
    path = tmp_path / "res_LoDM_Digits_ConvNetD1_1ipc.pt"
    content = torch.load(path, weights_only=True)
    damage(content["factors"][0])
    torch.save(content, path)
    with pytest.raises(ValueError, match=mend):
        load_result(path)


@pytest.mark.parametrize("flags, mend", [
    (["--rank", "0"], "--rank must be 1 or larger, not 0"),
    (["--rank", "5"], "--rank 4 or less, or --ipc 2 or more"),
    (["--init", "reel"], "did you mean real?"),
    (["--parameterization", "pixels"], "unknown value 'pixels'; choose one of: low_rank"),
    (["--ipc", "100", "--init", "real"], "use --ipc 69 or less, or --init noise"),
    (["--save", "factor"], "did you mean factors?"),
])
@pytest.mark.parametrize("script", [main_LoDM, main_LoDC])
def test_what_cannot_be_is_refused_before_anything_is_written(tmp_path, capsys, script, flags, mend):
    assert mend in refusal(script, tmp_path, capsys, *flags)


@pytest.mark.parametrize("flags, mend", [
    (["--rank", "2"], "--rank belongs to --parameterization low_rank, not pixels"),
    (["--save", "factors"], "--save belongs to --parameterization low_rank or memory or "),
    (["--n_basis", "8"], "--n_basis belongs to --parameterization memory, not pixels"),
    (["--init", "noise_scaled"], "unknown start 'noise_scaled'"),
])
@pytest.mark.parametrize("script", [main_DM, main_DC])
def test_pixels_refuse_what_only_other_forms_have(tmp_path, capsys, script, flags, mend):
    assert mend in refusal(script, tmp_path, capsys, *flags)


@pytest.fixture
def hosts(able_experts):
    """The method scripts, each with the flags that make it quick."""
    loops = ["--outer_loop", "2", "--inner_loop", "1"]
    segments = ["--buffer_path", str(able_experts), "--max_start_epoch", "2", "--expert_epochs", "2",
                "--syn_steps", "3", "--lr_img", "10", "--select_on", "none"]
    return {"DM": (main_DM, []), "DC": (main_DC, loops), "DSA": (main_DC, ["--method", "DSA", *loops]),
            "MTT": (main_MTT, segments)}


@pytest.mark.parametrize("init", ["noise", "real"])
@pytest.mark.parametrize("host", ["DM", "DC", "DSA", "MTT"])
def test_a_memory_is_learned_under_every_objective_within_its_budget(tmp_path, hosts, host, init):
    script, flags = hosts[host]
    flags = [*flags, *MEMORY, "--init", init]
    run(script, tmp_path / "start", *flags, "--Iteration", "0")
    result = run(script, tmp_path, *flags)
    assert result["meta"]["storage"]["floats"] == 636 <= result["meta"]["storage"]["budget_floats"] == 640
    name = f"res_{host}_Digits_ConvNetD1_1ipc.pt"
    files = [torch.load(folder / name, weights_only=True) for folder in (tmp_path / "start", tmp_path)]
    for table in ("bases", "coefficients"):
        before, after = (file["factors"][0][table] for file in files)
        assert after.isfinite().all() and (after != before).flatten(1).any(1).all()            # every row of both
    images, labels = result["data"][0]
    assert images.shape == (90, 1, 8, 8) and labels.bincount().tolist() == [9] * 10


@pytest.mark.parametrize("host", ["DM", "DSA", "MTT"])
def test_a_memory_has_the_same_bytes_whether_stopped_and_resumed_or_not(tmp_path, hosts, monkeypatch, host):
    script, flags = hosts[host]
    flags = [*flags, *MEMORY, "--Iteration", "3"]
    run(script, tmp_path / "whole", *flags)
    parts = [*TINY, "--save_path", str(tmp_path / "parts"), *flags]
    stopped(lambda: run_script(script.main, script.Config, "", parts), monkeypatch)
    run(script, tmp_path / "parts", *flags, "--resume")
    name = f"res_{host}_Digits_ConvNetD1_1ipc.pt"
    assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("flags, mend", [
    (["--downsample_scale", "3"], "3 does not divide the sides of 8x8 images; use one of: 1, 2, 4, 8"),
    (["--n_basis", "25"], "next to --n_basis 25 at --downsample_scale 2; use --n_basis 24 or less, or --ipc 2 or more"),
    (["--n_basis", "0"], "--n_basis must be 1 or larger, not 0"),
    (["--init", "noise_scaled"], "unknown start 'noise_scaled'"),
    (["--ipc", "20", "--init", "real"], "of every class, but class "),
])
def test_a_memory_that_cannot_be_is_refused_before_anything_is_written(tmp_path, capsys, flags, mend):
    assert mend in refusal(main_DM, tmp_path, capsys, *MEMORY, *flags)


def test_a_file_of_a_memory_holds_its_tables_and_gives_every_reader_the_images(tmp_path):
    result = run(main_DM, tmp_path, *MEMORY, "--save", "factors")
    path = tmp_path / "res_DM_Digits_ConvNetD1_1ipc.pt"
    content = torch.load(path, weights_only=True)
    assert not content["data"] and content["factors"][0]["parameterization"] == "memory"
    assert_same_sets(load_result(path), result)
    content["factors"][0]["bases"] = content["factors"][0]["bases"][:-1]
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"its factors are incomplete: bases \[5, 1, 4, 4\]"):
        load_result(path)


class Mirrored(SyntheticSet):
    """A form that a stranger might add: only the left halves are stored, the right ones mirror them."""

    INITS = ("noise", "real")
    OPTIONS = {"gain": dict(default=1.0, help="what the stored half is multiplied with", gt=0)}

    def __init__(self, num_classes, ipc, channel, im_size, gain=1.0):
        height, width = im_size
        labels = torch.arange(num_classes).repeat_interleave(2 * ipc)
        super().__init__(labels, [2 * ipc] * num_classes, num_classes * ipc * channel * height * width)
        self.gain, self.left = gain, nn.Parameter(torch.zeros(len(labels), channel, height, width // 2))

    def images(self, index=None):
        left = self.gain * (self.left if index is None else self.left[index])
        return torch.cat((left, left.flip(3)), 3)

    @torch.no_grad()
    def init_from(self, real, how, rng):
        whole = torch.randn(len(self.labels), real.channel, *real.im_size, generator=rng)
        if how == "real":
            whole = real.sample(real.classes, self.counts[0], rng).images()
        self.left.copy_(whole[..., :real.im_size[1] // 2] / self.gain)
        return self


@pytest.mark.parametrize("script, flags", [(main_DM, []), (main_DC, []), (main_DC, ["--method", "DSA"])])
def test_a_form_is_added_by_a_class_and_a_line_in_the_registry(tmp_path, monkeypatch, script, flags):
    monkeypatch.setitem(PARAMETERIZATIONS, "mirrored", Mirrored)
    flags = [*flags, "--ipc", "1", "--parameterization", "mirrored", "--gain", "2"]
    result = run(script, tmp_path, *flags, "--init", "real")
    start = run(script, tmp_path / "start", *flags, "--init", "real", "--Iteration", "0")
    images, labels = result["data"][0]
    assert torch.equal(images, images.flip(3)) and labels.bincount().tolist() == [2] * 10
    assert not torch.equal(images, start["data"][0][0])
    assert result["meta"]["options"]["gain"] == 2.0
    assert result["meta"]["storage"]["floats"] == result["meta"]["storage"]["budget_floats"] == 640


def test_options_of_a_form_reach_a_script_that_is_called_with_its_plain_config(tmp_path):
    """A script's `Config` alone has no --rank: the form's own default counts."""
    cfg = parse(main_DM.Config, [*TINY, "--ipc", "1", "--save_path", str(tmp_path)])
    assert len(main_DM.main(replace(cfg, parameterization="low_rank"))["data"][0][0]) == 20
