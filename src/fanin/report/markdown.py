"""The report in Markdown, for a pull request or a notebook."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fanin.measure.record import Prediction
from fanin.report.rows import (
    codes_by_site,
    findings_by_severity,
    header_facts,
    limit_of,
    names_of,
    not_run_by_reason,
    size_of,
    title_of,
    trial_rows,
    where,
)
from fanin.report.steps import CUT, HEADS, rows_of, span
from fanin.rules.finding import Finding
from fanin.rules.result import CheckResult
from fanin.text.names import clean, one_line, sentence, shorten
from fanin.text.numbers import figures, standard_errors
from fanin.text.spacing import evenly

__all__ = ["to_markdown"]

_SIGNS = {"error": "❌", "warning": "⚠️", "note": "ℹ️"}
_MAX_LAYERS = 30


def to_markdown(result: CheckResult) -> str:
    """Verdict, findings with their fixes, layers, what did not run."""
    facts = ", ".join(f"{name} {_prose(value)}" for name, value in header_facts(result.header))
    lines = [
        f"# {title_of(result)}: {_code(shorten(clean(result.header.model_class), 80))}",
        "",
        f"**{'✅ ' if result.ok else ''}{_prose(result.verdict)}**",
        "",
        facts,
        "",
    ]
    for finding in findings_by_severity(result.findings):
        lines += _finding(finding)
    if result.consequences:
        lines += ["## Consequences", "", *(_consequence(f) for f in result.consequences), ""]
    lines += _trial(result)
    lines += _steps(result)
    lines += _layers(result)
    if result.not_run:
        lines += ["## Not run", ""]
        for reason, rules in not_run_by_reason(result.not_run):
            lines.append(f"- {', '.join(f'{_prose(r.code)} {_prose(r.name)}' for r in rules)}: {_prose(reason)}")
        lines.append("")
    return "\n".join(lines)


def _trial(result: CheckResult) -> Iterator[str]:
    rows = trial_rows(result)
    if rows:
        yield from ("## fanin.init_ on a copy", "", "| | before | after |", "| --- | --- | --- |")
        for row in rows:
            yield f"| {' | '.join(_prose(cell) for cell in row)} |"
        yield ""


def _finding(finding: Finding) -> Iterator[str]:
    limit = limit_of(finding)
    yield f"## {_SIGNS[finding.severity]} {_prose(finding.code)} {_prose(finding.name)}"
    yield ""
    yield f"{_code(where(finding, 120))}{': ' + _prose(limit) if limit else ''}"
    yield ""
    yield _prose(sentence(finding.message))
    yield ""
    if finding.fix.text:
        yield f"**Fix.** {_prose(sentence(finding.fix.text))}"
        yield ""
    if finding.fix.code:
        # Indented, not fenced: no text can close the block.
        yield from (f"    {clean(line)}" for line in finding.fix.code.splitlines())
        yield ""


def _consequence(finding: Finding) -> str:
    because = ", ".join(_prose(code) for code in finding.because_of)
    limit = f": {_prose(limit_of(finding))}" if limit_of(finding) else ""
    return f"- {_prose(finding.code)} {_prose(finding.name)} because of {because}{limit}"


def _steps(result: CheckResult) -> Iterator[str]:
    watched = result.measurements.watched
    if watched is None:
        return
    yield from ("## Steps", "", _prose(span(watched)), "")
    if watched.steps:
        yield f"| {' | '.join(HEADS)} |"
        yield f"|{' --: |' * len(HEADS)}"
        yield from (f"| {' | '.join(map(_prose, row))} |" for row in rows_of(watched, _MAX_LAYERS))
        yield ""
    if CUT in result.measurements.missing:
        yield from (_prose(f"{CUT}: {result.measurements.missing[CUT]}"), "")


def _layers(result: CheckResult) -> Iterator[str]:
    sites = result.measurements.weight_sites()
    if not sites:
        return
    codes = codes_by_site((*result.findings, *result.consequences), sites)
    names = names_of(sites)
    shown = evenly(len(sites), _MAX_LAYERS, keep=codes)
    yield f"## Layers ({len(shown)} of {len(sites)})" if len(shown) < len(sites) else "## Layers"
    yield ""
    yield "| layer | rms | expected | z | gradient rms | expected | z | found |"
    yield "| :-- | --: | --: | --: | --: | --: | --: | :-- |"
    for place in shown:
        site = sites[place]
        name = _code(shorten(names[place], 60)).replace("|", "\\|")
        forward = f"{figures(size_of(site.forward))} | {_expected(site.predicted)}"
        backward = f"{figures(size_of(site.backward))} | {_expected(site.predicted_backward)}"
        found = " ".join(map(_prose, dict.fromkeys(codes.get(place, ()))))
        yield f"| {name} | {forward} | {backward} | {found} |"
    yield ""


def _expected(predicted: Prediction | None) -> str:
    """Two cells: what theory expects, and how far off it is."""
    value, z = (predicted.rms, predicted.z) if predicted else (None, None)
    return f"{figures(value)} | {standard_errors(z)}"


def _prose(text: object) -> str:
    r"""Text that Markdown leaves as it is.

    Example:
        >>> print(_prose("a_b <script> @me |"))
        a\_b \<script\> \@me \|
    """
    return re.sub(r"([\\`*_{}\[\]<>#|~&!$@])", r"\\\1", one_line(text))


def _code(text: str) -> str:
    """A code span whose fence is longer than any run of backticks inside."""
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"
