"""P512: weights that the forward reads and the model does not own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.model.unregistered import Unregistered
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix

__all__ = ["UnregisteredWeights"]


class UnregisteredWeights(Rule):
    """Weights that the forward reads and the model does not own.

    What it does:
        Lists weights that get a gradient from the outputs and are not among model.parameters().

    Why:
        A module registers the layers that are its attributes. Layers in a plain list or dict are not registered: an
        optimizer made from model.parameters() never trains them, state_dict() does not save them, and model.to(device)
        leaves them behind.

    What is measured:
        The tensors in which the outputs' gradients end, less the model's parameters, the inputs, and what the given
        optimizer holds. Named by the attribute that holds them. Silent for tensors without a gradient, for a model that
        runs under torch.no_grad (a teacher), and for weights that are computed from parameters.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> class Model(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.hidden = [nn.Linear(32, 32), nn.Linear(32, 32)]
        ...         self.head = nn.Linear(32, 10)
        ...     def forward(self, x):
        ...         for layer in self.hidden:
        ...             x = torch.relu(layer(x))
        ...         return self.head(x)
        >>> report = fanin.check(Model(), torch.randn(64, 32), targets=torch.randint(0, 10, (64,)))
        >>> [(f.name, f.severity, f.paths) for f in report.findings]
        [('unregistered-weights', 'warning', ('hidden',))]

    Fix:
        nn.ModuleList, nn.ModuleDict, nn.ParameterList, or an attribute of the module.

    References:
        torch.nn.ModuleList documentation; Humbatova et al. 2020 (arXiv 1910.11015), taxonomy of real faults.
    """

    code: ClassVar[str] = "P512"
    name: ClassVar[str] = "unregistered-weights"
    thresholds: ClassVar[dict[str, float]] = {}
    source: ClassVar[str] = "torch.nn.ModuleList documentation"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        found = context.measurements.unregistered
        if not found:
            return
        words = "; ".join(u.words for u in found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
        yield self.finding(
            "warning",
            [u.path or "forward" for u in found],
            f"forward reads weights that the model does not own ({words}): model.parameters() does not give them to an "
            "optimizer, and state_dict() does not save them.",
            Fix(text=f"register them: {', '.join(dict.fromkeys(u.cure for u in found))}", code=_code(found[0])),
            value=float(sum(u.tensors for u in found)),
            unit="tensors",
            confidence="medium" if all(u.held_in in ("code", "nothing") for u in found) else "high",
        )


def _code(first: Unregistered) -> str:
    """One line for an attribute; what only the code names has no line of its own."""
    if first.held_in not in ("list", "dict") or not first.name:
        return ""
    return f"self.{first.name} = {first.cure}(...)  # in __init__, around what it holds now"
