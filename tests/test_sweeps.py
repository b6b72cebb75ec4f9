"""The sweeps as a user runs them: tiny settings, killed, started again, with broken files in the way."""

import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import buffer
import main_DC
import main_DD
import main_DM
import main_IDC
import main_MTT
from condense.evaluation import eval_pool
from condense.files import locked
from condense.networks import NETWORKS
from condense.options import parse, with_forms
from condense.synthetic import PARAMETERIZATIONS
from condense.unrolled.settings import settle_steps

pytestmark = pytest.mark.skipif(shutil.which("bash") is None or os.name != "posix", reason="sweeps need bash")

REPOSITORY = Path(main_DM.__file__).parent
WARM = REPOSITORY / "tests" / "warm_python.py"
SWEEPS = sorted(path.name for pattern in ("sweep_*.sh", "matrix.sh")
                for path in (REPOSITORY / "scripts").glob(pattern))
TINY = ["--Iteration", "2", "--num_exp", "1", "--num_eval", "2", "--epoch_eval_train", "1", "--batch_real", "4",
        "--device", "cpu"]
ONE = {"DATASETS": "Digits", "IPCS": "1", "METHODS": "DM", "MODELS": "MLP"}
LONG = ["--Iteration", "1000000", "--checkpoint_every", "1000000", "--eval_every", "1000000"]


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """A `python` that has torch loaded already, where forking is safe; elsewhere the plain one, seconds slower."""
    if sys.platform != "linux":
        yield sys.executable
        return
    folder = tmp_path_factory.mktemp("python")
    call = shlex.join([sys.executable, "-S", "-E", str(WARM), "call", str(folder / "socket"), sys.executable])
    (folder / "python").write_text(f'#!/bin/sh\nexec {call} "$@"\n')
    (folder / "python").chmod(0o755)
    with subprocess.Popen([sys.executable, WARM, "serve", folder / "socket"], stdout=subprocess.PIPE,
                          env={**os.environ, "OMP_NUM_THREADS": "1"}) as server:
        assert server.stdout.readline() == b"ready\n"
        yield str(folder / "python")
        server.kill()


