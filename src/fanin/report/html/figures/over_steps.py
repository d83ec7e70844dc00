"""The first steps of training: one chart a quantity."""

from __future__ import annotations

from collections.abc import Iterator

from fanin.measure.steps import Watched
from fanin.report.html.charts.over_steps import Run, steps_plot
from fanin.report.html.figures.common import Figure
from fanin.report.steps import Series, series_of
from fanin.rules.result import CheckResult
from fanin.text.numbers import figures, share

__all__ = ["steps_figures"]

_LIMITED = ("distance", "update", "dead")  # what the threshold of the rule is a value of
_COLOURS = {"update": "backward", "dead": "backward", "rate": "backward"}


def steps_figures(result: CheckResult) -> Iterator[Figure]:
    """Loss, distance, update ratio and signal; a dead share and a rate where they change."""
    watched = result.measurements.watched
    if watched is not None:
        yield from (_figure(series, result, watched) for series in series_of(watched))


def _figure(series: Series, result: CheckResult, watched: Watched) -> Figure:
    quantity = series.quantity
    id_ = f"steps-{quantity.name}"
    found = [f for f in (*result.findings, *result.consequences) if f.code == quantity.code]
    run = Run(
        steps=series.steps,
        middle=series.middle,
        low=series.low,
        high=series.high,
        lost=tuple(s.step for s in watched.steps if s.nonfinite),
        limit=found[0].threshold if found and quantity.name in _LIMITED else None,
        series=_COLOURS.get(quantity.name, "forward"),
    )
    drawing = steps_plot(run, id_=id_, title=quantity.title, description=_words(series))
    return Figure(id=id_, caption=quantity.title, drawing=drawing)


def _words(series: Series) -> str:
    form = share if series.quantity.name == "dead" else figures
    known = [(step, v) for step, v in zip(series.steps, series.shown, strict=True) if v is not None]
    (first, start), (last, end) = known[0], known[-1]
    return f"{form(start)} at step {first}, {form(end)} at step {last}. The table has the other steps."
