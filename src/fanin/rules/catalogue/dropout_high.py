"""W914: dropout that leaves almost nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.steps import runs

__all__ = ["DropoutHigh"]


class DropoutHigh(Rule):
    """A dropout layer leaves almost nothing.

    What it does:
        Looks at the share that the dropout layers of a model in training put to zero.

    Why:
        What is left is multiplied by 1 / (1 - p): at p = 0.99 one number in a hundred, a hundred times as large. The
        share to keep was given in place of the share to drop, or a digit too many.

    What is measured:
        p of the model's dropout modules. Warning from 0.9 on, where the multiple of the signal's variance is 10 or
        more. Calls of torch.nn.functional.dropout are not seen.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Dropout(0.99), nn.Linear(64, 10))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with fanin.watch(model, optimizer) as watched:
        ...     loss = nn.functional.cross_entropy(model(x), y)
        ...     loss.backward()
        ...     _ = optimizer.step()
        >>> "dropout-high" in [f.name for f in watched.report.findings + watched.report.consequences]
        True

    Fix:
        0.1 to 0.5 are usual; nn.Dropout takes the share that is dropped.

    References:
        Srivastava et al. 2014, Dropout, section 7.3.
    """

    code: ClassVar[str] = "W914"
    name: ClassVar[str] = "dropout-high"
    thresholds: ClassVar[dict[str, float]] = {"share": 0.9}
    source: ClassVar[str] = "Srivastava et al. 2014, section 7.3"

    def cannot_run(self, context: Context) -> str | None:
        """Needs measured steps."""
        return runs(context)[1] or None

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        watched, _ = runs(context)
        dropped = {} if watched is None else dict(zip(watched.dropout, watched.dropped, strict=True))
        high = {name: p for name, p in dropped.items() if p >= self.limit(context, "share")}
        if not high:
            return
        name, p = max(high.items(), key=lambda item: item[1])
        yield self.finding(
            "warning",
            list(high),
            f"{name} puts a share of {p:.3g} of what it reads to zero.",
            Fix(text="drop less", code="nn.Dropout(0.1)"),
            value=p,
            threshold=self.limit(context, "share"),
            unit="share that is dropped",
        )
