"""Histograms: a map over all operations, ridges of a few."""

from __future__ import annotations

from collections.abc import Sequence

from fanin.measure.record import Histogram, Site, TensorStats
from fanin.report.html.axes import DepthAxis
from fanin.report.html.charts.cells import column_map, exponent_rows, shade, shade_key
from fanin.report.html.charts.ridges import Ridge, ridges, rms_note
from fanin.report.html.figures.common import Figure
from fanin.text.names import clean
from fanin.text.numbers import counted
from fanin.text.spacing import evenly

__all__ = ["distributions", "magnitudes"]


MAX_RIDGES = 8
# Bins below this share of their layer's fullest are left blank: thin tails would stretch the axis and speckle.
_LEAST = 0.01


def magnitudes(sites: Sequence[Site], axis: DepthAxis, side: str) -> Figure | None:
    """Operations by binary exponents of what they give ("forward") or of its gradient ("backward")."""
    histograms = [_exponents(_stats(site, side)) for site in sites]
    spans = [_span(histogram) for histogram in histograms if histogram is not None]
    known = [span for span in spans if span is not None]
    if not known:
        return None
    low, high = min(a for a, _ in known), max(b for _, b in known)
    what = "activations" if side == "forward" else "gradients"
    return Figure(
        id=f"heat-{side}",
        caption=f"Magnitudes of the {what}, layer by layer",
        drawing=column_map(
            {side: [_column(histogram, low, high) for histogram in histograms]},
            axis,
            exponent_rows(low, high),
            id_=f"heat-{side}",
            title=f"Magnitudes of the {what}",
            description=f"One column an operation, one row a power of two of |x|; the darker, the more {what}.",
        ),
        key=shade_key(side, f"few {what}", "many"),
    )


def distributions(sites: Sequence[Site], side: str) -> Figure | None:
    """Histograms of a few layers, first to last, in units of their rms."""
    usable = [site for site in sites if site.kind == "weight" and _linear(_stats(site, side))]
    usable = usable or [site for site in sites if _linear(_stats(site, side))]
    if not usable:
        return None
    rows = [_ridge(usable[place], side) for place in evenly(len(usable), MAX_RIDGES)]
    what = "activations" if side == "forward" else "gradients"
    return Figure(
        id=f"ridges-{side}",
        caption=f"Distribution of the {what}",
        drawing=ridges(
            rows,
            series=side,
            id_=f"ridges-{side}",
            title=f"Distribution of the {what} in {counted(len(rows), 'layer')}",
            description="Each histogram is in units of its own rms: shapes compare, widths do not.",
            axis_title="value in units of the layer's rms",
        ),
    )


def _stats(site: Site, side: str) -> TensorStats | None:
    return site.forward if side == "forward" else site.backward


def _exponents(stats: TensorStats | None) -> Histogram | None:
    return stats.exponents if stats else None


def _span(histogram: Histogram) -> tuple[int, int] | None:
    """First and past the last exponent that the map shows."""
    least = max(histogram.counts, default=0) * _LEAST
    filled = [i for i, n in enumerate(histogram.counts) if n > least]
    return (int(histogram.low) + filled[0], int(histogram.low) + filled[-1] + 1) if filled else None


def _column(histogram: Histogram | None, low: int, high: int) -> list[int]:
    if histogram is None or not any(histogram.counts):
        return []
    top, start = max(histogram.counts), int(histogram.low)
    counts = {start + i: n for i, n in enumerate(histogram.counts)}
    shares = (counts.get(exponent, 0) / top for exponent in range(low, high))
    return [shade(n) if n > _LEAST else 0 for n in shares]


def _linear(stats: TensorStats | None) -> bool:
    values = stats.values if stats else None
    return values is not None and values.scale == "linear" and any(values.counts)


def _ridge(site: Site, side: str) -> Ridge:
    stats = _stats(site, side)
    values = stats.values if stats else None
    if stats is None or values is None:
        return Ridge(label=site.path, note="", low=0, width=1, heights=())
    heights = tuple(float(n) for n in values.counts)
    name = clean(site.path or site.module_class)
    return Ridge(label=name, note=rms_note(stats.rms), low=values.low, width=values.width, heights=heights)
