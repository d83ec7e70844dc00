"""L802: a loss applied to what it does not expect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix

__all__ = ["SoftmaxBeforeLoss"]

_LOSSES = frozenset(("cross_entropy", "nll_loss", "binary_cross_entropy_with_logits"))


class SoftmaxBeforeLoss(Rule):
    """A loss applied to what it does not expect.

    What it does:
        Looks at what the loss function is called with: probabilities where it expects logits, logits where it expects
        log-probabilities.

    Why:
        Cross-entropy applies log-softmax itself. Fed with probabilities it squeezes logits into [0, 1]: gradients
        shrink and the loss cannot fall below about ln K - 1. The same holds for a sigmoid before
        binary_cross_entropy_with_logits; nll_loss without log_softmax is unbounded.

    What is measured:
        Rows that are non-negative and sum to one before cross_entropy; a sigmoid or softmax as the operation before
        either loss; rows whose exponentials do not sum to one before nll_loss. log_softmax before cross_entropy is
        harmless: a note.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10), nn.Softmax(-1))
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> fanin.check(model, x, targets=y).findings[0].name
        'softmax-before-loss'

    Fix:
        Pass logits.

    References:
        torch.nn.CrossEntropyLoss documentation; Humbatova et al. 2020 (arXiv 1910.11015), taxonomy of real faults.
    """

    code: ClassVar[str] = "L802"
    name: ClassVar[str] = "softmax-before-loss"
    thresholds: ClassVar[dict[str, float]] = {}
    source: ClassVar[str] = "Humbatova et al. 2020, arXiv 1910.11015"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a classification loss."""
        return None if context.measurements.loss.op in _LOSSES else "no classification loss was called"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        loss = context.measurements.loss
        if not (loss.already or loss.lacks):
            return
        harmless = loss.already == "log_softmax"
        words = (
            f"{loss.op} is called without {loss.lacks}"
            if loss.lacks
            else f"{loss.already} comes before {loss.op}, which applies its own"
        )
        yield self.finding(
            "note" if harmless else "error",
            ["loss"],
            words
            + (
                " (harmless: it changes nothing)." if harmless else ": gradients shrink and the loss cannot reach zero."
            ),
            Fix(
                text="pass logits",
                code="loss = torch.nn.functional.cross_entropy(logits, y)  # no softmax in the model",
            ),
        )
