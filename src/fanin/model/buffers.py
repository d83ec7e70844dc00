"""Values of buffers that a model built on the meta device has lost, where they can be known.

Four ways, tried in this order: the caller gave the value; torch's own module says what its buffer starts as (batch
norm statistics); the module is built twice on the CPU from the ``config`` it was made with, and both give the same
value in the right shape and dtype (rotary frequencies, position ids, causal masks); or a copy of the module on the CPU,
filled with values that no one would write, is reset by the module's own method, twice, with the same result.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["known_buffer", "rebuilt"]

_LARGEST = 10_000_000  # parameters of a module that is built again for its buffers; it is thrown away at once


def known_buffer(
    module: Any, attribute: str, meta: torch.Tensor, config: Any = None
) -> tuple[torch.Tensor | None, str]:
    """Value of one buffer on the CPU and how it is known; None and the reason where it is not.

    Args:
        module: the module that owns the buffer.
        attribute: its name there.
        meta: the buffer itself, for its shape and dtype.
        config: of the nearest module around it that has one, for a module that does not keep its own.
    """
    value = _own(module, attribute, meta)
    if value is not None:
        return value, f"torch.nn.{type(module).__name__} starts it so"
    value = _range(attribute, meta)
    if value is not None:
        return value, "positions 0, 1, 2, ..."
    twin, kind = rebuilt(module, config), type(module).__name__
    if twin is not None and _fits(value := getattr(twin, attribute, None), meta):
        return value, f"{kind} built again from its config"
    value, method = _reset(module, attribute, meta)
    if value is not None:
        return value, f"{kind}.{method}() on a copy"
    if twin is not None:
        return None, f"{kind} built again from its config has another {attribute}"
    return None, f"{kind} cannot be built again from its config alone, and has no method that resets it"


def _fits(value: Any, meta: torch.Tensor) -> bool:
    import torch

    return isinstance(value, torch.Tensor) and value.shape == meta.shape and value.dtype == meta.dtype


# ---------------------------------------------------------------------- the module's own method
_RESETS = ("reset_buffers", "rope_init", "_init_self_buffers", "init_states", "init_weights", "reset_parameters")


def _reset(module: Any, attribute: str, meta: torch.Tensor) -> tuple[torch.Tensor | None, str]:
    """Value that one of the module's own methods gives a tensor in a copy of it, and the method's name.

    It is called on two copies that hold different numbers, one after the other: what depends on those, or on random
    numbers, differs.
    """
    import torch

    for method in _RESETS:
        if callable(getattr(module, method, None)):
            with torch.random.fork_rng(devices=[]):
                found = [_after(module, method, attribute, poison) for poison in (-1.5e30, 2.5e30)]
            if all(_fits(v, meta) for v in found) and torch.equal(*found):
                return found[0], method
    return None, ""


def _after(module: Any, method: str, attribute: str, poison: float) -> Any:
    """A tensor of a copy of the module, after its tensors were filled and its method was called; None if that fails."""
    import copy

    import torch

    if sum(t.numel() for t in (*module.parameters(), *module.buffers())) > _LARGEST:
        return None
    try:
        with torch.no_grad(), torch.device("cpu"):
            twin = copy.deepcopy(module)
            for one in twin.modules():
                for table in (one._parameters, one._buffers, vars(one)):
                    _fill_all(table, poison)
            getattr(twin, method)()
            return getattr(twin, attribute)
    except Exception:  # whatever a method of the user's raises: it is not a way to know the value
        return None


def _fill_all(table: dict[str, Any], poison: float) -> None:
    """Put filled tensors on the CPU in the place of those on meta."""
    import torch

    for name, tensor in table.items():
        if isinstance(tensor, torch.Tensor) and tensor.device.type == "meta":
            filled = torch.full(tensor.shape, 1, dtype=tensor.dtype, device="cpu")
            if tensor.is_floating_point() or tensor.is_complex():
                filled.fill_(poison if torch.finfo(tensor.dtype).max > 1e31 else poison / 1e27)
            else:
                filled.fill_(poison > 0)
            is_parameter = isinstance(tensor, torch.nn.Parameter)
            table[name] = torch.nn.Parameter(filled, tensor.requires_grad) if is_parameter else filled


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


def rebuilt(module: Any, around: Any = None) -> Any | None:
    """A second instance of a module on the CPU, made from the ``config`` it holds; None where that is not enough.

    Where it holds none, the config of a module around it is tried (`around`), and the result is used only if it has the
    parameters and buffers of the module, in the same shapes. It is built twice, and used only where both
    agree, so that a constructor which draws random numbers is not believed.
    """
    import torch

    own = getattr(module, "config", None)
    config = around if own is None else own
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
    return first if _agree(first, second) and (own is not None or _is_alike(first, module)) else None


def _is_alike(one: Any, two: Any) -> bool:
    """Whether two modules have tensors of the same names and shapes, whatever their values; one may be converted."""
    shapes = [{name: t.shape for name, t in (*m.named_parameters(), *m.named_buffers())} for m in (one, two)]
    return shapes[0] == shapes[1]


def _agree(first: Any, second: Any) -> bool:
    import torch

    one, two = dict(first.named_buffers(recurse=False)), dict(second.named_buffers(recurse=False))
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


# ---------------------------------------------------------------------- tensors that are plain attributes
def plain_tensors(module: Any) -> dict[str, torch.Tensor]:
    """Tensors on meta that a module holds as plain attributes, neither parameters nor buffers.

    Example:
        >>> import torch
        >>> module = torch.nn.Module()
        >>> module.frequencies = torch.empty(3, device="meta")
        >>> list(plain_tensors(module))
        ['frequencies']
    """
    import torch

    return {n: t for n, t in vars(module).items() if isinstance(t, torch.Tensor) and t.device.type == "meta"}
