"""W905: NaN or infinity in the first steps of training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.steps import runs

__all__ = ["NonfiniteTraining"]


class NonfiniteTraining(Rule):
    """NaN or infinity in the first steps of training.

    What it does:
        Names the first step whose loss, gradients or weights hold NaN or infinity.

    Why:
        Nothing that is computed after it means anything, and every weight that it reaches is lost.

    What is measured:
        The loss, and 1,024 entries of each matrix and of its gradient, at every measured step. Error.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=1e30)
        >>> with fanin.watch(model, optimizer) as watched:
        ...     for _ in range(25):
        ...         loss = nn.functional.cross_entropy(model(x), y)
        ...         optimizer.zero_grad()
        ...         loss.backward()
        ...         _ = optimizer.step()
        ...         watched.step(loss=loss)
        >>> "nonfinite-training" in [f.name for f in watched.report.findings + watched.report.consequences]
        True

    Fix:
        Lower the learning rate, warm up, clip the gradient; in float16 scale the loss.

    References:
        Micikevicius et al. 2018 (arXiv 1710.03740) on loss scaling.
    """

    code: ClassVar[str] = "W905"
    name: ClassVar[str] = "nonfinite-training"
    thresholds: ClassVar[dict[str, float]] = {}
    source: ClassVar[str] = "Micikevicius et al. 2018, arXiv 1710.03740"

    def cannot_run(self, context: Context) -> str | None:
        """Needs measured steps."""
        return runs(context)[1] or None

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        watched, _ = runs(context)
        step = next((s for s in watched.steps if s.nonfinite), None) if watched is not None else None
        if step is None:
            return
        yield self.finding(
            "error",
            [step.nonfinite.removeprefix("gradient of ")],
            f"{step.nonfinite} holds NaN or infinity at step {step.step}.",
            Fix(text="lower the learning rate, warm up or clip the gradient; in float16 scale the loss"),
            value=float(step.step),
            unit="steps",
        )
