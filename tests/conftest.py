"""Fixtures for all tests: the real data sets where this checkout has them, and a cache folder of our own."""

import gzip
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock

REPOSITORY = Path(__file__).resolve().parents[1]
REAL_DATA = [REPOSITORY.parent / "shared" / "data", REPOSITORY / "shared" / "data"]


def real_file(name):
    """Path of a file of real data; skips the test, saying why, where there is none."""
    for folder in REAL_DATA:
        if (folder / name).exists():
            return folder / name
    pytest.skip(f"real data {name} is not in {REAL_DATA[0]}")


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory):
    """A temporary folder that the worker processes of one test session share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def made_once(folder, make):
    """Return `folder`, filled by `make(folder)` once in a session, whichever process comes first."""
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            part = folder.with_name(folder.name + ".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            make(part)
            part.rename(folder)
    return folder


def unpack(archive, folder):
    with tarfile.open(archive) as members:
        members.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))


@pytest.fixture(scope="session", autouse=True)
def cache(session_folder):
    """Keep the tests out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONDENSE_CACHE", str(session_folder / "condense-cache"))
        yield session_folder / "condense-cache"


@pytest.fixture(scope="session")
def mnist_folder(session_folder):
    """A data folder with the whole of MNIST, unpacked as torchvision expects it."""
    raw = real_file("MNIST/raw")

    def make(folder):
        (folder / "MNIST" / "raw").mkdir(parents=True)
        for archive in raw.glob("*.gz"):
            (folder / "MNIST" / "raw" / archive.stem).write_bytes(gzip.decompress(archive.read_bytes()))

    return made_once(session_folder / "mnist", make)


@pytest.fixture(scope="session")
def cifar10_folder(session_folder):
    """CIFAR-10 as 60,000 JPEG files, {train,test}/<class>/*.jpg."""
    archive = real_file("cifar10-jpeg.tar.xz")
    if "PYTEST_XDIST_WORKER" in os.environ:              # shared, so left for pytest to clear away
        yield made_once(session_folder / "cifar10", lambda folder: unpack(archive, folder)) / "cifar10-jpeg"
        return
    with tempfile.TemporaryDirectory(prefix="condense-tests-", dir=fast_folder()) as folder:
        unpack(archive, folder)
        yield Path(folder) / "cifar10-jpeg"


def fast_folder():
    """A file system in memory, where there is one with room: a disk takes long over so many small files."""
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30 else None


@pytest.fixture(scope="session")
def tiny_folder(session_folder):
    """A folder with 20 classes of Tiny ImageNet in its original tree, tiny-imagenet-200/."""
    archive = real_file("tiny-imagenet-20classes.tar.xz")
    return made_once(session_folder / "tiny", lambda folder: unpack(archive, folder))
