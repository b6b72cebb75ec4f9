"""RealData and RealBatch: order, sampling, normalisation, fingerprint."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from condense.data import DATASETS, RealData, load_data
from condense.data.pixels import channel_statistics, reorder_rows


def make_real(counts=(5, 9, 3), channels=3, size=(4, 6), seed=0, **kwargs):
    """A set in random order whose first pixel tells the class and second the image."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    images = torch.randint(0, 256, (len(labels), channels, *size), dtype=torch.uint8, generator=rng)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = labels, torch.arange(len(labels)) % 256
    order = torch.randperm(len(labels), generator=rng)
    test = images[::2].clone()
    names = [f"c{i}" for i in range(len(counts))]
    return RealData("toy", images[order], labels[order], test, labels[::2], names, **kwargs)


def test_training_images_are_sorted_by_class_and_keep_their_labels():
    real = make_real()
    assert real.labels.tolist() == [0] * 5 + [1] * 9 + [2] * 3
    assert torch.equal(real.images[:, 0, 0, 0].long(), real.labels)
    assert sorted(real.images[:, 0, 0, 1].tolist()) == list(range(17))
    assert (real.class_counts, real.class_starts) == ([5, 9, 3], [0, 5, 14])


def test_order_leads_from_rows_to_the_images_as_they_came_in():
    rng = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (40, 1, 3, 3), dtype=torch.uint8, generator=rng)
    labels = torch.arange(40) % 4
    real = RealData("toy", images.clone(), labels, images[:4], labels[:4], list("abcd"))
    assert torch.equal(images[real.order], real.images) and torch.equal(labels[real.order], real.labels)


def test_spec_and_sizes_describe_the_set():
    real = make_real(size=(4, 6))
    assert real.spec == (3, 3, (4, 6)) and list(real.classes) == [0, 1, 2] and len(real) == 17
    assert real.indices_of(1).tolist() == list(range(5, 14))
    assert "17 training and 9 test images" in repr(real)


@settings(deadline=None, max_examples=60)
@given(counts=st.lists(st.integers(1, 12), min_size=2, max_size=5), n=st.integers(1, 14),
       seed=st.integers(0, 99), data=st.data())
def test_sample_gives_distinct_images_of_each_asked_class_in_order(counts, n, seed, data):
    real = make_real(counts)
    classes = data.draw(st.lists(st.sampled_from(range(len(counts))), min_size=1, max_size=6))
    batch = real.sample(classes, n, torch.Generator().manual_seed(seed))
    assert batch.counts == [min(n, counts[label]) for label in classes]
    assert batch.labels.tolist() == [c for c, count in zip(classes, batch.counts) for _ in range(count)]
    assert torch.equal(real.labels[batch.index], batch.labels) and len(batch) == sum(batch.counts)
    assert all(len(set(rows.tolist())) == len(rows) for rows in batch.index.split(batch.counts))


def test_sample_is_uniform_over_the_images_of_a_class_and_over_pairs():
    real = make_real((5, 9))
    rng = torch.Generator().manual_seed(1)
    draws, seen, pairs = 6000, torch.zeros(14), torch.zeros(5, 5)
    for _ in range(draws):
        first, second = real.sample([0, 1], 2, rng).index.split(2)
        seen[first] += 1
        seen[second] += 1
        pairs[first[0], first[1]] += 1                   # ordered: each of 20 equally likely
    expected = torch.tensor([2 / 5] * 5 + [2 / 9] * 9)
    assert ((seen / draws - expected).abs() < 5 * (expected * (1 - expected) / draws).sqrt()).all()
    share = pairs[~torch.eye(5, dtype=torch.bool)] / draws
    assert ((share - 1 / 20).abs() < 5 * (1 / 20 * 19 / 20 / draws) ** 0.5).all()


def test_sample_repeats_with_the_same_generator_state_and_changes_with_another():
    real = make_real((50, 60))
    draw = [real.sample([0, 1], 20, torch.Generator().manual_seed(seed)).index for seed in (3, 3, 4)]
    assert torch.equal(draw[0], draw[1]) and not torch.equal(draw[0], draw[2])


