"""Unrolled training: one gradient, four ways to get it, and what the approximate one leaves out."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmarks.timing import LiveTensors
from condense.matching.trajectories import Student, student_minibatches
from condense.matching.unrolling import MODES, choose_mode, gradient, unroll
from condense.operators import Compute
from main_MTT import matching_loss, student_step

EXACT = ("full", "checkpoint", "constant")
STEPS = 5


def smooth_network():
    """A small ConvNet whose loss is smooth in everything, in float64."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.Tanh(), nn.AvgPool2d(2),
                         nn.Flatten(), nn.Linear(16, 3)).double()


class Problem:
    """A student on eight images with learned soft labels and step size, minibatches and augmentation fixed."""

    def __init__(self):
        net, rng = smooth_network(), torch.Generator().manual_seed(1)
        self.student = Student(net, Compute(), chunk=3)
        self.start = torch.cat([p.detach().flatten() for p in net.parameters()])
        self.target = self.start + 0.1 * torch.randn(self.start.shape, generator=rng, dtype=torch.float64)
        self.images = torch.randn(8, 2, 4, 4, generator=rng, dtype=torch.float64)
        self.logits = torch.randn(8, 3, generator=rng, dtype=torch.float64)
        self.syn_lr = torch.tensor(0.5, dtype=torch.float64)
        self.rows = student_minibatches(8, 5, STEPS, rng)
        self.augment = [lambda x, k=k: x.flip(3) if k % 2 else 1.1 * x for k in range(STEPS)]

    def inputs(self):
        return [tensor.clone().requires_grad_() for tensor in (self.images, self.logits, self.syn_lr)]

    def end(self, images, logits, syn_lr, mode="full"):
        step = student_step(self.student, self.rows, self.augment)
        return unroll(step, self.start, STEPS, (images, logits.softmax(1), syn_lr), mode)

    def loss(self, *inputs, mode="full"):
        return matching_loss(self.end(*inputs, mode=mode), self.start, self.target)

    def gradients(self, mode):
        inputs = self.inputs()
        return torch.autograd.grad(self.loss(*inputs, mode=mode), inputs)


@pytest.fixture(scope="module")
def problem():
    return Problem()


def relative(a, b):
    return float((a - b).detach().norm() / b.detach().norm())


@pytest.mark.parametrize("mode", EXACT)
def test_end_point_is_that_of_a_plain_training_loop(problem, mode):
    net = smooth_network()
    for i in range(STEPS):
        net.zero_grad()
        x = problem.augment[i](problem.images[problem.rows[i]])
        F.cross_entropy(net(x), problem.logits.softmax(1)[problem.rows[i]]).backward()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter -= problem.syn_lr * parameter.grad
    plain = torch.cat([p.detach().flatten() for p in net.parameters()])
    assert relative(problem.end(*problem.inputs(), mode=mode), plain) < 1e-13


@pytest.mark.parametrize("mode", ["checkpoint", "constant"])
def test_gradients_of_pixels_labels_and_step_size_equal_those_of_the_full_graph(problem, mode):
    for ours, full in zip(problem.gradients(mode), problem.gradients("full")):
        assert relative(ours, full) < 1e-9


@pytest.mark.parametrize("mode", EXACT)
def test_gradients_agree_with_central_differences_along_themselves_and_five_random_directions(problem, mode):
    gradients = problem.gradients(mode)
    rng = torch.Generator().manual_seed(2)
    for which, grad in enumerate(gradients):
        randoms = [torch.randn(grad.shape, generator=rng, dtype=torch.float64) for _ in range(5)]
        for direction in [grad, *randoms]:
            direction = direction / direction.norm()
            slope = (moved(problem, which, direction, 1e-5) - moved(problem, which, direction, -1e-5)) / 2e-5
            assert float((grad * direction).sum()) == pytest.approx(slope, abs=1e-5 * float(grad.norm()))


def moved(problem, which, direction, length):
    inputs = [problem.images, problem.logits, problem.syn_lr]
    inputs[which] = inputs[which] + length * direction
    return float(problem.loss(*inputs).detach())


def test_tesla_holds_every_state_fixed_as_its_formula_says(problem):
    """Image rule -(2 beta / d) (theta_N - theta*)^T dg_i/dX_i and -(2 / d) G^T (theta_N - theta*), plainly."""
    images, logits, syn_lr = problem.inputs()
    theta, states = problem.start, []
    for i in range(STEPS):
        states.append(theta)
        theta = student_step(problem.student, problem.rows, problem.augment)(
            i, theta, problem.images, problem.logits.softmax(1), problem.syn_lr).detach()
    adjoint = 2 * (theta - problem.target) / (problem.start - problem.target).square().sum()
    total = 0
    for i, state in enumerate(states):
        x, y = problem.augment[i](images[problem.rows[i]]), logits.softmax(1)[problem.rows[i]]
        total = total - syn_lr * (problem.student.gradient(state, x, y) @ adjoint)
    by_hand = torch.autograd.grad(total, (images, logits, syn_lr))
    for ours, expected in zip(problem.gradients("tesla"), by_hand):
        assert relative(ours, expected) < 1e-9


