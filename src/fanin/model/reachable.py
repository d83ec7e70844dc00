"""Every Python object that a forward pass can reach and change: a walk from the model through its state and its code.

From an object the walk goes to its attributes, slots and elements and to its class; from a function to its closure,
its defaults and the globals that its code names; from a class or an imported module to the members whose names occur
in code that was reached. The code of torch, NumPy and the standard library is not entered: their caches hold no
tensors of a model.
"""

from __future__ import annotations

import functools
import gc
import sys
import types
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

import torch

from fanin.model.code_names import ATOMS, code_names, is_library, library_members, looked_up
from fanin.model.memo import LRU_CACHE, lru_table

__all__ = ["LRU_CACHE", "MOST_OBJECTS", "Reachable", "is_library", "own_attributes"]

MOST_OBJECTS = 400_000  # objects; a walk that meets more ends there and says so
_LONG = 20_000  # elements of a container, above which it is walked only if its first elements are no plain data

# instances of library classes that hold a user's state in their attributes
_STATEFUL = (
    *("torch.nn", "torch.optim", "torch.distributions", "torch.utils", "torch.amp", "torch.ao", "torch._dynamo"),
    *("torch.fx", "torch.export", "numpy.random"),
)
_OPAQUE = (
    "threading.Thread",
    "threading._MainThread",
    "threading._DummyThread",
    "builtins.frame",
    "builtins.traceback",
    "logging.Manager",  # of every logger of the process; those made meanwhile stay
    "os._Environ",  # put back as a setting of the process, which the system has to hear of
)
_CODE = (types.FunctionType, staticmethod, classmethod, property, functools.cached_property)
_NOT_CALLED = frozenset({"__init__", "__new__", "__init_subclass__", "__reduce__", "__getstate__", "__setstate__"})


def own_attributes(thing: Any) -> dict[str, Any] | None:
    """The dictionary of an object's attributes, asked past whatever its class makes of ``__dict__``."""
    try:
        found = object.__getattribute__(thing, "__dict__")
    except (AttributeError, TypeError):
        return None
    return found if isinstance(found, dict) else None


class Reachable:
    """The objects found, each once, with the one through which it was found.

    Attributes:
        things: everything found, in the order in which it was met.
        holders: index of the thing through which each was found, -1 for where the walk started.
        namespaces: dicts of modules of which code was reached -> the names that this code uses.
        ended_early: whether there was more than the walk looks at.
        stored: names in functions that set attributes, among them the names of these attributes.
        stores_any_name: whether code sets attributes by names that it computes.
    """

    def __init__(self, roots: Iterable[Any]) -> None:
        self.things: list[Any] = []
        self.holders: list[int] = []
        self.namespaces: dict[int, tuple[dict[str, Any], set[str]]] = {}
        self.ended_early: bool = False
        self.stored: set[str] = set()
        self.stores_any_name: bool = False
        self._index: dict[int, int] = {}
        self._readers: dict[type, Callable[[Any], Iterable[Any]]] = {}
        self._used: set[str] = set()
        self._waiting: dict[str, list[tuple[Any, int]]] = {}
        self._at = -1
        for root in roots:
            self._meet(root)
        self._walk()

    def index_of(self, thing: Any) -> int | None:
        """Where a thing is in `things`, None if the walk did not meet it."""
        return self._index.get(id(thing))

    # ------------------------------------------------------------------ the walk
    def _meet(self, thing: Any) -> None:
        if type(thing) not in ATOMS and id(thing) not in self._index:
            self._index[id(thing)] = len(self.things)
            self.things.append(thing)
            self.holders.append(self._at)

    def _walk(self) -> None:
        index, things, readers = self._index, self.things, self._readers
        at = 0
        while at < len(things):
            if at > MOST_OBJECTS:
                self.ended_early = True
                return
            thing, self._at = things[at], at
            kind = type(thing)
            for child in (readers.get(kind) or self._reader(kind))(thing):
                if type(child) not in ATOMS and id(child) not in index:
                    index[id(child)] = len(things)
                    things.append(child)
                    self.holders.append(at)
            at += 1

    def _reader(self, kind: type) -> Callable[[Any], Iterable[Any]]:
        reader = self._reader_of(kind)
        self._readers[kind] = reader
        return reader

    def _reader_of(self, kind: type) -> Callable[[Any], Iterable[Any]]:
        for kinds, reader in (
            (types.FunctionType, self._function),
            (type, self._class),
            (types.ModuleType, self._module),
            (torch.Tensor, _tensor),
            (LRU_CACHE, _cached),
            (torch.nn.Module, _instance),
            (types.GeneratorType, _generator),
            ((dict, list, tuple, set, frozenset, deque), _container),
            ((weakref.ref, weakref.ProxyType), _weak),
        ):
            if issubclass(kind, kinds):
                return reader
        if "numpy" in sys.modules and issubclass(kind, sys.modules["numpy"].ndarray):
            return _array
        name = f"{kind.__module__}.{kind.__qualname__}"
        package = str(kind.__module__).partition(".")[0]
        stateful = package in sys.stdlib_module_names or name.startswith(_STATEFUL)
        if name.startswith(_OPAQUE) or (is_library(package) and not stateful):
            return _nothing
        return _instance

    # ------------------------------------------------------------------ code
    def _function(self, function: types.FunctionType) -> Iterator[Any]:
        yield from function.__closure__ or ()
        yield from function.__defaults__ or ()
        if function.__kwdefaults__:
            yield function.__kwdefaults__
        yield function.__dict__
        space = function.__globals__
        if is_library(str(space.get("__name__", ""))):
            return
        code = code_names(function.__code__)
        names = code.names
        self.stored |= names if code.stores else set()
        self.stores_any_name |= code.stores_any_name
        _, seen = self.namespaces.setdefault(id(space), (space, set()))
        seen |= names
        found = [*(space[name] for name in names if name in space), *looked_up(space, code)]
        yield from found
        yield from library_members(found, names)
        yield from self._named(names)

    def _named(self, names: set[str]) -> Iterator[Any]:
        """Members of classes and modules met before that only now are named by code."""
        for name in names - self._used:
            self._used.add(name)
            for member, holder in self._waiting.pop(name, ()):
                if id(member) not in self._index:
                    self._index[id(member)] = len(self.things)
                    self.things.append(member)
                    self.holders.append(holder)
        return iter(())

    def _class(self, cls: type) -> Iterator[Any]:
        if is_library(str(cls.__module__)):
            return
        yield from cls.__mro__[1:]
        yield type(cls)
        skip_init = issubclass(cls, torch.nn.Module)
        for name, member in list(vars(cls).items()):
            if not isinstance(member, _CODE):
                yield member
            elif name in _NOT_CALLED and (skip_init or name != "__init__"):
                continue
            elif name in self._used or (name.startswith("__") and name.endswith("__")) or name == "forward":
                yield member
            elif type(member) not in ATOMS:
                self._waiting.setdefault(name, []).append((member, self._at))

    def _module(self, module: types.ModuleType) -> Iterator[Any]:
        name = str(getattr(module, "__name__", ""))
        if not name or is_library(name):
            return
        space = vars(module)
        self.namespaces.setdefault(id(space), (space, set()))
        for key, member in list(space.items()):
            if key in self._used:
                yield member
            elif type(member) not in ATOMS and not key.startswith("__"):
                self._waiting.setdefault(key, []).append((member, self._at))

    @property
    def used(self) -> set[str]:
        """Every name that occurs in code that was reached."""
        return self._used


