"""Two starts of a model below each other, number by number: for plans, `fanin plan` and `fanin init`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from fanin.text.columns import Column, columns
from fanin.text.console import WIDTH, plain_text
from fanin.text.names import one_line
from fanin.text.numbers import big

__all__ = ["LOSS_LIMIT", "trial_table", "trial_text"]

LOSS_LIMIT = math.log(2.0)  # a first loss so far above the found one is worse

# heading, field of `MeasuredStart`, rank of the column
_NUMBERS = (
    ("first loss", "loss", 0),
    ("output rms", "output_rms", 0),
    ("chi", "chi", 1),
    ("likeness", "likeness", 4),
    ("dead", "dead_share", 3),
    ("growth", "growth", 2),
)

_MEANINGS = MappingProxyType(
    {
        "chi": "how much larger a small change of an input is in the outputs, squared",
        "likeness": "mean cosine between the outputs of two samples, 1 where all are alike",
        "growth": "rms of the last residual sum over that of the first, 1 where there are fewer than two",
    }
)


def trial_table(data: Mapping[str, Any], width: int = WIDTH, write: Callable[[str], str] = str) -> RenderableType:
    """The start as found above the planned one, from `Trial.to_dict`; why not, where no trial ran."""
    if not data.get("ran"):
        return Text(write(f"trial not run: {one_line(str(data.get('why', 'unknown')))}"))
    sides = {"found": _side(data.get("found")), "planned": _side(data.get("planned"))}
    shown = [one for one in _NUMBERS if any(side.get(one[1]) is not None for side in sides.values())]
    heads = [Column(title=title, side="right", rank=rank) for title, _, rank in shown]
    rows = [[name, *(_number(side.get(key)) for _, key, _ in shown), _codes(side)] for name, side in sides.items()]
    table = columns("start", [*heads, Column(title="findings", least=12)], rows, width=width, write=write)
    below = [*_legend([title for title, _, _ in shown]), *_rise(sides["found"], sides["planned"])]
    return Group(table, *(Text(write(line), style="dim") for line in below))


def _legend(titles: Sequence[str]) -> list[str]:
    """One line that says what the headings mean that are no common words."""
    told = "; ".join(f"{title}: {_MEANINGS[title]}" for title in titles if title in _MEANINGS)
    return [f"{told}."] if told else []


def _rise(found: Mapping[str, Any], planned: Mapping[str, Any]) -> list[str]:
    """Why a first loss that the trial allows is higher than the one found, where larger outputs are the cause."""
    losses, sizes = _both(found, planned, "loss"), _both(found, planned, "output_rms")
    if losses is None or sizes is None or not losses[0] < losses[1] <= losses[0] + LOSS_LIMIT or sizes[0] >= sizes[1]:
        return []
    return [
        f"The first loss is higher because the outputs are larger (rms {big(sizes[1])} instead of {big(sizes[0])}): "
        "before training, large outputs cost more than nearly constant ones. "
        f"It counts as worse above {big(losses[0] + LOSS_LIMIT)} (found + ln 2)."
    ]


def _both(found: Mapping[str, Any], planned: Mapping[str, Any], key: str) -> tuple[float, float] | None:
    pair = (found.get(key), planned.get(key))
    return None if not all(isinstance(x, int | float) for x in pair) else (float(pair[0]), float(pair[1]))  # type: ignore[arg-type]


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
        The first loss is higher because the outputs are larger (rms 1 instead of 0.24): before training,
        large outputs cost more than nearly constant ones. It counts as worse above 3.02 (found + ln 2).
    """
    return plain_text(trial_table(data, width), width=width).rstrip("\n")


def _side(data: Any) -> Mapping[str, Any]:
    return data if isinstance(data, Mapping) else {}


def _number(value: Any) -> str:
    return big(float(value)) if isinstance(value, int | float) else "not finite"


def _codes(side: Mapping[str, Any]) -> str:
    return ", ".join(map(str, side.get("findings", ()))) or "none"
