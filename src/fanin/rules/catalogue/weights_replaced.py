"""W901: the first steps of training replace the initial weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.steps import early, has_learned, ranked, runs, typical
from fanin.text.numbers import counted

__all__ = ["WeightsReplaced"]


class WeightsReplaced(Rule):
    """The first steps of training replace the initial weights.

    What it does:
        Compares how far the weights have moved since the start with their size at the start.

    Why:
        Once the change is as large as the weights, nothing of the initialization is left: the learning rate is too high
        for these weights, or the weights are too small for it. Among all quantities that were compared, this distance
        separated too-high learning rates from healthy ones best; the norm of the gradient did not.

    What is measured:
        rms(W - W_0) / rms(W_0) of each matrix, on 1,024 of its entries, and the median over the matrices. Warning above
        1.4 within the first 20 steps, error above 3. In our healthy runs it was at most 0.9, in those whose rate was
        too high on purpose at least 2. Steps of a warm-up count by their rate over the peak rate. Embedding tables are
        left out, since a batch reads few of their rows; for a matrix that starts at zero the distance is relative to 1
        / sqrt(fan_in), and for one that starts smaller than a quarter of that to this quarter. While a warm-up is
        running the finding is a warning. Between the two limits it is a note where the loss has fallen below 0.7 times
        the first one, and beyond them where it is below a tenth of the first one and of that of a constant prediction:
        such a run learns fast.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> optimizer = torch.optim.AdamW(model.parameters(), lr=0.3)
        >>> with fanin.watch(model, optimizer) as watched:
        ...     for _ in range(25):
        ...         loss = nn.functional.cross_entropy(model(x), y)
        ...         optimizer.zero_grad()
        ...         loss.backward()
        ...         _ = optimizer.step()
        ...         watched.step(loss=loss)
        >>> "weights-replaced" in [f.name for f in watched.report.findings + watched.report.consequences]
        True

    Fix:
        Lower the learning rate, or warm up to it for more steps; for Adam the change in one step is about lr / rms(W).

    References:
        Our own 560 runs of small networks, 259 of them healthy (benchmarks/results/watching.md);
        Yang et al. 2022 (arXiv 2203.03466) for updates relative to weights.
    """

    code: ClassVar[str] = "W901"
    name: ClassVar[str] = "weights-replaced"
    thresholds: ClassVar[dict[str, float]] = {"warning": 1.4, "error": 3.0}
    source: ClassVar[str] = "our own 560 runs of small networks, 259 of them healthy (benchmarks/results/watching.md)"

    def cannot_run(self, context: Context) -> str | None:
        """Needs measured steps of at least one matrix."""
        watched, why = runs(context)
        if watched is None:
            return why
        return None if watched.weights else "no weight matrix was followed"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        watched, _ = runs(context)
        rated = [] if watched is None else [(typical(s.distances), s) for s in early(watched)]
        far = [(d, s) for d, s in rated if d is not None]
        if watched is None or not far:
            return
        value, step = max(far, key=lambda r: r[0])
        if value <= self.limit(context, "warning"):
            return
        warming = step.effective < 0.9 * step.step
        half, most = has_learned(context, step.loss, [s.loss for s in early(watched)])
        severe = value > self.limit(context, "error") and not warming and not most
        past = f", at {step.effective:.0f} steps' worth of the peak rate" if warming else ""
        fast = most or (half and value <= self.limit(context, "error"))
        yield self.finding(
            "error" if severe else "note" if fast else "warning",
            ranked(watched.weights, step.distances, largest=True),
            f"after {step.step} steps{past} the weights have moved by {value:.2g} times their initial size (median of "
            f"{counted(len(watched.weights), 'matrix', 'matrices')}): nothing of the initialization is left.",
            Fix(
                text="lower the learning rate, or warm up for more steps",
                code="torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=100)",
            ),
            value=value,
            threshold=self.limit(context, "error" if severe else "warning"),
            unit="change / initial weight",
        )
