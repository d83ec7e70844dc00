"""W906: training kills the units of a layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.steps import runs

__all__ = ["DeadGrowth"]


class DeadGrowth(Rule):
    """Training kills the units of a layer.

    What it does:
        Looks for layers whose inputs have become zero in the first steps.

    Why:
        A rectifier unit that is zero for every sample has no gradient and stays zero. One step that is too large can
        push a whole layer there.

    What is measured:
        The share of a layer's input features that are exactly zero for the whole batch, where no input is negative.
        Error where it is above 0.95 and was below 0.8 at the first measured step, so that at least three of four
        features that were alive have died; layers that are dead at the start are A301's. In our healthy runs the share
        was at most 0.33. Not measured in compiled models.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> x = 0.1 * torch.randn(64, 32)
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 1))
        >>> _ = nn.init.uniform_(model[2].weight, 0.1, 0.2)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with fanin.watch(model, optimizer) as watched:
        ...     for _ in range(10):
        ...         loss = (model(x) + 100).square().mean()
        ...         optimizer.zero_grad()
        ...         loss.backward()
        ...         _ = optimizer.step()
        ...         watched.step(loss=loss)
        >>> "dead-growth" in [f.name for f in watched.report.findings + watched.report.consequences]
        True

    Fix:
        Lower the learning rate, warm up, or use an activation without a flat half.

    References:
        Lu et al. 2019 (arXiv 1903.06733).
    """

    code: ClassVar[str] = "W906"
    name: ClassVar[str] = "dead-growth"
    thresholds: ClassVar[dict[str, float]] = {"dead": 0.95, "before": 0.8}
    source: ClassVar[str] = "Lu et al. 2019, arXiv 1903.06733"

    def cannot_run(self, context: Context) -> str | None:
        """Needs layers whose inputs were measured at two steps."""
        watched, why = runs(context)
        if watched is None:
            return why
        seen = [s for s in watched.steps if s.dead]
        return None if watched.layers and len(seen) > 1 else "the inputs of layers were not measured"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        watched, _ = runs(context)
        if watched is None or not watched.layers or not (seen := [s for s in watched.steps if s.dead]):
            return
        first, last = seen[0], seen[-1]
        lost = [
            (now, name)
            for name, before, now in zip(watched.layers, first.dead, last.dead, strict=True)
            if before is not None
            and now is not None
            and now > self.limit(context, "dead")
            and before < self.limit(context, "before")
        ]
        if not lost:
            return
        value, name = max(lost, key=lambda r: r[0])
        yield self.finding(
            "error",
            [n for _, n in lost],
            f"at step {last.step}, {value:.0%} of what {name} reads is zero for the whole batch, unlike at the start.",
            Fix(text="lower the learning rate, warm up, or use LeakyReLU or GELU"),
            value=value,
            threshold=self.limit(context, "dead"),
            unit="share of units",
        )
