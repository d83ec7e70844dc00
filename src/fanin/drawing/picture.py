"""A graph as a picture: Mermaid, Graphviz or SVG text. No program outside Python is needed for any of them."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from fanin.drawing.scene import ModuleBox, NodeKind, Scene, SceneNode, scene
from fanin.errors import UnknownNameError, did_you_mean
from fanin.graph.ir import Graph

__all__ = ["FORMATS", "draw"]

# fill and border of each kind of node; the colours are far apart in lightness too, for readers who cannot tell hues
_COLOURS: Mapping[NodeKind, tuple[str, str]] = {
    "input": ("#ffffff", "#555555"),
    "output": ("#ffffff", "#555555"),
    "map": ("#d6e4f5", "#2f5d8c"),
    "norm": ("#e9e3f4", "#6a51a3"),
    "act": ("#fde8cd", "#b35900"),
    "add": ("#d9efd9", "#2e7d32"),
    "gate": ("#fdf3c4", "#8a6d00"),
    "attention": ("#f8d9df", "#a3264a"),
    "recurrent": ("#d2ecec", "#1b6e6e"),
    "other": ("#eeeeee", "#777777"),
}


def draw(graph: Graph, format: str = "svg", *, fold: bool = True, starts: Mapping[str, str] | None = None) -> str:
    """The picture of a graph as text.

    Args:
        graph: what to draw.
        format: "svg", "html" (a page with the SVG), "mermaid" or "dot".
        fold: draw the first of a row of equal blocks only, with the number of repeats in its title.
        starts: how each parameter starts, in a few words, by name; written in the node that uses it.

    Raises:
        UnknownNameError: the format is not in `FORMATS`.

    Example:
        >>> import torch
        >>> from fanin.graph.recording.capture import capture
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU())
        >>> print(draw(capture(model, torch.zeros(2, 4)), "mermaid"))
        flowchart TD
          i0(["0<br/>2 x 4"])
          n0["0<br/>linear 8 x 4"]
          n1["1: relu"]
          o0(["output<br/>2 x 8"])
          i0 --> n0
          n0 --> n1
          n1 --> o0
          classDef input ...
    """
    if format not in FORMATS:
        raise UnknownNameError(f"{format!r} is no picture format; {did_you_mean(format, FORMATS)}")
    return FORMATS[format](scene(graph, fold=fold, starts=starts))


def _name(index: int) -> str:
    if index < 0:
        return f"i{-1 - index}"
    return f"o{index - 10**9}" if index >= 10**9 else f"n{index}"


# ---------------------------------------------------------------------- Mermaid and Graphviz
def _mermaid(picture: Scene) -> str:
    lines = ["flowchart TD", *_mermaid_box(picture.root, 1)]
    lines += [f"  {_name(a)} --> {_name(b)}" for a, b in picture.edges]
    for kind, (fill, border) in _COLOURS.items():
        members = [_name(n.index) for n in picture.root.nodes() if n.kind == kind]
        if members:
            lines += [
                f"  classDef {kind} fill:{fill},stroke:{border},color:#111",
                f"  class {','.join(members)} {kind}",
            ]
    return "\n".join(lines)


def _mermaid_box(box: ModuleBox, depth: int) -> Iterator[str]:
    pad = "  " * depth
    for child in box.children:
        if isinstance(child, ModuleBox):
            yield f'{pad}subgraph {re.sub(r"[^0-9A-Za-z]", "_", "b_" + child.path)}["{_plain(child.title)}"]'
            yield from _mermaid_box(child, depth + 1)
            yield f"{pad}end"
        else:
            left, right = (
                ('(["', '"])')
                if child.kind in ("input", "output")
                else ('(("', '"))')
                if child.kind in ("add", "gate")
                else ('["', '"]')
            )
            text = "<br/>".join(map(_plain, _lines(child)))
            yield f"{pad}{_name(child.index)}{left}{text}{right}"


def _lines(node: SceneNode) -> list[str]:
    """The lines of text of a node; a sum or product has its sign alone."""
    if node.kind in ("add", "gate"):
        return [node.title]
    return [node.title, *filter(None, (node.detail, node.start))]


def _plain(text: str) -> str:
    return text.replace('"', "'").replace("<", "(").replace(">", ")")


def _dot(picture: Scene) -> str:
    lines = [
        "digraph model {",
        '  node [shape=box, style="rounded,filled", fontname="Helvetica", fontsize=10];',
        *_dot_box(picture.root, 1),
    ]
    lines += [f"  {_name(a)} -> {_name(b)};" for a, b in picture.edges]
    return "\n".join([*lines, "}"])


def _dot_box(box: ModuleBox, depth: int) -> Iterator[str]:
    pad = "  " * depth
    for n, child in enumerate(box.children):
        if isinstance(child, ModuleBox):
            yield f'{pad}subgraph "cluster_{box.path}_{n}" {{ label="{_plain(child.title)}"; color="#999999";'
            yield from _dot_box(child, depth + 1)
            yield f"{pad}}}"
        else:
            fill, border = _COLOURS[child.kind]
            text = "\\n".join(map(_plain, _lines(child)))
            yield f'{pad}{_name(child.index)} [label="{text}", fillcolor="{fill}", color="{border}"];'


# ---------------------------------------------------------------------- SVG: each box by itself, then in its parent
_GAP, _ROW, _PAD, _TITLE, _LINE, _LETTER = 22.0, 26.0, 12.0, 20.0, 15.0, 6.4


@dataclass(slots=True)
class _Placed:
    """A node or box with its place relative to its parent."""

    item: ModuleBox | SceneNode
    x: float
    y: float
    width: float
    height: float
    inside: list[_Placed]


def _size_of(node: SceneNode) -> tuple[float, float]:
    if node.kind in ("add", "gate"):
        return 26.0, 26.0
    lines = _lines(node)
    return max(64.0, max(map(len, lines)) * _LETTER + 18.0), 14.0 + _LINE * len(lines)


def _lay_out(item: ModuleBox | SceneNode, edges: tuple[tuple[int, int], ...]) -> _Placed:
    if isinstance(item, SceneNode):
        width, height = _size_of(item)
        return _Placed(item, 0.0, 0.0, width, height, [])
    placed = [_lay_out(child, edges) for child in item.children]
    rows = _rows(item, edges)
    titled = bool(item.path)
    y = _PAD + (_TITLE if titled else 0.0)
    widest = max([sum(placed[i].width for i in row) + _GAP * (len(row) - 1) for row in rows], default=0.0)
    width = max(widest, len(item.title) * _LETTER if titled else 0.0) + 2 * _PAD
    for row in rows:
        total = sum(placed[i].width for i in row) + _GAP * (len(row) - 1)
        x, tallest = (width - total) / 2, max(placed[i].height for i in row)
        for i in row:
            placed[i].x, placed[i].y = x, y + (tallest - placed[i].height) / 2
            x += placed[i].width + _GAP
        y += tallest + _ROW
    return _Placed(item, 0.0, 0.0, width, y - _ROW + _PAD, placed)


def _rows(box: ModuleBox, edges: tuple[tuple[int, int], ...]) -> list[list[int]]:
    """Children in rows: each below all that feed it (longest path)."""
    home = {
        n.index: i
        for i, child in enumerate(box.children)
        for n in ([child] if isinstance(child, SceneNode) else child.nodes())
    }
    feeds: dict[int, set[int]] = {}
    for a, b in edges:
        if a in home and b in home and home[a] < home[b]:
            feeds.setdefault(home[b], set()).add(home[a])
    level: list[int] = []
    for i in range(len(box.children)):
        level.append(1 + max((level[j] for j in feeds.get(i, ())), default=-1))
    last = max(level, default=0)
    for i, child in enumerate(box.children):
        if isinstance(child, SceneNode) and child.kind == "output":
            level[i] = max(level[i], last)
    rows: dict[int, list[int]] = {}
    for i, at in enumerate(level):
        rows.setdefault(at, []).append(i)
    return [rows[at] for at in sorted(rows)]


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where a node ended up on the page."""

    x: float
    y: float
    width: float
    height: float


