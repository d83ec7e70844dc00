"""The report for a terminal or a pipe: header, depth in two lines, findings worst first, layers, verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.constrain import Constrain
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from fanin.measure.record import ParameterRecord, Prediction, Site
from fanin.report.rows import (
    activation_of,
    codes_by_site,
    departures,
    findings_by_severity,
    header_facts,
    limit_of,
    names_of,
    not_run_by_reason,
    parameters_by_site,
    ratio_of,
    silences,
    size_of,
    title_of,
    trial_rows,
    where,
)
from fanin.report.terminal_steps import steps_part
from fanin.rules.finding import Finding
from fanin.rules.result import CheckResult
from fanin.text.ascii import to_ascii
from fanin.text.columns import Column, columns
from fanin.text.console import WIDEST, WIDTH, plain_text, standard_console
from fanin.text.names import clean, one_line, sentence
from fanin.text.numbers import MISSING, counted, figures, share, standard_errors
from fanin.text.spacing import evenly
from fanin.text.sparkline import sparkline

__all__ = ["TerminalReport", "show", "to_text"]

_SIGNS = MappingProxyType({"error": "✗", "warning": "▲", "note": "●", "ok": "✓"})
_STYLES = MappingProxyType({"error": "bold red", "warning": "bold yellow", "note": "cyan", "ok": "bold green"})
_Write = Callable[[str], str]


def to_text(result: CheckResult, *, width: int = WIDTH, max_layers: int | None = 24, verbose: bool = False) -> str:
    """The report as plain text: no colour, no control characters, at most `width` columns."""
    return plain_text(TerminalReport(result, max_layers=max_layers, verbose=verbose), width=width)


def show(
    result: CheckResult, *, console: Console | None = None, max_layers: int | None = 24, verbose: bool = False
) -> None:
    """Print the report: in colour on a terminal, plain through a pipe; NO_COLOR, FORCE_COLOR and COLUMNS work."""
    (console or standard_console()).print(TerminalReport(result, max_layers=max_layers, verbose=verbose))


@dataclass(frozen=True, slots=True)
class _Indented:
    """Text moved right, without the blanks that padding would leave at the end of its lines."""

    content: Text
    left: int = 2

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        inner = options.update(width=max(min(options.max_width, WIDTH) - self.left, 1))
        for line in console.render_lines(self.content, inner, pad=False):
            yield Segment(" " * self.left)
            yield from line
            yield Segment.line()


@dataclass(frozen=True, slots=True)
class TerminalReport:
    """A result that rich can print.

    Attributes:
        result: what to show.
        max_layers: rows of the layer table (layers with findings first, then evenly spaced); None for all.
        verbose: name each rule that did not run, with the reason; a count otherwise.
    """

    result: CheckResult
    max_layers: int | None = 24
    verbose: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The parts, one under the other."""
        width = min(options.max_width, WIDTH)
        widest = min(options.max_width, WIDEST)
        write: _Write = to_ascii if options.ascii_only else str
        parts: tuple[RenderableType, ...] = (
            _header(self.result, width, write),
            Text(),
            *steps_part(self.result, width, widest, options.ascii_only, write),
            *_depth(self.result, width, options.ascii_only),
            *_findings(self.result, width, write),
            *_layers(self.result, self.max_layers, width, widest, write),
            *_trial(self.result, write),
            *_verdict(self.result, self.verbose, write),
        )
        prose = (Constrain(part, width) if isinstance(part, Text) else part for part in parts)
        yield from console.render(Group(*prose), options.update(width=widest, highlight=False))


def _header(result: CheckResult, width: int, write: _Write) -> RenderableType:
    header = result.header
    line = Text.assemble((f"{title_of(result)}  ", "bold"))
    line.append(write(clean(header.model_class)), style="bold cyan")
    if header.target:
        line.append("  " + write(clean(header.target)), style="dim")
    return Group(line, *_facts(header_facts(header), width, write))


def _facts(facts: Sequence[tuple[str, str]], width: int, write: _Write) -> list[Text]:
    """Name and value pairs, as many on a line as fit; a pair stays on one line."""
    lines = [Text()]
    for name, value in facts:
        pair = Text.assemble((f"{name} ", "dim"))
        pair.append(write(value))
        if lines[-1] and lines[-1].cell_len + pair.cell_len + 3 > width:
            lines.append(Text())
        lines[-1].append("   " if lines[-1] else "").append_text(pair)
    return lines


