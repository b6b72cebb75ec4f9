"""Dataset condensation: objectives, parameterizations and evaluation protocols that combine freely.

    from condense import evaluate_set, load_set, load_synthetic_set

Names come in when they are first used, so that `import condense` imports neither torch nor anything else.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from condense.sharing.evaluated import evaluate_set
    from condense.sharing.loading import load_set, load_synthetic_set

__version__ = "0.1.0"

__all__ = ["__version__", "evaluate_set", "load_set", "load_synthetic_set"]

# public name -> the module that it stands in
_HOMES = {
    "evaluate_set": "condense.sharing.evaluated",
    "load_set": "condense.sharing.loading",
    "load_synthetic_set": "condense.sharing.loading",
}


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__():
    return sorted({*globals(), *_HOMES})
