"""The rows of a page's layer table: one an operation, only the columns that have anything in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fanin.measure.record import Activity, ParameterRecord, Prediction, Site
from fanin.report.rows import (
    activation_of,
    codes_by_site,
    findings_by_severity,
    names_of,
    parameters_by_site,
    ratio_of,
    size_of,
)
from fanin.rules.result import CheckResult
from fanin.text.names import clean, shorten
from fanin.text.numbers import MISSING, figures, share, sizes, standard_errors

__all__ = ["Cell", "Row", "layer_table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What is shown, and the number to sort by where there is one."""

    text: str
    value: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One operation; `found` holds the codes of its findings with the anchors to go to."""

    index: int
    name: str
    full: str
    kind: str
    op: str
    shape: str
    cells: tuple[Cell, ...]
    found: tuple[tuple[str, str], ...]


def layer_table(
    result: CheckResult, sites: Sequence[Site], anchors: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[Row, ...]]:
    """Heads of the number columns, and the rows.

    Args:
        result: what was found.
        sites: the operations to list.
        anchors: where the finding of a code is on the page.
    """
    everything = (*findings_by_severity(result.findings), *result.consequences)
    codes = codes_by_site(everything, sites)
    records = parameters_by_site(sites, result.measurements.parameters)
    sources = [_Source(site, records.get(place), _activity(site, sites)) for place, site in enumerate(sites)]
    columns = [column for column in _COLUMNS if any(column.value(source) is not None for source in sources)]
    names = names_of(sites)
    rows = tuple(_row(s, names[place], columns, codes.get(place, ()), anchors) for place, s in enumerate(sources))
    return tuple(column.head for column in columns), rows


@dataclass(frozen=True, slots=True)
class _Source:
    site: Site
    parameter: ParameterRecord | None
    activity: Activity | None

    @property
    def back(self) -> Prediction | None:
        return self.site.predicted_backward


@dataclass(frozen=True, slots=True)
class _Column:
    head: str
    value: Callable[[_Source], float | None]
    show: Callable[[float | None], str] = figures

    def cell(self, source: _Source) -> Cell:
        value = self.value(source)
        if value is None:
            return Cell(text=MISSING)
        return Cell(text=self.show(value), value=value if math.isfinite(value) else None)


_COLUMNS = (
    _Column("rms", lambda s: size_of(s.site.forward)),
    _Column("expected", lambda s: s.site.predicted.rms if s.site.predicted else None),
    _Column("z", lambda s: s.site.predicted.z if s.site.predicted else None, standard_errors),
    _Column("gradient rms", lambda s: size_of(s.site.backward)),
    _Column("gradient expected", lambda s: s.site.predicted_backward.rms if s.site.predicted_backward else None),
    _Column(
        "gradient z", lambda s: s.site.predicted_backward.z if s.site.predicted_backward else None, standard_errors
    ),
    _Column("grad/weight", lambda s: ratio_of(s.parameter)),
    _Column("|W|₂ / √(out/in)", lambda s: s.parameter.spectral if s.parameter else None),
    _Column("first step |ΔW|₂ / |W|₂", lambda s: s.parameter.first_step if s.parameter else None),
    _Column("dead units", lambda s: s.activity.dead_share if s.activity else None, share),
    _Column("1 − cosine", lambda s: s.site.sample_cosine.one_minus_mean if s.site.sample_cosine else None),
)


def _activity(site: Site, sites: Sequence[Site]) -> Activity | None:
    if site.activity or site.kind != "weight":
        return site.activity
    reader = activation_of(site, sites)
    return reader.activity if reader else None


def _row(
    source: _Source, name: str, columns: Sequence[_Column], codes: Sequence[str], anchors: Mapping[str, str]
) -> Row:
    site = source.site
    return Row(
        index=site.index,
        name=shorten(name, 80),
        full=shorten(name, 300),
        kind=site.kind,
        op=shorten(clean(site.op), 60),
        shape=sizes(site.shape),
        cells=tuple(column.cell(source) for column in columns),
        found=tuple((code, anchors.get(code, "")) for code in dict.fromkeys(codes)),
    )
