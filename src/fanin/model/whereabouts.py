"""Words for where an object is found: ``Net.cache['x'][3]``, ``rotary.table``, ``Net.forward's default``."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

from fanin.model.reachable import LRU_CACHE, Reachable, own_attributes

__all__ = ["label_in", "whereabouts"]


def whereabouts(reachable: Reachable, thing: Any) -> str:
    """Where a walk found a thing, from the nearest holder with a name of its own."""
    index = reachable.index_of(thing)
    if index is None:
        return _own_name(thing) or f"a {type(thing).__name__}"
    labels: list[str] = []
    while True:
        name = _own_name(reachable.things[index])
        parent = reachable.holders[index]
        if name or parent < 0:
            return (name or type(reachable.things[index]).__name__) + "".join(reversed(labels))
        labels.append(label_in(reachable.things[parent], reachable.things[index]))
        index = parent


def _own_name(thing: Any) -> str:
    """Names of classes, functions and modules; other things have none."""
    if isinstance(thing, types.ModuleType):
        return thing.__name__
    if isinstance(thing, (type, types.FunctionType, LRU_CACHE)):
        return f"{thing.__module__}.{thing.__qualname__}".removeprefix("__main__.")
    if isinstance(thing, dict) and "__name__" in thing and "__builtins__" in thing:
        return str(thing["__name__"])
    return ""


def label_in(holder: Any, thing: Any) -> str:
    """What a holder calls a thing: ``.k``, ``['k']``, ``[3]``; nothing for a cell or an object's own dictionary."""
    return next(_labels(holder, thing), "")


def _labels(holder: Any, thing: Any) -> Iterator[str]:
    if isinstance(holder, dict):
        plain = all(type(k) is str and k.isidentifier() for k in list(holder)[:50])
        for key, value in list(dict.items(holder)):
            if value is thing:
                yield (
                    f".{key}"
                    if plain and type(key) is str
                    else f"[{str(key)[:40]!r}]"
                    if type(key) is str
                    else f"[{str(key)[:40]}]"
                )
    elif isinstance(holder, (list, tuple)):
        yield from (f"[{i}]" for i, value in enumerate(holder) if value is thing)
    elif isinstance(holder, types.FunctionType) and isinstance(thing, types.CellType):
        yield from (
            f"'s {n}" for n, c in zip(holder.__code__.co_freevars, holder.__closure__ or (), strict=True) if c is thing
        )
    else:
        own = own_attributes(holder)
        if own is not None and own is not thing:
            yield from _labels(own, thing)
