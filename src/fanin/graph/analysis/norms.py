"""Normalizations: torch's own, and the pattern x * g(statistic of x) that models write by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fanin.graph.analysis.bounded import reach
from fanin.graph.analysis.dependence import Dependence, Kind
from fanin.graph.ir import Graph, Op, Ref
from fanin.model.operations import BROADCASTS, ELEMENTWISE, NORMS, REDUCTIONS, SHAPED_BY, VIEWS

__all__ = ["Norm", "norms"]

_STATISTICS = frozenset({"mean", "var", "std", "norm", "sum", "var_mean", "std_mean", "amax", "max", "nanmean"})
_THROUGH = ELEMENTWISE | VIEWS
_MAX_STEPS = 40
_TO_SCALED, _TO_STATISTIC = 4, 12  # steps back to the input of a norm, from what is scaled and from the statistic


@dataclass(frozen=True, slots=True)
class Norm:
    """One normalization.

    Attributes:
        op: index of the op whose output is normalized.
        input: value that is normalized.
        output: the normalized value.
        name: "batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", or "statistic" for other patterns.
        inside: indices of all its ops, the last one included.
    """

    op: int
    input: int
    output: int
    name: str
    inside: frozenset[int]


def norms(graph: Graph, dependence: Dependence) -> dict[int, Norm]:
    """All normalizations of the signal, by the op that gives their output."""
    found: dict[int, Norm] = {}
    for op in graph.live_ops():
        norm = _native(op) if op.name in NORMS else _pattern(graph, op, dependence.kinds, "signal")
        if norm is not None and dependence.is_signal(norm.output):
            found[op.index] = _moved(graph, found, op, dependence.kinds) or norm
        elif (whole := _moved(graph, found, op, dependence.kinds)) is not None:
            found[op.index] = whole
    for whole in tuple(found.values()):
        for part in (whole.inside - {whole.op}) & found.keys():
            del found[part]
    return found


def _moved(graph: Graph, found: Mapping[int, Norm], op: Op, kinds: tuple[Kind, ...]) -> Norm | None:
    """X * a + (shift - mean * a), where x * a was found and a is scale / sqrt(var): the sum is the norm."""
    if op.name not in ("add", "sub") or len(op.inputs) != 2:
        return None
    for product, rest in (op.inputs, op.inputs[::-1]):
        scaled = graph.producer(product)
        norm = None if scaled is None else found.get(scaled.index)
        if scaled is None or norm is None or (op.name == "sub" and product != op.inputs[0]):
            continue
        between = _centre(graph, rest, set(scaled.inputs), norm.input, kinds)
        if between:
            inside = frozenset({op.index, *norm.inside, *between})
            return Norm(op.index, norm.input, op.output, "layer_norm", inside)
    return None


def _centre(graph: Graph, rest: int, factors: set[int], base: int, kinds: tuple[Kind, ...]) -> set[int]:
    """The ops of a mean of the input times one of these factors, perhaps with a shift added; empty where it is none."""
    op = graph.producer(rest)
    inside = set[int]()
    if op is not None and op.name in ("add", "sub") and any(kinds[i] == "weight" for i in op.inputs):
        inside.add(op.index)
        op = next((graph.producer(i) for i in op.inputs if kinds[i] == "signal"), None)
    if op is None or op.name != "mul" or factors.isdisjoint(op.inputs):
        return set()
    inside.add(op.index)
    mean = next((i for i in op.inputs if i not in factors), -1)
    while mean >= 0 and (maker := graph.producer(mean)) is not None and maker.name in VIEWS | {"neg"}:
        inside.add(maker.index)
        mean = maker.inputs[0]
    last = graph.producer(mean) if mean >= 0 else None
    reduces = last is not None and last.name in _STATISTICS and base in last.inputs
    return inside if reduces else set()


def is_weight_norm(graph: Graph, op: Op, dependence: Dependence) -> bool:
    """Whether an op on parameters alone divides a weight by its own statistic."""
    return op.name in NORMS or _pattern(graph, op, dependence.kinds, "weight") is not None


def _native(op: Op) -> Norm | None:
    x = op.ref(0, "input")
    name = op.name.removeprefix("native_")
    return None if x is None else Norm(op.index, x, op.output, name, frozenset({op.index}))


def _pattern(graph: Graph, op: Op, kinds: tuple[Kind, ...], kind: Kind) -> Norm | None:
    """X * g(reduce(h(x))): the factor goes back to a statistic of what it multiplies, with no weight in between."""
    if op.name not in ("mul", "div", "rdiv") or len(op.inputs) != 2:
        return None
    for x, scaled in (op.inputs, op.inputs[::-1]):
        if op.name == "div" and x != op.inputs[0]:
            continue
        factor, between = _less_scale(graph, scaled, kinds, kind)
        if kinds[x] != kind or kinds[factor] != kind or _unexpanded(graph, factor) >= graph.values[x].numel:
            continue
        found = _statistic(graph, factor, kinds, kind)
        if found is None:
            continue
        statistics, inside = found
        if op.name == "mul" and not any(_inverts(graph.ops[i], kinds, kind) for i in inside):
            continue  # a gate that reads an average: larger where the signal is larger
        common = _common(graph, x, [s for op_ in statistics for s in op_.inputs[:1]], kinds, kind)
        if common is not None:
            base, more = common
            name = "rms_norm" if _is_rms(statistics, graph) else "layer_norm" if _centred(statistics) else "statistic"
            return Norm(op.index, base, op.output, name, frozenset({op.index, *between, *inside, *more}))
    return None


def _inverts(op: Op, kinds: tuple[Kind, ...], kind: Kind) -> bool:
    """Whether an op makes a factor that is smaller where the statistic is larger, as a norm does."""
    second = op.arg(1, "other" if op.name == "div" else "exponent")
    if op.name == "div":
        return isinstance(second, Ref) and kinds[second.index] == kind
    return op.name in ("rsqrt", "reciprocal") or (
        op.name == "pow" and not (isinstance(second, int | float) and second > 0)
    )


def _less_scale(graph: Graph, factor: int, kinds: tuple[Kind, ...], kind: Kind) -> tuple[int, tuple[int, ...]]:
    """A factor before a learned scale multiplied it, as in x * (scale / sqrt(var)), and the op that did."""
    op = graph.producer(factor)
    if op is None or op.name != "mul" or len(op.inputs) != 2 or kind != "signal":
        return factor, ()
    signals, weights = ([i for i in op.inputs if kinds[i] == k] for k in ("signal", "weight"))
    return (signals[0], (op.index,)) if len(signals) == 1 and len(weights) == 1 else (factor, ())


def _unexpanded(graph: Graph, value: int) -> int:
    """Number of elements before a value was broadcast."""
    op = graph.producer(value)
    while op is not None and op.name in BROADCASTS:
        value = op.inputs[0]
        op = graph.producer(value)
    return graph.values[value].numel


def _is_rms(statistics: list[Op], graph: Graph) -> bool:
    return len(statistics) == 1 and statistics[0].name in ("mean", "norm") and _reduces_last(statistics[0], graph)


def _reduces_last(op: Op, graph: Graph) -> bool:
    before, after = graph.values[op.inputs[0]].shape, graph.values[op.output].shape
    return len(before) == len(after) and after[-1] == 1 and before[:-1] == after[:-1]


def _centred(statistics: list[Op]) -> bool:
    return any(s.name in ("var", "std", "var_mean", "std_mean") for s in statistics) or len(statistics) > 1


def _statistic(graph: Graph, factor: int, kinds: tuple[Kind, ...], kind: Kind) -> tuple[list[Op], set[int]] | None:
    """The reductions that a factor is made of, if it is made of nothing else."""
    todo, inside, statistics = [factor], set[int](), []
    while todo:
        op = graph.producer(todo.pop())
        if op is None or len(inside) > _MAX_STEPS:
            return None
        if op.index in inside:
            continue
        inside.add(op.index)
        if op.name in _STATISTICS and graph.values[op.output].numel < graph.values[op.inputs[0]].numel:
            statistics.append(op)
        elif op.name in _THROUGH or op.name in REDUCTIONS:
            read = op.inputs[:1] if op.name in SHAPED_BY else op.inputs
            todo += [i for i in read if kinds[i] == kind]
        else:
            return None
    return (statistics, inside) if statistics else None


def _back(graph: Graph, value: int, kinds: tuple[Kind, ...], kind: Kind, levels: int) -> tuple[int, ...]:
    """A value and what it is made of through elementwise operations, views and reductions, nearest first."""

    def made_of(v: int) -> list[int]:
        op = graph.producer(v)
        through = op is not None and (op.name in _THROUGH or op.name in REDUCTIONS)
        return [i for i in op.inputs if kinds[i] == kind] if op is not None and through else []

    return tuple(reach(value, made_of, limit=len(graph.values), levels=levels))


def _common(
    graph: Graph, x: int, sources: list[int], kinds: tuple[Kind, ...], kind: Kind
) -> tuple[int, set[int]] | None:
    """The nearest value that both x and all statistics are made of, and the ops between."""
    own = _back(graph, x, kinds, kind, _TO_SCALED)
    others = [set(_back(graph, s, kinds, kind, _TO_STATISTIC)) for s in sources]
    shared = [v for v in own if all(v in o for o in others)]
    if not shared:
        return None
    base = shared[0]
    if graph.values[base].shape != graph.values[x].shape:
        return None
    return base, _between(graph, [x, *sources], base, kinds, kind)


def _between(graph: Graph, starts: list[int], base: int, kinds: tuple[Kind, ...], kind: Kind) -> set[int]:
    made = graph.values[base].op
    first = -1 if made is None else made
    todo, inside = list(starts), set[int]()
    while todo and len(inside) < 2 * _MAX_STEPS:
        v = todo.pop()
        op = graph.producer(v)
        if v == base or op is None or op.index in inside or (op.name not in _THROUGH and op.name not in REDUCTIONS):
            continue
        if op.index <= first:
            continue
        inside.add(op.index)
        todo += [i for i in op.inputs if kinds[i] == kind]
    return inside
