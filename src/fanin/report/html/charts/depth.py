"""Values against depth on a logarithmic axis: one or more panels over the same columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from fanin.report.html.axes import DepthAxis, LogScale, decades_around, log_axis
from fanin.report.html.charts.markers import marks
from fanin.report.html.svg import drawing, el, polyline, text

__all__ = ["Flag", "Panel", "depth_plot"]

_LABEL_HEIGHT = 22.0
_FLAG_HEIGHT = 24.0
_GAP = 22.0
# Columns below this many pixels have no room for a bar each.
_NARROW = 8.0
# An exact zero has no logarithm: it gets a lane of its own below the axis.
_ZERO_LANE = 16.0


_Band = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One quantity over depth.

    Attributes:
        label: what is drawn, in a few words.
        series: "forward" or "backward": the colour.
        measured: one value a column; None where there is none.
        kinds: one kind a column ("weight", "norm", ...): the shape of its mark.
        joined: the kind whose marks a line joins; "" for none.
        predicted: (low, middle, high) a column: the expected value with its tolerance.
    """

    label: str
    series: str
    measured: tuple[float | None, ...]
    kinds: tuple[str, ...]
    joined: str = "weight"
    predicted: tuple[_Band | None, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """A finding over its first column: `label` is shown, `href` leads to it, `says` is read aloud."""

    column: int
    label: str
    href: str
    severity: str
    says: str


def depth_plot(
    panels: Sequence[Panel],
    axis: DepthAxis,
    *,
    id_: str,
    title: str,
    description: str,
    flags: Sequence[Flag] = (),
    panel_height: float = 150.0,
) -> Markup:
    """Panels one under the other, all with the same number of decades: equal slopes are equal factors a layer."""
    ranges = _common_span([decades_around(_values(panel)) for panel in panels])
    top = _FLAG_HEIGHT if flags else 0.0
    first, parts = top, []
    for panel, (low, high) in zip(panels, ranges, strict=True):
        start = top + _LABEL_HEIGHT
        lane = _ZERO_LANE if any(value == 0 for value in panel.measured) else 0.0
        parts.append(_panel(panel, axis, LogScale(low, high, start + panel_height, start), lane))
        top = start + panel_height + lane + _GAP
    bottom = top - _GAP + 4
    legs, end = axis.legs(bottom)
    return drawing(
        axis.highlights(id_, first, bottom),
        *parts,
        legs,
        _flags(flags, axis),
        id_=id_,
        width=axis.right + 16,
        height=end,
        title=title,
        description=description,
        class_="plot depth",
        **axis.data(first, bottom),
    )


def _values(panel: Panel) -> list[float | None]:
    bands = [end for band in panel.predicted if band for end in band]
    return [*panel.measured, *bands]


def _common_span(ranges: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The ranges widened downwards and upwards in turn until all span the same number of decades."""
    span = max((high - low for low, high in ranges), default=2.0)
    widened = []
    for low, high in ranges:
        missing = span - (high - low)
        widened.append((low - missing // 2 - missing % 2, high + missing // 2))
    return widened


def _panel(panel: Panel, axis: DepthAxis, scale: LogScale, lane: float) -> Markup:
    return el(
        "g",
        text(panel.label, axis.left, scale.end - 8, class_="panel-label"),
        log_axis(scale, axis.left, axis.right),
        _predicted(panel, axis, scale),
        text("0", axis.left - 8, scale.start + lane + 4, anchor="end") if lane else Markup(""),
        _measured(panel, axis, scale, lane),
        class_=panel.series,
        aria_hidden="true",
    )


def _predicted(panel: Panel, axis: DepthAxis, scale: LogScale) -> Markup:
    known = [(c, band) for c, band in enumerate(panel.predicted) if band]
    if not known:
        return Markup("")
    if axis.slot >= _NARROW:
        return _bars(known, axis, scale)
    # Bars of a few pixels would make a comb of layers and activations: one ribbon through the joined kind instead.
    joined = [(c, band) for c, band in known if panel.kinds[c] == panel.joined]
    return _ribbon(joined, axis, scale) if len(joined) > 1 else _bars(known, axis, scale)


def _bars(known: Sequence[tuple[int, _Band]], axis: DepthAxis, scale: LogScale) -> Markup:
    half = min(axis.slot * 0.42, 20.0)
    bars, middles = [], []
    for column, band in known:
        x, (low, middle, high) = axis.middle(column), (scale(v) for v in band)
        bars.append(f"M{x - half:.1f} {high:.1f}H{x + half:.1f}V{max(low, high + 1.5):.1f}H{x - half:.1f}z")
        middles.append(f"M{x - half:.1f} {middle:.1f}H{x + half:.1f}")
    return el("path", d="".join(bars), class_="band") + el("path", d="".join(middles), class_="expected")


def _ribbon(known: Sequence[tuple[int, _Band]], axis: DepthAxis, scale: LogScale) -> Markup:
    upper = [(axis.middle(c), scale(high)) for c, (_, _, high) in known]
    lower = [(axis.middle(c), max(scale(low), scale(high) + 1.5)) for c, (low, _, high) in known]
    middle = [(axis.middle(c), scale(mid)) for c, (_, mid, _) in known]
    ribbon = el("path", d=polyline([*upper, *reversed(lower)]) + "z", class_="band")
    return ribbon + el("path", d=polyline(middle), class_="expected dashed")


def _measured(panel: Panel, axis: DepthAxis, scale: LogScale, lane: float) -> Markup:
    """Marks, and a line that breaks where a value is zero or not finite."""
    radius = min(max(axis.slot * 0.34, 1.1), 3.6)
    points: list[tuple[str, float, float]] = []
    line: list[tuple[float, float] | None] = []
    for column, (value, kind) in enumerate(zip(panel.measured, panel.kinds, strict=True)):
        if value is None:
            continue
        (y, place), x = scale.place(value), axis.middle(column)
        y += lane if place == "zero" else 0.0
        points.append((place if place in ("zero", "nonfinite") else kind, x, y))
        if kind == panel.joined:
            line.append(None if place in ("zero", "nonfinite") else (x, y))
    joined = el("path", d=polyline(line), class_="line") if line else Markup("")
    return joined + marks(points, radius)


def _flags(flags: Sequence[Flag], axis: DepthAxis) -> Markup:
    """Numbered links above the plot, pushed right where two would overlap."""
    drawn, free = [], 0.0
    for flag in sorted(flags, key=lambda f: f.column):
        width = 9 + 7.5 * len(flag.label)
        x = min(max(axis.middle(flag.column) - width / 2, free), axis.right - width)
        free = x + width + 3
        drawn.append(
            el(
                "a",
                el("rect", x=x, y=2, width=width, height=17, rx=4),
                text(flag.label, x + width / 2, 15, class_="flag-label", anchor="middle"),
                href=flag.href,
                class_=f"flag-link {flag.severity}",
                aria_label=flag.says,
            )
        )
    return Markup("").join(drawn)
