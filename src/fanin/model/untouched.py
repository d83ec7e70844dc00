"""Run something on a model and leave the model and the process bit for bit as they were, however it ends.

What is put back: every Python object that the forward can reach (attributes, containers at any depth, caches,
closures, defaults, globals, class attributes, slots; see `reachable`), the state of generators, NumPy arrays, tensors
where `values` asks for it, and the settings and generators of the process. Context variables change in a copy of the
context only.

The order of things: walk to everything that can be reached and keep each thing as it is (`_State`); run the work;
close the gate to signals (`interrupts`); put back torch's modes, so that no tensor that is touched next is recorded;
then every thing, in the order of the walk, and once more those that depend on a later one; the settings and generators
of the process last, because putting things back may use them. Only then do waiting signals get through.
"""

from __future__ import annotations

import contextvars
import gc
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import torch

from fanin.errors import FaninWarning
from fanin.memory import uncollected
from fanin.model.code_names import ATOMS, is_library
from fanin.model.exit_calls import ExitCalls
from fanin.model.interrupts import run_then
from fanin.model.kept_bare import BARE, keep_bare
from fanin.model.kept_namespaces import keep_library, keep_namespaces, may_be_of_library
from fanin.model.kept_objects import Keeper, PutBack, object_keepers
from fanin.model.kept_values import (
    is_generator_class,
    keep_generator,
    keep_memory,
    keep_place,
    keep_tensor,
    keep_values_of_array,
)
from fanin.model.reachable import MOST_OBJECTS, Reachable
from fanin.model.settings import kept_generators, kept_settings
from fanin.model.whereabouts import whereabouts

__all__ = ["kept_once", "not_put_back", "renew_kept", "untouched", "working"]

T = TypeVar("T")
_TOO_MANY = (
    f"this forward can reach more than {MOST_OBJECTS:,} Python objects; fanin looked after the first ones only, and "
    "does not know whether it changes others"
)
_WORKING: contextvars.ContextVar[bool] = contextvars.ContextVar("fanin_working", default=False)
_ONCE: contextvars.ContextVar[_State | None] = contextvars.ContextVar("fanin_kept_once", default=None)
_LARGEST_ARRAY = 1 << 30  # bytes of a NumPy array that is copied


def untouched(
    model: torch.nn.Module,
    work: Callable[[], T],
    *,
    values: bool,
    others: Iterable[Any] = (),
    spare: Iterable[torch.Tensor] = (),
) -> tuple[T, tuple[str, ...]]:
    """What `work` gives, and what it changed that could not be put back, in words.

    Args:
        model: the module that `work` runs; lazily made state of its own is undone, too.
        work: called once.
        values: whether `work` may write into tensors. Then each tensor that can be reached is copied and compared,
            which costs its memory once; work on stand-ins needs no copies.
        others: further objects that `work` can reach and change: inputs, targets, a loss function.
        spare: tensors whose numbers `work` itself puts back, so that none of them is copied.

    Raises:
        Exception: whatever `work` raises, when everything is back; a `FaninWarning` then names what is not.
    """
    others, spared = tuple(others), frozenset(map(id, spare))
    once = _ONCE.get()
    state = once if once is not None and once.covers(model, others, values, spared) else None
    state = state or _State(model, others, values, spared)
    context = contextvars.copy_context()
    context.run(_WORKING.set, True)
    context.run(_ONCE.set, None)  # what work runs untouched itself is put back as work has it
    left: list[str] = []
    try:
        result = run_then(lambda: context.run(state.during, work), lambda: left.extend(state.put_back()))
    except BaseException:
        for sentence in dict.fromkeys(left):
            warnings.warn(sentence, FaninWarning, stacklevel=2)
        raise
    return result, tuple(left)


