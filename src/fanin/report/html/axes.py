"""Scales and axes: from a value to a place on the page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from fanin.report.html.svg import Attribute, el, text
from fanin.text.names import shorten
from fanin.text.numbers import power_of_ten
from fanin.text.paths import sections

__all__ = ["DepthAxis", "LogScale", "Place", "decades_around", "log_axis", "nice_step"]

Place = Literal["inside", "below", "above", "zero", "nonfinite"]

# 6.2 px: the mean advance of the 11 px labels, measured generously, so that a label never leaves its block.
_CHARACTER = 6.2


@dataclass(frozen=True, slots=True)
class LogScale:
    """Values from 10**low to 10**high to pixels from `start` to `end` (start may be the larger)."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The pixel of a value; zero, values outside and values that are not finite go to the nearer end."""
        return self.place(value)[0]

    def place(self, value: float) -> tuple[float, Place]:
        """The pixel, and whether it is the true one."""
        if math.isnan(value) or value == math.inf:
            return self.end, "nonfinite"
        if value <= 0:
            return self.start, "zero"
        log = math.log10(value)
        if log < self.low - 1e-9:
            return self.start, "below"
        if log > self.high + 1e-9:
            return self.end, "above"
        return self.start + (log - self.low) / (self.high - self.low) * (self.end - self.start), "inside"

    @property
    def decades(self) -> tuple[int, ...]:
        """Whole powers of ten to label: at most seven, evenly spaced, 1 among them where it is in range."""
        first, last = math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9)
        step = nice_step((last - first) or 1, 6)
        return tuple(p for p in range(first, last + 1) if p % step == 0)


def decades_around(values: Iterable[float | None], *, least: int = 2, most: int = 40) -> tuple[float, float]:
    """Whole decades that hold the positive finite values: at least `least` of them, at most the top `most`.

    Example:
        >>> decades_around([0.9, 1.2, None, 0.0])
        (-1.0, 1.0)
        >>> decades_around([1e-7, 3.0])
        (-7.0, 1.0)
    """
    logs = [math.log10(v) for v in values if v is not None and 0 < v < math.inf]
    if not logs:
        return -least / 2, least / 2
    low, high = math.floor(min(logs)), math.ceil(max(logs))
    while high - low < least:
        # Grow towards the side on which the values come nearer the edge.
        if min(logs) - low <= high - max(logs):
            low -= 1
        else:
            high += 1
    return float(max(low, high - most)), float(high)


def nice_step(span: float, most: int) -> int:
    """The least of 1, 2, 5, 10, 20, ... that cuts the span into at most `most` steps.

    Example:
        >>> [nice_step(s, 6) for s in (4, 11, 40, 500)]
        [1, 2, 10, 100]
    """
    step = 1
    for factor in (2, 2.5, 2) * 12:
        if span / step <= most:
            return step
        step = int(step * factor)
    return step


def log_axis(scale: LogScale, left: float, right: float, *, minor: bool = True) -> Markup:
    """Grid lines with their labels at the left edge."""
    lines = el("path", d="".join(f"M{left} {scale(10.0**p):.1f}H{right}" for p in scale.decades), class_="grid")
    labels = [text(power_of_ten(p), left - 8, scale(10.0**p) + 4, anchor="end") for p in scale.decades]
    one = scale.low <= 0 <= scale.high and minor
    base = el("path", d=f"M{left} {scale(1.0):.1f}H{right}", class_="grid one") if one else Markup("")
    return lines + base + Markup("").join(labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthAxis:
    """Layers side by side; drawings over the same axis have the same columns.

    Attributes:
        names: qualified name a layer, in execution order.
        sites: index of the site a column shows, for links and for the cursor that joins the plots; may be empty.
        left: pixel of the first column's left edge.
        right: pixel of the last column's right edge.
        flagged: columns that a finding leads to.
    """

    names: tuple[str, ...]
    sites: tuple[int, ...] = ()
    left: float = 64.0
    right: float = 944.0
    flagged: tuple[int, ...] = ()

    @property
    def slot(self) -> float:
        """Width of a column."""
        return (self.right - self.left) / max(len(self.names), 1)

    def middle(self, column: int) -> float:
        """Pixel of a column's middle."""
        return self.left + (column + 0.5) * self.slot

    def legs(self, y: float) -> tuple[Markup, float]:
        """What is under a plot whose lower edge is `y`: the blocks, the numbers, and its lower end."""
        strip, ticks = self.strip(y), self.index_ticks(y + (32 if self._sections() else 14))
        return strip + ticks, y + (20 if self._sections() else 0) + (18 if ticks else 0)

    def strip(self, y: float, height: float = 18.0) -> Markup:
        """The blocks of the model as a band under a plot: every other one tinted, named where there is room."""
        parts: list[Markup] = []
        for i, (label, first, end) in enumerate(self._sections()):
            x, width = self.left + first * self.slot, (end - first) * self.slot
            parts.append(el("rect", x=x, y=y, width=width, height=height, class_=f"block{i % 2}"))
            room = int((width - 4) / _CHARACTER)
            written = next((t for t in (label, label.split(".")[-1]) if len(t) <= room), "")
            if not written and room >= 4:
                written = shorten(label, room)
            if written:
                parts.append(text(written, x + width / 2, y + height - 5, class_="tick", anchor="middle"))
        return el("g", *parts, aria_hidden="true")

    def _sections(self) -> Sequence[tuple[str, int, int]]:
        """Blocks; where most are too narrow for two digits, first parts of the paths; where those are too, nothing."""
        for runs in (sections(self.names, limit=60), sections(self.names, limit=0)):
            widths = sorted((end - first) * self.slot for _, first, end in runs)
            if widths and widths[len(widths) // 2] >= 2.5 * _CHARACTER:
                return runs
        return ()

    def highlights(self, plot: str, top: float, bottom: float) -> Markup:
        """A column behind each layer that a finding leads to: the target of the link."""
        columns = [
            el(
                "rect",
                id_=f"{plot}-{self.sites[column] if self.sites else column}",
                x=self.left + column * self.slot,
                y=top,
                width=max(self.slot, 2.0),
                height=bottom - top,
                class_="flag",
            )
            for column in self.flagged
        ]
        return el("g", *columns, aria_hidden="true")

    def index_ticks(self, y: float) -> Markup:
        """Numbers of the columns, where the names of blocks are too few."""
        if len(self._sections()) > 3 or len(self._sections()) == len(self.names):
            return Markup("")
        step = nice_step(len(self.names), 12)
        shown = [c for c in range(len(self.names)) if c % step == 0]
        return Markup("").join(text(str(c), self.middle(c), y, anchor="middle") for c in shown)

    def data(self, top: float, bottom: float) -> dict[str, Attribute]:
        """What a script needs to find a column: attributes of the drawing."""
        if not self.sites:
            return {}
        return {
            "data_sites": " ".join(map(str, self.sites)),
            "data_left": self.left,
            "data_right": self.right,
            "data_columns": len(self.names),
            "data_top": top,
            "data_bottom": bottom,
        }
