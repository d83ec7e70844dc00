"""W910: the optimizer holds a part of what the loss could train."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.drawn import look_drawn
from fanin.rules.shared.steps import runs

__all__ = ["WeightsLeftOut"]


class WeightsLeftOut(Rule):
    """The optimizer holds only a part of the weights that the loss could train.

    What it does:
        Lists parameters that require a gradient, got one in the first step, and are held by no watched optimizer.

    Why:
        A layer that was added or replaced after the optimizer was made keeps its random start, while the rest learns
        around it. Where a part is left out on purpose, requires_grad_(False) says so and saves its gradients.

    What is measured:
        The parameters of the optimizers given to fanin.watch beside those of the model, after the first backward pass.
        Warning where what is left out looks as it was just drawn (its vectors are constant or uniform); note elsewhere,
        as where the trunk was trained before, or where the first batch was not checked.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> optimizer = torch.optim.SGD(model[2].parameters(), lr=0.1)
        >>> with fanin.watch(model, optimizer) as watched:
        ...     for _ in range(3):
        ...         loss = nn.functional.cross_entropy(model(x), y)
        ...         optimizer.zero_grad()
        ...         loss.backward()
        ...         _ = optimizer.step()
        >>> "weights-left-out" in [f.name for f in watched.report.findings + watched.report.consequences]
        True

    Fix:
        Make the optimizer from model.parameters() once the model is complete, add the rest as a group, or give all
        optimizers to fanin.watch.

    References:
        PyTorch's documentation of torch.optim (constructing an optimizer).
    """

    code: ClassVar[str] = "W910"
    name: ClassVar[str] = "weights-left-out"
    thresholds: ClassVar[dict[str, float]] = {}
    source: ClassVar[str] = "PyTorch's documentation of torch.optim"

    def cannot_run(self, context: Context) -> str | None:
        """Needs measured steps."""
        return runs(context)[1] or None

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        watched, _ = runs(context)
        if watched is None or not watched.left_out:
            return
        names = watched.left_out
        left = [p for p in context.measurements.parameters if p.path in names]
        several = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield self.finding(
            "warning" if any(len(p.shape) > 1 for p in left) and look_drawn(left) else "note",
            names,
            f"{names[0]}{several} got a gradient, and {watched.optimizer} holds none of them: they stay as they are.",
            Fix(
                text="give them to the optimizer; where they are meant to stay, requires_grad_(False)",
                code="optimizer.add_param_group({'params': [...]})",
            ),
            value=float(len(names)),
            unit="parameters",
        )
