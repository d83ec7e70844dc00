"""O901: a first update that rewrites the weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix, Severity

__all__ = ["StepSize"]


class StepSize(Rule):
    """A first update that rewrites the weights.

    What it does:
        With the optimizer given, compares the size of the first update with the size of each weight matrix.

    Why:
        Update over weight of about one thousandth is what trained networks show; above one half the initialization is
        gone after the first step.

    What is measured:
        SGD: lr rms(g) / rms(W). Adam and similar optimizers move every element by lr at first: lr / rms(W). Warning
        above 0.5, error above 2, note where every matrix moves by less than 1e-6. Needs optimizer=.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> fanin.check(model, x, targets=y, optimizer=torch.optim.Adam(model.parameters(), lr=0.5)).findings[0].name
        'step-size'

    Fix:
        Lower the learning rate, warm up, or scale it by width.

    References:
        Kingma and Ba 2015 (arXiv 1412.6980); Yang et al. 2022 (arXiv 2203.03466).
    """

    code: ClassVar[str] = "O901"
    name: ClassVar[str] = "step-size"
    thresholds: ClassVar[dict[str, float]] = {"warning": 0.5, "error": 2.0, "note": 1e-06}
    source: ClassVar[str] = "Yang et al. 2022, arXiv 2203.03466"

    def cannot_run(self, context: Context) -> str | None:
        """Needs the optimizer."""
        return None if context.optimizer else "no optimizer was given"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        if context.optimizer is None:
            return
        lr, adaptive = context.optimizer.lr, context.optimizer.adaptive
        rated = []
        for p in context.measurements.parameters:
            if p.is_map and p.weight.rms > 0 and p.gradient is not None and p.state == "nonzero":
                rated.append(((lr if adaptive else lr * p.gradient.rms) / p.weight.rms, p.path))
        rated.sort(reverse=True)
        if not rated:
            return
        large = [r for r in rated if r[0] > self.limit(context, "warning")]
        if large:
            severe = large[0][0] > self.limit(context, "error")
            yield self._one(context, large, "error" if severe else "warning", "error" if severe else "warning")
        elif rated[0][0] < self.limit(context, "note"):
            yield self._one(context, rated, "note", "note")

    def _one(self, context: Context, rated: list[tuple[float, str]], severity: Severity, limit: str) -> Finding:
        name = context.optimizer.name if context.optimizer else "optimizer"
        verb = "does nothing to" if severity == "note" else "rewrites"
        return self.finding(
            severity,
            [path for _, path in rated],
            f"the first {name} step {verb} {rated[0][1]}: update / weight = {rated[0][0]:.2g}.",
            Fix(
                text="change the learning rate or warm up",
                code="torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.01)",
            ),
            value=rated[0][0],
            threshold=self.limit(context, limit),
            unit="update / weight",
        )
