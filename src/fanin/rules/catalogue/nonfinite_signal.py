"""S207: NaN or infinity appears in the forward or the backward."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

from fanin.measure.record import Measurements
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.lost import spreads
from fanin.rules.shared.places import place

__all__ = ["NonfiniteSignal"]


def _first(measurements: Measurements) -> tuple[str, str] | None:
    """(path, what happened) of the first operation that is not finite."""
    if measurements.first_nonfinite is not None and spreads(measurements):
        path, op = measurements.first_nonfinite
        return path, f"{path or 'the model'}: {op} gave the first NaN or infinity."
    site = next((s for s in measurements.sites if s.forward.any_nonfinite), None)
    if site is not None:
        return place(site, measurements), f"{site.name} gave the first NaN or infinity."
    value = measurements.loss.value
    if measurements.loss.source != "cotangent" and not math.isfinite(value):
        return "loss", f"the loss is {value} although every operation before it is finite."
    back = next((s for s in reversed(measurements.sites) if s.backward is not None and s.backward.any_nonfinite), None)
    if back is not None:
        return place(back, measurements), f"the gradient at {back.name} is the first that is not finite."
    bad = next((p.path for p in measurements.parameters if p.state == "nonfinite"), None)
    return None if bad is None else (bad, f"the gradient of {bad} is not finite.")


class NonfiniteSignal(Rule):
    """NaN or infinity appears in the forward or the backward.

    What it does:
        Looks for the first operation whose output, or whose gradient, is not finite.

    Why:
        Overflow, a division by zero or a logarithm of zero. After one step it is everywhere.

    What is measured:
        Any non-finite element of any operation's output, of the loss, or of a gradient; the first operation in
        execution order is named.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> class Net(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.layer = nn.Linear(32, 10)
        ...     def forward(self, x):
        ...         return self.layer(x).relu().log()
        >>> model = Net()
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> fanin.check(model, x, targets=y).findings[0].name
        'nonfinite-signal'

    Fix:
        Guard the operation that is named (clamp, eps), or lower the scale that overflows.

    References:
        IEEE 754; Karpathy 2019.
    """

    code: ClassVar[str] = "S207"
    name: ClassVar[str] = "nonfinite-signal"
    thresholds: ClassVar[dict[str, float]] = {}
    source: ClassVar[str] = "IEEE 754"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        found = _first(context.measurements)
        if found is not None:
            path, words = found
            yield self.finding(
                "error",
                [path],
                words,
                Fix(
                    text="guard the operation (clamp, eps), or lower the scale that overflows",
                    code="torch.log(x.clamp_min(1e-12))",
                ),
            )