@pytest.fixture
def sweep(tmp_path, python):
    """Start scripts/sweep_accuracy.sh (or another) with OUT=tmp_path/out: `sweep(*flags, **environment)`."""
    started = []

    def start(*flags, script="sweep_accuracy.sh", **environment):
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHON": python, "OUT": str(tmp_path / "out"), **ONE,
                     **environment}
        process = subprocess.Popen(["bash", str(REPOSITORY / "scripts" / script), *TINY, *flags], env=variables,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def finish(process):
    """Wait for a sweep; returns (exit code, output lines, error lines)."""
    out, err = process.communicate(timeout=120)
    return process.returncode, out.splitlines(), err.splitlines()


def wait_until(happened, seconds=60):
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def is_free(folder):
    """Say whether nobody works in a cell's folder."""
    with open(folder / "cell.lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def contents(out, pattern="*/*/*"):
    """Return {file: (bytes, time of change)} of all that a sweep may not touch again."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.glob(pattern)}


@pytest.fixture
def second_data(tmp_path):
    """A tensor file with three classes of 8x8 images."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 12)
    pixels = rng.integers(0, 128, (36, 8, 8)) + 60 * labels[:, None, None]
    path = tmp_path / "shades.npz"
    np.savez(path, images_train=pixels.astype(np.uint8), labels_train=labels, images_val=pixels[::2].astype(np.uint8),
             labels_val=labels[::2])
    return path


def test_killed_and_started_again_it_ends_with_the_whole_table_and_repeats_nothing(sweep, second_data, tmp_path):
    cells = {"DATASETS": f"Digits file:{second_data}", "IPCS": "1 2", "SEEDS": "0 1"}
    out = tmp_path / "out"
    killed = sweep(**cells)
    wait_until(lambda: len(list(out.glob("*/*/cell.done"))) >= 3)
    killed.kill()                                          # SIGKILL: the shell can tidy nothing up
    folders = sorted(path.parent for path in out.glob("*/*/cell.txt"))
    assert len(folders) == 8
    wait_until(lambda: all(is_free(folder) for folder in folders))
    done = [path.parent for path in out.glob("*/*/cell.done")]
    assert 3 <= len(done) < 8
    before = {path: state for folder in done for path, state in contents(folder, "*").items()}

    code, lines, errors = finish(sweep(**cells, JOBS="2"))
    assert code == 0 and not errors
    assert sum("was done" in line for line in lines) == len(done)
    after = contents(out)
    changed = {path.name for path in before if before[path] != after[path]}
    assert changed <= {"cell.txt", "cell.lock"}
    assert all((folder / "cell.done").exists() for folder in folders)

    table = (out / "table.md").read_text()
    assert "–" not in table and "4, random over 10 networks" in table
    assert table.splitlines()[0] == "| ipc | Digits | file-shades |" and table.strip() in "\n".join(lines)


def test_table_is_the_hand_computed_one_however_many_run_at_a_time(sweep, tmp_path):
    for jobs in "12":
        assert finish(sweep(SEEDS="3 4", JOBS=jobs, OUT=str(tmp_path / jobs)))[0] == 0
    for name in ("table.md", "table.tex", "Digits_ipc1_DM_MLP/seed4/res_DM_Digits_MLP_1ipc.pt"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    ours, random = [], []
    for seed in (3, 4):
        stem = tmp_path / "1" / "Digits_ipc1_DM_MLP" / f"seed{seed}" / "res_DM_Digits_MLP_1ipc"
        ours += torch.load(f"{stem}.pt", weights_only=True)["accs_all_exps"]["MLP"]
        random += json.loads(Path(f"{stem}_baselines.json").read_text())["random"]["MLP"]
    assert len(ours) == 4 and len(random) == 10
    figures = [f"{100 * np.mean(values):.1f} ± {100 * np.std(values):.1f}" for values in (ours, random)]
    assert f"{figures[0]}‡ ({figures[1]})" in (tmp_path / "1" / "table.md").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_sweep_that_is_stopped_leaves_checkpoints_and_nothing_that_computes(sweep, tmp_path, number):
    process = sweep(*LONG, SEEDS="0 1 2", JOBS="2")
    folder = tmp_path / "out" / "Digits_ipc1_DM_MLP"
    logs = [folder / f"seed{seed}" / "cell.log" for seed in (0, 1)]
    wait_until(lambda: all(log.exists() and "iteration 0" in log.read_text() for log in logs))
    process.send_signal(number)
    code, lines, errors = finish(process)
    if number != signal.SIGKILL:
        assert code == 128 + number and errors[-1] == "stopped; the same command goes on from there"
    wait_until(lambda: all(is_free(log.parent) for log in logs), 10)
    for log in logs:
        assert log.read_text().splitlines()[-1].startswith("stopped before iteration")
        assert len(list(log.parent.glob("*.ckpt"))) == 1
    assert not (folder / "seed2" / "cell.log").exists()


def test_a_cell_that_somebody_works_at_is_waited_for(sweep, tmp_path):
    folder = tmp_path / "out" / "Digits_ipc1_DM_MLP" / "seed0"
    folder.mkdir(parents=True)
    with locked(folder / "cell.lock"):
        process = sweep()
        assert process.stdout.readline() == f"waiting for another run in {folder}\n"
        time.sleep(0.5)
        assert not (folder / "cell.log").exists()
    assert finish(process)[0] == 0 and (folder / "cell.done").exists()


def test_a_half_written_result_fails_its_cell_alone_and_overwrite_mends_that_alone(sweep, tmp_path):
    out = tmp_path / "out"
    broken = out / "Digits_ipc1_DM_MLP" / "seed0" / "res_DM_Digits_MLP_1ipc.pt"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"PK\x03\x04 and no more")
    code, lines, errors = finish(sweep(IPCS="1 2"))
    assert code == 1 and errors[1].startswith("1 of 2 cells failed; mend this and start the sweep again")
    assert errors[2].startswith("Digits_ipc1_DM_MLP/seed0: error: ") and len(errors) == 3
    assert str(broken) in errors[2] and "--overwrite" in errors[2] and "exit code 2" in errors[2]
    table = (out / "table.md").read_text()
    assert "| 1 | – |" in table and "Missing runs: 1 of 2: Digits_ipc1_DM_MLP/seed0." in table
    assert broken.read_bytes() == b"PK\x03\x04 and no more"

    before = contents(out / "Digits_ipc2_DM_MLP", "*/res_*")
    assert finish(sweep("--overwrite", IPCS="1 2"))[0] == 0
    assert "–" not in (out / "table.md").read_text()
    assert contents(out / "Digits_ipc2_DM_MLP", "*/res_*") == before
    code, lines, _ = finish(sweep(IPCS="1 2"))
    assert code == 0 and sum("was done" in line for line in lines) == 2


def test_results_of_other_options_are_kept_and_do_not_pose_as_these(sweep, tmp_path):
    config = tmp_path / "my.yaml"
    config.write_text("lr_img: 1.0\n")
    assert finish(sweep("--config", "my.yaml"))[0] == 0
    before = contents(tmp_path / "out", "*/*/res_*")
    code, _, errors = finish(sweep("--config", "my.yaml", "--Iteration", "3"))
    assert code == 1 and "--Iteration was 2, is 3" in errors[-1]
    assert "Missing runs: 1 of 1" in (tmp_path / "out" / "table.md").read_text()
    code, lines, _ = finish(sweep("--config", "my.yaml"))  # the first command again: found finished, not repeated
    assert code == 0 and "Missing" not in "\n".join(lines)
    config.write_text("lr_img: 2.0\n")                     # the same command, and yet another
    code, _, errors = finish(sweep("--config", "my.yaml"))
    assert code == 1 and "--lr_img was 1.0, is 2.0" in errors[-1]
    after = contents(tmp_path / "out", "*/*/res_*.pt")
    assert after and after.items() <= before.items()


@pytest.mark.parametrize("flags, environment, mend", [
    (["--Iteratoin", "3"], {}, "unknown flag --Iteratoin; did you mean --Iteration?"),
    (["--Iteration", "few"], {}, "--Iteration must be a whole number"),
    (["--ipc", "5"], {}, 'IPCS="..."'),
    (["--save_path=x"], {}, 'OUT="..."'),
    ([], {"METHODS": "DN"}, "METHODS: there is no script main_DN.py"),
    ([], {"JOBS": "two"}, "JOBS must be 1 or larger"),
    ([], {"PYTHON": "false"}, "false is no Python with PyTorch"),
    ([], {"SEEDS": "0 0"}, "two cells would share"),
    ([], {"OUT": "/dev/null/x"}, "cannot write to OUT=/dev/null/x"),
])
def test_what_cannot_work_is_one_line_before_any_cell(sweep, tmp_path, flags, environment, mend):
    code, lines, errors = finish(sweep(*flags, **environment))
    assert code == 2 and not lines and len(errors) == 1, errors
    assert errors[0].startswith("error: ") and mend in errors[0]
    assert not list(tmp_path.rglob("cell.log"))


@pytest.fixture
def planned(tmp_path):
    """Return the commands of a sweep's cells, as a Python that notes its arguments down sees them."""
    noted, python = tmp_path / "noted", tmp_path / "noting"
    python.write_text('#!/bin/bash\ncase "$1" in *sweep_cell.py) line="$(printf "%q " "${@:2}")"; '
                      f'echo "$line threads=$OMP_NUM_THREADS" >> "{noted}" ;;'
                      '-) echo "${@:3}" ;; esac\n')            # the matrix asks whether its FORMS are right: they are
    python.chmod(0o755)

    def plan(script, *flags, **environment):
        variables = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "JOBS")}
        variables |= {"PYTHON": str(python), "OUT": str(tmp_path / "out"), **environment}
        noted.write_text("")
        subprocess.run(["bash", str(REPOSITORY / "scripts" / script), *flags], env=variables, check=True,
                       cwd=tmp_path, stdout=subprocess.DEVNULL)
        return [shlex.split(line) for line in noted.read_text().splitlines()]

    return plan


