"""W903: the weights move and the loss does not fall."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from statistics import fmean, median
from typing import ClassVar

from fanin.measure.steps import StepRecord, Watched
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.losses import loss_of
from fanin.rules.shared.steps import constant_share, runs, start_loss, trained_before, typical

__all__ = ["NoProgress"]


class NoProgress(Rule):
    """The weights move and the loss does not fall.

    What it does:
        Compares the loss with that of the first step, once the weights have moved.

    Why:
        Weights that have moved by a fifth of their size have changed the function. If the loss is still that of the
        start, there is nothing to learn in these batches, or what is learned does not reach the loss: targets that
        belong to other samples, a signal that is lost on its way. A loss that stays while the weights have hardly moved
        says nothing yet: healthy networks wait for 20 steps and more on the plateau of their start. While they wait,
        the gradients of their batches point in one direction; those of targets that belong to other samples do not.

    What is measured:
        Mean of the last two measured losses, from 15 steps at the peak rate on, over the first loss. Warning above 0.98
        where the median distance of the weights from their start is above 0.2, unless the gradients of the batches
        agree (their cosine is above 0.1). In our healthy runs that had moved so far the loss was at most 0.90 times the
        first one; with labels given to other samples it was 0.99.

        Warning, too, where the weights have moved by 0.01, the loss is above 0.98 times the first one, or that of a
        constant prediction where the loss function is known, and the gradients of the last five measured steps have a
        mean cosine below 0.04 with those before (from the third step on; median over matrices; batches of 16 or more):
        0.06 to 0.6 in healthy runs that wait, at most 0.022 where nothing can be learned.

        Not judged where the losses scatter by more than 5 % from step to step: the ratio then has a standard error of
        about 0.04, half of what lies between 0.98 and 0.90. Nor where the first loss is below 0.7 times that of a
        constant prediction (such weights were trained before), nor with several optimizers (their losses may oppose
        each other).

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        >>> with fanin.watch(model, optimizer) as watched:
        ...     for _ in range(40):
        ...         x, noise = torch.randn(512, 32), torch.randint(0, 10, (512,))
        ...         loss = nn.functional.cross_entropy(model(x), noise)
        ...         optimizer.zero_grad()
        ...         loss.backward()
        ...         _ = optimizer.step()
        ...         watched.step(loss=loss)
        >>> "no-progress" in [f.name for f in watched.report.findings + watched.report.consequences]
        True

    Fix:
        Look at a batch and its targets side by side; train on one batch alone, whose loss must fall.

    References:
        Our own 560 runs of small networks, 259 of them healthy (benchmarks/results/watching.md).
    """

    code: ClassVar[str] = "W903"
    name: ClassVar[str] = "no-progress"
    thresholds: ClassVar[dict[str, float]] = {"left": 0.98, "noise": 0.05, "moved": 0.2, "agreement": 0.04}
    source: ClassVar[str] = "our own 560 runs of small networks, 259 of them healthy (benchmarks/results/watching.md)"

    def cannot_run(self, context: Context) -> str | None:
        """Needs one optimizer, the first loss and later ones, and weights that were not trained before."""
        watched, why = runs(context)
        if watched is None:
            return why
        if start_loss(watched) is None:
            return "the loss is not known; pass it on: watched.step(loss=loss)"
        if watched.optimizers > 1:
            return "several optimizers are watched, and their losses may oppose each other"
        if not _late(watched):
            return "fewer than 15 steps at the peak learning rate were seen"
        return "the first loss is that of weights that were trained before" if trained_before(context) else None

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        watched, _ = runs(context)
        first = start_loss(watched) if watched is not None else None
        if watched is None or first is None or first <= 0 or not (late := _late(watched)):
            return
        step, left = late[-1], self.limit(context, "left")
        value, moved = fmean(s.loss for s in late if s.loss is not None) / first, typical(step.distances) or 0.0
        agreed, limit = _agreement(watched), self.limit(context, "agreement")
        many = (context.measurements.batch_size or _SAMPLES) >= _SAMPLES
        torn = agreed is not None and agreed < limit and moved > _MOVED and many
        far = value > left and moved > self.limit(context, "moved") and (agreed or 0.0) < _AGREED
        share = constant_share(context) if loss_of(context).baseline else None  # of a loss that is known, no guess
        if not far and not (torn and value > left * min(1.0, share or 1.0)):
            return
        if _noise(watched) > self.limit(context, "noise"):
            return
        yield self.finding(
            "warning",
            ["loss"],
            f"after {step.step} steps the weights have moved by {moved:.2g} times their size, and the loss is "
            f"{value:.3g} times that of the first step ({first:.4g}){_TORN if torn else ''}.",
            Fix(text="look at a batch and its targets; train on one batch alone, whose loss must fall"),
            value=value,
            threshold=self.limit(context, "left"),
            unit="of the first loss",
        )


_LATE = 15.0
_MOVED = 0.01
_AGREED = 0.1  # from which on a loss that stays is that of a start
_SAMPLES = 16  # in a batch of fewer, noise is most of a gradient
_LAST = 5
_TURNS = 0.12  # at most 0.09 where nothing can be learned
_TORN = "; the gradients of its batches have no direction in common"


def _agreement(watched: Watched) -> float | None:
    """Mean cosine of gradients and those before, over the last five measured steps; None where there are fewer.

    In the steps before, a start is undone whatever the targets are: those gradients agree. Gradients that turn round
    from step to step have a direction in common, too: the size of the cosine counts for those.
    """
    known = [s.agreement for s in watched.steps if s.agreement is not None][-_LAST:]
    if len(known) < _LAST:
        return None
    size = fmean(map(abs, known))
    return fmean(known) if size < _TURNS else size


def _late(watched: Watched) -> list[StepRecord]:
    """The last two steps with a loss, from 15 steps at the peak rate on."""
    return [s for s in watched.steps if s.effective >= _LATE and s.loss is not None][-2:]


def _noise(watched: Watched) -> float:
    """How much two losses in a row differ, typically, over the first loss; sqrt(2) times the scatter of one."""
    losses = [s.loss for s in watched.steps if s.loss is not None]
    steps = [abs(b - a) for a, b in pairwise(losses)]
    return median(steps) / losses[0] if steps and losses[0] > 0 else 0.0
