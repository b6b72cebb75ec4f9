"""Experts on disk while they are made: in which files, and what a kill at any moment leaves."""

import json
import os

import pytest
import torch

from condense.core.errors import OptionError
from condense.core.files import locked
from condense.experts import store
from condense.experts.folder import replay_files
from condense.experts.store import ExpertStore

ABOUT = {"format_version": 1, "dataset": "Digits", "fingerprint": "ab", "zca": None, "model": "MLP",
         "parameters": [["w", [2, 3]]], "options": {"mom": 0.0}, "first_epoch": 0}


def trajectory(number):
    """Three snapshots of two tensors that nobody else has."""
    rng = torch.Generator().manual_seed(number)
    return [[torch.randn(2, 3, generator=rng), torch.randn(4, generator=rng)] for _ in range(3)]


def make(folder, total, interval=2, resume=True, about=ABOUT, overwrite=False):
    """Keep the experts that are missing, as a run does."""
    with ExpertStore(folder, about).held(resume, overwrite) as held:
        held.pack(interval)
        for number in held.missing(total):
            held.save_state({"epoch": 1, "experts": [{"number": number}]})
            held.keep_expert(number, trajectory(number), {"test_accuracy": {"2": number / 10}})
            held.clear_state()
            held.pack(interval)
        held.pack(interval, rest=True)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def numbers_in(folder):
    """{file number: the numbers of the experts in it}, told by their tensors."""
    known = {trajectory(number)[0][1].sum().item(): number for number in range(30)}
    return {place: [known[expert[0][1].sum().item()] for expert in torch.load(path, weights_only=True)]
            for place, path in replay_files(folder).items()}


@pytest.fixture(scope="module", autouse=True)
def no_waiting_for_the_disk():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "experts"
    make(folder, 5)
    return folder


