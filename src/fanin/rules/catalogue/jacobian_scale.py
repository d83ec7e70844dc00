"""S206: the input-output Jacobian is far from unit scale."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

from fanin.measure.record import Measurements
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.gains import CLOSED_GATE, INIT
from fanin.rules.shared.inputs import chi_as_read
from fanin.rules.shared.places import places
from fanin.rules.shared.sizes import map_sizes
from fanin.theory.effects import batch_norm_growth

__all__ = ["JacobianScale"]


_MOST_PLACES = 3
_FACTOR = 2.0
_SEE_DRIFTS = Fix(text="see S201 to S204 for the layers in which the factor arises")
_NORMED = (
    " No weight is larger than its activation needs: each batch norm behind a ReLU multiplies a small change by up to "
    "1.2, whatever the weights are."
)
_FEWER_NORMS = Fix(
    text="no initialization changes this; residual connections around the batch norms, or fewer of them, lower it"
)
_DRAW_AGAIN = Fix(
    text="draw the named weights, which change the signal most, anew",
    code=INIT,
    recommends_start=True,
)


def _largest_factors(measurements: Measurements, *, growing: bool) -> list[str]:
    """Where the signal grows (or shrinks) most beside what the activation behind needs, the worst first.

    Output layers are left out: their scale is the loss's matter.
    """
    sign = 1.0 if growing else -1.0
    rated = [(sign * math.log(s.seen), s.site) for s in map_sizes(measurements) if s.seen and not s.is_output]
    worst = sorted((r for r in rated if r[0] > math.log(_FACTOR)), key=lambda r: (-r[0], r[1].index))
    return places((site for _, site in worst[:_MOST_PLACES]), measurements)


def _without_batch_norms(chi: float, measurements: Measurements) -> float:
    """Chi over what the batch norms of the model give by themselves, behind ReLU: (pi / (pi - 1))^count."""
    count = sum(s.norm is not None and s.norm.kind == "batch_norm" for s in measurements.sites)
    return math.exp(math.log(chi) - count * math.log(batch_norm_growth("relu")))


class JacobianScale(Rule):
    """The input-output Jacobian is far from unit scale.

    What it does:
        Sends random vectors v from the output back to the input, through the first samples of the batch, and compares
        norms.

    Why:
        chi = |J^T v|^2 / |v|^2 is the mean squared singular value that a small change of the input meets. Far below one
        the output does not depend on the input, far above it a small step changes the loss by a large factor.

    What is measured:
        chi over Gaussian v and two samples (more where a batch norm needs them). Note outside [0.001, 1000], warning
        outside [1e-8, 1e6]; healthy networks lie in 1e-4 to 1e4, those with almost closed gates (LayerScale) lower: a
        note. An input that the model divides counts as it is divided. A note too where no weight is larger than its
        activation needs and chi over (pi / (pi - 1))^n, the growth of n batch norms at any scale of the weights, is at
        most 1e6. Needs a floating input.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> linears = [nn.Linear(64, 64, bias=False) for _ in range(3)]
        >>> for linear in linears:
        ...     _ = nn.init.normal_(linear.weight, std=4.0)
        >>> report = fanin.check(nn.Sequential(*linears), torch.randn(32, 64), select=["S206"])
        >>> report.findings[0].name
        'jacobian-scale'

    Fix:
        Draw the weights that it names with std gain / sqrt(fan_in); the drift rules (S201 to S204) show the layers.

    References:
        Pennington, Schoenholz and Ganguli 2017 (arXiv 1711.04735); Yang et al. 2019 (arXiv 1902.08129) for batch norm.
    """

    code: ClassVar[str] = "S206"
    name: ClassVar[str] = "jacobian-scale"
    thresholds: ClassVar[dict[str, float]] = {"low": 1e-8, "high": 1e6, "note_low": 1e-3, "note_high": 1e3}
    source: ClassVar[str] = "Pennington et al. 2017, arXiv 1711.04735"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a gradient at the input."""
        if context.measurements.jacobian is not None:
            return None
        return context.measurements.missing.get("jacobian", "no gradient reaches a floating input")

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        chi = chi_as_read(context.measurements)
        if not chi:
            return
        low, high = self.limit(context, "note_low"), self.limit(context, "note_high")
        if low <= chi <= high:
            return
        bad = not self.limit(context, "low") <= chi <= self.limit(context, "high")
        gated = chi < 1 and any(p.gate and p.weight.rms <= CLOSED_GATE for p in context.measurements.parameters)
        side = "high" if chi > 1 else "low"
        found = _largest_factors(context.measurements, growing=chi > 1)
        own = chi if found else _without_batch_norms(chi, context.measurements)
        normed = bad and own < chi > 1 and own <= self.limit(context, "high")
        yield self.finding(
            "warning" if bad and not gated and not normed else "note",
            found or [""],
            f"a small change of the input changes the output by a factor of {chi**0.5:.2g} (chi = "
            f"{chi:.2g}).{_NORMED if normed else ''}",
            _DRAW_AGAIN if found else _FEWER_NORMS if normed else _SEE_DRIFTS,
            value=chi,
            threshold=self.limit(context, side if bad else f"note_{side}"),
            unit="mean squared singular value",
            confidence="medium",
        )
