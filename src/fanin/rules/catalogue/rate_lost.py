"""W908: the learning rate falls to nothing in the first steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.measure.steps import Watched
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix, Severity
from fanin.rules.shared.steps import runs

__all__ = ["RateLost"]


class RateLost(Rule):
    """The learning rate falls to nothing in the first steps.

    What it does:
        Looks for a learning rate that is hundreds of times smaller than before, or zero, after a few steps.

    Why:
        A schedule of epochs that is called every batch, or one whose length is given in the wrong unit, ends before
        training has begun. The loss then stays where it is, and looks like one that has converged.

    What is measured:
        The rate of the last measured step over the largest rate before it. Warning below 0.01 where all steps so far
        are worth fewer than 10 at that largest rate; and where the rate is zero in every measured step from the first
        to the fifth or later although the optimizer's groups name a positive one (initial_lr). Where it is the same in
        every measured step from the first to the tenth or later: note below 0.01 of the one that the groups name, since
        a warm-up by the epoch does so, and one whose scheduler is never called; warning below 0.0005, at which nothing
        is learned either way. A rate that rises from a small value is a warm-up and no finding.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.1)
        >>> with fanin.watch(model, optimizer) as watched:
        ...     for _ in range(5):
        ...         loss = nn.functional.cross_entropy(model(x), y)
        ...         optimizer.zero_grad()
        ...         loss.backward()
        ...         _ = optimizer.step()
        ...         schedule.step()
        ...         watched.step(loss=loss)
        >>> "rate-lost" in [f.name for f in watched.report.findings + watched.report.consequences]
        True

    Fix:
        Call the scheduler once an epoch, or give its length in steps.

    References:
        Our own 560 runs of small networks, 259 of them healthy (benchmarks/results/watching.md).
    """

    code: ClassVar[str] = "W908"
    name: ClassVar[str] = "rate-lost"
    thresholds: ClassVar[dict[str, float]] = {"share": 0.01, "steps": 10.0, "idle": 0.0005}
    source: ClassVar[str] = "our own 560 runs of small networks, 259 of them healthy (benchmarks/results/watching.md)"

    def cannot_run(self, context: Context) -> str | None:
        """Needs measured steps of an optimizer with a rate."""
        watched, why = runs(context)
        if watched is None:
            return why
        return None if watched.peak > 0 else "the optimizer names no learning rate"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        watched, _ = runs(context)
        if watched is None or watched.peak <= 0:
            return
        share, steps = self.limit(context, "share"), self.limit(context, "steps")
        waits = _waits(watched, share, self.limit(context, "idle"))
        found = _never(watched) or waits or _fell(watched, share, steps)
        if found is None:
            return
        severity, said, value = found
        yield self.finding(
            severity,
            ["optimizer"],
            said,
            Fix(text="call the scheduler after every step", code="scheduler.step()")
            if waits
            else Fix(text="call the scheduler once an epoch, or give its length in steps"),
            value=value,
            threshold=share,
            unit="of the largest rate",
        )


_Found = tuple[Severity, str, float]


def _never(watched: Watched) -> _Found | None:
    """No step at a positive rate."""
    last = watched.steps[-1].step
    if any(s.rate for s in watched.steps) or last < _PATIENCE:
        return None
    said = f"the learning rate is zero in all steps up to {last}; the schedule leads to {watched.peak:.3g}."
    return "warning", said, 0.0


def _waits(watched: Watched, share: float, idle: float) -> _Found | None:
    """The small rate that a warm-up begins with, in all steps."""
    last = watched.steps[-1]
    if len({s.rate for s in watched.steps}) > 1 or last.rate >= share * watched.peak or last.step < _WARMING:
        return None
    said = (
        f"the learning rate is {last.rate:.3g} in all steps up to {last.step}; the schedule leads to "
        f"{watched.peak:.3g}. A warm-up by the epoch does so, and a scheduler that is never called."
    )
    return "warning" if last.rate < idle * watched.peak else "note", said, last.rate / watched.peak


def _fell(watched: Watched, share: float, steps: float) -> _Found | None:
    """A rate that has fallen to nothing."""
    last, high = watched.steps[-1], max(s.rate for s in watched.steps)
    worth = last.effective * watched.peak / high if high else steps
    if last.rate >= share * high or worth >= steps:
        return None
    said = (
        f"at step {last.step} the learning rate is {last.rate:.3g}, after {high:.3g} before: all steps together are "
        f"worth {worth:.2g} at that rate."
    )
    return "warning", said, last.rate / high


_PATIENCE = 5  # steps at rate zero; a warm-up may begin with one
_WARMING = 10  # steps at one small rate; a warm-up by the step has changed it by then