def test_sample_does_not_touch_the_global_generator():
    real = make_real()
    before = torch.get_rng_state()
    real.sample(real.classes, 2, torch.Generator())
    assert torch.equal(torch.get_rng_state(), before)


def test_sample_without_n_gives_every_image_in_stored_order_and_draws_nothing():
    real = make_real()
    rng = torch.Generator().manual_seed(0)
    before = rng.get_state()
    batch = real.sample([2, 0], None, rng)
    assert batch.index.tolist() == [14, 15, 16, 0, 1, 2, 3, 4] and batch.counts == [3, 5]
    assert torch.equal(rng.get_state(), before)
    assert torch.equal(real.sample(real.classes).index, torch.arange(17))


@pytest.mark.parametrize("classes, n, says", [([3], 1, "no such class"), ([-1], 1, "no such class"),
                                              ([], 1, "no such class"), ([0], 0, "at least 1")])
def test_sample_refuses_what_it_cannot_draw(classes, n, says):
    with pytest.raises(ValueError, match=says):
        make_real().sample(classes, n, torch.Generator())


def test_batch_images_of_a_slice_or_index_equal_those_of_the_whole():
    real = make_real()
    batch = real.sample(real.classes, 3, torch.Generator().manual_seed(0))
    whole = batch.images()
    assert whole.shape == (9, 3, 4, 6) and whole.dtype == torch.float32
    assert torch.equal(batch.images(slice(2, 7)), whole[2:7])
    assert torch.equal(batch.images(torch.tensor([8, 0, 0])), whole[[8, 0, 0]])
    assert torch.equal(whole, real.normalise(real.images[batch.index]))


def test_batch_of_takes_the_rows_it_is_told():
    real = make_real()
    batch = real.batch_of([16, 2])
    assert batch.labels.tolist() == [2, 0] and batch.counts == [2] and len(batch) == 2
    assert torch.equal(batch.images(), real.normalise(real.images[[16, 2]]))


def test_normalise_is_pixels_over_255_minus_mean_over_std():
    real = make_real(mean=(0.5, 0.25, 0.125), std=(0.2, 0.3, 0.4))
    pixels = real.images.double() / 255
    for channel, (mean, std) in enumerate(zip(real.mean, real.std)):
        expected = (pixels[:, channel] - mean) / std
        images = real.normalise(real.images)[:, channel].double()
        torch.testing.assert_close(images, expected, atol=1e-6, rtol=1e-6)


@settings(deadline=None, max_examples=30)
@given(mean=st.floats(0, 1), std=st.floats(0.05, 1))
def test_denormalise_undoes_normalise_for_every_pixel_value(mean, std):
    real = make_real(channels=1, mean=[mean], std=[std])
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    back = real.denormalise(real.normalise(pixels))
    assert torch.equal((back * 255).round().to(torch.uint8), pixels)
    assert back.min() >= 0 and back.max() <= 1


def test_denormalise_clamps_and_lets_gradients_through():
    real = make_real(channels=1, mean=[0.5], std=[0.5])
    images = torch.tensor([-9.0, 0.0, 9.0]).view(3, 1, 1, 1).requires_grad_()
    pixels = real.denormalise(images)
    assert pixels.flatten().tolist() == [0, 0.5, 1]
    pixels.sum().backward()
    assert images.grad.flatten().tolist() == [0, 0.5, 0]


@pytest.mark.parametrize("channels, size", [(3, (4, 6)), (1, (5, 5))])
def test_statistics_equal_those_in_float64(channels, size):
    real = make_real(channels=channels, size=size)
    pixels = real.images.double() / 255
    assert real.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), rel=1e-12)
    assert real.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist(), rel=1e-12)


def test_statistics_of_a_constant_channel_keep_normalising_defined():
    mean, std = channel_statistics(torch.full((4, 1, 2, 2), 51, dtype=torch.uint8))
    assert mean == pytest.approx([0.2]) and std == [1.0]


