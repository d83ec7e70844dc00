"""Marks: one shape a kind of operation, all of a kind in one path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from markupsafe import Markup

from fanin.report.html.svg import coordinate, el

__all__ = ["KIND_NAMES", "legend", "marks"]

KIND_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "weight": "weight layer",
        "norm": "normalisation",
        "activation": "activation",
        "attention": "attention",
        "merge": "residual sum",
        "other": "other",
        "zero": "exactly zero",
        "nonfinite": "NaN or infinity",
    }
)

# Relative path data on a circle of radius 1, drawn from the middle; distinguished by shape and by filled or hollow.
_SHAPES: Mapping[str, tuple[tuple[str, float, float], ...]] = MappingProxyType(
    {
        "norm": (("m", 0, -1.25), ("l", 1.25, 1.25), ("l", -1.25, 1.25), ("l", -1.25, -1.25)),
        "merge": (("m", -0.9, -0.9), ("l", 1.8, 0), ("l", 0, 1.8), ("l", -1.8, 0)),
        "attention": (("m", 0, -1.3), ("l", 1.3, 2.3), ("l", -2.6, 0)),
        "zero": (("m", -1.3, 0), ("l", 2.6, 0)),
        "nonfinite": (("m", -1, -1), ("l", 2, 2), ("m", 0, -2), ("l", -2, 2)),
    }
)
_HOLLOW = frozenset({"activation", "other"})
_STROKES = frozenset({"zero", "nonfinite"})


def marks(points: Iterable[tuple[str, float, float]], radius: float, class_: str = "") -> Markup:
    """One path a kind: (kind, x, y), the kinds in the order they first appear."""
    data: dict[str, list[str]] = {}
    for kind, x, y in points:
        data.setdefault(kind, []).append(_mark(kind, x, y, radius))
    return Markup("").join(
        el("path", d="".join(parts), class_=f"mark {'hollow ' if kind in _HOLLOW else ''}{kind} {class_}".rstrip())
        for kind, parts in data.items()
    )


def legend(kinds: Sequence[str], class_: str = "") -> Markup:
    """The marks with their names, as a list."""
    items = [
        el(
            "li",
            el("svg", marks([(kind, 7, 7)], 4, class_), viewBox="0 0 14 14", class_="key", aria_hidden="true"),
            KIND_NAMES.get(kind, kind),
        )
        for kind in KIND_NAMES
        if kind in kinds
    ]
    return el("ul", *items, class_="legend")


def _mark(kind: str, x: float, y: float, radius: float) -> str:
    start = f"M{coordinate(x)} {coordinate(y)}"
    if kind in _SHAPES:
        steps = (f"{letter}{coordinate(dx * radius)} {coordinate(dy * radius)}" for letter, dx, dy in _SHAPES[kind])
        return start + "".join(steps) + ("" if kind in _STROKES else "z")
    r = coordinate(radius * (0.8 if kind in _HOLLOW else 1))
    return f"{start}m-{r} 0a{r} {r} 0 1 0 {coordinate(2 * float(r))} 0a{r} {r} 0 1 0 -{coordinate(2 * float(r))} 0"
