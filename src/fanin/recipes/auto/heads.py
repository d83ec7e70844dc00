"""Output layers: outputs of rms 1, calm, or zero."""

from __future__ import annotations

import math

import numpy as np

from fanin.graph.roles.data import ParameterRole
from fanin.recipes.auto.evidence import CALM_RMS, FAINTEST
from fanin.recipes.auto.maps import forward
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.auto.wording import Number, draft, reason, zero
from fanin.recipes.engine.draft import Draft, Read, fixed
from fanin.recipes.engine.network import Network
from fanin.recipes.engine.outputs import outputs_factor

__all__ = ["before_outputs", "head", "output_rms"]

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
    faint = "rnn" in role.feeds or _reads_kept_factors(network, role)
    least = 1.0 if faint else FAINTEST  # a recurrent state is small, and scaling up for it costs
    size = 1.0 if options.head == "unit" else min(CALM_RMS, 1.0 / math.sqrt(fan_in))

    factor = outputs_factor(network, role, size)
    bent = factor != 1.0

    def numbers(read: Read) -> tuple[Number, ...]:
        taken = max(least, read.second_moment)
        return (
            Number("second", read.second_moment),
            Number("taken", taken, "head"),
            *((Number("factor", factor, "outputs"),) if bent else ()),
            Number("size", size * factor, "outputs" if bent else options.head),
            Number("std", size * factor / math.sqrt(fan_in * taken), "head"),
        )

    reasons = ("calm head" if options.head == "calm" else "head", *(("before outputs",) if bent else ()))
    return draft("head", numbers, reasons=reasons, evidence="head", least=least, calm=CALM_RMS)


def before_outputs(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """Another map of whose outputs a function makes those of the network: these get no larger than usual.

    Where the function has bounds (lengths of squashed capsules), it is not driven into them.
    """
    use, size = role.use, output_rms(options)
    if use is None or use.branch is not None:
        return None
    factor = outputs_factor(network, role, size)
    if factor == 1.0:
        return None
    return forward(
        network,
        role,
        options,
        factor=factor * size,
        how="outputs",
        adds=("before outputs",),
        rule="before outputs",
        evidence="",
    )


def _reads_kept_factors(network: Network, role: ParameterRole) -> bool:
    """Whether no map lies between a head and factors of a signal that stay as their module drew them.

    Their module chose how faint that signal is (filters in Fourier space), and nothing here will change it.
    """
    scales = {r.name for r in network.roles.parameters.values() if r.role == "scale" and _is_drawn(network, r.name)}
    values = {v.index for v in network.graph.values if v.kind == "parameter" and v.name in scales}
    if not values or role.use is None:
        return False
    read = network.data_operand(network.graph.ops[role.use.op])
    todo: list[int] = [] if read is None else [read]
    seen = set[int]()
    while todo and len(seen) < _MOST_OPS:
        op = network.graph.producer(todo.pop())
        if op is None or op.index in seen or op.index in network.weight_of_op:
            continue
        if values & set(op.inputs):
            return True
        seen.add(op.index)
        todo += op.inputs
    return False


_MOST_OPS = 64


def _is_drawn(network: Network, name: str) -> bool:
    """Whether a tensor holds numbers that differ, as a law draws them."""
    live = network.live(name)
    return live is not None and live.size > 1 and not network.is_one_number(name)


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
