"""Selections and groups of a result's rows for the views; no new numbers."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fanin.measure.record import ParameterRecord, Site, TensorStats
from fanin.rules.finding import SEVERITIES, Finding, NotRun
from fanin.rules.result import CheckResult, Header
from fanin.text.names import clean, one_line
from fanin.text.numbers import big, count, figures, seconds
from fanin.text.paths import group_paths

__all__ = [
    "Departure",
    "Silence",
    "activation_of",
    "codes_by_site",
    "departures",
    "findings_by_severity",
    "header_facts",
    "limit_of",
    "names_of",
    "not_run_by_reason",
    "parameters_by_site",
    "ratio_of",
    "silences",
    "sites_of",
    "size_of",
    "title_of",
    "trial_rows",
    "where",
]


def findings_by_severity(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Worst first; the order the rules gave within a severity."""
    return tuple(sorted(findings, key=lambda f: -SEVERITIES.index(f.severity)))


def sites_of(finding: Finding, sites: Sequence[Site]) -> tuple[int, ...]:
    """Positions in `sites` that a finding points at: those its evidence names, else those of its paths."""
    named = finding.evidence.get("sites")
    if isinstance(named, list | tuple) and named and all(type(i) is int for i in named):
        wanted = frozenset(named)
        found = tuple(place for place, site in enumerate(sites) if site.index in wanted)
        if found:
            return found
    paths = frozenset(finding.paths)
    own = tuple(
        p for p, s in enumerate(sites) if s.path in paths or s.name in paths or paths.intersection(s.parameters)
    )
    return own or tuple(p for p, s in enumerate(sites) if any(s.path.startswith(f"{path}.") for path in paths if path))


def codes_by_site(findings: Iterable[Finding], sites: Sequence[Site]) -> Mapping[int, tuple[str, ...]]:
    """Codes of the findings at each position of `sites`."""
    codes: dict[int, tuple[str, ...]] = {}
    for finding in findings:
        for place in sites_of(finding, sites):
            codes[place] = (*codes.get(place, ()), finding.code)
    return codes


def parameters_by_site(sites: Sequence[Site], parameters: Sequence[ParameterRecord]) -> Mapping[int, ParameterRecord]:
    """For each position of `sites` its weight: the parameter with most axes among those it reads."""
    named = {record.path: record for record in parameters}
    found: dict[int, ParameterRecord] = {}
    for place, site in enumerate(sites):
        read = [named[path] for path in site.parameters if path in named]
        if read:
            found[place] = max(read, key=lambda record: len(record.shape))
    return found


def size_of(stats: TensorStats | None) -> float | None:
    """The rms; NaN where any element is not finite, so that every view shows the place; None where not measured."""
    if stats is None:
        return None
    return math.nan if stats.any_nonfinite else stats.rms


def ratio_of(record: ParameterRecord | None) -> float | None:
    """Gradient over weight; NaN where the gradient is not finite."""
    if record is None:
        return None
    return math.nan if record.state == "nonfinite" else record.grad_over_weight


def names_of(sites: Sequence[Site]) -> tuple[str, ...]:
    """A name for each operation: the module's path, and its parameter or a count where one module runs several."""
    sole = Counter((site.path, site.kind) for site in sites)
    return tuple(clean(_name(site, sole[site.path, site.kind] > 1)) for site in sites)


def _name(site: Site, shared: bool) -> str:
    base = site.path or site.module_class
    if shared and site.kind == "weight":
        weight = next((name for name in site.parameters if name.endswith("weight")), "")
        own = weight.removesuffix(".weight")
        if own.startswith(f"{site.path}."):
            return own
    return f"{base} #{site.call}" if site.call else base


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """Operations whose measured values differ from what theory expects, for one reason, with the largest difference.

    `what` is "signals" or "gradients".
    """

    assumption: str
    what: str
    where: str
    z: float


