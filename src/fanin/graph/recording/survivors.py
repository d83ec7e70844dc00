"""Tensors without numbers that outlive a capture: who holds them, and taking them out there.

Nothing should survive: constants are real, and what the forward can reach is put back. What a walk cannot see (memory
of an extension, a cache behind C code) may still hold one, and would give it to the model later.
"""

from __future__ import annotations

import contextlib
import gc
import traceback
import types
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from fanin.model.memo import lru_entries, set_lru_entries
from fanin.model.reachable import LRU_CACHE, own_attributes
from fanin.model.trees import tensors_in
from fanin.model.untouched import not_put_back

__all__ = ["forget_variables", "named_survivors", "take_out_survivors"]

_LEVELS = 4  # of tuples and other fixed things between a tensor and something that can be changed


def take_out_survivors(born: list[weakref.ref[Any]]) -> tuple[str, ...]:
    """Take every tensor that is still alive out of what holds it; gives a sentence for each holder.

    Args:
        born: tensors of a capture whose recorder is gone.
    """
    return _sentences(born, _taken_out)


def named_survivors(born: list[weakref.ref[Any]]) -> tuple[str, ...]:
    """A sentence for each holder of a tensor with numbers that is still alive; it stays there.

    Not taken out: the model may have had another one in its place, and works with this one.
    """
    return _sentences(born, _held)


def _sentences(
    born: list[weakref.ref[Any]], of_holders: Callable[[Any, int, set[int]], Iterator[str]]
) -> tuple[str, ...]:
    if all(reference() is None for reference in born):
        return ()
    gc.collect()  # an exception, or a module that refers to itself, keeps some until now
    found: dict[str, None] = {}
    for reference in born:
        tensor = reference()
        if tensor is not None:
            found |= dict.fromkeys(of_holders(tensor, _LEVELS, set()))
    return tuple(found)


def forget_variables(error: BaseException | None) -> None:
    """Empty the frames of an exception and of those before it: their variables hold tensors of a capture.

    A frame keeps its function, and that its closure, so cells that hold such tensors are emptied, too.
    """
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        error = waiting.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        for frame, _ in traceback.walk_tb(error.__traceback__):
            _empty_cells(frame)
        waiting += [error.__cause__, error.__context__]


def _empty_cells(frame: types.FrameType) -> None:
    functions = [f for f in gc.get_referents(frame) if isinstance(f, types.FunctionType)]
    for cell in (c for f in functions for c in f.__closure__ or ()):
        with contextlib.suppress(ValueError):  # empty
            if any(isinstance(t, FakeTensor) for t in tensors_in(cell.cell_contents, 4)):
                del cell.cell_contents


def _taken_out(thing: Any, levels: int, seen: set[int]) -> Iterator[str]:
    """Remove a thing from its holders; holders that cannot change are removed from theirs."""
    seen.add(id(thing))
    for holder in gc.get_referrers(thing):
        if id(holder) in seen or _is_ours(holder):
            continue
        remove = next((r for kinds, r in _REMOVERS if isinstance(holder, kinds)), None)
        if remove is not None:
            if remove(holder, thing):
                yield f"this forward keeps results in {_named(holder)}; fanin took out what its own pass had left there"
        elif own_attributes(holder) is not None and _remove_from_dict(own_attributes(holder) or {}, thing):
            yield f"this forward keeps results in {_named(holder)}; fanin took out what its own pass had left there"
        elif levels:
            yield from _taken_out(holder, levels - 1, seen)


def _held(thing: Any, levels: int, seen: set[int]) -> Iterator[str]:
    """Name what holds a thing; holders without a name by what holds them."""
    seen.add(id(thing))
    for holder in gc.get_referrers(thing):
        if id(holder) in seen or _is_ours(holder):
            continue
        known = any(isinstance(holder, kinds) for kinds, _ in _REMOVERS) or own_attributes(holder) is not None
        if known and not isinstance(holder, torch.Tensor):
            yield not_put_back(_named(holder))
        elif levels:
            yield from _held(holder, levels - 1, seen)


def _is_ours(holder: Any) -> bool:
    """Frames and the lists of this search refer to the thing, too."""
    return isinstance(holder, (types.FrameType, types.GeneratorType)) or type(holder).__name__ == "list_iterator"


def _remove_from_dict(holder: dict[Any, Any], thing: Any) -> bool:
    keys = [k for k, v in list(holder.items()) if v is thing or k is thing]
    for key in keys:
        del holder[key]
    return bool(keys)


def _remove_from_list(holder: list[Any], thing: Any) -> bool:
    if not any(x is thing for x in holder):
        return False
    holder[:] = [x for x in holder if x is not thing]
    return True


def _remove_from_deque(holder: deque[Any], thing: Any) -> bool:
    kept = [x for x in holder if x is not thing]
    holder.clear()
    holder.extend(kept)
    return True


def _remove_from_set(holder: set[Any], thing: Any) -> bool:
    holder.discard(thing)
    return True


def _remove_from_cell(holder: Any, thing: Any) -> bool:
    holder.cell_contents = None  # as caches in closures start
    return True


def _remove_from_lru_cache(holder: Any, thing: Any) -> bool:
    entries = [(k, v) for k, v in lru_entries(holder) or [] if v is not thing and k is not thing]
    info = holder.cache_info()
    return set_lru_entries(holder, entries, hits=info.hits, misses=info.misses)


_REMOVERS: tuple[tuple[Any, Callable[[Any, Any], bool]], ...] = (
    (dict, _remove_from_dict),
    (list, _remove_from_list),
    (deque, _remove_from_deque),
    (set, _remove_from_set),
    (types.CellType, _remove_from_cell),
    (LRU_CACHE, _remove_from_lru_cache),
)


def _named(holder: Any) -> str:
    """A holder in words: its own name, or that of the module, class or object whose it is."""
    name = getattr(holder, "__qualname__", None)
    if isinstance(name, str):
        return f"{getattr(holder, '__module__', '')}.{name}".strip(".")
    if isinstance(holder, dict) and isinstance(holder.get("__name__"), str):
        return str(holder["__name__"])
    for owner in gc.get_referrers(holder):
        if isinstance(owner, dict) and isinstance(owner.get("__name__"), str):
            key = next((k for k, v in owner.items() if v is holder), "")
            return f"{owner['__name__']}.{key}"
        own = own_attributes(owner)
        if own is holder:
            return f"an object of class {type(owner).__name__}"
        attribute = next((k for k, v in (own or {}).items() if v is holder), "")
        if attribute:
            return f"{attribute} of an object of class {type(owner).__name__}"
    return f"a {type(holder).__name__}"
