"""Where parts come from: published files against the protocol they have to follow."""

import pytest
import torch

import continual
from condense.continual.order import class_order
from condense.continual.plan import methods_of, sources_of
from condense.continual.sources import file_name
from condense.data import load_data
from condense.options import parse


def write_steps(path, order, number, channels=1, steps=None):
    """Write a file of a class order in the published layout, and return its list over steps."""
    rng, steps = torch.Generator().manual_seed(order.seed), steps or order.steps
    data = [(torch.randn(len(classes) * number, channels, 8, 8, generator=rng),
             torch.tensor(classes).repeat_interleave(number)) for classes in steps]
    path.parent.mkdir(exist_ok=True)
    torch.save({"data": data}, path)
    return data


def published(folder, *flags):
    """Return the sources of a comparison of published files."""
    cfg = parse(continual.Config, ["--dataset", "Digits", "--model", "ConvNet", "--ipc", "2", "--steps", "5",
                                   "--cl_data_path", str(folder), *flags])
    return sources_of(cfg, methods_of(cfg, continual.METHODS), load_data("Digits"), folder / "nothing")


@pytest.mark.parametrize("method, flags, name, number", [
    ("DM", (), "cl_DM_Digits_ConvNet_2ipc_5steps_seed1.pt", 2),
    ("DSA", (), "cl_res_DSA_Digits_ConvNet_2ipc_5steps_seed1.pt", 2),
    ("herding", (), "cl_herding_Digits_ConvNet_2ipc_5steps_seed1.pt", 2),
    ("LoDM", ("--rank", "1"), "cl_LoDM_Digits_ConvNet_8ipc_5steps_seed1.pt", 8),
    ("LoDM", ("--rank", "1"), "cl_DM_Digits_ConvNet_8ipc_5steps_seed1.pt", 8)])
def test_published_files_are_found_by_their_names_and_read_step_by_step(method, flags, name, number, tmp_path):
    order = class_order(10, 5, 1)
    data = write_steps(tmp_path / name, order, number)
    (source,) = published(tmp_path, "--methods", method, *flags)
    source.check([order])
    assert source.images_per_class == number
    for step, (images, labels) in enumerate(data):
        part = source.part(order, step)
        assert torch.equal(part.images, images) and torch.equal(part.labels, labels)
        assert part.bytes == 2 * 2 * 64 * 4                # the budget, of two classes, dense as the file may be


def test_files_that_do_not_follow_the_protocol_are_refused(tmp_path):
    order, other = class_order(10, 5, 1), class_order(10, 5, 2)
    path = tmp_path / "cl_DM_Digits_ConvNet_2ipc_5steps_seed1.pt"
    for faults, mend in (({"steps": other.steps}, "other classes than seed 1 brings then"),
                         ({"steps": order.steps[:4]}, "holds 4 steps, not 5"),
                         ({"channels": 3}, "images (3, 8, 8), Digits has (1, 8, 8)")):
        write_steps(path, order, 2, **faults)
        (source,) = published(tmp_path, "--methods", "DM")
        with pytest.raises(ValueError) as error:
            source.part(order, 0)
        assert mend in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


def test_files_that_are_missing_are_named_before_any_work(tmp_path):
    _, source = published(tmp_path, "--methods", "random", "LoDM", "--rank", "1")
    with pytest.raises(FileNotFoundError, match="no cl_LoDM_Digits_ConvNet_8ipc_5steps_seed0.pt or cl_DM_Digits_ConvNet"
                                                "_8ipc_5steps_seed0.pt in .*; put the published files there"):
        source.check([class_order(10, 5, 0)])


def test_names_of_sources_become_names_of_folders():
    assert [file_name(name) for name in ("DM", "DM+low_rank", "random, 80 images", "k-means")] == [
        "DM", "DM+low_rank", "random-80-images", "k-means"]
