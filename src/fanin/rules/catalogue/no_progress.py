"""W903: the loss does not fall in the first steps of training."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from statistics import fmean, median
from typing import ClassVar

from fanin.measure.steps import Watched
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.steps import early, runs, start_loss, trained_before

__all__ = ["NoProgress"]


class NoProgress(Rule):
    """The loss does not fall in the first steps of training.

    What it does:
        Compares the loss after 16 to 20 steps with that of the first step.

    Why:
        In every healthy run that was measured the loss fell by 15 % or more within 20 steps. A loss that stays means
        that nothing is learned: a rate too low, units that are all dead, a signal that does not reach the output.

    What is measured:
        Mean loss of the steps that count 15 to 20 (under a warm-up: at the peak rate) over the first loss. Warning
        above 0.98. Not judged where the losses scatter by more than 5 % from step to step, and where the first loss is
        below 0.7 times that of a constant prediction: such weights were trained before.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=1e-5)
        >>> with fanin.watch(model, optimizer) as watched:
        ...     for _ in range(25):
        ...         loss = nn.functional.cross_entropy(model(x), y)
        ...         optimizer.zero_grad()
        ...         loss.backward()
        ...         _ = optimizer.step()
        ...         watched.step(loss=loss)
        >>> "no-progress" in [f.name for f in watched.report.findings + watched.report.consequences]
        True

    Fix:
        Raise the learning rate, or see the findings beside this one.

    References:
        Our own 82 runs (40 healthy) of digits networks and small language models, 120 steps each
    """

    code: ClassVar[str] = "W903"
    name: ClassVar[str] = "no-progress"
    thresholds: ClassVar[dict[str, float]] = {"left": 0.98, "noise": 0.05}
    source: ClassVar[str] = "our own 82 runs (40 healthy) of digits networks and small language models, 120 steps each"

    def cannot_run(self, context: Context) -> str | None:
        """Needs the loss of the first step and of steps 15 to 20, and weights that were not trained before."""
        watched, why = runs(context)
        if watched is None:
            return why
        if start_loss(watched) is None:
            return "the loss is not known; pass it on: watched.step(loss=loss)"
        if not _late(watched):
            return "fewer than 15 steps at the peak learning rate were seen"
        return "the first loss is that of weights that were trained before" if trained_before(context) else None

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        watched, _ = runs(context)
        first = start_loss(watched) if watched is not None else None
        if watched is None or first is None or first <= 0 or not (late := _late(watched)):
            return
        value = fmean(late) / first
        if value <= self.limit(context, "left") or _noise(watched) > self.limit(context, "noise"):
            return
        yield self.finding(
            "warning",
            ["loss"],
            f"after 20 steps the loss is {value:.3g} times that of the first step ({first:.4g}).",
            Fix(text="raise the learning rate, or mend what is found beside this"),
            value=value,
            threshold=self.limit(context, "left"),
            unit="of the first loss",
        )


_LATE = 15.0


def _late(watched: Watched) -> list[float]:
    """Losses of the steps that count 15 to 20 at the peak rate."""
    return [s.loss for s in early(watched) if s.effective >= _LATE and s.loss is not None]


def _noise(watched: Watched) -> float:
    """How much two losses in a row differ, typically, over the first loss; sqrt(2) times the scatter of one."""
    losses = [s.loss for s in early(watched) if s.loss is not None]
    steps = [abs(b - a) for a, b in pairwise(losses)]
    return median(steps) / losses[0] if steps and losses[0] > 0 else 0.0
