"""S204: The gradient grows towards the input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding
from fanin.rules.shared.depth import backward_sites, backward_size
from fanin.rules.shared.drifts import DRIFT_THRESHOLDS, judge, too_few

__all__ = ["BackwardExploding"]


class BackwardExploding(Rule):
    """The gradient grows towards the input.

    What it does:
        Follows the norm of the gradient from the last weighted operation back to the first and looks for a steady
        growth.

    Why:
        Each layer multiplies the squared gradient by chi_1 = Var(W) fan_in E[phi'(z)^2]. Above one the first layers get
        steps that are too large by that factor to the depth. Batch normalisation without skip connections does it at
        any gain: pi / (pi - 1) = 1.47 per ReLU layer.

    What is measured:
        Norm of the gradient at the outputs of operations that read a weight, from the last to the first. Same trend
        test as for the forward signal: warning beyond a factor of 100, error beyond 1e4. Networks that batch-normalise
        most layers grow by a few hundred at first and train (stock ResNets); there the limit is 1000, and a warning is
        the most.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> linears = [nn.Linear(128, 128, bias=False) for _ in range(16)]
        >>> for linear in linears:
        ...     _ = nn.init.normal_(linear.weight, std=0.265)
        >>> model = nn.Sequential(*[m for linear in linears for m in (linear, nn.Tanh())], nn.Linear(128, 10))
        >>> x, y = torch.randn(64, 128), torch.randint(0, 10, (64,))
        >>> report = fanin.check(model, x, targets=y)
        >>> "backward-exploding" in [f.name for f in report.findings + report.consequences]
        True

    Fix:
        Lower the weights' std; under batch normalisation add skip connections. Clipping the gradient treats the
        symptom.

    References:
        Schoenholz et al. 2017 (arXiv 1611.01232), Yang et al. 2019 (arXiv 1902.08129, eq. 5) for batch normalisation.
    """

    code: ClassVar[str] = "S204"
    name: ClassVar[str] = "backward-exploding"
    thresholds: ClassVar[dict[str, float]] = {**DRIFT_THRESHOLDS, "normalised": 1000.0}
    source: ClassVar[str] = "Yang et al. 2019, arXiv 1902.08129"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a few weighted operations."""
        return context.measurements.missing.get("gradients") or too_few(backward_sites(context.measurements))

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        # Batch normalisation after every layer is known to explode at first and to tame itself: a warning, never an
        # error.
        normalised = sum(s.follower == "batch_norm" for s in backward_sites(context.measurements))
        sites = backward_sites(context.measurements)[::-1]
        values = [backward_size(s) for s in sites]
        yield from judge(
            self, context, sites, values, growing=True, what="gradient", capped=2 * normalised > len(sites)
        )
