"""Options of several values, and values without a flag."""

from dataclasses import dataclass

import pytest

from condense.cli import option, parse
from condense.core.errors import OptionError


@dataclass(frozen=True)
class Config:
    sets: tuple[str, ...] = option((), "sets to score", positional="SET")
    rates: tuple[float, ...] = option((0.1,), "learning rates", gt=0)
    kinds: tuple[str, ...] = option(("random",), "baselines", choices=("random", "herding", "full"))
    seed: int = option(0, "seed")
    config: str | None = option(None, "YAML")


def lists(*words):
    return parse(Config, list(words))


@pytest.mark.parametrize("words", [("random,full",), ("random", "full")])
def test_values_are_parted_by_spaces_or_commas(words):
    assert lists("a.pt", "--kinds", *words).kinds == ("random", "full")


def test_each_value_is_converted_and_checked():
    assert lists("a.pt", "--rates", "1e-3,0.1", "1").rates == (0.001, 0.1, 1.0)
    for words, mend in ((("--rates", "0.1,-1"), "larger than 0"), (("--rates", "0.1,fast"), "must be a number"),
                        (("--kinds", "random", "hreding"), "did you mean herding")):
        with pytest.raises(OptionError, match=mend):
            lists("a.pt", *words)


def test_positional_values_may_hold_commas_and_must_be_there():
    assert lists("a,b.pt", "c.pt").sets == ("a,b.pt", "c.pt")
    with pytest.raises(OptionError, match="SET"):
        lists("--kinds", "full")


def test_positional_values_may_stand_anywhere_but_behind_a_list():
    assert lists("a.pt", "--seed", "3", "b.pt").sets == ("a.pt", "b.pt")
    with pytest.raises(OptionError, match="put them in front"):
        lists("--rates", "0.1", "--kinds", "full")


def test_positional_values_do_not_come_from_yaml(yaml_file):
    with pytest.raises(OptionError, match="sets belongs on the command line"):
        lists("a.pt", "--config", yaml_file("sets: [b.pt]\n"))


def test_yaml_lists_and_single_values_are_lists(yaml_file):
    cfg = lists("a.pt", "--config", yaml_file("rates: [0.5, 1]\nkinds: full\n"))
    assert cfg.rates == (0.5, 1.0) and cfg.kinds == ("full",)


def test_defaults_of_lists_show_in_help(capsys):
    with pytest.raises(SystemExit):
        lists("--help")
    text = capsys.readouterr().out
    assert "SET [SET ...]" in text and "[random]" in text and "--kinds {random,herding,full} [VALUE ...]" in text
