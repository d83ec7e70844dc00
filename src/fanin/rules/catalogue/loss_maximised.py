"""L803: training makes the loss larger."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.losses import loss_of

__all__ = ["LossMaximised"]


class LossMaximised(Rule):
    """Training makes the loss larger.

    What it does:
        Looks whether what is minimised is a loss function with its sign turned.

    Why:
        An optimizer walks down. Given minus the cross-entropy or minus the squared error it makes each answer worse,
        without end; the logged number falls all the while.

    What is measured:
        In a check: whether the loss is minus what its one loss function gave. In a watched run also the gradient that
        the first backward pass sends into the outputs: the form of a loss function, with its sign turned. Error. Silent
        for a binary loss whose labels are all the same, which the maker of a pair of networks maximises on purpose;
        a note where the weights were trained before (to unlearn is to maximise).

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> turned = lambda out: -nn.functional.cross_entropy(out, y)
        >>> [f.name for f in fanin.check(model, x, loss=turned).findings]
        ['loss-maximised']

    Fix:
        Take the minus away; log-likelihoods get one, losses none.

    References:
        Humbatova et al. 2020 (arXiv 1910.11015), taxonomy of real faults.
    """

    code: ClassVar[str] = "L803"
    name: ClassVar[str] = "loss-maximised"
    thresholds: ClassVar[dict[str, float]] = {}
    source: ClassVar[str] = "Humbatova et al. 2020, arXiv 1910.11015"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a loss function that is known."""
        return None if loss_of(context).op else "no known loss function was called"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        loss = loss_of(context)
        if not loss.turned or loss.prior == 0:
            return
        yield self.finding(
            "error",
            ["loss"],
            f"what is minimised is minus {loss.op}: each step makes the answers worse.",
            Fix(text="take the minus away", code="loss = torch.nn.functional." + f"{loss.op}(outputs, y)"),
        )
