"""What trained networks get right, and which classes they take for which, against counting image by image."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from condense.core.randomness import Streams
from condense.evaluation import Score, evaluate
from condense.evaluation import score as score_module
from condense.evaluation.accuracy import accuracy, confusion_counts
from condense.evaluation.selection import SelectionImages
from condense.networks import get_network, reset
from condense.operators import Compute
from condense.training import Protocol, TensorSet
from condense.training.train import train_network
from tests.training.training_by_hand import PLAIN, seeded

QUICK = Protocol(epochs=3, lr=0.05, batch_size=8, augmentation="none")


@pytest.fixture(scope="module")
def data(digits):
    batch = digits.sample(digits.classes, 3, seeded())
    return TensorSet(batch.images(), batch.labels)


def test_accuracy_equals_counting_one_image_at_a_time(digits):
    net = get_network("ConvNetBN", *digits.spec, rng=seeded())
    train_network(net, digits.sample(digits.classes, 4, seeded()), replace(PLAIN, epochs=3), seeded())
    net.eval()
    with torch.no_grad():
        right = 0
        for pixels, label in zip(digits.test_images, digits.test_labels):
            right += int(net(digits.normalise(pixels)[None]).argmax() == label)
    for batch_size in (7, 256, 10**6):
        net.train()
        running = net.state_dict()["features.1.running_mean"].clone()
        share = accuracy(net, digits, batch_size=batch_size).item()
        assert share == pytest.approx(right / len(digits.test_labels))
        assert net.training and torch.equal(net.state_dict()["features.1.running_mean"], running)
    assert 0.2 < right / len(digits.test_labels) < 1


def score(data, real, num_eval=2, **options):
    rng = partial(Streams(0), "evaluation", 0, 0)
    return evaluate(data, real, {"MLP": QUICK}, num_eval, rng, Compute(), progress=False, **options)["MLP"]


def test_confusion_counts_every_test_image_in_the_row_of_its_class_and_the_column_of_the_guess(digits, data):
    rng = partial(Streams(0), "evaluation", 0, 0)
    for number, scored in enumerate(score(data, digits, confusion=True)):
        stream = rng(score_module.zlib.crc32(b"MLP"), number)
        net = reset(get_network("MLP", *digits.spec), stream)
        train_network(net, data, QUICK, stream)
        expected = [[0] * 10 for _ in range(10)]
        with torch.no_grad():
            for pixels, label in zip(digits.test_images, digits.test_labels):
                expected[int(label)][int(net.eval()(digits.normalise(pixels)[None]).argmax())] += 1
        assert scored.confusion == tuple(map(tuple, expected))
        assert all(type(count) is int for row in scored.confusion for count in row)
        assert sum(row[i] for i, row in enumerate(scored.confusion)) / len(digits.test_labels) == pytest.approx(
            scored.test_accuracy)


@pytest.mark.parametrize("together", [1, 3])
def test_counting_changes_no_other_figure(digits, data, monkeypatch, together):
    monkeypatch.setattr(score_module, "_networks_together", lambda *_: together)
    plain, counted = (score(data, digits, 3, confusion=confusion) for confusion in (False, True))
    assert plain == counted and repr(plain) == repr(counted)
    assert all(one.confusion is None and sum(map(sum, two.confusion)) == len(digits.test_labels)
               for one, two in zip(plain, counted))
    assert len({two.confusion for two in counted}) == 3


class Seen:
    """The test images of some classes, with no more than `evaluate` promises to ask for."""

    def __init__(self, real, classes):
        self.real, self.spec, self.im_size, self.device = real, real.spec, real.im_size, real.device
        self.rows = torch.isin(real.test_labels, torch.tensor(classes)).nonzero().flatten()
        self.test_labels = real.test_labels[self.rows]

    def test_batches(self, size):
        for rows in self.rows.split(size):
            yield self.real.normalise(self.real.test_images[rows]), self.real.test_labels[rows]


def test_a_part_of_the_test_images_is_scored_as_those_rows_of_the_whole(digits, data):
    classes = [1, 4, 7]
    for whole, part in zip(score(data, digits, confusion=True), score(data, Seen(digits, classes), confusion=True)):
        rows = [row if label in classes else (0,) * 10 for label, row in enumerate(whole.confusion)]
        assert part.confusion == tuple(rows)
        assert part.test_accuracy == pytest.approx(sum(rows[c][c] for c in classes) / sum(map(sum, rows)))
        assert (part.train_loss, part.train_accuracy) == (whole.train_loss, whole.train_accuracy)


def test_images_kept_for_selection_are_tested_beside_the_test_images_or_in_their_place(digits, data):
    selection = SelectionImages(digits, seeded(3))
    with_selection, instead = score(data, digits, selection=selection), score(data, selection)
    assert [one.selection_accuracy for one in with_selection] == [one.test_accuracy for one in instead]
    assert [one.test_accuracy for one in with_selection] == [one.test_accuracy for one in score(data, digits)]


def test_counts_of_a_few_guesses():
    counts = confusion_counts(torch.tensor([0, 2, 2, 2]), torch.tensor([1, 2, 0, 2]), 3)
    assert counts.tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 2]]


def test_confusions_are_no_part_of_what_makes_scores_equal():
    assert Score(0.5, 0.5, 1.0, confusion=((1, 0), (0, 1))) == Score(0.5, 0.5, 1.0)