def _depth(result: CheckResult, width: int, plain: bool) -> Iterator[RenderableType]:
    sites = result.measurements.weight_sites()
    if not sites:
        return
    forward, backward = [s.predicted for s in sites], [s.predicted_backward for s in sites]
    yield _depth_line("forward", [size_of(s.forward) for s in sites], forward, "cyan", width, plain)
    yield _depth_line("backward", [size_of(s.backward) for s in sites], backward, "magenta", width, plain)
    if any((*forward, *backward)):
        yield Text("  (z: distance from what theory expects, in standard errors)", style="dim")
    yield Text()


def _depth_line(
    label: str,
    values: Sequence[float | None],
    expected: Sequence[Prediction | None],
    style: str,
    width: int,
    plain: bool,
) -> Text:
    known = [v for v in values if v is not None]
    line = Text.assemble((f"  {label:<9}", "dim"))
    line.append(sparkline(values, width - 66, plain=plain), style=style)
    if known:
        ends = f"  rms {figures(known[0])} → {figures(known[-1])}"
        line.append(to_ascii(ends) if plain else ends)
        far = [p.z for p in expected if p is not None]
        if far:
            line.append(f"  z {standard_errors(min(far))} to {standard_errors(max(far))}", style="dim")
        layers = f"  {len(values)} layer{'s' * (len(values) != 1)}"
        if line.cell_len + len(layers) <= width:
            line.append(layers, style="dim")
    return line


def _findings(result: CheckResult, width: int, write: _Write) -> Iterator[RenderableType]:
    for finding in findings_by_severity(result.findings):
        yield from _finding(finding, width, write)
        for child in result.consequences:
            if finding.code in child.because_of:
                yield _consequence(child, width, write)
        yield Text()
    orphans = [c for c in result.consequences if not {f.code for f in result.findings} & set(c.because_of)]
    for child in orphans:
        yield _consequence(child, width, write)
    if orphans:
        yield Text()


def _finding(finding: Finding, width: int, write: _Write) -> Iterator[RenderableType]:
    style = _STYLES[finding.severity]
    head = Text.assemble((write(_SIGNS[finding.severity]) + " ", style))
    head.append(write(where(finding, width - 4)), style="bold")
    yield head
    facts = Text.assemble((f"{clean(finding.code)} {clean(finding.name)}  {finding.severity}", style))
    facts.append(write("  " + limit_of(finding)).rstrip())
    if finding.seeds[1] > 1:
        facts.append(f"  in {finding.seeds[0]} of {finding.seeds[1]} seeds", style="dim")
    yield _Indented(facts)
    yield _Indented(Text(write(sentence(finding.message))))
    if finding.fix.text:
        fix = Text.assemble(("fix: ", "green"))
        fix.append(write(sentence(finding.fix.text)))
        yield _Indented(fix)
    for line in finding.fix.code.splitlines():
        yield _Indented(Text(write(clean(line)), style="green"), 7)


def _consequence(finding: Finding, width: int, write: _Write) -> RenderableType:
    line = Text.assemble((write(f"  ↳ {clean(finding.code)} {clean(finding.name)}"), "dim bold"), no_wrap=True)
    causes = f"because of {', '.join(map(clean, finding.because_of))}"
    for part in (limit_of(finding), causes, where(finding, 40) if finding.paths else ""):
        if part and line.cell_len + len(part) + 2 <= width:
            line.append(write(f"  {part}"), style="dim")
    return line


def _layers(result: CheckResult, limit: int | None, width: int, widest: int, write: _Write) -> Iterator[RenderableType]:
    sites = result.measurements.weight_sites()
    if not sites:
        return
    codes = codes_by_site((*result.findings, *result.consequences), sites)
    names = names_of(sites)
    shown = evenly(len(sites), limit if limit is not None else len(sites), keep=codes)
    parameters = parameters_by_site(sites, result.measurements.parameters)
    rows = {p: _Row(sites[p], activation_of(sites[p], result.measurements.sites), parameters.get(p)) for p in shown}
    measured = [c for c in _COLUMNS if any(c.value(row) is not None for row in rows.values())]
    found = [_FOUND] if codes else []
    cells = [
        (
            names[place],
            *(c.show(row) for c in measured),
            *(" ".join(dict.fromkeys(map(clean, codes.get(place, ())))) for _ in found),
        )
        for place, row in rows.items()
    ]
    yield columns("layer", [*(c.head for c in measured), *found], cells, width=widest, write=write)
    for part in departures(sites):
        words = (
            f"{part.what}: measured and predicted values differ at {part.where}, by up to {abs(part.z):.0f} standard "
            f"errors. Assumption that does not hold there: {part.assumption}"
        )
        yield Text(write(words), style="dim")
    for quiet in silences(sites):
        yield Text(write(f"no prediction of {quiet.what} at {quiet.where}: {quiet.reason}"), style="dim")
    if len(shown) < len(sites):
        yield Text(f"{len(sites) - len(shown)} more layers in the JSON and HTML reports", style="dim")
    yield Text()


