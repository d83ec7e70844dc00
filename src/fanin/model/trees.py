"""Tensors inside nested inputs and outputs: the one walk through containers, and the same nest with other tensors.

A container is a mapping, a list, a tuple (named ones and ``torch.return_types`` too), a set, a deque, a dataclass, an
attrs class, a ``SimpleNamespace`` or a ``torch.distributions`` object. Everything else is a leaf.
"""

from __future__ import annotations

import copy
import dataclasses
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType, SimpleNamespace
from typing import Any

__all__ = ["map_tensors", "named_tensors", "tensors_in"]

_DEPTH = 16  # of nesting, beyond which nothing is looked at: a container that holds itself ends here
Items = Sequence[tuple[Any, Any]]


def tensors_in(tree: Any, depth: int = _DEPTH) -> Iterator[Any]:
    """All tensors inside a nest of containers, in order.

    Args:
        tree: anything.
        depth: levels of containers to look into.

    Example:
        >>> import torch
        >>> [tuple(t.shape) for t in tensors_in({"a": torch.ones(2), "b": (torch.ones(3), None)})]
        [(2,), (3,)]
    """
    import torch

    if isinstance(tree, torch.Tensor):
        yield tree
    elif depth:
        kind = type(tree)
        below = tree if kind is tuple or kind is list else tree.values() if kind is dict else _values(tree)
        for item in below:
            yield from tensors_in(item, depth - 1)


def _values(tree: Any) -> Sequence[Any]:
    return [item for _, item in _items(tree) or ()]


def named_tensors(tree: Any, path: str = "", depth: int = _DEPTH) -> Iterator[tuple[str, Any]]:
    """All tensors inside a nest of containers with their dotted paths, in order.

    Example:
        >>> import torch
        >>> [path for path, _ in named_tensors({"a": torch.ones(2), "b": [torch.ones(3), None]})]
        ['a', 'b.0']
    """
    import torch

    if isinstance(tree, torch.Tensor):
        yield path, tree
    elif depth:
        for key, item in _items(tree) or ():
            yield from named_tensors(item, _join(path, key), depth - 1)


def map_tensors(tree: Any, fn: Callable[[Any, str], Any], path: str = "", depth: int = _DEPTH) -> Any:
    """The same nest of new containers, with each tensor replaced by ``fn(tensor, path)``; leaves stay as they are.

    Example:
        >>> import torch
        >>> map_tensors({"a": torch.ones(2), "n": 3}, lambda t, path: (path, tuple(t.shape)))
        {'a': ('a', (2,)), 'n': 3}
    """
    import torch

    if isinstance(tree, torch.Tensor):
        return fn(tree, path)
    items = _items(tree) if depth else None
    if items is None:
        return tree
    return _rebuilt(tree, [(key, map_tensors(item, fn, _join(path, key), depth - 1)) for key, item in items])


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


# ---------------------------------------------------------------------- what a container holds
def _items(tree: Any) -> Items | None:
    """What a container holds, by key; None for a leaf."""
    if isinstance(tree, (str, bytes, int, float, type)) or tree is None:
        return None
    if isinstance(tree, Mapping):
        return list(tree.items())
    if isinstance(tree, (tuple, list, set, frozenset, deque)):
        names: Any = getattr(tree, "_fields", range(len(tree)))
        return list(zip(names, tree, strict=True))
    names = _attributes(tree)
    return None if names is None else [(n, getattr(tree, n)) for n in names if hasattr(tree, n)]


def _attributes(tree: Any) -> list[str] | None:
    """Names of the attributes of a record; None where an object is no record."""
    if dataclasses.is_dataclass(tree):
        return [f.name for f in dataclasses.fields(tree)]
    if (fields := getattr(type(tree), "__attrs_attrs__", None)) is not None:
        return [f.name for f in fields]
    if isinstance(tree, SimpleNamespace) or type(tree).__module__.startswith("torch.distributions"):
        return list(vars(tree))
    return None


# ---------------------------------------------------------------------- the same container with other items
def _rebuilt(tree: Any, items: Items) -> Any:
    """A new container of the same type; nothing of the old one changes and no constructor of the user's runs."""
    values = [item for _, item in items]
    if isinstance(tree, MappingProxyType):
        return MappingProxyType(dict(items))
    if isinstance(tree, Mapping):
        return dict(items) if type(tree) is dict else _with_items(tree, items)
    if isinstance(tree, tuple):
        return _tuple(tree, values)
    if isinstance(tree, (list, deque)):
        return values if type(tree) is list else _with_values(tree, values)
    if isinstance(tree, (set, frozenset)):
        return type(tree)(values)
    made = copy.copy(tree)
    for name, item in items:
        object.__setattr__(made, name, item)
    return made


def _tuple(tree: Any, values: list[Any]) -> Any:
    if hasattr(tree, "_fields"):
        return tuple.__new__(type(tree), values)
    return tuple(values) if type(tree) is tuple else type(tree)(values)


def _with_items(tree: Any, items: Items) -> Any:
    """A copy of a mapping of the user's own type with other values; a plain dict where it takes no values."""
    made = copy.copy(tree)
    if not hasattr(made, "__setitem__") or made is tree:
        return dict(items)
    for key, item in items:
        made[key] = item
    return made


def _with_values(tree: Any, values: list[Any]) -> Any:
    made = copy.copy(tree)
    made.clear()
    made.extend(values)
    return made
