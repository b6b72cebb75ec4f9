"""The wish to stop a run (SIGINT, SIGTERM), taken where nothing is lost."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from condense.core.errors import Interrupted

log = logging.getLogger("condense")


class StopRequest:
    """`number` is the signal that asked to stop, or None."""

    def __init__(self) -> None:
        self.number, self._now = None, False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within: SIGINT and SIGTERM only leave their `number`; a second one stops at once (KeyboardInterrupt)."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._take) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within: a signal raises Interrupted immediately, for blocks that change nothing."""
        self._now = True
        try:
            yield
        finally:
            self._now = False

    def _take(self, number, frame):
        again, self.number = self.number is not None, number
        if again:
            raise KeyboardInterrupt
        log.info("stopping after this step; press again to stop at once")
        if self._now:
            raise Interrupted("", number)