def _svg(picture: Scene) -> str:
    placed = _lay_out(picture.root, picture.edges)
    spots: dict[int, _Spot] = {}
    shapes = list(_shapes(placed, 0.0, 0.0, spots, depth=0))
    boxes = list(_box_spots(placed, 0.0, 0.0))
    things = [*spots.values(), *boxes]
    arrows = [_arrow(spots[a], spots[b], things) for a, b in picture.edges if a in spots and b in spots]
    margin = 40.0
    width, height = placed.width + 2 * margin, placed.height
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{-margin:.0f} 0 {width:.0f} {height:.0f}"',
            f'width="{width:.0f}" height="{height:.0f}" font-family="Helvetica, Arial, sans-serif" font-size="11">',
            f"<title>{html.escape(picture.root.title)}</title>",
            _ARROW_HEAD,
            _rect(-margin, 0.0, width, height, "#ffffff", "none", 0.0),
            *[text for kind, text in shapes if kind == "box"],
            *arrows,
            *[text for kind, text in shapes if kind == "node"],
            "</svg>",
        ]
    )


_ARROW_HEAD = (
    '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
    + '<path d="M0 0 L8 4 L0 8 z" fill="#555"/></marker></defs>'
)


def _rect(x: float, y: float, width: float, height: float, fill: str, border: str, radius: float) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect {place} rx="{radius:.1f}" fill="{fill}" stroke="{border}"/>'


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{html.escape(text)}</text>'


