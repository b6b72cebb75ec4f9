"""How long an iteration takes is told by the first real ones, and a measured run leaves nothing behind."""

from itertools import count
from types import SimpleNamespace

import pytest
import torch

from condense.core.errors import Finished
from condense.run.pace import Pace
from tests.conftest import TINY, runs_begun


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test moves: `clock.now += seconds`."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("condense.run.pace.time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


def test_the_second_iteration_tells_since_the_first_one_warms_up(clock):
    pace = Pace(torch.device("cpu"))
    for seconds in (100, 3):
        assert pace.per_iteration is None
        pace.begin()
        clock.now += seconds
        pace.end()
    assert pace.per_iteration == 3


def test_the_only_iteration_tells_where_there_is_no_other(clock):
    pace = Pace(torch.device("cpu"))
    pace.begin()
    clock.now += 5
    pace.end(last=True)
    assert pace.per_iteration == 5


def test_an_iteration_of_many_outer_steps_tells_after_two_of_them_what_all_and_the_start_take(clock):
    pace = Pace(torch.device("cpu"))
    pace.begin()
    clock.now += 10                                        # training before the first matching step
    for _ in range(3):
        pace.step(50)
        clock.now += 2
    assert pace.per_iteration == 10 + 50 * 2


def test_once_known_nobody_waits_for_the_clock(monkeypatch):
    calls = count()
    monkeypatch.setattr("condense.run.pace.time", SimpleNamespace(perf_counter=lambda: float(next(calls))))
    pace = Pace(torch.device("cpu"))
    for _ in range(5):
        pace.begin()
        pace.step(1)
        pace.end()
    assert next(calls) == 6


def test_a_measured_run_times_its_steps_and_leaves_no_file(dm, tmp_path, monkeypatch):
    from condense.cli import parse, with_forms
    from condense.run.run import start_run
    from condense.synthetic import PARAMETERIZATIONS

    def measured(cfg, name):
        run = start_run(cfg, name)
        run.measure(3)
        return run

    runs = runs_begun(monkeypatch)
    monkeypatch.setattr(dm.module, "start_run", measured)
    cfg = parse(with_forms(dm.module.Config, PARAMETERIZATIONS),
                [*TINY, "--batch_real", "8", "--save_path", str(tmp_path / "out")])
    with pytest.raises(Finished, match="about .* in all: 1 experiment of 6 iterations"):
        dm.module.main(cfg)
    assert runs[0].forecast.pace.per_iteration > 0 and runs[0].forecast.per_evaluation > 0
    assert not list((tmp_path / "out").iterdir())
