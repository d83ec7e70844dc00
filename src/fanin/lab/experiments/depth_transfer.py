"""The best learning rate over depths: a depth factor on residual branches, folded into weights and rates."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from torch import nn

from fanin.lab import data
from fanin.lab.experiments.base import Outcome, Settings
from fanin.lab.models import ResidualMLP
from fanin.lab.rates import rate_sweep, rate_words
from fanin.lab.transfer import Transfer

if TYPE_CHECKING:
    from fanin.lab.rates import RateSweep, Row

TITLE = "One learning rate for all depths: a factor on each residual branch, without a change of the model"

DEPTHS = (4, 16, 32)
_STEPS = 60


def build(depth: int) -> nn.Module:
    """Pre-norm residual blocks of 64 units."""
    return ResidualMLP(depth)


def run(settings: Settings) -> Outcome:
    """Adam on digits; branches count 1, sqrt(4 / depth) or 4 / depth, folded into the last map of each."""
    digits = data.mnist_digits()
    base = functools.partial(build, DEPTHS[0])

    def folded(power: float) -> Transfer:
        return Transfer(base=base, settings={"depth_base": DEPTHS[0], "depth_power": power})

    sweep = rate_sweep(
        build,
        DEPTHS,
        (digits.x, digits.y),
        starts={"auto": "auto", "auto, (4/depth)^½": folded(0.5), "auto, 4/depth": folded(1.0)},
        lrs=[2.0**k for k in range(-12, -4)],
        steps=_STEPS,
        seeds=[settings.seed + i for i in range(3 if settings.full else 1)],
        unit="depth",
        on=settings.on,
        workers=settings.workers,
        progress=settings.progress,
    )
    numbers = {"steps": _STEPS, **sweep.to_dict()}
    return Outcome(name="depth-transfer", title=TITLE, numbers=numbers, figure=sweep.figure(), text=_text(sweep))


def _text(sweep: RateSweep) -> str:
    deep = [row for row in sweep.rows if row.size == DEPTHS[-1]]

    def said(row: Row) -> str:
        return (
            f"{row.start}: {row.loss:.3f} at the rate of depth {DEPTHS[0]} ({rate_words(row.base_lr)}), "
            f"{row.best_loss:.3f} at its best ({rate_words(row.best_lr)})"
        )

    return (
        "Each block moves the residual stream, and all of them move it the same way, so a deeper network needs a "
        "smaller rate. A factor 4 / depth on every branch (CompleteP) takes that out. Folded into the last map of the "
        "branch and its rate, decay and eps it trains exactly as a factor in the forward pass would. Loss at depth "
        f"{DEPTHS[-1]} after {_STEPS} steps: {'; '.join(map(said, deep))}."
    )