@contextmanager
def kept_once(
    model: torch.nn.Module, *, values: bool, others: Iterable[Any] = (), spare: Iterable[torch.Tensor] = ()
) -> Iterator[None]:
    """Inside, `untouched` on the same things puts back what is kept now, in place of keeping all of it again.

    Between its calls nothing may change in the model or the process, unless `renew_kept` is told. The arguments are
    those of `untouched`.
    """
    token = _ONCE.set(_State(model, tuple(others), values, frozenset(map(id, spare))))
    try:
        yield
    finally:
        _ONCE.reset(token)


def renew_kept() -> None:
    """Inside `kept_once`: from now on everything is put back as it is now. Numbers may have changed, and no more."""
    state = _ONCE.get()
    if state is not None:
        state.keep()


def working() -> bool:
    """Whether a model is being run by fanin just now: what watches a training run then looks away.

    Example:
        >>> working()
        False
    """
    return _WORKING.get()


def not_put_back(what: str) -> str:
    """The sentence that names something which stays changed.

    Example:
        >>> not_put_back("Net.words")
        'this forward changes Net.words; fanin could not put it back'
    """
    return f"this forward changes {what}; fanin could not put it back"


class _State:
    """Everything as it is when this is made."""

    def __init__(self, model: Any, others: tuple[Any, ...], values: bool, spare: frozenset[int]) -> None:
        self._model, self._values, self._spare = model, values, spare
        roots = (*_hooks_of_torch(), *_of_the_context(), threading.current_thread())
        with uncollected():
            self._reachable = Reachable([model, *others, *roots])
        self.keep()
        self._exit_calls = ExitCalls()
        at_exit = ("what Python calls at the end of the program (atexit)", self._exit_calls.put_back)
        started = ("the threads that run (it starts one)", _no_new_threads())
        self._process = [*kept_settings(), *kept_generators(), at_exit, started]

    def keep(self) -> None:
        """Keep each thing that can be reached as it is now."""
        self._kept: list[tuple[Any, PutBack]] = []
        self._unseen: list[Any] = []
        with uncollected():
            self._keep()

    def _keep(self) -> None:
        by_class: dict[type, tuple[Keeper, ...]] = {}
        bare: list[Any] = []
        for thing in self._reachable.things:
            if type(thing) in BARE and not gc.get_referents(thing):
                bare.append(thing)
                continue
            try:
                keepers = by_class.get(type(thing))
                if keepers is None:
                    keepers = by_class[type(thing)] = tuple(_keepers(thing, self._values, self._reachable))
                for keeper in (_SPARED,) if id(thing) in self._spare else keepers:
                    put_back = keeper(thing)
                    if put_back is not None:
                        self._kept.append((thing, put_back))
            except Exception:  # an object that raises when it is read has nothing that could be kept
                self._unseen.append(thing)
        self._kept.append((bare, keep_bare(bare, self._reachable)))
        self._kept += keep_namespaces(self._reachable)

    def covers(self, model: Any, others: tuple[Any, ...], values: bool, spare: frozenset[int]) -> bool:
        """Whether this keeps all that one made for these would: numbers of tensors only where `values` asks for it."""
        reached = model is self._model and self._reaches(others)
        return reached and (not values or (self._values and self._spare <= spare))

    def _reaches(self, thing: Any) -> bool:
        """Whether the walk met a thing, or all that a tuple or a dictionary of the call's own holds."""
        if type(thing) in ATOMS or self._reachable.index_of(thing) is not None:
            return True
        inside = thing.values() if type(thing) is dict else thing if type(thing) is tuple else (None,)
        return type(thing) in (tuple, dict) and all(map(self._reaches, inside))

    def during(self, work: Callable[[], T]) -> T:
        """What `work` gives, while no code of the model can register functions for the end of the program."""
        self._exit_calls.hold()
        return work()

    def put_back(self) -> list[str]:
        """Make everything as it was; gives a sentence for each thing that could not be."""
        left: list[str] = [_TOO_MANY] if self._reachable.ended_early else []
        torch.clear_autocast_cache()
        with torch._C.DisableTorchFunction(), torch.no_grad():
            for name, restore in self._process[: _num_modes(self._process)]:
                left += [] if _done(restore) else [not_put_back(name)]
        with torch.no_grad():
            # once more: an iterator is as before only when the list under it is
            failed = [(thing, again) for thing, again in self._kept if not _done(again)]
            failed = [(thing, again) for thing, again in failed if not _done(again)]
            left += [not_put_back(whereabouts(self._reachable, thing)) for thing, _ in failed]
        for name, restore in self._process:
            left += [] if _done(restore) else [not_put_back(name)]
        return list(dict.fromkeys(left))


