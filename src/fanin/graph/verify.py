"""The grammar of a `Graph`, as a table, and `verify`, which checks a graph by it.

Each rule gives the places where a graph breaks it; the table below is the whole grammar, and
``docs/science/graph.md`` prints it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fanin.errors import CaptureError
from fanin.graph.ir import Graph, Op, refs_in
from fanin.text.numbers import counted

__all__ = ["GRAMMAR", "GrammarRule", "verify"]


@dataclass(frozen=True, slots=True)
class GrammarRule:
    """One rule: a name, what it says, and a function that gives each breach in words."""

    name: str
    says: str
    breaches: Callable[[Graph], Iterator[str]]


def _indices(graph: Graph) -> Iterator[str]:
    yield from (f"value {v.index} is at place {i}" for i, v in enumerate(graph.values) if v.index != i)
    yield from (f"op {op.index} is at place {i}" for i, op in enumerate(graph.ops) if op.index != i)


def _single_assignment(graph: Graph) -> Iterator[str]:
    made: dict[int, int] = {}
    for op in graph.ops:
        for slot, v in enumerate(op.outputs):
            if v in made:
                yield f"value {v} is made by op {made[v]} and again by op {op.index}"
            made[v] = op.index
            if (graph.values[v].op, graph.values[v].slot) != (op.index, slot):
                yield f"value {v} does not name output {slot} of op {op.index} as its maker"
    yield from (
        f"value {v.index} has no maker but is no leaf" for v in graph.values if v.kind == "op" and v.index not in made
    )
    yield from (
        f"leaf {v.index} ({v.kind}) is made by an op" for v in graph.values if v.kind != "op" and v.index in made
    )


def _topological(graph: Graph) -> Iterator[str]:
    for op in graph.ops:
        for v in op.inputs:
            maker = graph.values[v].op
            if maker is not None and maker >= op.index:
                yield f"op {op.index} ({op.name}) reads value {v}, which op {maker} makes later"


def _references(graph: Graph) -> Iterator[str]:
    for op in graph.ops:
        found = (*refs_in(op.args), *refs_in(dict(op.kwargs)))
        if found != op.inputs:
            yield f"op {op.index} ({op.name}) lists inputs {op.inputs} but its arguments hold {found}"


def _leaves_named(graph: Graph) -> Iterator[str]:
    for v in graph.values:
        if v.kind in ("parameter", "buffer") and not v.name:
            yield f"{v.kind} leaf {v.index} has no name"


def _parameters(graph: Graph) -> Iterator[str]:
    for name, p in graph.parameters.items():
        v = graph.values[p.value]
        if (v.kind, v.name) != ("parameter", name):
            yield f"parameter {name} points at value {p.value}, a {v.kind} named {v.name!r}"
        elif v.shape != p.shape:
            yield f"parameter {name} has shape {p.shape} but its leaf has {v.shape}"
    known = {p.value for p in graph.parameters.values()}
    yield from (
        f"parameter leaf {v.index} ({v.name}) is in no entry" for v in graph.leaves("parameter") if v.index not in known
    )


def _names_unique(graph: Graph) -> Iterator[str]:
    seen: dict[str, str] = {}
    for p in graph.parameters.values():
        for n in (p.name, *p.aliases):
            if n in seen:
                yield f"name {n} belongs to {seen[n]} and to {p.name}"
            seen[n] = p.name


def _scopes(graph: Graph) -> Iterator[str]:
    for op in graph.ops:
        if not op.scope or op.scope[0][0] != "":
            yield f"op {op.index} ({op.name}) has a scope that does not start at the model: {op.scope}"


def _outputs(graph: Graph) -> Iterator[str]:
    yield from (
        f"output {o.path!r} points at value {o.value} of {len(graph.values)}"
        for o in graph.outputs
        if not 0 <= o.value < len(graph.values)
    )


def _inplace(graph: Graph) -> Iterator[str]:
    for op in graph.ops:
        if op.inplace and (len(op.outputs) != 1 or not op.inputs or not _same_shape(graph, op)):
            yield f"op {op.index} ({op.name}) writes in place but does not give its first argument back"


def _same_shape(graph: Graph, op: Op) -> bool:
    return graph.values[op.inputs[0]].shape == graph.values[op.output].shape or op.name in (
        "resize",
        "set",
        "squeeze",
        "unsqueeze",
        "t",
        "transpose",
    )


def _weights_fit(graph: Graph) -> Iterator[str]:
    for op in graph.ops:
        weight, x = op.ref(1, "weight"), op.ref(0, "input")
        if op.name != "linear" or weight is None or x is None:
            continue
        w, i, o = graph.values[weight].shape, graph.values[x].shape, graph.values[op.output].shape
        if w[-1] != i[-1] or (len(w) == 2 and o[-1] != w[0]):
            yield f"op {op.index}: linear of {i} by {w} gives {o}"


GRAMMAR: tuple[GrammarRule, ...] = (
    GrammarRule("indices", "a value's and an op's index is its place in the graph", _indices),
    GrammarRule(
        "single assignment", "every value that is no leaf is made by exactly one op, and names it", _single_assignment
    ),
    GrammarRule("topological", "an op reads only what earlier ops made", _topological),
    GrammarRule("references", "op.inputs are the Refs of its arguments, in order", _references),
    GrammarRule("leaves", "parameter and buffer leaves carry their qualified name", _leaves_named),
    GrammarRule(
        "parameters", "every parameter has one leaf of its shape, and every parameter leaf one entry", _parameters
    ),
    GrammarRule("names", "no qualified name belongs to two parameters", _names_unique),
    GrammarRule("scopes", "every op ran inside the model", _scopes),
    GrammarRule("outputs", "outputs point at values", _outputs),
    GrammarRule("in place", "an op that writes in place has one output, of its first argument's shape", _inplace),
    GrammarRule("contractions", "a linear op's weight fits what it reads and gives", _weights_fit),
)


def verify(graph: Graph) -> Graph:
    """The graph itself, if it keeps the grammar.

    Raises:
        CaptureError: it does not; the message lists the first breaches.
    """
    breaches = [f"{rule.name}: {breach}" for rule in GRAMMAR for breach in rule.breaches(graph)]
    if breaches:
        shown = "; ".join(breaches[:5])
        raise CaptureError(
            f"the graph of {graph.model} breaks its grammar in {counted(len(breaches), 'place')}: {shown}. A graph "
            "must keep every rule of fanin.graph.verify.GRAMMAR; please report this with the model."
        )
    return graph
