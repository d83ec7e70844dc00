"""W911: the model is trained in eval mode."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.steps import runs

__all__ = ["EvalMode"]


class EvalMode(Rule):
    """The model is trained in eval mode.

    What it does:
        Looks whether every forward pass whose gradients are wanted runs in eval mode.

    Why:
        model.eval() before a validation, and no model.train() after it: dropout is off, and batch norms divide by
        statistics that never learn of the data.

    What is measured:
        The mode of the model in all passes with gradients, over three steps or more, where it holds dropout or batch
        norms. Warning. A model in training mode with single layers in eval mode (frozen batch norms) is no finding.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10)).eval()
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with fanin.watch(model, optimizer) as watched:
        ...     for _ in range(5):
        ...         loss = nn.functional.cross_entropy(model(x), y)
        ...         optimizer.zero_grad()
        ...         loss.backward()
        ...         _ = optimizer.step()
        >>> "eval-mode" in [f.name for f in watched.report.findings + watched.report.consequences]
        True

    Fix:
        Call model.train() before the loop, and after each validation. To freeze batch norms alone, put those layers in
        eval mode.

    References:
        PyTorch's documentation of torch.nn.Module.eval.
    """

    code: ClassVar[str] = "W911"
    name: ClassVar[str] = "eval-mode"
    thresholds: ClassVar[dict[str, float]] = {"steps": 3.0}
    source: ClassVar[str] = "PyTorch's documentation of torch.nn.Module.eval"

    def cannot_run(self, context: Context) -> str | None:
        """Needs measured steps."""
        return runs(context)[1] or None

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        watched, _ = runs(context)
        if watched is None or not watched.inert or len(watched.steps) < self.limit(context, "steps"):
            return
        names = watched.inert
        several = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield self.finding(
            "warning",
            names,
            f"all {watched.steps[-1].step} steps ran in eval mode: {names[0]}{several} behave as in a test.",
            Fix(text="call model.train() before the loop", code="model.train()"),
            value=float(len(watched.steps)),
            threshold=self.limit(context, "steps"),
            unit="steps",
        )
