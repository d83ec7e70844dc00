"""What weight decay changes in a step, over what the loss changes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

__all__ = ["Decay"]

_ADDING = frozenset(
    getattr(torch.optim, name)
    for name in ("SGD", "Adam", "Adagrad", "Adadelta", "RMSprop", "Adamax", "ASGD", "NAdam", "RAdam")
)


class Decay:
    """The decay of some weights, as the groups of their optimizer have it at each step.

    Args:
        weights: what is followed.
        optimizer: what trains them; None where nothing is known of it.
    """

    def __init__(self, weights: Sequence[torch.nn.Parameter], optimizer: Any) -> None:
        self._optimizer = optimizer
        owners = {id(p): place for place, group in enumerate(self._groups()) for p in group.get("params", ())}
        self._owners = [owners.get(id(p), 0) for p in weights]
        self._adds = type(optimizer) in _ADDING

    def shares(
        self, weights: Sequence[float], steps: Sequence[float], gradients: Sequence[float]
    ) -> tuple[float | None, ...]:
        """The decay's part over the rest, one a weight; None where there is no decay, or no gradient.

        An optimizer of PyTorch adds the decay to the gradient; others take it off the weights.

        Args:
            weights: their norms before the step.
            steps: norms of their change.
            gradients: norms of their gradients.
        """
        decays = [self._decay_of(group) for group in self._groups()]
        rows = zip(self._owners, weights, steps, gradients, strict=True)
        return tuple(_share(*decays[place], *sizes) for place, *sizes in rows)

    def _groups(self) -> list[Mapping[str, Any]]:
        """An empty group for weights that are in none, and the optimizer's own; loading a state makes new ones."""
        return [{}, *getattr(self._optimizer, "param_groups", ())]

    def _decay_of(self, group: Mapping[str, Any]) -> tuple[float, float | None]:
        """(decay, or 0; rate by which it is taken off the weights, None where it is added to the gradient)."""
        decay = group.get("weight_decay")
        if not isinstance(decay, float | int) or not decay > 0:
            return 0.0, None
        if self._adds and not group.get("decoupled_weight_decay"):
            return float(decay), None
        return float(decay), float(group.get("lr") or 0.0)


def _share(decay: float, rate: float | None, weight: float, step: float, gradient: float) -> float | None:
    if not decay or not 0 < gradient < math.inf:
        return None
    if rate is None:
        return decay * weight / gradient
    taken = rate * decay * weight
    return taken / max(step - taken, 1e-3 * taken) if taken > 0 else None
