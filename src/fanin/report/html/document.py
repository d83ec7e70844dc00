"""The report as one HTML page: verdict, findings, plots, layers, and how to read them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from fanin.errors import ArgumentError
from fanin.measure.record import InputRecord, Site
from fanin.report.html.figures import MAX_COLUMNS, Figure, all_figures, page_sites, plots_of
from fanin.report.html.layer_table import layer_table
from fanin.report.html.page import embed, fill, stand_alone
from fanin.report.html.slim import slim
from fanin.report.json_view import to_document
from fanin.report.rows import (
    departures,
    findings_by_severity,
    header_facts,
    limit_of,
    not_run_by_reason,
    silences,
    sites_of,
    title_of,
    trial_rows,
    where,
)
from fanin.report.rulebook import RuleText, rule_text
from fanin.report.steps import CUT, HEADS, QUANTITIES, chosen, rows_of, span
from fanin.rules.finding import Finding
from fanin.rules.result import CheckResult
from fanin.text.names import clean, one_line, shorten
from fanin.text.numbers import big, figures

__all__ = ["MAX_BYTES", "data_of", "notebook", "to_html"]

MAX_BYTES = 480_000
# Columns of the plots, tried in turn until the page without its data is small.
_LIMITS = (MAX_COLUMNS, 320, 200, 100, 50)
# Bytes that the sentence on what is left out may add.
_FOOTER = 400
_SITES_ONLY = ("operations beyond those shown",)
_PLOT_NAMES = {
    "depth": "depth plot",
    "units": "units",
    "ratio": "gradient over weight",
    "attention": "attention",
    "samples": "samples",
    **{f"steps-{quantity.name}": f"chart of the {quantity.name} over the steps" for quantity in QUANTITIES},
}
_SECTIONS = (
    ("steps", "Steps"),
    ("signal", "Signal"),
    ("findings", "Findings"),
    ("trial", "Before and after"),
    ("magnitudes", "Distributions"),
    ("gradients", "Gradients"),
    ("unit-activity", "Units"),
    ("likeness", "Samples"),
    ("heads", "Attention"),
    ("layers", "Layers"),
    ("not-run", "Not run"),
    ("reading", "How to read"),
)


def to_html(result: CheckResult, *, max_bytes: int = MAX_BYTES) -> str:
    """One page, complete in itself, at most `max_bytes` long.

    Embedded data give way first, then operations and findings, the least telling first; the page lists what is missing.
    """
    for limit in _LIMITS:
        sites = page_sites(result, limit)
        page = _writer(result, sites, max_findings=20 + limit // 10)
        bare = len(page({}).encode())
        if bare <= 0.8 * max_bytes:
            break
    for document in slim(to_document(_shown(result, sites)), _SITES_ONLY if len(sites) < _num_sites(result) else ()):
        if bare + len(embed(document)) + _FOOTER <= max_bytes:
            return page(document)
    return page({})


def _writer(result: CheckResult, sites: Sequence[Site], *, max_findings: int) -> Callable[[Mapping[str, Any]], str]:
    """A function from the data to embed to the page."""
    plots = all_figures(result, sites)
    present = _present(plots, with_trial=result.trial is not None, with_steps=result.measurements.watched is not None)
    context = _context(result, sites, plots, max_findings)
    nav = [section for section in _SECTIONS if section[0] in present]
    title = f"{result.verdict} · {shorten(clean(result.header.model_class), 80)} · {title_of(result)}"

    def page(data: Mapping[str, Any]) -> str:
        body = fill("check.html.j2", present=present, left_out=data.get("left_out", ()), **context)
        return stand_alone(body, title=title, nav=nav, data=data)

    return page


def _shown(result: CheckResult, sites: Sequence[Site]) -> CheckResult:
    """The result with the measurements of the operations on the page alone, where there are more."""
    if len(sites) == _num_sites(result):
        return result
    read = {name for site in sites for name in site.parameters}
    measured = result.measurements
    parameters = tuple(record for record in measured.parameters if record.path in read)
    return replace(result, measurements=replace(measured, sites=tuple(sites), parameters=parameters))


def _num_sites(result: CheckResult) -> int:
    return sum(site.kind != "loss" for site in result.measurements.sites)


def notebook(result: CheckResult) -> str:
    """The page in a frame of its own, for ``_repr_html_``: its styles and its script stay inside."""
    return str(
        Markup(
            '<iframe title="fanin check" sandbox="allow-scripts" srcdoc="{}" width="100%" height="640" '
            'style="border: 1px solid #8888; border-radius: 8px; background: Canvas"></iframe>'
        ).format(to_html(result))
    )


def data_of(page: str) -> Mapping[str, Any]:
    """The JSON document that a page carries.

    Raises:
        ArgumentError: the text is no page of ours.
    """
    found = re.search(r'<script type="application/json" id="fanin-data">(.*?)</script>', page, re.DOTALL)
    if not found:
        raise ArgumentError("the text holds no fanin data; give an HTML report that fanin wrote, or its JSON report")
    return dict(json.loads(found[1]))


def _present(plots: Mapping[str, Figure], *, with_trial: bool, with_steps: bool) -> frozenset[str]:
    by_plot = {
        "signal": ("depth",),
        "magnitudes": ("heat-forward", "heat-backward", "ridges-forward", "ridges-backward"),
        "gradients": ("ratio",),
        "unit-activity": ("units",),
        "likeness": ("samples",),
        "heads": ("attention",),
    }
    drawn = {section for section, ids in by_plot.items() if any(plot in plots for plot in ids)}
    given = {name for name, there in (("trial", with_trial), ("steps", with_steps)) if there}
    return frozenset({*drawn, *given, "findings", "layers", "not-run", "reading"})


def _context(
    result: CheckResult, sites: Sequence[Site], plots: Mapping[str, Figure], max_findings: int
) -> dict[str, Any]:
    everything = findings_by_severity(result.findings)
    findings = everything[:max_findings]
    heads, rows = layer_table(result, sites, _anchors(findings, result.consequences))
    return {
        "result": result,
        "model": shorten(clean(result.header.model_class), 120),
        "target": shorten(clean(result.header.target), 120),
        "tone": "ok" if result.ok or not findings else findings[0].severity,
        "facts": header_facts(result.header),
        "loss": _loss_facts(result),
        "departures": departures(sites),
        "silences": silences(sites),
        "findings": [_finding(f, n, result, sites, plots) for n, f in enumerate(findings, start=1)],
        "num_hidden": len(everything) - len(findings),
        "trial": [tuple(shorten(cell, 400) for cell in row) for row in trial_rows(result)],
        "plots": plots,
        "steps": _steps(result, plots),
        "heads": heads,
        "table": rows,
        "any_found": any(row.found for row in rows),
        "num_sites": _num_sites(result),
        "kinds": sorted({site.kind for site in sites}),
        "not_run": [(shorten(one_line(reason), 400), rules) for reason, rules in not_run_by_reason(result.not_run)],
        "missing": [(clean(what), shorten(one_line(why), 400)) for what, why in result.measurements.missing.items()],
        "versions": ", ".join(f"{clean(k)} {clean(v)}" for k, v in result.header.versions.items()),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _FindingView:
    number: int
    finding: Finding
    title: str
    where: str
    limit: str
    links: tuple[tuple[str, str], ...]
    follows: tuple[tuple[str, str, str, str], ...]
    rule: RuleText


def _finding(
    finding: Finding, number: int, result: CheckResult, sites: Sequence[Site], plots: Mapping[str, Figure]
) -> _FindingView:
    places = sites_of(finding, sites)
    links = []
    if places:
        first = sites[places[0]].index
        links += [(f"#{plot}-{first}", _PLOT_NAMES[plot]) for plot in plots_of(finding.code) if plot == "depth"]
        links += [(f"#{plot}", _PLOT_NAMES[plot]) for plot in plots_of(finding.code)[1:] if plot in plots]
        links.append((f"#layer-{first}", "layer table"))
    elif finding.code.startswith("W"):
        links += [(f"#{plot}", _PLOT_NAMES[plot]) for plot in plots_of(finding.code)[1:] if plot in plots]
    caused = [f for f in result.consequences if finding.code in f.because_of]
    return _FindingView(
        number=number,
        finding=finding,
        title=headline(finding.name),
        where=where(finding, 240),
        limit=limit_of(finding),
        links=tuple(links),
        rule=rule_text(finding.code, finding.name),
        follows=tuple((clean(f.code), headline(f.name), where(f, 120), limit_of(f)) for f in caused),
    )


def headline(name: str) -> str:
    """A rule's name as words.

    Example:
        >>> headline("forward-vanishing")
        'Forward vanishing'
    """
    words = shorten(clean(name), 80).replace("-", " ")
    return words[:1].upper() + words[1:]


def _input(record: InputRecord) -> str:
    stats = record.stats
    return f"rms {figures(stats.rms)}, mean {figures(stats.mean)}, {big(stats.min)} to {big(stats.max)}"


def _loss_facts(result: CheckResult) -> list[tuple[str, str]]:
    measured = result.measurements
    loss = measured.loss
    facts = [(f"input {shorten(clean(i.name), 40)}", _input(i)) for i in measured.inputs[:4] if i.floating]
    if math.isfinite(loss.value) and loss.source != "cotangent":
        facts.append(("loss at the start", figures(loss.value)))
    if loss.baseline is not None:
        facts.append(("loss of a constant prediction", figures(loss.baseline)))
    if loss.logit_std is not None:
        facts.append(("std of the logits", figures(loss.logit_std)))
    if measured.output_cosine is not None:
        facts.append(("1 − cosine of two outputs", figures(measured.output_cosine.one_minus_mean)))
    if measured.jacobian is not None:
        error = measured.jacobian.relative_error * 100
        facts.append(("Jacobian: mean squared gain χ", f"{figures(measured.jacobian.chi)} ± {big(error)} %"))
    return facts


@dataclass(frozen=True, slots=True, kw_only=True)
class _StepsView:
    span: str
    last: int
    charts: tuple[Figure, ...]
    more: tuple[Figure, ...]
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    cut: str


def _steps(result: CheckResult, plots: Mapping[str, Figure]) -> _StepsView | None:
    watched = result.measurements.watched
    if watched is None:
        return None
    why = result.measurements.missing.get(CUT, "")
    charts = {q.name: plots[f"steps-{q.name}"] for q in QUANTITIES if f"steps-{q.name}" in plots}
    first = chosen(charts, [f.code for f in (*result.findings, *result.consequences)])
    return _StepsView(
        span=span(watched),
        last=watched.steps[-1].step if watched.steps else 0,
        charts=tuple(charts[name] for name in first),
        more=tuple(chart for name, chart in charts.items() if name not in first),
        heads=HEADS,
        rows=tuple(rows_of(watched, 100)),
        cut=f"{CUT}: {one_line(why)}" if why else "",
    )


def _anchors(findings: Sequence[Finding], consequences: Sequence[Finding]) -> dict[str, str]:
    """For each code the finding to go to: its own, or that of its cause."""
    anchors: dict[str, str] = {}
    for number, finding in enumerate(findings, start=1):
        anchors.setdefault(finding.code, f"#finding-{number}")
    for finding in consequences:
        causes = [anchors[code] for code in finding.because_of if code in anchors]
        if causes:
            anchors.setdefault(finding.code, causes[0])
    return anchors
