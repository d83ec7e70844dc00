"""What a picture of a graph shows: modules as nested boxes, in them the operations that matter, repeated blocks once.

`scene` computes; `picture` writes it as Mermaid, Graphviz or SVG text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from fanin.graph.analysis.analyse import analyse
from fanin.graph.analysis.analysis import Analysis
from fanin.graph.ir import Graph, Op
from fanin.model.operations import POOLS, RECURRENT, SOFTMAX

__all__ = ["ModuleBox", "NodeKind", "Scene", "SceneNode", "scene"]

NodeKind = Literal["input", "output", "map", "norm", "act", "add", "gate", "attention", "recurrent", "other"]


@dataclass(frozen=True, slots=True)
class SceneNode:
    """One operation of the picture.

    Attributes:
        index: its number in the graph.
        kind: which colour and shape it gets.
        title: first line of text.
        detail: second line.
        boxes: the modules around it, from the outside in.
        start: how its weights start, as a third line; empty where no plan is drawn, or it has none.
    """

    index: int
    kind: NodeKind
    title: str
    detail: str
    boxes: tuple[str, ...]
    start: str = ""


@dataclass(slots=True)
class ModuleBox:
    """One module: its path, its name in its parent, a title, and what is inside, in order of the forward pass."""

    path: str
    name: str
    title: str
    children: list[ModuleBox | SceneNode] = field(default_factory=list)

    def nodes(self) -> Iterator[SceneNode]:
        """All nodes inside, at any depth."""
        for child in self.children:
            if isinstance(child, ModuleBox):
                yield from child.nodes()
            else:
                yield child


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture before it is drawn: the outermost box, and edges between node numbers."""

    root: ModuleBox
    edges: tuple[tuple[int, int], ...]


def scene(graph: Graph, *, fold: bool = True, starts: Mapping[str, str] | None = None) -> Scene:
    """The picture of a graph.

    Args:
        graph: what to draw.
        fold: draw the first of a row of equal blocks only, with the number of repeats in its title.
        starts: how each parameter starts, in a few words, by name.
    """
    analysis = analyse(graph)
    chosen = {op.index: shown for op in graph.live_ops() if (shown := _shown(analysis, op)) is not None}
    edges = _edges(analysis, chosen)
    told = {i: _start(analysis, graph.ops[i], starts or {}) for i in chosen}
    nodes = {i: _node(graph, i, *shown, told[i]) for i, shown in chosen.items()}
    nodes |= _ends(graph)
    nodes, edges = _without_idle_joins(graph, nodes, edges)
    folded, repeats = _folds(nodes) if fold else ({}, {})
    kept = {i: n for i, n in nodes.items() if i not in folded}
    lifted = {(folded.get(a, a), folded.get(b, b)) for a, b in edges}
    forward = tuple(sorted((a, b) for a, b in lifted if a != b and _rank(a) < _rank(b)))
    return Scene(_boxes(graph, kept, repeats), forward)


_OUTPUT = 10**9  # outputs come after every op; inputs have negative numbers


def _rank(index: int) -> int:
    return index


def _ends(graph: Graph) -> dict[int, SceneNode]:
    ends = {}
    for n, v in enumerate(graph.inputs):
        value = graph.values[v]
        ends[-1 - n] = SceneNode(-1 - n, "input", value.name or "input", _shape(value.shape), ())
    for n, o in enumerate(graph.outputs):
        ends[_OUTPUT + n] = SceneNode(
            _OUTPUT + n, "output", o.path or "output", _shape(graph.values[o.value].shape), ()
        )
    return ends


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "number"


# ---------------------------------------------------------------------- which operations are shown
def _within(name: str, module: str) -> str:
    """A weight as its module calls it; one of a child that the module runs itself under the name of that child."""
    if not module or not name.startswith(f"{module}."):
        return name
    return name.removeprefix(f"{module}.").removesuffix(".weight")