@pytest.mark.parametrize("shape", [(40, 3, 4, 4), (40, 1, 3, 5)])
def test_reorder_rows_in_place_equals_indexing(shape, monkeypatch):
    monkeypatch.setattr("condense.data.pixels.BLOCK_BYTES", 40 * 8 * 2)          # several blocks of columns
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    order = torch.randperm(40)
    expected, address = images[order], images.data_ptr()
    reorder_rows(images, order)
    assert torch.equal(images, expected) and images.data_ptr() == address


def test_test_batches_cover_the_test_set_once_and_in_order():
    real = make_real()
    images, labels = zip(*real.test_batches(4))
    assert [len(part) for part in labels] == [4, 4, 1]
    assert torch.equal(torch.cat(images), real.normalise(real.test_images))
    assert torch.equal(torch.cat(labels), real.test_labels)


def test_fingerprint_is_the_same_for_the_same_data_only():
    base = make_real().fingerprint
    assert make_real().fingerprint == base and len(base) == 64
    changed = make_real()
    changed.images[3, 1, 2, 2] ^= 1
    tested = make_real()
    tested.test_labels[0] = 1
    named = make_real()
    named.class_names[0] = "other"
    others = [make_real(seed=1), make_real(mean=[0.5] * 3, std=[0.5] * 3), changed, tested, named]
    assert base not in {other.fingerprint for other in others}


@pytest.mark.parametrize("change, says", [
    ({"images": torch.zeros(4, 1, 2, 2)}, "uint8"),
    ({"labels": torch.tensor([0, 1])}, "one label"),
    ({"labels": torch.tensor([0, 1, 2, 0])}, "number them 0..1"),
    ({"labels": torch.tensor([0, 0, 0, 0])}, "'b' of toy has no training images"),
    ({"test_images": torch.zeros(1, 1, 3, 3, dtype=torch.uint8)}, "same channels and size"),
])
def test_data_that_does_not_fit_together_is_refused_in_one_line(change, says):
    parts = {"images": torch.zeros(4, 1, 2, 2, dtype=torch.uint8), "labels": torch.tensor([0, 1, 0, 1]),
             "test_images": torch.zeros(1, 1, 2, 2, dtype=torch.uint8), "test_labels": torch.tensor([0])}
    with pytest.raises(ValueError, match=says) as error:
        RealData("toy", **{**parts, **change}, class_names=["a", "b"])
    assert "\n" not in str(error.value)


def test_digits_load_without_any_file_and_split_the_same_whatever_the_seed(tmp_path):
    real = load_data("Digits", tmp_path / "nowhere")
    assert real.spec == (1, 10, (8, 8)) and real.class_names == list("0123456789")
    assert (len(real), len(real.test_labels)) == (1438, 359)
    assert real.images.max() == 255 and real.mean == pytest.approx([0.30539], abs=1e-5)
    assert torch.bincount(real.test_labels).min() >= 35
    assert load_data("Digits", tmp_path, seed=7).fingerprint == real.fingerprint
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_dataset_is_answered_with_the_nearest_name():
    with pytest.raises(ValueError, match="did you mean CIFAR10"):
        load_data("cifar-10", "data")


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {"Digits"}))
def test_every_dataset_that_is_not_there_is_answered_in_one_line_with_the_mend(name, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(FileNotFoundError, match="--data_path") as error:
        load_data(name, tmp_path / "nowhere")
    assert "\n" not in str(error.value) and str(tmp_path / "nowhere") in str(error.value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_sampling_on_a_gpu_never_waits_for_it_and_draws_what_its_generator_says():
    real = make_real((5, 9, 3), device="cuda")
    real.sample(real.classes, 4, torch.Generator().manual_seed(0))               # makes the plan
    torch.cuda.set_sync_debug_mode("error")
    try:
        batches = [real.sample(real.classes, 4, torch.Generator().manual_seed(0)) for _ in range(2)]
        images = batches[0].images(slice(2, 7))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert images.shape == (5, 3, 4, 6) and images.is_cuda
    assert torch.equal(batches[0].index, batches[1].index)
    assert torch.equal(real.labels[batches[0].index], batches[0].labels)
    assert real.fingerprint == make_real((5, 9, 3)).fingerprint
