"""The one switch of this room: our CPU operators, or PyTorch's own everywhere."""

from collections.abc import Iterator
from contextlib import contextmanager

_state = {"own": True}


def own_operators() -> bool:
    """Say whether the operators of this room are in force; they take over on a CPU alone."""
    return _state["own"]


@contextmanager
def torch_operators() -> Iterator[None]:
    """Within: PyTorch's own convolution and norm, and no change of the allocator. For comparisons of speed."""
    before, _state["own"] = _state["own"], False
    try:
        yield
    finally:
        _state["own"] = before
