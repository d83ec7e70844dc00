"""Globals of modules and attributes of what libraries define, as they are now, each with what puts it back.

A namespace belongs to many. Of the user's modules the names that reached code uses are put back, of libraries the
names that it sets. Where code computes the names that it sets, all names are compared. What became known meanwhile
(an import in a function's body) stays.
"""

from __future__ import annotations

import array
import sys
import types
from collections import deque
from collections.abc import Callable, Iterator
from operator import is_
from typing import Any

import torch
from torch.backends import PropModule
from torch.utils._config_module import ConfigModule

from fanin.model.code_names import is_library
from fanin.model.kept_objects import PutBack
from fanin.model.reachable import Reachable, own_attributes

__all__ = ["keep_library", "keep_namespaces", "may_be_of_library"]

_MISSING = object()
_DATA = (torch.Tensor, dict, list, set, deque, array.array, bytearray)


def keep_namespaces(reachable: Reachable) -> Iterator[tuple[Any, PutBack]]:
    """Each module of the user's with what puts its globals back."""
    for space, names in reachable.namespaces.values():
        used = names | (reachable.used & space.keys())
        yield space, _keeper(space, used, every=reachable.stores_any_name, leaves=_imported_meanwhile)


def keep_library(thing: Any, reachable: Reachable) -> PutBack | None:
    """What puts the attributes back that code may have set on a module, a class or an object of a library.

    None for all other things, whose attributes are kept in full.
    """
    if isinstance(thing, (PropModule, ConfigModule)):
        return _keep_switches(thing, reachable.stored)
    space = _attributes_of_library(thing)
    if space is None:
        return None
    write = _write_class(thing) if isinstance(thing, type) else None
    every = reachable.stores_any_name
    return _keeper(space, reachable.stored, every=every, leaves=_of_the_library(reachable.stored), write=write)


def may_be_of_library(kind: type) -> bool:
    """Whether `keep_library` is for objects of this class."""
    whole = issubclass(kind, (torch.nn.Module, types.FunctionType))  # their dictionaries are kept in full
    an_object = bool(kind.__dictoffset__) and is_library(str(kind.__module__)) and not whole
    return an_object or issubclass(kind, (types.ModuleType, type))


def _attributes_of_library(thing: Any) -> Any:
    """A dictionary, or a class's view of it; None where the thing is no library's or has none."""
    kind = type(thing)
    if issubclass(kind, types.ModuleType):
        return vars(thing) if is_library(str(vars(thing).get("__name__"))) else None
    if issubclass(kind, type):
        return vars(thing) if is_library(str(thing.__module__)) else None
    return own_attributes(thing) if may_be_of_library(kind) else None


Leaves = Callable[[str, Any, Any], bool]  # name, before, now -> whether the change stays
Write = Callable[[str, Any], None]


def _keeper(space: Any, names: set[str], *, every: bool, leaves: Leaves, write: Write | None = None) -> PutBack:
    saved = dict(space)  # all of it: copied and compared as a whole, it takes less time than name by name
    write = write or _write_dict(space)

    def put_back() -> bool:
        if len(space) == len(saved) and all(map(is_, space.values(), saved.values())) and space.keys() == saved.keys():
            return True
        for name in dict.fromkeys((*saved, *space)):
            before, now = saved.get(name, _MISSING), space.get(name, _MISSING)
            if now is not before and (every or name in names) and not leaves(name, before, now):
                write(name, before)
        return True

    return put_back


def _write_dict(space: dict[str, Any]) -> Write:
    def write(name: str, value: Any) -> None:
        if value is _MISSING:
            del space[name]
        else:
            space[name] = value

    return write


def _write_class(cls: type) -> Write:
    def write(name: str, value: Any) -> None:
        type.__delattr__(cls, name) if value is _MISSING else type.__setattr__(cls, name, value)

    return write


def _keep_switches(module: Any, names: set[str]) -> PutBack:
    """Settings that a module of torch keeps behind its attributes: ``torch.backends.cudnn.benchmark``."""
    saved = {n: getattr(module, n) for n in names if not n.startswith("_") and hasattr(module, n)}

    def put_back() -> bool:
        for name, value in saved.items():
            if getattr(module, name) is not value:
                setattr(module, name, value)
        return True

    return put_back


# ---------------------------------------------------------------------- what stays
def _imported_meanwhile(name: str, before: Any, now: Any) -> bool:
    return before is _MISSING and _is_definition(now)


def _of_the_library(set_by_code: set[str]) -> Leaves:
    """Changes that a library makes in itself: what it imports, what it makes when it is first needed."""

    def leaves(name: str, before: Any, now: Any) -> bool:
        if _imported_meanwhile(name, before, now):
            return True
        if name in set_by_code:
            return name.startswith("_") and (before is None or before is False)
        return before is not _MISSING and not (_is_data(before) or _is_data(now))

    return leaves


def _is_data(thing: Any) -> bool:
    arrays = sys.modules.get("numpy")
    return isinstance(thing, _DATA) or (arrays is not None and isinstance(thing, arrays.ndarray))


def _is_definition(thing: Any) -> bool:
    """Whether a thing was defined at the top of a module, and so imported; a function made in a forward was not."""
    defined = isinstance(thing, (type, types.FunctionType)) and "<locals>" not in thing.__qualname__
    return isinstance(thing, types.ModuleType) or defined
