"""main_DD.py with forms of the set that hold other numbers of images, and have learning rates of their own."""

import pytest

from condense.run.run import Run
from condense.synthetic import latent_decoder
from tests.dd_runs import LAST, script

FORM = ["--parameterization", "latent_decoder", "--distill_steps", "1", "--lr", "0.02", "--lr_code", "0.1",
        "--lr_decoder", "0.004", "--decay_epochs", "1", "--decay_factor", "0.5", "--Iteration", "8", "--num_eval", "1",
        *LAST]                                             # three updates make an epoch


@pytest.fixture
def rates(monkeypatch):
    """{(experiment, iteration): learning rates of all groups}, as they come; at the key "until" the run is stopped."""
    found, log = {"until": None}, Run.log

    def record(self, loss):
        log(self, loss)
        found[self.exp, self.it] = [group["lr"] for group in self.owners[1].param_groups]
        if (self.exp, self.it) == found["until"]:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "log", record)
    return found


def expected(it):
    return pytest.approx([rate * 0.5 ** (it // 3) for rate in (0.1, 0.004, 0.02)])       # codes, decoders, step sizes


def test_each_part_keeps_its_own_learning_rate_and_all_fall_together_resumed_or_not(tmp_path, rates):
    form = script(*FORM)
    form.run(tmp_path / "whole", "--num_exp", "2")
    del rates["until"]
    assert len(rates) == 16 and all(rates[exp, it] == expected(it) for exp, it in rates)
    rates["until"] = (1, 6)
    with pytest.raises(SystemExit):
        form.run(tmp_path / "cut", "--num_exp", "2", "--checkpoint_every", "5")
    rates["until"] = None
    form.run(tmp_path / "cut", "--num_exp", "2", "--checkpoint_every", "5", "--resume")
    assert rates[1, 7] == expected(7)
    assert form.path(tmp_path / "cut").read_bytes() == form.path(tmp_path / "whole").read_bytes()


def test_steps_that_images_cannot_be_cut_into_are_refused_before_any_fit(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(latent_decoder, "fit", None)
    code, line = script(*FORM, "--init", "real").error_line(capsys, tmp_path, "--distill_steps", "3")
    assert code == 2 and not list(tmp_path.iterdir())
    assert "--distill_steps 3 does not divide the 76 images of a class; use --distill_steps 2" in line
    code, line = script(*FORM, "--n_decoder", "60").error_line(capsys, tmp_path)
    assert code == 2 and "next to 60 decoders" in line
