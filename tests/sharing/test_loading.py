"""load_synthetic_set: one call from an address to tensors to train on, without real data where none are needed."""

import http.server
import threading
from functools import partial

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from condense.data import load_data
from condense.data.space import Space
from condense.run.results import describe, save_result
from condense.sharing import loading
from condense.sharing.loading import load_set, load_synthetic_set
from condense.synthetic.multi_formation import decode

LABELS = torch.arange(10).repeat_interleave(6)


def in_space(pixels, name, real):
    return Space(name, tuple(real.mean), tuple(real.std), real.zca).encode(pixels).float()


@pytest.fixture(scope="module")
def white():
    return load_data("Digits", zca=True)


@pytest.fixture(scope="module")
def pixels(digits):
    """Raw pixels of six real images of each class."""
    return digits.images[digits.sample(digits.classes, 6, torch.Generator().manual_seed(0)).index].double() / 255


@pytest.fixture
def no_data(monkeypatch):
    """From here on no real data may be loaded."""
    def refuse(*args, **options):
        raise AssertionError("real data were loaded")

    monkeypatch.setattr(loading, "load_data", refuse)


def a_result(path, real, sets, **more):
    options = {"seed": 0, "dataset": "Digits", "model": "MLP", "ipc": 6}
    meta = describe(real, "DM", options, {"floats": 1, "bytes": 4}, **more.pop("meta", {}))
    save_result(path, sets, {"MLP": [0.5]}, meta, **more)
    return path


def test_a_normalised_result_needs_no_real_data(tmp_path, digits, no_data):
    sets = [[torch.randn(60, 1, 8, 8), LABELS] for _ in range(3)]
    best = [[torch.randn(60, 1, 8, 8), LABELS] for _ in range(3)]
    path = a_result(tmp_path / "r.pt", digits, sets, best=best,
                    meta={"syn_lr": [0.1, 0.2, 0.3], "best": [{"syn_lr": 1.0}] * 3})
    loaded = load_synthetic_set(path, 1)
    assert torch.equal(loaded.images, sets[1][0]) and torch.equal(loaded.labels, LABELS)
    assert (loaded.mean, loaded.std, loaded.zca) == (tuple(digits.mean), tuple(digits.std), None)
    assert (loaded.lr, loaded.class_names, loaded.path) == (0.2, tuple("0123456789"), path)
    chosen = load_synthetic_set(str(path), 2, "best")
    assert torch.equal(chosen.images, best[2][0]) and chosen.lr == 1.0
    assert torch.allclose(loaded.pixels(), digits.denormalise(sets[1][0]), atol=1e-6)
    assert isinstance(loaded.dataset, TensorDataset)
    images, labels = next(iter(DataLoader(loaded.dataset, batch_size=7)))
    assert torch.equal(images, sets[1][0][:7]) and labels.tolist() == [0] * 6 + [1]


def test_a_whitened_result_brings_its_whitening(tmp_path, white, no_data):
    images = torch.randn(60, 1, 8, 8)
    loaded = load_synthetic_set(a_result(tmp_path / "r.pt", white, [[images, LABELS]]))
    assert torch.equal(loaded.images, images) and (loaded.mean, loaded.std) == (None, None)
    assert loaded.zca.fingerprint == white.zca.fingerprint
    assert torch.allclose(loaded.pixels(), white.denormalise(images), atol=1e-5)


def test_a_raw_set_with_constants_becomes_normalised_by_them(tmp_path, pixels, no_data):
    torch.save({"images": pixels.float(), "labels": LABELS, "space": "raw", "mean": [0.25], "std": [0.5]},
               tmp_path / "x.pt")
    loaded = load_synthetic_set(tmp_path / "x.pt")
    assert torch.equal(loaded.images, ((pixels.float().double() - 0.25) / 0.5).float())
    assert torch.allclose(loaded.pixels(), pixels.float(), atol=1e-6) and loaded.mean == (0.25,)


def test_known_data_sets_need_not_be_there(tmp_path, no_data):
    drawn = torch.rand(20, 3, 32, 32)
    torch.save([drawn, torch.arange(10).repeat(2)], tmp_path / "data_best.pt")
    loaded = load_synthetic_set(tmp_path, decode=2, dataset="CIFAR10", data_path=tmp_path / "nowhere")
    mean, std = (torch.tensor(values, dtype=torch.float64)[:, None, None]
                 for values in ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)))
    assert torch.allclose(loaded.images, ((decode(drawn.double(), 2) - mean) / std).float(), atol=1e-6)
    assert torch.equal(loaded.labels, torch.arange(10).repeat(8)) and len(loaded.images) == 80


def test_trajectory_matchings_cifar100_gets_that_data_sets_constants(tmp_path, no_data):
    folder = tmp_path / "CIFAR100" / "run"
    folder.mkdir(parents=True)
    drawn, labels = torch.randn(100, 3, 8, 8), torch.arange(100)
    torch.save(drawn, folder / "images_best.pt")
    torch.save(labels, folder / "labels_best.pt")
    loaded = load_synthetic_set(folder, space="normalised")
    mean, std = (torch.tensor(values, dtype=torch.float64)[:, None, None]
                 for values in ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)))
    assert torch.allclose(loaded.pixels(), (drawn * std + mean).clamp(0, 1).float(), atol=1e-5)
    assert loaded.mean == (0.5071, 0.4866, 0.4409)


