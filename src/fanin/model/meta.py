"""Models built without memory: keep their buffers while they are built, and show what nobody filled afterwards."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fanin.errors import FillError
from fanin.model.given import assert_module
from fanin.model.parts import named_parts
from fanin.model.sharding import refuse_gathered
from fanin.model.wrappers import named_buffers
from fanin.tensors.shards import local_part
from fanin.text.names import clean

if TYPE_CHECKING:
    import torch

__all__ = ["keep_buffers", "poison_"]


@contextlib.contextmanager
def keep_buffers() -> Iterator[None]:
    """Build a model whose parameters are on the meta device and whose buffers hold their values.

    ``torch.device("meta")`` alone loses every buffer: rotary frequencies, position ids, masks. Inside this context
    tensors are made on the CPU, also within ``torch.device("meta")``, and each parameter goes to the meta device when a
    module registers it: one parameter at a time has memory, which torch does not touch. `Plan.materialize` leaves the
    buffers as they are.

    A buffer that is computed from a parameter cannot be kept: the parameter holds no numbers. Modules that other
    threads build at the same time lose their parameters' memory too.

    Example:
        >>> import torch
        >>> with torch.device("meta"), keep_buffers():
        ...     norm = torch.nn.BatchNorm1d(2)
        >>> norm.weight.device.type, norm.running_var
        ('meta', tensor([1., 1.]))
    """
    import torch
    from torch.nn.modules.module import register_module_parameter_registration_hook

    made: dict[int, tuple[weakref.ref[Any], Any]] = {}  # a parameter is not held: its memory goes at once
    handle = register_module_parameter_registration_hook(lambda module, name, parameter: _on_meta(parameter, made))
    try:
        with torch.device("cpu"):
            yield
    finally:
        handle.remove()


def _on_meta(parameter: Any, known: dict[int, tuple[weakref.ref[Any], Any]]) -> Any:
    """The same parameter without memory; one that is registered under two names stays one."""
    if parameter is None or parameter.device.type == "meta":
        return None
    from torch.nn.parameter import is_lazy

    if is_lazy(parameter):
        return None
    seen, twin = known.get(id(parameter), (None, None))
    if seen is not None and seen() is parameter:  # an id may have been that of another one, which is gone
        return twin
    made = type(parameter)(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)
    made.__dict__.update(parameter.__dict__)
    known[id(parameter)] = (weakref.ref(parameter), made)
    return made


def poison_(model: torch.nn.Module, *, buffers: bool = True) -> tuple[str, ...]:
    """Fill every floating and complex tensor of a model with NaN, so that what nobody writes afterwards shows.

    For a model that has just got its memory (``to_empty``): it holds whatever lay there, which may look like weights.
    After it ``fanin.plan(model, only_uninitialised=True)``, a check, and the first loss all show what is left. A
    sharded model fills what this process holds. All values of the model are lost; integers stay.

    Args:
        model: changed in place.
        buffers: its buffers too.

    Returns:
        The names of the tensors that hold NaN now.

    Raises:
        FillError: a tensor is on the meta device, where there is nothing to fill; nothing was changed.
        PlanError: what this process holds is not what is kept: ``fully_shard`` has gathered it, or DeepSpeed copied it.

    Example:
        >>> import torch
        >>> poison_(torch.nn.Linear(2, 3))
        ('weight', 'bias')
    """
    import torch

    assert_module(model)
    refuse_gathered(model)
    held = [(name, part.tensor) for name, _, part in named_parts(model)]
    found = [*held, *(named_buffers(model) if buffers else ())]
    chosen = {name: tensor for name, tensor in found if tensor.is_floating_point() or tensor.is_complex()}
    if lost := next((name for name, tensor in chosen.items() if tensor.device.type == "meta"), None):
        raise FillError(f"{clean(lost)} is on the meta device and has no memory; call model.to_empty(device=...) first")
    with torch.no_grad():
        for tensor in chosen.values():
            local_part(tensor).fill_(float("nan"))
    return tuple(chosen)
