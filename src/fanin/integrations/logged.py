"""What a report gives a logger: a few numbers and histograms a step, one table, one page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from fanin.measure.steps import StepRecord
from fanin.report.formats import render
from fanin.report.rows import codes_by_site, header_facts, names_of, parameters_by_site, ratio_of, size_of
from fanin.report.steps import scalars
from fanin.rules.finding import SEVERITIES
from fanin.rules.result import CheckResult

__all__ = ["HEADS", "MOST", "Bins", "Logged", "LoggedStep", "bins_of", "logged"]

MOST = 12
"""Names a logger gets for one step, at most."""
HEADS = ("layer", "rms", "expected rms", "gradient rms", "expected gradient rms", "gradient / weight", "found")
_PER_OCTAVE = 2


@dataclass(frozen=True, slots=True)
class Bins:
    """A histogram with bins of half an octave.

    Attributes:
        edges: rising, one more than there are counts.
        counts: values from an edge up to the next.
        total: sum of the values.
        squares: sum of their squares.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    total: float
    squares: float


@dataclass(frozen=True, slots=True)
class LoggedStep:
    """The numbers and histograms of one step; step 0 is the check of the first batch."""

    step: int
    scalars: dict[str, float]
    histograms: dict[str, Bins]


@dataclass(frozen=True, slots=True)
class Logged:
    """Everything that a logger gets.

    Attributes:
        verdict: one sentence.
        facts: what was checked, by name; the hash of the batch among them.
        steps: in order.
        table: a row a layer under `HEADS`; None where a number is not known or not finite.
        page: the report as HTML.
        text: the report as Markdown, for a logger that shows no HTML.
    """

    verdict: str
    facts: dict[str, str]
    steps: tuple[LoggedStep, ...]
    table: tuple[tuple[str | float | None, ...], ...]
    page: str
    text: str


def logged(result: CheckResult) -> Logged:
    """What a logger gets of a result."""
    watched = result.measurements.watched
    return Logged(
        verdict=result.verdict,
        facts=dict(header_facts(result.header)),
        steps=(_start(result), *map(_step, watched.steps if watched is not None else ())),
        table=tuple(_table(result)),
        page=render(result, "html"),
        text=render(result, "markdown"),
    )


def _start(result: CheckResult) -> LoggedStep:
    """How many findings of each severity, and the loss and the output before training."""
    measured = result.measurements
    found = Counter(f.severity for f in (*result.findings, *result.consequences))
    numbers = {
        **{f"findings/{severity}": float(found[severity]) for severity in SEVERITIES},
        "start/loss": None if measured.loss.source == "cotangent" else measured.loss.value,
        "start/loss of a constant": measured.loss.baseline,
        "start/output rms": size_of(measured.output),
        "start/chi": measured.jacobian.chi if measured.jacobian is not None else None,
    }
    return LoggedStep(0, {name: value for name, value in numbers.items() if value is not None}, {})


def _step(step: StepRecord) -> LoggedStep:
    over = {
        "update over weights": step.updates,
        "distance over weights": step.distances,
        "signal over layers": step.activations,
    }
    return LoggedStep(
        step.step, scalars(step), {name: bins for name, values in over.items() if (bins := bins_of(values)) is not None}
    )


def bins_of(values: Iterable[float | None]) -> Bins | None:
    """A histogram of the known finite values above zero; None where there is none.

    Example:
        >>> bins_of([0.5, 0.6, 1.0, None])
        Bins(edges=(0.5, 0.70..., 1.0, 1.41...), counts=(2, 0, 1), total=2.1, squares=1.6...)
    """
    known = [v for v in values if v is not None and 0 < v < math.inf]
    if not known:
        return None
    places = Counter(math.floor(math.log2(v) * _PER_OCTAVE) for v in known)
    low, high = min(places), max(places)
    return Bins(
        edges=tuple(2.0 ** (n / _PER_OCTAVE) for n in range(low, high + 2)),
        counts=tuple(places[n] for n in range(low, high + 1)),
        total=math.fsum(known),
        squares=math.fsum(v * v for v in known),
    )


def _table(result: CheckResult) -> Iterable[tuple[str | float | None, ...]]:
    sites = result.measurements.weight_sites()
    names, codes = names_of(sites), codes_by_site((*result.findings, *result.consequences), sites)
    records = parameters_by_site(sites, result.measurements.parameters)
    for place, site in enumerate(sites):
        numbers = (
            size_of(site.forward),
            site.predicted.rms if site.predicted else None,
            size_of(site.backward),
            site.predicted_backward.rms if site.predicted_backward else None,
            ratio_of(records.get(place)),
        )
        finite = (v if v is not None and math.isfinite(v) else None for v in numbers)
        yield (names[place], *finite, " ".join(dict.fromkeys(codes.get(place, ()))))
