"""Nested tensors (torch.nested), whose samples have shapes of their own: refused in one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fanin.errors import CaptureError, PlanError

__all__ = ["refuse_nested", "refuse_nested_parameters"]


def refuse_nested(tensors: Iterable[Any], what: str = "a tensor that the forward pass reads or makes") -> None:
    """Raise where one of these tensors is nested.

    Raises:
        CaptureError: one is; the message says what to do.

    Example:
        >>> import torch
        >>> refuse_nested([torch.ones(2), torch.ones(3)])
    """
    if any(t.is_nested for t in tensors):
        raise CaptureError(
            f"{what} is a nested tensor (torch.nested): its samples have shapes of their own, which fanin does not "
            "follow. Pad it (torch.nested.to_padded_tensor), or let fanin look at the modules alone: "
            "fanin.plan(model, recipe='torch') runs no forward pass."
        )


def refuse_nested_parameters(parameters: Mapping[str, Any]) -> None:
    """Raise where a parameter is nested.

    Raises:
        PlanError: one is; the message names it.
    """
    from torch.nn.parameter import is_lazy

    name = next((n for n, p in parameters.items() if not is_lazy(p) and p.is_nested), None)
    if name is not None:
        raise PlanError(
            f"the parameter {name!r} is a nested tensor (torch.nested), and laws are for tensors with one shape. Hold "
            "its parts in a torch.nn.ParameterList."
        )
