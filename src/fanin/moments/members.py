"""Sets of value indices as the bits of one integer.

Each tensor of a deep residual network carries the fluctuations of all tensors before it. As bits of integers these sets
take a few hundred bytes for a thousand layers, and a union or an intersection is one operation on machine words.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

__all__ = ["Members", "is_member", "members"]

Members: TypeAlias = int
"""A set of value indices: bit v is set where v is in it; `|` is the union, `&` the intersection, 0 the empty set."""


def members(values: Iterable[int]) -> Members:
    """The set of these values; negative ones are left out.

    Example:
        >>> bin(members([0, 3, 3, -1]))
        '0b1001'
    """
    kept = [v for v in values if v >= 0]
    bits = bytearray(max(kept, default=0) // 8 + 1)
    for v in kept:
        bits[v >> 3] |= 1 << (v & 7)
    return int.from_bytes(bits, "little")


def is_member(value: int, of: Members) -> bool:
    """Whether a value is in a set.

    Example:
        >>> is_member(3, members([0, 3])), is_member(2, members([0, 3]))
        (True, False)
    """
    return bool(of >> value & 1)
