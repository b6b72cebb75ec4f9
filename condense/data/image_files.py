"""Many image files to one uint8 array: decoded on all cores once, then read from a cache."""

import contextlib
import hashlib
import json
import logging
import os
import subprocess
import sys
import threading
import zlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from condense.core.errors import RunError
from condense.core.files import atomic_path, cache_folder
from condense.core.source_code import code_sha256, library_versions
from condense.data import decoder
from condense.data.decoder import ImageProblem, decode_all, peek
from condense.data.request import Request

log = logging.getLogger("condense")

CODE = code_sha256("data/decoder.py", "data/image_files.py")       # decides the pixels; the rest is Pillow's
CHUNK = 128                                              # files per job
FEW = 512                                                # so many are decoded before processes would start
PEEKS = 64                                               # headers read to learn size and channels in advance


def read_images(root: Path, names: Sequence[str], request: Request,
                channels: int | None = None) -> UInt8[np.ndarray, "n c h w"]:
    """Return the pixels of `root/name` for each of `names`, uint8 (N, C, H, W), in that order.

    `request` gives `im_size`, `resize` and `progress`. C is `channels`, or where that is None 1 if every
    image is grey and else 3. Results are kept in the cache folder, by the names, sizes and times of the
    files, and by the code that decoded them. Raises ValueError naming the file that cannot be decoded or differs in
    size.
    """
    paths = [os.path.join(root, name) for name in names]
    cached = cache_folder() / "images" / f"{_key(root, names, paths, request, channels)}.npy"
    pixels = _read_cache(cached, len(paths))
    if pixels is None:
        pixels = _decode_files(root, paths, request, channels)
        _write_cache(cached, pixels)
    return pixels


def _key(root, names, paths, request, channels):
    digest = hashlib.sha256(json.dumps([CODE, library_versions("pillow"), os.path.abspath(root),
                                        channels, request.im_size, request.resize if request.im_size else None]
                                       ).encode())
    for name, path in zip(names, paths):
        status = os.stat(path)
        digest.update(json.dumps([name, status.st_size, status.st_mtime_ns]).encode())
    return digest.hexdigest()


def _read_cache(path, count):
    """Return the cached array, or None if it is not there, or not whole: it is only a cache."""
    try:
        with open(path, "rb") as file:
            pixels = np.lib.format.read_array(file, allow_pickle=False)
            checksum = int.from_bytes(file.read(4), "little")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, MemoryError) as error:
        log.warning("decoding again: the cache file %s cannot be read (%s)", path, error)
        return None
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or len(pixels) != count or _checksum(pixels) != checksum:
        log.warning("decoding again: the cache file %s is damaged", path)
        return None
    return pixels


def _write_cache(path, pixels):
    """Store the array as .npy with its checksum behind it (which readers of .npy never look at)."""
    try:
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.lib.format.write_array(file, pixels, allow_pickle=False)
            file.write(_checksum(pixels).to_bytes(4, "little"))
    except OSError as error:
        log.warning("decoded images are not cached (%s); set CONDENSE_CACHE to a folder with free space", error)


def _checksum(pixels):
    return zlib.crc32(pixels.data)


def _decode_files(root, paths, request, channels):
    """Decode without the cache. Size and channels are guessed from some headers, then held to."""
    sizes, grey = zip(*_described(_spread(paths, PEEKS), root))
    commonest = Counter(sizes).most_common(1)[0][0]
    size = commonest if request.im_size is None else (request.im_size, request.im_size)
    resize = None if request.im_size is None else request.resize
    try:
        if channels is None and all(grey):
            try:
                return _decode_parallel(paths, 1, size, resize, request.progress)
            except ImageProblem as problem:
                if problem.kind != "colour":             # a colour image among grey ones: three channels then
                    raise
        return _decode_parallel(paths, channels or 3, size, resize, request.progress)
    except ImageProblem as problem:
        raise _worded(problem, root, size) from problem


def _described(paths, root):
    try:
        return [peek(path) for path in paths]
    except ImageProblem as problem:
        raise _worded(problem, root, None) from problem


def _spread(items, count):
    """At most `count` items, evenly spaced."""
    step = max(1, len(items) / count)
    return [items[int(i * step)] for i in range(min(count, len(items)))]


def _worded(problem, root, commonest):
    if problem.kind == "size":
        height, width = commonest
        return ValueError(f"images in {root} differ in size: most are {height}x{width}, but {problem.path} is "
                          f"{problem.text}; give --im_size N to resize all to NxN, e.g. --im_size {min(commonest)}")
    return ValueError(f"cannot decode {problem.path} ({problem.text}); replace the file or remove it")


def _decode_parallel(paths, channels, size, resize, progress):
    """Decode all files into one array, chunk by chunk; raises ImageProblem."""
    pixels = np.empty((len(paths), channels, *size), np.uint8)
    jobs = iter(range(0, len(paths), CHUNK))
    lock, stop = threading.Lock(), threading.Event()

    def work(decode_into, bar):
        while not stop.is_set():
            with lock:
                start = next(jobs, None)
            if start is None:
                return
            rows = pixels[start:start + CHUNK]
            decode_into(rows, paths=paths[start:start + CHUNK], channels=channels, size=size, resize=resize)
            with lock:
                bar.update(len(rows))

    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=len(paths), desc="decoding images", disable=None if progress else True))
        workers = _workers(len(paths))
        if not workers:
            work(_decode_here, bar)
            return pixels
        for worker in workers:
            stack.callback(worker.close)
        threads = stack.enter_context(ThreadPoolExecutor(len(workers)))
        stack.callback(_end, workers, stop)              # runs before threads are joined: ends their wait
        for done in as_completed([threads.submit(work, worker.decode_into, bar) for worker in workers]):
            done.result()
    return pixels


def _decode_here(rows, **job):
    rows[:] = decode_all(**job)


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _workers(num_files):
    """Start a decoding process per core; none for a few files, or where there is no interpreter to run."""
    if num_files <= FEW or not sys.executable:
        return []
    return [_Worker() for _ in range(min(num_cores(), -(-num_files // CHUNK)))]


def _end(workers, stop):
    stop.set()
    for worker in workers:
        worker.process.kill()


class _Worker:
    """A process that runs decoder.py: it knows nothing of the caller's script, of torch or of its threads."""

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, decoder.__file__],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def decode_into(self, rows, **job):
        """Have `job` (the arguments of `decode_all`) done and its pixels written to `rows`."""
        try:
            self.process.stdin.write(json.dumps(job).encode() + b"\n")
            self.process.stdin.flush()
            problem = json.loads(self.process.stdout.readline())
            whole = problem or self.process.stdout.readinto(memoryview(rows).cast("B")) == rows.nbytes
        except (OSError, ValueError):                    # broken pipe, no answer
            whole = False
        if not whole:
            self.process.kill()
            raise RunError(f"an image decoding process ended early (exit status {self.process.wait()});"
                           " is there enough memory?")
        if problem:
            raise ImageProblem(*problem)

    def close(self):
        """Let go of the ended process and its pipes."""
        self.process.wait()
        self.process.stdout.close()
        with contextlib.suppress(OSError):               # what it was still to be told
            self.process.stdin.close()
