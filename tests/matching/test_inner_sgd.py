"""Momentum and windows in unrolled training: one gradient however it is taken, and the sweep written out by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from condense.matching.inner_sgd import InnerSGD
from condense.matching.trajectories import Student
from condense.matching.unrolling import MODES, draw_window, unroll
from condense.operators import Compute

EXACT = ("full", "checkpoint", "constant")
NAMES = ("images", "label logits", "step sizes")
PLANS = [(1, 1), (3, 2)]                                   # steps, epochs: the same batches again with other step sizes
MOMENTA = [0.0, 0.9]


def smooth_network():
    """A small ConvNet whose loss is smooth in everything, in float64."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Softplus(), nn.AvgPool2d(2), nn.Flatten(),
                         nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 3)).double()


class Problem:
    """Two images per step of which row 0 of all is never drawn, soft labels, a size for every step; real images."""

    def __init__(self, steps, epochs, momentum):
        net, rng = smooth_network(), torch.Generator().manual_seed(1)
        self.student, self.sgd, self.num_steps = Student(net, Compute()), InnerSGD(momentum), steps * epochs
        self.start = torch.cat([p.detach().flatten() for p in net.parameters()])
        self.rows = [torch.tensor([1 + 2 * (t % steps), 2 + 2 * (t % steps)]) for t in range(self.num_steps)]
        draw = dict(generator=rng, dtype=torch.float64)
        self.images, self.logits = torch.randn(1 + 2 * steps, 1, 4, 4, **draw), torch.randn(1 + 2 * steps, 3, **draw)
        self.lr = 0.1 + 0.3 * torch.rand(self.num_steps, **draw)
        self.real, self.classes = torch.randn(7, 1, 4, 4, **draw), torch.randint(3, (7,), generator=rng)

    def inputs(self):
        return [tensor.clone().requires_grad_() for tensor in (self.images, self.logits, self.lr)]

    def inner_gradient(self, t, theta, images, labels):
        return self.student.gradient(theta, images[self.rows[t]], labels[self.rows[t]])

    def end(self, images, logits, lr, mode="full", first=0):
        return self.sgd.unroll(self.inner_gradient, self.start, lr, self.num_steps, (images, logits.softmax(1)), mode,
                               first)

    def outer_loss(self, theta):
        return F.cross_entropy(self.student.logits(theta, self.real), self.classes)

    def gradients(self, mode="full", first=0):
        inputs = self.inputs()
        return torch.autograd.grad(self.outer_loss(self.end(*inputs, mode=mode, first=first)), inputs)


def relative(a, b):
    return float((a - b).detach().norm() / b.detach().norm())


@pytest.fixture(scope="module", params=[(*plan, momentum) for plan in PLANS for momentum in MOMENTA], ids=str)
def problem(request):
    return Problem(*request.param)


@pytest.mark.parametrize("mode", EXACT)
def test_end_point_is_that_of_pytorchs_own_optimizer(problem, mode):
    net = smooth_network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=problem.sgd.momentum)
    for t in range(problem.num_steps):
        optimizer.param_groups[0]["lr"] = float(problem.lr[t])
        optimizer.zero_grad()
        rows = problem.rows[t]
        F.cross_entropy(net(problem.images[rows]), problem.logits.softmax(1)[rows]).backward()
        optimizer.step()
    plain = torch.cat([p.detach().flatten() for p in net.parameters()])
    assert relative(problem.end(*problem.inputs(), mode=mode), plain) < 1e-13


@pytest.mark.parametrize("mode", ["checkpoint", "constant"])
def test_gradients_of_images_labels_and_step_sizes_equal_those_of_the_full_graph(problem, mode):
    for name, ours, full in zip(NAMES, problem.gradients(mode), problem.gradients("full")):
        assert relative(ours, full) < 1e-9, name


@pytest.mark.parametrize("mode", EXACT)
def test_gradients_agree_with_central_differences_along_themselves_and_random_directions(problem, mode):
    gradients = problem.gradients(mode)
    rng = torch.Generator().manual_seed(2)
    for which, grad in enumerate(gradients):
        for direction in [grad, *(torch.randn(grad.shape, generator=rng, dtype=torch.float64) for _ in range(2))]:
            direction = direction / direction.norm()
            slope = (moved(problem, which, 1e-4 * direction) - moved(problem, which, -1e-4 * direction)) / 2e-4
            assert float((grad * direction).sum()) == pytest.approx(slope, abs=1e-5 * float(grad.norm())), NAMES[which]


def moved(problem, which, by):
    inputs = [problem.images, problem.logits, problem.lr]
    inputs[which] = inputs[which] + by
    with torch.no_grad():
        return float(problem.outer_loss(problem.end(*inputs)))


