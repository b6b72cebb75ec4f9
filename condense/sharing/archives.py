"""PyTorch files from others: only tensors and plain values are loaded, never objects or code."""

import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import torch

from condense.core.errors import InputError
from condense.core.files import NUMPY_TYPES

OBJECTS = re.compile(r"GLOBAL (\S+)|allowlisted")          # in torch's words for what its restricted load will not make


def read_archive(path: str | Path) -> Any:
    """Return what `torch.save` put into the file `path`, on the CPU; nothing in it is run.

    Raises ValueError in one line for a file that is cut off, is none, or holds anything but data.
    """
    try:
        with torch.serialization.safe_globals(NUMPY_TYPES), warnings.catch_warnings():
            warnings.simplefilter("ignore")                # about dialects of pickle: it is read, or it is not
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = OBJECTS.search(str(error))
        if found is None:
            raise InputError(_broken(path, error)) from error
        name = f" ({found[1]})" if found[1] else ""
        raise InputError(f"{path} is refused: it holds objects or code{name}, not only tensors and plain values; if you"
                         " trust its maker, load it yourself and save images and labels alone as a tuple") from error
    except Exception as error:                            # zip and torch errors of any kind: the file is not whole
        raise InputError(_broken(path, error)) from error


def _broken(path, error):
    return (f"{path} is incomplete or no PyTorch file ({type(error).__name__}); download or copy it again, or name a "
            ".pt or .safetensors file or a folder of images")