def _box_spots(placed: _Placed, x: float, y: float) -> Iterator[_Spot]:
    x, y = x + placed.x, y + placed.y
    if isinstance(placed.item, ModuleBox):
        yield _Spot(x, y, placed.width, placed.height)
        for child in placed.inside:
            yield from _box_spots(child, x, y)


def _shapes(
    placed: _Placed, x: float, y: float, spots: dict[int, _Spot], depth: int
) -> Iterator[tuple[Literal["box", "node"], str]]:
    """Every box and node as SVG, with which of the two it is: boxes are drawn below the arrows, nodes above."""
    x, y = x + placed.x, y + placed.y
    if isinstance(placed.item, SceneNode):
        spots[placed.item.index] = _Spot(x, y, placed.width, placed.height)
        yield "node", _node_shape(placed.item, x, y, placed.width, placed.height)
        return
    if placed.item.path:
        fill = ("#fafafa", "#f2f4f7")[depth % 2]
        frame = _rect(x, y, placed.width, placed.height, fill, "#b8bec8", 8.0)
        yield "box", f'<g class="box">{frame}{_text(x + 8, y + 15, placed.item.title, _BOX_TEXT)}</g>'
    for child in placed.inside:
        yield from _shapes(child, x, y, spots, depth + 1)


def _node_shape(node: SceneNode, x: float, y: float, width: float, height: float) -> str:
    fill, border = _COLOURS[node.kind]
    radius = height / 2 if node.kind in ("add", "gate", "input", "output") else 4
    middle = x + width / 2
    lines = _lines(node)
    top = y + height / 2 - (len(lines) - 1) * _LINE / 2 + 4
    styles = [f'text-anchor="middle" fill="{colour}"' for colour in ("#111", "#555", "#555")]
    texts = "".join(_text(middle, top + i * _LINE, lines[i], styles[i]) for i in range(len(lines)))
    hint = html.escape(" ".join(filter(None, ("/".join(node.boxes), node.title, node.detail, node.start))))
    return f'<g class="node"><title>{hint}</title>{_rect(x, y, width, height, fill, border, radius)}{texts}</g>'


_BOX_TEXT = 'fill="#444" font-weight="bold"'


def _arrow(a: _Spot, b: _Spot, others: list[_Spot]) -> str:
    """A curve from the bottom of one node to the top of another, bent around the nodes between them."""
    x1, y1, x2, y2 = a.x + a.width / 2, a.y + a.height, b.x + b.width / 2, b.y
    between = [o for o in others if o.y > y1 - 1 and o.y + o.height < y2 + 1 and o not in (a, b)]
    blocking = [o for o in between if o.x - 6 < max(x1, x2) and o.x + o.width + 6 > min(x1, x2)]
    if not blocking:
        bend = max(12.0, (y2 - y1) / 2)
        path = f"M{x1:.1f} {y1:.1f} C{x1:.1f} {y1 + bend:.1f} {x2:.1f} {y2 - bend:.1f} {x2:.1f} {y2:.1f}"
    else:
        side = min(o.x for o in blocking) - 10.0 - min(24.0, (y2 - y1) / 60)
        path = (
            f"M{x1:.1f} {y1:.1f} C{x1:.1f} {y1 + 22:.1f} {side:.1f} {y1 + 6:.1f} {side:.1f} {y1 + 40:.1f} "
            f"L{side:.1f} {y2 - 40:.1f} C{side:.1f} {y2 - 6:.1f} {x2:.1f} {y2 - 22:.1f} {x2:.1f} {y2:.1f}"
        )
    return f"<path d='{path}' fill='none' stroke='#777' stroke-width='1.1' marker-end='url(#arrow)'/>"


def _page(picture: Scene) -> str:
    title = html.escape(picture.root.title)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        "<style>body{margin:1.5rem;font-family:Helvetica,Arial,sans-serif;background:#fff;color:#111}"
        "svg{max-width:100%;height:auto}</style></head>\n"
        f"<body><h1>{title}</h1>\n{_svg(picture)}\n</body></html>"
    )


FORMATS: Mapping[str, Callable[[Scene], str]] = {"svg": _svg, "html": _page, "mermaid": _mermaid, "dot": _dot}
