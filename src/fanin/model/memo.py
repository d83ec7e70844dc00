"""Entries of a `functools.lru_cache`, read and put back exactly: what was cached before stays valid."""

from __future__ import annotations

import contextlib
import functools
import gc
import threading
import types
from collections.abc import Callable
from typing import Any

__all__ = ["LRU_CACHE", "keep_lru_cache", "lru_entries", "lru_table", "set_lru_entries"]

LRU_CACHE = type(functools.lru_cache(lambda: None))
_MOST_CALLS = 100_000  # of the cached function, without running it, to make the counts of hits and misses as they were
Entry = tuple[Any, Any]


def keep_lru_cache(cache: Any) -> Callable[[], bool] | None:
    """What puts the entries of a cached function back as they are; it says whether it could."""
    saved, info = lru_entries(cache), cache.cache_info()
    if saved is None:
        return lambda: bool(cache.cache_info().currsize == info.currsize)

    def put_back() -> bool:
        now = lru_entries(cache)
        if now is not None and _same(now, saved):
            return True
        return set_lru_entries(cache, saved, hits=info.hits, misses=info.misses)

    return put_back


def _same(one: list[Entry], two: list[Entry]) -> bool:
    return len(one) == len(two) and {(id(k), id(v)) for k, v in one} == {(id(k), id(v)) for k, v in two}


def lru_entries(cache: Any) -> list[Entry] | None:
    """(key, value) of every entry, the least recently used first; None where the interpreter does not show them.

    Example:
        >>> import functools
        >>> square = functools.lru_cache(lambda n: n * n)
        >>> square(3) + square(4)
        25
        >>> lru_entries(square)
        [(3, 9), (4, 16)]
    """
    table = lru_table(cache)
    if table is None:
        return None
    if cache.cache_parameters()["maxsize"] is None:
        return list(table.items())
    links = _links(gc.get_referents(cache), type(cache), len(table))
    return links if {id(k) for k, _ in links} == set(map(id, table)) else None


def _links(found: list[Any], kind: type, count: int) -> list[Entry]:
    """Key and value of each link, of which a cache tells the garbage collector first, with the type of the link."""
    found = found[1:] if found[:1] == [kind] else found
    step = 3 if getattr(found[2], "__name__", "") == "_lru_list_elem" else 2
    return [(found[i * step], found[i * step + 1]) for i in range(count)]


def lru_table(cache: Any) -> dict[Any, Any] | None:
    """The dictionary inside a cache; of the dictionaries that it refers to, cached ones come before it.

    Where the cache has a bound its values are links of a list in C: written from outside, they end the process.
    """
    found = [r for r in gc.get_referents(cache) if type(r) is dict and r is not cache.__dict__]
    return found[-1] if found and len(found[-1]) == cache.cache_info().currsize else None


def set_lru_entries(cache: Any, entries: list[Entry], *, hits: int, misses: int) -> bool:
    """Make these the entries of a cached function; False where its Python does not allow that.

    Without entries the cache is cleared. A cache without bound is a dictionary and is written. One with a bound is
    cleared and asked for each key again, while its function gives the value that is to be cached instead of running.
    """
    table = lru_table(cache)
    if not entries:
        cache.cache_clear()
        return True
    if cache.cache_parameters()["maxsize"] is None and table is not None:
        table.clear()
        table.update(entries)
        return True
    function = getattr(cache, "__wrapped__", None)
    if not isinstance(function, types.FunctionType):
        return _drop_new(table, entries)
    cache.cache_clear()
    return _refill(cache, function, entries, hits, misses)


def _drop_new(table: dict[Any, Any] | None, entries: list[Entry]) -> bool:
    """Take keys that are not among these out of the cache; it drops their values when it next makes room."""
    if table is None:
        return False
    known = {id(k) for k, _ in entries}
    for key in [k for k in table if id(k) not in known]:
        del table[key]
    return len(table) == len(entries)


def _refill(cache: Any, function: types.FunctionType, entries: list[Entry], hits: int, misses: int) -> bool:
    calls = [_arguments(cache, key) for key, _ in entries]
    values = iter([value for _, value in entries])
    code, defaults = function.__code__, function.__kwdefaults__
    real = types.FunctionType(code, function.__globals__, None, function.__defaults__, function.__closure__)
    real.__kwdefaults__ = defaults
    here = threading.get_ident()

    def answer(*args: Any, **kwargs: Any) -> Any:
        return next(values) if threading.get_ident() == here else real(*args, **kwargs)

    function.__kwdefaults__ = {"answer_": answer}
    function.__code__ = _asking(len(code.co_freevars))
    try:
        for args, kwargs in calls:
            cache(*args, **kwargs)
        if hits + misses <= _MOST_CALLS:
            _count(cache, calls[-1], hits, misses - len(entries))
    finally:
        function.__code__, function.__kwdefaults__ = code, defaults
    now = lru_entries(cache)
    return now is not None and [id(v) for _, v in now] == [id(v) for _, v in entries]


def _arguments(cache: Any, key: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The call that has this key: the one positional argument itself, or a tuple that `lru_cache` made of a call."""
    if not isinstance(key, tuple):
        return (key,), {}
    mark = next((r for r in gc.get_referents(cache) if type(r) is object), None)
    at = next((i for i, part in enumerate(key) if part is mark), None) if mark is not None else None
    typed = cache.cache_parameters()["typed"]
    if at is None:
        return key[: len(key) // 2] if typed else key, {}
    rest = key[at + 1 :]
    pairs = rest[: len(rest) - at - (len(rest) - at) // 3] if typed else rest
    return key[:at], dict(zip(pairs[::2], pairs[1::2], strict=True))


def _count(cache: Any, last: tuple[tuple[Any, ...], dict[str, Any]], hits: int, misses: int) -> None:
    """Bring the counts up: `answer` has no values left, so a new key is a miss that caches nothing."""
    for _ in range(misses):
        with contextlib.suppress(StopIteration):
            cache(object())
    for _ in range(hits):
        cache(*last[0], **last[1])


@functools.cache
def _asking(free: int) -> types.CodeType:
    """Code that hands its arguments to its keyword default `answer_`, with so many free variables."""
    names = "".join(f"v{i}, " for i in range(free))
    lines = ["def outer():", f"    {names or '_, '}= [None] * {max(free, 1)}", "    def ask(*args, answer_, **kwargs):"]
    lines += ["        return answer_(*args, **kwargs)", f"        {names or 'None'}", "    return ask"]
    space: dict[str, Any] = {}
    exec("\n".join(lines), space)
    code: types.CodeType = space["outer"]().__code__
    return code