def test_statistics_tell_where_the_file_is_silent(tmp_path, digits, white, pixels):
    for space, real in (("normalised", digits), ("zca", white), ("raw", digits)):
        path = tmp_path / f"res_DM_Digits_MLP_6ipc_{space}.pt"
        torch.save({"data": [[in_space(pixels, space, real), LABELS]], "accs_all_exps": {}}, path)
        loaded = load_synthetic_set(path)
        assert f"{space}, by statistics" in loaded.evidence
        assert torch.allclose(loaded.pixels(), pixels.float(), atol=1e-5)
        assert (loaded.zca is not None) == (space == "zca") and loaded.class_names == tuple("0123456789")


def test_views_of_one_base_are_told_with_and_without_real_data(tmp_path, digits, pixels):
    path = a_result(tmp_path / "r.pt", digits, [[torch.randn(60, 1, 8, 8), LABELS]])
    assert load_synthetic_set(path).views == 1
    content = torch.load(path, weights_only=True)
    content["meta"]["options"] |= {"parameterization": "hallucinator", "n_style": 3}
    torch.save(content, path)
    assert load_synthetic_set(path).views == 3
    scored = {"protocols": {"MLP": {}}, "num_eval": 1, "seed": 0, "experiment": 0, "iteration": 0, "views": 2}
    torch.save({"images": pixels.float(), "labels": LABELS, "space": "raw", "scored": scored}, tmp_path / "x.pt")
    assert load_synthetic_set(tmp_path / "x.pt", dataset="Digits").views == 2      # whose constants must be loaded


def test_a_set_comes_in_the_space_that_is_asked_for(tmp_path, digits, white, no_data):
    images = torch.randn(60, 1, 8, 8)
    path = a_result(tmp_path / "r.pt", digits, [[images, LABELS]])
    raw = load_set(path, to="raw")
    assert raw.space == Space("raw", tuple(digits.mean), tuple(digits.std)) and raw.images.dtype == torch.float32
    assert torch.equal(raw.images, digits.space.decode(images.double()).float()) and raw.images.min() < 0
    assert torch.equal(raw.pixels(), raw.images.clamp(0, 1))
    assert torch.equal(load_set(path, to="normalised").images, images)
    with pytest.raises(ValueError, match="has no ZCA whitening"):
        load_set(path, to="zca")
    whitened = load_set(a_result(tmp_path / "w.pt", white, [[images, LABELS]]), to="raw")
    assert torch.allclose(whitened.images, white.zca.restore(images), atol=1e-4)


def test_a_whitened_set_without_its_transform_has_one_fitted(tmp_path, white, pixels, caplog):
    torch.save((in_space(pixels, "zca", white), LABELS), tmp_path / "x.pt")
    loaded = load_synthetic_set(tmp_path / "x.pt", space="zca", dataset="Digits")
    assert loaded.zca.fingerprint == white.zca.fingerprint and "fitted" in caplog.text


def test_set_and_labels_come_from_urls(tmp_path, monkeypatch, digits):
    monkeypatch.setenv("CONDENSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *args: None)
    (tmp_path / "web").mkdir()
    images = digits.normalise(digits.images[:60])
    torch.save(images, tmp_path / "web" / "images_best.pt")
    torch.save(digits.labels[:60] % 3, tmp_path / "web" / "labels_best.pt")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        base = f"http://127.0.0.1:{server.server_port}"
        torch.save({"images": images, "labels": digits.labels[:60], "space": "normalised", "mean": digits.mean,
                    "std": digits.std}, tmp_path / "web" / "set.pt")
        whole = load_synthetic_set(f"{base}/set.pt")
        with pytest.raises(FileNotFoundError, match="--labels"):
            load_synthetic_set(f"{base}/images_best.pt")
        both = loading.read_set(loading.local_copy(f"{base}/images_best.pt"),
                                loading.local_copy(f"{base}/labels_best.pt"))
        server.shutdown()
        thread.join()
    assert torch.equal(whole.images, images) and torch.equal(load_synthetic_set(f"{base}/set.pt").images, images)
    assert torch.equal(both.sets[0].labels, digits.labels[:60] % 3)


@pytest.mark.parametrize("options, words", [
    ({"experiment": 3}, "numbered from 0"), ({"experiment": -1}, "numbered from 0"),
    ({"which": "best"}, "--which last"), ({"which": "first"}, "choose one of: last, best"),
    ({"space": "white"}, "choose one of: normalised, zca, raw"),
    ({"sha256": "0" * 64}, "--sha256"), ({"decode": 0}, "between 1 and 8"),
    ({"labels": "absent.pt"}, "leave --labels")])
def test_what_cannot_be_is_said_in_one_line(tmp_path, digits, options, words):
    path = a_result(tmp_path / "r.pt", digits, [[torch.randn(60, 1, 8, 8), LABELS]])
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        load_synthetic_set(path, **options)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_set_that_says_nothing_needs_a_data_set_named(tmp_path, pixels):
    torch.save((3 * pixels.float() - 1, LABELS), tmp_path / "x.pt")
    with pytest.raises(ValueError, match="--dataset"):
        load_synthetic_set(tmp_path / "x.pt")
    torch.save([pixels.float(), LABELS], tmp_path / "data.pt")
    with pytest.raises(ValueError, match="--decode"):
        load_synthetic_set(tmp_path / "data.pt", dataset="Digits")
