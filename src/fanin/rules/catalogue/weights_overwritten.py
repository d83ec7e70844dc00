"""W909: something other than the optimizer changes the weights."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import ClassVar

from fanin.measure.steps import Watched
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.steps import runs

__all__ = ["WeightsOverwritten"]


class WeightsOverwritten(Rule):
    """Something other than the optimizer changes the weights.

    What it does:
        Compares the weights at the end of a step with those at the beginning of the next one.

    Why:
        Between two steps nothing should write into trained weights. Where weights are loaded, drawn or set to zero
        inside the loop, or an average is written over them, training is undone.

    What is measured:
        rms of the change between two measured steps over rms of the weight, on 1,024 entries of each matrix. Warning
        above 0.5 in one step; where all weights are exactly those of the start again; and where it is above half the
        change that the optimizer makes, in three steps at least. Where steps between two measured ones were not
        measured, four times the optimizer's largest change so far is taken off for each. Entries that are put back to
        zero after every step count as the mask of a pruned weight, and are left out.

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
        ...         _ = optimizer.step()
        ...         watched.step(loss=loss)
        ...         model[2].reset_parameters()
        >>> "weights-overwritten" in [f.name for f in watched.report.findings + watched.report.consequences]
        True

    Fix:
        Take what writes into the weights out of the loop; keep an average in a copy of the model.

    References:
        Our own 560 runs of small networks, 259 of them healthy (benchmarks/results/watching.md).
    """

    code: ClassVar[str] = "W909"
    name: ClassVar[str] = "weights-overwritten"
    thresholds: ClassVar[dict[str, float]] = {"large": 0.5, "undone": 0.5, "steps": 3.0}
    source: ClassVar[str] = "our own 560 runs of small networks, 259 of them healthy (benchmarks/results/watching.md)"

    def cannot_run(self, context: Context) -> str | None:
        """Needs two measured steps of weights that the optimizers hold."""
        watched, why = runs(context)
        if watched is None:
            return why
        if any(value is not None for s in watched.steps for value in s.outside):
            return None
        return "no two steps of a weight that an optimizer holds were measured"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        watched, _ = runs(context)
        if watched is None:
            return
        large = sorted(_changes(watched, self.limit(context, "large")), reverse=True)
        again = sorted(_undone(watched, self.limit(context, "undone"), int(self.limit(context, "steps"))), reverse=True)
        back = next((s for s in watched.steps if s.restored), None)
        if back is not None:
            value = max((v for v in back.outside if v is not None), default=0.0)
            said = f"before step {back.step} something put all weights back to where they started."
        elif large:
            value, name, step = large[0]
            said = f"before step {step} something other than the optimizer changed {name} by {value:.2g} of its size."
        elif again:
            value, name = again[0]
            said = (
                f"between steps something other than the optimizer changes {name}, by {value:.2g} of what a step "
                "changes (median)."
            )
        else:
            return
        yield self.finding(
            "warning",
            watched.weights
            if back is not None
            else dict.fromkeys([name for _, name, _ in large] + [name for _, name in again]),
            said,
            Fix(text="take what writes into the weights out of the loop; keep averages in a copy of the model"),
            value=value,
            threshold=self.limit(context, "large" if large else "undone"),
            unit="of the weight" if large else "of the change in a step",
        )


def _changes(watched: Watched, limit: float) -> Iterator[tuple[float, str, int]]:
    """(change over weight, name, step) of the changes above a limit."""
    for step in watched.steps:
        for name, value in zip(watched.weights, step.outside, strict=bool(step.outside)):
            if value is not None and value > limit:
                yield value, name, step.step


def _undone(watched: Watched, limit: float, times: int) -> Iterator[tuple[float, str]]:
    """(change over that of a step, name) of weights that are changed so in this many steps."""
    for place, name in enumerate(watched.weights):
        pairs = [(s.outside[place], s.updates[place]) for s in watched.steps if s.outside and s.updates]
        shares = [o / u for o, u in pairs if o is not None and u and o > max(limit * u, _ROUNDING)]
        if len(shares) >= times:
            yield median(shares), name


_ROUNDING = 1e-6  # of the weight
