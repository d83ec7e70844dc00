"""One name in one framework, as data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fanin.errors import ArgumentError
from fanin.initializers.base import Initializer, finite

__all__ = ["Entry", "finite_gain", "positive"]


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
        also: further spellings of the framework, as `plain` gives them.
    """

    name: str
    spelling: str
    make: Callable[..., Initializer]
    note: str = ""
    order: Literal["out_in", "in_out"] = "out_in"
    example: Mapping[str, Any] = field(default_factory=dict)
    also: tuple[str, ...] = ()


def positive(name: str, value: float) -> float:
    """A number above 0.

    Raises:
        ArgumentError: it is no finite number above 0.

    Example:
        >>> positive("scale", 2.0)
        2.0
    """
    if finite(name, value, low=0.0) == 0.0:
        raise ArgumentError(f"{name} must be above 0; got {value!r}. The law 'zeros' gives zeros.")
    return value


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
