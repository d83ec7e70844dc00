"""A301: rectifier units that never fire."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

from fanin.measure.record import Activity, Measurements, Site
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.gains import INIT
from fanin.rules.shared.upstream import read_by_weights

__all__ = ["DeadUnits"]


def _fed(measurements: Measurements) -> list[Site]:
    """Sites whose input is not zero altogether: where no signal arrives, the units are not the cause."""
    rms = {s.index: s.forward.rms for s in measurements.sites}
    fed = [s for s in measurements.sites if not s.inputs or any(rms.get(i, 1.0) > 0 for i in s.inputs)]
    read = read_by_weights(measurements)
    return [s for s in fed if s.index in read or s.activity is None or s.activity.reads not in _HINGES]


# What a hinge of a loss reads, max(0, x - margin): it is silent where the margin is kept.
_HINGES = frozenset(("sub", "rsub"))


def _excess(seen: Activity) -> float:
    """Dead share beyond chance and beyond three standard deviations of what so many units scatter by."""
    expected = seen.expected_dead_share or 0.0
    scatter = 3.0 * math.sqrt(max(expected * (1 - expected), 0.0) / seen.num_units)
    return 0.0 if seen.dead_share - expected <= scatter else seen.dead_share - expected


class DeadUnits(Rule):
    """Rectifier units that never fire.

    What it does:
        Counts units of ReLU-like activations with no active position in the whole batch, and compares with the share
        that chance explains.

    Why:
        A unit that is zero for every sample has zero gradient: it cannot recover. But some units are silent in any
        finite batch, more so when the samples are alike, so a raw share means nothing.

    What is measured:
        dead share minus E_z[Phi(-z sqrt(c / (1 - c)))^N], with N samples and c the mean cosine of the pre-activations
        between samples. Warning above 0.25, error where the dead share is at least 0.99. Units seen on N samples only:
        a unit that fires with probability below 3 / N can be missed.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> _ = nn.init.constant_(model[2].bias, -2.0)
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> report = fanin.check(model, x, targets=y)
        >>> "dead-units" in [f.name for f in report.findings + report.consequences]
        True

    Fix:
        Zero biases, He gain, centred inputs; or an activation without a flat half (LeakyReLU, GELU).

    References:
        Lu et al. 2019 (arXiv 1903.06733). The expected share: Steck and Owen 1962.
    """

    code: ClassVar[str] = "A301"
    name: ClassVar[str] = "dead-units"
    thresholds: ClassVar[dict[str, float]] = {"excess": 0.25, "all": 0.99}
    source: ClassVar[str] = "Lu et al. 2019, arXiv 1903.06733"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a rectifier."""
        return None if any(s.activity for s in context.measurements.sites) else "no ReLU-like activation ran"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding of each severity."""
        fed = _fed(context.measurements)
        rated = [(s, s.activity, _excess(s.activity)) for s in fed if s.activity is not None]
        lost = [r for r in rated if r[1].dead_share >= self.limit(context, "all")]
        some = [r for r in rated if r not in lost and r[2] > self.limit(context, "excess")]
        if lost:
            yield self._one(context, lost, severe=True)
        if some:
            yield self._one(context, some, severe=False)

    def _one(self, context: Context, rated: list[tuple[Site, Activity, float]], *, severe: bool) -> Finding:
        rated = sorted(rated, key=lambda r: -r[2])
        site, seen, _ = rated[0]
        chance = f", {seen.expected_dead_share:.0%} by chance" if seen.expected_dead_share is not None else ""
        return self.finding(
            "error" if severe else "warning",
            dict.fromkeys(s.path or s.module_class for s, _, _ in rated),
            f"{seen.dead_share:.0%} of {seen.num_units} {site.op} units are silent on all {seen.num_samples} "
            f"samples{chance}.",
            Fix(
                text="zero the biases before it, draw the weights anew, centre the inputs; or use LeakyReLU or GELU",
                code=INIT,
                recommends_start=True,
            ),
            value=seen.dead_share,
            threshold=self.limit(context, "all" if severe else "excess")
            + (0.0 if severe else seen.expected_dead_share or 0.0),
            unit="share of units",
            evidence={
                "sites": [s.index for s, _, _ in rated],
                "values": [a.dead_share for _, a, _ in rated],
                "expected": [a.expected_dead_share for _, a, _ in rated],
            },
        )
