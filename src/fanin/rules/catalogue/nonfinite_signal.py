"""S207: naN or infinity appears on the way."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

from fanin.measure.record import Measurements
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix

__all__ = ["NonfiniteSignal"]


def _spreads(measurements: Measurements) -> bool:
    """Whether anything that counts is not finite; a masked -inf inside attention is not."""
    value = measurements.loss.value
    lost = measurements.loss.source != "cotangent" and not math.isfinite(value)
    output = measurements.output is not None and measurements.output.any_nonfinite
    return lost or output or any(s.forward.any_nonfinite for s in measurements.sites)


def _first(measurements: Measurements) -> tuple[str, str] | None:
    """(path, what happened) of the first operation that is not finite."""
    if "finite" in measurements.missing and _spreads(measurements):
        path, _, words = measurements.missing["finite"].partition(": ")
        return path, f"{path or 'the model'}: {words}."
    site = next((s for s in measurements.sites if s.forward.any_nonfinite), None)
    if site is not None:
        return site.path or site.module_class, f"{site.name} gave the first NaN or infinity."
    value = measurements.loss.value
    if measurements.loss.source != "cotangent" and not math.isfinite(value):
        return "loss", f"the loss is {value} although every operation before it is finite."
    back = next((s for s in reversed(measurements.sites) if s.backward is not None and s.backward.any_nonfinite), None)
    if back is not None:
        return back.path or back.module_class, f"the gradient at {back.name} is the first that is not finite."
    bad = next((p.path for p in measurements.parameters if p.state == "nonfinite"), None)
    return None if bad is None else (bad, f"the gradient of {bad} is not finite.")


class NonfiniteSignal(Rule):
    """NaN or infinity appears on the way.

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
