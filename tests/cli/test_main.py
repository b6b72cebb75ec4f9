"""How a command ends: errors of the user in one line, defects of ours with their traceback, everywhere."""

import json

import pytest
import torch

from condense.cli import CommandOptions
from condense.cli.main import REPORT, command_line
from condense.core.errors import Finished, InputError, Interrupted, MissingFile, OptionError, RunError


def ending(error, capsys, *flags):
    """Return (exit code, standard error) of a command whose work raises `error`."""
    def main(cfg):
        raise error

    with pytest.raises(SystemExit) as stop:
        command_line(main, CommandOptions, "", list(flags))
    return stop.value.code, capsys.readouterr().err


@pytest.mark.parametrize("kind", [OptionError, InputError, MissingFile, RunError, OSError, MemoryError])
def test_what_the_user_can_mend_is_one_line_and_exit_code_2(kind, capsys):
    assert ending(kind("lower\n   --ipc"), capsys) == (2, "error: lower --ipc\n")


def test_under_debug_the_users_errors_have_their_traceback(capsys):
    with pytest.raises(InputError):
        command_line(lambda cfg: (_ for _ in ()).throw(InputError("x")), CommandOptions, "", ["--debug"])


@pytest.mark.parametrize("kind", [ValueError, RuntimeError, TypeError, KeyError, AssertionError])
def test_anything_else_is_a_defect_with_its_traceback_and_exit_code_1(kind, capsys):
    code, text = ending(kind("shapes 3 and 4"), capsys)
    assert code == 1 and text.startswith("Traceback") and "shapes 3 and 4" in text
    assert text.rstrip().splitlines()[-1] == REPORT


def too_large():
    try:
        torch.empty(1 << 60, dtype=torch.uint8)
    except RuntimeError as error:
        return error


@pytest.mark.parametrize("error", [too_large(), torch.OutOfMemoryError("CUDA out of memory.")], ids=["cpu", "gpu"])
def test_no_memory_is_the_machines_refusal_and_says_what_to_lower(error, capsys):
    code, text = ending(error, capsys)
    assert code == 2 and text.startswith("error: out of memory") and "--chunk" in text and len(text.splitlines()) == 1


@pytest.mark.parametrize("error, code", [(Interrupted("stopped", 15), 143), (KeyboardInterrupt(), 130)])
def test_a_stopped_command_says_so_and_ends_with_the_code_of_its_signal(error, code, capsys):
    assert ending(error, capsys) == (code, "stopped\n")


def test_nothing_left_to_do_is_no_error(capsys):
    def main(cfg):
        raise Finished("already finished")

    command_line(main, CommandOptions, "", [])
    assert capsys.readouterr().out == "already finished\n"


def test_a_defect_under_way_is_in_the_journal_too(dm, tmp_path, capsys, monkeypatch):
    def broken(mean_real, mean_syn):
        raise RuntimeError("shapes 3 and 4 do not fit")

    monkeypatch.setattr(dm.module, "matching_loss", broken)
    with pytest.raises(SystemExit) as stop:
        dm.run(tmp_path)
    assert stop.value.code == 1 and REPORT in capsys.readouterr().err
    last = dm.journal(tmp_path)[-1]
    assert last["event"] == "defect" and "shapes 3 and 4 do not fit" in last["traceback"]
    assert json.dumps(last["traceback"]).count("matching_loss") >= 1
