"""Root causes first: which finding explains which, and which findings no other explains."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import replace

from fanin.rules.finding import SEVERITIES, Finding, Severity
from fanin.rules.table import RULES

__all__ = ["CAUSES", "explained_by", "split_consequences"]

_NOT_FINITE = frozenset(("D103", "P504", "S207"))
_LEADS_NOT_FINITE = frozenset(
    ("D103", "P504", "D101", "S202", "P507", "P508")
)  # measured over the finite part, and before it
_SIGNAL = frozenset(("S201", "S202"))
_VALUES = frozenset(("P507", "P508", "P509"))
_START = frozenset(("D101", "D102", "P501", "P502", "P503", "P506")) | _VALUES
# what makes predictions small beside targets of ordinary size
_SMALL_PREDICTIONS = frozenset(("D101", "P502", "P503", "P509", "N602", "S201", "A301", "G402"))

# effect -> the codes that explain it where both are found. Everything measured behind a NaN is explained by it
# (`_NOT_FINITE`).
CAUSES: dict[str, frozenset[str]] = {
    "D102": frozenset(("D101",)),
    "D104": frozenset(("L804",)) | _SMALL_PREDICTIONS,
    "P501": _VALUES,
    "P502": _VALUES,
    "P503": _VALUES,
    "P505": _VALUES,
    "P506": frozenset(("D101",)) | _VALUES,
    "S201": _START,
    "S202": _START,
    "A302": _START | {"S202"},
    "A301": _START | _SIGNAL,
    "A303": _START | {"A301", "S201", "S203", "S205", "G402"},
    "S203": _START | {"S201", "A301", "A302", "N602", "N601", "L802", "G402"},
    "S204": _START | {"S202", "A302", "N601", "D104", "L801", "T701"},
    "S205": _START | {"S201", "S203", "A301", "A302", "N602", "N601", "G402"},
    "S206": _START | _SIGNAL | {"S203", "S204", "S205", "A301", "A302", "G402", "N601", "N602", "L801", "T701"},
    "G402": frozenset(("P501", "P502", "P503", "P509", "A301", "N601")) | _VALUES,
    "G404": _START | _SIGNAL | {"S203", "S204", "S205", "A301", "A302", "G402", "T701", "N602"},
    "N602": _START | {"G402"},
    "T701": frozenset(("D101", "P502", "S202")) | _VALUES,
    "T702": frozenset(("D102", "S201", "S205", "T701", "P501", "P502", "P503", "G402")) | _VALUES,
    "L801": _START | {"S202", "A302"},
    "O901": frozenset(("S202", "S204", "D101", "D104", "P502")) | _VALUES,
    "O902": frozenset(("S202", "S204", "S201", "S203", "D101", "P502")) | _VALUES,
    "W901": _START | {"O901", "S202", "W905", "W907", "W909", "L803", "W913"},
    "W902": _START | {"W908", "S201", "S203", "S205", "A301", "G401", "G402", "W905", "W913"},
    "W903": _START
    | _SIGNAL
    | {"S203", "S205", "S206", "A301", "G401", "G402", "O901"}
    | {"W901", "W902", "W905", "W906", "W907", "W908", "W909", "D105", "L802", "L803", "L804", "W913"},
    "W904": frozenset(("O901", "W901", "W905", "W907", "W909", "L803")),
    "W905": frozenset(("D103", "P504", "S207", "O901")),
    "W906": frozenset(("O901", "W901", "W905", "W907", "W909", "A301")),
    "S207": frozenset(("D103", "P504", "D101", "S202", "P502", "P506")) | _VALUES,
}
# effect -> (key of its evidence, causes): these explain it only where its evidence says so.
_ONLY_WHERE = {"D104": ("of_predictions", _SMALL_PREDICTIONS)}
# What is not finite before any operation runs is the whole reason why a signal is not: a large scale beside it is not.
_CERTAIN = frozenset(("D103", "P504"))
# Two that go together (chi_1 < 1 shows in both; a norm that divides by eps lets the signal vanish, and a vanished
# signal meets eps): the worse one is the cause, the first of the pair where both are equally bad.
_PAIRS = (("S203", "S205"), ("N602", "S201"))
_ORDER = {rule.code: i for i, rule in enumerate(RULES)}


def split_consequences(findings: Iterable[Finding]) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """(root causes, consequences), each worst first and then in causal order.

    A consequence names what explains it in `because_of`. A root cause takes over the severity of the worst thing it
    explains. Notes explain nothing. Every consequence has a root among the findings, and the worst root is as severe
    as the worst finding, whatever the findings are: `explained_by` has no cycle.
    """
    found = list(findings)
    explained = explained_by(_causes_among(found), {f.code for f in found}, _apart(found))
    roots = [f for f in found if f.code not in explained]
    rest = [replace(f, because_of=explained[f.code]) for f in found if f.code in explained]
    return _sorted(_raised(f, rest, explained) for f in roots), _sorted(rest)


def explained_by(
    causes: Mapping[str, Severity], found: Iterable[str], apart: Container[tuple[str, str]] = ()
) -> dict[str, tuple[str, ...]]:
    """Code -> the codes that explain it, for those that any does; never in a circle.

    Edges are taken from the worst cause on, and one that would close a circle is left out: the worst finding of a
    circle stays a root.

    Args:
        causes: code -> its worst severity, of findings above a note.
        found: codes of all findings.
        apart: (cause, effect) that have nothing to do with each other here.

    Example:
        >>> explained_by({"S202": "error", "S207": "error"}, ["S202", "S207"])
        {'S207': ('S202',)}
    """
    explained: dict[str, tuple[str, ...]] = {}
    effects = sorted(found, key=_ORDER.__getitem__)
    for cause in sorted(causes, key=lambda c: (-_rank(causes[c]), _ORDER[c])):
        for effect in effects:
            linked = (cause, effect) not in apart and _explains(cause, effect, causes)
            if linked and effect not in _all_causes(cause, explained):
                explained[effect] = (*explained.get(effect, ()), cause)
    return {effect: tuple(sorted(_certain(because), key=_ORDER.__getitem__)) for effect, because in explained.items()}


def _apart(found: list[Finding]) -> set[tuple[str, str]]:
    limited = [(f, *_ONLY_WHERE[f.code]) for f in found if f.code in _ONLY_WHERE]
    return {(cause, f.code) for f, key, causes in limited if not f.evidence.get(key) for cause in causes}


def _certain(causes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(c for c in causes if c in _CERTAIN) or causes


def _causes_among(found: list[Finding]) -> dict[str, Severity]:
    causes: dict[str, Severity] = {}
    for f in found:
        if f.severity != "note" and _rank(f.severity) > _rank(causes.get(f.code, "note")):
            causes[f.code] = f.severity
    return causes


def _explains(cause: str, effect: str, severities: Mapping[str, Severity]) -> bool:
    if cause == effect:
        return False
    for first, second in _PAIRS:
        if {cause, effect} == {first, second}:
            lead = first if _rank(severities.get(first, "note")) >= _rank(severities.get(second, "note")) else second
            return cause == lead
    if cause in _NOT_FINITE and effect[0] in "SAGTLON" and effect not in _NOT_FINITE | _LEADS_NOT_FINITE:
        return effect not in ("G401", "L802", "N601", "O901")
    return cause in CAUSES.get(effect, frozenset())


def _rank(severity: Severity) -> int:
    return SEVERITIES.index(severity)


def _raised(root: Finding, rest: list[Finding], explained: dict[str, tuple[str, ...]]) -> Finding:
    if root.severity == "note":
        return root
    behind = [f.severity for f in rest if root.code in _all_causes(f.code, explained)]
    worst = max([root.severity, *behind], key=_rank)
    return root if worst == root.severity else replace(root, severity=worst)


def _all_causes(code: str, explained: dict[str, tuple[str, ...]]) -> set[str]:
    seen: set[str] = set()
    todo = list(explained.get(code, ()))
    while todo:
        cause = todo.pop()
        if cause not in seen:
            seen.add(cause)
            todo.extend(explained.get(cause, ()))
    return seen


def _sorted(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda f: (-_rank(f.severity), _ORDER[f.code])))
