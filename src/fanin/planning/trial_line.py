"""The one line that compares two starts of a model, for plans, `fanin plan` and `fanin init`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fanin.text.numbers import big

__all__ = ["trial_line"]

_COLUMNS = (
    ("first loss", "loss"),
    ("output rms", "output_rms"),
    ("chi", "chi"),
    ("likeness", "likeness"),
    ("dead", "dead_share"),
    ("growth", "growth"),
)


def trial_line(data: Mapping[str, Any]) -> str:
    """One line with before | after of each number, from `Trial.to_dict`; why not, where no trial ran.

    Example:
        >>> trial_line({"ran": False, "why": "no inputs were given"})
        'trial not run: no inputs were given'
    """
    if not data.get("ran"):
        return f"trial not run: {data.get('why', 'unknown')}"
    found, planned = _side(data.get("found")), _side(data.get("planned"))
    pairs = [(title, found.get(name), planned.get(name)) for title, name in _COLUMNS]
    shown = [f"{title} {_number(a)} | {_number(b)}" for title, a, b in pairs if a is not None or b is not None]
    codes = [", ".join(map(str, side.get("findings", ()))) or "none" for side in (found, planned)]
    return "found | planned: " + "   ".join([*shown, f"findings {codes[0]} | {codes[1]}"])


def _side(data: Any) -> Mapping[str, Any]:
    return data if isinstance(data, Mapping) else {}


def _number(value: Any) -> str:
    return big(float(value)) if isinstance(value, int | float) else "not finite"