def swept(problem, first=0):
    """The reverse sweep: q <- q - lr p; dL/dS += d<g, q>/dS; p <- p + d<g, q>/dtheta; q <- mu q; dL/dlr_t = -<p, v_t>.

    Down to step `first`; the forward pass keeps the weights in front of each step, and the velocity behind it.
    """
    mu, images, logits, lr = problem.sgd.momentum, problem.images, problem.logits, problem.lr
    theta, v, kept = problem.start, torch.zeros_like(problem.start), []
    for t in range(problem.num_steps):
        v = mu * v + problem.inner_gradient(t, theta, images, logits.softmax(1)).detach()
        kept.append((theta, v))
        theta = theta - lr[t] * v
    leaf = theta.clone().requires_grad_()
    (p,) = torch.autograd.grad(problem.outer_loss(leaf), leaf)
    q = torch.zeros_like(p)
    totals = [torch.zeros_like(tensor) for tensor in (images, logits, lr)]
    for t in reversed(range(first, problem.num_steps)):
        theta, v = kept[t]
        totals[2][t] = -(p @ v)
        q = q - lr[t] * p
        leaves = [tensor.clone().requires_grad_() for tensor in (images, logits, theta)]
        x, y, w = leaves
        parts = torch.autograd.grad(problem.inner_gradient(t, w, x, y.softmax(1)) @ q, leaves)
        totals[0] += parts[0]
        totals[1] += parts[1]
        p, q = p + parts[2], mu * q
    return totals


@pytest.mark.parametrize("mode", EXACT)
def test_gradients_are_those_of_the_reverse_sweep_by_hand(problem, mode):
    for name, ours, by_hand in zip(NAMES, problem.gradients(mode), swept(problem)):
        assert relative(ours, by_hand) < 1e-9, name


def test_rows_that_are_not_drawn_get_no_gradient_and_all_others_some(problem):
    for grad in problem.gradients("constant")[:2]:
        assert torch.equal(grad[0], torch.zeros_like(grad[0])) and grad[1:].flatten(1).abs().amax(1).min() > 0


@pytest.mark.parametrize("mode", EXACT)
@pytest.mark.parametrize("momentum", MOMENTA)
def test_one_step_size_for_all_steps_gets_the_sum_of_their_gradients(momentum, mode):
    problem = Problem(3, 2, momentum)
    problem.lr = torch.full_like(problem.lr, 0.25)
    each = problem.gradients("full")[2]
    problem.lr = problem.lr[0]
    assert relative(problem.gradients(mode)[2], each.sum()) < 1e-12


@pytest.mark.parametrize("mode", MODES)
def test_without_momentum_it_is_the_plain_unroll_bit_for_bit(mode):
    problem = Problem(3, 2, 0.0)

    def step(t, theta, images, labels, lr):
        return theta - lr[t] * problem.inner_gradient(t, theta, images, labels)

    images, logits, lr = inputs = problem.inputs()
    plain = unroll(step, problem.start, problem.num_steps, (images, logits.softmax(1), lr), mode)
    ours = problem.end(*inputs, mode=mode)
    assert torch.equal(ours, plain)
    for one, other in zip(*(torch.autograd.grad(problem.outer_loss(end), inputs, retain_graph=True)
                            for end in (ours, plain))):
        assert torch.equal(one, other)


def test_momentum_changes_where_training_ends_and_every_gradient():
    plain, heavy = Problem(3, 2, 0.0), Problem(3, 2, 0.9)
    assert relative(heavy.end(*heavy.inputs()), plain.end(*plain.inputs())) > 0.1
    for one, other in zip(heavy.gradients(), plain.gradients()):
        assert relative(one, other) > 0.1


# windows

@pytest.mark.parametrize("mode", EXACT)
@pytest.mark.parametrize("momentum", MOMENTA)
@pytest.mark.parametrize("first", [0, 1, 4, 5])
def test_window_is_the_graph_cut_by_hand_in_front_of_it(momentum, mode, first):
    problem = Problem(3, 2, momentum)
    images, logits, lr = inputs = problem.inputs()
    state = problem.sgd.start(problem.start)
    for t in range(problem.num_steps):
        state = state.detach() if t == first else state
        gradient = problem.inner_gradient(t, problem.sgd.weights(state), images, logits.softmax(1))
        state = problem.sgd.step(t, state, gradient, lr)
    by_hand = torch.autograd.grad(problem.outer_loss(problem.sgd.weights(state)), inputs)
    for name, ours, cut in zip(NAMES, problem.gradients(mode, first), by_hand):
        assert relative(ours, cut) < 1e-9, name


