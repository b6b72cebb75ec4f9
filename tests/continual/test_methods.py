"""Methods of a comparison: whose options there are, and what a step's script is asked for."""

import pytest

import continual
from condense.cli import parse
from condense.continual.methods import find_method, given_options, refuse_unused
from condense.continual.plan import methods_of, sources_of
from condense.core.errors import OptionError
from condense.data import load_data
from condense.synthetic import LowRank

REAL_IMAGES = ("herding", "k-center", "k-means")


def options(*flags):
    return parse(continual.Config, ["--dataset", "Digits", "--model", "ConvNetD1", "--ipc", "3", *flags])


@pytest.mark.parametrize("name", continual.METHODS)
def test_every_method_gets_the_classes_of_its_step_alone_and_its_own_defaults(name, tmp_path):
    method, cfg = continual.METHODS[name], options("--seed", "4")
    cell = method.cell(cfg, (7, 2), tmp_path / name, {})
    assert (cell.classes, cell.dataset, cell.ipc, cell.seed, cell.num_exp) == ("7,2", "Digits", 3, 4, 1)
    assert cell.save_path == str(tmp_path / name) and cell.resume and not cell.overwrite
    assert (cell.num_eval, cell.epoch_eval_train) == (1, 0)
    if name not in REAL_IMAGES:
        own = method.script.Config
        assert (cell.Iteration, cell.lr_img) == (own.Iteration, own.lr_img)
        changed = method.cell(cfg, (7, 2), tmp_path, given_options(options("--Iteration", "5", "--lr_img", "7")))
        assert (changed.Iteration, changed.lr_img) == (5, 7)


def cells_of(tmp_path, *flags):
    """Return {method: what its sets are made with}, and trajectory matching's experts."""
    cfg = options(*flags)
    cells = {name: method.cell(cfg, (7, 2), tmp_path, {}) for name, method in continual.METHODS.items()}
    made_with = {name: cell.identity() for name, cell in cells.items()}
    experts = continual.METHODS["MTT"].experts_cell(cfg, (7, 2), cells["MTT"], {})
    return {**made_with, "experts": experts.identity()}


@pytest.mark.parametrize("flag, value, users", [
    ("lr_net", 0.02, {"DC", "DSA", "LoDC", "LoDSA"}),
    ("batch_train", 4, {"DC", "DSA", "LoDC", "LoDSA", "MTT", "LoMTT", "experts"}),
    ("dsa_strategy", "flip", {"DSA", "LoDSA", "DM", "LoDM", "MTT", "LoMTT", "experts"}),
    ("num_eval", 9, set()), ("epoch_eval_train", 7, set()), ("seeds", 2, set())])
def test_options_of_scoring_change_the_sets_of_methods_that_condense_with_them_alone(flag, value, users, tmp_path):
    before, after = cells_of(tmp_path), cells_of(tmp_path, f"--{flag}", str(value))
    assert {name for name in before if before[name] != after[name]} == users
    assert all(after[name][flag] == value for name in users)


def test_overwriting_removes_beforehand_so_that_scripts_always_go_on(tmp_path):
    cell = continual.METHODS["MTT"].cell(options("--overwrite"), (7, 2), tmp_path, {})
    experts = continual.METHODS["MTT"].experts_cell(options("--overwrite"), (7, 2), cell, {})
    assert [(config.resume, config.overwrite) for config in (cell, experts)] == [(True, False)] * 2


def test_help_names_the_choices_that_methods_leave_and_who_else_takes_an_option(capsys):
    with pytest.raises(SystemExit):
        options("--help")
    text = " ".join(capsys.readouterr().out.split())
    for part in ("--space {pixels,random,trained}", "--dis_metric {ours,mse,cos}", "--loss_type {ce,mse}",
                 "network to condense with and to evaluate on",
                 "of the evaluated networks, and in the inner loop of DC and DSA",
                 "of the experts of trajectory matching", "samples_predicted_correctly"):
        assert part in text, part
    assert "--zca" not in text


