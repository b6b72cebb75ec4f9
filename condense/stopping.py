"""How a run ends early: the wish to stop it (SIGINT, SIGTERM), taken where nothing is lost, and other ends."""

import logging
import signal
import threading
from contextlib import contextmanager

log = logging.getLogger("condense")


class RunError(RuntimeError):
    """A failure while the run was under way; its text is one line that says what is left and what to do."""


class Finished(Exception):
    """There is nothing left to do: the result is there."""


class Interrupted(BaseException):
    """The run was asked to stop and has put everything down; `signal` is the number that asked."""

    def __init__(self, message, number):
        super().__init__(message)
        self.signal = number


class StopRequest:
    """`number` is the signal that asked to stop, or None."""

    def __init__(self):
        self.number, self._now = None, False

    @contextmanager
    def listening(self):
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
    def at_once(self):
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
        log.info("stopping after this step; once more stops at once")
        if self._now:
            raise Interrupted("", number)
