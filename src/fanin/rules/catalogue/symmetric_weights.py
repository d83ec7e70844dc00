"""P501: units that start as copies of one another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.measure.record import ParameterRecord
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.gains import INIT

__all__ = ["SymmetricWeights"]


def _beside(context: Context, parameter: ParameterRecord) -> bool:
    """Whether another parameter of its shape, whose units differ, makes the weight together with it.

    The size of a noise that a model adds to a weight (Fortunato et al. 2017, arXiv 1706.10295) is one number for all.
    """
    measured = context.measurements
    together = {n for s in measured.sites if parameter.path in s.parameters for n in s.parameters}
    others = (p for p in measured.parameters if p.path in together and p.path != parameter.path)
    return any(p.shape == parameter.shape and p.identical_rows == 0.0 for p in others)


class SymmetricWeights(Rule):
    """Units that start as copies of one another.

    What it does:
        Looks for equal rows in weight matrices and kernels.

    Why:
        Two units with equal incoming weights compute the same, get the same gradient (if their outgoing weights are
        equal too) and stay the same for ever: a wide layer is then worth one unit.

    What is measured:
        Share of units (rows of nn.Linear, columns of W in x @ W, the second axis of a transposed convolution) whose
        weights, not all zero, equal those of another unit, in trainable weights of at least 4 units of 2 numbers that
        a linear map or convolution reads: error above one half, warning above 0.1. Zeros are closed gates, not copies.
        Learned tokens, queries and positions whose rows are all equal (zeros, too) and get one gradient: error.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> for layer in (model[0], model[2]):
        ...     _ = nn.init.constant_(layer.weight, 0.05)
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> fanin.check(model, x, targets=y).findings[0].name
        'symmetric-weights'

    Fix:
        Draw the weights at random; only gates and biases may start constant.

    References:
        Goodfellow, Bengio and Courville 2016, Deep Learning, section 8.4.
    """

    code: ClassVar[str] = "P501"
    name: ClassVar[str] = "symmetric-weights"
    thresholds: ClassVar[dict[str, float]] = {"error": 0.5, "warning": 0.1}
    source: ClassVar[str] = "Goodfellow et al. 2016, section 8.4"

    def check(self, context: Context) -> Iterator[Finding]:
        """One finding about units, one about learned tokens."""
        yield from self._tokens([p for p in context.measurements.parameters if p.stays_equal])
        rated = [
            (p.identical_rows, p.path)
            for p in context.measurements.parameters
            if p.is_map and p.requires_grad and p.identical_rows is not None and not _beside(context, p)
        ]
        copies = sorted((r for r in rated if r[0] > self.limit(context, "warning")), key=lambda r: -r[0])
        if not copies:
            return
        severe = copies[0][0] > self.limit(context, "error")
        yield self.finding(
            "error" if severe else "warning",
            [path for _, path in copies],
            f"{copies[0][0]:.0%} of the units of {copies[0][1]} equal another unit: they cannot become different.",
            Fix(
                text="draw the weights at random",
                code=INIT,
                recommends_start=True,
            ),
            value=copies[0][0],
            threshold=self.limit(context, "error" if severe else "warning"),
            unit="share of units",
        )

    def _tokens(self, found: list[ParameterRecord]) -> Iterator[Finding]:
        if found:
            yield self.finding(
                "error",
                [p.path for p in found],
                f"the rows of {found[0].path} are all equal and get one and the same gradient: they cannot become "
                "different.",
                Fix(text="draw them at random", code=INIT, recommends_start=True),
            )
