"""Models that FSDP spreads over processes: what of them is whole here, and which of their hooks must not run."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fanin.errors import ArgumentError, PlanError
from fanin.model.wrappers import named_modules, named_parameters, wraps
from fanin.tensors.shards import is_sharded

if TYPE_CHECKING:
    import torch

__all__ = ["is_whole", "refresh_sharding", "refuse_flat", "refuse_gathered", "refuse_spread", "without_gathering"]

_HOME = "torch.distributed."  # of FSDPModule and FSDPState, in one place or another from version to version
_HOOKS = ("_forward_pre_hooks", "_forward_hooks")


def refuse_flat(model: torch.nn.Module) -> None:
    """Raise where FSDP (version 1) keeps parameters as pieces of one flat tensor, so that none of them is whole.

    Raises:
        PlanError: it names the module and says where the parameters are whole.
    """
    for path, module in named_modules(model):
        if wraps(module) == "_fsdp_wrapped_module" and not is_whole(module):
            raise PlanError(
                f"the parameters of {repr(path) if path else 'the model'} are pieces of a flat tensor of "
                "FullyShardedDataParallel, and none of them is whole here. Do it before the model is wrapped, or "
                "inside FullyShardedDataParallel.summon_full_params(model)."
            )


def is_whole(module: Any) -> bool:
    """Whether the parameters that a FullyShardedDataParallel manages are where the user put them, with their shapes."""
    handle = getattr(module, "_handle", None)
    if handle is None:
        return True
    flat = handle.flat_param
    return all(
        name in owner._parameters and tuple(owner._parameters[name].shape) == tuple(shape)
        for (name, owner, _), shape in zip(flat._param_infos, flat._shapes, strict=True)
    )


def refuse_gathered(model: torch.nn.Module) -> None:
    """Raise where ``fully_shard`` holds gathered parameters: what is written to them is lost when they are freed.

    A root module keeps them after its forward, unless it was sharded with ``reshard_after_forward=True``.

    Raises:
        PlanError: it names the module and says how the parameters are put back.
    """
    for path, module in named_modules(model):
        if _gathers(module) and any(p.sharded_state.name != "SHARDED" for p in _managed(module)):
            raise PlanError(
                f"fully_shard has gathered the parameters of {repr(path) if path else 'the model'} and still "
                "holds them; what is written to them now would be lost. Call reshard() on it, and on every module "
                "inside that was given to fully_shard, then apply the plan."
            )


def _managed(module: Any) -> list[Any]:
    """What ``fully_shard`` keeps of each parameter; nothing in a version of torch that keeps it elsewhere."""
    state = module._get_fsdp_state() if hasattr(module, "_get_fsdp_state") else None
    groups = getattr(state, "_fsdp_param_groups", None) or [getattr(state, "_fsdp_param_group", None)]
    found = [p for group in groups for p in getattr(group, "fsdp_params", ())]
    return [p for p in found if hasattr(p, "sharded_state")]


def refuse_spread(model: torch.nn.Module) -> None:
    """Raise where running a model needs other processes: its parameters are DTensors, or FSDP gathers them.

    Raises:
        ArgumentError: it names the parameter or the module.
    """
    spread = next((f"its parameter {name!r}" for name, t in named_parameters(model) if is_sharded(t)), "")
    gathers = next((f"its module {path or type(m).__name__!r}" for path, m in named_modules(model) if _gathers(m)), "")
    if spread or gathers:
        raise ArgumentError(
            f"the model is spread over processes ({spread or gathers}). fanin runs it several times and puts it back "
            "as it was, which is not possible there: check or calibrate it before it is sharded, and apply the plan "
            "that a calibration gives (found.plan) to the shards."
        )


def _gathers(module: Any) -> bool:
    return _is(module, "FSDPModule")


def refresh_sharding(model: torch.nn.Module) -> None:
    """Let ``fully_shard`` take up parameters that were replaced, as after any ``Module.to``."""
    modules: list[Any] = list(model.modules())
    for module in modules:
        if _gathers(module):
            module._apply(_same, recurse=False)


def _same(tensor: Any) -> Any:
    return tensor


@contextlib.contextmanager
def without_gathering(model: torch.nn.Module) -> Iterator[None]:
    """Set aside the hooks with which ``fully_shard`` gathers weights.

    A pass on stand-ins of the whole parameters needs nothing from other processes.
    """
    tables = [(m, name, getattr(m, name)) for m in model.modules() if _gathers(m) for name in _HOOKS]
    try:
        for module, name, hooks in tables:
            setattr(module, name, OrderedDict((i, hook) for i, hook in hooks.items() if not _is_gatherer(hook)))
        yield
    finally:
        for module, name, hooks in tables:
            setattr(module, name, hooks)


def _is_gatherer(hook: Any) -> bool:
    while hasattr(hook, "__wrapped__") and not hasattr(hook, "__self__"):
        hook = hook.__wrapped__
    return _is(getattr(hook, "__self__", None), "FSDPState")


def _is(found: Any, name: str) -> bool:
    return any(k.__qualname__ == name and k.__module__.startswith(_HOME) for k in type(found).__mro__)
