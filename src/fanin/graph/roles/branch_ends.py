"""Which parameters scale the whole output of a residual branch, so that a factor can be folded into them.

The walk goes back from the addition through everything that is linear in one operand, until it meets the maps whose
output the rest only passes on. A factor on those maps and their biases is a factor on the branch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fanin.graph.analysis.analysis import Analysis, Residual
from fanin.graph.ir import Op, refs_in
from fanin.graph.roles.data import BranchEnd
from fanin.model.operations import DROPOUT, LOOKUPS, POOLS, RECURRENT, RESHAPES, SAME_NUMBERS, TURNS, VIEWS

__all__ = ["branch_ends"]

_SHAPES = RESHAPES | TURNS | SAME_NUMBERS
# f x = g(f x / f) for every f > 0: what follows sees the factor unchanged
_PASSES = VIEWS | DROPOUT | POOLS | frozenset({"neg", "sum", "mean", "relu", "leaky_relu"})
_ATTENTION = "scaled_dot_product_attention"


@dataclass(slots=True)
class _Walk:
    """What a walk back met: operations on the way, and name of a parameter -> operations that read it there."""

    path: set[int] = field(default_factory=set)
    found: dict[str, set[int]] = field(default_factory=dict)
    refused: str = ""

    def joined(self, other: _Walk) -> _Walk:
        readers = {n: self.found.get(n, set()) | other.found.get(n, set()) for n in (*self.found, *other.found)}
        return _Walk(self.path | other.path, readers, self.refused or other.refused)


def branch_ends(analysis: Analysis) -> tuple[BranchEnd, ...]:
    """The ends of all residual branches, in the order of their additions."""
    walks = {r.op: _walked(analysis, r) for r in sorted(analysis.residuals.values(), key=lambda r: r.op)}
    readers: dict[str, set[int]] = {}
    for walk in walks.values():
        for name, ops in walk.found.items() if not walk.refused else ():
            readers.setdefault(name, set()).update(ops)
    found = {op: _end(analysis.residuals[op], _sole(analysis, walk, readers)) for op, walk in walks.items()}
    return tuple(found.values())


def _end(residual: Residual, walk: _Walk) -> BranchEnd:
    names = () if walk.refused else tuple(walk.found)
    return BranchEnd(stream=residual.stream, index=residual.index, parameters=names, refused=walk.refused)


def _walked(analysis: Analysis, residual: Residual) -> _Walk:
    walk = _back(_Branch(analysis, residual), residual.branch)
    if walk.refused:
        return walk
    if not walk.found:
        return replace(walk, refused="no map ends it")
    allowed = walk.path | {residual.op}
    for index in walk.path:
        for out in analysis.graph.ops[index].outputs:
            other = next((o for o in _live(analysis, out) if o.index not in allowed), None)
            if other is not None:
                return replace(walk, refused=f"its last map is also read by {_place(analysis, other)}")
    return walk


def _sole(analysis: Analysis, walk: _Walk, readers: Mapping[str, set[int]]) -> _Walk:
    """The walk, refused where one of its parameters is also used somewhere that ends no branch."""
    for name in walk.found if not walk.refused else ():
        for op in _readers(analysis, analysis.graph.parameters[name].value):
            if op.index not in readers[name]:
                return replace(walk, refused=f"{name} is also used at {_place(analysis, op)}")
    return walk


def _readers(analysis: Analysis, value: int) -> Iterator[Op]:
    for op in _live(analysis, value):
        if op.name in _SHAPES:
            yield from _readers(analysis, op.output)
        else:
            yield op


def _live(analysis: Analysis, value: int) -> list[Op]:
    return [op for op in analysis.graph.consumers(value) if analysis.graph.is_live(op)]


def _place(analysis: Analysis, op: Op) -> str:
    return f"{op.name} in {op.module or analysis.graph.model}"


# ---------------------------------------------------------------------- the walk back
@dataclass(frozen=True, slots=True)
class _Branch:
    """A branch that is walked, with the walks from values that were met before."""

    analysis: Analysis
    residual: Residual
    known: dict[int, _Walk] = field(default_factory=dict)


def _back(branch: _Branch, value: int) -> _Walk:
    """The walk from one value; refused with the reason where a factor cannot be moved past it."""
    if value not in branch.known:
        branch.known[value] = _made(branch, value)
    return branch.known[value]


def _made(branch: _Branch, value: int) -> _Walk:
    analysis = branch.analysis
    op = analysis.graph.producer(value)
    if value == branch.residual.start or op is None:
        return _Walk(refused="what the branch started from reaches the addition without a map")
    if op.index in analysis.norms or op.index in analysis.inside_norm:
        return _Walk(refused=f"it ends in a norm ({_place(analysis, op)})")
    if op.index in analysis.contractions:
        return _map(analysis, op)
    return _through(branch, op).joined(_Walk(path={op.index}))


def _through(branch: _Branch, op: Op) -> _Walk:
    signals = branch.analysis.signals(op)
    if op.name == _ATTENTION:
        values = op.ref(2, "value")
        return _refused(branch.analysis, op) if values is None else _back(branch, values)
    if op.name in ("add", "sub"):
        return _sum(branch, op)
    if op.name in ("mul", "div") or op.index in branch.analysis.products:
        return _product(branch, op)
    if op.name in _PASSES and signals:
        return _all(branch, signals)
    return _refused(branch.analysis, op)


def _product(branch: _Branch, op: Op) -> _Walk:
    """One factor of a product takes the whole factor: the one that a map ends."""
    signals = branch.analysis.signals(op)
    operands = [i for i in (*refs_in(op.args), *refs_in(op.kwargs)) if i in signals]
    if len(operands) != len(set(operands)) or (op.name == "div" and operands[:1] != list(op.inputs[:1])):
        return _refused(branch.analysis, op)
    walks = [_back(branch, v) for v in (operands[:1] if op.name == "div" else reversed(operands))]
    return next((w for w in walks if not w.refused), walks[-1])


def _refused(analysis: Analysis, op: Op) -> _Walk:
    return _Walk(refused=f"it ends in {_place(analysis, op)}")


def _all(branch: _Branch, values: Sequence[int]) -> _Walk:
    whole = _Walk()
    for value in values:
        whole = whole.joined(_back(branch, value))
    return whole


def _sum(branch: _Branch, op: Op) -> _Walk:
    """Every term must take the factor: terms with a map of their own, and learned vectors."""
    signals = branch.analysis.signals(op)
    walk = _all(branch, signals)
    if len(op.inputs) < 2 and len(list(refs_in(op.args))) < 2:
        where = op.module or branch.analysis.graph.model
        return replace(walk, refused=walk.refused or f"a constant is added in {where}")
    return _with_leaves(branch.analysis, op, walk, [i for i in op.inputs if i not in signals])


def _map(analysis: Analysis, op: Op) -> _Walk:
    """A map: its weight and everything that it adds."""
    uses = analysis.contractions[op.index]
    if op.name in LOOKUPS | RECURRENT or any(use.lookup for use in uses):
        return _refused(analysis, op)
    signals = set(analysis.signals(op))
    return _with_leaves(analysis, op, _Walk(path={op.index}), [i for i in op.inputs if i not in signals])


def _with_leaves(analysis: Analysis, op: Op, walk: _Walk, values: list[int]) -> _Walk:
    for value in values:
        if not analysis.graph.values[value].is_float:
            continue
        parameter = analysis.graph.parameter_of(analysis.graph.behind(value, _SHAPES))
        if parameter is None:
            why = f"a weight of {_place(analysis, op)} is no parameter itself but computed or fixed"
            return replace(walk, refused=walk.refused or why)
        walk = walk.joined(_Walk(found={parameter.name: {op.index}}))
    return walk
