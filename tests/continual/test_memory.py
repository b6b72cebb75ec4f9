"""Parts of a memory: original labels, one space for all steps, unions and their digests."""

import hashlib
from collections import Counter

import pytest
import torch

from condense.continual.memory import Part, memory_of, original_labels, part_of_result, part_of_rows
from condense.continual.view import SeenClasses
from condense.core.randomness import Streams
from condense.data import load_data
from condense.evaluation import evaluate
from condense.operators import Compute
from condense.training import Protocol, TensorSet
from condense.training.minibatches import TrainingDraws


def test_labels_become_the_original_ids():
    assert original_labels(torch.tensor([0, 0, 1, 2]), (7, 3, 9), 10).tolist() == [7, 7, 3, 9]
    soft = original_labels(torch.tensor([[0.7, 0.2, 0.1], [0, 1, 0]]), (7, 3, 9), 10)
    assert soft.shape == (2, 10) and soft.sum(1).tolist() == pytest.approx([1, 1])
    assert soft[0, [7, 3, 9]].tolist() == pytest.approx([0.7, 0.2, 0.1]) and soft[1, 3] == 1


def result_of(few, rows, **options):
    images = few.batch_of(rows).images()
    meta = {"storage": {"bytes": 4 * images.numel()}, "options": options}
    return {"data": [[images, few.labels[rows]]], "meta": meta}


def test_a_steps_set_arrives_in_the_space_of_the_whole():
    classes, rows = (7, 2, 4), torch.tensor([0, 5, 200, 400])
    few, real = load_data("Digits", classes="7,2,4"), load_data("Digits")
    part = part_of_result(result_of(few, rows), classes, real.num_classes)
    whole = {int(original): row for row, original in enumerate(real.order)}
    same = torch.tensor([whole[int(few.order[row])] for row in rows])
    assert part.labels.tolist() == real.labels[same].tolist() == [7, 7, 2, 4]
    assert (part.images - real.batch_of(same).images()).abs().max() < 1e-9
    assert part.bytes == 4 * 4 * 64


def test_real_images_are_a_part_as_they_are_normalised():
    real, rows = load_data("Digits"), torch.tensor([3, 1000])
    part = part_of_rows(real, rows)
    expected = (real.images[rows].double() / 255 - real.mean[0]) / real.std[0]
    assert torch.allclose(part.images.double(), expected, atol=1e-5)
    assert part.labels.tolist() == real.labels[rows].tolist() and part.bytes == 2 * 64 * 4


def test_the_memory_is_the_union_in_order_and_digests_tell_parts_apart():
    parts = [Part(torch.full((2, 1, 2, 2), float(i)), torch.tensor([i, i]), 0) for i in range(3)]
    memory = memory_of(parts, "cpu")
    assert memory.labels.tolist() == [0, 0, 1, 1, 2, 2] and memory.tensor[:, 0, 0, 0].tolist() == [0, 0, 1, 1, 2, 2]
    assert len({part.sha256 for part in parts}) == 3
    relabelled = Part(parts[0].images, torch.tensor([0, 1]), 0)
    assert relabelled.sha256 != parts[0].sha256 == Part(parts[0].images.clone(), torch.tensor([0, 0]), 9).sha256


def test_views_of_a_steps_set_are_those_that_its_run_was_made_with():
    few, rows = load_data("Digits", classes="7,2,4"), torch.tensor([0, 5])
    found = [part_of_result(result_of(few, rows, **options), (7, 2, 4), 10).views
             for options in ({"parameterization": "hallucinator", "n_style": 2}, {"parameterization": "pixels"})]
    assert found == [2, 1] and part_of_rows(few, rows).views == 1


def numbered(start, things, views):
    """Return a `Part` of `things`, each with `views` images of one pixel that hold start, start + 1, ..."""
    count = things * views
    return Part(torch.arange(start, start + count).float().view(count, 1, 1, 1),
                torch.arange(things).repeat_interleave(views), 0, views)


def test_parts_with_as_many_views_are_joined_as_they_are():
    memory = memory_of([numbered(0, 2, 3), numbered(6, 1, 3)], "cpu")
    assert memory.views == 3 and memory.tensor.flatten().tolist() == list(range(9))
    assert memory.labels.tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0]
    assert memory_of([numbered(0, 4, 1), numbered(4, 2, 1)], "cpu").views == 1


def test_an_epoch_of_parts_with_other_views_has_every_thing_once_and_all_its_views_alike():
    things = [{0, 1, 2}, {3, 4, 5}, {6}, {7}, {8, 9}]      # two bases of three views, two real images, a base of two
    memory = memory_of([numbered(0, 2, 3), numbered(6, 2, 1), numbered(8, 1, 2)], "cpu")
    thing_of = {number: i for i, thing in enumerate(things) for number in thing}
    labels = dict(zip(memory.tensor.flatten().tolist(), memory.labels.tolist()))
    assert labels == {0: 0, 1: 0, 2: 0, 3: 1, 4: 1, 5: 1, 6: 0, 7: 1, 8: 0, 9: 0}
    draws = TrainingDraws(torch.Generator().manual_seed(0), len(memory.labels), 4, 1, "cpu", views=memory.views)
    counts, epochs = Counter(), 3000
    for _ in range(epochs):
        seen = memory.images(draws.epoch()[0]).flatten().int().tolist()
        assert sorted(thing_of[number] for number in seen) == [0, 1, 2, 3, 4]
        counts.update(seen)
    for thing in things:
        assert all(abs(counts[number] / epochs - 1 / len(thing)) < 0.05 for number in thing)


def test_views_tell_parts_apart_and_without_them_digests_stay_as_they_were():
    images, labels = torch.arange(6.).view(6, 1, 1, 1), torch.zeros(6, dtype=torch.int64)
    plain = hashlib.sha256(b"((6, 1, 1, 1), (6,))" + images.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()
    digests = [Part(images, labels, 0, views).sha256 for views in (1, 2, 3)]
    assert digests[0] == plain and len(set(digests)) == 3


def test_only_test_images_of_seen_classes_are_tested_and_every_class_may_be_guessed():
    real = load_data("Digits")
    view = SeenClasses(real, (9, 3, 0))
    kept = [i for i, label in enumerate(real.test_labels.tolist()) if label in (9, 3, 0)]
    assert view.test_labels.tolist() == real.test_labels[kept].tolist() and len(view) == len(kept)
    images = torch.cat([images for images, _ in view.test_batches(50)])
    assert torch.equal(images, real.normalise(real.test_images[kept]))
    memory = TensorSet(*(torch.cat(tensors) for tensors in zip(*[(real.batch_of(real.indices_of(label)[:5]).images(),
                                                        torch.full((5,), label)) for label in (9, 3, 0, 5)])))
    (score,) = evaluate(memory, view, {"ConvNetD1": Protocol(epochs=2)}, 1, lambda key, i: Streams(0)("evaluation", i),
                        Compute(), progress=False, confusion=True)["ConvNetD1"]
    counts = torch.tensor(score.confusion)
    assert counts.shape == (10, 10) and counts.sum() == len(view)
    assert counts.sum(1).nonzero().flatten().tolist() == [0, 3, 9]
    assert counts[:, 5].sum() > 0                          # no test image shows it, and some are taken for it
    assert score.test_accuracy == pytest.approx(counts.diagonal().sum().item() / len(view))
