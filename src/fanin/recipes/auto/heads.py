"""Output layers: outputs of rms 1, calm, or zero."""

from __future__ import annotations

import math

import numpy as np

from fanin.graph.roles.data import ParameterRole
from fanin.recipes.auto.evidence import CALM_RMS, FAINTEST
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.auto.wording import Number, draft, reason, zero
from fanin.recipes.engine.draft import Draft, Read, fixed
from fanin.recipes.engine.network import Network

__all__ = ["head", "output_rms"]

DESIGNED_GAIN = 0.05  # std sqrt(fan_in) up to which a head is small by design; torch's default has 0.58
_FEWEST = 8  # numbers by which that can be told
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
    if options.head == "unit" and (kept := _designed(network, role)) is not None:
        return kept
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


def _designed(network: Network, role: ParameterRole) -> Draft | None:
    """A head that its module starts far below any usual law, or at zero: the author's choice, so it stays.

    A policy head with gain 0.01 keeps the first actions alike (Andrychowicz et al. 2020, arXiv 2006.05990); a zero
    output map is the identity of a flow or the mean of a diffusion model.
    """
    live = network.live(role.name)
    if live is None or live.size < _FEWEST or not np.isfinite(live).all():
        return None
    times = float(np.sqrt(np.square(live, dtype=np.float64).mean()) * math.sqrt(float(role.fan_in or 1.0)))
    if times > DESIGNED_GAIN:
        return None
    said = reason("designed head", times=times) if times else reason("designed zero head")
    return fixed(None, rule="designed", reason=said, action="keep")
