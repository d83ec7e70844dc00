"""P502: weights whose scale does not fit their fan_in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.biases import biased_maps
from fanin.rules.shared.gains import gain_of, gain_ratio, maps

__all__ = ["FanMismatch"]

_STDS = 3.0


class FanMismatch(Rule):
    """Weights whose scale does not fit their fan_in.

    What it does:
        Compares the std of each weight that meets an activation (no norm between) with gain / sqrt(fan_in), and says
        where it fits fan_out instead.

    Why:
        It is the reason behind a drift, and no fault by itself: normalised and residual layers do not mind. So it is
        told only beside S201 to S205; but where weights are so small that most units see nothing but ordinary biases,
        it is a fault of its own.

    What is measured:
        r = Var(W) fan_in / gain^2 outside [0.15, 6.7]. torch's default nn.Linear and nn.Conv2d give 1/6 for ReLU. A
        warning where r < 0.01 and biases of rms up to 1 / sqrt(fan_in) are beyond three standard deviations of W x in
        more than half of the units.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> linears = [nn.Linear(128, 128, bias=False) for _ in range(8)]
        >>> for linear in linears:
        ...     _ = nn.init.normal_(linear.weight, std=0.01)
        >>> model = nn.Sequential(*[m for linear in linears for m in (linear, nn.ReLU())], nn.Linear(128, 10))
        >>> report = fanin.check(model, torch.randn(64, 128), targets=torch.randint(0, 10, (64,)))
        >>> "fan-mismatch" in [f.name for f in report.findings + report.consequences]
        True

    Fix:
        Draw with std gain / sqrt(fan_in); for a transposed convolution fan_in counts what one output sums.

    References:
        He et al. 2015 (arXiv 1502.01852, eq. 10 and 14).
    """

    code: ClassVar[str] = "P502"
    name: ClassVar[str] = "fan-mismatch"
    thresholds: ClassVar[dict[str, float]] = {"low": 0.15, "high": 6.7, "outweighed": 0.5}
    source: ClassVar[str] = "He et al. 2015, arXiv 1502.01852, eq. 10"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a weight whose output meets a known activation."""
        return None if maps(context.measurements) else "no weight meets a known activation directly"

    only_with: ClassVar[tuple[str, ...]] = ("S201", "S202", "S203", "S204", "S205")

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        low, high = self.limit(context, "low"), self.limit(context, "high")
        rated = [(gain_ratio(p) ** 2, p) for p in maps(context.measurements)]
        off = sorted((r for r in rated if not low <= r[0] <= high), key=lambda r: -abs(math.log(r[0])))
        if not off:
            return
        share = self.limit(context, "outweighed")
        small = [m for m in biased_maps(context.measurements) if m.has_small_weights]
        outweighed = [m.weight.path for m in small if m.share_beyond(_STDS) > share]
        ratio, worst = next((r for r in off if r[1].path in outweighed), off[0])
        swapped = abs(ratio * (worst.fan_out or 1) / (worst.fan_in or 1) - 1) < 0.1
        gain = gain_of(worst.follower)
        yield self.finding(
            "warning" if outweighed else "note",
            outweighed or [p.path for _, p in off],
            f"{worst.path} has Var(W) fan_in / gain^2 = {ratio:.2g}"
            + ("; it fits fan_out instead of fan_in." if swapped else ".")
            + (" Its units see little but their biases." if outweighed else ""),
            Fix(
                text=(
                    f"std gain / sqrt(fan_in) = {gain / (worst.fan_in or 1) ** 0.5:.4g} for {worst.follower} "
                    f"behind fan_in {worst.fan_in:.0f}"
                ),
                code=f"torch.nn.init.normal_(layer.weight, std={gain / (worst.fan_in or 1) ** 0.5:.4g})",
            ),
            value=ratio,
            threshold=low if ratio < 1 else high,
            unit="Var(W) fan_in / gain^2",
        )
