"""S201: The signal shrinks with depth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding
from fanin.rules.shared.depth import forward_sites
from fanin.rules.shared.drifts import DRIFT_THRESHOLDS, judge, too_few

__all__ = ["ForwardVanishing"]


class ForwardVanishing(Rule):
    """The signal shrinks with depth.

    What it does:
        Follows the scale of the signal through the weighted operations and looks for a steady decay.

    Why:
        Each layer multiplies the second moment by chi = gain^2 Var(W) fan_in. Below one it decays geometrically: the
        last layers see nothing but their biases, and gradients of the first layers die with it.

    What is measured:
        rms of the outputs of operations that read a weight, in execution order. Theil-Sen slope of its logarithm times
        the number of steps: warning beyond a factor of 1/100, error beyond 1e-4, where Kendall's |tau| > 0.6 and the
        drift is wider than three standard deviations of what finite width gives, sqrt(5 sum 1/n) / 2 in ln rms. Six
        operations or fewer have to pass 1/100 by one of these.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> linears = [nn.Linear(128, 128, bias=False) for _ in range(8)]
        >>> for linear in linears:
        ...     _ = nn.init.normal_(linear.weight, std=0.01)
        >>> model = nn.Sequential(*[m for linear in linears for m in (linear, nn.ReLU())], nn.Linear(128, 10))
        >>> x, y = torch.randn(64, 128), torch.randint(0, 10, (64,))
        >>> fanin.check(model, x, targets=y).findings[0].name
        'forward-vanishing'

    Fix:
        Give the weights the std gain / sqrt(fan_in) of their activation (He for ReLU), normalise, or add skip
        connections.

    References:
        Poole et al. 2016 (arXiv 1606.05340, eq. 3), He et al. 2015 (arXiv 1502.01852, eq. 10).
    """

    code: ClassVar[str] = "S201"
    name: ClassVar[str] = "forward-vanishing"
    thresholds: ClassVar[dict[str, float]] = DRIFT_THRESHOLDS
    source: ClassVar[str] = "Poole et al. 2016, arXiv 1606.05340, eq. 3"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a few weighted operations."""
        return too_few(forward_sites(context.measurements))

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        sites = forward_sites(context.measurements)
        values = [s.forward.rms for s in sites]
        yield from judge(self, context, sites, values, growing=False, what="signal")
