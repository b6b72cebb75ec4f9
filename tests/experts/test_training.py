"""Experts under way: against loops that spell out every step, alone and stacked, and going on in the middle."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from condense.core.randomness import Streams
from condense.data import RealData, load_data
from condense.experts.recipe import Recipe
from condense.experts.training import Alone, Stacked, experts_at_once, networks_of_experts
from condense.networks import get_network, reset
from condense.operators import Compute
from condense.training import minibatches

FULL = "color_crop_cutout_flip_scale_rotate"
PLAIN = Recipe(epochs=3, last=3, lr=0.05, batch_size=64, augmentation="none")
MOVING = replace(PLAIN, epochs=6, last=6, momentum=0.9, weight_decay=1e-2, decay=True)          # drops at epoch 5
SHARP = replace(MOVING, rho_max=0.05, rho_min=0.02, alpha=0.4)
RECIPES = {"plain": PLAIN, "momentum, weight decay, drop": MOVING, "mse": replace(PLAIN, loss="mse", lr=0.5),
           "gsam": replace(SHARP, adaptive=False), "adaptive gsam": SHARP}
STEPPED = replace(PLAIN, epochs=5, last=5, lr=2e-3, optimizer="adam", decay_epochs=2, decay_factor=0.25, init="xavier",
                  gain=0.7)


@pytest.fixture(scope="module")
def few():
    """230 digits: with minibatches of 64, the last one is partial."""
    digits = load_data("Digits")
    rows = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))[:230]
    return RealData("few", digits.images[rows], digits.labels[rows], digits.test_images[:70], digits.test_labels[:70],
                    digits.class_names)


def begun(few, recipe, numbers, model="MLP", seed=0):
    experts = networks_of_experts(len(numbers), model, few, recipe, Compute(), Streams(seed))
    experts.begin(numbers)
    return experts


def record(experts, first, last):
    """Train from epoch `first` to `last`; returns the snapshots of every expert after each epoch."""
    snapshots = []
    for epoch in range(first, last):
        experts.start_epoch(epoch)
        for images, labels in experts.minibatches():
            experts.step(images, labels)
        snapshots.append([parameters for parameters, _ in experts.state()])
    return [list(of_expert) for of_expert in zip(*snapshots)]


def plainly(few, recipe, number, model="MLP", seed=0):
    """One expert's snapshots in float64, from order to update written out: Zhuang et al.'s step where rho is set."""
    net = reset(get_network(model, *few.spec), Streams(seed)("nets", number)).double()
    parameters, velocity, lr, rho, snapshots = list(net.parameters()), None, recipe.lr, recipe.rho_max, []
    images, labels = few.sample(few.classes).images().double(), few.labels

    def gradients(index):
        logits = net(images[index])
        if recipe.loss == "mse":
            loss = (logits - nn.functional.one_hot(labels[index], 10)).square().mean()
        else:
            loss = -logits.log_softmax(1)[range(len(index)), labels[index]].mean()
        return torch.autograd.grad(loss, parameters)

    def norm(tensors):
        return torch.sqrt(sum(tensor.square().sum() for tensor in tensors))

    def direction(index):
        g = gradients(index)
        if not rho:
            return g
        weights = [p.abs() if recipe.adaptive else torch.ones_like(p) for p in parameters]
        length = norm([w * x for w, x in zip(weights, g)])
        offsets = [rho * w.square() * x / length for w, x in zip(weights, g)]
        with torch.no_grad():
            for p, e in zip(parameters, offsets):
                p += e
        gp = gradients(index)
        with torch.no_grad():
            for p, e in zip(parameters, offsets):
                p -= e
        share = sum((a * b).sum() for a, b in zip(g, gp)) / norm(gp) ** 2
        return [b - recipe.alpha * (a - share * b) for a, b in zip(g, gp)]

    for epoch in range(recipe.last):
        order = torch.rand(1, len(few), generator=Streams(seed)("nets", number, 1 + epoch)).argsort(1)[0]
        for index in order.split(recipe.batch_size):
            steps = [d + recipe.weight_decay * p.detach() for d, p in zip(direction(index), parameters)]
            velocity = steps if velocity is None else [recipe.momentum * v + s for v, s in zip(velocity, steps)]
            with torch.no_grad():
                for p, v in zip(parameters, velocity):
                    p -= lr * v
        if recipe.decay and epoch == recipe.epochs // 2 + 1:
            lr, velocity, rho = 0.1 * lr, None, recipe.rho_min or rho
        snapshots.append([p.detach().float() for p in parameters])
    return snapshots


def assert_close(one, two, tolerance=2e-4):
    for snapshot, expected in zip(one, two, strict=True):
        torch.testing.assert_close(snapshot, list(expected), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", RECIPES)
def test_expert_follows_the_loop_with_everything_written_out(few, name):
    (snapshots,) = record(begun(few, RECIPES[name], [3]), 0, RECIPES[name].last)
    assert_close(snapshots, plainly(few, RECIPES[name], 3))


def by_adam(few, recipe, number):
    """One expert's snapshots in float64: Kingma & Ba's algorithm 1 from a start of Xavier's, written out."""
    net = reset(get_network("MLP", *few.spec), Streams(0)("nets", number), "xavier", recipe.gain).double()
    images, labels = few.sample(few.classes).images().double(), few.labels
    parameters = list(net.parameters())
    first, second = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    step, snapshots = 0, []
    for epoch in range(recipe.last):
        order = torch.rand(1, len(few), generator=Streams(0)("nets", number, 1 + epoch)).argsort(1)[0]
        for index in order.split(recipe.batch_size):
            step += 1
            loss = nn.functional.cross_entropy(net(images[index]), labels[index])
            with torch.no_grad():
                for p, m, v, g in zip(parameters, first, second, torch.autograd.grad(loss, parameters)):
                    m.mul_(0.5).add_(0.5 * g)
                    v.mul_(0.999).add_(0.001 * g.square())
                    rate = recipe.lr * 0.25 ** (epoch // 2)
                    p -= rate * m / (1 - 0.5**step) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
        snapshots.append([p.detach().float() for p in parameters])
    return snapshots


def test_adam_and_a_rate_that_falls_in_steps_follow_the_published_algorithm(few):
    (snapshots,) = record(begun(few, STEPPED, [3]), 0, 5)
    expected = by_adam(few, STEPPED, 3)
    distance = [torch.linalg.norm(a - b) / torch.linalg.norm(b) for one, two in zip(snapshots, expected)
                for a, b in zip(one, two)]
    assert max(distance) < 1e-3                            # where a gradient is 0 but for rounding, Adam shows it


def test_stacked_experts_of_adam_are_those_that_train_alone_to_rounding(few):
    for number, trajectory in zip([4, 0], record(begun(few, STEPPED, [4, 0]), 0, 5)):
        (expected,) = record(begun(few, STEPPED, [number]), 0, 5)
        for one, two in zip(trajectory, expected, strict=True):
            assert all(torch.linalg.norm(a - b) < 1e-3 * torch.linalg.norm(b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("numbers", [[2], [2, 5]], ids=str)
@pytest.mark.parametrize("boundary", [1, 2, 4])
def test_expert_of_adam_goes_on_from_any_epoch_to_the_same_tensors(few, numbers, boundary):
    whole = record(begun(few, STEPPED, numbers), 0, 5)
    first = begun(few, STEPPED, numbers)
    record(first, 0, boundary)
    second = begun(few, STEPPED, numbers)
    second.restore(first.state(), boundary)
    for trajectory, rest in zip(whole, record(second, boundary, 5), strict=True):
        for expected, found in zip(trajectory[boundary:], rest, strict=True):
            assert all(map(torch.equal, expected, found))


def test_convnet_expert_follows_it_too(few):
    recipe = replace(PLAIN, last=1)
    (snapshots,) = record(begun(few, recipe, [0], "ConvNetD2"), 0, 1)
    assert_close(snapshots, plainly(few, recipe, 0, "ConvNetD2"))


@pytest.mark.parametrize("changes", [
    {}, {"augmentation": "siamese", "strategy": FULL}, {"augmentation": "classic", "strategy": "crop_scale_rotate"},
    {"loss": "mse"}, {"rho_max": 0.05}, {"rho_max": 0.05, "adaptive": False}, {"momentum": 0.9, "decay": True}],
    ids=lambda changes: " ".join(map(str, changes)) or "plain")
def test_stacked_experts_are_those_that_train_alone_to_rounding(few, changes):
    recipe, numbers = replace(PLAIN, **{"epochs": 4, "last": 4, **changes}), [4, 0, 7]
    together = begun(few, recipe, numbers)
    assert isinstance(together, Stacked)
    trajectories = record(together, 0, 4)
    for number, trajectory, figures, tested in zip(numbers, trajectories, together.figures(),
                                                   together.test_accuracies(), strict=True):
        alone = begun(few, recipe, [number])
        assert isinstance(alone, Alone)
        (expected,) = record(alone, 0, 4)
        assert_close(trajectory, expected)
        assert figures == pytest.approx(alone.figures()[0], abs=2e-3)
        assert tested == pytest.approx(alone.test_accuracies()[0], abs=1 / 70)


def test_stacked_convnets_are_those_that_train_alone_to_rounding(few):
    recipe = replace(PLAIN, augmentation="siamese", strategy=FULL)
    for number, trajectory in zip([1, 2], record(begun(few, recipe, [1, 2], "ConvNetD1"), 0, 2)):
        (expected,) = record(begun(few, recipe, [number], "ConvNetD1"), 0, 2)
        assert_close(trajectory, expected, 1e-3)


@pytest.mark.parametrize("numbers", [[2], [2, 5]], ids=str)
@pytest.mark.parametrize("boundary", [1, 4, 5])
def test_expert_goes_on_from_any_epoch_to_the_same_tensors(few, numbers, boundary):
    whole = record(begun(few, SHARP, numbers), 0, SHARP.last)
    first = begun(few, SHARP, numbers)
    record(first, 0, boundary)
    second = begun(few, SHARP, numbers)
    second.restore(first.state(), boundary)
    for trajectory, rest in zip(whole, record(second, boundary, SHARP.last), strict=True):
        for expected, found in zip(trajectory[boundary:], rest, strict=True):
            assert all(map(torch.equal, expected, found))


def test_networks_are_used_again_for_the_next_experts(few):
    experts = begun(few, MOVING, [0])
    record(experts, 0, 2)
    experts.begin([1])
    (again,), (fresh,) = record(experts, 0, 2), record(begun(few, MOVING, [1]), 0, 2)
    assert all(torch.equal(a, b) for one, two in zip(again, fresh) for a, b in zip(one, two, strict=True))
    stack = begun(few, MOVING, [0, 1])
    record(stack, 0, 1)
    stack.begin([2, 3])
    for number, (parameters, momenta) in zip([2, 3], stack.state()):
        initial = reset(get_network("MLP", *few.spec), Streams(0)("nets", number))
        assert not momenta and all(map(torch.equal, parameters, initial.parameters()))


@pytest.mark.parametrize("numbers", [[0], [0, 1]], ids=str)
def test_snapshots_are_plain_copies_in_the_order_of_the_parameters(few, numbers):
    experts = begun(few, PLAIN, numbers, "ConvNetD1")
    first = [parameters for parameters, _ in experts.state()]
    record(experts, 0, 1)
    for number, before, (after, _) in zip(numbers, first, experts.state(), strict=True):
        net = reset(get_network("ConvNetD1", *few.spec), Streams(0)("nets", number))
        assert all(map(torch.equal, before, net.parameters()))           # and training has not reached into them
        for tensor in after:
            assert tensor.dtype == torch.float32 and tensor.is_contiguous() and not tensor.requires_grad
            assert tensor.untyped_storage().nbytes() == 4 * tensor.numel()
        assert not torch.equal(before[0], after[0])


def test_every_epoch_sees_every_image_once_in_a_new_order_with_a_partial_minibatch(few):
    experts, orders = begun(few, PLAIN, [0]), []
    everything = few.sample(few.classes).images()
    for epoch in range(3):
        experts.start_epoch(epoch)
        seen = [images for images, _ in experts.minibatches()]
        assert [len(images) for images in seen] == [64, 64, 64, 38]
        orders.append(torch.cdist(torch.cat(seen).flatten(1), everything.flatten(1)).argmin(1))
        assert len(orders[-1].unique()) == 230
    assert not torch.equal(orders[0], orders[1]) and not torch.equal(orders[1], orders[2])


def test_siamese_operators_are_one_to_a_minibatch_with_fresh_magnitudes_for_each_image(few, monkeypatch):
    drawn, original = [], minibatches.one_operator_each
    monkeypatch.setattr(minibatches, "one_operator_each", lambda *record: drawn.append(record) or original(*record))
    record(begun(few, replace(PLAIN, augmentation="siamese", strategy=FULL, batch_size=16), [0]), 0, 3)
    assert len(drawn) == 3 * 15
    for _, choice, magnitudes in drawn:
        assert len(set(choice)) == 1 and len(magnitudes.unique(dim=0)) == len(choice)
    assert len({choice[0] for _, choice, _ in drawn}) == 6


def test_figures_are_those_of_the_epoch(few):
    recipe = replace(PLAIN, lr=1e-12)                       # so small that the network stays where it is
    experts = begun(few, recipe, [0])
    record(experts, 0, 1)
    with torch.no_grad():
        logits = get_network("MLP", *few.spec, rng=Streams(0)("nets", 0))(few.sample(few.classes).images())
    hits = (logits.argmax(1) == few.labels).double().mean().item()
    assert experts.figures()[0] == pytest.approx((hits, nn.functional.cross_entropy(logits, few.labels).item()), 1e-4)
    with torch.no_grad():
        tested = get_network("MLP", *few.spec, rng=Streams(0)("nets", 0))(few.normalise(few.test_images))
    assert experts.test_accuracies() == pytest.approx([(tested.argmax(1) == few.test_labels).double().mean().item()])


def test_a_cpu_trains_one_expert_at_a_time(few):
    assert experts_at_once(few, PLAIN, 1000, 20, torch.device("cpu")) == 1


@pytest.mark.parametrize("free, parameters, wanted, expected", [
    (2**40, 1000, 20, 20),                                  # all that are wanted
    (2 * 3 * 4 * 2000 * 64 * 64, 1000, 20, 3),              # what half of the free memory holds
    (0, 1000, 20, 1),                                       # one in any case
    (2**40, 2**26, 20, 4),                                  # 4 trajectories of 1 GiB
])
def test_a_gpu_trains_as_many_as_memory_holds(few, monkeypatch, free, parameters, wanted, expected):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2**40))
    assert experts_at_once(few, PLAIN, parameters, wanted, torch.device("cuda")) == expected
