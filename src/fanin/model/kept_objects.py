"""Python objects as they are now, each with the function that makes it so again.

A keeper takes an object and gives a function that puts it back and says whether it could; None where there is nothing
to keep. Contents are compared by identity, and only what differs is written.
"""

from __future__ import annotations

import array
import collections
import ctypes
import gc
import io
import itertools
import queue
import sys
import threading
import types
import warnings
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import partial
from operator import is_
from typing import Any

import torch

from fanin.model.code_names import is_library
from fanin.model.memo import keep_lru_cache
from fanin.model.reachable import LRU_CACHE, own_attributes
from fanin.model.trees import tensors_in

__all__ = ["Keeper", "PutBack", "object_keepers"]

PutBack = Callable[[], bool]
Keeper = Callable[[Any], PutBack | None]
_MISSING = object()
_MOST_BYTES = 1 << 30  # of one piece of memory that is copied
_OF_THE_CLASS = frozenset({"__dict__", "__weakref__", "__abstractmethods__", "_abc_impl", "__annotations__", "__doc__"})


def object_keepers(thing: Any) -> tuple[Keeper, ...]:
    """The keepers for all objects of the class of this one: of contents, slots, position, attributes' dictionary."""
    kind = type(thing)
    known = next((keeper for kinds, keeper in _TABLE if issubclass(kind, kinds)), None)
    if known is None and _has_memory(thing):
        known = _keep_memory
    found: list[Keeper] = [] if known is None else [known]
    holds_state = issubclass(kind, torch.nn.Module) or not is_library(str(kind.__module__))
    if holds_state and not issubclass(kind, (type, types.FunctionType, types.ModuleType)):
        found.append(_attributes)
        if slots := _slots_of(kind):
            found.append(partial(_keep_slots, slots))
    return tuple(found)


# ---------------------------------------------------------------------- containers
def _keep_dict(live: dict[Any, Any]) -> PutBack | None:
    kind: Any = OrderedDict if isinstance(live, OrderedDict) else dict
    if "__builtins__" in live and "__name__" in live:
        return None  # a module's namespace: see keep_namespace
    saved = dict(kind.items(live))

    def put_back() -> bool:
        if _same(kind, live, saved):
            return True
        if len(live) == len(saved) and all(map(is_, kind.keys(live), saved)):  # other values alone
            moved = [(k, v) for (k, v), now in zip(saved.items(), kind.values(live), strict=True) if v is not now]
            if all(_alive(v) for _, v in moved):
                kind.update(live, moved)
                return True
        kind.clear(live)
        kind.update(live, {k: v for k, v in saved.items() if _alive(k) and _alive(v)})
        return True

    return put_back


def _same(kind: Any, live: dict[Any, Any], saved: dict[Any, Any]) -> bool:
    if len(live) != len(saved) or not saved:
        return len(live) == len(saved)
    return all(map(is_, kind.values(live), saved.values())) and all(map(is_, kind.keys(live), saved))


def _alive(thing: Any) -> bool:
    return not (isinstance(thing, weakref.ref) and thing() is None)


def _keep_list(live: list[Any]) -> PutBack:
    saved = list.copy(live)

    def put_back() -> bool:
        if len(live) != len(saved) or not all(map(is_, list.__iter__(live), saved)):
            list.__setitem__(live, slice(None), saved)
        return True

    return put_back


def _keep_deque(live: deque[Any]) -> PutBack:
    saved = list(deque.__iter__(live))

    def put_back() -> bool:
        if len(live) != len(saved) or not all(map(is_, deque.__iter__(live), saved)):
            deque.clear(live)
            deque.extend(live, saved)
        return True

    return put_back


def _keep_set(live: set[Any]) -> PutBack:
    saved = list(set.__iter__(live))

    def put_back() -> bool:
        if len(live) != len(saved) or set(map(id, set.__iter__(live))) != set(map(id, saved)):
            set.clear(live)
            set.update(live, [x for x in saved if _alive(x)])
        return True

    return put_back


