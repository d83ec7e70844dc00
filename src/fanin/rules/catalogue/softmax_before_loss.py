"""L802: a loss applied to what it does not expect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.measure.record import LossRecord
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix, Severity
from fanin.rules.shared.losses import loss_of

__all__ = ["SoftmaxBeforeLoss"]

_LOSSES = frozenset(("cross_entropy", "nll_loss", "binary_cross_entropy_with_logits", "ctc_loss", "kl_div"))


class SoftmaxBeforeLoss(Rule):
    """A loss applied to what it does not expect.

    What it does:
        Looks at what the loss function is called with: probabilities where it expects logits, logits where it expects
        log-probabilities.

    Why:
        Cross-entropy applies log-softmax itself. Fed with probabilities it squeezes logits into [0, 1]: gradients
        shrink and the loss cannot fall below about ln K - 1. The same holds for a sigmoid before
        binary_cross_entropy_with_logits; nll_loss, ctc_loss and kl_div without log_softmax are unbounded.

    What is measured:
        Rows that are non-negative and sum to one before cross_entropy; a sigmoid or softmax as the operation before
        either loss; rows whose exponentials do not sum to one before nll_loss and ctc_loss, numbers above zero before
        kl_div. log_softmax before cross_entropy is
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
        return None if loss_of(context).op in _LOSSES else "no classification loss was called"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        loss = loss_of(context)
        if not (loss.already or loss.lacks):
            return
        harmless = loss.already == "log_softmax"
        severity: Severity = "note" if harmless else "error"
        yield self.finding(severity, ["loss"], _words(loss.op, loss.already, loss.lacks), _fix(loss))


def _words(op: str, already: str, lacks: str) -> str:
    if lacks:
        return f"{op} is called without {lacks}: what it computes has no least value."
    twice = f"the outputs are what a {already} gives, and {op} applies its own"
    if already == "log_softmax":
        return f"{twice} (harmless: of log-probabilities it changes nothing)."
    return f"{twice}: gradients shrink and the loss cannot reach zero."


def _fix(loss: LossRecord) -> Fix:
    """Logits for the loss that was called; for one that expects log-probabilities, these."""
    call = f"loss = torch.nn.functional.{loss.op}"
    if loss.lacks:
        code = f"{call}(torch.{loss.lacks}(logits, dim={1 if loss.op == 'nll_loss' else -1}), y)"
        instead = ", or cross_entropy the logits" if loss.op == "nll_loss" else ""
        return Fix(text=f"give {loss.op} log-probabilities{instead}", code=code)
    return Fix(text="pass logits", code=f"{call}(logits, y)  # no {loss.already} in the model")
