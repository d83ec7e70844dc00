"""Run something and then put things back, whichever signal (Ctrl-C, an alarm) arrives when."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["run_then"]

T = TypeVar("T")
_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGALRM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGBREAK")
    if hasattr(signal, name)
)


def run_then(work: Callable[[], T], put_back: Callable[[], None]) -> T:
    """What `work` gives; `put_back` has run to its end before this returns or raises.

    A signal that arrives during `work` is handled at once, as ever. One that arrives later waits until everything is
    back, so Ctrl-C cannot leave it half done.
    """
    gate = _Gate()
    try:
        gate.install()
        try:
            try:
                gate.is_open = True
                return work()
            finally:
                gate.is_open = False
        finally:
            put_back()
    finally:
        gate.remove()


class _Gate:
    """Stands before Python's signal handlers: open, they are called; closed, signals wait for `remove`.

    The first handler that raises closes it. So at most one exception of a handler enters the guarded code, and the
    code that runs because of it is not interrupted.
    """

    def __init__(self) -> None:
        self.is_open = False
        self._removed = False
        self._waiting: dict[int, None] = {}
        self._before: dict[int, Callable[[int, Any], Any]] = {}
        self._all: dict[int, Any] = {}  # handlers of every signal, to put back what the work sets

    def install(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # signals interrupt the main thread only
        self._all = {n: h for n in signal.valid_signals() if (h := signal.getsignal(n)) is not None}
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):
                self._before[number] = handler
                signal.signal(number, self._arrived)

    def _arrived(self, number: int, frame: Any) -> None:
        if self._removed:
            self._before[number](number, frame)
        elif self.is_open:
            self.is_open = False
            self._before[number](number, frame)
            self.is_open = True  # the handler only took note of it
            self._all = {}  # handlers that it set are to stay
        else:
            self._waiting[number] = None

    def remove(self) -> None:
        """Put every handler back as it was, and let the signals through that waited."""
        self._removed = True
        for number, handler in {**self._before, **self._all}.items():
            with contextlib.suppress(ValueError, OSError):
                now = signal.getsignal(number)
                if now == self._arrived or (number in self._all and now is not handler):
                    signal.signal(number, handler)
        for number in self._waiting:
            self._before[number](number, sys._getframe())