# ---------------------------------------------------------------------- data
def _container(thing: Any) -> Iterable[Any]:
    if len(thing) > _LONG:
        first = list(_elements(thing, 200))
        if all(type(x) in ATOMS for x in first):
            return ()
    own = type(thing) in (dict, list, tuple, set, frozenset, deque, OrderedDict)
    return gc.get_referents(thing) if own else _instance(thing)


def _elements(thing: Any, count: int) -> Iterator[Any]:
    for position, item in enumerate(dict.values(thing) if isinstance(thing, dict) else thing):
        if position >= count:
            return
        yield item


def _generator(generator: Any) -> Iterator[Any]:
    """What a generator holds; before Python 3.11 its variables are in a frame of their own, which is not walked."""
    yield from _instance(generator)
    frame = generator.gi_frame
    if frame is not None and sys.version_info < (3, 11):
        yield from frame.f_locals.values()


def _instance(thing: Any) -> Iterable[Any]:
    own = own_attributes(thing)
    referents = gc.get_referents(thing)
    return referents if own is None else chain((own,), referents)


def _tensor(tensor: torch.Tensor) -> Iterator[Any]:
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        yield type(tensor)
    own = own_attributes(tensor)  # made by this question where there is none yet, so that new attributes are seen
    if own is not None:
        yield own
    yield from gc.get_referents(tensor)
    if tensor.is_leaf and tensor.grad is not None:
        yield tensor.grad


def _cached(cache: Any) -> Iterator[Any]:
    """Without the cache's own table: its values are links of a list in C, which only the cache itself may write."""
    table = lru_table(cache)
    yield from (found for found in gc.get_referents(cache) if found is not table)


def _array(array: Any) -> Iterator[Any]:
    own = own_attributes(array)
    if own:
        yield own
    if array.base is not None:
        yield array.base
    if array.dtype.hasobject and array.dtype.names is None and array.size <= _LONG:
        yield from array.flat
    if not type(array).__module__.startswith("numpy"):
        yield type(array)
    if hasattr(array, "_mask"):  # of a masked array
        yield array._mask


def _weak(reference: Any) -> Iterator[Any]:
    target = reference() if isinstance(reference, weakref.ref) else None
    if target is not None:
        yield target
    own = own_attributes(reference)
    if own:
        yield own


def _nothing(thing: Any) -> Iterable[Any]:
    return ()
