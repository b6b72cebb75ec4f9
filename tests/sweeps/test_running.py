"""The sweeps as a user runs them: tiny settings, killed, started again, with broken files in the way."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from condense.core.files import locked
from condense.sweeps.definitions import SWEEPS
from tests.sweep_runs import LONG, REPOSITORY, contents, finish, is_free, wait_until

pytestmark = pytest.mark.skipif(shutil.which("bash") is None or os.name != "posix", reason="sweeps need bash")


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
    changed = {path.name for path in before if before[path] != after.get(path)}
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


def test_what_cannot_work_is_one_line_with_exit_code_2(sweep, tmp_path):
    for environment, mend in (({"METHODS": "DN"}, "METHODS: unknown method 'DN'"),
                              ({"PYTHON": "false"}, "false is no Python with PyTorch; activate the environment")):
        code, lines, errors = finish(sweep(**environment))
        assert code == 2 and not lines and len(errors) == 1, errors
        assert errors[0].startswith("error: ") and mend in errors[0]
    assert not (tmp_path / "out").exists()


def test_a_result_of_another_name_in_a_cells_folder_is_told_and_not_tabled(sweep, tmp_path):
    assert finish(sweep())[0] == 0
    result = tmp_path / "out" / "Digits_ipc1_DM_MLP" / "seed0" / "res_DM_Digits_MLP_1ipc.pt"
    shutil.copy(result, result.with_name("res_DN_Digits_MLP_1ipc.pt"))
    code, _, errors = finish(sweep())
    assert code == 1 and f"{result.name} and res_DN_Digits_MLP_1ipc.pt; move all but one away" in errors[-1]
    assert "Missing runs: 1 of 1" in (tmp_path / "out" / "table.md").read_text()


@pytest.mark.parametrize("name", SWEEPS)
def test_help_shows_the_command_and_every_list_of_the_sweep_with_its_default(name):
    text = subprocess.run(["bash", str(REPOSITORY / "scripts" / f"{name}.sh"), "--num_eval", "5", "--help"], check=True,
                          capture_output=True, text=True).stdout
    assert f"bash scripts/{name}.sh" in text and "shellcheck" not in text and "JOBS" in text
    words = " ".join(text.split())
    for variable, default in SWEEPS[name].defaults.items():
        assert f"{variable} [{default}" in words or variable == "STRATEGIES" and f"{variable} [color crop" in words


def test_every_sweep_has_its_command():
    scripts = {path.stem for pattern in ("sweep_*.sh", "matrix.sh", "compare_*.sh")
               for path in (REPOSITORY / "scripts").glob(pattern)}
    assert scripts == set(SWEEPS)
