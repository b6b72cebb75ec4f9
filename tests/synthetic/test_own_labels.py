"""The parts of a set other than its images: labels and learned steps, and checkpoints of before they were parts."""

import copy

import pytest
import torch

from condense.data import load_data
from condense.synthetic import build_synthetic
from condense.synthetic.base import NON_IMAGE_PARAMETERS
from condense.synthetic.labels import Labels
from condense.synthetic.learned_steps import LearnedSteps


@pytest.fixture(scope="module")
def digits():
    return load_data("Digits")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_labels_are_classes_until_soft_ones_take_their_place():
    classes = torch.tensor([0, 0, 1, 1])
    labels = Labels(classes)
    assert torch.equal(labels(), classes) and labels.stored() == 0
    logits = torch.randn(4, 2, generator=seeded())
    labels.use_soft(logits)
    assert torch.equal(labels(), logits.softmax(1)) and labels.stored() == 8 and labels.logits.requires_grad
    labels().sum().backward()
    assert labels.logits.grad is not None
    labels.use_soft(logits, learned=False)
    assert not labels().requires_grad and torch.equal(labels.classes, classes)


def test_views_of_one_thing_share_the_mean_of_their_logits():
    labels, logits = Labels(torch.tensor([0, 0, 1, 1]), views=2), torch.randn(4, 2, generator=seeded())
    means = torch.stack((logits[:2].mean(0), logits[2:].mean(0)))
    for given in (logits, means):
        labels.use_soft(given)
        torch.testing.assert_close(labels.logits.detach(), means)
        assert torch.equal(labels()[0], labels()[1]) and labels().shape == (4, 2) and labels.stored() == 4


def test_steps_are_learned_on_the_device_of_their_set():
    with torch.device("meta"):
        learned = LearnedSteps([4, 4])
        learned.learn_one(0.1)
        learned.learn_each(0.1, 2, 3)
    assert (learned.size.device.type, learned.sizes.device.type, learned.sizes.shape) == ("meta", "meta", (6,))


def test_what_is_learned_beside_the_images_is_named_and_is_no_image(digits):
    synthetic = build_synthetic("hallucinator", digits, 3, "noise", seeded(), n_style=2)
    before = [name for name, _ in synthetic.stored_parameters()]
    synthetic.own_labels.use_soft(torch.randn(40, 10, generator=seeded()))
    synthetic.learned_steps.learn_one(0.1)
    synthetic.learned_steps.learn_each(0.1, 2, 1)
    assert [name for name, _ in synthetic.stored_parameters()] == before
    assert set(NON_IMAGE_PARAMETERS) == {name for name, _ in synthetic.named_parameters()} - set(before) - {
        name for name, _ in synthetic.named_parameters() if name.startswith("adversary")}


def test_a_checkpoint_of_before_is_taken_up(digits):
    def made():
        synthetic = build_synthetic("pixels", digits, 2, "noise", seeded())
        synthetic.own_labels.use_soft(torch.zeros(20, 10))
        synthetic.learned_steps.learn_one(0.5)
        return synthetic

    old = {"hard_labels": torch.arange(10).repeat_interleave(2), "label_logits": torch.randn(20, 10),
           "syn_lr": torch.tensor(0.25), "pixels": torch.randn(20, 1, 8, 8)}
    synthetic, before = made(), copy.deepcopy(old)
    synthetic.load_state_dict(old)
    assert old.keys() == before.keys()                     # what was read is not changed
    assert torch.equal(synthetic.labels, before["label_logits"].softmax(1))
    assert synthetic.learned_steps.mean() == 0.25 and torch.equal(synthetic.images(), before["pixels"])
    again = made()
    again.load_state_dict(synthetic.state_dict())
    assert torch.equal(again.labels, synthetic.labels) and again.learned_steps.mean() == 0.25
