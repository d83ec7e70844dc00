"""W902: training does not move the weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.steps import early, ranked, runs, typical

__all__ = ["WeightsStill"]


class WeightsStill(Rule):
    """Training does not move the weights.

    What it does:
        Looks for weights that hardly change in a step.

    Why:
        With updates below one part in 50,000 of the weights, thousands of steps do not leave the start. The learning
        rate is too low, the gradient is zero, or the optimizer holds other parameters than the model uses.

    What is measured:
        rms of the change in one step over rms of the weight, times peak rate over the rate of the step, so that a
        warm-up is no fault. The median over matrices and over the steps from the fifth on; warning below 2e-5.
        Embedding tables are left out, since a batch reads few of their rows.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> optimizer = torch.optim.Adam(model.parameters(), lr=1e-7)
        >>> with fanin.watch(model, optimizer) as watched:
        ...     for _ in range(10):
        ...         loss = nn.functional.cross_entropy(model(x), y)
        ...         optimizer.zero_grad()
        ...         loss.backward()
        ...         _ = optimizer.step()
        ...         watched.step(loss=loss)
        >>> "weights-still" in [f.name for f in watched.report.findings + watched.report.consequences]
        True

    Fix:
        Raise the learning rate; look for a zero in front of the loss, a detached tensor, or an optimizer that was made
        before the model was replaced.

    References:
        Our own 82 runs (40 healthy) of digits networks and small language models, 120 steps each
    """

    code: ClassVar[str] = "W902"
    name: ClassVar[str] = "weights-still"
    thresholds: ClassVar[dict[str, float]] = {"ratio": 2e-5}
    source: ClassVar[str] = "our own 82 runs (40 healthy) of digits networks and small language models, 120 steps each"

    def cannot_run(self, context: Context) -> str | None:
        """Needs steps at a positive rate, the fifth or later."""
        watched, why = runs(context)
        if watched is None:
            return why
        if not watched.weights:
            return "no weight matrix was followed"
        judged = [s for s in early(watched) if s.step >= _SETTLED and s.rate > 0]
        return None if judged else "fewer than five steps at a positive learning rate were seen"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        watched, _ = runs(context)
        if watched is None:
            return
        judged = [s for s in early(watched) if s.step >= _SETTLED and s.rate > 0]
        value = typical(
            None if (u := typical(s.updates)) is None else u * max(watched.peak / s.rate, 1.0) for s in judged
        )
        if value is None or value >= self.limit(context, "ratio"):
            return
        yield self.finding(
            "warning",
            ranked(watched.weights, judged[-1].updates, largest=False),
            f"one {watched.optimizer} step at the full learning rate changes the weights by {value:.2g} of their size "
            f"(median of {len(watched.weights)} matrices): training does not leave the start.",
            Fix(text="raise the learning rate; make sure that the loss depends on these weights", code=""),
            value=value,
            threshold=self.limit(context, "ratio"),
            unit="change / weight in a step",
        )


_SETTLED = 5  # Adam's first steps are larger than those that follow
