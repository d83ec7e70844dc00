"""SVG and HTML elements as escaped text.

Every attribute and every child passes `markupsafe.escape`; only what `el` itself made goes in as it is. Colours are
CSS classes, never literals, so that one drawing serves light, dark and print.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from markupsafe import Markup, escape

from fanin.text.names import clean

__all__ = ["Attribute", "coordinate", "drawing", "el", "polyline", "text"]

Attribute = str | int | float | None

_EMPTY = Markup("")


def el(tag: str, /, *children: Markup | str, **attributes: Attribute) -> Markup:
    """One element.

    Attribute names lose a trailing underscore, inner ones become hyphens; None leaves an attribute out; floats are
    written to two decimals.

    Example:
        >>> print(el("text", "<script>", class_="tick", text_anchor="end", x=1 / 3, y=None))
        <text class="tick" text-anchor="end" x="0.33">&lt;script&gt;</text>
    """
    written = _EMPTY.join(_attribute(name, value) for name, value in attributes.items() if value is not None)
    inner = _EMPTY.join(child if isinstance(child, Markup) else escape(clean(child)) for child in children)
    return Markup(f"<{tag}{written}>{inner}</{tag}>")


def drawing(
    *children: Markup, id_: str, width: float, height: float, title: str, description: str, **attributes: Attribute
) -> Markup:
    """A whole picture with its words: `title` names it, `description` says in a sentence what it shows.

    Links inside stay reachable: the picture is a group, its marks are hidden from screen readers one by one.
    """
    return el(
        "svg",
        el("title", title, id_=f"{id_}-title"),
        el("desc", description, id_=f"{id_}-desc"),
        *children,
        id_=id_,
        viewBox=f"0 0 {coordinate(width)} {coordinate(height)}",
        role="group",
        aria_labelledby=f"{id_}-title {id_}-desc",
        **attributes,
    )


def text(content: str, x: float, y: float, class_: str = "tick", anchor: str = "start", **more: Attribute) -> Markup:
    """A line of text at a point."""
    return el("text", content, x=x, y=y, class_=class_, text_anchor=None if anchor == "start" else anchor, **more)


def polyline(points: Iterable[tuple[float, float] | None]) -> str:
    """Path data through the points; None lifts the pen.

    Example:
        >>> polyline([(0, 1), (2.5, 3), None, (4, 4), (5, 5)])
        'M0 1L2.5 3M4 4L5 5'
    """
    data, pen = [], "M"
    for point in points:
        if point is None:
            pen = "M"
            continue
        data.append(f"{pen}{coordinate(point[0])} {coordinate(point[1])}")
        pen = "L"
    return "".join(data)


def coordinate(value: float) -> str:
    """A number of an attribute: two decimals at most, no trailing zeros.

    Example:
        >>> [coordinate(v) for v in (1.0, 2.456, -0.001, 10)]
        ['1', '2.46', '0', '10']
    """
    if not math.isfinite(value):
        return "0"
    written = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if written == "-0" else written


def _attribute(name: str, value: Attribute) -> Markup:
    key = name.rstrip("_").replace("_", "-")
    written = coordinate(value) if isinstance(value, float) else clean(value)
    return Markup(f' {key}="{escape(written)}"')
