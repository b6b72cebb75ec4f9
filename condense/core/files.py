"""Files that are whole or absent: atomic writing, locks, and the folder for what can be computed again."""

import contextlib
import hashlib
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from filelock import BaseFileLock, FileLock, Timeout

# What torch's restricted load must allow to read NumPy scalars and arrays as NumPy 1 and 2 store them, which
# the reference's files hold: data, no code.
_MAKERS = {"_reconstruct": np.array(0).__reduce__()[0], "scalar": np.float64(0).__reduce__()[0]}
NUMPY_TYPES: list[Any] = [np.ndarray, np.dtype, *{type(np.dtype(code)) for code in "?bBhHiIlLqQefd"},
                          *((maker, f"numpy.{core}.multiarray.{name}") for name, maker in _MAKERS.items()
                            for core in ("core", "_core"))]


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; on success it is flushed to disk and renamed to `path`.

    On any error the temporary file is removed and an existing `path` stays as it was.
    Missing parent folders are made. Raises OSError as the file system does.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    try:
        yield Path(temporary)
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.chmod(temporary, 0o666 & ~_umask())           # mkstemp makes files private; results are shared
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def file_sha256(path: str | Path) -> str:
    """Return the hex sha256 of the file at `path`."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


class Held:
    """A lock that is held. A child that inherits its open file, `fileno()`, keeps it when we are killed (POSIX)."""

    def __init__(self, lock: BaseFileLock) -> None:
        self._lock = lock

    def fileno(self) -> int:
        # filelock has no public name for it before version 4
        return self._lock._context.lock_file_fd          # type: ignore[return-value]


@contextlib.contextmanager
def locked(path: str | Path, waiting: Callable[[], object] | None = None) -> Iterator[Held]:
    """Hold the lock file `path` (made if missing) against every other process and thread; yields a `Held`.

    The system gives the lock back however its holder ends. Where somebody else has it, `waiting()` is called before
    the wait. Raises OSError where the file cannot be made.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        open(path, "a").close()                          # it waits forever for a file that nobody can make
        if waiting:
            waiting()
        lock.acquire()
    try:
        yield Held(lock)
    finally:
        lock.release()


@contextlib.contextmanager
def short_silence(seconds: float) -> Iterator[None]:
    """Give up on servers that say nothing for so long: neither torch.hub nor torchvision sets a limit of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def cache_folder() -> Path:
    """Return the user's cache folder of this toolkit: $CONDENSE_CACHE, or `condense` in the system's one."""
    if "CONDENSE_CACHE" in os.environ:
        return Path(os.environ["CONDENSE_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "condense"
