"""W913: weight decay moves the weights more than the loss does."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import ClassVar

from fanin.measure.steps import StepRecord
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.steps import early, runs
from fanin.text.numbers import counted

__all__ = ["DecayOutweighs"]


class DecayOutweighs(Rule):
    """Weight decay moves the weights more than the loss does.

    What it does:
        Compares the part of a step that is weight decay with the part that follows the loss.

    Why:
        Where the decay is the larger part, every step pulls all weights towards zero whatever the data say: the signal
        shrinks, and the loss stays at that of a constant answer.

    What is measured:
        Where the decay is added to the gradient (SGD, Adam): decay rms(W) / rms(g). Where it is apart from it (AdamW):
        rate decay rms(W) over what is left of the step. The median over matrices and over the steps from the second
        within the first 20; warning above 2.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=1.0)
        >>> with fanin.watch(model, optimizer) as watched:
        ...     for _ in range(10):
        ...         loss = nn.functional.cross_entropy(model(x), y)
        ...         optimizer.zero_grad()
        ...         loss.backward()
        ...         _ = optimizer.step()
        >>> "decay-outweighs" in [f.name for f in watched.report.findings + watched.report.consequences]
        True

    Fix:
        Lower the weight decay: 1e-4 to 5e-4 are usual for SGD, 0.01 to 0.1 for AdamW, whose decay is times the rate.

    References:
        Loshchilov and Hutter 2019 (arXiv 1711.05101).
    """

    code: ClassVar[str] = "W913"
    name: ClassVar[str] = "decay-outweighs"
    thresholds: ClassVar[dict[str, float]] = {"ratio": 2.0}
    source: ClassVar[str] = "Loshchilov and Hutter 2019, arXiv 1711.05101"

    def cannot_run(self, context: Context) -> str | None:
        """Needs steps of an optimizer with weight decay, the second or later."""
        watched, why = runs(context)
        if watched is None:
            return why
        return None if _known(early(watched)) else "no weight decay was seen in the second step or later"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        watched, _ = runs(context)
        known = [] if watched is None else _known(early(watched))
        value = median(known) if known else 0.0
        if watched is None or value <= self.limit(context, "ratio"):
            return
        yield self.finding(
            "warning",
            ["optimizer"],
            f"weight decay changes the weights by {value:.2g} times what the loss changes in a step (median of "
            f"{counted(len(watched.weights), 'matrix', 'matrices')}).",
            Fix(text="lower the weight decay", code="optimizer.param_groups[0]['weight_decay'] = 1e-4"),
            value=value,
            threshold=self.limit(context, "ratio"),
            unit="decay / gradient in a step",
        )


def _known(steps: list[StepRecord]) -> list[float]:
    return [s.decay for s in steps if s.step > 1 and s.decay is not None]
