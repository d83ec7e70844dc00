"""D103: inputs that are not finite, or all the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix

__all__ = ["InputGarbage"]


class InputGarbage(Rule):
    """Inputs with NaN or infinity, or that are one constant.

    What it does:
        Tests every element of every floating input for NaN and infinity, and the batch for any variation at all.

    Why:
        One NaN reaches every weight in one step. A constant input says nothing about its targets.

    What is measured:
        Any non-finite element; standard deviation over the batch of zero (or below 1e-6 of the rms). Both are errors.

    Example:
        >>> import torch, fanin
        >>> x = torch.randn(32, 20)
        >>> x[3, 7] = float("nan")
        >>> fanin.check(torch.nn.Linear(20, 3), x, targets=torch.randint(0, 3, (32,))).findings[0].name
        'input-nonfinite-or-constant'

    Fix:
        Fix the loader: ``torch.nan_to_num`` hides the cause, so look for the record it came from.

    References:
        Braiek and Khomh 2023, Testing feedforward neural networks training programs (arXiv 2204.00694).
    """

    code: ClassVar[str] = "D103"
    name: ClassVar[str] = "input-nonfinite-or-constant"
    thresholds: ClassVar[dict[str, float]] = {"spread": 1e-6}
    source: ClassVar[str] = "Braiek and Khomh 2023, arXiv 2204.00694"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a floating input."""
        return None if any(i.floating for i in context.measurements.inputs) else "no floating input"

    def check(self, context: Context) -> Iterator[Finding]:
        """One finding an input."""
        for record in context.measurements.inputs:
            s = record.stats
            if not record.floating:
                continue
            if s.any_nonfinite:
                yield self.finding(
                    "error",
                    [record.name],
                    f"{record.name} holds NaN or infinity.",
                    Fix(
                        text="find the record it comes from",
                        code="bad = ~torch.isfinite(x).flatten(1).all(1)  # rows to look at",
                    ),
                )
            elif s.numel > 16 and s.std <= self.limit(context, "spread") * max(s.rms, 1e-30):
                yield self.finding(
                    "error",
                    [record.name],
                    f"{record.name} is the same number everywhere ({s.mean:.3g}).",
                    Fix(text="hand the check (and the model) a real batch"),
                    value=s.std,
                    threshold=self.limit(context, "spread"),
                    unit="std / rms",
                )