@pytest.mark.parametrize("momentum", MOMENTA)
def test_window_is_the_sweep_that_stops_early_and_differs_from_the_whole(momentum):
    problem = Problem(3, 2, momentum)
    windowed = problem.gradients("constant", first=4)
    for ours, by_hand, whole in zip(windowed, swept(problem, first=4), problem.gradients("constant")):
        assert relative(ours, by_hand) < 1e-9 and relative(ours, whole) > 0.05
    assert windowed[2][:4].abs().max() == 0 and windowed[2][4:].abs().min() > 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("first", [0, 2, 6])
def test_window_leaves_the_end_point_as_it_is(mode, first):
    problem = Problem(3, 2, 0.0)
    assert torch.equal(problem.end(*problem.inputs(), mode=mode, first=first), problem.end(*problem.inputs()))


def test_tesla_takes_a_window_whose_one_step_is_exact():
    problem = Problem(3, 2, 0.0)
    for ours, full in zip(problem.gradients("tesla", first=5), problem.gradients("full", first=5)):
        assert relative(ours, full) < 1e-9


@pytest.mark.parametrize("mode", ["full", "checkpoint", "constant"])
def test_steps_in_front_of_the_window_are_run_once_without_recording(mode):
    problem, calls = Problem(3, 2, 0.9), []

    def counted(t, theta, images, labels):
        calls.append((t, torch.is_grad_enabled()))
        return problem.inner_gradient(t, theta, images, labels)

    images, logits, lr = problem.inputs()
    end = problem.sgd.unroll(counted, problem.start, lr, 6, (images, logits.softmax(1)), mode, first=4)
    end.sum().backward()
    assert [call for call in calls if call[0] < 4] == [(t, False) for t in range(4)]
    assert sorted(t for t, recorded in calls if recorded) == [4, 5]


def test_only_the_windows_states_are_kept():
    problem = Problem(3, 2, 0.9)
    images, logits, lr = problem.inputs()

    def step(t, state, images, labels, lr):
        gradient = problem.inner_gradient(t, problem.sgd.weights(state), images, labels)
        return problem.sgd.step(t, state, gradient, lr)

    end = unroll(step, problem.sgd.start(problem.start), 6, (images, logits.softmax(1), lr), "constant", first=4)
    assert end.grad_fn.starts.shape == (2, 2, *problem.start.shape)                # steps, weights and velocity


@pytest.mark.parametrize("first", [-1, 7])
def test_window_that_begins_at_no_step_is_refused(first):
    problem = Problem(3, 2, 0.0)
    with pytest.raises(ValueError, match=f"must be one of 0..6, not {first}"):
        problem.end(*problem.inputs(), first=first)


def test_drawn_window_ends_anywhere_from_its_length_on_and_has_it_always():
    rng = torch.Generator().manual_seed(0)
    drawn = [draw_window(3, 6, rng) for _ in range(400)]
    assert {number - first for number, first in drawn} == {3}
    counts = torch.tensor([number for number, _ in drawn]).bincount(minlength=7)
    assert counts[:3].sum() == 0 and counts[3:].min() > 70 and len(counts) == 7    # 100 of each, and 3.5 deviations
    assert draw_window(5, 5, rng) == (5, 0)
    assert draw_window(3, 60, torch.Generator().manual_seed(1)) == draw_window(3, 60, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("length", [0, 7])
def test_window_that_holds_no_step_or_too_many_is_refused(length):
    with pytest.raises(ValueError, match=f"holds 1 to 6 of them, not {length}"):
        draw_window(length, 6, None)


# what is refused

def test_tesla_with_momentum_is_refused_in_one_line_that_names_another_way():
    problem = Problem(1, 1, 0.9)
    with pytest.raises(ValueError, match="velocity.*use --unroll constant$") as refused:
        problem.end(*problem.inputs(), mode="tesla")
    assert "\n" not in str(refused.value)
    InnerSGD(0.0).check("tesla")


@pytest.mark.parametrize("momentum", [-0.1, 1.0, float("nan")])
def test_momentum_that_is_none_is_refused(momentum):
    with pytest.raises(ValueError, match="--inner_momentum must be 0 or larger and below 1"):
        InnerSGD(momentum)


def test_fewer_step_sizes_than_steps_are_refused():
    problem = Problem(3, 2, 0.9)
    with pytest.raises(ValueError, match="6 steps with 5 step sizes; give one for each"):
        problem.end(problem.images, problem.logits, problem.lr[:5])


def test_single_precision_on_a_real_student_agrees_across_the_ways_to_differentiate():
    problem = Problem(3, 2, 0.9)
    net = smooth_network().float()
    problem.student = Student(net, Compute(), chunk=1)
    for name in ("start", "images", "logits", "lr", "real"):
        setattr(problem, name, getattr(problem, name).float())
    for ours, full in zip(problem.gradients("constant"), problem.gradients("full")):
        assert ours.dtype == torch.float32 and relative(ours, full) < 1e-4
