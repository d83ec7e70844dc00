"""W904: the loss rises in the first steps of training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.measure.steps import Watched
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.steps import early, runs, start_loss, trained_before

__all__ = ["LossUp"]


class LossUp(Rule):
    """The loss rises in the first steps of training.

    What it does:
        Compares the last losses within the first 20 steps with that of the first step.

    Why:
        A loss that stays far above its first value is worse than no training: the steps are too large.

    What is measured:
        The smallest of the last three measured losses over the first loss. Error above 1.5; a warning where the first
        loss is below 0.7 times that of a constant prediction, since such weights were trained before and have a loss
        that scatters more; a note where several optimizers are watched, since their losses may oppose each other. One
        high batch among others is no finding.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=100.0)
        >>> with fanin.watch(model, optimizer) as watched:
        ...     for _ in range(25):
        ...         loss = nn.functional.cross_entropy(model(x), y)
        ...         optimizer.zero_grad()
        ...         loss.backward()
        ...         _ = optimizer.step()
        ...         watched.step(loss=loss)
        >>> "loss-up" in [f.name for f in watched.report.findings + watched.report.consequences]
        True

    Fix:
        Lower the learning rate, warm up, or clip the gradient.

    References:
        Our own 560 runs of small networks, 259 of them healthy (benchmarks/results/watching.md)
    """

    code: ClassVar[str] = "W904"
    name: ClassVar[str] = "loss-up"
    thresholds: ClassVar[dict[str, float]] = {"growth": 1.5}
    source: ClassVar[str] = "our own 560 runs of small networks, 259 of them healthy (benchmarks/results/watching.md)"

    def cannot_run(self, context: Context) -> str | None:
        """Needs the loss of at least four measured steps."""
        watched, why = runs(context)
        if watched is None:
            return why
        if start_loss(watched) is None:
            return "the loss is not known; pass it on: watched.step(loss=loss)"
        return None if len(_losses(watched)) > _LAST else "fewer than four losses were seen"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        watched, _ = runs(context)
        losses = [] if watched is None else _losses(watched)
        if len(losses) <= _LAST or losses[0] <= 0:
            return
        value = min(losses[-_LAST:]) / losses[0]
        if value <= self.limit(context, "growth"):
            return
        several = watched is not None and watched.optimizers > 1
        yield self.finding(
            "note" if several else "warning" if trained_before(context) else "error",
            ["loss"],
            f"the loss is {value:.3g} times that of the first step ({losses[0]:.4g}) and stays there.",
            Fix(
                text="lower the learning rate, warm up, or clip the gradient",
                code="torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=100)",
            ),
            value=value,
            threshold=self.limit(context, "growth"),
            unit="of the first loss",
        )


_LAST = 3


def _losses(watched: Watched) -> list[float]:
    return [s.loss for s in early(watched) if s.loss is not None]