def parsed(command):
    """Return the options that a cell's method script would see, and the folder of the cell."""
    _, folder, _, script, *flags, _ = command
    module = {module.__name__: module for module in (main_DC, main_DD, main_DM, main_IDC, main_MTT)}[Path(script).stem]
    return parse(with_forms(module.Config, PARAMETERIZATIONS), flags), Path(folder)


@pytest.mark.parametrize("script, mode", [("sweep_cross.sh", "M"), ("sweep_width.sh", "W"), ("sweep_depth.sh", "D"),
                                          ("sweep_activation.sh", "A"), ("sweep_pooling.sh", "P"),
                                          ("sweep_normalisation.sh", "N")])
def test_pool_sweeps_condense_with_each_variant_and_score_on_the_pool(planned, script, mode):
    options = [parsed(command)[0] for command in planned(script, JOBS="8")]
    assert {(cfg.method, cfg.dataset, cfg.ipc, cfg.eval_mode) for cfg in options} == {("DC", "MNIST", 1, mode)}
    models = [cfg.model for cfg in options]
    assert all(model in NETWORKS for model in models) and len(set(models)) == len(models)
    if mode == "M":
        assert sorted(models) == sorted(["MLP", "LeNet", "ConvNet", "AlexNet", "VGG11BN", "ResNet18BN_AP"])
        assert all(cfg.lr_img == (0.01 if cfg.model == "MLP" else 0.1) for cfg in options)
    else:
        assert sorted(models) == sorted(eval_pool(mode, "ConvNet"))


