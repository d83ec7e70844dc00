"""L804: each prediction is compared with the targets of all samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.measure.kinds import REGRESSION
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.losses import loss_of

__all__ = ["TargetsBroadcast"]


class TargetsBroadcast(Rule):
    """Each prediction is compared with the targets of all samples.

    What it does:
        Looks for predictions of shape (n, 1) beside targets of shape (n,).

    Why:
        Their difference has shape (n, n): the error of every pair. Its mean is least where all predictions are the mean
        of the targets, so nothing else is learned.

    What is measured:
        The shapes that a squared, absolute or Huber loss is called with. In a watched run, also a gradient in the
        outputs that pulls all of them to one number while the loss is larger than that explains. Error.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 1))
        >>> x, y = torch.randn(64, 32), torch.randn(64)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with fanin.watch(model, optimizer) as watched:
        ...     for _ in range(3):
        ...         loss = (model(x) - y).square().mean()
        ...         optimizer.zero_grad()
        ...         loss.backward()
        ...         _ = optimizer.step()
        ...         watched.step(loss=loss)
        >>> [f.name for f in watched.report.findings]
        ['targets-broadcast']

    Fix:
        Give both the same shape: y[:, None], or outputs[:, 0].

    References:
        PyTorch's documentation of broadcasting semantics.
    """

    code: ClassVar[str] = "L804"
    name: ClassVar[str] = "targets-broadcast"
    thresholds: ClassVar[dict[str, float]] = {}
    source: ClassVar[str] = "PyTorch's documentation of broadcasting semantics"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a regression loss."""
        return None if loss_of(context).op in REGRESSION else "no regression loss was called"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        if not loss_of(context).paired:
            return
        yield self.finding(
            "error",
            ["loss"],
            "predictions of shape (n, 1) meet targets of shape (n,): each one is compared with the targets of all "
            "samples, and only their mean can be learned.",
            Fix(text="give both the same shape", code="loss = torch.nn.functional.mse_loss(outputs[:, 0], y)"),
        )
