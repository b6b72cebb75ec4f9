"""The reference's calls that train or compare: distances, one epoch, evaluation of a synthetic set."""

import copy
import re
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from condense.compat import (
    AUGMENT_FNS,
    ParamDiffAug,
    TensorDataset,
    distance_wb,
    epoch,
    evaluate_synset,
    get_dataset,
    get_network,
    match_loss,
)
from condense.training.protocols import Protocol
from condense.training.train import TensorSet, train_network


@pytest.fixture(scope="module")
def digits():
    return get_dataset("Digits", "nowhere")


def arguments(**values):
    defaults = dict(device="cpu", dsa=False, dsa_strategy="None", dsa_param=ParamDiffAug(), dc_aug_param=None,
                    lr_net=0.1, epoch_eval_train=6, batch_train=256, dis_metric="ours")
    return SimpleNamespace(**{**defaults, **values})


def small_net(seed=0, norm=()):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), *norm, nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
                         nn.Linear(64, 10))


def some_digits(digits, num=30):
    images, labels = zip(*(digits[6][i * len(digits[6]) // num] for i in range(num)), strict=True)
    return torch.stack(images), torch.tensor(labels)


# Distances (their values: tests/matching/test_gradients.py)

def row_loop(real, synthetic):
    cosine = 0.0
    for a, b in zip(real.flatten(1), synthetic.flatten(1), strict=True):
        cosine += 1 - float(a @ b) / (float(a @ a) ** 0.5 * float(b @ b) ** 0.5 + 1e-6)
    return cosine


def test_distances_take_their_arguments_in_the_references_order():
    rng = torch.Generator().manual_seed(0)
    real = [torch.randn(shape, generator=rng, dtype=torch.float64) for shape in ((3, 2, 2, 2), (3,))]
    synthetic = [torch.randn_like(g).requires_grad_() for g in real]
    ours = row_loop(real[0], synthetic[0].detach())
    assert distance_wb(real[0], synthetic[0]).item() == pytest.approx(ours, rel=1e-12)
    assert distance_wb(real[1], synthetic[1]).item() == 0
    loss = match_loss(synthetic, real, arguments())
    assert loss.item() == pytest.approx(ours, rel=1e-12)
    loss.backward()
    assert synthetic[0].grad.abs().sum() > 0
    flat = torch.cat([g.flatten() for g in real]), torch.cat([g.detach().flatten() for g in synthetic])
    mse = float(((flat[0] - flat[1]) ** 2).sum())
    cos = 1 - float(flat[0] @ flat[1]) / (float(flat[0].norm() * flat[1].norm()) + 1e-6)
    for metric, expected in (("mse", mse), ("cos", cos)):
        loss = match_loss(synthetic, real, arguments(dis_metric=metric))
        assert loss.item() == pytest.approx(expected, rel=1e-12)


# One epoch

def figures_by_hand(net, images, labels):
    with torch.no_grad():
        log_probabilities = net(images).double().log_softmax(1)
    losses = [-float(row[label]) for row, label in zip(log_probabilities, labels.tolist(), strict=True)]
    guesses = log_probabilities.argmax(1).tolist()
    right = sum(guess == label for guess, label in zip(guesses, labels.tolist(), strict=True))
    return sum(losses) / len(losses), right / len(labels)


@pytest.mark.parametrize("mode", ["train", "test"])
def test_epoch_returns_means_over_all_images_of_uneven_batches(digits, mode):
    images, labels = some_digits(digits)
    net, loader = small_net(), DataLoader(TensorDataset(images, labels), batch_size=13)
    still = torch.optim.SGD(net.parameters(), lr=0.0)
    loss, accuracy = epoch(mode, loader, net, still, nn.CrossEntropyLoss(), arguments(), aug=False)
    assert (loss, accuracy) == pytest.approx(figures_by_hand(net, images, labels), rel=1e-5)
    assert net.training == (mode == "train")


def test_an_epoch_of_training_steps_once_per_batch(digits):
    images, labels = some_digits(digits)
    net, loader = small_net(), DataLoader(TensorDataset(images, labels), batch_size=13)
    expected = copy.deepcopy(net)
    for x, y in zip(images.split(13), labels.split(13), strict=True):
        loss = nn.functional.cross_entropy(expected(x), y)
        gradients = torch.autograd.grad(loss, list(expected.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(expected.parameters(), gradients, strict=True):
                parameter -= 0.1 * gradient
    epoch("train", loader, net, torch.optim.SGD(net.parameters(), lr=0.1), nn.CrossEntropyLoss(), arguments(),
          aug=False)
    for mine, theirs in zip(net.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_testing_needs_no_optimizer_and_changes_nothing(digits):
    net = small_net(norm=(nn.BatchNorm2d(4),))
    before = copy.deepcopy(net.state_dict())
    _, accuracy = epoch("test", digits[8], net, None, nn.CrossEntropyLoss(), arguments(), aug=False)
    assert 0 <= accuracy <= 1
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_an_epoch_augments_as_its_arguments_say(digits, monkeypatch):
    seen, param = [], ParamDiffAug()
    monkeypatch.setitem(AUGMENT_FNS, "own", [lambda x, param: seen.append(param) or x])
    net, loader = small_net(), DataLoader(TensorDataset(*some_digits(digits)), batch_size=13)

    def one(aug, **values):
        seen.clear()
        epoch("train", loader, net, torch.optim.SGD(net.parameters(), lr=0.1), nn.CrossEntropyLoss(),
              arguments(dsa_strategy="own", dsa_param=param, **values), aug=aug)
        return len(seen)

    assert one(True, dsa=True) == 3 and all(used is param for used in seen)
    assert one(False, dsa=True) == 0 and one(True, dsa=False) == 0


def test_an_epoch_of_no_known_mode_is_refused():
    with pytest.raises(ValueError, match="train or test, not 'eval'"):
        epoch("eval", [], small_net(), None, nn.CrossEntropyLoss(), arguments(), aug=False)


# Evaluation of a synthetic set

def trained_by_hand(net, images, labels, args):
    """E + 1 full-batch epochs; after index E // 2 + 1 a tenth of the rate and no memory of earlier steps."""
    optimizer = None
    for index in range(args.epoch_eval_train + 1):
        if index in (0, args.epoch_eval_train // 2 + 2):
            lr = args.lr_net * (0.1 if index else 1)
            optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()
    return net


@pytest.mark.parametrize("epochs", [0, 6, 7])
def test_evaluation_trains_one_epoch_more_and_drops_the_rate_after_half(digits, epochs):
    images, labels = some_digits(digits)
    args, net = arguments(epoch_eval_train=epochs), small_net()
    expected = trained_by_hand(copy.deepcopy(net), images, labels, args)
    same, _, tested = evaluate_synset(0, net, images, labels, digits[8], args)
    assert same is net
    for mine, theirs in zip(net.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    right = torch.cat([expected.eval()(x).argmax(1) == y for x, y in digits[8]])
    assert tested == pytest.approx(float(right.double().mean()), abs=0.003)
    assert type(tested) is float


def test_evaluation_equals_the_toolkits_own_training_from_one_seed(digits):
    images, labels = some_digits(digits)
    args, net = arguments(batch_train=8, epoch_eval_train=9), small_net()
    other = copy.deepcopy(net)
    torch.manual_seed(5)
    _, accuracy, _ = evaluate_synset(0, net, images, labels, digits[8], args)
    torch.manual_seed(5)
    protocol = Protocol(epochs=9, lr=0.1, batch_size=8, augmentation="none")
    expected, _ = train_network(other, TensorSet(images, labels), protocol, None)
    assert accuracy == float(expected)
    for mine, theirs in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_evaluation_tests_alike_through_any_loader(digits):
    images, labels = some_digits(digits)
    foreign = DataLoader(list(digits[7]), batch_size=100)
    shuffled = DataLoader(digits[7], batch_size=100, shuffle=True)
    tested = [evaluate_synset(0, small_net(), images, labels, loader, arguments())[2]
              for loader in (digits[8], foreign, shuffled)]
    assert tested[0] == tested[1] == tested[2]


def test_evaluation_augments_every_minibatch_with_the_scripts_parameters(digits, monkeypatch):
    images, labels = some_digits(digits)
    seen, param = [], ParamDiffAug()
    monkeypatch.setitem(AUGMENT_FNS, "own", [lambda x, param: seen.append((len(x), param)) or x])
    args = arguments(dsa=True, dsa_strategy="own", dsa_param=param, batch_train=20, epoch_eval_train=2)
    evaluate_synset(0, small_net(), images, labels, digits[8], args)
    assert seen == [(20, param), (10, param)] * 3                # three epochs, none while testing


def test_evaluation_augments_the_classic_way_with_the_scripts_parameters(digits):
    images, labels = some_digits(digits)
    weights = {}
    for padding in (None, 0, 2):
        param = None if padding is None else {"strategy": "crop", "crop": padding}
        net, _, _ = evaluate_synset(0, small_net(), images, labels, digits[8], arguments(dc_aug_param=param))
        weights[padding] = net[0].weight.detach()
    torch.testing.assert_close(weights[None], weights[0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(weights[0], weights[2], atol=1e-3)


def test_evaluation_prints_one_line_and_spares_the_set(digits, capsys):
    images, labels = some_digits(digits)
    kept = images.clone()
    leaf = images.requires_grad_()
    net, accuracy, tested = evaluate_synset(3, small_net(), leaf, labels.float(), digits[8], arguments())
    assert torch.equal(leaf.detach(), kept) and leaf.grad is None
    line = capsys.readouterr().out
    assert re.fullmatch(r"\[[-0-9 :]+\] Evaluate_03: epoch = 0006 train time = \d+ s train loss = \d+\.\d{6} "
                        rf"train acc = {accuracy:.4f}, test acc = {tested:.4f}\n", line)


def test_a_network_after_evaluation_is_laid_out_as_before(digits):
    net = get_network("ConvNetD2", 1, 10, (8, 8)).cpu()
    evaluate_synset(0, net, *some_digits(digits), digits[8], arguments(epoch_eval_train=1))
    assert all(parameter.is_contiguous() for parameter in net.parameters()) and not net.training


def test_evaluation_takes_soft_labels_and_batch_norm(digits):
    images, labels = some_digits(digits)
    soft = nn.functional.one_hot(labels, 10).float()
    args = arguments(epoch_eval_train=40)
    for given in (labels, soft):
        net = small_net(norm=(nn.BatchNorm2d(4),))
        _, accuracy, tested = evaluate_synset(0, net, images, given, digits[8], args)
        assert accuracy > 0.9 and tested > 0.4
