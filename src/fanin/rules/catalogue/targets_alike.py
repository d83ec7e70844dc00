"""D105: all targets of the batch are the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.losses import loss_of

__all__ = ["TargetsAlike"]

_JOINS = frozenset(("cat", "concat", "concatenate", "hstack", "column_stack"))


class TargetsAlike(Rule):
    """All targets of the batch are the same class.

    What it does:
        Looks whether the targets of a classification differ.

    Why:
        A network learns from such batches to answer the same always: the loss falls to nothing and nothing was learned.
        The data are sorted and were not shuffled, or the targets were lost on their way.

    What is measured:
        The entropy of the labels of the batch. Warning where it is zero over 16 labels or more, of three classes or
        more. Two classes are not judged: where one label in a hundred is positive, most batches hold none. Nor are
        classes that were joined from several tensors: contrastive losses put the right one first for every sample.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> x, y = torch.randn(64, 32), torch.full((64,), 3)
        >>> [f.name for f in fanin.check(model, x, targets=y).findings]
        ['targets-alike']

    Fix:
        Shuffle the data; look at a batch and its targets side by side.

    References:
        Karpathy 2019, A recipe for training neural networks (become one with the data).
    """

    code: ClassVar[str] = "D105"
    name: ClassVar[str] = "targets-alike"
    thresholds: ClassVar[dict[str, float]] = {"labels": 16.0, "classes": 3.0}
    source: ClassVar[str] = "Karpathy 2019, A recipe for training neural networks"

    def cannot_run(self, context: Context) -> str | None:
        """Needs labels of classes."""
        loss = loss_of(context)
        known = loss.num_classes is not None and loss.prior is not None
        return None if known else "no classification loss with labels was called"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        loss = loss_of(context)
        count, classes = loss.num_terms or 0, loss.num_classes or 0
        few = count < self.limit(context, "labels") or classes < self.limit(context, "classes")
        if loss.prior is None or loss.prior > 0 or few or loss.targets is None or _are_joined(context, classes):
            return
        yield self.finding(
            "warning",
            ["targets"],
            f"all {count} targets of this batch are class {loss.targets.mean:.0f}, of {classes} classes.",
            Fix(text="shuffle the data; look at a batch and its targets", code="DataLoader(data, shuffle=True)"),
            value=float(count),
            threshold=self.limit(context, "labels"),
            unit="labels",
        )


def _are_joined(context: Context, classes: int) -> bool:
    """Whether the scores of the classes were put together from several tensors."""
    made = [s for s in context.measurements.sites if s.kind != "loss" and classes in s.shape]
    return bool(made) and made[-1].op in _JOINS
