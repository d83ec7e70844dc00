"""The one number to differentiate: a loss, or a random projection of what the model returned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from fanin.errors import ArgumentError
from fanin.model.trees import tensors_in
from fanin.tensors.values import as_real

__all__ = ["Objective", "objective", "primary"]

Source = Literal["given", "model", "cross_entropy", "mse", "cotangent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """The scalar to differentiate and where it came from."""

    value: torch.Tensor
    source: Source


def primary(output: Any) -> torch.Tensor | None:
    """The tensor that a loss would be computed from.

    The output itself, its logits, or its first floating tensor with more than one value.
    """
    if isinstance(output, torch.Tensor):
        return output
    for name in ("logits", "prediction_logits", "start_logits", "last_hidden_state"):
        found = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
        if isinstance(found, torch.Tensor):
            return found
    floating = [t for t in tensors_in(output) if t.is_floating_point() or t.is_complex()]
    return next((t for t in floating if t.numel() > 1), floating[0] if floating else None)


def objective(output: Any, *, targets: Any, loss: Callable[..., Any] | None) -> Objective:
    """The number to differentiate.

    That is the loss as given, the loss that the output carries, cross-entropy or squared error against targets, or a
    random unit cotangent: v . f(x) / |v| with v ~ N(0, 1), whose gradient is the vector-Jacobian product of one random
    direction.
    """
    if loss is not None:
        value = loss(output) if targets is None else loss(output, targets)
        return Objective(value=_scalar(value, "loss"), source="given")
    logits = primary(output)
    if targets is not None:
        return _against(logits, targets)
    carried = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if isinstance(carried, torch.Tensor) and carried.numel() == 1:
        return Objective(value=carried.reshape(()), source="model")
    floating = [as_real(t) for t in tensors_in(output) if (t.is_floating_point() or t.is_complex()) and t.numel()]
    if not floating:
        raise ArgumentError(
            f"the model's output ({type(output).__name__}) holds no floating tensor, so there is nothing to "
            "differentiate. "
            "Give loss=, a callable that takes the output and returns a scalar tensor."
        )
    probes = [torch.randn_like(t, dtype=torch.float32).to(t.dtype) for t in floating]
    norm = torch.stack([p.double().square().sum() for p in probes]).sum().sqrt().clamp_min(1e-300)
    value = torch.stack([(t.double() * p.double()).sum() for t, p in zip(floating, probes, strict=True)]).sum() / norm
    return Objective(value=value, source="cotangent")


def _scalar(value: Any, what: str) -> torch.Tensor:
    if not isinstance(value, torch.Tensor) or value.numel() != 1:
        shape = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
        raise ArgumentError(
            f"{what} must return a tensor with one element; it returned {shape}. Reduce it (.mean() or .sum()) "
            "before returning it."
        )
    if value.is_complex():
        raise ArgumentError(f"{what} returned a complex number, which has no least value: take its .abs() or .real")
    return value.reshape(())


def _against(logits: torch.Tensor | None, targets: Any) -> Objective:
    functional = torch.nn.functional
    if logits is None or not isinstance(targets, torch.Tensor):
        numbers = hasattr(targets, "__array__") or (isinstance(targets, Sequence) and not isinstance(targets, str))
        tensor = "Give a tensor, torch.as_tensor(targets), or " if numbers else ""
        raise ArgumentError(
            f"targets of type {type(targets).__name__} have no default loss. "
            f"{tensor or 'Give '}loss=, a callable that takes (output, targets)."
        )
    if not targets.is_floating_point() and logits.is_floating_point():
        return Objective(value=_cross_entropy(logits, targets), source="cross_entropy")
    if targets.shape != logits.shape:
        raise ArgumentError(
            f"targets of shape {tuple(targets.shape)} and output of shape {tuple(logits.shape)} fit neither "
            "cross-entropy (whole-number "
            "targets, one per row of logits) nor a squared error (equal shapes). Give loss=, a callable that takes "
            "(output, targets)."
        )
    own, wanted = (as_real(t).float() for t in (logits, targets))
    return Objective(value=functional.mse_loss(own, wanted), source="mse")


def _cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    functional = torch.nn.functional
    _assert_classes(logits, targets)
    if logits.dim() == targets.dim() + 1 and logits.shape[:1] + logits.shape[2:] == targets.shape:
        return functional.cross_entropy(logits, targets)
    if logits.shape[:-1] == targets.shape:  # classes last, as language models have them
        return functional.cross_entropy(logits.flatten(0, -2), targets.flatten())
    raise ArgumentError(
        f"whole-number targets of shape {tuple(targets.shape)} do not fit logits of shape {tuple(logits.shape)}: "
        "cross-entropy needs one "
        "class index per row of logits, shape (N,) for logits (N, K). Give loss=, a callable that takes (output, "
        f"targets).{_BINARY if targets.shape == logits.shape else ''}"
    )


_IGNORED = -100  # torch's own ignore_index
_BINARY = (
    " For labels of 0 and 1: loss=torch.nn.functional.binary_cross_entropy_with_logits (binary_cross_entropy after a "
    "sigmoid) and float targets of the output's shape."
)


def _assert_classes(logits: torch.Tensor, targets: torch.Tensor) -> None:
    """Check, where targets fit the logits in shape, that they are class indices that these have."""
    last = logits.shape[:-1] == targets.shape
    if logits.dim() != targets.dim() + 1 or not targets.numel() or not (last or logits.dim() > 1):
        return
    if targets.dtype not in (torch.long, torch.uint8):
        raise ArgumentError(
            f"targets are {str(targets.dtype).removeprefix('torch.')}; cross-entropy takes class indices as "
            "torch.long: give targets.long()"
        )
    classes = logits.shape[1] if logits.shape[:1] + logits.shape[2:] == targets.shape else logits.shape[-1]
    counted = targets[targets != _IGNORED]
    if counted.numel() and not 0 <= int(counted.min()) <= int(counted.max()) < classes:
        raise ArgumentError(
            f"targets go from {int(counted.min())} to {int(counted.max())}, and the output of shape "
            f"{tuple(logits.shape)} has {classes} classes; give class indices from 0 to {classes - 1} (or "
            f"{_IGNORED} for what does not count), or loss=, a callable that takes (output, targets)."
            f"{_BINARY if classes == 1 else ''}"
        )