Shown = tuple[NodeKind, str, str]


def _shown(analysis: Analysis, op: Op) -> Shown | None:
    """Kind, title and detail of an op that matters; None for views, casts and the insides of norms and activations."""
    graph = analysis.graph
    if op.index in analysis.contractions:
        use = analysis.contractions[op.index][0]
        links = analysis.links[use.op, use.weight]
        name = next((graph.values[li.value].name for li in links if li.whole), "weight")
        return "map", _within(name, op.module), _map_detail(graph, op, use.weight)
    if op.index in analysis.norms:
        return "norm", analysis.norms[op.index].name.replace("_", " "), ""
    if op.index in analysis.residuals:
        return (
            "add",
            "+",
            f"stream {analysis.residuals[op.index].stream}, branch {analysis.residuals[op.index].index + 1}",
        )
    if analysis.is_activated(op.output) and op.index not in analysis.inside_norm:
        return "act", analysis.regions.functions[op.output].label, ""
    if op.index in analysis.attention.outputs:
        return "attention", "attention", ""
    if op.index in analysis.products or op.name in SOFTMAX:
        return "attention", op.name.replace("_", " "), ""
    if op.name in RECURRENT:
        return "recurrent", op.name, ""
    if (
        op.name in ("mul", "glu")
        and op.index not in analysis.inside_norm
        and (len(analysis.signals(op)) > 1 or op.name == "glu")
    ):
        return "gate", "x", "gate"
    if op.name in POOLS or op.name in ("cat", "lstm"):
        return "other", op.name.replace("_", " "), ""
    return None


def _map_detail(graph: Graph, op: Op, weight: int) -> str:
    return f"{op.name.replace('_', ' ')} {_shape(graph.values[weight].shape)}"


def _start(analysis: Analysis, op: Op, starts: Mapping[str, str]) -> str:
    """How the weights of an operation start, each law once; the bias of a map is left out."""
    values = analysis.graph.values
    uses = analysis.contractions.get(op.index, ())
    leaves = [li.value for use in uses for li in analysis.links[use.op, use.weight]] if uses else op.inputs
    return " / ".join(dict.fromkeys(starts[values[v].name] for v in leaves if values[v].name in starts))


def _edges(analysis: Analysis, chosen: Mapping[int, Shown]) -> set[tuple[int, int]]:
    """From each shown op (or input) to the shown ops that read it, through what is not shown."""
    graph = analysis.graph
    reach: dict[int, frozenset[int]] = {v: frozenset({-1 - n}) for n, v in enumerate(graph.inputs)}
    edges: set[tuple[int, int]] = set()
    for op in graph.live_ops():
        before: frozenset[int] = frozenset()
        for i in op.inputs:
            if analysis.dependence.kinds[i] in ("signal", "index"):
                before |= reach.get(i, frozenset())
        if op.index in chosen:
            edges |= {(b, op.index) for b in before}
            before = frozenset({op.index})
        reach.update(dict.fromkeys(op.outputs, before))
    for n, o in enumerate(graph.outputs):
        edges |= {(b, _OUTPUT + n) for b in reach.get(o.value, frozenset())}
    return edges


def _without_idle_joins(
    graph: Graph, nodes: dict[int, SceneNode], edges: set[tuple[int, int]]
) -> tuple[dict[int, SceneNode], set[tuple[int, int]]]:
    """Drop what joins pieces of one value (rotary embeddings) or is fed by nothing shown (tables of positions)."""
    for index in sorted(nodes):
        before = {a for a, b in edges if b == index}
        if nodes[index].kind == "other" and graph.ops[index].name == "cat" and len(before) < 2:
            after = {b for a, b in edges if a == index}
            edges = {e for e in edges if index not in e} | {(a, b) for a in before for b in after}
            nodes = {i: n for i, n in nodes.items() if i != index}
    return nodes, edges