def test_metric_sweep_crosses_networks_with_distances(planned):
    options = [parsed(command)[0] for command in planned("sweep_metric.sh", JOBS="20")]
    assert len({(cfg.model, cfg.dis_metric) for cfg in options}) == len(options) == 18
    assert {cfg.dis_metric for cfg in options} == {"ours", "mse", "cos"} and {cfg.eval_mode for cfg in options} == {"S"}


def test_strategy_sweep_runs_dsa_from_real_images(planned):
    options = [parsed(command)[0] for command in planned("sweep_strategy.sh", JOBS="40")]
    assert {(cfg.method, cfg.init, cfg.ipc) for cfg in options} == {("DSA", "real", 10)}
    assert len({(cfg.dataset, cfg.dsa_strategy) for cfg in options}) == len(options) == 4 * 8


def test_accuracy_sweep_has_a_folder_for_each_cell(planned, tmp_path):
    commands = planned("sweep_accuracy.sh", "--init", "noise", "--num_eval", "3", METHODS="DC DSA DM", IPCS="1 10",
                       DATASETS="CIFAR10:/a/b folder:/c/my.d", SEEDS="0 7", JOBS="24")
    cells = [parsed(command) for command in commands]
    assert len(cells) == len({folder for _, folder in cells}) == 24
    for cfg, folder in cells:
        method = getattr(cfg, "method", "DM")
        label, path = {"CIFAR10": ("CIFAR10", "/a/b"), "folder": ("folder-my.d", "/c/my.d")}[cfg.dataset]
        assert cfg.data_path == path and cfg.save_path == str(folder)
        assert folder == tmp_path / "out" / f"{label}_ipc{cfg.ipc}_{method}_ConvNet" / f"seed{cfg.seed}"
        assert cfg.num_eval == 3 and cfg.init == "noise"  # a flag given is obeyed, published setting or not


def test_several_jobs_share_the_cores(planned):
    threads = {command[-1] for command in planned("sweep_accuracy.sh", **ONE, JOBS="2")}
    assert threads == {f"threads={max(1, os.sysconf('SC_NPROCESSORS_ONLN') // 2)}"}
    assert planned("sweep_accuracy.sh", **ONE)[0][-1] == "threads="
    assert planned("sweep_accuracy.sh", **ONE, JOBS="2", OMP_NUM_THREADS="3")[0][-1] == "threads=3"


def test_bptt_is_run_as_remember_the_past_and_idc_as_itself(planned):
    bptt, idc = (parsed(command)[0] for command in planned("sweep_accuracy.sh", **ONE | {"METHODS": "BPTT IDC"}))
    assert isinstance(bptt, main_DD.Config) and (bptt.inner_steps, bptt.inner_momentum) == (150, 0.9)
    assert isinstance(idc, main_IDC.Config) and idc.lr_img == "auto"               # not DC's for an MLP


def test_matrix_crosses_every_objective_with_every_form_in_settings_that_each_accepts(planned):
    experts, *commands = planned("matrix.sh", FORMS=" ".join(PARAMETERIZATIONS), JOBS="50")
    assert experts[3].endswith("buffer.py") and Path(experts[1]).name == "Digits_ConvNetD2"
    options = {}
    for command in commands:
        cfg, folder = parsed(command)
        options[folder.parent.name.split("_")[2], cfg.parameterization] = cfg
        synthetic = PARAMETERIZATIONS[cfg.parameterization](10, cfg.ipc, 1, (8, 8), **cfg.form_options())
        assert 0 < synthetic.storage()["floats"] <= 2 * 640 and cfg.num_eval >= 5   # so many that they can be judged
        for kind, check in ((main_DD, settle_steps), (main_IDC, main_IDC.check), (main_MTT, main_MTT.check)):
            if isinstance(cfg, kind.Config):
                check(cfg)                                 # it raises where options do not go together
    assert len(options) == len(commands) == 7 * len(PARAMETERIZATIONS)
    assert {method for method, _ in options} == {"DC", "DSA", "DM", "MTT", "DD", "BPTT", "IDC"}
    assert all(cfg.buffer_path == str(Path(experts[1]).parent) for (method, _), cfg in options.items()
               if method == "MTT")
    assert all(options["BPTT", form].inner_steps and not options["DD", form].inner_steps for form in PARAMETERIZATIONS)


