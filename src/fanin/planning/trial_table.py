"""Two starts of a model below each other, number by number: for plans, `fanin plan` and `fanin init`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from fanin.text.columns import Column, columns
from fanin.text.console import WIDTH, plain_text
from fanin.text.names import one_line
from fanin.text.numbers import big

__all__ = ["trial_table", "trial_text"]

# heading, field of `MeasuredStart`, rank of the column
_NUMBERS = (
    ("first loss", "loss", 0),
    ("output rms", "output_rms", 0),
    ("chi", "chi", 1),
    ("likeness", "likeness", 4),
    ("dead", "dead_share", 3),
    ("growth", "growth", 2),
)


def trial_table(data: Mapping[str, Any], width: int = WIDTH, write: Callable[[str], str] = str) -> RenderableType:
    """The start as found above the planned one, from `Trial.to_dict`; why not, where no trial ran."""
    if not data.get("ran"):
        return Text(write(f"trial not run: {one_line(str(data.get('why', 'unknown')))}"))
    sides = {"found": _side(data.get("found")), "planned": _side(data.get("planned"))}
    shown = [one for one in _NUMBERS if any(side.get(one[1]) is not None for side in sides.values())]
    heads = [Column(title=title, side="right", rank=rank) for title, _, rank in shown]
    rows = [[name, *(_number(side.get(key)) for _, key, _ in shown), _codes(side)] for name, side in sides.items()]
    return columns("start", [*heads, Column(title="findings", least=12)], rows, width=width, write=write)


def trial_text(data: Mapping[str, Any], width: int = WIDTH) -> str:
    """The table as plain text.

    Example:
        >>> trial_text({"ran": False, "why": "no inputs were given"})
        'trial not run: no inputs were given'
        >>> found = {"loss": 2.33, "output_rms": 0.24, "findings": ["S203"]}
        >>> print(trial_text({"ran": True, "found": found, "planned": {"loss": 2.5, "output_rms": 1.0}}))
        start    first loss  output rms  findings
        ─────────────────────────────────────────
        found          2.33        0.24  S203
        planned         2.5           1  none
    """
    return plain_text(trial_table(data, width), width=width).rstrip("\n")


def _side(data: Any) -> Mapping[str, Any]:
    return data if isinstance(data, Mapping) else {}


def _number(value: Any) -> str:
    return big(float(value)) if isinstance(value, int | float) else "not finite"


def _codes(side: Mapping[str, Any]) -> str:
    return ", ".join(map(str, side.get("findings", ()))) or "none"
