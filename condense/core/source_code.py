"""What decides a number apart from its settings: our own code and its libraries. Caches are keyed by both.

A number kept by hand tells other code apart only where somebody remembers to raise it. Modules take the digest as they
are imported: files that change under a run must not pose as the code that it runs.
"""

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def code_sha256(*parts: str) -> str:
    """Return the hex sha256 of Python files of this package.

    `parts` are files ("data/zca.py") or folders ("training": every .py below it), relative to `condense/`. Names and
    bytes count, the order of `parts` and line endings do not. Raises FileNotFoundError for a part that is not there.
    """
    digest = hashlib.sha256()
    for name, path in sorted(_files(parts).items()):
        content = path.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def code_files(*parts: str) -> set[str]:
    """Return the names of the files that `code_sha256` reads for `parts`, a set."""
    return set(_files(parts))


def _files(parts):
    found = {}
    for part in parts:
        paths = [PACKAGE / part] if part.endswith(".py") else sorted((PACKAGE / part).rglob("*.py"))
        if not paths or not paths[0].is_file():
            raise FileNotFoundError(f"no Python files condense/{part}, which a cache is keyed by")
        found |= {path.relative_to(PACKAGE).as_posix(): path for path in paths}
    return found


def library_versions(*names: str) -> dict[str, str | None]:
    """Return {name: version} of installed distributions, None for one that is not here.

    Of torch `torch.__version__` says more.
    """
    return {name: _version(name) for name in names}


@cache
def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None
