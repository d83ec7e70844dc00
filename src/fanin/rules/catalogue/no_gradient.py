"""G401: parameters that ask for a gradient and get none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.measure.record import Measurements, ParameterRecord
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix

__all__ = ["NoGradient"]


def _routed(measurements: Measurements) -> set[str]:
    """Modules that were not called beside some that read a part of the batch: data decide which one runs."""
    batch = measurements.batch_size
    if batch is None:
        return set()
    some = {s.path for s in measurements.sites if s.shape and 0 < s.shape[0] < batch}
    groups = {_parent(m) for m in measurements.never_called}
    choosing = {g for g in groups if g and any(_is_item(path, g) for path in some)}
    return {m for m in measurements.never_called if _parent(m) in choosing and _is_item(m, _parent(m))}


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _is_item(path: str, group: str) -> bool:
    """Whether a path leads into an item of a list of modules."""
    return path.startswith(f"{group}.") and path[len(group) + 1 :].partition(".")[0].isdecimal()


def _count(parameters: list[ParameterRecord]) -> str:
    return f"{len(parameters)} parameter{'s' if len(parameters) > 1 else ''}"


class NoGradient(Rule):
    """Parameters that ask for a gradient and get none.

    What it does:
        Lists parameters with requires_grad whose gradient is None after the backward, and says which of three reasons
        holds.

    Why:
        Such a parameter never trains. Either the graph is cut (detach, no_grad, a NumPy round trip), or its module is
        registered and never called, or its output does not enter the loss.

    What is measured:
        Error where an operation read the parameter and its output leads to the loss, yet no gradient came back. Warning
        for whole modules that were never called, neither here nor in evaluation. Note for modules that training skips
        (layer drop), for those beside items of the same list that read a part of the batch (experts to which data are
        sent), for single parameters that this forward does not read (mask tokens), and for outputs that the loss
        does not use.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> class Net(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.a, self.b = nn.Linear(32, 64), nn.Linear(64, 10)
        ...     def forward(self, x):
        ...         return self.b(self.a(x).relu().detach())
        >>> model = Net()
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> fanin.check(model, x, targets=y).findings[0].name
        'no-gradient'

    Fix:
        Remove .detach() or no_grad; delete or call the module; set requires_grad_(False) on what is meant to stay.

    References:
        Karpathy 2019, A recipe for training neural networks; torch DistributedDataParallel, find_unused_parameters.
    """

    code: ClassVar[str] = "G401"
    name: ClassVar[str] = "no-gradient"
    thresholds: ClassVar[dict[str, float]] = {}
    source: ClassVar[str] = "torch.autograd"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a backward, or trainable parameters that the loss does not depend on."""
        if any(p.state == "none" for p in context.measurements.parameters):
            return None
        return context.measurements.missing.get("gradients")

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding a reason."""
        lost = [p for p in context.measurements.parameters if p.state == "none"]
        routed = _routed(context.measurements)
        idle = [m for m in context.measurements.never_called if m not in routed]
        uncalled = [p for p in lost if any(p.path.startswith(f"{m}.") for m in idle)]
        rest = [p for p in lost if p not in uncalled]
        cut = [p for p in rest if p.used and p.reaches_loss]
        if cut:
            yield self._cut(cut)
        if uncalled:
            yield self.finding(
                "warning",
                [m for m in idle if any(p.path.startswith(f"{m}.") for p in uncalled)],
                f"{_count(uncalled)} of modules that are registered and never called.",
                Fix(
                    text="call the module, delete it, or freeze it",
                    code="del model.extra  # or model.extra.requires_grad_(False)",
                ),
                value=float(len(uncalled)),
                unit="parameters",
            )
        side = [p for p in rest if p not in cut]
        if side:
            yield self.finding(
                "note",
                [p.path for p in side],
                f"{_count(side)} that this forward does not use, or whose output the loss does not use.",
                Fix(text="expected where a branch is conditional; otherwise freeze or use them"),
                value=float(len(side)),
                unit="parameters",
                confidence="low",
            )

    def _cut(self, cut: list[ParameterRecord]) -> Finding:
        return self.finding(
            "error",
            [p.path for p in cut],
            f"{_count(cut)} that lead to the loss and get no gradient: the graph is cut behind them.",
            Fix(
                text="remove the .detach(), torch.no_grad() or NumPy round trip behind it; checkpoint with "
                "use_reentrant=False",
                code="h = layer(x)  # not layer(x).detach()",
            ),
            value=float(len(cut)),
            unit="parameters",
        )
