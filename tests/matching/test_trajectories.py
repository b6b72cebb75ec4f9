"""The student and what its steps see: flat parameters, minibatches, start epochs, the matching loss."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from condense.data import load_data
from condense.matching.trajectories import Student, start_epochs, student_minibatches
from condense.networks import get_network
from condense.operators import Compute, start_compute
from main_MTT import matching_loss


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def flat(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


@pytest.fixture(scope="module")
def digits():
    batch = load_data("Digits").sample(range(10), 3, seeded())
    return batch.images(), batch.labels


@pytest.fixture(scope="module")
def net():
    return get_network("ConvNetD2", 1, 10, (8, 8), seeded(1))


@pytest.mark.parametrize("name", ["ConvNetD1", "ConvNetLN", "MLP", "LeNet", "VGG11", "ResNet18", "AlexNet"])
def test_flat_parameters_stand_in_the_order_of_the_networks_own(name):
    net = Compute().prepare(get_network(name, 3, 5, (32, 32), seeded())).eval()
    images = torch.randn(2, 3, 32, 32, generator=seeded())
    other = copy.deepcopy(net)
    for parameter in other.parameters():
        parameter.data.zero_()
    student = Student(other, Compute())
    assert torch.allclose(student.logits(flat(net), images), net(images), atol=1e-5)


@pytest.mark.parametrize("chunk", [None, 7, 30, 100])
def test_gradient_is_that_of_the_mean_cross_entropy_whatever_the_chunk(net, digits, chunk):
    images, labels = digits
    net = copy.deepcopy(net).double()
    net.zero_grad()
    F.cross_entropy(net(images.double()), labels).backward()
    plain = torch.cat([p.grad.flatten() for p in net.parameters()])
    for grad_enabled in (False, True):
        with torch.set_grad_enabled(grad_enabled):
            ours = Student(net, Compute(), chunk).gradient(flat(net), images.double(), labels)
        assert torch.allclose(ours.detach(), plain, rtol=1e-10, atol=1e-13)


def test_gradient_of_hard_labels_is_that_of_their_one_hot_probabilities(net, digits):
    images, labels = digits
    student, theta = Student(net, Compute()), flat(net)
    one_hot = F.one_hot(labels, 10).float()
    assert torch.allclose(student.gradient(theta, images, labels).detach(),
                          student.gradient(theta, images, one_hot).detach(), atol=1e-6)


def test_student_fed_real_batches_in_an_experts_order_takes_the_experts_steps(net, digits):
    images, labels = digits
    expert = copy.deepcopy(net)
    optimizer = torch.optim.SGD(expert.parameters(), lr=0.01)
    student, theta = Student(net, start_compute("cpu"), chunk=4), flat(net)
    for rows in (slice(0, 12), slice(12, 30), slice(5, 9)):
        optimizer.zero_grad()
        F.cross_entropy(expert(images[rows]), labels[rows]).backward()
        optimizer.step()
        with torch.no_grad():
            theta = theta - 0.01 * student.gradient(theta, images[rows], labels[rows])
    assert torch.allclose(theta, flat(expert), atol=1e-6)
    assert not torch.allclose(theta, flat(net), atol=1e-4)


def test_logits_of_many_images_are_those_of_each_chunk(net, digits):
    images, _ = digits
    student = Student(net, Compute(), chunk=4)
    logits = student.logits_of(flat(net), images)
    assert not logits.requires_grad
    assert torch.allclose(logits, net(images).detach(), atol=1e-5)


@given(num_images=st.integers(1, 30), size=st.integers(1, 40), num_steps=st.integers(0, 40), seed=st.integers(0, 9))
def test_minibatches_go_through_all_images_before_any_comes_again(num_images, size, num_steps, seed):
    batches = student_minibatches(num_images, size, num_steps, seeded(seed))
    assert len(batches) == num_steps
    rows = [torch.arange(num_images)[batch] for batch in batches]
    per_pass = -(-num_images // size)
    for first in range(0, num_steps - per_pass + 1, per_pass):
        once = torch.cat(rows[first:first + per_pass])
        assert sorted(once.tolist()) == list(range(num_images))
    if size < num_images and num_images % size:                # the short remainder comes first, as published
        assert all(len(batch) == num_images % size for batch in rows[::per_pass])


def test_minibatches_depend_on_the_generator_alone():
    one, two, other = (torch.cat(student_minibatches(20, 6, 9, seeded(s))).tolist() for s in (0, 0, 1))
    assert one == two != other


def test_start_epochs_exclude_the_upper_end():
    assert start_epochs(0, 0, 3) == range(0, 3)
    assert start_epochs(10**6, 40, 60) == range(40, 60)


def test_window_grows_linearly_to_its_end_and_stays_there():
    ends = [start_epochs(it, 0, 20, (10, 1000)).stop for it in (0, 99, 100, 550, 999, 1000, 9999)]
    assert ends == [10, 10, 11, 15, 19, 20, 20]


def test_matching_loss_is_one_for_standing_still_and_zero_for_arriving():
    start, target = torch.randn(2, 50, dtype=torch.float64, generator=seeded())
    assert float(matching_loss(start, start, target)) == 1
    assert float(matching_loss(target, start, target)) == 0
    halfway = float(matching_loss((start + target) / 2, start, target))
    assert halfway == pytest.approx(0.25)