def test_tesla_is_exact_for_one_step_and_no_approximation_to_count_on_for_several(problem):
    for ours, full in zip(problem.gradients("tesla"), problem.gradients("full")):
        assert relative(ours, full) > 0.05
    one = {mode: one_step_gradient(problem, mode) for mode in ("tesla", "full")}
    assert relative(one["tesla"], one["full"]) < 1e-9


def one_step_gradient(problem, mode):
    images, logits, syn_lr = problem.inputs()
    step = student_step(problem.student, problem.rows, problem.augment)
    end = unroll(step, problem.start, 1, (images, logits.softmax(1), syn_lr), mode)
    return torch.autograd.grad(matching_loss(end, problem.start, problem.target), images)[0]


@settings(max_examples=25, deadline=None)
@given(steps=st.integers(0, 12), mode=st.sampled_from(["checkpoint", "constant"]), seed=st.integers(0, 99))
def test_any_step_and_number_of_steps_gives_the_full_graphs_gradient(steps, mode, seed):
    rng = torch.Generator().manual_seed(seed)
    weights, start = torch.randn(3, 3, generator=rng, dtype=torch.float64), torch.randn(
        3, generator=rng, dtype=torch.float64)
    rate = torch.tensor(0.3, dtype=torch.float64)

    def step(i, state, weights, rate):
        return state - rate * gradient(lambda s: ((weights @ s).tanh() * (i + 1)).square().sum(), state)

    def gradients(how):
        inputs = [tensor.clone().requires_grad_() for tensor in (start, weights, rate)]
        end = unroll(step, inputs[0], steps, tuple(inputs[1:]), how)
        found = torch.autograd.grad(end.square().sum(), inputs, allow_unused=True)
        return [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, found)]

    for ours, full in zip(gradients(mode), gradients("full")):
        assert torch.allclose(ours, full, rtol=1e-9, atol=1e-9 * float(1 + full.norm()))


@pytest.mark.parametrize("mode", MODES)
def test_an_input_that_wants_no_gradient_gets_none_and_costs_the_others_nothing(problem, mode):
    images, logits, syn_lr = problem.inputs()
    loss = problem.loss(images, logits.detach(), syn_lr.detach(), mode=mode)
    (ours,) = torch.autograd.grad(loss, [images])
    assert relative(ours, problem.gradients(mode)[0]) < 1e-12


@pytest.mark.parametrize("mode", MODES)
def test_without_recording_there_is_the_end_point_alone(problem, mode):
    with torch.no_grad():
        end = problem.end(*problem.inputs(), mode=mode)
    assert not end.requires_grad and relative(end, problem.end(*problem.inputs()).detach()) < 1e-13


@pytest.mark.parametrize("mode, kept", [("constant", STEPS), ("checkpoint", math.ceil(STEPS / math.isqrt(STEPS)))])
def test_between_the_passes_only_parameter_vectors_are_kept(problem, mode, kept):
    end = problem.end(*problem.inputs(), mode=mode)
    assert end.grad_fn.starts.shape == (kept, *problem.start.shape)
    assert torch.equal(end.grad_fn.starts[0], problem.start)


def test_from_10_to_80_steps_constant_needs_the_parameter_vectors_more_and_nothing_else(problem):
    peaks = {steps: peak_bytes(problem, steps, "constant") for steps in (10, 80)}
    vector = 8 * problem.start.numel()
    assert 70 * vector <= peaks[80] - peaks[10] < 72 * vector
    assert peak_bytes(problem, 80, "full") > 3 * peaks[80]


def peak_bytes(problem, steps, mode):
    images, logits, syn_lr = problem.inputs()
    step = student_step(problem.student, [slice(None)] * steps, [lambda x: x] * steps)
    with LiveTensors() as tensors:
        end = unroll(step, problem.start, steps, (images, logits.softmax(1), syn_lr), mode)
        matching_loss(end, problem.start, problem.target).backward()
    return tensors.peak


def test_unknown_mode_is_refused_naming_all(problem):
    with pytest.raises(ValueError, match="full, checkpoint, constant, tesla, not 'fast'"):
        problem.end(*problem.inputs(), mode="fast")


def test_auto_keeps_the_full_graph_where_it_fits_and_a_given_mode_is_obeyed():
    cpu = torch.device("cpu")
    assert choose_mode("auto", 2, 2, (8, 8), cpu) == "full"
    assert choose_mode("auto", 100, 5000, (64, 64), cpu) == "constant"
    assert choose_mode("tesla", 2, 2, (8, 8), cpu) == "tesla"
