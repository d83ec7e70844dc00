"""Measurements in, result out: run the rules, find root causes, apply what the user said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace

from fanin.measure.record import Measurements
from fanin.rules.base import Context, Optimizer
from fanin.rules.causes import split_consequences
from fanin.rules.config import Config, covers, selected
from fanin.rules.finding import SEVERITIES, Finding, NotRun
from fanin.rules.patterns import matches, pattern_of
from fanin.rules.result import CheckResult, Header
from fanin.rules.table import RULES, get_rule

__all__ = ["Judgement", "judge_all", "result_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the rules say about one set of measurements, before causes and consequences are separated."""

    findings: tuple[Finding, ...]
    ignored: tuple[Finding, ...]
    not_run: tuple[NotRun, ...]
    checked: tuple[str, ...]
    used_ignores: frozenset[str]


def judge_all(measurements: Measurements, config: Config, optimizer: Optimizer | None = None) -> Judgement:
    """Run every selected rule."""
    context = Context(measurements=measurements, thresholds=_by_code(config), optimizer=optimizer)
    found: list[Finding] = []
    not_run: list[NotRun] = []
    checked: list[str] = []
    for rule in selected(config):
        told = rule.not_run(context)
        if told is not None:
            not_run.append(told)
            continue
        checked.append(rule.code)
        found.extend(rule.check(context))
    kept, ignored, used = _per_module(_accompanied(found), config)
    return Judgement(
        findings=tuple(kept),
        ignored=tuple(ignored),
        not_run=tuple(not_run),
        checked=tuple(checked),
        used_ignores=frozenset(used | _used_ignores(measurements, config, optimizer)),
    )


def _by_code(config: Config) -> dict[str, dict[str, float]]:
    return {get_rule(name).code: dict(limits) for name, limits in config.thresholds.items()}


def _accompanied(found: list[Finding]) -> list[Finding]:
    """Each finding as its rule tells it beside the others."""
    ordered = sorted(found, key=lambda f: SEVERITIES.index(f.severity))
    reported = (get_rule(f.code).beside(f, {f.code: f.severity for f in ordered}) for f in found)
    return [f for f in reported if f is not None]


def _per_module(found: Iterable[Finding], config: Config) -> tuple[list[Finding], list[Finding], set[str]]:
    kept: list[Finding] = []
    ignored: list[Finding] = []
    used: set[str] = set()
    for f in found:
        globs = [
            g for g, entries in config.per_module_ignores.items() if any(covers(e, get_rule(f.code)) for e in entries)
        ]
        hit = {p: g for p in f.paths if (g := matches(p, globs)) is not None}
        used |= {f"{g}: {e}" for g in hit.values() for e in config.per_module_ignores[g] if covers(e, get_rule(f.code))}
        left = tuple(p for p in f.paths if p not in hit)
        if left:
            kept.append(f if not hit else replace(f, paths=left, pattern=pattern_of(left)))
        else:
            ignored.append(f)
    return kept, ignored, used


def _used_ignores(measurements: Measurements, config: Config, optimizer: Optimizer | None) -> set[str]:
    """Entries of `ignore` that keep something quiet: those whose rules would have found something."""
    if not config.ignore:
        return set()
    context = Context(measurements=measurements, thresholds=_by_code(config), optimizer=optimizer)
    used = set()
    for entry in config.ignore:
        silent = [r for r in RULES if covers(entry, r) and r.not_run(context) is None]
        if any(True for r in silent for _ in r.check(context)):
            used.add(entry)
    return used


def _unused(config: Config, used: frozenset[str]) -> tuple[str, ...]:
    single = [e for e in config.ignore if e not in used]
    scoped = [f"{g}: {e}" for g, entries in config.per_module_ignores.items() for e in entries]
    return (*single, *(s for s in scoped if s not in used))


def result_of(
    header: Header,
    measurements: Measurements,
    judgements: Sequence[Judgement],
    config: Config,
    baseline: Iterable[str] = (),
) -> CheckResult:
    """One result from the judgements of one or more seeds; the measurements are those of the first.

    A finding of fewer than half of the seeds becomes a note. Fingerprints in `baseline` are known and are left out.
    """
    merged = _merged(judgements)
    known = set(baseline)
    roots, consequences = split_consequences(merged)
    left = tuple(f for f in roots if f.fingerprint not in known)
    old = tuple(f for f in roots if f.fingerprint in known)
    shown, hidden = _with_their_roots(consequences, left, known)
    first = judgements[0]
    ran = tuple(dict.fromkeys(c for j in judgements for c in j.checked))
    used = frozenset().union(*(j.used_ignores for j in judgements))
    return CheckResult(
        header=header,
        measurements=measurements,
        findings=left,
        consequences=shown,
        ignored=(*old, *hidden, *first.ignored),
        unused_ignores=_unused(config, used),
        not_run=tuple(n for n in first.not_run if n.code not in ran),
        checked=ran,
        fail_on=config.fail_on,
    )


def _with_their_roots(
    consequences: Iterable[Finding], roots: Iterable[Finding], known: Container[str]
) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """(consequences that something shown explains, those left out with the known findings that explain them)."""
    shown: list[Finding] = []
    hidden: list[Finding] = []
    seen = {f.code for f in roots}
    waiting = [f for f in consequences if f.fingerprint not in known]
    hidden += [f for f in consequences if f.fingerprint in known]
    while new := [f for f in waiting if seen & set(f.because_of)]:
        shown += new
        seen |= {f.code for f in new}
        waiting = [f for f in waiting if f not in new]
    order = {id(f): i for i, f in enumerate(consequences)}
    return tuple(sorted(shown, key=lambda f: order[id(f)])), tuple(
        sorted([*hidden, *waiting], key=lambda f: order[id(f)])
    )


def _merged(judgements: Sequence[Judgement]) -> list[Finding]:
    """The findings of all seeds, those that several seeds share once.

    Of one rule the first finding of a seed is that of the others, and so on; notes by themselves. Severities above a
    note count as equal: numbers move between seeds.
    """
    first_of: dict[tuple[str, bool, int], Finding] = {}
    count: Counter[tuple[str, bool, int]] = Counter()
    for judgement in judgements:
        met: Counter[tuple[str, bool]] = Counter()
        for f in judgement.findings:
            kind = (f.code, f.severity == "note")
            key = (*kind, met[kind])
            met[kind] += 1
            count[key] += 1
            first_of.setdefault(key, f)
    merged = []
    for key, f in first_of.items():
        rare = 2 * count[key] < len(judgements)
        merged.append(replace(f, seeds=(count[key], len(judgements)), severity="note" if rare else f.severity))
    return merged
