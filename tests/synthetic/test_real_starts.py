"""A start from real images, whatever the form: how many it takes, and what a refusal names where there are too few."""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from condense.data import RealData
from condense.synthetic import PARAMETERIZATIONS, build_synthetic, outline_synthetic

OPTIONS = {
    "pixels": st.just({}),
    "low_rank": st.fixed_dictionaries({"rank": st.integers(1, 3)}),
    "memory": st.fixed_dictionaries({"n_basis": st.integers(1, 12), "downsample_scale": st.sampled_from((1, 2))}),
    "multi_formation": st.fixed_dictionaries({"factor": st.integers(1, 2)}),
    "hallucinator": st.fixed_dictionaries({
        "n_style": st.integers(1, 3), "base_channel": st.integers(0, 2), "budget": st.sampled_from(("strict",
                                                                                                   "published")),
        "lambda_club_content": st.just(0.0)}),
    "latent_decoder": st.fixed_dictionaries({
        "n_decoder": st.sampled_from(("auto", 1, 3)), "codes_per_class": st.sampled_from(("auto", "auto", 2, 6)),
        "latent_channels": st.sampled_from(("auto", 1, 4)), "warmup_steps": st.just(0)}),
}


def seeded():
    return torch.Generator().manual_seed(0)


def real_of(num_classes, channel, im_size, smallest):
    """Real data of which class 0 has `smallest` images, and every other class one more than the one before."""
    labels = torch.arange(num_classes).repeat_interleave(torch.arange(smallest, smallest + num_classes))
    images = torch.randint(256, (len(labels), channel, *im_size), generator=seeded(), dtype=torch.uint8)
    return RealData("tiny", images, labels, images, labels, [f"c{c}" for c in range(num_classes)])


def starts(form, real, ipc, init="real", **options):
    try:
        build_synthetic(form, real, ipc, init, seeded(), **options)
    except ValueError:
        return False
    return True


def test_every_form_is_in_the_property():
    assert OPTIONS.keys() == PARAMETERIZATIONS.keys()


@pytest.mark.parametrize("form", OPTIONS)
@given(st.data())
@settings(max_examples=25, deadline=None)
def test_the_ipc_that_a_refusal_names_starts_and_the_next_larger_one_does_not(form, data):
    real = real_of(data.draw(st.integers(1, 3)), data.draw(st.sampled_from((1, 3))),
                   data.draw(st.sampled_from(((4, 4), (4, 6), (8, 8)))), data.draw(st.integers(1, 12)))
    options, ipc = data.draw(OPTIONS[form]), data.draw(st.integers(1, 16))
    try:
        build_synthetic(form, real, ipc, "real", seeded(), **options)
        return
    except ValueError as error:
        said = re.search(r"with --init real needs (\d+) images .*; use (?:--ipc (\d+)( or less)?, or )?--init noise$",
                         str(error))
        if not said:                                       # the budget holds no set at all
            assert not starts(form, real, ipc, "noise", **options)
            return
    assert int(said[1]) > min(real.class_counts) and starts(form, real, ipc, "noise", **options)
    begins = [fewer for fewer in range(1, ipc) if starts(form, real, fewer, **options)]
    assert begins[-1:] == ([int(said[2])] if said[2] else [])
    assert bool(said[3]) == (len(begins) > 1 and begins == list(range(1, begins[-1] + 1)))


@pytest.mark.parametrize("form, im_size, smallest, ipc, options, mend", [
    ("pixels", (8, 8), 7, 9, {}, "needs 9 images .* has 7; use --ipc 7 or less, or --init noise"),
    # rank 5 takes 80 numbers of 64: ipc n holds 4 n / 5 images, and ipc 1 none, so not "or less"
    ("low_rank", (8, 8), 4, 8, {"rank": 5}, "needs 6 images .* has 4; use --ipc 6, or --init noise"),
    # (128 n - 192) / 24 images for each of two classes: ipc 1 holds none, ipc 2 holds 2, ipc 5 holds 18
    ("memory", (8, 8), 2, 5, {"n_basis": 12, "downsample_scale": 2}, "needs 18 images .* has 2; use --ipc 2, or --in"),
    # ipc 1 to 6: 11, 27, 17, 25, 33, 41, as the codes grow with the budget; in proportion ipc 2 would do
    ("latent_decoder", (8, 8), 20, 6, {"n_decoder": 1}, "needs 41 images .* has 20; use --ipc 3, or --init noise"),
    ("latent_decoder", (8, 8), 7, 9, {"n_decoder": 4, "codes_per_class": 2, "latent_channels": 1,
                                      "latent_hidden": (1,)}, "needs 8 images .* has 7; use --init noise"),
])
def test_a_refusal_names_the_largest_ipc_that_starts(form, im_size, smallest, ipc, options, mend):
    with pytest.raises(ValueError, match=mend):
        build_synthetic(form, real_of(2, 1, im_size, smallest), ipc, "real", seeded(), **options)


@pytest.mark.parametrize("form", PARAMETERIZATIONS)
def test_an_outline_has_the_shape_of_the_set_and_takes_no_memory(form):
    real = real_of(3, 3, (8, 8), 5)
    outline, whole = outline_synthetic(form, real, 6), build_synthetic(form, real, 6, "noise", seeded())
    assert {name: tensor.shape for name, tensor in outline.state_dict().items()} == \
        {name: tensor.shape for name, tensor in whole.state_dict().items()}
    assert (outline.counts, outline.views, outline.budget) == (whole.counts, whole.views, whole.budget)
    assert all(tensor.is_meta for tensor in (*outline.parameters(), *outline.buffers()))


def test_an_outline_refuses_what_cannot_be_built():
    real = real_of(2, 1, (8, 8), 5)
    for mend, args in {"unknown parameterization 'low_rang'; did you mean low_rank": ("low_rang", real, 1),
                       "--ipc must be 1 or larger, not 0": ("pixels", real, 0),
                       "holds no 8x8 image of --rank 5; use --rank 4 or less": ("low_rank", real, 1)}.items():
        with pytest.raises(ValueError, match=mend):
            outline_synthetic(*args, **({"rank": 5} if args[0] == "low_rank" else {}))
