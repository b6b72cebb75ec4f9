"""Minibatches of a set whose images are views of fewer things: one view of each thing, the same for a minibatch."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from condense.matching.trajectories import student_minibatches

SIZES = dict(things=st.integers(1, 12), views=st.integers(2, 5), size=st.integers(1, 15), steps=st.integers(0, 9),
             seed=st.integers(0, 99))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@given(**SIZES)
def test_minibatches_are_those_of_the_things_with_one_view_for_each(things, views, size, steps, seed):
    plain = student_minibatches(things, size, steps, seeded(seed))
    rows = torch.arange(things * views)
    found = student_minibatches(things * views, size, steps, seeded(seed), views=views)
    assert len(found) == steps
    for batch, of_things in zip(found, plain, strict=True):
        assert torch.equal(rows[batch] // views, torch.arange(things)[of_things])
        assert len((rows[batch] % views).unique()) == 1
        assert isinstance(batch, slice) == isinstance(of_things, slice)


def test_every_view_comes_and_each_about_as_often():
    for size in (3, 100):
        rows = torch.arange(50)
        chosen = [int(rows[batch][0] % 5) for batch in student_minibatches(50, size, 1000, seeded(), views=5)]
        assert all(150 < chosen.count(view) < 250 for view in range(5))


@given(**SIZES)
def test_images_that_are_all_alike_are_drawn_as_without_views(things, views, size, steps, seed):
    one, other = (student_minibatches(things, size, steps, seeded(seed), **more) for more in ({}, {"views": 1}))
    assert [str(batch) for batch in one] == [str(batch) for batch in other]
