"""O901: a first update that rewrites the weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.measure.record import ParameterRecord
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
        rms(dW) / rms(W) of the first step, which the optimizer makes on a copy of each weight, its weight decay
        included. Adagrad's steps get smaller from the first on, so half of its first step counts. An optimizer that
        cannot be tried so is judged by lr rms(g) / rms(W), one that is like Adam by lr / rms(W). Warning above 0.5,
        error above 2, note where every matrix moves by less than 1e-6. Where a schedule starts lower, the rate that it
        leads to (initial_lr or max_lr of a group) is judged too, with a warning at most: a warm-up may make a rate
        harmless that would rewrite the weights in the first step. The message says which rate was judged. SGD is not
        judged where the loss is not known. Needs optimizer=.

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
        """Needs the optimizer, and the loss where the step depends on the size of the gradient."""
        if context.optimizer is None:
            return "no optimizer was given"
        if not context.optimizer.adaptive and context.measurements.loss.source == "cotangent":
            return "the loss is not known, and the step depends on the size of its gradient"
        return None

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        if context.optimizer is None:
            return
        lr, peak = context.optimizer.lr, max(context.optimizer.peak or 0.0, context.optimizer.lr)
        rated, at_peak = _rated(context, lr, "update"), _rated(context, peak, "update_at_peak")
        if not rated:
            return
        large = [r for r in rated if r[0] > self.limit(context, "warning")]
        later = [r for r in at_peak if r[0] > self.limit(context, "warning")]
        if large:
            severe = large[0][0] > self.limit(context, "error")
            yield self._one(context, large, "error" if severe else "warning", f"the first {_name(context)} step")
        elif later:
            yield self._one(context, later, "warning", f"a {_name(context)} step at the peak rate {peak:.3g}")
        elif at_peak[0][0] < self.limit(context, "note"):
            yield self._one(context, at_peak, "note", f"a {_name(context)} step at rate {peak:.3g}")

    def _one(self, context: Context, rated: list[tuple[float, str]], severity: Severity, step: str) -> Finding:
        verb = "does nothing to" if severity == "note" else "rewrites"
        return self.finding(
            severity,
            [path for _, path in rated],
            f"{step} {verb} {rated[0][1]}: update / weight = {rated[0][0]:.2g}.",
            _decay_fix(context, rated[0][0])
            or Fix(
                text="change the learning rate or warm up",
                code="torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.01)",
            ),
            value=rated[0][0],
            threshold=self.limit(context, severity),
            unit="update / weight",
        )


def _name(context: Context) -> str:
    return context.optimizer.name if context.optimizer else "optimizer"


def _decay_fix(context: Context, update: float) -> Fix | None:
    """What to do where most of the update is weight decay."""
    decay = context.optimizer.decay if context.optimizer else 0.0
    if decay < _MOSTLY * update:
        return None
    return Fix(text=f"lower the weight decay: in a step it takes {decay:.2g} of each weight")


_MOSTLY = 0.8  # of the update
_SHRINKING = 0.5  # of the first step, for those that are divided by the root of the number of steps


def _rated(context: Context, lr: float, measured: str) -> list[tuple[float, str]]:
    """(update / weight of a first step at this rate, name), the largest first."""
    share = _SHRINKING if "adagrad" in _name(context).lower() else 1.0
    return sorted(
        (
            (share * (_update(context, p, lr) if (known := getattr(p, measured)) is None else known), p.path)
            for p in context.measurements.parameters
            if p.is_map and p.weight.rms > 0 and p.gradient is not None and p.state == "nonzero"
        ),
        reverse=True,
    )


def _update(context: Context, p: ParameterRecord, lr: float) -> float:
    """What a first step would be by the kind of the optimizer."""
    adaptive = context.optimizer is not None and context.optimizer.adaptive
    size = 1.0 if adaptive or p.gradient is None else p.gradient.rms
    return lr * size / p.weight.rms