def _keep_bytes(live: Any) -> PutBack:
    saved = live[:]

    def put_back() -> bool:
        if len(live) != len(saved):
            live[:] = saved  # refused while other code looks at the same memory
        return _keep_memory_of(live, bytes(saved))()

    return put_back


def _has_memory(thing: Any) -> bool:
    """Whether objects of this class let others read memory; a class does so for all of its objects, or for none."""
    try:
        memoryview(thing).release()
    except TypeError:
        return False
    except (ValueError, BufferError):  # not now
        return True
    return True


def _keep_memory(live: Any) -> PutBack | None:
    """Memory that an object lets others write: an `mmap`, a `ctypes` array, a `memoryview`."""
    try:
        with memoryview(live) as view:
            known = not view.readonly and view.c_contiguous and view.nbytes <= _MOST_BYTES
            return _keep_memory_of(live, bytes(view)) if known else None
    except (TypeError, ValueError, BufferError):  # no memory of that kind
        return None


def _keep_memory_of(live: Any, saved: bytes) -> PutBack:
    def put_back() -> bool:
        with memoryview(live) as view:
            if bytes(view) != saved and view.nbytes:
                view.cast("B")[:] = saved
        return True

    return put_back


def _keep_simple_queue(live: Any) -> PutBack:
    saved = _queued(live)

    def put_back() -> bool:
        now = _queued(live)
        if now is None or saved is None:
            return now is saved
        if len(now) != len(saved) or not all(map(is_, now, saved)):
            for _ in now:
                live.get_nowait()
            for item in saved:
                live.put(item)
        return True

    return put_back


def _queued(live: Any) -> list[Any] | None:
    """What waits in a `queue.SimpleQueue`, without taking it out; None where Python does not show it."""
    found, count = [r for r in gc.get_referents(live) if r is not type(live)], live.qsize()
    if len(found) == 1 and type(found[0]) is list:
        found = found[0][len(found[0]) - count :]
    return found if len(found) == count else None


def _keep_lock(live: Any) -> PutBack:
    held = live.locked()

    def put_back() -> bool:
        if live.locked() and not held:
            live.release()
        return bool(live.locked() == held or live.acquire(blocking=False))

    return put_back


def _keep_buffer(live: Any) -> PutBack | None:
    if live.closed:
        return None
    saved, place = live.getvalue(), live.tell()

    def put_back() -> bool:
        if live.closed:
            return False
        if live.getvalue() != saved:
            live.seek(0)
            live.truncate()
            live.write(saved)
        live.seek(place)
        return True

    return put_back


# ---------------------------------------------------------------------- attributes
def _attributes(thing: Any) -> PutBack | None:
    """The class and the dictionary itself: code may bind others in their place."""
    kind, own = type(thing), own_attributes(thing)
    if own is None:
        return None

    def put_back() -> bool:
        if type(thing) is not kind:
            object.__setattr__(thing, "__class__", kind)
        if own_attributes(thing) is not own:
            object.__setattr__(thing, "__dict__", own)
        return True

    return put_back


def _slots_of(kind: type) -> list[Any]:
    return [
        member
        for cls in kind.__mro__
        if "__slots__" in vars(cls)
        for member in vars(cls).values()
        if type(member) is types.MemberDescriptorType
    ]


def _keep_slots(slots: list[Any], thing: Any) -> PutBack:
    saved = [_slot(member, thing) for member in slots]

    def put_back() -> bool:
        for member, value in zip(slots, saved, strict=True):
            if _slot(member, thing) is not value:
                member.__delete__(thing) if value is _MISSING else member.__set__(thing, value)
        return True

    return put_back


def _slot(member: Any, thing: Any) -> Any:
    try:
        return member.__get__(thing)
    except AttributeError:
        return _MISSING


def _keep_cell(cell: Any) -> PutBack:
    saved = _content(cell)

    def put_back() -> bool:
        if _content(cell) is not saved:
            if saved is _MISSING:
                del cell.cell_contents
            else:
                cell.cell_contents = saved
        return True

    return put_back


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _MISSING


