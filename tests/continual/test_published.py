"""Published files against the protocol they have to follow, and pixels of every scale they may have."""

import hashlib

import pytest
import torch

import continual
from condense.cli import parse
from condense.continual.order import class_order
from condense.continual.plan import methods_of, sources_of
from condense.data import load_data

NAME = "cl_DM_Digits_ConvNet_{}ipc_5steps_seed{}.pt"
NORMALISED = ("--cl_space", "normalised")


def drawn_steps(order, number, channels=1, steps=None):
    """Return a list over steps of (normal noise, labels), `number` images of each class."""
    rng = torch.Generator().manual_seed(order.seed)
    return [(torch.randn(len(classes) * number, channels, 8, 8, generator=rng),
             torch.tensor(classes).repeat_interleave(number)) for classes in steps or order.steps]


def write(path, data):
    path.parent.mkdir(exist_ok=True)
    torch.save({"data": data}, path)


def published(folder, *flags, ipc=2):
    """Return the sources of a comparison of published files."""
    cfg = parse(continual.Config, ["--dataset", "Digits", "--model", "ConvNet", "--ipc", str(ipc), "--steps", "5",
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
    data = drawn_steps(order, number)
    write(tmp_path / name, data)
    (source,) = published(tmp_path, "--methods", method, *flags, *NORMALISED)
    source.check([order])
    assert source.images_per_class == number
    digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert source.facts() == {"files": {"1": {"name": name, "sha256": digest}}, "space": "normalised"}
    for step, (images, labels) in enumerate(data):
        part = source.part(order, step)
        assert torch.equal(part.images, images) and torch.equal(part.labels, labels)
        assert part.bytes == 2 * 2 * 64 * 4                # the budget, of two classes, dense as the file may be


def soft(data):
    return [(images, torch.nn.functional.one_hot(labels, 9 if labels.max() < 9 else 10).float())
            for images, labels in data]


FIRST, SECOND, THIRD = (class_order(10, 5, seed) for seed in range(3))
FAULTS = {
    "other classes than seed 1 has at this step": drawn_steps(SECOND, 2, steps=THIRD.steps),
    "step 4 holds other classes": [*drawn_steps(SECOND, 2)[:4], drawn_steps(SECOND, 2)[0]],
    "holds 4 steps, not 5": drawn_steps(SECOND, 2)[:4],
    "images (3, 8, 8), Digits has (1, 8, 8)": drawn_steps(SECOND, 2, channels=3),
    "step 0 holds 3 images of a class, not the 2 that its name says": drawn_steps(SECOND, 3),
    "step 2 holds 1 images of a class, not the 2": [
        (images[1:], labels[1:]) if step == 2 else (images, labels)
        for step, (images, labels) in enumerate(drawn_steps(SECOND, 2))],
    "holds other classes": soft(drawn_steps(SECOND, 2))}


@pytest.mark.parametrize("mend", FAULTS)
def test_any_file_of_any_order_that_does_not_follow_the_protocol_is_refused_beforehand(mend, tmp_path):
    write(tmp_path / NAME.format(2, 0), drawn_steps(FIRST, 2))
    write(tmp_path / NAME.format(2, 1), FAULTS[mend])
    (source,) = published(tmp_path, "--methods", "DM", *NORMALISED)
    source.check([FIRST])
    with pytest.raises(ValueError) as error:
        source.check([FIRST, SECOND])
    line = str(error.value)
    assert mend in line and str(tmp_path / NAME.format(2, 1)) in line and "\n" not in line


def test_files_that_are_missing_are_named_before_any_work(tmp_path):
    _, source = published(tmp_path, "--methods", "random", "LoDM", "--rank", "1")
    with pytest.raises(FileNotFoundError, match="no cl_LoDM_Digits_ConvNet_8ipc_5steps_seed0.pt or cl_DM_Digits_ConvNet"
                                                "_8ipc_5steps_seed0.pt in .*; put the published files there"):
        source.check([FIRST])


def real_steps(real, order, number, scale):
    """Return the first images of each class on the scale asked for, and as they are normalised, both over steps."""
    given, wanted = [], []
    for classes in order.steps:
        rows = torch.cat([real.indices_of(label)[:number] for label in classes])
        pixels = real.images[rows].double()
        mean, std = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (real.mean, real.std))
        normalised = (pixels / 255 - mean) / std
        images = {"raw": pixels / 255, "0..255": pixels, "normalised": normalised}[scale]
        given.append((images.float(), real.labels[rows]))
        wanted.append(normalised)
    return given, wanted


@pytest.mark.parametrize("flags", [(), ("right",)], ids=["told by their statistics", "as the flag says"])
@pytest.mark.parametrize("scale", ["normalised", "raw", "0..255"])
def test_pixels_of_every_scale_become_normalised(scale, flags, tmp_path):
    """Two orders of 40 images each: neither file is enough to tell, both together are."""
    real, orders = load_data("Digits"), (FIRST, SECOND)
    wanted = {}
    for order in orders:
        given, wanted[order.seed] = real_steps(real, order, 4, scale)
        write(tmp_path / NAME.format(4, order.seed), given)
    flags = ("--cl_space", "normalised" if scale == "normalised" else "raw") if flags else ()
    (source,) = published(tmp_path, "--methods", "DM", *flags, ipc=4)
    source.check(orders)
    for order in orders:
        for step in range(5):
            images = source.part(order, step).images
            assert images.dtype == torch.float32 and (images - wanted[order.seed][step]).abs().max() < 1e-5


def test_pixels_that_do_not_tell_their_space_are_asked_for(tmp_path):
    write(tmp_path / NAME.format(2, 0), drawn_steps(FIRST, 2))
    write(tmp_path / NAME.format(6, 0), drawn_steps(FIRST, 6))
    for ipc, reason in ((2, "20 images are too few"), (6, "is nearest, but not clearly")):
        (source,) = published(tmp_path, "--methods", "DM", ipc=ipc)
        with pytest.raises(ValueError, match=f"{reason}.*; give --cl_space normalised or raw$"):
            source.check([FIRST])


def test_bytes_are_not_taken_for_normalised_whatever_the_flag_says(tmp_path):
    write(tmp_path / NAME.format(4, 0), real_steps(load_data("Digits"), FIRST, 4, "0..255")[0])
    (source,) = published(tmp_path, "--methods", "DM", *NORMALISED, ipc=4)
    with pytest.raises(ValueError, match="pixels are 0..255, not normalised; give --cl_space raw"):
        source.check([FIRST])


def test_whitened_pixels_are_refused(tmp_path):
    real = load_data("Digits", zca=True)
    rows = [torch.cat([real.indices_of(label)[:50] for label in classes]) for classes in FIRST.steps]
    write(tmp_path / NAME.format(50, 0), [(real.images[index], real.labels[index]) for index in rows])
    (source,) = published(tmp_path, "--methods", "DM", ipc=50)
    with pytest.raises(ValueError, match="pixels seem to be whitened .* --cl_space normalised or raw"):
        source.check([FIRST])
