"""Output layers: outputs of rms 1, calm, or zero."""

from __future__ import annotations

import math

from fanin.graph.roles.data import ParameterRole
from fanin.recipes.auto.evidence import CALM_RMS, FAINTEST
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.auto.wording import Number, draft, zero
from fanin.recipes.engine.draft import Draft, Read
from fanin.recipes.engine.network import Network

__all__ = ["head", "output_rms"]

_NO_HEAD = frozenset({"residual", "stream_in", "attn_q", "attn_k", "attn_v", "linear", "gate", "act+gate"})


def output_rms(options: AutoOptions) -> float:
    """Rms of the outputs of a network that an option asks for.

    Example:
        >>> output_rms(AutoOptions()), output_rms(AutoOptions(head="calm"))
        (1.0, 0.1)
    """
    return CALM_RMS if options.head == "calm" else 1.0


def head(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """The map to the outputs, None for any other."""
    tags = set(role.use.tags) if role.use is not None else set()
    if "head" not in tags or tags & _NO_HEAD:
        return None
    if options.head == "zero":
        return zero("zero head")
    fan_in = float(role.fan_in or 1.0)
    least = 1.0 if "rnn" in role.feeds else FAINTEST  # a recurrent state is small, and scaling up for it costs
    size = 1.0 if options.head == "unit" else min(CALM_RMS, 1.0 / math.sqrt(fan_in))

    def numbers(read: Read) -> tuple[Number, ...]:
        taken = max(least, read.second_moment)
        return (
            Number("second", read.second_moment),
            Number("taken", taken, "head"),
            Number("size", size, options.head),
            Number("std", size / math.sqrt(fan_in * taken), "head"),
        )

    reasons = ("calm head",) if options.head == "calm" else ("head",)
    return draft("head", numbers, reasons=reasons, evidence="head", least=least, calm=CALM_RMS)
