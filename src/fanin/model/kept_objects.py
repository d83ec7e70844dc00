"""Python objects as they are now, each with the function that makes it so again.

A keeper takes an object and gives a function that puts it back and says whether it could; None where there is nothing
to keep. Contents are compared by identity, and only what differs is written.
"""

from __future__ import annotations

import collections
import io
import itertools
import types
import warnings
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from operator import is_
from typing import Any

from fanin.model.memo import keep_lru_cache
from fanin.model.reachable import LRU_CACHE, is_library, own_attributes

__all__ = ["PutBack", "keep_namespace", "keep_object"]

PutBack = Callable[[], bool]
_MISSING = object()
_OF_THE_CLASS = frozenset({"__dict__", "__weakref__", "__abstractmethods__", "_abc_impl", "__annotations__", "__doc__"})


def keep_object(thing: Any) -> Iterator[PutBack]:
    """What puts one object back as it is: its contents, its slots, its position, its attributes' dictionary."""
    for kinds, keeper in _TABLE:
        if isinstance(thing, kinds):
            kept = keeper(thing)
            if kept is not None:
                yield kept
            break
    kind = type(thing)
    if not is_library(str(kind.__module__)) and not isinstance(thing, (type, types.FunctionType, types.ModuleType)):
        own = own_attributes(thing)
        if own is not None:
            yield _attributes(thing, own)
        if slots := _slots_of(kind):
            yield _keep_slots(thing, slots)


# ---------------------------------------------------------------------- containers
def _keep_dict(live: dict[Any, Any]) -> PutBack | None:
    kind: Any = OrderedDict if isinstance(live, OrderedDict) else dict
    if "__builtins__" in live and "__name__" in live:
        return None  # a module's namespace: see keep_namespace
    saved = dict(kind.items(live))

    def put_back() -> bool:
        if len(live) == len(saved) and (not saved or _same(kind, live, saved)):
            return True
        kind.clear(live)
        kind.update(live, {k: v for k, v in saved.items() if _alive(k) and _alive(v)})
        return True

    return put_back


def _same(kind: Any, live: dict[Any, Any], saved: dict[Any, Any]) -> bool:
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
    saved = bytes(live) if isinstance(live, bytearray) else live[:]

    def put_back() -> bool:
        if live != saved:
            live[:] = saved
        return True

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
def _attributes(thing: Any, own: dict[str, Any]) -> PutBack:
    """The dictionary itself: code may bind another in its place."""

    def put_back() -> bool:
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


def _keep_slots(thing: Any, slots: list[Any]) -> PutBack:
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


def keep_namespace(space: dict[str, Any], names: set[str]) -> PutBack:
    """The globals of a module, of which only names that occur in reachable code are put back.

    A module, class or function that became known meanwhile (an import in a function's body) stays.
    """
    saved = {name: space.get(name, _MISSING) for name in names}

    def put_back() -> bool:
        for name, value in saved.items():
            now = space.get(name, _MISSING)
            if now is value or (value is _MISSING and _is_definition(now)):
                continue
            if value is _MISSING:
                del space[name]
            else:
                space[name] = value
        return True

    return put_back


def _is_definition(thing: Any) -> bool:
    """Whether a thing was defined at the top of a module, and so imported; a function made in a forward was not."""
    defined = isinstance(thing, (type, types.FunctionType)) and "<locals>" not in thing.__qualname__
    return isinstance(thing, types.ModuleType) or defined


# ---------------------------------------------------------------------- iterators
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
    if isinstance(iterator, types.GeneratorType):
        frame = iterator.gi_frame
        return [] if frame is None else [frame.f_lasti, *map(id, frame.f_locals.values())]
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


_TABLE: tuple[tuple[Any, Callable[[Any], PutBack | None]], ...] = (
    (dict, _keep_dict),
    (list, _keep_list),
    (types.FunctionType, _keep_function),
    (types.CellType, _keep_cell),
    (type, _keep_class),
    (set, _keep_set),
    (deque, _keep_deque),
    (LRU_CACHE, keep_lru_cache),
    (bytearray, _keep_bytes),
    ((io.StringIO, io.BytesIO), _keep_buffer),
    ((types.GeneratorType, itertools.count), _keep_iterator),
    (
        collections.abc.Iterator,
        lambda i: _keep_iterator(i) if type(i).__module__ in ("builtins", "itertools") else None,
    ),
)
