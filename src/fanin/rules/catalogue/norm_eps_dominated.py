"""N602: a normalisation that divides by its eps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.measure.kinds import SITE_NORMS
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix

__all__ = ["NormEpsDominated"]


class NormEpsDominated(Rule):
    """A normalisation that divides by its eps.

    What it does:
        Compares the variance of every normalisation's input with the eps that is added to it.

    Why:
        Where the variance is below eps the layer no longer normalises: its output shrinks with its input, and what
        should be of unit scale is not.

    What is measured:
        Median variance (mean square for RMSNorm) over statistics against eps: the output has rms sqrt(v / (v + eps)).
        Warning below eps / 10 (output rms below 0.3), error where more than half of the normalisations are, note below
        eps. At the end of a residual branch a small output is a gate, and in front of a second normalisation it is
        brought to unit scale (if that one's own eps allows it): a note. Inputs that are exactly zero (closed gates) are
        left out.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 10))
        >>> _ = nn.init.normal_(model[0].weight, std=1e-4), nn.init.zeros_(model[0].bias)
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> fanin.check(model, x, targets=y).findings[0].name
        'norm-eps-dominated'

    Fix:
        Raise the scale of what feeds it, or lower eps.

    References:
        Ba, Kiros and Hinton 2016 (arXiv 1607.06450).
    """

    code: ClassVar[str] = "N602"
    name: ClassVar[str] = "norm-eps-dominated"
    thresholds: ClassVar[dict[str, float]] = {"warning": 0.1, "note": 1.0}
    source: ClassVar[str] = "Ba et al. 2016, arXiv 1607.06450"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a normalisation with an eps."""
        return (
            None
            if any(s.norm is not None and s.norm.eps > 0 for s in context.measurements.sites)
            else "no normalisation with an eps"
        )

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        rated = sorted(
            (s.norm.input_var / s.norm.eps, s.path or s.module_class, s.follower == "add" or s.follower in SITE_NORMS)
            for s in context.measurements.sites
            if s.norm is not None
            and s.norm.eps > 0
            and s.norm.input_var > 0
            and (s.norm.training or s.norm.kind != "batch_norm")
        )
        low = [r for r in rated if r[0] < self.limit(context, "note")]
        if low:
            severe = [r for r in low if r[0] < self.limit(context, "warning") and not r[2]]
            bad, low = bool(severe), severe or low
            most = bad and len(low) > 1 and 2 * len(low) > len(rated)
            yield self.finding(
                "error" if most else "warning" if bad else "note",
                dict.fromkeys(path for _, path, _ in low),
                f"the input of {low[0][1]} has {low[0][0]:.2g} times the variance of its eps: it divides by eps, "
                "not by the signal.",
                Fix(text="raise the scale of what feeds it, or lower eps", code="torch.nn.LayerNorm(width, eps=1e-8)"),
                value=low[0][0],
                threshold=self.limit(context, "warning" if bad else "note"),
                unit="variance / eps",
            )
