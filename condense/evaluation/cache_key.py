"""What scores depend on apart from their settings. Code that stores scores and reads them again asks here."""

from collections.abc import Sequence
from typing import Any

import torch

from condense.core.source_code import code_sha256, library_versions
from condense.operators import Compute

# Rooms and files that decide what a network trained on given images scores. What else is imported there words errors,
# finds files or loads images, which the fingerprint of the data covers: tests/evaluation/test_cache_key.py lists it.
DECIDING = ("augmentation", "evaluation", "networks", "operators", "training", "core/device.py", "core/randomness.py",
            "core/torch_private.py", "data/real.py", "data/space.py", "data/zca.py")
LIBRARIES = ("torchvision", "numpy")


def code_of_scores(*files: str) -> str:
    """Return the digest of all code that decides scores, `files` of this package besides; call it on import."""
    return code_sha256(*DECIDING, *files)


def cache_key(compute: Compute, code: str, libraries: Sequence[str] = ()) -> dict[str, Any]:
    """Return plain values that differ where code, libraries, kind of device or precision do.

    `code` is `code_of_scores`; `libraries` decide as well, with torch and LIBRARIES. `compute` is the `Compute` that
    networks run with.
    """
    return {"code": code, "torch": torch.__version__,      # says for which CUDA, too
            "libraries": library_versions(*LIBRARIES, *libraries),
            "device": compute.device.type, "precision": compute.precision}
