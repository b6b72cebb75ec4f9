"""Freed memory on a CPU: kept for the next tensor."""

import ctypes

from condense.operators.switch import own_operators

KEPT_BLOCK_BYTES, KEPT_BYTES = 32 << 20, 256 << 20        # freed memory that a CPU run keeps for its next tensors


def keep_freed_memory() -> None:
    """Have glibc keep freed blocks for the next tensor instead of handing them back to the system.

    By default every activation of some MB comes as fresh pages, and faulting them in takes as long as the
    arithmetic on them: training steps are up to twice as slow. Other C libraries are left alone.
    """
    if not own_operators():
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    trim_threshold, mmap_threshold = -1, -3               # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    mallopt(mmap_threshold, KEPT_BLOCK_BYTES)
    mallopt(trim_threshold, KEPT_BYTES)
