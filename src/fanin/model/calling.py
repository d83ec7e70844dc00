"""What a model is called with: the caller's inputs brought into (args, kwargs)."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["call_arguments", "map_tensors", "named_tensors"]


def call_arguments(model: Any, inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of a forward call.

    Args:
        model: the module to be called.
        inputs: a tuple of positional arguments, a mapping of keyword arguments, or one positional argument. A mapping
            whose keys are not names of forward's arguments is one positional argument.
    """
    if isinstance(inputs, tuple) and not hasattr(inputs, "_fields"):
        return inputs, {}
    if isinstance(inputs, Mapping) and _takes_keywords(model, inputs):
        return (), {str(k): v for k, v in inputs.items()}
    return (inputs,), {}


def _takes_keywords(model: Any, inputs: Mapping[Any, Any]) -> bool:
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return True
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return all(isinstance(k, str) for k in inputs)
    return set(inputs) <= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def map_tensors(tree: Any, fn: Callable[[Any, str], Any], path: str = "") -> Any:
    """A structure of inputs with each tensor replaced by ``fn(tensor, path)``."""
    import torch

    def below(item: Any, key: Any) -> Any:
        return map_tensors(item, fn, f"{path}.{key}" if path else str(key))

    if isinstance(tree, torch.Tensor):
        return fn(tree, path)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(below(t, k) for k, t in zip(tree._fields, tree, strict=True)))
    if type(tree) in (tuple, list):
        return type(tree)(below(t, i) for i, t in enumerate(tree))
    if type(tree) is dict:
        return {k: below(t, k) for k, t in tree.items()}
    if dataclasses.is_dataclass(tree) and not isinstance(tree, (type, Mapping)):
        changed = {f.name: below(getattr(tree, f.name), f.name) for f in dataclasses.fields(tree) if f.init}
        return dataclasses.replace(tree, **changed)
    return tree


def named_tensors(tree: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """The tensors in what a model returned, with their path."""
    import torch

    if depth > 8:
        return
    items: Iterator[tuple[Any, Any]]
    if isinstance(tree, torch.Tensor):
        yield path, tree
        return
    if isinstance(tree, Mapping):
        items = iter(tree.items())
    elif isinstance(tree, (tuple, list)):
        names = getattr(tree, "_fields", range(len(tree)))
        items = iter(zip(names, tree, strict=True))
    elif dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        items = ((f.name, getattr(tree, f.name)) for f in dataclasses.fields(tree))
    elif type(tree).__module__.startswith("torch.distributions"):
        items = iter(vars(tree).items())
    else:
        return
    for key, item in items:
        yield from named_tensors(item, f"{path}.{key}" if path else str(key), depth + 1)