def _num_modes(process: list[tuple[str, Any]]) -> int:
    """Settings that must be back before any tensor is touched: torch's modes, which come first."""
    return next(i for i, (name, _) in enumerate(process) if name == "torch's mode stacks") + 1


def _done(restore: Callable[[], Any]) -> bool:
    try:
        return restore() is not False
    except Exception:
        return False


def _keepers(thing: Any, values: bool, reachable: Reachable) -> Iterator[Keeper]:
    """The keepers for all objects of the class of this one."""
    kind = type(thing)
    if issubclass(kind, torch.jit.ScriptModule):
        yield _together(_script_state)
    elif issubclass(kind, torch.Tensor):
        yield _together(keep_tensor if values else keep_memory)
    elif issubclass(kind, torch.UntypedStorage):
        yield _together(lambda s: keep_tensor(torch.empty(0, dtype=torch.uint8, device=s.device).set_(s)))
    elif (arrays := sys.modules.get("numpy")) is not None and issubclass(kind, arrays.ndarray):
        yield partial(keep_values_of_array, most=_LARGEST_ARRAY)
    else:
        if is_generator_class(kind):
            yield keep_generator
        yield from object_keepers(thing)
    if may_be_of_library(kind):
        yield partial(keep_library, reachable=reachable)


def _together(keep: Callable[[Any], Iterable[PutBack]]) -> Keeper:
    """One function for several that put back parts of one thing; one that fails hinders no other."""

    def keeper(thing: Any) -> PutBack | None:
        parts = list(keep(thing))
        return (lambda: sum(not _done(part) for part in parts) == 0) if parts else None

    return keeper


_SPARED = _together(keep_place)


def _script_state(module: Any) -> Iterator[PutBack]:
    """Flags and buffers of a TorchScript module and of all inside it, which live in C++ and are found by no walk."""
    for inner in module.modules():
        yield _flag(inner)
        yield from (_content(b) for b in inner.buffers(recurse=False) if not b.is_meta)


def _flag(module: Any) -> PutBack:
    training = module.training

    def put_back() -> bool:
        if module.training != training:
            module.training = training
        return True

    return put_back


def _content(buffer: torch.Tensor) -> PutBack:
    content = buffer.clone()

    def put_back() -> bool:
        if not torch.equal(buffer, content):
            buffer.copy_(content)
        return True

    return put_back


def _no_new_threads() -> Callable[[], bool]:
    """Says whether no thread runs that the user's code has started since; nobody can end a thread but itself."""
    before = set(threading.enumerate())

    def put_back() -> bool:
        return all(t in before or _is_of_library(t) for t in threading.enumerate())

    return put_back


def _is_of_library(thread: threading.Thread) -> bool:
    runs = getattr(thread, "_target", None) or type(thread)
    return is_library(str(getattr(runs, "__module__", "")))


def _hooks_of_torch() -> Iterator[Any]:
    """Tables of hooks on all modules, which belong to no module."""
    for name, table in vars(torch.nn.modules.module).items():
        if name.startswith("_global_") and isinstance(table, dict):
            yield table


def _of_the_context() -> Iterator[Any]:
    """Values of context variables: those of a copied context are the same objects."""
    return iter(contextvars.copy_context().values())
