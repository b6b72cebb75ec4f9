"""MNIST, FashionMNIST, SVHN, CIFAR10 and CIFAR100, from small files in their real formats."""

import gzip
import os
import pickle
import struct
import tarfile

import numpy as np
import pytest
import scipy.io
import torch
import torchvision

from condense.data import load_data
from condense.data import torchvision_sets as module
from condense.data.pixels import resized

SHEET = {  # name: (channels, size, mean, std, class names at both ends)
    "MNIST": (1, 28, [0.1307], [0.3081], ("0", "9")),
    "FashionMNIST": (1, 28, [0.2861], [0.3530], ("T-shirt/top", "Ankle boot")),
    "SVHN": (3, 32, [0.4377, 0.4438, 0.4728], [0.1980, 0.2010, 0.1970], ("0", "9")),
    "CIFAR10": (3, 32, [0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010], ("airplane", "truck")),
    "CIFAR100": (3, 32, [0.5071, 0.4866, 0.4409], [0.2673, 0.2564, 0.2762], ("fine0", "fine99")),
}


def pixels_and_labels(name, part):
    """Random images (N, C, H, W) and labels that cover all classes, unsorted."""
    rng = np.random.default_rng([len(name), part == "train"])
    channels, size, *_ = SHEET[name]
    num_classes = 100 if name == "CIFAR100" else 10
    labels = rng.permutation(np.arange(2 * num_classes if part == "train" else num_classes) % num_classes)
    return rng.integers(0, 256, (len(labels), channels, size, size), np.uint8), labels


def write_idx(root, name, part, zipped):
    pixels, labels = pixels_and_labels(name, part)
    raw, stem = root / name / "raw", {"train": "train", "test": "t10k"}[part]
    raw.mkdir(parents=True, exist_ok=True)
    images_head = struct.pack(">4i", 0x803, *pixels[:, 0].shape)
    labels_head = struct.pack(">2i", 0x801, len(labels))
    for file, content in ((f"{stem}-images-idx3-ubyte", images_head + pixels.tobytes()),
                          (f"{stem}-labels-idx1-ubyte", labels_head + labels.astype(np.uint8).tobytes())):
        if zipped:
            (raw / f"{file}.gz").write_bytes(gzip.compress(content))
        else:
            (raw / file).write_bytes(content)


def write_svhn(root, part):
    pixels, labels = pixels_and_labels("SVHN", part)
    scipy.io.savemat(root / f"{part}_32x32.mat", {"X": pixels.transpose(2, 3, 1, 0),
                                                  "y": np.where(labels == 0, 10, labels)[:, None]})


def write_cifar(root, name):
    dataset = getattr(torchvision.datasets, name)
    folder = root / dataset.base_folder
    folder.mkdir(parents=True)
    key, kind = ("labels", "label_names") if name == "CIFAR10" else ("fine_labels", "fine_label_names")
    for part, files in (("train", dataset.train_list), ("test", dataset.test_list)):
        pixels, labels = pixels_and_labels(name, part)
        for (file, _), rows in zip(files, np.array_split(np.arange(len(labels)), len(files))):
            content = {"data": pixels[rows].reshape(len(rows), -1), key: labels[rows].tolist()}
            (folder / file).write_bytes(pickle.dumps(content))
    names = [f"fine{i}" for i in range(100)] if name == "CIFAR100" else \
        "airplane automobile bird cat deer dog frog horse ship truck".split()
    (folder / dataset.meta["filename"]).write_bytes(pickle.dumps({kind: names}))


def write(root, name, zipped=False):
    for part in ("train", "test"):
        if name.endswith("MNIST"):
            write_idx(root, name, part, zipped)
        elif name == "SVHN":
            write_svhn(root, part)
    if name.startswith("CIFAR"):
        write_cifar(root, name)


@pytest.fixture
def offline(monkeypatch):
    """No network; the addresses asked for are listed."""
    asked = []

    def refuse(request, *args, **kwargs):
        asked.append(getattr(request, "full_url", request))
        raise OSError("no network here")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    return asked


@pytest.fixture
def small_files_pass(monkeypatch, offline):
    """torchvision takes our small files for the official ones: their checksums are not compared."""
    for where in ("utils", "mnist", "cifar", "svhn"):
        monkeypatch.setattr(f"torchvision.datasets.{where}.check_integrity",
                            lambda path, md5=None: os.path.isfile(path))
    return offline


@pytest.mark.parametrize("name", SHEET)
def test_a_set_loads_as_the_sheet_says_quietly_and_without_a_network(name, tmp_path, small_files_pass, capfd):
    write(tmp_path, name)
    real = load_data(name, tmp_path)
    channels, size, mean, std, (first, last) = SHEET[name]
    assert (real.channel, real.im_size, real.mean, real.std) == (channels, (size, size), mean, std)
    assert (real.class_names[0], real.class_names[-1]) == (first, last)
    pixels, labels = pixels_and_labels(name, "train")
    order = np.argsort(labels, kind="stable")
    assert np.array_equal(real.images.numpy(), pixels[order])
    assert np.array_equal(real.labels.numpy(), labels[order])
    pixels, labels = pixels_and_labels(name, "test")
    assert np.array_equal(real.test_images.numpy(), pixels)
    assert np.array_equal(real.test_labels.numpy(), labels)
    assert real.images.is_contiguous() and small_files_pass == [] and capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", SHEET)
