"""Names as the user gave them, without what torch.compile, DataParallel, DDP, FSDP and checkpoint wrappers add.

A wrapper is recognised by its type, never by how a name is spelled: a user's own attribute called ``module`` stays
part of the name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fanin.errors import PlanError

if TYPE_CHECKING:
    import torch

__all__ = ["named_buffers", "named_modules", "named_parameters", "own_module", "unwrap_children", "unwrapped", "wraps"]

# Module and name of the class -> the attribute that holds what it wraps. Subclasses count too.
_WRAPPERS: Mapping[tuple[str, str], str] = {
    ("torch._dynamo.eval_frame", "OptimizedModule"): "_orig_mod",
    ("torch.nn.parallel.data_parallel", "DataParallel"): "module",
    ("torch.nn.parallel.distributed", "DistributedDataParallel"): "module",
    ("torch.distributed.fsdp.fully_sharded_data_parallel", "FullyShardedDataParallel"): "_fsdp_wrapped_module",
    ("torch.distributed.algorithms._checkpoint.checkpoint_wrapper", "ActivationWrapper"): "_checkpoint_wrapped_module",
    ("torch.optim.swa_utils", "AveragedModel"): "module",
}
_HELD_AS = frozenset(_WRAPPERS.values())


def wraps(module: Any) -> str:
    """The attribute in which a wrapper holds the user's module; "" for a module that is no wrapper.

    Example:
        >>> import torch
        >>> wraps(torch.nn.DataParallel(torch.nn.Linear(2, 2))), wraps(torch.nn.Linear(2, 2))
        ('module', '')
    """
    held = getattr(module, "_modules", None)
    if isinstance(held, dict) and _HELD_AS.isdisjoint(held):
        return ""
    for kind in type(module).__mro__:
        attribute = _WRAPPERS.get((kind.__module__, kind.__qualname__))
        if attribute is not None and attribute in module._modules:
            return attribute
    return ""


def unwrapped(model: Any) -> Any:
    """The user's module behind all wrappers around the whole model."""
    while attribute := wraps(model):
        model = model._modules[attribute]
    return model


def unwrap_children(model: torch.nn.Module) -> None:
    """Put what wrappers hold in their place, in every module of a model; whoever calls it puts the wrappers back."""
    for module in list(model.modules()):
        for name, child in list(module._modules.items()):
            if child is not None and wraps(child):
                module._modules[name] = unwrapped(child)


def named_modules(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    """Every module under every path that leads to it; a wrapper has the path of what it wraps and comes before it.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.DataParallel(torch.nn.Linear(2, 2)))
        >>> [(path, type(module).__name__) for path, module in named_modules(model)]
        [('', 'Sequential'), ('0', 'DataParallel'), ('0', 'Linear')]
    """
    yield from _walk(model, "", frozenset())


def _walk(module: Any, path: str, above: frozenset[int]) -> Iterator[tuple[str, Any]]:
    yield path, module
    inside = wraps(module)
    for name, child in module._modules.items():
        if child is not None and id(child) not in above:  # a module may hold one that holds it
            yield from _walk(child, path if name == inside else join(path, name), above | {id(module)})


def named_parameters(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Every parameter under every name the user knows it by, ties included.

    Raises:
        PlanError: two parameters would have the same name.

    Example:
        >>> import torch
        >>> [name for name, _ in named_parameters(torch.nn.DataParallel(torch.nn.Linear(2, 2)))]
        ['weight', 'bias']
    """
    yield from _members(model, "_parameters")


def named_buffers(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Every buffer under every name the user knows it by.

    Raises:
        PlanError: two buffers would have the same name.
    """
    yield from _members(model, "_buffers")


def _members(model: Any, table: str) -> Iterator[tuple[str, Any]]:
    seen: dict[str, Any] = {}
    for path, module in named_modules(model):
        for attribute, tensor in getattr(module, table).items():
            name = join(path, attribute)
            if tensor is None or seen.get(name) is tensor:
                continue
            if name in seen:
                raise PlanError(
                    f"two tensors of the model are called {name!r} once the prefixes of wrappers (torch.compile, "
                    "DataParallel ...) are left out. Rename one of them, or pass the module inside the wrapper."
                )
            seen[name] = tensor
            yield name, tensor


def own_module(model: torch.nn.Module, path: str) -> Any:
    """The module at a path as `named_modules` gives it, behind its wrappers.

    Raises:
        PlanError: no module there.

    Example:
        >>> import torch
        >>> own_module(torch.nn.DataParallel(torch.nn.Sequential(torch.nn.ReLU())), "0")
        ReLU()
    """
    module: Any = unwrapped(model)
    for token in path.split(".") if path else ():
        if token not in module._modules:
            raise PlanError(f"the model has no module {path!r}: {type(module).__name__} has no {token!r}")
        module = unwrapped(module._modules[token])
    return module


def join(path: str, name: str) -> str:
    """A qualified name.

    Example:
        >>> join("", "weight"), join("fc", "weight")
        ('weight', 'fc.weight')
    """
    return f"{path}.{name}" if path else name
