"""One quantity over the steps of training: a line through the medians, a band from the least to the largest."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from markupsafe import Markup

from fanin.report.html.axes import LogScale, decades_around
from fanin.report.html.charts.markers import marks
from fanin.report.html.svg import drawing, el, polyline, text
from fanin.text.numbers import big, power_of_ten

__all__ = ["Run", "steps_plot"]

_WIDTH, _HEIGHT = 400.0, 190.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 48.0, 392.0, 10.0, 152.0
_LARGEST = 1e300  # values beyond it are drawn at the edge
_WIDE = 8.0  # from this ratio of largest to least on, the axis is logarithmic

_Ticks = list[tuple[float, str]]
_Scale = Callable[[float], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a chart shows.

    Attributes:
        steps: numbers of the measured steps, rising.
        middle: the line; None where nothing is known.
        low: lower end of the band.
        high: upper end of the band.
        lost: steps with NaN or infinity.
        limit: of the rule that found something here; None for none.
        series: "forward" or "backward": the colour.
    """

    steps: tuple[int, ...]
    middle: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    lost: tuple[int, ...] = ()
    limit: float | None = None
    series: str = "forward"


def steps_plot(run: Run, *, id_: str, title: str, description: str) -> Markup:
    """The chart with both axes, steps from left to right."""
    values = [_within(v) for v in (*run.low, *run.high, run.limit) if _is_finite(v)]
    place, ticks = _vertical(values)
    x, numbers = _horizontal(run.steps)
    return drawing(
        _grid(ticks, numbers),
        text("step", (_LEFT + _RIGHT) / 2, _BOTTOM + 34, class_="axis-title", anchor="middle"),
        _limit(run, place),
        el("g", *_drawn(run, x, place), class_=run.series, aria_hidden="true"),
        id_=id_,
        width=_WIDTH,
        height=_HEIGHT,
        title=title,
        description=description,
        class_="plot steps",
    )


def _drawn(run: Run, x: _Scale, y: _Scale) -> Iterator[Markup]:
    for upper, lower in _stretches(run):
        points = [(x(step), y(v)) for step, v in upper] + [(x(step), y(v)) for step, v in reversed(lower)]
        yield el("path", d=polyline(points) + "z", class_="band")
    line = [(x(step), y(v)) if _is_finite(v) else None for step, v in zip(run.steps, run.middle, strict=True)]
    yield el("path", d=polyline(line), class_="line")
    yield marks([("weight", *point) for point in line if point is not None], 2.4)
    yield marks([("nonfinite", x(step), _TOP + 5) for step in run.lost], 3.6)


def _stretches(run: Run) -> Iterator[tuple[list[tuple[int, float]], list[tuple[int, float]]]]:
    """Upper and lower edges of the band, one pair for each stretch of steps without a gap."""
    upper: list[tuple[int, float]] = []
    lower: list[tuple[int, float]] = []
    for step, low, high in (*zip(run.steps, run.low, run.high, strict=True), (0, None, None)):
        if _is_finite(low) and _is_finite(high):
            upper.append((step, high))
            lower.append((step, low))
        elif upper:
            yield upper, lower
            upper, lower = [], []


def _is_finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _within(value: float) -> float:
    return min(max(value, -_LARGEST), _LARGEST)


def _vertical(values: Sequence[float]) -> tuple[_Scale, _Ticks]:
    """Logarithmic where the values are positive and span a wide range, linear elsewhere."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if low > 0 and high / low >= _WIDE:
        scale = LogScale(*decades_around(values, least=1), _BOTTOM, _TOP)
        return scale, [(scale(10.0**p), power_of_ten(p)) for p in scale.decades]
    most = max(abs(low), abs(high))
    step = _nice(high - low if high - low > 1e-6 * most else most or 1.0, 4.5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last += first == last

    def place(value: float) -> float:
        return _BOTTOM - (_within(value) / step - first) / (last - first) * (_BOTTOM - _TOP)

    return place, [(place(n * step), big(n * step, 6)) for n in range(first, last + 1)]


def _nice(spread: float, most: float) -> float:
    """The least step of 1, 2 or 5 times a power of ten that cuts the spread into at most `most`.

    Example:
        >>> [round(_nice(v, 4.5), 9) for v in (1.0, 0.037, 9.0)]
        [0.5, 0.01, 2.0]
    """
    power = 10.0 ** math.floor(math.log10(max(spread, 1e-290) / most))
    return next(power * f for f in (1, 2, 5, 10) if spread / (power * f) <= most)


def _horizontal(steps: Sequence[int]) -> tuple[_Scale, _Ticks]:
    first, last = (steps[0], steps[-1]) if steps else (1, 1)
    reach = max(last - first, 1)

    def place(step: float) -> float:
        return _LEFT + 6 + (step - first) / reach * (_RIGHT - _LEFT - 12)

    every = max(round(_nice(reach, 6)), 1)
    whole = [n for n in range(first // every * every, last + 1, every) if n > first + every / 2 or every == 1]
    return place, [(place(n), str(n)) for n in dict.fromkeys((first, *whole))]


def _grid(ticks: _Ticks, numbers: _Ticks) -> Markup:
    lines = el("path", d="".join(f"M{_LEFT} {y:.1f}H{_RIGHT}" for y, _ in ticks), class_="grid")
    marks_ = el("path", d="".join(f"M{x:.1f} {_BOTTOM}v4" for x, _ in numbers), class_="grid one")
    labels = [text(label, _LEFT - 6, y + 4, anchor="end") for y, label in ticks]
    labels += [text(label, x, _BOTTOM + 17, anchor="middle") for x, label in numbers]
    return el("g", lines, marks_, *labels, aria_hidden="true")


def _limit(run: Run, y: _Scale) -> Markup:
    if run.limit is None:
        return Markup("")
    height = y(run.limit)
    line = el("path", d=f"M{_LEFT} {height:.1f}H{_RIGHT}", class_="limit")
    below = height + (-4 if height > _TOP + 14 else 13)
    return line + text(f"limit {big(run.limit)}", _RIGHT - 2, below, class_="tick", anchor="end")
