"""The steps of a set: which images each of them sees, how far it goes, and how both are kept in a file."""

import pytest
import torch

from condense.run.stored_steps import read_steps, stored_steps
from condense.synthetic import build_synthetic
from condense.training.steps import Steps, split_steps, steps_of


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def learning(digits, ipc=4, lr=0.02, steps=2, epochs=3):
    synthetic = build_synthetic("pixels", digits, ipc, "noise", seeded())
    synthetic.learned_steps.learn_each(lr, steps, epochs)
    return synthetic


# Batches

def test_every_step_sees_its_own_images_of_every_class_and_all_are_seen():
    labels = torch.arange(3).repeat_interleave(6)
    rows = split_steps(labels, 3)
    assert [row.tolist() for row in rows] == [[2 * s + first + i for first in (0, 6, 12) for i in (0, 1)]
                                              for s in range(3)]


def test_probabilities_are_cut_by_their_largest_class_in_whatever_order_it_comes():
    labels = torch.eye(2)[torch.tensor([1, 0, 0, 1])] * 0.8 + 0.1
    assert [row.tolist() for row in split_steps(labels, 2)] == [[1, 0], [2, 3]]


def test_what_does_not_divide_differs_by_one_and_few_images_have_few_steps():
    assert [row.tolist() for row in split_steps(torch.zeros(5, dtype=torch.int64), 2)] == [[0, 1, 2], [3, 4]]
    few = split_steps(torch.tensor([0, 0, 0, 1, 1]), 10)
    assert [row.tolist() for row in few] == [[0, 1, 3], [2, 4]]


# Step sizes

@pytest.mark.parametrize("lr", [1e-3, 0.02, 3.0, 200.0])
def test_all_step_sizes_begin_as_given_and_there_is_one_for_each_step_of_each_epoch(digits, lr):
    sizes = learning(digits, lr=lr).learned_steps.sizes
    assert sizes.shape == (6,)
    torch.testing.assert_close(sizes.detach(), torch.full((6,), lr), rtol=2e-6, atol=0)


def test_what_is_learned_is_raw_and_its_gradient_is_the_logistic_functions(digits):
    learned = learning(digits, lr=0.02).learned_steps
    assert float(learned.raw_sizes[0].detach()) == pytest.approx(-3.902, abs=1e-3)         # log(e^0.02 - 1)
    learned.sizes.sum().backward()
    torch.testing.assert_close(learned.raw_sizes.grad, learned.raw_sizes.detach().sigmoid())


def test_step_sizes_are_no_images_and_take_none_of_the_budget(digits):
    synthetic = learning(digits)
    assert [name for name, _ in synthetic.stored_parameters()] == ["pixels"]
    assert synthetic.storage() == build_synthetic("pixels", digits, 4, "noise", seeded()).storage()
    assert [group["name"] for group in synthetic.param_groups(1, 0)] == ["pixels"]


@pytest.mark.parametrize("steps, nearest", [(3, 2), (5, 4), (100, 4)])
def test_a_number_of_steps_that_does_not_divide_is_refused_with_the_nearest_that_does(digits, steps, nearest):
    with pytest.raises(ValueError, match=f"--distill_steps {steps} does not divide the 4 .*_steps {nearest}$"):
        learning(digits, steps=steps)


def test_the_step_size_of_a_set_is_the_mean_of_many_the_only_one_or_none(digits):
    synthetic = build_synthetic("pixels", digits, 2, "noise", seeded())
    learned = synthetic.learned_steps
    assert learned.mean() is None and learned.sizes is None and steps_of(synthetic) is None
    learned.learn_one(0.25)
    assert learned.mean() == 0.25
    many = learning(digits)
    with torch.no_grad():
        many.learned_steps.raw_sizes.copy_(torch.linspace(-3, 2, 6))
    assert many.learned_steps.mean() == pytest.approx(sum(steps_of(many).sizes) / 6)


def test_a_given_step_size_goes_before_learned_ones_and_those_before_the_constant():
    rows = (torch.arange(2), torch.arange(2))
    assert Steps(rows, (1.0, 2.0, 3.0, 4.0)).sizes_of(2, None, 9.0) == [1, 2, 3, 4]
    assert Steps(rows, (1.0, 2.0, 3.0, 4.0)).sizes_of(3, 0.5, 9.0) == [0.5] * 6
    assert Steps(rows).sizes_of(2, None, 9.0) == [9] * 4
    with pytest.raises(ValueError, match="4 step sizes .* 3 epochs of 2 batches take 6; leave --epoch_eval_train out"):
        Steps(rows, (1.0, 2.0, 3.0, 4.0)).sizes_of(3)


# In a file

def same(one, other):
    pairs = zip((*one.rows, one.starts), (*other.rows, other.starts), strict=True)
    return all(a is b or torch.equal(a, b) for a, b in pairs) and (one.sizes, one.model) == (other.sizes, other.model)


@pytest.mark.parametrize("starts", [None, torch.randn(2, 5, generator=seeded(1))], ids=["fresh", "fixed"])
def test_steps_come_back_from_a_file_as_they_were(digits, starts):
    synthetic = learning(digits)
    synthetic.learned_steps.start_from("MLP" if starts is not None else None, starts)
    steps = steps_of(synthetic)
    content, start = stored_steps(steps)
    assert (start is None) == (starts is None)
    assert same(read_steps("f.pt", content, start, 40), steps)
    assert stored_steps(None) == (None, None) and read_steps("f.pt", None, None, 40) is None


SIZES, ROWS = torch.full((4,), 0.1), torch.tensor([[0, 1], [2, 3]])


@pytest.mark.parametrize("content, start, mend", [
    ({"rows": ROWS}, None, "step sizes are not all numbers above 0"),
    ({"sizes": SIZES - 0.1, "rows": ROWS}, None, "step sizes are not all numbers above 0"),
    ({"sizes": SIZES * torch.nan, "rows": ROWS}, None, "step sizes are not all numbers above 0"),
    ({"sizes": SIZES / 0, "rows": ROWS}, None, "4 step sizes for 2 batches"),
    ({"sizes": SIZES[:3], "rows": ROWS}, None, "3 step sizes for 2 batches"),
    ({"sizes": SIZES, "rows": ROWS.float()}, None, "rows of its steps are not indices"),
    ({"sizes": SIZES, "rows": ROWS + 1}, None, "images beyond its 4"),
    ({"sizes": SIZES, "rows": ROWS - 1}, None, "images beyond its 4"),
    ("what", None, "step sizes are not"),
    ({"sizes": SIZES, "rows": ROWS}, {"model": "MLP"}, "its start is not the parameters"),
    ({"sizes": SIZES, "rows": ROWS}, {"model": 3, "parameters": ROWS}, "its start is not the parameters"),
])
def test_what_is_no_steps_is_refused_in_one_line(content, start, mend):
    with pytest.raises(ValueError, match=mend) as refused:
        read_steps("f.pt (data 0)", content, start, 4)
    assert str(refused.value).startswith("f.pt (data 0): ") and "\n" not in str(refused.value)