def _keep_function(function: Any) -> PutBack | None:
    if is_library(str(function.__globals__.get("__name__", ""))):
        return None
    names = ("__defaults__", "__kwdefaults__", "__code__")
    saved = [getattr(function, n) for n in names]

    def put_back() -> bool:
        for name, value in zip(names, saved, strict=True):
            if getattr(function, name) is not value:
                setattr(function, name, value)
        return True

    return put_back


def _keep_class(cls: type) -> PutBack | None:
    if is_library(str(cls.__module__)):
        return None
    saved = dict(vars(cls))

    def put_back() -> bool:
        now = dict(vars(cls))
        for name in {**saved, **now}:
            value = saved.get(name, _MISSING)
            if name in _OF_THE_CLASS or now.get(name, _MISSING) is value:
                continue
            type.__delattr__(cls, name) if value is _MISSING else type.__setattr__(cls, name, value)
        return True

    return put_back


# ---------------------------------------------------------------------- iterators
def _keep_running(generator: Any) -> PutBack | None:
    """A Python generator that waits at a ``yield``: its variables, and whether it waits at the same one.

    One that waits elsewhere cannot be sent back. It keeps the variables that it has there, but for those that hold a
    tensor without numbers.
    """
    frame = generator.gi_frame
    if frame is None or frame.f_code.co_filename.startswith("<frozen"):
        return None
    saved, place = dict(frame.f_locals), frame.f_lasti

    def put_back() -> bool:
        now = generator.gi_frame
        if now is None:
            return False
        here = dict(now.f_locals)
        if now.f_lasti != place:
            if any(map(_without_numbers, here.values())):
                _set_variables(now, {n: v for n, v in here.items() if not _without_numbers(v)})
            return False
        if not _same(dict, here, saved):
            _set_variables(now, saved)
        return _same(dict, dict(now.f_locals), saved)

    return put_back


def _without_numbers(value: Any) -> bool:
    return any(type(t).__name__ == "FakeTensor" for t in tensors_in(value, 4))


def _set_variables(frame: types.FrameType, values: dict[str, Any]) -> None:
    """Make these the variables of a frame that waits, and others None; Python 3.11 writes them through a copy."""
    shown = frame.f_locals
    shown.update({**dict.fromkeys(shown), **values})
    if sys.version_info < (3, 13):
        ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))


def _keep_iterator(iterator: Any) -> PutBack | None:
    """The position of an iterator; only some kinds of iterator can be set back."""
    saved = _position(iterator)

    def put_back() -> bool:
        now = _position(iterator)
        if (
            now is None
            or saved is None
            or (len(now) == len(saved) and all(a is b or a == b for a, b in zip(now, saved, strict=True)))
        ):
            return True
        return _set_position(iterator, now, saved)

    return None if saved is None else put_back


def _position(iterator: Any) -> list[Any] | None:
    if isinstance(iterator, itertools.count):
        return [repr(iterator)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            _, arguments, *state = iterator.__reduce__()
    except Exception:
        return None
    return [*(id(a) for a in arguments), *(repr(s) for s in state), *state]


def _set_position(iterator: Any, now: list[Any], saved: list[Any]) -> bool:
    if len(now) != len(saved) or not hasattr(iterator, "__setstate__") or not isinstance(saved[-1], int):
        return False
    iterator.__setstate__(saved[-1])
    return True


_TABLE: tuple[tuple[Any, Keeper], ...] = (
    (dict, _keep_dict),
    (list, _keep_list),
    (types.FunctionType, _keep_function),
    (types.CellType, _keep_cell),
    (type, _keep_class),
    (set, _keep_set),
    (deque, _keep_deque),
    (LRU_CACHE, keep_lru_cache),
    ((bytearray, array.array), _keep_bytes),
    (queue.SimpleQueue, _keep_simple_queue),
    (type(threading.Lock()), _keep_lock),
    ((io.StringIO, io.BytesIO), _keep_buffer),
    (types.GeneratorType, _keep_running),
    (itertools.count, _keep_iterator),
    (
        collections.abc.Iterator,
        lambda i: _keep_iterator(i) if type(i).__module__ in ("builtins", "itertools") else None,
    ),
)
