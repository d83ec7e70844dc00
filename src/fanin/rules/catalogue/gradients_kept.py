"""W907: gradients are not cleared between steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.measure.steps import StepRecord, Watched
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.steps import runs

__all__ = ["GradientsKept"]


class GradientsKept(Rule):
    """Gradients are not cleared between steps.

    What it does:
        Looks whether the gradient of the step before is still there when a backward pass adds to it.

    Why:
        PyTorch adds each gradient to what is there. Without optimizer.zero_grad() a step follows the sum of all
        gradients since the start, most of them of weights that have moved on.

    What is measured:
        At one weight, each time that a backward pass adds to its gradient in a measured step: whether an entry of it is
        not zero. Error where that was so every time in every step from the second on, and in three steps at least. Not
        measured in compiled models, nor where a loop writes its gradients itself.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with fanin.watch(model, optimizer) as watched:
        ...     for _ in range(5):
        ...         loss = nn.functional.cross_entropy(model(x), y)
        ...         loss.backward()
        ...         _ = optimizer.step()
        ...         watched.step(loss=loss)
        >>> "gradients-kept" in [f.name for f in watched.report.findings + watched.report.consequences]
        True

    Fix:
        Call optimizer.zero_grad() before each backward pass, or before the first one where gradients are accumulated.

    References:
        PyTorch's documentation of Optimizer.zero_grad.
    """

    code: ClassVar[str] = "W907"
    name: ClassVar[str] = "gradients-kept"
    thresholds: ClassVar[dict[str, float]] = {"steps": 3.0}
    source: ClassVar[str] = "PyTorch's documentation of Optimizer.zero_grad"

    def cannot_run(self, context: Context) -> str | None:
        """Needs two measured steps."""
        watched, why = runs(context)
        if watched is None:
            return why
        return None if _later(watched) else "only the first step was seen"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        watched, _ = runs(context)
        seen = _later(watched) if watched is not None else []
        if len(seen) < self.limit(context, "steps") or not all(s.kept for s in seen):
            return
        yield self.finding(
            "error",
            ["optimizer"],
            f"in all {len(seen)} measured steps from step {seen[0].step} to {seen[-1].step} the gradients of earlier "
            "steps were still there: they are never cleared.",
            Fix(text="call optimizer.zero_grad() before each backward pass", code="optimizer.zero_grad()"),
            value=float(len(seen)),
            threshold=self.limit(context, "steps"),
            unit="steps",
        )


def _later(watched: Watched) -> list[StepRecord]:
    return [s for s in watched.steps if s.step > 1]
