"""The names of what a parameter does, and what is known of one parameter: its role, its axes, and who says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from fanin.errors import LayoutError
from fanin.layout import Fans, Layout, fans
from fanin.model.operations import GATES

__all__ = ["ROLES", "TOKENS", "Gate", "Part", "Role", "Seen", "Source", "fans_or_none", "stacked_gates"]

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
class Part:
    """One of several maps side by side along a weight's output axis.

    Attributes:
        tag: what it is: "attn_q", "attn_k", "attn_v", "gate", "act", "i", "f", "g", "o", "r", "z", "n", ...
        start: its first output unit.
        size: its number of output units.
        step: how far apart they lie: 1 for neighbours, the number of maps where these take turns unit by unit.
    """

    tag: str
    start: int
    size: int
    step: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate(Part):
    """Where the bias of one gate of a recurrent cell lies, and what that gate does.

    By its tag: "f" keeps the state and "e" erases it, "i" lets the input in, "z" keeps the state instead of the input
    and "u" the other way round, "o" lets the state out, "r" hides it from the candidates; "g", "n" and "h" are
    candidates.

    Attributes:
        added: what the model adds to its numbers itself (the 1 of ``sigmoid(f + 1)``).
    """

    added: float = 0.0

    @classmethod
    def of(cls, part: Part, added: float = 0.0) -> Gate:
        """The gate that lies where a part does."""
        return cls(tag=part.tag, start=part.start, size=part.size, step=part.step, added=added)


def stacked_gates(op: str, length: int) -> tuple[Part, ...]:
    """The gates in a weight or bias of one of torch's recurrent operations, in torch's order; () where it has one.

    Example:
        >>> [(p.tag, p.start, p.size) for p in stacked_gates("gru", 6)], stacked_gates("rnn_tanh", 6)
        ([('r', 0, 2), ('z', 2, 2), ('n', 4, 2)], ())
    """
    tags = GATES.get(op, ())
    if len(tags) < 2 or length % len(tags):
        return ()
    size = length // len(tags)
    return tuple(Part(tag=tag, start=i * size, size=size) for i, tag in enumerate(tags))


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
