"""P507: elements of a parameter that no initializer draws."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.measure.record import ParameterRecord
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.gains import INIT

__all__ = ["GarbageValues"]


class GarbageValues(Rule):
    """Elements of a parameter that no initializer draws.

    What it does:
        Looks at the largest element of every parameter beside the rest, and for numbers below the smallest normal one.

    Why:
        Memory that was allocated and never filled (torch.empty, to_empty, a rank that got no shard) seldom holds NaN.
        More often it holds old bytes: 3e30 here, 8e-45 there. The network works on one machine and not on the next.

    What is measured:
        Error for an element beyond 1e6. Warning for an element beyond 1,000 times the rms of the elements up to 100
        times the median, and where more than one in twenty non-zero elements are below 1.2e-38 (not in float16,
        where ordinary weights are). A normal law reaches 8 standard deviations in 1e15 draws.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> with torch.no_grad():
        ...     model[0].bias[3] = 3e30
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> fanin.check(model, x, targets=y).findings[0].message[:21]
        '0.bias[3] is 3e+30, t'

    Fix:
        Initialise the parameter; look for torch.empty without a fill.

    References:
        torch.empty documentation: the tensor holds uninitialised data.
    """

    code: ClassVar[str] = "P507"
    name: ClassVar[str] = "garbage-values"
    thresholds: ClassVar[dict[str, float]] = {"huge": 1e6, "beyond": 1e3, "subnormal": 0.05}
    source: ClassVar[str] = "torch.empty documentation"

    def check(self, context: Context) -> Iterator[Finding]:
        """One finding about large elements, one about tiny ones."""
        known = [p for p in context.measurements.parameters if p.values is not None]
        far = [p for p in known if self._excess(context, p) > 1]
        if far:
            yield self._far(context, sorted(far, key=lambda p: -self._excess(context, p)))
        share = self.limit(context, "subnormal")
        tiny = [p for p in known if p.values is not None and p.values.subnormal_share > share]
        if tiny:
            yield self._tiny(context, tiny)

    def _excess(self, context: Context, parameter: ParameterRecord) -> float:
        """The largest element over its limit."""
        seen = parameter.values
        if seen is None:
            return 0.0
        far = seen.num_beyond > 0 and seen.rest_rms > 0
        relative = seen.largest / (self.limit(context, "beyond") * seen.rest_rms) if far else 0.0
        return max(seen.largest / self.limit(context, "huge"), relative)

    def _far(self, context: Context, far: list[ParameterRecord]) -> Finding:
        worst, seen = far[0], far[0].values
        index = "" if seen is None or not seen.index else str(list(seen.index))
        largest, rest = (0.0, 0.0) if seen is None else (seen.largest, seen.rest_rms)
        others = f", the other elements have rms {rest:.3g}" if rest > 0 else ""
        count = 1 if seen is None else seen.num_beyond
        more = f" {count} elements are that far out." if count > 1 else ""
        severe = largest > self.limit(context, "huge")
        return self.finding(
            "error" if severe else "warning",
            [p.path for p in far],
            f"{worst.path}{index} is {largest:.3g}{others}.{more}",
            _FILL,
            value=largest if severe else largest / rest,
            threshold=self.limit(context, "huge" if severe else "beyond"),
            unit="largest element" if severe else "largest element / rms of the rest",
        )

    def _tiny(self, context: Context, tiny: list[ParameterRecord]) -> Finding:
        share = max(p.values.subnormal_share for p in tiny if p.values is not None)
        return self.finding(
            "warning",
            [p.path for p in tiny],
            f"{share:.0%} of the non-zero elements of {tiny[0].path} are below 1.2e-38, the smallest normal number: "
            "bytes of memory that was never filled, or weights that have decayed to nothing.",
            _FILL,
            value=share,
            threshold=self.limit(context, "subnormal"),
            unit="share of non-zero elements",
        )


_FILL = Fix(text="initialise it; look for torch.empty or to_empty without a fill", code=INIT, recommends_start=True)
