"""W902: training does not move the weights."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean
from typing import ClassVar

from fanin.measure.steps import StepRecord, Watched
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.drawn import look_drawn
from fanin.rules.shared.steps import early, ranked, runs, typical
from fanin.text.numbers import counted

__all__ = ["WeightsStill"]


class WeightsStill(Rule):
    """Training does not move the weights.

    What it does:
        Looks for weights that hardly change in a step, and for an optimizer that never steps.

    Why:
        With updates below one part in 50,000 of the weights, thousands of steps do not leave the start. The learning
        rate is too low, the gradient is zero, or the optimizer holds other parameters than the model uses.

    What is measured:
        rms of the change in one step over rms of the weight, times peak rate over the rate of the step, so that a
        warm-up is no fault. The median over matrices and over the steps from the fifth on; warning below 2e-5.
        Embedding tables are left out, since a batch reads few of their rows. Where no optimizer holds a parameter of
        the model, its own matrices are followed. Weights that look as they were just drawn have all their way before
        them: for those the limit is 1e-4, unless the loss is known and has fallen by 2 %. Warning, too, where 20 losses
        were told and no optimizer made a step. Among our runs the smallest ratio of a healthy one was 1.5e-4, of a
        fine-tuned residual network, and 8e-4 of one that was just drawn.

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
        Our own 560 runs of small networks, 259 of them healthy (benchmarks/results/watching.md)
    """

    code: ClassVar[str] = "W902"
    name: ClassVar[str] = "weights-still"
    thresholds: ClassVar[dict[str, float]] = {"ratio": 2e-5, "drawn": 1e-4, "losses": 20.0}
    source: ClassVar[str] = "our own 560 runs of small networks, 259 of them healthy (benchmarks/results/watching.md)"

    def cannot_run(self, context: Context) -> str | None:
        """Needs steps at a positive rate, the fifth or later."""
        watched = context.measurements.watched
        if watched is not None and watched.unstepped:
            return None
        watched, why = runs(context)
        if watched is None:
            return why
        if not watched.weights:
            return "no weight matrix was followed"
        return None if _settled(watched) else "fewer than five steps at a positive learning rate were seen"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        watched = context.measurements.watched
        if watched is None:
            return
        if watched.unstepped >= self.limit(context, "losses"):
            yield self._unstepped(context, watched)
        judged = _settled(watched)
        value = typical(None if (u := typical(s.updates)) is None else u * _at_peak(watched, s) for s in judged)
        limit = self.limit(context, "drawn" if _has_all_before(context, watched) else "ratio")
        if value is None or value >= limit:
            return
        yield self.finding(
            "warning",
            ranked(watched.weights, judged[-1].updates, largest=False),
            f"one {watched.optimizer} step at the full learning rate changes the weights by {value:.2g} of their size "
            f"(median of {counted(len(watched.weights), 'matrix', 'matrices')}): training does not leave the "
            f"start{_foreign(watched)}.",
            Fix(
                text="make the optimizer from this model's parameters"
                if watched.foreign
                else "raise the learning rate; make sure that the loss depends on these weights"
            ),
            value=value,
            threshold=limit,
            unit="change / weight in a step",
        )

    def _unstepped(self, context: Context, watched: Watched) -> Finding:
        return self.finding(
            "warning",
            ["optimizer"],
            f"{watched.unstepped} losses were told and {watched.optimizer} made no step.",
            Fix(text="call optimizer.step() after loss.backward()", code="optimizer.step()"),
            value=float(watched.unstepped),
            threshold=self.limit(context, "losses"),
            unit="losses without a step",
        )


def _has_all_before(context: Context, watched: Watched) -> bool:
    """Whether the weights look as they were drawn, and the loss is that of the start as far as it is known."""
    known = [s.loss for s in watched.steps if s.loss is not None]
    fallen = len(known) > 2 and fmean(known[-2:]) < _FALLEN * known[0]
    return not fallen and look_drawn(p for p in context.measurements.parameters if p.requires_grad)


_FALLEN = 0.98


def _foreign(watched: Watched) -> str:
    return "; the optimizer holds no trained parameter of this model" if watched.foreign else ""


def _settled(watched: Watched) -> list[StepRecord]:
    """Steps that count; all rates are zero where the optimizer's groups name none, or zero."""
    return [s for s in early(watched) if s.step >= _SETTLED and (s.rate > 0 or watched.peak == 0)]


def _at_peak(watched: Watched, step: StepRecord) -> float:
    return max(watched.peak / step.rate, 1.0) if step.rate > 0 else 1.0


_SETTLED = 5  # Adam's first steps are larger than those that follow