def _node(graph: Graph, index: int, kind: NodeKind, title: str, detail: str, start: str) -> SceneNode:
    op = graph.ops[index]
    paths = tuple(f"{path}#{call}" if call else path for path, call in op.scope[1:])
    return SceneNode(index, kind, title, detail, paths, start)


# ---------------------------------------------------------------------- repeated blocks
_NUMBERED = re.compile(r"^(.*?)(\d+)((?:#\d+)?)$")


def _folds(nodes: Mapping[int, SceneNode]) -> tuple[dict[int, int], dict[str, int]]:
    """Nodes of repeated blocks -> their stand-ins in the first block, and first block -> number of repeats."""
    members: dict[str, list[SceneNode]] = {}
    for node in nodes.values():
        for path in node.boxes:
            members.setdefault(path, []).append(node)
    stands_for: dict[int, int] = {}
    repeats: dict[str, int] = {}
    first: dict[tuple[str, tuple[tuple[str, ...], ...]], str] = {}
    for path, inside in members.items():
        found = _NUMBERED.match(path)
        if found is None or len(inside) < 2 or not (found[1].endswith(".") or found[1] == ""):
            continue
        key = (found[1], tuple((n.kind, n.title, n.detail if n.kind != "add" else "", n.start) for n in inside))
        if key not in first:
            first[key] = path
        else:
            original = members[first[key]]
            repeats[first[key]] = repeats.get(first[key], 1) + 1
            stands_for.update({n.index: o.index for n, o in zip(inside, original, strict=True)})
    return _resolved(stands_for), repeats


def _resolved(stands_for: dict[int, int]) -> dict[int, int]:
    final = {}
    for node in stands_for:
        target = node
        while target in stands_for:
            target = stands_for[target]
        final[node] = target
    return final


def _boxes(graph: Graph, nodes: Mapping[int, SceneNode], repeats: Mapping[str, int]) -> ModuleBox:
    """The nested boxes, in order of the forward pass; a box around a single node becomes its title."""
    root = ModuleBox("", graph.model, graph.model)
    opened: dict[str, ModuleBox] = {"": root}
    for index in sorted(nodes):
        node, parent = nodes[index], root
        for path in node.boxes:
            if path not in opened:
                opened[path] = ModuleBox(path, *_box_title(graph, path, parent.path, repeats))
                parent.children.append(opened[path])
            parent = opened[path]
        parent.children.append(node)
    return _without_single_boxes(root)


def _box_title(graph: Graph, path: str, parent: str, repeats: Mapping[str, int]) -> tuple[str, str]:
    """The name of a module in its parent, and the title of its box."""
    plain = path.partition("#")[0]
    inner = plain.removeprefix(parent.partition("#")[0]).lstrip(".")
    info = graph.modules.get(plain)
    times = f"  x {repeats[path]}" if path in repeats else ""
    return (inner, f"{inner}: {info.class_name}{times}") if info else (inner + times, inner + times)


def _without_single_boxes(box: ModuleBox) -> ModuleBox:
    children: list[ModuleBox | SceneNode] = []
    for child in box.children:
        if isinstance(child, ModuleBox):
            child = _without_single_boxes(child)
            if len(child.children) == 1:
                children.append(_renamed(child, child.children[0]))
                continue
        children.append(child)
    return ModuleBox(box.path, box.name, box.title, children)


def _renamed(outer: ModuleBox, inner: ModuleBox | SceneNode) -> ModuleBox | SceneNode:
    name = outer.name
    if isinstance(inner, ModuleBox):
        return ModuleBox(inner.path, f"{name}.{inner.name}", f"{name}.{inner.title}", inner.children)
    title = (
        name
        if inner.title in ("weight", "")
        else f"{name}: {inner.title}"
        if inner.kind in ("norm", "act")
        else f"{name} {inner.title}"
    )
    return SceneNode(inner.index, inner.kind, title, inner.detail, inner.boxes[:-1], inner.start)
