"""Sets by their address: a local path is used as it is, a URL is downloaded once and completely, and checked."""

import contextlib
import hashlib
import json
import logging
import re
import urllib.error
import urllib.request
from os import PathLike
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import torch

from condense.core.errors import InputError, MissingFile
from condense.core.files import atomic_path, cache_folder, file_sha256, locked, short_silence

log = logging.getLogger("condense")

SILENCE_S = 30                             # a server that says nothing for so long is not there
WEB = re.compile(r"https?://", re.IGNORECASE)
UNSAFE = re.compile(r"[^\w.+=-]")          # in the name of a file that comes from a URL
LONGEST = 200                              # characters of such a name


def local_copy(address: str | PathLike, sha256: str | None = None, progress: bool = True) -> Path:
    """Return the path of `address`: a path comes back as it is, of an http(s) URL that of its copy in the cache folder.

    A URL is downloaded once, by one process at a time, and afterwards works offline; the copy keeps the name that the
    URL ends in. `sha256`, in hex, must be that of the file, downloaded, cached or local; of a download without it, it
    is logged. Raises FileNotFoundError where there is no such file or server, OSError for a download that is cut off
    or cannot be written, ValueError for another checksum: one line each, and nothing of it stays in the cache.
    """
    wanted = checked_sha256(sha256)
    if not is_url(address):
        return _verified(Path(address), wanted, f"{address} is another file; leave --sha256 out, or get the one meant")
    path = cached_path(str(address))
    if not path.is_file():
        with _turn(path, address):
            if not path.is_file():                       # else somebody has just brought it
                _download(address, path, wanted, progress)
    return _verified(path, wanted, f"the copy {path} of {address} is another file; delete it to download anew, or give "
                                   "the right --sha256")


@contextlib.contextmanager
def _turn(path, url):
    """Lock `path` so that no other process downloads it at the same time."""
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.with_name(f"{path.name}.lock")
            stack.enter_context(locked(lock, lambda: log.info("waiting for the download of %s", url)))
        except OSError as error:
            raise OSError(f"no download into {path.parent} ({_reason(error)}); set CONDENSE_CACHE to a folder with "
                          "room") from error
        yield


def is_url(address: str | PathLike) -> bool:
    """Whether `address` is an http or https URL."""
    return bool(WEB.match(str(address)))


def checked_sha256(sha256: str | None) -> str | None:
    """Return a checksum in lower case; raises ValueError where it is no sha256 in hex."""
    if sha256 is None:
        return None
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise InputError(f"--sha256 {sha256!r} is not 64 hex digits; sha256sum FILE prints them")
    return sha256.lower()


def cached_path(url: str) -> Path:
    """Return the path of the copy of `url`: its own name, in one folder with files from the same folder of the server.

    So images_best.pt finds labels_best.pt, which came from the same place.
    """
    parts = urlsplit(url)
    name = PurePosixPath(parts.path).name
    server_folder = json.dumps([parts.scheme.lower(), parts.netloc.lower(), parts.path.removesuffix(name), parts.query])
    name = UNSAFE.sub("_", unquote(name)).lstrip(".")[-LONGEST:]
    return cache_folder() / "downloads" / hashlib.sha256(server_folder.encode()).hexdigest()[:16] / (name or "set")


def _verified(path, wanted, otherwise):
    """Return `path`; raises where its checksum is not the one `wanted`, if any is."""
    if wanted is None:
        return path
    if not path.exists():
        raise MissingFile(f"no file {path}; check its path")
    if path.is_dir():
        raise InputError(f"{path} is a folder, which has no sha256; leave --sha256 out, or name a file")
    found = file_sha256(path)
    if found != wanted:
        raise InputError(f"sha256 is {found}, not {wanted}: {otherwise}")
    return path


def _download(url, path, wanted, progress):
    """Bring `url` to `path`, whole and, where a checksum is wanted, right."""
    log.info("downloading %s", url)
    for left in path.parent.glob(f".{path.name}.*.part*"):               # by a process that was killed in the middle
        left.unlink(missing_ok=True)
    with atomic_path(path) as temporary:
        _transfer(url, temporary, progress)
        found = file_sha256(temporary)
        if wanted is None:
            log.info("sha256 %s: give it as --sha256 to make sure that the file stays the same", found)
        elif found != wanted:
            raise InputError(f"sha256 of {url} is {found}, not {wanted}: the file was replaced or damaged; check its "
                             "source before using it")


def _transfer(url, temporary, progress):
    try:
        with short_silence(SILENCE_S):
            size = _announced_size(url)
            torch.hub.download_url_to_file(url, str(temporary), progress=progress)
    except urllib.error.HTTPError as error:
        raise MissingFile(f"{url} cannot be downloaded: the server answers {error.code} {error.reason}; check the "
                          "address") from error
    except TimeoutError as error:
        raise _silent(url) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise _silent(url) from error
        raise MissingFile(f"{url} cannot be downloaded ({_reason(error.reason)}); check the address and the "
                          "network") from error
    except OSError as error:
        raise OSError(f"the download of {url} broke off ({_reason(error)}); start again, with room on the disk of "
                      f"{temporary.parent}") from error
    except Exception as error:                           # what http.client makes of answers that are none
        raise OSError(f"the download of {url} broke off ({_reason(error)}); start again") from error
    arrived = temporary.stat().st_size
    if size is not None and arrived != size:
        raise OSError(f"the download of {url} was cut off after {arrived:,} of {size:,} bytes; start again")


def _announced_size(url):
    """Return the bytes that the server says the file has, or None where it does not say.

    torch.hub takes the end of a connection for the end of the file.
    """
    request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "torch.hub"})
    try:
        with urllib.request.urlopen(request) as answer:
            length = answer.headers.get("Content-Length")
    except urllib.error.HTTPError as error:
        if error.code in (403, 405, 501):                # servers that know GET alone
            return None
        raise
    return int(length) if length and length.isdecimal() else None


def _silent(url):
    return FileNotFoundError(f"{url} cannot be downloaded: the server did not answer for {SILENCE_S} s; try again "
                             "later")


def _reason(error):
    return (str(error).strip() or type(error).__name__).splitlines()[-1]