def departures(sites: Sequence[Site]) -> tuple[Departure, ...]:
    """Where measured and predicted values differ, by the assumption that does not hold there."""
    far: dict[tuple[str, bool], list[tuple[Site, float]]] = {}
    for site in sites:
        for predicted, backward in ((site.predicted, False), (site.predicted_backward, True)):
            if predicted and predicted.assumption:
                far.setdefault((predicted.assumption, backward), []).append((site, predicted.z))
    return tuple(
        Departure(
            assumption=one_line(assumption),
            what="gradients" if backward else "signals",
            where=_together(tuple(site.path or site.module_class for site, _ in found), 160),
            z=max((z for _, z in found), key=abs),
        )
        for (assumption, backward), found in far.items()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Operations of which nothing is predicted, for one reason. `what` is "signals" or "gradients"."""

    reason: str
    what: str
    where: str


_MOST_SILENCES = 4  # the JSON has the reason at every operation


def silences(sites: Sequence[Site]) -> tuple[Silence, ...]:
    """Where theory expects no value, by the reason: the first few reasons."""
    found: dict[tuple[str, bool], list[str]] = {}
    for site in sites:
        for why, backward in ((site.unpredicted, False), (site.unpredicted_backward, True)):
            if why:
                found.setdefault((why, backward), []).append(site.path or site.module_class)
    return tuple(
        Silence(
            reason=one_line(why),
            what="gradients" if backward else "signals",
            where=_together(tuple(dict.fromkeys(paths)), 160),
        )
        for (why, backward), paths in itertools.islice(found.items(), _MOST_SILENCES)
    )


def activation_of(site: Site, sites: Sequence[Site], hops: int = 2) -> Site | None:
    """The activation that reads a site's output, directly or through a normalisation."""
    for reader in sites:
        if site.index in reader.inputs:
            if reader.kind == "activation":
                return reader
            if reader.kind == "norm" and hops:
                return activation_of(reader, sites, hops - 1)
    return None


def where(finding: Finding, width: int | None = None) -> str:
    """The paths of a finding as one line: patterns with their exact indices, whole; about `width` columns of them."""
    return _together(finding.paths or (finding.pattern,), width)


def _together(paths: Sequence[str], width: int | None) -> str:
    written = [clean(group.pattern) or "the model" for group in group_paths(paths)]
    if width is None:
        return ", ".join(written)
    line = written[0]
    for place, name in enumerate(written[1:], start=1):
        rest = len(written) - place
        if len(line) + len(name) + 12 > width:
            return f"{line} and {rest} more"
        line += ", " + name
    return line


def limit_of(finding: Finding) -> str:
    """Value, unit and limit in words; empty where the fault has no number.

    Example:
        >>> from fanin.rules.finding import Fix
        >>> limit_of(Finding(code="S201", name="", severity="error", paths=(), message="", fix=Fix(text=""),
        ...                  value=1.2e-9, threshold=1e-4, unit="x over depth"))
        '1.2e-9 x over depth (limit 1e-4)'
    """
    if finding.value is None:
        return ""
    unit = f" {clean(finding.unit)}" if finding.unit else ""
    limit = "" if finding.threshold is None else f" (limit {big(finding.threshold)})"
    return f"{big(finding.value)}{unit}{limit}"


def not_run_by_reason(not_run: Iterable[NotRun]) -> tuple[tuple[str, tuple[NotRun, ...]], ...]:
    """The rules that did not run, put together by the reason."""
    reasons: dict[str, tuple[NotRun, ...]] = {}
    for rule in not_run:
        reasons[rule.reason] = (*reasons.get(rule.reason, ()), rule)
    return tuple(reasons.items())


def title_of(result: CheckResult) -> str:
    """The verb of fanin that gave the result."""
    return "fanin check" if result.measurements.watched is None else "fanin watch"


def header_facts(header: Header) -> tuple[tuple[str, str], ...]:
    """What was checked, as (name, value) pairs."""
    trainable = header.num_parameters - header.num_trainable
    facts = [
        ("parameters", count(header.num_parameters) + (f" ({count(trainable)} frozen)" if trainable else "")),
        ("modules", count(header.num_modules)),
        ("batch", clean(header.batch)),
        *([("batch hash", clean(header.batch_hash))] if header.batch_hash else []),
        ("dtype", clean(header.dtype)),
        ("device", clean(header.device)),
        ("mode", "train" if header.training else "eval"),
        ("seeds" if len(header.seeds) > 1 else "seed", ", ".join(map(str, header.seeds)) or "as given"),
    ]
    facts += [(name, clean(said)) for name, said in (("loss", header.loss), ("optimizer", header.optimizer)) if said]
    if "total" in header.seconds:
        facts.append(("time", seconds(header.seconds["total"])))
    return tuple(facts)


def trial_rows(result: CheckResult) -> list[tuple[str, str, str]]:
    """What `fanin.init_` would change: (what, before, after); empty where it was not tried."""
    trial = result.trial
    if trial is None:
        return []
    if trial.reason:
        return [("not possible", "", one_line(trial.reason))]
    found = (*result.findings, *result.consequences)
    before = sorted({f.code for f in found})
    rows = [("verdict", result.verdict, trial.verdict)]
    if result.measurements.loss.source != "cotangent":
        rows.append(("first loss", figures(trial.loss_before), figures(trial.loss_after)))
    return [*rows, ("found", " ".join(map(clean, before)), " ".join(map(clean, trial.found)) or "nothing")]
