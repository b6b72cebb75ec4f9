"""Numbers in words, for people: durations and accuracies."""

import math
import statistics
from collections.abc import Iterable


def duration(seconds: float) -> str:
    """Word a duration for people: 42 s, 3 min, 5 h 10 min, 2.5 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"
    return f"{seconds / 86400:.1f} days"


def percent(fractions: Iterable[float]) -> str:
    """Word accuracies as mean and population standard deviation in percent, as the papers' code does."""
    mean = statistics.fmean(fractions)
    deviation = math.sqrt(statistics.fmean((fraction - mean) ** 2 for fraction in fractions))       # of nan: nan
    return f"{100 * mean:.2f} ± {100 * deviation:.2f} %"
