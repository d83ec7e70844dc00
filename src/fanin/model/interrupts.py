"""Run something and then put things back, whichever signal (Ctrl-C, an alarm) arrives when."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["run_then"]

T = TypeVar("T")
# under `signal`, which makes an enum of each answer in three times the time
_handler_of: Callable[[int], Any] = getattr(sys.modules.get("_signal"), "getsignal", signal.getsignal)
_EVERY = tuple(map(int, signal.valid_signals()))
_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGALRM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGBREAK")
    if hasattr(signal, name)
)


def run_then(work: Callable[[], T], put_back: Callable[[], None]) -> T:
    """What `work` gives; `put_back` has run to its end before this returns or raises.

    A signal that arrives during `work` is handled at once, as ever. One that arrives later waits until everything is
    back, so Ctrl-C cannot leave it half done. Python drops an exception that arises in a destructor or in the callback
    of a weak reference. Where that one is Ctrl-C, `work` runs to its end, and Ctrl-C is raised when everything is back.

    Raises:
        BaseException: what `work` raises, or what the handler of a signal raises.
    """
    gate, is_back = _Gate(), False
    try:
        gate.install()
        try:
            try:
                return gate.run(work)
            finally:
                put_back()
                is_back = True
        except BaseException:
            if not is_back:
                put_back()  # it raised on its way (memory ran out): what it had done is done again, and the rest
            raise
    finally:
        gate.remove()


class _Gate:
    """Stands before Python's signal handlers: open, they are called; closed, signals wait for `remove`.

    A handler that raises closes it. So one exception of a handler enters the guarded code, and the code that runs
    because of it is not interrupted. Where Python drops that exception, the gate opens again.
    """

    def __init__(self) -> None:
        self._is_open = self._works = self._removed = False
        self._raised: list[BaseException] = []  # what handlers raised into the work
        self._dropped: list[BaseException] = []  # those of them that Python dropped
        self._waiting: dict[int, None] = {}
        self._before: dict[int, Callable[[int, Any], Any]] = {}
        self._all: dict[int, Any] = {}  # handlers of every signal, to put back what the work sets
        self._hook: Callable[[Any], Any] | None = None

    def install(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # signals interrupt the main thread only
        self._all = {n: h for n in _EVERY if (h := _handler_of(n)) is not None}
        for number in _SIGNALS:
            handler = _handler_of(number)
            if callable(handler):
                self._before[number] = handler
                signal.signal(number, self._arrived)
        self._hook = sys.unraisablehook
        sys.unraisablehook = self._drops

    def run(self, work: Callable[[], T]) -> T:
        """What the work gives, unless a handler raised something that got lost in it."""
        try:
            try:
                self._works = self._is_open = True
                result = work()
            finally:
                self._works = self._is_open = False
        except BaseException as error:
            self._raise_lost(error)
            raise
        self._raise_lost(None)
        return result

    def _raise_lost(self, came_out: BaseException | None) -> None:
        """Code may well catch a time limit (an Exception); Ctrl-C and SystemExit are to end everything."""
        for raised in self._raised:
            is_lost = not isinstance(raised, Exception) or any(raised is d for d in self._dropped)
            if is_lost and type(came_out) is not type(raised):
                raise raised

    def _arrived(self, number: int, frame: Any) -> None:
        if self._removed:
            self._before[number](number, frame)
        elif self._is_open:
            self._call(number, frame)
        else:
            self._waiting[number] = None

    def _call(self, number: int, frame: Any) -> None:
        self._is_open = False
        try:
            self._before[number](number, frame)
        except BaseException as error:
            self._raised.append(error)
            raise
        self._is_open = True  # the handler only took note of it
        self._all = {}  # handlers that it set are to stay

    def _drops(self, unraisable: Any) -> None:
        """Python calls this with an exception that it is about to drop."""
        if any(unraisable.exc_value is r for r in self._raised):
            self._dropped.append(unraisable.exc_value)
            self._is_open = self._works
        elif self._hook is not None:
            self._hook(unraisable)

    def remove(self) -> None:
        """Put every handler back as it was, and let the signals through that waited."""
        try:
            self._restore()
        except BaseException:  # by a handler that was back already
            self._restore()
            raise
        finally:
            self._removed = True
            self._raised.clear()  # their tracebacks hold this gate, and all that the work made
            self._dropped.clear()
            self._let_through([*self._waiting])

    def _restore(self) -> None:
        if self._hook is not None:
            sys.unraisablehook = self._hook
        for number, handler in {**self._before, **self._all}.items():
            try:
                now = _handler_of(number)
                if now == self._arrived or (number in self._all and now is not handler):
                    signal.signal(number, handler)
            except (ValueError, OSError):
                continue

    def _let_through(self, numbers: list[int]) -> None:
        if numbers:
            try:
                self._before[numbers[0]](numbers[0], sys._getframe())
            finally:
                self._let_through(numbers[1:])
