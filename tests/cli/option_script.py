"""A script's options as the tests of options parse them."""

import dataclasses

import pytest

from condense.cli import option, parse, with_forms
from condense.cli.groups import GROUPS
from condense.core.errors import OptionError
from condense.synthetic import PARAMETERIZATIONS


@dataclasses.dataclass(frozen=True)
class Script(*GROUPS):
    lr_img: float = option(0.1, "step size, 100% honest", gt=0)
    batch_real: int | str = option(256, "images or all", choices=("all",), ge=1)
    cadence: int | str = option("auto", "how often", choices=("auto",), ge=0)
    strategy: str = option("auto", "operators")
    limit: float | None = option(None, "largest norm", gt=0)
    Iteration: int = option(1000, "updates", ge=0)
    secret_path: str = option("here", "a place", neutral=True)
    dis_metric: str = option("ours", "", dead="--dis_metric has no effect here")
    fast: bool = option(True, "", dead="--fast has no effect here")


Config = with_forms(Script, PARAMETERIZATIONS)


def flags(*argv):
    return parse(Config, list(argv), "a description")


def refusal(*argv):
    with pytest.raises(OptionError) as caught:
        flags(*argv)
    message = str(caught.value)
    assert "\n" not in message
    return message
