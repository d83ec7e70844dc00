"""L803: training makes the loss larger."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.measure.steps import Watched
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.losses import loss_of
from fanin.rules.shared.steps import typical

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

        A loss function that is not known is judged by its course: warning where the loss of a single optimizer is below
        zero from the first step on, is ten times as large at the end, and falls four times as much in the second half
        of the measured steps as in the first, while the weights move by half their size. A loss that has a bound, or
        the likelihood of data, falls less and less.

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
    thresholds: ClassVar[dict[str, float]] = {"times": 10.0, "faster": 4.0, "moved": 0.5}
    source: ClassVar[str] = "Humbatova et al. 2020, arXiv 1910.11015"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a loss function that is known."""
        if loss_of(context).op or context.measurements.watched is not None:
            return None
        return "no known loss function was called"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        loss, watched = loss_of(context), context.measurements.watched
        if not loss.op and watched is not None:
            yield from self._runs_away(context, watched)
            return
        if watched is not None and watched.loss is not None and watched.loss.turned:
            loss = watched.loss  # a loop may turn the sign of a function that is right
        if not loss.turned or loss.prior == 0:
            return
        yield self.finding(
            "error",
            ["loss"],
            f"what is minimised is minus {loss.op}: each step makes the answers worse.",
            Fix(text="take the minus away", code="loss = torch.nn.functional." + f"{loss.op}(outputs, y)"),
        )

    def _runs_away(self, context: Context, watched: Watched) -> Iterator[Finding]:
        """The finding for a loss that falls below zero faster and faster."""
        losses = [(s.step, s.loss) for s in watched.steps if s.loss is not None]
        if watched.optimizers > 1 or len(losses) < _STEPS or max(value for _, value in losses) >= 0:
            return
        (begun, first), (done, last) = losses[0], losses[-1]
        middle = min(losses, key=lambda pair: abs(pair[0] - (begun + done) / 2))[1]
        moved = typical(watched.steps[-1].distances) or 0.0
        far = last < self.limit(context, "times") * first and moved > self.limit(context, "moved")
        if not far or middle - last < self.limit(context, "faster") * max(first - middle, 0.0):
            return
        yield self.finding(
            "warning",
            ["loss"],
            f"the loss falls below zero faster and faster: {first:.3g} at step {begun}, {middle:.3g} half-way, "
            f"{last:.3g} at step {done}. A loss with a bound does not.",
            Fix(text="look for a sign that is turned; give the loss a bound below"),
            value=last / first,
            threshold=self.limit(context, "times"),
            unit="of the first loss",
        )


_STEPS = 12  # measured ones
