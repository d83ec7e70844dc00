"""The best learning rate over widths: the default start, auto, muP, and auto's laws with parameter groups."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from fanin.lab import data
from fanin.lab.experiments.base import Outcome, Settings
from fanin.lab.models import mlp
from fanin.lab.rates import rate_sweep, rate_words
from fanin.lab.transfer import Transfer

if TYPE_CHECKING:
    from fanin.lab.rates import RateSweep, Row

TITLE = "One learning rate for all widths: parameter groups keep the best rate where it is"

WIDTHS = (64, 256, 1024)
_STEPS = 60


def build(width: int) -> nn.Module:
    """Three hidden layers of GELU units on 14 x 14 digits."""
    return mlp([196, width, width, width, 10], activation="gelu")


def _halved(x: Any) -> Any:
    """Digits as rows of 14 x 14 numbers, the means of 2 x 2 pixels."""
    return x.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4), dtype=np.float32).reshape(len(x), -1)


def run(settings: Settings) -> Outcome:
    """Adam on digits, every width at every rate; a start is judged at the rate that is best for it at width 64."""
    digits = data.mnist_digits()
    base = functools.partial(build, WIDTHS[0])
    sweep = rate_sweep(
        build,
        WIDTHS,
        (_halved(digits.x), digits.y),
        starts={
            "default": None,
            "auto": "auto",
            "mup + groups": Transfer(recipe="mup", base=base, options={"base_width": WIDTHS[0]}),
            "auto + groups": Transfer(base=base),
        },
        lrs=[2.0**k for k in range(-12, -4)],
        steps=_STEPS,
        seeds=[settings.seed + i for i in range(5 if settings.full else 2)],
        on=settings.on,
        workers=settings.workers,
        progress=settings.progress,
    )
    numbers = {"steps": _STEPS, **sweep.to_dict()}
    return Outcome(name="transfer", title=TITLE, numbers=numbers, figure=sweep.figure(), text=_text(sweep))


def _text(sweep: RateSweep) -> str:
    wide = {row.start: row for row in sweep.rows if row.size == WIDTHS[-1]}

    def said(row: Row) -> str:
        return (
            f"{row.start} {row.loss:.3f} at its rate of width {WIDTHS[0]} ({rate_words(row.base_lr)}), "
            f"{row.best_loss:.3f} at its best ({rate_words(row.best_lr)})"
        )

    return (
        "With one rate for all parameters the best rate falls as the width grows, since more inputs add up to a "
        "larger change of each unit. Parameter groups divide the rates of inner and output maps by the growth of their "
        "inputs: the curves of wide models then stay flat far above the rate at which the others break. Loss at width "
        f"{WIDTHS[-1]} after {_STEPS} steps: {'; '.join(map(said, wide.values()))}. The dotted line is the best rate "
        f"of width {WIDTHS[0]}."
    )
