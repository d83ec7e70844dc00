"""Pre-activations of a recurrent cell: where its maps end in a function, and everything that is summed there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fanin.graph.analysis.activations import FoundActivation
from fanin.graph.analysis.analysis import Analysis
from fanin.graph.analysis.bounded import FAR, reach
from fanin.graph.analysis.step import Step
from fanin.graph.ir import Op
from fanin.model.operations import DROPOUT, ELEMENTWISE, NORM_CALLS, VIEWS

__all__ = ["Root", "Term", "roots_of"]

_THROUGH = ELEMENTWISE | VIEWS | DROPOUT
_ADDS = frozenset({"add", "sub", "rsub", "addcmul"})


@dataclass(frozen=True, slots=True)
class Term:
    """Something that is summed into a pre-activation.

    Attributes:
        kind: "map" for what a weight makes, "vector" for a parameter that is added, "signal" for anything else.
        value: what the map made; the parameter's value; the signal.
        op: index of the map's operation; -1 for the others.
        normed: whether a norm lies between it and the pre-activation.
        beside: for a vector, index of the map whose bias it is, or of the norm that adds it; -1 for one of its own.
    """

    kind: str
    value: int
    op: int = -1
    normed: bool = False
    beside: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """One pre-activation.

    Attributes:
        value: the value that the function is applied to.
        functions: what is computed of it (empty where it is used as it is).
        terms: everything that is summed into it.
        path: indices of the operations between the terms and it.
    """

    value: int
    functions: tuple[FoundActivation, ...]
    terms: tuple[Term, ...]
    path: tuple[int, ...]


def roots_of(analysis: Analysis, step: Step) -> tuple[Root, ...]:
    """The pre-activations that the maps of a cell make in one step, in order."""
    found: dict[int, None] = {}
    for sighting in step.hidden:
        found.update(dict.fromkeys(_ends(analysis, step, analysis.graph.ops[sighting.use.op].output)))
    return tuple(_root(analysis, step, v) for v in sorted(found))


# ---------------------------------------------------------------------- forward, from a map to its functions
def _ends(analysis: Analysis, step: Step, start: int) -> Iterator[int]:
    carried = _carried_on(analysis, step)

    def onward(v: int) -> list[int]:
        if _functions(analysis, v):
            return []
        return [out for op in _readers(analysis, step, v) if _is_passed(op, v, carried) for out in op.outputs]

    def mixes(v: int) -> bool:
        """Whether a value meets the carried state as it is, without a function before."""
        return any(not _is_passed(op, v, carried) and op.name in ELEMENTWISE for op in _readers(analysis, step, v))

    for v in reach(start, onward, limit=FAR):
        if _functions(analysis, v):
            yield v
        elif mixes(v):
            yield _before_products(analysis, v)


def _readers(analysis: Analysis, step: Step, value: int) -> list[Op]:
    readers = (op for op in analysis.graph.consumers(value) if analysis.graph.is_live(op) and step.holds(op.index))
    return [op for op in readers if op.index not in analysis.contractions and op.index not in analysis.products]


def _is_passed(op: Op, value: int, carried: frozenset[int]) -> bool:
    through = op.name in _THROUGH or op.name in NORM_CALLS
    return through and not any(i in carried for i in op.inputs if i != value)


def _before_products(analysis: Analysis, value: int) -> int:
    """A pre-activation without a function: the value before the gates that multiply it."""
    for v in reach(value, lambda v: _unmultiplied(analysis, v), limit=FAR):
        if not _unmultiplied(analysis, v):
            return v
    return value


def _unmultiplied(analysis: Analysis, value: int) -> list[int]:
    op = analysis.graph.producer(value)
    if op is None or op.name != "mul":
        return []
    plain = [i for i in analysis.signals(op) if not _is_activated(analysis, i)]
    return plain if len(plain) == 1 and len(analysis.signals(op)) == 2 else []


def _is_activated(analysis: Analysis, value: int) -> bool:
    """Whether a value is a function of another one, up to views."""

    def back(v: int) -> list[int]:
        op = analysis.graph.producer(v)
        return list(op.inputs[:1]) if op is not None and op.name in VIEWS else []

    return any(analysis.is_activated(v) for v in reach(value, back))


def _functions(analysis: Analysis, value: int) -> tuple[FoundActivation, ...]:
    """The functions, other than a scale and shift, that a value is the argument of."""
    ends = analysis.regions.ends.get(value, ())
    found = [analysis.regions.functions[end] for end in ends]
    return tuple(f for f in found if not f.is_affine)


def _carried_on(analysis: Analysis, step: Step) -> frozenset[int]:
    """What becomes of the carried state in a step without passing a map or meeting a parameter."""
    carried = set(step.carried)
    for op in analysis.graph.ops[step.start : step.start + step.period]:
        if op.index in analysis.contractions or op.name not in _THROUGH:
            continue
        by_weight = any(analysis.dependence.is_weight(i) for i in op.inputs)
        if not by_weight and any(i in carried for i in op.inputs):
            carried.update(op.outputs)
    return frozenset(carried)


# ---------------------------------------------------------------------- back, from a pre-activation to its terms
def _root(analysis: Analysis, step: Step, value: int) -> Root:
    terms: list[Term] = []
    path: set[int] = set()
    todo, seen = [(value, False)], set[int]()
    while todo and len(seen) < FAR:
        v, normed = todo.pop(0)
        if v in seen:
            continue
        seen.add(v)
        found, more = _behind(analysis, step, v, normed)
        terms += found
        path.update(_made_by(analysis, v) if more or any(t.beside in analysis.norms for t in found) else ())
        todo += more
    return Root(value=value, functions=_functions(analysis, value), terms=tuple(terms), path=tuple(sorted(path)))


def _made_by(analysis: Analysis, value: int) -> tuple[int, ...]:
    op = analysis.graph.producer(value)
    return () if op is None else (op.index,)


def _behind(analysis: Analysis, step: Step, v: int, normed: bool) -> tuple[list[Term], list[tuple[int, bool]]]:
    """The terms that end at a value, and the values before it."""
    op = analysis.graph.producer(v)
    if analysis.dependence.is_weight(v):
        return [Term("vector", v, normed=normed)], []
    if op is None or v in step.carried or (v in analysis.regions.root and not analysis.is_affine_end(v)):
        inner = op is not None and v in analysis.regions.root and v not in analysis.regions.functions
        return ([], [(i, normed) for i in analysis.signals(op)]) if inner and op else ([Term("signal", v)], [])
    if op.index in analysis.contractions:
        use = analysis.contractions[op.index][0]
        bias = [] if use.bias is None else _bias(analysis, use.bias, op.index, normed)
        more = [(b.value, normed) for b in bias if b.kind == "signal"]
        return [Term("map", v, op.index, normed), *(b for b in bias if b.kind == "vector")], more
    if op.index in analysis.inside_norm:
        norm = analysis.inside_norm[op.index]
        return _shift(analysis, op, normed), [(norm.input, True)]
    if op.name not in _THROUGH or op.index in analysis.products:
        return [Term("signal", v)], []
    return [], [(i, normed) for i in _summed(analysis, op)]


def _bias(analysis: Analysis, value: int, op: int, normed: bool) -> list[Term]:
    if analysis.dependence.is_weight(value):
        return [Term("vector", value, normed=normed, beside=op)]
    return [Term("signal", value)]


def _shift(analysis: Analysis, op: Op, normed: bool) -> list[Term]:
    call = NORM_CALLS.get(op.name)
    shift = None if call is None or call.shift is None else op.ref(call.shift, "bias")
    return [] if shift is None else [Term("vector", shift, normed=normed, beside=op.index)]


def _summed(analysis: Analysis, op: Op) -> Sequence[int]:
    """Operands to follow: signals always, parameters where they are added."""
    signals = analysis.signals(op)
    if op.name not in _ADDS and op.name not in VIEWS:
        return signals
    return [*signals, *(i for i in dict.fromkeys(op.inputs) if analysis.dependence.is_weight(i))]
