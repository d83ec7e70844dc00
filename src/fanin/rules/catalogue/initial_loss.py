"""L801: the first loss is far above that of knowing nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

from fanin.measure.kinds import REGRESSION
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix, Severity

__all__ = ["InitialLoss"]

_CLASSIFICATION = frozenset(("cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits"))

_LEVELS: tuple[Severity, ...] = ("error", "warning", "note")

_SMALLER = Fix(
    text="initialise the last layer smaller",
    code="torch.nn.init.normal_(head.weight, std=0.01); torch.nn.init.zeros_(head.bias)",
)


def _last_paths(context: Context) -> list[str]:
    return [s.path or s.module_class for s in context.measurements.weight_sites()[-1:]]


def _scale(num_classes: int | None) -> float:
    """Baseline of one term in nats, so that the slack of 0.5 nat fits a summed loss too."""
    return math.log(num_classes) if num_classes and num_classes > 1 else math.log(2.0)


class InitialLoss(Rule):
    """The first loss is far above that of knowing nothing.

    What it does:
        Compares the loss at step zero with the loss of the best constant answer; of a regression, the predictions with
        the targets.

    Why:
        A network that has seen no label should be as unsure as a guess: ln K for K classes. A loss far above means
        logits that are large for no reason; the first steps are spent undoing them. A loss far below means that the
        answer leaks into the input.

    What is measured:
        L0 against H0 (ln K, ln 2 per label). A softmax over Gaussian logits of std s has L0 = ln K + s^2 / 2 and
        freezes onto one class at s^2 = 2 ln K, where L0 = 2 H0. Warning above 2.5 H0 (past that point in every draw),
        error above 4 H0, note above 1.5 H0 + 0.5 and below H0 / 2. Squared, absolute and Huber losses: warning where
        the rms of the predictions is above 100 and above 100 times that of the targets.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> _ = nn.init.normal_(model[2].weight, std=3.0)
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> fanin.check(model, x, targets=y).findings[0].name
        'initial-loss-too-high'

    Fix:
        Initialise the last layer smaller; set its bias to the log prior of the classes; look for a missing
        normalisation before it.

    References:
        Karpathy 2019, A recipe for training neural networks (verify loss at init).
    """

    code: ClassVar[str] = "L801"
    name: ClassVar[str] = "initial-loss-too-high"
    thresholds: ClassVar[dict[str, float]] = {
        "note": 1.5,
        "warning": 2.5,
        "error": 4.0,
        "leak": 0.5,
        "predictions": 100.0,
    }
    source: ClassVar[str] = "Karpathy 2019, A recipe for training neural networks"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a loss whose kind is known."""
        loss = context.measurements.loss
        if loss.op in REGRESSION and loss.targets is not None and loss.prediction is not None:
            return None
        return (
            None if loss.op in _CLASSIFICATION and loss.baseline else "no classification or regression loss was called"
        )

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        yield from (self._predictions if context.measurements.loss.op in REGRESSION else self._loss)(context)

    def _predictions(self, context: Context) -> Iterator[Finding]:
        loss, limit = context.measurements.loss, self.limit(context, "predictions")
        if loss.prediction is None or loss.targets is None or loss.prediction.any_nonfinite:
            return
        own, wanted = loss.prediction.rms, loss.targets.rms
        if own <= limit * max(wanted, 1.0):
            return
        yield self.finding(
            "warning",
            _last_paths(context),
            f"the first predictions have rms {own:.3g}, the targets {wanted:.3g}: the first steps are spent on undoing "
            "them.",
            _SMALLER,
            value=own / max(wanted, 1.0),
            threshold=limit,
            unit="rms of predictions / rms of targets",
        )

    def _loss(self, context: Context) -> Iterator[Finding]:
        loss = context.measurements.loss
        own, baseline = loss.own_value, loss.baseline
        if own is None or not baseline or not math.isfinite(own):
            return
        ratio = own / baseline
        unit = {"value": ratio, "unit": "loss / loss of knowing nothing"}
        slack = 0.5 * baseline / _scale(loss.num_classes)
        level = next(
            (name for name in _LEVELS if own > self.limit(context, name) * baseline + slack * (name == "note")), None
        )
        if level is not None:
            spread = f"; logits have std {loss.logit_std:.2g} over classes" if loss.logit_std is not None else ""
            yield self.finding(
                level,
                _last_paths(context),
                f"the first loss is {own:.3g}, {ratio:.2g} times that of knowing nothing ({baseline:.3g}){spread}.",
                _SMALLER,
                threshold=self.limit(context, level),
                **unit,
            )
        elif ratio < self.limit(context, "leak"):
            yield self.finding(
                "note",
                ["loss"],
                f"the first loss is {own:.3g}, {ratio:.2g} times that of knowing nothing: does the input hold the "
                "answer?",
                Fix(text="look whether targets reach the input (shift of labels, tied embeddings that copy)"),
                threshold=self.limit(context, "leak"),
                confidence="low",
                **unit,
            )
