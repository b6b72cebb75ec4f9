"""Options: what the command line and YAML accept, how they combine, and how they refuse."""

import dataclasses
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from condense.cli import build, dead_flags, option, parse, redefault, with_forms
from condense.core.errors import OptionError
from condense.synthetic import PARAMETERIZATIONS, SyntheticSet
from tests.cli.option_script import Config, Script, flags, refusal


def test_defaults_are_those_of_the_dataclass():
    assert flags() == Config()


def test_flags_are_converted_to_their_types():
    cfg = flags("--lr_img", "1e-3", "--ipc=7", "--model", "MLP", "--im_size", "64", "--limit", "2")
    assert (cfg.lr_img, cfg.ipc, cfg.model, cfg.im_size, cfg.limit) == (0.001, 7, "MLP", 64, 2.0)
    assert isinstance(cfg.limit, float) and isinstance(cfg.ipc, int)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**128), lr=st.floats(1e-300, 1e300))
def test_numbers_survive_the_command_line_exactly(seed, lr):
    cfg = flags("--seed", str(seed), "--lr_img", repr(lr))
    assert (cfg.seed, cfg.lr_img) == (seed, lr)


@pytest.mark.parametrize("value", ["ten", "1.5", "1e3", "", "nan", "inf", "0x10", "none"])
def test_what_is_no_whole_number_is_refused(value):
    assert refusal("--ipc", value) == f"--ipc must be a whole number, not {value!r}"


@pytest.mark.parametrize("value", ["fast", "nan", "inf", "-inf", "1,5", ""])
def test_what_is_no_number_is_refused(value):
    assert "--lr_img must be a number" in refusal(f"--lr_img={value}")


@pytest.mark.parametrize("argv, expected", [
    (["--ipc", "0"], "--ipc must be 1 or larger, not 0"),
    (["--ipc", "-3"], "--ipc must be 1 or larger, not -3"),
    (["--seed", "-1"], "--seed must be 0 or larger, not -1"),
    (["--lr_img", "0"], "--lr_img must be larger than 0"),
    (["--lr_img", "-0.5"], "--lr_img must be larger than 0"),
    (["--limit", "0"], "--limit must be larger than 0"),
    (["--batch_real", "0"], "--batch_real must be 1 or larger, not 0"),
    (["--cadence", "-1"], "--cadence must be 0 or larger, not -1"),
])
def test_numbers_out_of_range_are_refused(argv, expected):
    assert refusal(*argv).startswith(expected)


def test_bounds_themselves_are_allowed():
    cfg = flags("--seed", "0", "--cadence", "0", "--Iteration", "0", "--epoch_eval_train", "0", "--ipc", "1")
    assert (cfg.seed, cfg.cadence, cfg.Iteration) == (0, 0, 0)


def test_a_word_that_is_no_choice_is_refused_with_the_nearest():
    assert "--init: unknown value 'reel'; did you mean real?" in refusal("--init", "reel")
    assert "choose one of: fp32, tf32, bf16" in refusal("--precision", "double")


@pytest.mark.parametrize("flag, word, wrong", [("batch_real", "all", "al"), ("cadence", "auto", "aut")])
def test_options_that_take_a_number_or_a_word(flag, word, wrong):
    assert getattr(flags(f"--{flag}", word), flag) == word
    assert getattr(flags(f"--{flag}", "12"), flag) == 12
    assert f"did you mean {word}?" in refusal(f"--{flag}", wrong)
    assert refusal(f"--{flag}", "2.5")


def test_unknown_flags_suggest_the_nearest():
    assert refusal("--lr_imgs", "1").startswith("unknown flag --lr_imgs; did you mean --lr_img?")
    assert "did you mean --batch_real?" in refusal("--batchreal=3")
    assert refusal("--zzzzzz").startswith("unknown flag --zzzzzz; see --help")
    assert "stray" in refusal("stray")


def test_a_flag_without_its_value_is_refused():
    assert "--ipc" in refusal("--ipc")


def test_unambiguous_beginnings_of_flags_work_as_in_the_originals():
    assert flags("--Iter", "5").Iteration == 5


def test_booleans_have_a_positive_and_a_negative_flag():
    assert flags("--compile").compile and not flags("--compile", "--no-compile").compile
    assert flags().progress and not flags("--no-progress").progress
    assert refusal("--compile=yes")