def test_matrix_gives_experts_the_flags_that_say_what_images_are(planned):
    flags = ["--zca", "--Iteration", "3", "--classes", "0-3", "--device=cpu"]
    experts, cell = planned("matrix.sh", *flags, **ONE | {"METHODS": "MTT", "FORMS": "pixels"})
    given = parse(buffer.Config, experts[4:-1])
    assert (given.zca, given.classes, given.device, given.model) == (True, "0-3", "cpu", "MLP")
    assert given.buffer_path == parsed(cell)[0].buffer_path
    assert len(planned("matrix.sh", "--buffer_path", "x", **ONE | {"METHODS": "MTT", "FORMS": "pixels"})) == 1


def test_matrix_of_sets_whose_names_differ_is_whole_and_repeats_nothing(sweep, tmp_path):
    cells = {"script": "matrix.sh", "METHODS": "IDC BPTT", "FORMS": "pixels memory", "IPCS": "2",
             "MODELS": "ConvNetW32"}
    code, lines, errors = finish(sweep("--Iteration", "1", **cells))
    assert code == 0 and not errors
    out = tmp_path / "out"
    names = sorted(path.name.split("_")[1] for path in out.glob("*/*/res_*ipc.pt"))
    assert names == ["BPTT", "IDC", "IDC-I", "RTP"]
    table = (out / "table.md").read_text().splitlines()
    assert table[0] == "| method | pixels | memory |"
    assert [row.split(" | ")[0] for row in table[2:4]] == ["| IDC", "| BPTT"]
    assert "–" not in "".join(table[2:4]) and all(row.count("(") == 2 for row in table[2:4])      # random images, too
    assert "Each row is scored by its method's own protocol: compare along a row, not down a column.  " in table
    assert r"\begin{tabular}" in (out / "table.tex").read_text()
    before = contents(out, "*/*/res_*")
    code, lines, _ = finish(sweep("--Iteration", "1", **cells))
    assert code == 0 and sum("was done" in line for line in lines) == 4
    assert contents(out, "*/*/res_*") == before


def test_matrix_says_below_the_table_why_a_budget_holds_no_image(sweep, tmp_path):
    code, _, errors = finish(sweep(script="matrix.sh", FORMS="pixels hallucinator"))
    assert code == 1 and len(errors) == 3
    table = (tmp_path / "out" / "table.md").read_text()
    assert "Failed: Digits_ipc1_DM_MLP_hallucinator/seed0: the storage of --ipc 1 holds no base" in table
    assert "use --ipc 2 or more.  " in table and "| – |" in table


@pytest.mark.parametrize("variable, value, mend", [
    ("FORMS", "pixles", "FORMS: unknown parameterization 'pixles'; did you mean pixels?"),
    ("METHODS", "LoDM", "METHODS: LoDM is no row of the matrix; choose of DC")])
def test_matrix_refuses_what_is_no_row_or_column_of_it(sweep, tmp_path, variable, value, mend):
    code, lines, errors = finish(sweep(script="matrix.sh", **{variable: value}))
    assert code == 2 and not lines and len(errors) == 1 and mend in errors[0]
    assert not list(tmp_path.rglob("cell.txt"))


def test_a_result_of_another_name_in_a_cells_folder_is_told_and_not_tabled(sweep, tmp_path):
    assert finish(sweep())[0] == 0
    result = tmp_path / "out" / "Digits_ipc1_DM_MLP" / "seed0" / "res_DM_Digits_MLP_1ipc.pt"
    shutil.copy(result, result.with_name("res_DN_Digits_MLP_1ipc.pt"))
    code, _, errors = finish(sweep())
    assert code == 1 and f"{result.name} and res_DN_Digits_MLP_1ipc.pt; move all but one away" in errors[-1]
    assert "Missing runs: 1 of 1" in (tmp_path / "out" / "table.md").read_text()


@pytest.mark.parametrize("script", SWEEPS)
def test_help_shows_the_command_and_every_variable_that_the_script_reads(script):
    text = subprocess.run(["bash", str(REPOSITORY / "scripts" / script), "--num_eval", "5", "--help"], check=True,
                          capture_output=True, text=True).stdout
    assert f"bash scripts/{script}" in text and "shellcheck" not in text and "JOBS" in text
    source = (REPOSITORY / "scripts" / script).read_text()
    for name, default in re.findall(r'"\$\{(\w+):=([^}]*)\}"', source):
        assert name in text and (default.split()[0] in text)
