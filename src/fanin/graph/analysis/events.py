"""What may happen to a value further down in a graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fanin.graph.analysis.activations import FoundActivation

__all__ = ["Event", "EventKind"]

EventKind = Literal[
    "act",
    "gate",
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_bias",
    "datamul",
    "residual",
    "stream_in",
    "linear",
    "softmax",
    "head",
    "loss",
    "op",
]


@dataclass(frozen=True, slots=True)
class Event:
    """The first thing that happens to a value downstream.

    Attributes:
        kind: what happens.
        op: index of the op where it happens; -1 for an output of the model.
        value: the value that arrives there.
        activation: the function, for "act".
        result: the value after an activation.
        norms: indices of the norms passed on the way.
        piece: the piece of a split output that the way led through (value index), if any.
        gated: for "act", whether its result multiplies another signal.
        name: name of the op, for "op".
    """

    kind: EventKind
    op: int
    value: int
    activation: FoundActivation | None = None
    result: int | None = None
    norms: tuple[int, ...] = ()
    piece: int | None = None
    gated: bool = False
    name: str = ""
