"""The names of what a parameter does, and what is known of one parameter: its role, its axes, and who says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from fanin.errors import LayoutError
from fanin.layout import Fans, Layout, fans

__all__ = ["ROLES", "TOKENS", "Gate", "Role", "Seen", "Source", "fans_or_none"]

Role = Literal[
    "weight",
    "bias",
    "norm_scale",
    "norm_shift",
    "embedding",
    "position",
    "rnn_ih",
    "rnn_hh",
    "rnn_bias",
    "attn_bias",
    "layer_scale",
    "gain",
    "token",
    "act_param",
    "scale",
    "shift",
    "unused",
    "unknown",
]
ROLES: tuple[Role, ...] = get_args(Role)
# of parameters whose rows are vectors of the signal: learned queries, latents, class tokens, positions
TOKENS: frozenset[Role] = frozenset(("token", "position"))
Source = Literal["graph", "module", "call"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Where the bias of one gate of a recurrent cell lies, and what that gate does.

    Attributes:
        tag: "f" keeps the state and "e" erases it, "i" lets the input in, "z" keeps the state instead of the input and
            "u" the other way round, "o" lets the state out, "r" hides it from the candidates; "g", "n" and "h" are
            candidates.
        start: its first number.
        size: how many numbers it has.
        step: how far apart they lie.
        added: what the model adds to them itself (the 1 of ``sigmoid(f + 1)``).
    """

    tag: str
    start: int
    size: int
    step: int = 1
    added: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one parameter is.

    Attributes:
        role: what it does.
        layout: what its axes mean; None where it has none, or where they are not known.
        source: "graph": read off the captured forward pass. "module": told by the module that owns it. "call": told by
            the operation that reads it.
        output: whether it makes the outputs of the network; False where only its module is known.
        gates: of the bias of a recurrent cell, where its gates lie; () where that is not known.
    """

    role: Role
    layout: Layout | None = None
    source: Source
    output: bool = False
    gates: tuple[Gate, ...] = ()


def fans_or_none(shape: tuple[int, ...], layout: Layout | None) -> Fans | None:
    """fan_in and fan_out where the layout has an input axis and fits; None otherwise.

    Example:
        >>> fans_or_none((3,), Layout.vector()) is None
        True
    """
    if layout is None or not layout.in_axes:
        return None
    try:
        return fans(shape, layout)
    except LayoutError:
        return None
