"""G404: gradients of very different relative size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix

__all__ = ["GradientImbalance"]


class GradientImbalance(Rule):
    """Gradients of very different relative size.

    What it does:
        Compares rms(gradient) / rms(weight) between weight matrices of the same shape class.

    Why:
        With plain SGD one learning rate moves some layers ten thousand times faster, relative to their size, than
        others. Adam evens this out.

    What is measured:
        Ratio of the largest to the smallest rms(g) / rms(W) among matrices of one kind (same owner class): note above
        1e4.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> model = nn.Sequential(*[m for _ in range(6) for m in (nn.Linear(32, 32), nn.Sigmoid())], nn.Linear(32, 10))
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> report = fanin.check(model, x, targets=y, select=["G404"])
        >>> [f.name for f in report.findings]
        ['gradient-imbalance']

    Fix:
        Fix the drift if there is one (S203, S204); otherwise an adaptive optimizer or per-group learning rates.

    References:
        You et al. 2017 (arXiv 1708.03888).
    """

    code: ClassVar[str] = "G404"
    name: ClassVar[str] = "gradient-imbalance"
    thresholds: ClassVar[dict[str, float]] = {"spread": 10000.0}
    source: ClassVar[str] = "You et al. 2017, arXiv 1708.03888"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a backward."""
        return context.measurements.missing.get("gradients")

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding: the owner class with the widest spread."""
        kinds: dict[str, list[tuple[float, str]]] = {}
        for p in context.measurements.parameters:
            if p.is_map and p.grad_over_weight:
                kinds.setdefault(p.owner_class, []).append((p.grad_over_weight, p.path))
        spreads = [(max(v)[0] / min(v)[0], min(v)[1], max(v)[1], k) for k, v in kinds.items() if len(v) > 1]
        widest = max(spreads, default=None)
        if widest is not None and widest[0] > self.limit(context, "spread"):
            yield self.finding(
                "note",
                [widest[1], widest[2]],
                f"gradient over weight differs by a factor of {widest[0]:.1e} between {widest[1]} and {widest[2]}.",
                Fix(text="an adaptive optimizer, per-group learning rates, or cure the drift that causes it"),
                value=widest[0],
                threshold=self.limit(context, "spread"),
                unit="largest / smallest rms(g) / rms(W)",
                confidence="medium",
            )