def test_a_set_comes_in_the_size_asked_for_under_its_own_name(name, tmp_path, small_files_pass):
    write(tmp_path, name)
    own, other = load_data(name, tmp_path), load_data(name, tmp_path, im_size=8)
    _, size, mean, std, _ = SHEET[name]
    assert (other.name, other.im_size, other.mean, other.std) == (name, (8, 8), mean, std)
    assert torch.equal(other.images, resized(own.images, 8))
    assert torch.equal(other.test_images, resized(own.test_images, 8))
    assert load_data(name, tmp_path, im_size=size).fingerprint == own.fingerprint != other.fingerprint


@pytest.mark.parametrize("name", ["MNIST", "CIFAR10"])
def test_torchvisions_own_folder_may_be_named_directly(name, tmp_path, small_files_pass):
    write(tmp_path, name)
    assert len(load_data(name, tmp_path / module.ROWS[name].folder)) == 20


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
def test_idx_archives_are_unpacked_whatever_their_checksum(name, tmp_path, offline):
    write(tmp_path, name, zipped=True)
    assert len(load_data(name, tmp_path)) == 20 and offline == []


def test_an_idx_file_cut_short_is_unpacked_again(tmp_path, offline):
    write(tmp_path, "MNIST", zipped=True)
    whole = load_data("MNIST", tmp_path).fingerprint
    file = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    for size in (5000, 10, 0):
        file.write_bytes(file.read_bytes()[:size])
        assert load_data("MNIST", tmp_path).fingerprint == whole


@pytest.mark.parametrize("name", SHEET)
def test_without_files_or_network_one_line_says_what_to_put_where(name, tmp_path, offline):
    says = "could not be downloaded .*no network here.*put .* there, or name its folder with --data_path"
    with pytest.raises(FileNotFoundError, match=says) as error:
        load_data(name, tmp_path / "data")
    assert "\n" not in str(error.value) and f"{name} is not in {tmp_path / 'data'}/" in str(error.value)
    assert offline                                       # it did try


def damage_idx(root, name="t10k-images-idx3-ubyte", zipped=False):
    write(root, "MNIST", zipped)
    path = root / "MNIST" / "raw" / name
    path.write_bytes(path.read_bytes()[:3000])


def damage_idx_archive(root):
    damage_idx(root, "train-images-idx3-ubyte.gz", zipped=True)


def damage_archive(root):
    (root / "cifar-10-python.tar.gz").write_bytes(b"half of a download")


def damage_mat(root):
    (root / "train_32x32.mat").write_bytes(b"half of a download")


def damage_batch(root):
    write(root, "CIFAR100")                              # whose md5 sums are not the official ones


@pytest.mark.parametrize("name, damage, names", [
    ("MNIST", damage_idx, "MNIST/raw/t10k-images-idx3-ubyte there"),
    ("MNIST", damage_idx_archive, "MNIST/raw/train-images-idx3-ubyte.gz there"),
    ("CIFAR10", damage_archive, "cifar-10-python.tar.gz"),
    ("SVHN", damage_mat, "train_32x32.mat"), ("CIFAR100", damage_batch, "cifar-100-python")])
def test_damaged_files_are_named_with_what_to_do(name, damage, names, tmp_path, offline):
    damage(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"damaged or incomplete .*delete {names}") as error:
        load_data(name, tmp_path)
    assert "\n" not in str(error.value)


def test_a_half_downloaded_archive_is_fetched_again_when_there_is_a_network(tmp_path, monkeypatch, capfd):
    """torchvision compares the md5 sum, downloads over the bad file, and we load what came."""
    write(tmp_path / "made", "CIFAR10")
    folder = tmp_path / "made" / "cifar-10-batches-py"
    with tarfile.open(tmp_path / "good.tar.gz", "w:gz") as archive:
        archive.add(folder, arcname=folder.name)
    root = tmp_path / "data"
    root.mkdir()
    (root / "cifar-10-python.tar.gz").write_bytes((tmp_path / "good.tar.gz").read_bytes()[:500])

    def download(url, path, **kwargs):
        os.replace(tmp_path / "good.tar.gz", path)

    def md5_of(path):
        return torchvision.datasets.utils.calculate_md5(path)

    dataset = torchvision.datasets.CIFAR10
    monkeypatch.setattr(dataset, "tgz_md5", md5_of(tmp_path / "good.tar.gz"))
    for listed in ("train_list", "test_list"):
        sums = [[file, md5_of(folder / file)] for file, _ in getattr(dataset, listed)]
        monkeypatch.setattr(dataset, listed, sums)
    monkeypatch.setitem(dataset.meta, "md5", md5_of(folder / "batches.meta"))
    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", lambda url, **_: url)
    monkeypatch.setattr("torchvision.datasets.utils._urlretrieve", download)
    assert len(load_data("CIFAR10", root)) == 20
    assert capfd.readouterr().out == ""


# Real data

def test_mnist_loads_whole(mnist_folder):
    real = load_data("MNIST", mnist_folder)
    assert real.spec == (1, 10, (28, 28)) and (len(real), len(real.test_labels)) == (60_000, 10_000)
    assert real.class_counts[:3] == [5923, 6742, 5958]
    pixels = real.images.double() / 255
    assert pixels.mean().item() == pytest.approx(real.mean[0], abs=1e-4)
    assert pixels.std().item() == pytest.approx(real.std[0], abs=1e-4)
    images = real.sample(real.classes, 256, torch.Generator()).images(slice(0, 256))
    assert images.shape == (256, 1, 28, 28)
