"""P504: parameters and buffers that hold NaN or infinity."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.gains import INIT
from fanin.rules.shared.lost import spreads
from fanin.text.numbers import counted

__all__ = ["NonfiniteWeights"]


class NonfiniteWeights(Rule):
    """Parameters or buffers that hold NaN or infinity.

    What it does:
        Tests every element of every parameter and floating buffer.

    Why:
        One NaN in a weight is a NaN in every output; it comes from an uninitialised allocation (torch.empty), a broken
        checkpoint or a divided-by-zero init.

    What is measured:
        Any non-finite element of a parameter, any NaN in a buffer. Infinities in a buffer count only where the output
        or the loss is not finite: masks hold -infinity, and running extremes start at it.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> with torch.no_grad():
        ...     model[0].weight[3, 3] = float("nan")
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> fanin.check(model, x, targets=y).findings[0].name
        'nonfinite-weights'

    Fix:
        Initialise the parameter; look for torch.empty without a fill.

    References:
        IEEE 754.
    """

    code: ClassVar[str] = "P504"
    name: ClassVar[str] = "nonfinite-weights"
    thresholds: ClassVar[dict[str, float]] = {}
    source: ClassVar[str] = "IEEE 754"

    def check(self, context: Context) -> Iterator[Finding]:
        """One finding about parameters, one about buffers."""
        bad = [p for p in context.measurements.parameters if p.weight.any_nonfinite]
        if bad:
            yield self.finding(
                "error",
                [p.path for p in bad],
                f"{counted(len(bad), 'parameter holds', 'parameters hold')} NaN or infinity, first {bad[0].path}.",
                Fix(
                    text="initialise it; look for torch.empty without a fill, or a broken checkpoint",
                    code=INIT,
                    recommends_start=True,
                ),
                value=float(len(bad)),
                unit="parameters",
            )
        yield from self._buffers(context)

    def _buffers(self, context: Context) -> Iterator[Finding]:
        lost = spreads(context.measurements)
        bad = [
            b
            for b in context.measurements.buffers
            if b.num_nan or (lost and (b.num_positive_inf or (b.num_negative_inf and (b.as_angle or b.as_factor))))
        ]
        if bad:
            yield self.finding(
                "error",
                [b.path for b in bad],
                f"{counted(len(bad), 'buffer holds', 'buffers hold')} NaN or infinity, first {bad[0].path}.",
                Fix(
                    text="compute the buffer again: build this module on the CPU, or plan.materialize(buffers=...)",
                    code="plan.materialize(model, buffers=...)",
                ),
                value=float(len(bad)),
                unit="buffers",
            )