@dataclass(frozen=True, slots=True)
class _Row:
    site: Site
    activation: Site | None
    weight: ParameterRecord | None

    @property
    def dead_share(self) -> float | None:
        activity = self.activation.activity if self.activation else None
        return activity.dead_share if activity else None


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    rank: int
    value: Callable[[_Row], float | None]
    format: Callable[[float | None], str] = figures

    @property
    def head(self) -> Column:
        return Column(title=self.title, side="right", rank=self.rank)

    def show(self, row: _Row) -> str:
        value = self.value(row)
        return MISSING if value is None else self.format(value)


# Expected sizes are in the page and in Markdown; here z, their distance from the measured ones in standard errors.
_COLUMNS = (
    _Column("rms", 0, lambda r: size_of(r.site.forward)),
    _Column("z", 2, lambda r: r.site.predicted.z if r.site.predicted else None, standard_errors),
    _Column("grad rms", 0, lambda r: size_of(r.site.backward)),
    _Column("grad z", 3, lambda r: r.site.predicted_backward.z if r.site.predicted_backward else None, standard_errors),
    _Column("dead", 4, lambda r: r.dead_share, share),
    _Column("1 − cos", 5, lambda r: r.site.sample_cosine.one_minus_mean if r.site.sample_cosine else None),
    _Column("grad/weight", 6, lambda r: ratio_of(r.weight), lambda value: figures(value, 2)),
)
_FOUND = Column(title="found", rank=1, least=5, style="yellow")  # a code is five columns wide at most


def _trial(result: CheckResult, write: _Write) -> Iterator[RenderableType]:
    """What `fanin.init_` would change, before and after."""
    rows = trial_rows(result)
    if not rows:
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False, header_style="dim")
    for title in ("fanin.init_ on a copy", "before", "after"):
        table.add_column(Text(title))
    for row in rows:
        table.add_row(*(Text(write(cell)) for cell in row))
    yield table
    yield Text()


def _rules(number: int) -> str:
    return f"{number} rule{'s' * (number != 1)}"


def _verdict(result: CheckResult, verbose: bool, write: _Write) -> Iterator[RenderableType]:
    if result.not_run and not verbose:
        yield Text(
            f"not run: {_rules(len(result.not_run))} (-v or show(verbose=True) says which, and why)", style="dim"
        )
    small = [rule for rule in result.not_run if rule.needs_samples]
    if small and not verbose:
        names = ", ".join(f"{clean(rule.code)} {clean(rule.name)}" for rule in small)
        least = max(rule.needs_samples for rule in small)
        yield Text(write(f"the batch is too small for {names}: give {least} samples or more"), style="yellow")
    for reason, rules in not_run_by_reason(result.not_run) if verbose else ():
        names = ", ".join(f"{clean(rule.code)} {clean(rule.name)}" for rule in rules)
        yield Text(write(f"not run: {names}: {one_line(reason)}"), style="dim")
    for what in ("check of the first batch", "prediction", "prediction of some operations", "prediction of gradients"):
        if what in result.measurements.missing:
            yield Text(write(f"no {what}: {one_line(result.measurements.missing[what])}"), style="dim")
    if "untouched" in result.measurements.missing:
        yield Text(write(one_line(result.measurements.missing["untouched"])), style="yellow")
    if result.ignored:
        codes = ", ".join(sorted({clean(f.code) for f in result.ignored}))
        yield Text(f"ignored: {counted(len(result.ignored), 'finding')} ({codes})", style="dim")
    for entry in result.unused_ignores:
        yield Text(write(f"unused ignore: {clean(entry)} matched nothing"), style="yellow")
    worst = findings_by_severity(result.findings)[:1]
    state = "ok" if result.ok or not worst else worst[0].severity
    yield Text(write(f"{_SIGNS[state]} {result.verdict}"), style=_STYLES[state])