@pytest.mark.parametrize("word", ["none", "None", "", "12", "a b", "-"])
def test_words_pass_unchanged(word):
    assert flags("--strategy", word).strategy == word


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["--ipc", "3", "--help"]])
def test_help_exits_0_and_lists_every_living_option(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        flags(*argv)
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert "a description" in text and "100% honest [0.1]" in text
    for field in dataclasses.fields(Config):
        assert (f"--{field.name}" in text) == (not field.metadata["dead"]), field.name


def test_dead_flags_are_accepted_and_answered_when_given():
    assert dead_flags(flags()) == []
    assert dead_flags(flags("--dis_metric", "mse", "--no-fast")) == ["--dis_metric has no effect here",
                                                                     "--fast has no effect here"]


def test_identity_leaves_out_what_makes_no_difference_to_a_result():
    cfg = flags("--secret_path", "there", "--dis_metric", "mse", "--save_path", "x", "--lr_img", "3")
    identity = cfg.identity()
    assert identity == Config(lr_img=3.0).identity()
    assert identity["lr_img"] == 3.0 and identity["seed"] == 0
    gone = {"secret_path", "dis_metric", "fast", "save_path", "data_path", "config", "resume", "overwrite",
            "progress", "debug", "tensorboard", "checkpoint_every"}
    assert not gone & set(identity)
    assert all(value is None or type(value) in (int, float, str, bool) for value in identity.values())


def test_configs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        flags().ipc = 3


# Other names

@dataclasses.dataclass(frozen=True)
class Named(Script):
    init: str = redefault("init", "real", aliases=("pix_init",))
    syn_lr: float = option(0.1, "step size", gt=0, aliases=("lr_teacher", "lr_start"))
    whiten: bool = option(False, "whiten", aliases=("zca_whitening",))


def named(*argv):
    return parse(with_forms(Named, PARAMETERIZATIONS), list(argv))


def test_other_names_of_an_option_are_flags_like_its_own():
    cfg = named("--pix_init", "noise", "--lr_start=0.5", "--zca_whitening", "--res", "64")
    assert (cfg.init, cfg.syn_lr, cfg.whiten, cfg.im_size) == ("noise", 0.5, True, 64)
    assert not named("--zca_whitening", "--no-zca_whitening").whiten
    assert cfg.identity() == named("--init", "noise", "--syn_lr", "0.5", "--whiten", "--im_size", "64").identity()
    assert not {"pix_init", "lr_teacher", "lr_start", "zca_whitening", "res"} & set(cfg.identity())


def test_of_two_names_on_the_command_line_the_last_counts():
    assert named("--lr_teacher", "1", "--syn_lr", "2", "--lr_start", "3").syn_lr == 3
    assert named("--lr_start", "3", "--syn_lr", "2").syn_lr == 2


def test_other_names_are_yaml_keys_that_flags_of_any_name_override(yaml_file):
    path = yaml_file("pix_init: noise\nlr_start: 0.5\nres: 32\n")
    cfg = named("--config", path)
    assert (cfg.init, cfg.syn_lr, cfg.im_size) == ("noise", 0.5, 32)
    assert named("--config", path, "--syn_lr", "0.7").syn_lr == named("--lr_teacher", "0.7", "--config", path).syn_lr


@pytest.mark.parametrize("keys", [("syn_lr", "lr_start"), ("lr_start", "syn_lr"), ("lr_teacher", "lr_start")])
def test_two_names_of_one_option_in_a_yaml_file_are_refused_whatever_their_values(yaml_file, keys):
    path = yaml_file("".join(f"{key}: 0.5\n" for key in keys))
    with pytest.raises(OptionError, match="lr_|syn_lr") as error:
        named("--config", path)
    assert str(error.value).startswith(f"{path}: {keys[1]} is another name of an option that the file already has")


def test_values_under_other_names_are_checked(yaml_file):
    for argv, message in ((["--lr_start", "0"], "--syn_lr must be larger than 0"),
                          (["--pix_init", "reel"], "did you mean real?"),
                          (["--res", "2"], "--im_size must be 4 or larger"),
                          (["--config", yaml_file("lr_start: fast")], "lr_start must be a number, not 'fast'")):
        with pytest.raises(OptionError, match=re.escape(message)):
            named(*argv)


def test_unknown_names_suggest_other_names_too(yaml_file):
    for argv in (["--pix_initt", "noise"], ["--config", yaml_file("pix_initt: noise")]):
        with pytest.raises(OptionError, match="did you mean (--)?pix_init?"):
            named(*argv)


def test_help_lists_other_names_beside_the_option(capsys):
    with pytest.raises(SystemExit):
        named("--help")
    assert "--syn_lr X, --lr_teacher X, --lr_start X" in " ".join(capsys.readouterr().out.split())


def test_build_checks_values_from_anywhere():
    assert build(Config, {"ipc": 3, "lr_img": 1}).lr_img == 1.0
    with pytest.raises(OptionError, match="--ipc must be 1 or larger"):
        build(Config, {"ipc": 0})


def test_a_parameterization_has_its_own_options_and_no_others_have_them(yaml_file):
    assert flags("--parameterization", "low_rank", "--rank", "3").form_options() == {"rank": 3}
    assert flags("--parameterization", "low_rank").form_options() == {"rank": 2}
    assert flags().form_options() == {}
    assert "--rank belongs to --parameterization low_rank, not pixels; leave it out" in refusal("--rank", "3")
    assert "--rank belongs to" in refusal("--config", yaml_file("rank: 3"))
    assert "--rank must be 1 or larger" in refusal("--parameterization", "low_rank", "--rank", "0")
    assert "did you mean low_rank?" in refusal("--parameterization", "low-rank")


def test_options_of_other_parameterizations_do_not_belong_to_what_a_result_is():
    assert "rank" not in flags().identity()
    assert flags("--parameterization", "low_rank").identity()["rank"] == 2


def test_starts_are_those_that_some_parameterization_offers():
    assert flags("--init", "noise_scaled").init == "noise_scaled"


def test_an_option_that_two_parameterizations_share_belongs_to_both():
    class One(SyntheticSet):
        OPTIONS = {"factor": dict(default=2, help="how often", ge=1)}

    class Two(One):
        pass

    shared = with_forms(Script, {"one": One, "two": Two, "pixels": SyntheticSet})
    assert all(parse(shared, ["--parameterization", form, "--factor", "4"]).form_options() == {"factor": 4}
               for form in ("one", "two"))
    with pytest.raises(OptionError, match="belongs to --parameterization one or two, not pixels"):
        parse(shared, ["--factor", "4"])


def test_help_shows_the_set_and_its_options_under_a_heading_of_their_own(capsys):
    with pytest.raises(SystemExit):
        flags("--help")
    own = capsys.readouterr().out.split("synthetic set:")[1].split("\n\n")[0]
    assert "--parameterization {" + ",".join(PARAMETERIZATIONS) + "}" in own and "--rank N" in own and "--init" in own
