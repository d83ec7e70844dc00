"""Functions that code asks Python to call when the program ends (``atexit.register``)."""

from __future__ import annotations

import atexit
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

from fanin.model.code_names import is_library

__all__ = ["ExitCalls"]


class ExitCalls:
    """Lets no code of a model register a function for the end of the program, from `hold` to `put_back`.

    Python neither shows what is registered nor takes one registration back, so it must not come about. What libraries
    register, and modules that are imported meanwhile, is let through: it is theirs, and made once.

    Example:
        >>> calls = ExitCalls()
        >>> calls.hold()
        >>> exec("atexit.register(print)", {"atexit": atexit, "__name__": "their_model"})
        >>> calls.put_back(), calls.num_held
        (True, 1)
    """

    def __init__(self) -> None:
        self.num_held: int = 0
        self._num_let_through = 0
        self._count, self._register = atexit._ncallbacks(), atexit.register
        self._thread = threading.current_thread()
        self._holder: types.CodeType | None = None

    def hold(self) -> None:
        """Stand before ``atexit.register``; the caller is the one that runs the code of the model."""
        self._holder = sys._getframe(1).f_code
        atexit.register = self._asked

    def _asked(self, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        if threading.current_thread() is self._thread and not self._lets_through(sys._getframe(1)):
            self.num_held += 1
            return func
        before = atexit._ncallbacks()
        result = self._register(func, *args, **kwargs)
        self._num_let_through += atexit._ncallbacks() - before
        return result

    def put_back(self) -> bool:
        """As it was; False where something was registered past it (by ``from atexit import register``)."""
        atexit.register = self._register
        return bool(atexit._ncallbacks() <= self._count + self._num_let_through)

    def _lets_through(self, caller: types.FrameType) -> bool:
        return is_library(str(caller.f_globals.get("__name__", ""))) or any(
            frame.f_code.co_filename.startswith("<frozen importlib") for frame in self._callers(caller)
        )

    def _callers(self, frame: types.FrameType | None) -> Iterator[types.FrameType]:
        while frame is not None and frame.f_code is not self._holder:
            yield frame
            frame = frame.f_back
