"""S203: The gradient shrinks towards the input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding
from fanin.rules.shared.depth import backward_sites, backward_size
from fanin.rules.shared.drifts import DRIFT_THRESHOLDS, judge, too_few

__all__ = ["BackwardVanishing"]


class BackwardVanishing(Rule):
    """The gradient shrinks towards the input.

    What it does:
        Follows the norm of the gradient from the last weighted operation back to the first and looks for a steady
        decay.

    Why:
        Each layer multiplies the squared gradient by chi_1 = Var(W) fan_in E[phi'(z)^2]. Below one the first layers
        learn slower than the last by that factor to the depth, whatever the forward signal looks like.

    What is measured:
        Norm of the gradient at the outputs of operations that read a weight, from the last to the first. Same trend
        test as for the forward signal: warning beyond a factor of 1/100, of six operations or fewer by
        one standard deviation of what finite width does; error beyond 1e-4.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> linears = [nn.Linear(128, 128, bias=False) for _ in range(8)]
        >>> for linear in linears:
        ...     _ = nn.init.normal_(linear.weight, std=0.1)
        >>> model = nn.Sequential(*[m for linear in linears for m in (linear, nn.Sigmoid())], nn.Linear(128, 10))
        >>> x, y = torch.randn(64, 128), torch.randint(0, 10, (64,))
        >>> report = fanin.check(model, x, targets=y)
        >>> "backward-vanishing" in [f.name for f in report.findings + report.consequences]
        True

    Fix:
        As for the forward signal; replace sigmoid between layers (its slope is at most 1/4); add skip connections.

    References:
        Schoenholz et al. 2017 (arXiv 1611.01232, eq. 12), Glorot and Bengio 2010.
    """

    code: ClassVar[str] = "S203"
    name: ClassVar[str] = "backward-vanishing"
    thresholds: ClassVar[dict[str, float]] = DRIFT_THRESHOLDS
    source: ClassVar[str] = "Schoenholz et al. 2017, arXiv 1611.01232, eq. 12"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a few weighted operations."""
        return context.measurements.missing.get("gradients") or too_few(backward_sites(context.measurements, once=True))

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        sites = backward_sites(context.measurements, once=True)[::-1]
        values = [backward_size(s) for s in sites]
        yield from judge(self, context, sites, values, growing=False, what="gradient")