def test_files_hold_the_experts_in_order_and_the_last_one_what_is_left(whole):
    assert numbers_in(whole) == {0: [0, 1], 1: [2, 3], 2: [4]}
    assert set(contents(whole)) == {"replay_buffer_0.pt", "replay_buffer_1.pt", "replay_buffer_2.pt", "buffer.json",
                                    ".lock"}
    assert not (whole / ".unfinished").exists()
    for stored, expert in zip(torch.load(whole / "replay_buffer_1.pt", weights_only=True), (2, 3)):
        for snapshot, expected in zip(stored, trajectory(expert), strict=True):
            assert type(snapshot) is list and all(map(torch.equal, snapshot, expected))
    listed = json.loads((whole / "buffer.json").read_text())["experts"]
    assert [(entry["number"], entry["file"], entry["index"]) for entry in listed] == \
        [(n, n // 2, n % 2) for n in range(5)]
    assert listed[4]["test_accuracy"] == {"2": 0.4}


def test_a_longer_buffer_goes_on_in_new_files(tmp_path):
    make(tmp_path, 3)
    before = contents(tmp_path)
    make(tmp_path, 6)
    assert numbers_in(tmp_path) == {0: [0, 1], 1: [2], 2: [3, 4], 3: [5]}
    assert all(contents(tmp_path)[name] == before[name] for name in before if name.endswith(".pt"))
    make(tmp_path, 4)                                       # nothing is missing
    assert len(numbers_in(tmp_path)) == 4


class Killed(BaseException):
    pass


def kill_at(patch, number):
    """Let the process die just before its step `number` on the disk: before a file is written, or removed."""
    left = [number]

    def guarded(original):
        def step(*arguments, **more):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return original(*arguments, **more)
        return step

    patch.setattr(store, "save_atomically", guarded(store.save_atomically))
    patch.setattr(store, "write_sidecar", guarded(store.write_sidecar))
    patch.setattr(store.Path, "unlink", guarded(store.Path.unlink))


def test_a_kill_between_any_two_steps_on_the_disk_loses_and_repeats_nothing(tmp_path, monkeypatch, whole):
    moment = 0
    while True:
        folder = tmp_path / str(moment)
        try:
            with monkeypatch.context() as patch:
                kill_at(patch, moment)
                make(folder, 5)
        except Killed:
            moment += 1
            make(folder, 5)
            assert contents(folder) == contents(whole), moment
            assert not (folder / ".unfinished").exists()
            continue
        break
    assert moment > 5 * 4 + 3 * 2                           # state, expert, clearing, removal; file and list


def test_half_written_files_of_a_killed_process_are_cleared(tmp_path):
    make(tmp_path, 3)
    (tmp_path / ".replay_buffer_1.pt.abc.part").touch()
    (tmp_path / ".unfinished").mkdir()
    (tmp_path / ".unfinished" / ".state.pt.abc.part").touch()
    make(tmp_path, 3)
    assert not list(tmp_path.rglob("*.part"))


def test_an_expert_that_is_there_is_not_written_again(tmp_path):
    with ExpertStore(tmp_path, ABOUT).held(True, False) as held:
        held.keep_expert(0, trajectory(0), {})
        held.keep_expert(0, trajectory(1), {})
        held.pack(1)
        held.keep_expert(0, trajectory(2), {})
        assert held.finished() == [0] and held.missing(3) == [1, 2]
        held.pack(1, rest=True)
    assert numbers_in(tmp_path) == {0: [0]}


def test_state_comes_back_as_it_was_and_one_that_is_cut_off_is_named(tmp_path):
    with ExpertStore(tmp_path, ABOUT).held(True, False) as held:
        assert held.load_state() is None
        held.save_state({"epoch": 3, "experts": [{"number": 1, "parameters": trajectory(0)[0]}]})
        state = held.load_state()
        assert state["epoch"] == 3 and torch.equal(state["experts"][0]["parameters"][1], trajectory(0)[0][1])
        held.state_path.write_bytes(held.state_path.read_bytes()[:-100])
        with pytest.raises(OptionError, match=r"state\.pt cannot be read"):
            held.load_state()


def refused(folder, mend, **more):
    before = contents(folder)
    with pytest.raises(OptionError, match=mend) as error:
        make(folder, 9, **more)
    assert "\n" not in str(error.value) and contents(folder) == before


def test_what_is_there_is_never_replaced_unasked(tmp_path):
    make(tmp_path, 2)
    refused(tmp_path, "--resume, start again with --overwrite", resume=False)
    refused(tmp_path, "--mom was 0.0, is 0.9", about={**ABOUT, "options": {"mom": 0.9}})
    refused(tmp_path, "other images", about={**ABOUT, "fingerprint": "cd"})
    (tmp_path / "replay_buffer_5.pt").touch()
    refused(tmp_path, "does not list replay_buffer_5.pt")
    (tmp_path / "replay_buffer_5.pt").unlink()
    (tmp_path / "replay_buffer_0.pt").rename(tmp_path / "away")
    refused(tmp_path, "replay_buffer_0.pt.* is missing")
    (tmp_path / "away").rename(tmp_path / "replay_buffer_0.pt")
    (tmp_path / "buffer.json").write_text("{")
    refused(tmp_path, "--overwrite")
    (tmp_path / "buffer.json").unlink()
    refused(tmp_path, "without buffer.json")


def test_overwriting_removes_all_experts_and_nothing_else(tmp_path, whole):
    make(tmp_path, 7, about={**ABOUT, "options": {"mom": 0.9}})
    (tmp_path / "notes.txt").write_text("mine")
    refused(tmp_path, "--mom was 0.9, is 0.0", overwrite=True)             # with --resume, which goes on
    make(tmp_path, 5, resume=False, overwrite=True)
    assert contents(tmp_path) == {**contents(whole), "notes.txt": b"mine"}


def test_two_processes_do_not_share_a_folder(tmp_path):
    tmp_path.joinpath("a").mkdir()
    with locked(tmp_path / "a" / ".lock"), pytest.raises(OptionError, match="another process"):
        make(tmp_path / "a", 2)
    make(tmp_path / "a", 2)
    assert numbers_in(tmp_path / "a") == {0: [0, 1]}


def test_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OptionError, match="cannot write to --buffer_path"):
        make(tmp_path / "file" / "below", 2)
