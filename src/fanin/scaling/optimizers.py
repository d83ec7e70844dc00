"""Optimizers by name for short runs, and Muon together with the AdamW that trains what Muon cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import torch

from fanin.errors import ArgumentError, UnknownNameError, did_you_mean

__all__ = ["MuonAndAdamW", "Stepper", "muon", "optimizer_named"]


class Stepper(Protocol):
    """What a training loop asks of an optimizer."""

    param_groups: list[dict[str, Any]]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients."""
        ...

    def step(self) -> Any:
        """Update the parameters."""
        ...


class MuonAndAdamW:
    """Muon for the groups that are marked for it, AdamW for the others, stepped together.

    Args:
        groups: of ``fanin.param_groups(..., optimizer="muon")``.

    Raises:
        ArgumentError: parameters without groups that say which optimizer trains them.
    """

    def __init__(self, groups: Iterable[Any]) -> None:
        listed = list(groups)
        if not listed or not all(isinstance(g, dict) and "optimizer" in g for g in listed):
            raise ArgumentError(
                "Muon trains inner matrices alone, so it needs groups that say which these are: "
                "fanin.param_groups(model, plan, lr, optimizer='muon', base=...)"
            )
        made = {"muon": torch.optim.Muon, "adamw": torch.optim.AdamW}
        parts = {name: [g for g in listed if g["optimizer"] == name] for name in made}
        self.optimizers = [made[name](part) for name, part in parts.items() if part]
        self.param_groups = [g for o in self.optimizers for g in o.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of both."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=set_to_none)

    def step(self) -> None:
        """One step of both."""
        for optimizer in self.optimizers:
            optimizer.step()


def muon(groups: Iterable[Any], lr: float) -> MuonAndAdamW:
    """Both optimizers for groups of `fanin.param_groups`; their rates are in the groups."""
    return MuonAndAdamW(groups)


_MADE: Mapping[str, Callable[[Any, float], Any]] = {
    "adamw": lambda params, lr: torch.optim.AdamW(params, lr=lr, weight_decay=0.0),
    "adam": lambda params, lr: torch.optim.Adam(params, lr=lr),
    "sgd": lambda params, lr: torch.optim.SGD(params, lr=lr),
    "muon": muon,
}


def optimizer_named(name: str, params: Iterable[Any], lr: float) -> Stepper:
    """The optimizer of that name over parameters or groups; "sgd" without momentum.

    Raises:
        UnknownNameError: no such optimizer.
    """
    if name not in _MADE:
        raise UnknownNameError(f"there is no optimizer {name!r}; {did_you_mean(name, _MADE)}")
    made: Stepper = _MADE[name](params, lr)
    return made
