"""How codes and decoders share a budget: the cells of the reference sheet, the rule elsewhere, and what is refused."""

import re
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from condense.synthetic.latent_decoder import LatentDecoder
from condense.synthetic.latent_grades import CELLS, GRADES, LatentChoices, plan

SHAPES = dict(num_classes=st.integers(1, 12), channel=st.integers(1, 3),
              im_size=st.tuples(st.integers(1, 36), st.integers(1, 36)))
CHOICES = dict(number=st.sampled_from(["auto", 1, 2, 3, 7]), codes=st.sampled_from(["auto", 1, 2, 9]),
               latent_channels=st.sampled_from(["auto", "auto", 1, 5]))


def stored(choices, chosen):
    return (chosen.number * chosen.architecture.decoder_floats
            + choices.num_classes * chosen.codes_per_class * chosen.architecture.code_floats)


@pytest.mark.parametrize("num_classes, channel, side, ipc, grade, number, codes, total", [
    (10, 3, 32, 1, "XS", 4, 8, 30420), (10, 3, 32, 10, "M", 4, 57, 304076), (10, 3, 32, 50, "B", 4, 170, 1531692),
    (100, 3, 32, 1, "S", 10, 13, 304910), (100, 3, 32, 10, "B", 4, 37, 3067692),
    (10, 1, 28, 1, "D1", 2, 6, 7802), (10, 1, 28, 10, "D10", 4, 50, 77412), (10, 1, 28, 50, "D50", 4, 132, 390340),
    (200, 3, 64, 1, "T1", 4, 14, 2392668), (200, 3, 64, 10, "T10", 4, 78, 24522188)])
def test_cells_are_those_of_the_reference_sheet_and_hold_no_further_code(num_classes, channel, side, ipc, grade, number,
                                                                         codes, total):
    for asked in ("auto", grade):
        choices = LatentChoices(num_classes, ipc, channel, (side, side), asked)
        chosen = plan(choices)
        latent, hidden = GRADES[grade]
        assert chosen.architecture.channels == (latent, *hidden, channel)
        assert (chosen.number, chosen.codes_per_class, stored(choices, chosen)) == (number, codes, total)
        assert total <= choices.budget < total + num_classes * chosen.architecture.code_floats


def test_every_cell_is_tested_above():
    assert sum(map(len, CELLS.values())) == 10


@given(ipc=st.integers(1, 60), **SHAPES, **CHOICES)
@settings(max_examples=300, deadline=None)
def test_budget_is_never_exceeded_and_holds_as_many_codes_as_it_can(num_classes, channel, im_size, ipc, number, codes,
                                                                    latent_channels):
    choices = LatentChoices(num_classes, ipc, channel, im_size, "auto", latent_channels, (), number, codes)
    try:
        chosen = plan(choices)
    except ValueError:
        assume(False)
    assert stored(choices, chosen) <= choices.budget == num_classes * ipc * channel * im_size[0] * im_size[1]
    one_more = replace(chosen, codes_per_class=chosen.codes_per_class + 1)
    assert codes != "auto" or stored(choices, one_more) > choices.budget
    assert number == "auto" or chosen.number == number
    assert codes == "auto" or chosen.codes_per_class == codes
    assert latent_channels == "auto" or chosen.architecture.channels[0] == latent_channels
    assert chosen.codes_per_class >= 1 <= chosen.number


@given(ipc=st.integers(1, 3), **SHAPES, **CHOICES)
@settings(max_examples=300, deadline=None)
def test_refused_budget_names_the_smallest_ipc_and_the_most_of_what_was_asked_that_fit(
        num_classes, channel, im_size, ipc, number, codes, latent_channels):
    choices = LatentChoices(num_classes, ipc, channel, im_size, "auto", latent_channels, (), number, codes)

    def fits(**changes):
        try:
            return bool(plan(replace(choices, **changes)))
        except ValueError:
            return False

    if fits():
        return
    with pytest.raises(ValueError, match="does not hold") as refused:
        plan(choices)
    message = str(refused.value)
    assert "\n" not in message
    smallest = int(re.search(r"--ipc (\d+) or more$", message)[1])
    assert smallest > ipc and fits(ipc=smallest) and not fits(ipc=smallest - 1)
    for flag, name in (("n_decoder", "number"), ("codes_per_class", "codes")):
        most = re.search(rf"--{flag} (\d+) or less", message)
        if most:
            assert fits(**{name: int(most[1])}) and not fits(**{name: int(most[1]) + 1})


def test_a_cell_whose_grade_leaves_no_room_for_what_is_asked_falls_back_on_the_rule():
    chosen = plan(LatentChoices(10, 1, 3, (32, 32), number=60))
    assert chosen.number == 60 and chosen.architecture.channels[0] < GRADES["XS"][0]


def test_grades_and_channels_are_taken_as_they_are_given():
    choices = LatentChoices(10, 10, 3, (32, 32), "S", 20)
    assert plan(choices).architecture.channels == (20, 16, 8, 3)
    assert plan(replace(choices, grade="T1", hidden=(5, 4))).architecture.channels == (20, 5, 4, 3)
    assert plan(replace(choices, grade="auto")).architecture.channels == (20, 20, 10, 3)


@pytest.mark.parametrize("options, mend", [
    (dict(latent_grade="T1"), "--latent_grade T1 has 4 layers, but decoders of 32x32 images have 3; use one of: auto, "
                              "XS, S, M, B, D1, D10, D50"),
    (dict(latent_grade="Z"), "unknown grade 'Z'; choose one of: XS"),
    (dict(latent_hidden=(8,)), "--latent_hidden has 1 number, but decoders of 32x32 images, of 3 layers, take 2"),
    (dict(latent_grade="B"), "768 numbers for each of 10 classes next to 1 decoder of 56,523; use --ipc 3 or more"),
    (dict(n_decoder=8, latent_grade="XS"), "use --n_decoder 7 or less, or --ipc 2 or more"),
    (dict(codes_per_class=9, latent_grade="XS", n_decoder=4),
     "does not hold 9 codes of 192 numbers for each of 10 classes next to 4 decoders of 3,765; use --n_decoder 3 or "
     "less, or --codes_per_class 8 or less, or --ipc 2 or more"),
    (dict(budget="published"), "the paper of this form does not say how it counts; leave --budget out"),
])
def test_what_cannot_be_is_refused_by_its_mend(options, mend):
    with pytest.raises(ValueError, match=re.escape(mend)):
        LatentDecoder(10, 1, 3, (32, 32), **options)
