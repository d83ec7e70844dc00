"""Where two starts of one model part: the operations that enlarge or shrink the signal, or its gradient, differently.

With d = ln(rms planned / rms found) at the output of every operation, the excess of an operation is d at its output
less d at what it reads. A plan changes many gains a little; the operation that is to blame has an excess far from the
median of all.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fanin.measure.record import Site
from fanin.rules.finding import Finding

__all__ = ["Parting", "deciding", "named_by", "parting"]

_NEXT_TO_NOTHING = 0.05  # an excess that tells of no size
_OUTLIER = math.log(4.0)  # an excess so far from the median of all is one operation's own


@dataclass(frozen=True, slots=True, kw_only=True)
class Parting:
    """The place where two starts part.

    Attributes:
        operation: name of the operation with the largest excess.
        parameters: parameters that decide the size there; those of further operations with a like excess follow.
        factor: what the planned weights multiply the signal (or its gradient) by there, over what the found ones do.
        backward: whether it is the gradient that parts.
        predicted: whether the factor is over what the plan predicts, not over the found start.
    """

    operation: str
    parameters: tuple[str, ...]
    factor: float
    backward: bool = False
    predicted: bool = False

    def __str__(self) -> str:
        what = "the gradient" if self.backward else "the signal"
        shown = ", ".join(self.parameters[:5]) + (" ..." if len(self.parameters) > 5 else "")
        than = "the plan predicts" if self.predicted else "the found ones do"
        if abs(self.factor - 1.0) < _NEXT_TO_NOTHING:
            return f"at {self.operation}, which reads the planned weights {shown}"
        return f"at {self.operation}: the planned weights ({shown}) scale {what} {self.factor:.3g} times what {than}"


def parting(found: Sequence[Site], planned: Sequence[Site], drawn: frozenset[str], *, sign: int = 0) -> Parting | None:
    """The operations in which two passes of one model part; None where no operation differs.

    Args:
        found: sites under the found weights.
        planned: sites under the planned ones.
        drawn: parameters that the plan draws; only these can be to blame.
        sign: 1 where the planned start is too large, -1 where it is too small, 0 where either may be.
    """
    if [s.name for s in found] != [s.name for s in planned]:
        return _last(planned, drawn)
    forward = _blamed(_forward_excess(found, planned), planned, drawn, sign, backward=False)
    backward = _blamed(_backward_excess(found, planned), planned, drawn, sign, backward=True)
    both = [p for p in (forward, backward) if p is not None]
    return max(both, key=lambda p: abs(math.log(p.factor)), default=None)


def named_by(
    findings: Iterable[Finding], found: Sequence[Site], planned: Sequence[Site], drawn: frozenset[str]
) -> Parting | None:
    """The place that findings of a check name; None where they name no drawn parameter.

    Args:
        findings: what is found under the planned weights and was not under the found ones.
        found: sites under the found weights.
        planned: sites under the planned ones.
        drawn: parameters that the plan draws.
    """
    findings = tuple(findings)
    paths = dict.fromkeys(path for f in findings for path in f.paths if path)
    names = tuple(n for path in paths for n in sorted(drawn) if n == path or n.startswith(f"{path}."))
    names = names or _before(findings, planned, drawn)
    places = [(a, b) for a, b in zip(found, planned, strict=False) if set(names) & set(b.parameters)]
    if not places or len(set(names)) == len(drawn):
        return None
    one, other = places[0]
    ratio = _ratio(one.forward.rms, other.forward.rms)
    modules = {n.rpartition(".")[0] for n in names}
    beside = tuple(n for n in sorted(drawn) if n.rpartition(".")[0] in modules)
    factor = 1.0 if ratio is None else math.exp(max(-50.0, min(50.0, ratio)))
    return Parting(operation=other.name, parameters=tuple(dict.fromkeys((*names, *beside))), factor=factor)


def _before(findings: Iterable[Finding], sites: Sequence[Site], drawn: frozenset[str]) -> tuple[str, ...]:
    """The drawn parameters that decide the size of the operations at which findings were measured."""
    by_index = {s.index: s for s in sites}
    measured = [i for f in findings for i in f.evidence.get("sites", ())]
    return tuple(dict.fromkeys(n for i in measured for n in deciding(by_index, i, drawn, kept=True)))


def _ratio(found: float, planned: float) -> float | None:
    """ln(planned / found); None where one of them is zero; large where the planned one is not finite."""
    if not math.isfinite(found) or found <= 0.0 or planned <= 0.0:
        return None
    return math.log(planned / found) if math.isfinite(planned) else 1e3


def _forward_excess(found: Sequence[Site], planned: Sequence[Site]) -> dict[int, float]:
    change: dict[int, float] = {-1: 0.0}
    excess: dict[int, float] = {}
    for a, b in zip(found, planned, strict=True):
        size = math.inf if b.forward.any_nonfinite else b.forward.rms
        d = _ratio(a.forward.rms, size)
        if d is None:
            continue
        change[a.index] = d
        read = [change[i] for i in a.inputs if i in change]
        excess[a.index] = d - (sum(read) if _multiplies(a) else max(read, key=abs, default=0.0))
    return excess


def _multiplies(site: Site) -> bool:
    return not site.parameters and site.op in ("mul", "matmul", "bmm", "einsum")


def _backward_excess(found: Sequence[Site], planned: Sequence[Site]) -> dict[int, float]:
    change = {}
    for a, b in zip(found, planned, strict=True):
        if a.backward is not None and b.backward is not None:
            d = _ratio(a.backward.rms, math.inf if b.backward.any_nonfinite else b.backward.rms)
            change.update({} if d is None else {a.index: d})
    excess = {}
    for site in found:
        above = [change[i] for i in site.inputs if i in change]
        if site.index in change and above:
            excess[site.index] = max(above, key=abs) - change[site.index]
    return excess


def _blamed(
    excess: Mapping[int, float], sites: Sequence[Site], drawn: frozenset[str], sign: int, *, backward: bool
) -> Parting | None:
    by_index = {s.index: s for s in sites}
    decided = {i: names for i in excess if (names := deciding(by_index, i, drawn))}
    if not decided:
        return None
    usual = statistics.median(excess[i] for i in decided) if len(decided) > 2 else 0.0
    left = {i: excess[i] - usual for i in decided}
    outliers = [i for i, e in left.items() if abs(e) > _OUTLIER and (not sign or e * sign > 0.0)]
    ranked = sorted(outliers or decided, key=lambda i: -(left[i] if outliers else excess[i]) * (sign or _side(left[i])))
    first = ranked[0]
    if not outliers:
        ranked = [i for i in ranked if excess[i] * (sign or 1) > 0.5 * abs(excess[first])] or [first]
    blamed = dict.fromkeys(name for i in ranked for name in decided[i])
    factor = math.exp(max(-50.0, min(50.0, excess[first])))
    return Parting(operation=by_index[first].name, parameters=tuple(blamed), factor=factor, backward=backward)


def _side(value: float) -> int:
    return 1 if value > 0.0 else -1


def deciding(sites: Mapping[int, Site], index: int, drawn: frozenset[str], *, kept: bool = False) -> tuple[str, ...]:
    """The parameters that decide the size of an operation's output: its own, else those of the nearest maps before.

    Args:
        sites: all operations, by index.
        index: the operation.
        drawn: parameters that can be named.
        kept: look behind operations whose own parameters are not among these.
    """
    todo, seen = [index], set[int]()
    found: dict[str, None] = {}
    while todo:
        site = sites.get(todo.pop())
        if site is None or site.index in seen:
            continue
        seen.add(site.index)
        own = [p for p in site.parameters if p in drawn]
        found.update(dict.fromkeys(own))
        if not (own if kept else site.parameters):
            todo += site.inputs
    return tuple(found)


def _last(sites: Sequence[Site], drawn: frozenset[str]) -> Parting | None:
    """The last operation that reads a drawn parameter: all that can be said of passes that took different ways."""
    by_index = {s.index: s for s in sites}
    for site in reversed(sites):
        if names := deciding(by_index, site.index, drawn):
            return Parting(operation=site.name, parameters=names, factor=1.0)
    return None
