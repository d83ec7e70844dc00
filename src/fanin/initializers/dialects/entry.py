"""One name in one framework, as data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fanin.errors import ArgumentError
from fanin.initializers.base import Initializer

__all__ = ["Entry", "finite_gain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a name means in one framework.

    Attributes:
        name: fanin's name for the scheme.
        spelling: how the framework spells it.
        make: gives the law from that framework's own arguments, with its own defaults.
        note: what differs from fanin's law of that name, or is wrong.
        order: the axes of that framework's matrices: "out_in" or "in_out".
        example: arguments for a table, where the framework has no default.
    """

    name: str
    spelling: str
    make: Callable[..., Initializer]
    note: str = ""
    order: Literal["out_in", "in_out"] = "out_in"
    example: Mapping[str, Any] = field(default_factory=dict)


def finite_gain(gain: float | str) -> float:
    """A gain, or Lasagne's word for one.

    Example:
        >>> round(finite_gain("relu"), 4)
        1.4142
    """
    if isinstance(gain, str):
        if gain != "relu":
            raise ArgumentError(f"gain must be a number or 'relu'; got {gain!r}")
        return math.sqrt(2.0)
    return gain
