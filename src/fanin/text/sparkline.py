"""A line of blocks: values over depth on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fanin.text.spacing import evenly

__all__ = ["sparkline"]

_BLOCKS = "▁▂▃▄▅▆▇█"
_PLAIN = "_.-~=+*#"
# A healthy network stays within a decade: a smaller range would make noise look like a trend.
_LEAST_DECADES = 2.0


def sparkline(values: Sequence[float | None], width: int, *, plain: bool = False) -> str:
    """At most `width` characters, evenly chosen; "0" is an exact zero, "!" is not finite, a blank was not measured.

    Example:
        >>> sparkline([1.0, 0.1, 0.01, 0.0, float("nan")], 10)
        '█▅▁0!'
        >>> sparkline([1.0, 1.1, 0.9], 10)
        '▅▅▄'
    """
    shown = [values[place] for place in evenly(len(values), width)]
    logs = [math.log10(v) for v in shown if v is not None and 0 < v < math.inf]
    low, high = (min(logs), max(logs)) if logs else (0.0, 0.0)
    slack = max(_LEAST_DECADES - (high - low), 0.0) / 2
    return "".join(_glyph(v, low - slack, high + slack, _PLAIN if plain else _BLOCKS) for v in shown)


def _glyph(value: float | None, low: float, high: float, blocks: str) -> str:
    if value is None:
        return " "
    if not math.isfinite(value):
        return "!"
    if value <= 0:
        return "0"
    return blocks[round((math.log10(value) - low) / (high - low) * (len(blocks) - 1))]
