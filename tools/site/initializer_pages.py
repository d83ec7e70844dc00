"""A page for every initializer: what it is, its moments, its values, the same name elsewhere, when to use it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping

import numpy as np

import fanin
from fanin.errors import FaninError
from fanin.initializers import differences
from fanin.initializers.dialects.differences import Difference
from fanin.initializers.registry import NAMES
from tools.reference_pages import docstring
from tools.site import histogram
from tools.site.laws import SHOWN, Shown, law
from tools.site.markdown import linked_names, table

__all__ = ["pages"]

_LINKS = {name: f"{name}.md" for name in NAMES} | {name: f"../recipes/{name}.md" for name in ("zero", "dks", "tat")}
_ELSEWHERE = ("framework", "there called", "std", "x fanin's", "bound", "mean")


def pages() -> Mapping[str, str]:
    """Path on the site -> Markdown."""
    return {f"initializers/{name}.md": _page(name, SHOWN[name]) for name in NAMES}


def _page(name: str, shown: Shown) -> str:
    first, _, rest = docstring(inspect.getdoc(NAMES[name]) or "").partition("\n")
    parts = [
        f"# {name}",
        first,
        f"```python\nfrom fanin import initializers\n\nlaw = {_call(name, shown)}\n```",
        f"## When to use it\n\n{linked_names(shown.use, _LINKS)}",
        f"## Moments and values\n\n{_values(name, shown)}",
        f"## The same name elsewhere\n\n{_elsewhere(name)}",
        f"## In full\n\n{rest.strip()}",
        f"[All initializers](../initializers.md) · `fanin explain {name}`",
    ]
    return "\n\n".join(parts) + "\n"


def _call(name: str, shown: Shown) -> str:
    """The call with every law inside it spelt out from the module."""
    words = shown.call or f"{name}()"
    for inner in ("he_normal(", "Orthogonal("):
        words = words.replace(f"={inner}", f"=initializers.{inner}").replace(f" {inner}", f" initializers.{inner}")
        words = words.replace(f"({inner}", f"(initializers.{inner}")
    head, _, arguments = words.partition("(")
    arguments = arguments.removesuffix(")")
    return f'initializers.get("{head}"{", " if arguments else ""}{arguments})'


def _values(name: str, shown: Shown) -> str:
    """What the law promises for one entry, beside what a draw has, and the draw as a histogram."""
    made = law(name)
    moments = made.moments(shown.shape, shown.layout)
    drawn = np.asarray(made.sample(shown.shape, key=fanin.key(0, name), layout=shown.layout, dtype="float64"))
    size = " × ".join(map(str, shown.shape))
    if not np.isfinite(drawn).all():
        return f"Every one of the {drawn.size:,} values of a weight {size} is NaN."
    rows = [
        ("mean", _number(moments.mean), _number(float(drawn.mean()))),
        ("std", _number(moments.std), _number(float(drawn.std()))),
        ("kurtosis", _number(moments.kurtosis), _number(_kurtosis(drawn))),
        ("largest absolute value", _bound(moments.bound), _number(float(abs(drawn).max()))),
    ]
    caption = f"Shape {size}, {drawn.size:,} values, seed 0, stream `{name}`."
    picture = histogram.svg(drawn, f"histogram of {drawn.size} values of {name}")
    return f"{caption}\n\n{table(('of one entry', 'the law', 'this draw'), rows)}\n{picture}"


def _kurtosis(values: np.ndarray) -> float:
    centred = values - values.mean()
    var = float((centred**2).mean())
    return float((centred**4).mean()) / var**2 if var > 1e-30 else math.nan


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{0.0 if abs(value) < 1e-15 else value:.4g}"


def _bound(value: float | None) -> str:
    return "no bound" if value is None else _number(value)


def _elsewhere(name: str) -> str:
    """What other frameworks sample under the name; for a dense map of 400 inputs and 100 outputs."""
    try:
        found = tuple(differences(name))
    except FaninError:
        found = ()
    if len(found) < 2:
        return "No other framework has a law of this name."
    return (
        "For a dense map of 400 inputs and 100 outputs; "
        f'`initializers.get("{name}", like="keras")` gives what another framework means.\n\n'
        f"{table(_ELSEWHERE, [_row(row) for row in found])}\n{_notes(found)}"
    )


def _row(row: Difference) -> Iterable[str]:
    bound = "" if math.isnan(row.std) else _bound(row.bound)
    sizes = map(_number, (row.std, row.std_ratio))
    return (row.framework, f"`{row.spelling}`", *sizes, bound, _number(row.mean))


def _notes(rows: Iterable[Difference]) -> str:
    """What else differs, frameworks that differ in the same way together."""
    by_note: dict[str, list[str]] = {}
    for row in rows:
        if row.note:
            by_note.setdefault(row.note, []).append(row.framework)
    return "".join(f"- **{', '.join(names)}**: {note}.\n" for note, names in by_note.items())
