"""main_KFS.py, and latent codes with shared decoders under every method."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import main_DC
import main_DD
import main_DM
import main_IDC
import main_KFS
import main_MTT
from condense.cli import parse, with_forms
from condense.core.errors import OptionError
from condense.run.results import load_result
from condense.run.run import Run
from condense.run.script import run_script
from condense.synthetic import PARAMETERIZATIONS, LatentDecoder, latent_decoder
from tests.conftest import stopped

TINY = ["--dataset", "Digits", "--model", "ConvNetD1", "--num_exp", "1", "--num_eval", "1", "--eval_every", "0",
        "--no-progress", "--device", "cpu"]
DM = ["--epoch_eval_train", "1", "--Iteration", "2"]
LATENT = ["--parameterization", "latent_decoder", "--warmup_steps", "4", "--ipc", "1"]
CONFIGS = sorted(Path("configs/KFS").glob("*.yaml"))
SHAPES = {"MNIST": (10, 1, (28, 28)), "FashionMNIST": (10, 1, (28, 28)), "SVHN": (10, 3, (32, 32)),
          "CIFAR10": (10, 3, (32, 32)), "CIFAR100": (100, 3, (32, 32)), "TinyImageNet": (200, 3, (64, 64))}


def parsed(script, *flags):
    return parse(with_forms(script.Config, PARAMETERIZATIONS), list(flags))


def run(script, folder, *flags):
    return script.main(parsed(script, *TINY, "--save_path", str(folder), *flags))


def refusal(script, folder, capsys, *flags):
    with pytest.raises(SystemExit) as leaving:
        run_script(script.main, script.Config, "", [*TINY, "--save_path", str(folder), *flags])
    lines = capsys.readouterr().err.strip().splitlines()
    assert leaving.value.code == 2 and len(lines) == 1 and not list(folder.iterdir())
    return lines[0]


@pytest.fixture
def hosts(able_experts):
    """The method scripts, each with the flags that make it quick."""
    segments = ["--buffer_path", str(able_experts), "--max_start_epoch", "2", "--expert_epochs", "2",
                "--syn_steps", "3", "--lr_img", "10", "--select_on", "none"]
    descent = ["--distill_steps", "5", "--distill_epochs", "1", "--batch_size", "200", "--Iteration", "2"]
    refined = ["--epoch_eval_train", "1", "--inner_loop", "2", "--batch_real", "6", "--n_data", "16", "--batch_train",
               "8", "--lr_img", "1", "--lr_net", "0.01"]
    return {"DM": (main_DM, [*DM, "--batch_real", "8"]),
            "DC": (main_DC, [*DM, "--outer_loop", "2", "--inner_loop", "1", "--batch_real", "8"]),
            "MTT": (main_MTT, [*DM, *segments]), "DD": (main_DD, descent), "IDC": (main_IDC, refined)}


def test_the_preset_is_dm_with_codes_and_decoders(tmp_path):
    same = [*DM, "--init", "noise", "--batch_real", "8"]
    ours = run(main_KFS, tmp_path, *same)
    theirs = run(main_DM, tmp_path, *same, *LATENT, "--optimizer", "adam", "--lr_img", "0.01")
    assert torch.equal(ours["data"][0][0], theirs["data"][0][0])
    assert ours["accs_all_exps"] == theirs["accs_all_exps"]
    assert ours["meta"]["method"] == "KFS" and (tmp_path / "res_KFS_Digits_ConvNetD1_1ipc.pt").is_file()


def test_the_sheet_of_defaults():
    cfg = parsed(main_KFS)
    assert (cfg.dataset, cfg.ipc, cfg.init, cfg.optimizer, cfg.Iteration, cfg.batch_real, cfg.lr_img) == \
        ("CIFAR10", 1, "real", "adam", 10000, "all", 0.01)
    groups = LatentDecoder(10, 1, 3, (32, 32), **cfg.form_options()).param_groups(cfg.lr_img, 0.5)
    assert [group["lr"] for group in groups] == pytest.approx([1e-2, 1e-3]) and cfg.warmup_steps == 5000


@pytest.mark.parametrize("init", LatentDecoder.INITS)
@pytest.mark.parametrize("host", ["DM", "DC", "MTT", "DD"])
def test_codes_and_decoders_are_learned_under_every_objective_within_the_budget(tmp_path, hosts, host, init):
    script, flags = hosts[host]
    flags = [*flags, *LATENT, "--init", init]
    run(script, tmp_path / "start", *flags, "--Iteration", "0")
    result = run(script, tmp_path, *flags)
    assert result["meta"]["storage"]["floats"] == 598 <= result["meta"]["storage"]["budget_floats"] == 640
    name = f"res_{host}_Digits_ConvNetD1_1ipc.pt"
    before, after = (torch.load(folder / name, weights_only=True)["factors"][0] for folder in (tmp_path / "start",
                                                                                             tmp_path))
    assert after["codes"].shape == (10, 5, 2, 2, 2) and after["codes"].isfinite().all()
    assert (after["codes"] != before["codes"]).flatten(2).any(2).all()                        # every code
    for tensor in ("weight1", "weight2", "bias1", "bias2"):
        assert (after[tensor] != before[tensor]).flatten(1).any(1).all()                      # of every decoder
    images, labels = result["data"][0]
    assert images.shape == (100, 1, 8, 8) and labels.bincount().tolist() == [10] * 10


@pytest.fixture
def fits(monkeypatch):
    """A list that grows by one number of steps with every fit to real images."""
    steps, fit = [], latent_decoder.fit

    def counted(decode, parameters, batch, targets, number, rng):
        steps.append(number)
        return fit(decode, parameters, batch, targets, number, rng)

    monkeypatch.setattr(latent_decoder, "fit", counted)
    return steps


@pytest.mark.parametrize("host, init", [("DM", "real"), ("DC", "real"), ("MTT", "real"), ("DD", "real"),
                                        ("IDC", "real"), ("MTT", "samples_predicted_correctly")])
def test_a_stopped_and_resumed_run_has_the_same_bytes_and_fits_nothing_again(
        tmp_path, hosts, monkeypatch, fits, host, init):
    script, flags = hosts[host]
    flags = [*flags, *LATENT, "--init", init, "--Iteration", "3", "--optimizer", "adam", "--lr_code", "0.01"]
    flags += ["--lr_y", "5"] if host == "MTT" else []
    run(script, tmp_path / "whole", *flags)
    parts = [*TINY, "--save_path", str(tmp_path / "parts"), *flags]
    stopped(lambda: run_script(script.main, script.Config, "", parts), monkeypatch)
    assert fits == [4, 4]
    run(script, tmp_path / "parts", *flags, "--resume")
    assert fits == [4, 4]
    name = f"res_{host}_Digits_ConvNetD1_1ipc.pt"
    assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("exp, iteration, again", [(0, 2, 1), (1, 0, 1), (1, 2, 0)])
def test_a_killed_run_fits_again_only_what_no_checkpoint_restores(tmp_path, monkeypatch, fits, exp, iteration, again):
    """Killed in front of an iteration; checkpoints are of iteration 1 of each experiment, and in between."""
    flags = [*DM, "--batch_real", "8", "--warmup_steps", "4", "--Iteration", "3", "--num_exp", "2",
             "--checkpoint_every", "1"]
    run(main_KFS, tmp_path / "whole", *flags)
    log = Run.log

    def killed(self, loss):
        if (self.exp, self.it) == (exp, iteration):
            raise KeyboardInterrupt
        return log(self, loss)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", killed)
        with pytest.raises(KeyboardInterrupt):
            run(main_KFS, tmp_path / "parts", *flags)
    fits.clear()
    run(main_KFS, tmp_path / "parts", *flags, "--resume")
    assert fits == [4] * again
    whole, parts = ((tmp_path / folder / "res_KFS_Digits_ConvNetD1_1ipc.pt") for folder in ("whole", "parts"))
    assert parts.read_bytes() == whole.read_bytes()


def test_a_file_of_factors_alone_gives_every_reader_the_images(tmp_path):
    flags = [*DM, "--batch_real", "8", "--warmup_steps", "3", "--out", "sigmoid", "--decoder_act", "leaky"]
    result = run(main_KFS, tmp_path, *flags, "--save", "factors")
    path = tmp_path / "res_KFS_Digits_ConvNetD1_1ipc.pt"
    content = torch.load(path, weights_only=True)
    assert not content["data"] and content["factors"][0]["parameterization"] == "latent_decoder"
    floats = sum(value.numel() for name, value in content["factors"][0].items()
                 if torch.is_tensor(value) and name not in ("mean", "std", "labels"))
    assert floats == result["meta"]["storage"]["floats"]
    assert torch.equal(load_result(path)["data"][0][0], result["data"][0][0])
    content["factors"][0]["weight1"] = content["factors"][0]["weight1"][:, :1]
    torch.save(content, path)
    with pytest.raises(ValueError, match="its factors are incomplete: weight1 of codes and decoders is"):
        load_result(path)


@pytest.mark.parametrize("flags, mend", [
    (["--latent_grade", "M"], "--latent_grade M has 3 layers, but decoders of 8x8 images have 2; use one of: auto"),
    (["--latent_grade", "X"], "--latent_grade: unknown value 'X'"),
    (["--latent_hidden", "4,2"], "--latent_hidden has 2 numbers, but decoders of 8x8 images, of 2 layers, take 1"),
    (["--latent_hidden", "0"], "--latent_hidden must be 1 or larger, not 0"),
    (["--codes_per_class", "50"], "use --codes_per_class 15 or less, or --ipc 4 or more"),
    (["--n_decoder", "30"], "or --ipc 2 or more"),
    (["--n_decoder", "few"], "--n_decoder: unknown value 'few'; choose one of: auto"),
    (["--budget", "published"], "leave --budget out"),
    (["--out", "tanh"], "choose one of: linear, sigmoid"),
    (["--lr_code", "0"], "--lr_code must be larger than 0"),
    (["--ipc", "50"], "use --ipc 10 or less, or --init noise"),
    (["--init", "noise_scaled"], "unknown start 'noise_scaled'"),
    (["--parameterization", "pixels"], "choose one of: latent_decoder"),
])
def test_what_cannot_be_is_refused_before_anything_is_written(tmp_path, capsys, flags, mend):
    assert mend in refusal(main_KFS, tmp_path, capsys, *flags)


def test_other_forms_have_no_codes(tmp_path, capsys):
    said = refusal(main_DM, tmp_path, capsys, "--n_decoder", "3")
    assert "--n_decoder belongs to --parameterization latent_decoder, not pixels; leave it out" in said


def test_options_of_a_form_may_be_lists_numbers_or_words(yaml_file):
    assert parsed(main_KFS).latent_hidden == () and parsed(main_KFS).n_decoder == "auto"
    for words in (["8,4"], ["8", "4"]):
        assert parsed(main_KFS, "--latent_hidden", *words).latent_hidden == (8, 4)
    path = yaml_file("latent_hidden: [8, 4]\nn_decoder: 3\ncodes_per_class: auto\nlr_code: 1e-3\nlr_decoder: none\n")
    cfg = parsed(main_KFS, "--config", path, "--codes_per_class", "7")
    assert (cfg.latent_hidden, cfg.n_decoder, cfg.codes_per_class, cfg.lr_code, cfg.lr_decoder) == \
        ((8, 4), 3, 7, 0.001, None)
    assert cfg.identity()["latent_hidden"] == (8, 4) and "latent_hidden" not in parsed(main_DM).identity()
    with pytest.raises(OptionError, match="--latent_hidden must be a whole number, not 'wide'"):
        parsed(main_KFS, "--latent_hidden", "8,wide")


def test_a_script_that_is_called_with_its_plain_config_takes_the_defaults_of_the_form(tmp_path):
    cfg = parse(main_DM.Config, [*TINY, *DM, "--batch_real", "8", "--ipc", "1", "--init", "noise",
                                 "--save_path", str(tmp_path)])
    assert len(main_DM.main(replace(cfg, parameterization="latent_decoder"))["data"][0][0]) == 100


@pytest.mark.parametrize("path", CONFIGS, ids=str)
def test_a_config_says_what_its_cell_stores(path):
    cfg, text = parsed(main_KFS, "--config", str(path)), path.read_text(encoding="utf-8")
    classes, channel, im_size = SHAPES[cfg.dataset]
    latent = LatentDecoder(classes, cfg.ipc, channel, im_size, **cfg.form_options())
    by_default = LatentDecoder(classes, cfg.ipc, channel, im_size)
    assert latent.plan == by_default.plan
    storage, plan = latent.storage(), latent.plan
    assert f"# Stored: {storage['floats']:,} of {storage['budget_floats']:,} floats\n" in text
    assert f"# codes of {plan.architecture.code_floats:,} numbers, decoders of " \
           f"{plan.architecture.decoder_floats:,}\n" in text
    assert re.search(r"# (\d+) codes and so (\d+) images per class\n", text).groups() == \
        (str(plan.codes_per_class), str(latent.counts[0]))


def test_the_cells_have_a_config_each():
    assert {path.stem for path in CONFIGS} == {f"{name}_ipc{ipc}" for name, ipcs in {
        "MNIST": (1, 10, 50), "FashionMNIST": (1, 10, 50), "SVHN": (1, 10, 50), "CIFAR10": (1, 10, 50),
        "CIFAR100": (1, 10), "TinyImageNet": (1, 10)}.items() for ipc in ipcs}
