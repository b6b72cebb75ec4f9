"""Result files of unrolled training as every reader gets them, whole and damaged."""

import pytest
import torch

import main_DD
from condense.cli import parse
from condense.data import load_data
from condense.run.outcome import Outcome
from condense.sharing.layouts import read_set
from condense.synthetic import build_synthetic
from condense.training.steps import steps_of


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dd")
    flags = ["--dataset", "Digits", "--model", "MLP", "--ipc", "2", "--distill_steps", "2", "--Iteration", "3",
             "--eval_every", "0", "--train_nets_type", "known_init", "--num_exp", "2", "--save_path", str(folder),
             "--device", "cpu", "--no-progress"]
    main_DD.main(parse(main_DD.Config, flags))
    return folder / "res_DD_Digits_MLP_2ipc.pt"


def changed(path, folder, change):
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, folder / path.name)
    return folder / path.name


def test_every_experiment_comes_with_its_own_steps_and_start(path):
    content, file = torch.load(path, weights_only=True), read_set(path)
    assert len(file.sets) == 2
    for one, steps, start in zip(file.sets, content["steps"], content["start"]):
        assert one.steps.sizes == tuple(steps["sizes"].tolist()) and one.lr == pytest.approx(sum(one.steps.sizes) / 6)
        assert torch.equal(torch.stack(one.steps.rows), steps["rows"])
        assert one.steps.model == "MLP" and torch.equal(one.steps.starts, start["parameters"])
    first, second = file.sets
    assert first.steps.sizes != second.steps.sizes and not torch.equal(first.steps.starts, second.steps.starts)


def test_damaged_steps_are_refused_with_the_place_where_they_are(path, tmp_path):
    def cut(content):
        content["steps"][1]["sizes"] = content["steps"][1]["sizes"][:-1]
    with pytest.raises(ValueError, match=r"\(data 1\): 5 step sizes for 2 batches"):
        read_set(changed(path, tmp_path, cut))


def test_a_file_without_steps_is_read_as_any_other(path, tmp_path):
    def drop(content):
        del content["steps"], content["start"]
    assert all(one.steps is None for one in read_set(changed(path, tmp_path, drop)).sets)


def test_an_unfinished_outcome_keeps_the_steps_of_what_is_done_and_of_what_is_under_way():
    synthetic = build_synthetic("pixels", load_data("Digits"), 2, "noise", torch.Generator().manual_seed(0))
    synthetic.learned_steps.learn_each(0.1, 2, 3)
    outcome = Outcome()
    outcome.add(synthetic)
    restored = Outcome()
    restored.restore(outcome.state())
    more = restored.with_current(synthetic)
    assert len(restored.steps) == 1 and len(more.steps) == len(more.data) == 2
    assert more.steps[1]["sizes"].tolist() == list(steps_of(synthetic).sizes)


def test_state_of_an_outcome_from_before_there_were_steps_is_taken_up():
    state = {name: value for name, value in Outcome().state().items() if name not in ("steps", "starts")}
    outcome = Outcome()
    outcome.restore(state)
    assert outcome.steps == outcome.starts == []
