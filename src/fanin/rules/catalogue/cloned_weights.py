"""P505: different parameters that hold the same random values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.gains import INIT

__all__ = ["ClonedWeights"]


class ClonedWeights(Rule):
    """Different parameters that hold the same random values.

    What it does:
        Looks for weight matrices of equal shape that are equal element by element and are not tied.

    Why:
        A layer that was built once and deep-copied (torch.nn.TransformerEncoder does so) starts as copies of one draw.
        Training tells stacked copies apart, so it is no fault; parallel copies (experts, heads) stay alike.

    What is measured:
        Number of weights that equal an earlier one. A note.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> import copy
        >>> first = nn.Linear(32, 32)
        >>> model = nn.Sequential(first, nn.Tanh(), copy.deepcopy(first), nn.Tanh(), nn.Linear(32, 10))
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> [f.name for f in fanin.check(model, x, targets=y).findings]
        ['cloned-weights']

    Fix:
        Initialise the copies again: module.apply(reset), or fanin.init_.

    References:
        torch.nn.TransformerEncoder documentation, warning on identical initialization.
    """

    code: ClassVar[str] = "P505"
    name: ClassVar[str] = "cloned-weights"
    thresholds: ClassVar[dict[str, float]] = {}
    source: ClassVar[str] = "torch.nn.TransformerEncoder documentation"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        copies = [p for p in context.measurements.parameters if p.same_as and len(p.shape) >= 2]
        if copies:
            yield self.finding(
                "note",
                [p.path for p in copies],
                f"{len(copies)} weights are copies of another, first {copies[0].path} of {copies[0].same_as}.",
                Fix(text="draw the copies again", code=INIT),
                value=float(len(copies)),
                unit="weights",
            )
