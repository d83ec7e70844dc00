"""Values of buffers that a model built on the meta device has lost, where they can be known.

Three ways, tried in this order: the caller gave the value; torch's own module says what its buffer starts as (batch
norm statistics); or the module is built twice on the CPU from the ``config`` it was made with, and both give the same
value in the right shape and dtype (rotary frequencies, position ids, causal masks).
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["known_buffer", "rebuilt"]

_LARGEST = 10_000_000  # parameters of a module that is built again for its buffers; it is thrown away at once


def known_buffer(module: Any, attribute: str, meta: torch.Tensor) -> tuple[torch.Tensor | None, str]:
    """Value of one buffer on the CPU and how it is known; None and the reason where it is not.

    Args:
        module: the module that owns the buffer.
        attribute: its name there.
        meta: the buffer itself, for its shape and dtype.
    """
    value = _own(module, attribute, meta)
    if value is not None:
        return value, f"torch.nn.{type(module).__name__} starts it so"
    value = _range(attribute, meta)
    if value is not None:
        return value, "positions 0, 1, 2, ..."
    twin = rebuilt(module)
    if twin is None:
        return None, f"{type(module).__name__} cannot be built again from its config alone"
    value = dict(twin.named_buffers(recurse=False)).get(attribute)
    if value is None or value.shape != meta.shape or value.dtype != meta.dtype:
        return None, f"{type(module).__name__} built again from its config has another {attribute}"
    return value, f"{type(module).__name__} built again from its config"


def _own(module: Any, attribute: str, meta: torch.Tensor) -> torch.Tensor | None:
    import torch
    from torch.nn.modules.batchnorm import _NormBase

    if not isinstance(module, _NormBase):
        return None
    fill = {"running_mean": 0, "running_var": 1, "num_batches_tracked": 0}.get(attribute)
    return None if fill is None else torch.full(meta.shape, fill, dtype=meta.dtype)


def _range(attribute: str, meta: torch.Tensor) -> torch.Tensor | None:
    import torch

    if attribute != "position_ids" or meta.dtype != torch.long or meta.dim() != 2 or meta.shape[0] != 1:
        return None
    return torch.arange(meta.shape[1])[None]


def rebuilt(module: Any) -> Any | None:
    """A second instance of a module on the CPU, made from the ``config`` it holds; None where that is not enough.

    Built twice, and used only where both agree, so that a constructor which draws random numbers is not believed.
    """
    import torch

    config = getattr(module, "config", None)
    if config is None:
        return None
    if sum(p.numel() for p in module.parameters()) > _LARGEST:
        return None
    try:
        parameters = inspect.signature(type(module).__init__).parameters
        needed = [p.name for p in list(parameters.values())[1:] if p.default is p.empty and p.kind not in (2, 4)]
    except (TypeError, ValueError):
        return None
    arguments: dict[str, Any] = {"config": config} if "config" in parameters else {}
    if "layer_idx" in parameters:
        arguments["layer_idx"] = getattr(module, "layer_idx", 0)
    if "config" not in arguments or set(needed) - set(arguments):
        return None
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            first, second = (type(module)(**arguments) for _ in range(2))
    except Exception:
        return None
    return first if _agree(first, second) else None


def _agree(first: Any, second: Any) -> bool:
    import torch

    one, two = dict(first.named_buffers(recurse=False)), dict(second.named_buffers(recurse=False))
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)
