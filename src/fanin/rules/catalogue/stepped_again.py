"""W912: steps that follow the gradient of the step before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.steps import runs
from fanin.text.numbers import counted

__all__ = ["SteppedAgain"]


class SteppedAgain(Rule):
    """Steps that follow the gradient of the step before.

    What it does:
        Looks for steps whose gradients are exactly those of the step before, although the weights have moved.

    Why:
        The optimizer steps twice a batch, or no backward pass ran in between: the rate is twice what it says, moments
        and schedules count steps that saw no data.

    What is measured:
        The gradients of all followed weights, on 1,024 entries of each, in steps that follow each other. Warning where
        they are the same three times.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with fanin.watch(model, optimizer) as watched:
        ...     for _ in range(5):
        ...         loss = nn.functional.cross_entropy(model(x), y)
        ...         optimizer.zero_grad()
        ...         loss.backward()
        ...         for _ in range(2):
        ...             _ = optimizer.step()
        >>> "stepped-again" in [f.name for f in watched.report.findings + watched.report.consequences]
        True

    Fix:
        Call optimizer.step() once for each backward pass (a Trainer calls it by itself).

    References:
        PyTorch's documentation of torch.optim (taking an optimization step).
    """

    code: ClassVar[str] = "W912"
    name: ClassVar[str] = "stepped-again"
    thresholds: ClassVar[dict[str, float]] = {"steps": 3.0}
    source: ClassVar[str] = "PyTorch's documentation of torch.optim"

    def cannot_run(self, context: Context) -> str | None:
        """Needs two measured steps."""
        watched, why = runs(context)
        if watched is None:
            return why
        return None if len(watched.steps) > 1 else "only the first step was seen"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        watched, _ = runs(context)
        again = [] if watched is None else [s.step for s in watched.steps if s.repeated]
        if len(again) < self.limit(context, "steps"):
            return
        yield self.finding(
            "warning",
            ["optimizer"],
            counted(len(again), "step follows", "steps follow")
            + f" exactly the gradients of the step before, first step {again[0]}: no backward pass ran in between.",
            Fix(text="call optimizer.step() once for each backward pass", code="optimizer.step()"),
            value=float(len(again)),
            threshold=self.limit(context, "steps"),
            unit="steps",
        )
