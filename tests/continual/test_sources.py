"""Where parts come from: what a folder holds already is checked against the protocol before any work."""

import pytest
import torch

import continual
from condense.cli import parse
from condense.continual.order import class_order
from condense.continual.plan import methods_of, sources_of
from condense.continual.sources import file_name
from condense.core.errors import OptionError
from condense.data import load_data


@pytest.fixture
def herding(tmp_path):
    """Return (make a source of herding by flags, the class order that it has finished)."""
    order = class_order(10, 5, 0)

    def source_of(*flags):
        cfg = parse(continual.Config, ["--dataset", "Digits", "--model", "ConvNetD1", "--ipc", "1", "--device", "cpu",
                                       "--no-progress", "--methods", "herding", *flags])
        return sources_of(cfg, methods_of(cfg, continual.METHODS), load_data("Digits"), tmp_path)[0]

    source = source_of()
    for step in range(5):
        source.part(order, step)
    return source_of, order


def test_steps_that_are_there_are_read_and_not_made_again(herding):
    source_of, order = herding
    source = source_of("--lr_net", "0.5", "--batch_train", "7", "--dsa_strategy", "flip")    # no use to herding
    source.check([order])
    source.part(order, 3)
    assert not source.made


def test_every_step_is_checked_and_not_the_first_alone(herding, tmp_path):
    source_of, order = herding
    (last,) = (tmp_path / "seed0" / "step4" / "herding").glob("res_*.pt")
    result = torch.load(last, weights_only=True)
    result["meta"]["fingerprint"] = "0" * 64
    torch.save(result, last)
    with pytest.raises(OptionError, match="step4.* was made from other images; use another --save_path, or"):
        source_of().check([order])
    source_of("--overwrite").check([order])
    last.write_bytes(last.read_bytes()[:100])
    with pytest.raises(OptionError, match="step4"):
        source_of().check([order])


def test_sets_of_other_options_are_refused(herding):
    source_of, order = herding
    with pytest.raises(OptionError, match="step0.*--space was pixels, is random.*--overwrite"):
        source_of("--space", "random").check([order])


def test_more_images_than_a_class_has_are_refused_beforehand(herding):
    source_of, order = herding
    with pytest.raises(ValueError, match="--ipc 2000 chooses 2000 images of every class.*; use --ipc 1"):
        source_of("--ipc", "2000").check([order])


def test_names_of_sources_become_names_of_folders():
    assert [file_name(name) for name in ("DM", "DM+low_rank", "random, 80 images", "k-means")] == [
        "DM", "DM+low_rank", "random-80-images", "k-means"]