def test_presets_make_a_script_the_method(tmp_path):
    cells = {name: method.cell(options(), (7, 2), tmp_path, {}) for name, method in continual.METHODS.items()}
    assert [cells[name].method for name in ("DC", "DSA", "LoDSA", "k-means")] == ["DC", "DSA", "DSA", "k-means"]
    assert (cells["DC"].init, cells["DSA"].init) == ("noise", "real")           # as published
    assert {name for name, cell in cells.items()
            if getattr(cell, "parameterization", None) == "low_rank"} == {
        "LoDC", "LoDSA", "LoDM", "LoMTT"}


def test_a_form_is_asked_for_behind_a_plus(tmp_path):
    method = find_method("DSA+low_rank", continual.METHODS)
    cell = method.cell(options(), (7, 2), tmp_path, given_options(options("--rank", "1")))
    assert (cell.parameterization, cell.rank, cell.method) == ("low_rank", 1, "DSA")
    assert find_method("DM", continual.METHODS).cell(options(), (7, 2), tmp_path, {}).parameterization == "pixels"


def test_experts_are_recorded_as_far_as_segments_reach(tmp_path):
    method, given = continual.METHODS["MTT"], given_options(options("--max_start_epoch", "4", "--expert_epochs", "2",
                                                                    "--num_experts", "6"))
    cell = method.cell(options(), (7, 2), tmp_path / "step0" / "MTT", given)
    experts = method.experts_cell(options(), (7, 2), cell, given)
    assert (experts.keep_epochs, experts.num_experts, experts.classes) == (5, 6, "7,2")
    assert experts.buffer_path == cell.buffer_path == str(tmp_path / "step0" / "experts")


def test_an_option_that_no_method_of_the_call_has_is_refused_with_those_that_do():
    given = given_options(options("--rank", "2"))
    with pytest.raises(OptionError, match="--rank is an option of none .* one that has it: LoDC, LoDSA, LoDM, LoMTT"):
        refuse_unused(given, [continual.METHODS["DM"]], continual.METHODS)
    refuse_unused(given, [continual.METHODS["DM"], continual.METHODS["LoDM"]], continual.METHODS)


@pytest.mark.parametrize("flags, mend", [
    (("--methods", "DMM"), "did you mean DM?"), (("--methods", "DM", "DM"), "each method once"),
    (("--methods", "DM+lowrank"), "did you mean low_rank?"), (("--methods", "herding+low_rank"), "leave +low_rank out"),
    (("--methods", "LoDM+pixels"), "LoDM has no other form"), (("--methods", "random", "--lr_img", "1"), "--lr_img is"),
    (("--methods", "DM", "--compare", "both"), "add random or herding"),
    (("--methods", "LoDC", "--cl_data_path", "x"), "no published files of LoDC, only of herding, DSA, DM, LoDM"),
    (("--methods", "DM", "--zca"), "look ahead; leave --zca out"),
    (("--methods", "DM", "--cl_space", "raw"), "--cl_space is the space of the pixels in --cl_data_path"),
    (("--methods", "DM", "--cl_data_path", "x", "--Iteration", "3"), "--Iteration is for condensing"),
])
def test_methods_that_cannot_be_compared_are_refused(flags, mend):
    with pytest.raises(ValueError) as error:
        methods_of(options(*flags), continual.METHODS)
    assert mend in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("compare, expected", [
    ("bytes", ["random 3", "herding 3", "DM 3", "LoDM 12"]),
    ("images", ["random, 12 images 12", "herding, 12 images 12", "DM 3", "LoDM 12"]),
    ("both", ["random 3", "random, 12 images 12", "herding 3", "herding, 12 images 12", "DM 3", "LoDM 12"])])
def test_real_images_are_compared_at_equal_bytes_and_at_equal_images(compare, expected, tmp_path):
    cfg = options("--methods", "random", "herding", "DM", "LoDM", "--compare", compare, "--rank", "1")
    real = load_data("Digits")
    sources = sources_of(cfg, methods_of(cfg, continual.METHODS), real, tmp_path)
    assert [f"{source.name} {source.images_per_class}" for source in sources] == expected
    assert LowRank(2, 3, 1, (8, 8), rank=1).counts == [12, 12]
    herding = [source for source in sources if source.name.startswith("herding")][-1]
    assert herding.method.cell(herding.cfg, (1, 2), tmp_path, {}).ipc == herding.images_per_class
