"""What the figures share: the figure itself, the choice of operations, names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from fanin.measure.record import Site
from fanin.report.html.axes import DepthAxis
from fanin.report.html.charts.markers import KIND_NAMES
from fanin.report.rows import sites_of
from fanin.rules.result import CheckResult
from fanin.text.names import clean, shorten
from fanin.text.numbers import figures
from fanin.text.spacing import evenly

__all__ = ["Figure", "axis_of", "ends", "label", "mark", "page_sites", "some"]


MAX_COLUMNS = 400
_NOTHING = Markup("")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One plot with its words.

    Attributes:
        id: of the drawing; columns that findings lead to have the ids "id-site".
        caption: what it is.
        drawing: the plot, or several side by side.
        key: legend under the caption.
        rows: the numbers as a table: the first row is the head.
    """

    id: str
    caption: str
    drawing: Markup
    key: Markup = _NOTHING
    rows: tuple[tuple[str, ...], ...] = ()


def page_sites(result: CheckResult, limit: int = MAX_COLUMNS) -> tuple[Site, ...]:
    """The operations that a page shows: all, or those with findings, then weight layers, then the rest, evenly."""
    sites = [site for site in result.measurements.sites if site.kind != "loss"]
    if len(sites) <= limit:
        return tuple(sites)
    flagged = {p for f in (*result.findings, *result.consequences) for p in _evenly_of(sites_of(f, sites), limit // 4)}
    kept = {0, len(sites) - 1, *_evenly_of(sorted(flagged), limit // 2)}
    for wanted in (True, False):
        pool = [place for place, site in enumerate(sites) if (site.kind == "weight") is wanted and place not in kept]
        kept.update(_evenly_of(pool, limit - len(kept)))
    return tuple(sites[place] for place in sorted(kept))


def _evenly_of(places: Sequence[int], limit: int) -> list[int]:
    """At most `limit` of the places, evenly spaced."""
    return [places[i] for i in evenly(len(places), limit)] if limit > 0 else []


def label(site: Site, width: int = 60) -> str:
    """The name of a site as text."""
    return shorten(clean(site.name), width)


def mark(site: Site) -> str:
    """The kind of a site's mark."""
    return site.kind if site.kind in KIND_NAMES else "other"


def axis_of(chosen: Sequence[Site], axis: DepthAxis, sites: Sequence[Site]) -> DepthAxis:
    """An axis of chosen sites alone."""
    flagged = {sites[column].index for column in axis.flagged}
    return DepthAxis(
        names=tuple(site.path or site.module_class for site in chosen),
        sites=tuple(site.index for site in chosen),
        flagged=tuple(place for place, site in enumerate(chosen) if site.index in flagged),
    )


def some(sites: Sequence[Site], limit: int = 60) -> list[Site]:
    """At most `limit` of the sites, evenly spaced."""
    return [sites[place] for place in evenly(len(sites), limit)]


def ends(name: str, values: Sequence[float | None]) -> str:
    """First and last value in words."""
    known = [value for value in values if value is not None]
    if not known:
        return f"{name}: not measured."
    return f"{name} {figures(known[0])} at the first and {figures(known[-1])} at the last of {len(known)} operations."
