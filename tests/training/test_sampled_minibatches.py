"""Minibatches of a set for many steps: every class alike, no image twice, and drawn anew for each step."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import condense.training.sampled_minibatches as module
from condense.core.randomness import Streams
from condense.training.sampled_minibatches import class_minibatches, draw_classes


def drawn(counts, size, steps, classes=None, seed=0):
    return class_minibatches(counts, size, steps, Streams(seed)("data", 0), classes)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 12), st.integers(1, 5), st.data())
def test_each_step_has_as_many_images_of_each_class_that_was_asked_for_and_none_twice(k, of_class, size, steps, data):
    classes = data.draw(st.none() | st.lists(st.integers(0, k - 1), min_size=1, unique=True))
    batches = drawn([of_class] * k, size, steps, classes)
    assert len(batches) == steps
    for batch in batches:
        found = sorted(batch.tolist())
        assert len(set(found)) == len(found)
        expected = sorted(range(k) if classes is None else classes)
        assert sorted(row // of_class for row in found) == [c for c in expected for _ in range(min(size, of_class))]


def test_every_image_is_drawn_equally_often():
    batches = torch.stack(drawn([5, 5], 2, 20_000))
    share = torch.bincount(batches.flatten(), minlength=10) / 20_000
    assert torch.allclose(share, torch.tensor(0.4), atol=0.02)


def test_no_size_takes_all_images_in_every_step():
    batches = drawn([3, 3], None, 2, [1])
    assert [batch.tolist() for batch in batches] == [[3, 4, 5]] * 2


def test_steps_differ_and_the_same_generator_draws_the_same():
    first, again, other = (drawn([8] * 3, 3, 6, seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not any(torch.equal(a, b) for a, b in zip(first, other))
    assert len({tuple(batch.tolist()) for batch in first}) == 6


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(2, 4), st.none() | st.integers(1, 6))
def test_of_each_thing_drawn_a_step_sees_one_view(k, things, views, size):
    for batch in class_minibatches([things * views] * k, size, 5, Streams(0)("data", 0), views=views):
        found = (batch // views).tolist()
        assert len(set(found)) == len(found) == k * min(size or things, things)


def test_all_views_are_drawn_equally_often_and_anew_for_each_thing():
    batches = torch.stack(class_minibatches([6, 6], None, 9_000, Streams(0)("data", 0), views=3))
    assert torch.equal(batches // 3, torch.arange(4).expand(9_000, 4))
    pairs = torch.bincount(batches[:, 0] % 3 * 3 + batches[:, 1] % 3, minlength=9) / 9_000
    assert torch.allclose(pairs, torch.tensor(1 / 9), atol=0.02)


def test_many_keys_are_drawn_a_few_steps_at_a_time(monkeypatch):
    monkeypatch.setattr(module, "KEYS", 50)
    batches = drawn([8] * 3, 3, 7)
    assert len(batches) == 7 and len({tuple(batch.tolist()) for batch in batches}) == 7


def test_classes_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match=r"same number of images in each, not \[2, 3\]"):
        drawn([2, 3], 1, 1)


def test_classes_are_drawn_without_repetition_and_all_of_them_where_no_fewer_are_asked_for():
    found = [draw_classes(6, 2, Streams(0)("data", i)) for i in range(300)]
    assert all(len(set(pair)) == 2 and pair == sorted(pair) for pair in found)
    assert {label for pair in found for label in pair} == set(range(6))
    assert list(draw_classes(6, None, None)) == list(draw_classes(6, 9, None)) == list(range(6))
