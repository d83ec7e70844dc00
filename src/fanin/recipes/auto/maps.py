"""Single maps: the forward rule, entries of residual streams, loops, low-rank adapters."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fanin.graph.roles.data import ParameterRole, Use
from fanin.initializers import Initializer, Normal, Orthogonal, PerPart, Zeros
from fanin.model.operations import VIEWS
from fanin.recipes.auto.evidence import FAINTEST
from fanin.recipes.auto.found import found_size
from fanin.recipes.auto.inputs import input_scale
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.auto.wording import Number, Values, draft, reason
from fanin.recipes.engine.activation_facts import moments_of
from fanin.recipes.engine.draft import Draft, Read, fixed
from fanin.recipes.engine.network import Network, tap_share

__all__ = ["adapter", "as_orthogonal", "entry", "even", "forward", "looped", "maps_apart"]

_CLEARLY, _AT_MOST = 1.25, 4.0  # times the std of the rule, between which the size found is a choice
_LEAST_SHARE = 1e-3  # of taps on data; bounds the std of a kernel that is almost wholly on padding
_FEWEST = 2  # numbers that can be equal by design
_STEPS = 3  # of a ramp
_MANY = 12  # numbers of ramps: chance orders three rows of four once in 14,000
_MEANS = frozenset({"mean", "avg_pool1d", "avg_pool2d", "avg_pool3d"}) | frozenset(
    f"adaptive_avg_pool{n}d" for n in (1, 2, 3)
)
_NEAR = 4  # views between a mean and the map that reads it
_LOOPS = 3  # uses of a map on its own output from which it is a recurrence


# ---------------------------------------------------------------------- the forward rule
def forward(
    network: Network,
    role: ParameterRole,
    options: AutoOptions,
    *,
    factor: float = 1.0,
    how: str = "",
    adds: tuple[str, ...] = (),
    rule: str = "",
    evidence: str | None = None,
    more: Callable[[float], tuple[Number, ...]] = lambda std: (),
    law: Callable[[Values], Initializer] = lambda values: Normal(std=values["std"]),
    **words: Any,
) -> Draft:
    """Keep the signal: std = factor / sqrt(fan_in share E x²).

    Args:
        network: the captured model.
        role: the map.
        options: of the recipe; `balance` mixes in the gradient's rule.
        factor: multiplies the std (a depth factor).
        how: key of the factor's line where it is no depth factor; then the read E x² counts as it is.
        adds: reasons to add to the sentence.
        rule: name of the rule, where another one uses this one.
        evidence: likewise its code.
        more: further numbers, from the std.
        law: the initializer with all numbers; by default N(0, std²).
        words: what those reasons name.
    """
    is_first, is_gate = _is_first(network, role), _opens_channels(network, role)
    chosen = _scale_free(network, role)
    first = "first layer" if is_first else "forward"
    shown = evidence if evidence is not None else "first-layer" if is_first else _evidence(role)

    def numbers(read: Read) -> tuple[Number, ...]:
        found = _forward_numbers(role, options, read, factor, how, first=is_first, gate=is_gate)
        if _CLEARLY * found[-1].value < chosen <= _AT_MOST * found[-1].value:
            found = (*found, Number("std", chosen, "scale free"))
        return (*found, *more(found[-1].value))

    return draft(
        rule or first,
        numbers,
        law,
        reasons=(first, *adds),
        evidence=shown,
        faint=FAINTEST,
        **_words(role),
        **words,
    )


def _scale_free(network: Network, role: ParameterRole) -> float:
    """The rms that a map was found at whose outputs a norm divides by their size, else 0.

    The function of the network does not depend on that size. The larger it is, the less a step of an optimizer turns
    the map (van Laarhoven 2017, arXiv 1706.05350, section 3), and the user's rate goes with the size found.
    """
    live = network.live(role.name)
    if live is None or role.use is None or not role.use.norm_after or len(role.uses) > 1 or role.branch is not None:
        return 0.0
    return found_size(live)


def as_orthogonal(role: ParameterRole) -> dict[str, Any]:
    """What `forward` takes for an orthogonal matrix of the same std."""

    def gain(std: float) -> tuple[Number, ...]:
        return (Number("gain", std * math.sqrt(float(role.fan_in or 1.0)), "entry"),)

    return {"more": gain, "law": lambda values: Orthogonal(gain=values["gain"], scaled=True)}


def maps_apart(role: ParameterRole, parts: tuple[int, ...], name: str) -> Callable[[Values], Initializer]:
    """The law of maps side by side in one weight, of which these parts have a std of their own under that name."""

    def law(values: Values) -> Initializer:
        apart, usual = Normal(std=values[name]), Normal(std=values["std"])
        return PerPart(tuple(apart if n in parts else usual for n in range(len(role.parts))))

    return law


def _words(role: ParameterRole) -> dict[str, Any]:
    return {"reads": ", ".join(f.removeprefix("act:") for f in role.feeds) or "its input", "slope": _slope(role.use)}


def _evidence(role: ParameterRole) -> str:
    return "projections" if {"attn_q", "attn_k", "attn_v"} & set(role.tags) else "widths"


def _is_first(network: Network, role: ParameterRole) -> bool:
    """Whether a map reads the input; or rows of tables, where these keep the size that their module chose."""
    feeds = set(role.use.feeds) if role.use is not None else set()
    return feeds == {"input"} or (bool(feeds) and feeds <= {"input", "embed"} and not network.has_tokens)


def _opens_channels(network: Network, role: ParameterRole) -> bool:
    """Whether a map is part of a channel gate: it gives the gate, or reads the means over places that it is made of."""
    if role.use is None:
        return False
    op = network.graph.ops[role.use.op]
    if _is_gate(role):
        before = _map_before(network, network.data_operand(op))
        return _reads_means(network, role) or (before is not None and _reads_means(network, before))
    return _reads_means(network, role) and _is_gate(_next_map(network, op.output))


_GATES = frozenset({"gate", "act+gate"})


def _is_gate(role: ParameterRole | None) -> bool:
    return role is not None and role.use is not None and bool(role.use.tags) and _GATES.issuperset(role.use.tags)


def _next_map(network: Network, value: int) -> ParameterRole | None:
    """The map that reads a value, or an activation of it; None where there are several or none."""
    for _ in range(_NEAR):
        readers = network.graph.consumers(value)
        if len(readers) != 1:
            return None
        name = network.weight_of_op.get(readers[0].index)
        if name is not None:
            return network.roles.parameters[name]
        value = readers[0].output
    return None


def _map_before(network: Network, value: int | None) -> ParameterRole | None:
    """The map whose outputs, or an activation of them, a value is; None where there are several or none."""
    for _ in range(_NEAR):
        op = None if value is None else network.graph.producer(value)
        if op is None:
            return None
        name = network.weight_of_op.get(op.index)
        if name is not None:
            return network.roles.parameters[name]
        signals = [v for v in op.inputs if v not in network.weight_only and v not in network.graph.data]
        value = signals[0] if len(signals) == 1 else None
    return None


def _reads_means(network: Network, role: ParameterRole) -> bool:
    """Whether a map reads the means of channels over places: the squeeze of a channel gate.

    Of a signal around zero these are small by chance alone at step 0 (Hu et al. 2018, arXiv 1709.01507, section 3.1).
    """
    value = network.data_operand(network.graph.ops[role.use.op]) if role.use is not None else None
    for _ in range(_NEAR):
        op = None if value is None else network.graph.producer(value)
        if op is None or op.name in _MEANS:
            return op is not None and network.graph.value(op.output).numel < network.graph.value(op.inputs[0]).numel
        if op.name not in VIEWS:
            return False
        value = op.inputs[0]
    return False


def _forward_numbers(
    role: ParameterRole,
    options: AutoOptions,
    read: Read,
    factor: float,
    how_factor: str = "",
    *,
    first: bool = False,
    gate: bool = False,
) -> tuple[Number, ...]:
    share = _share(role, role.use)
    taken = None if first else _taken(role.use, 1.0 if how_factor else factor, read)
    if gate and not first and taken is None and read.second_moment < FAINTEST:
        taken = Number("taken", FAINTEST, "means")
    second = input_scale(read.second_moment) if first else read.second_moment if taken is None else taken.value
    var = 1.0 / (float(role.fan_in or 1.0) * share * float(second))
    taps = share != 1.0
    how = ("input, taps" if taps else "input") if first else "taps" if taps else "plain"
    balanced = _balanced(var, role, options)
    std = math.sqrt(balanced[-1].value if balanced else var) * factor
    return (
        Number("second", read.second_moment),
        *(() if taken is None else (taken,)),
        *((Number("share", share),) if taps else ()),
        Number("var", var, how),
        *balanced,
        *((Number("factor", factor, how_factor),) if factor != 1.0 else ()),
        Number("std", std, "factor" if factor != 1.0 else "sqrt(var)"),
    )


def _taken(use: Use | None, factor: float, read: Read) -> Number | None:
    """The second moment to use in place of the predicted one; None to use the predicted one."""
    if use is None:
        return None
    feed = moments_of(use.feed) if use.feed is not None else None
    unit = feed.second if feed is not None and feed.second > 0.0 else 1.0
    if use.norm_after == "batch_norm":
        return Number("taken", unit, "batch norm")
    inside = use.branch is not None and use.branch.position > 0
    if factor == 1.0 or not inside:
        return None
    return Number("taken", unit if use.norm_after else max(unit, read.second_moment), "shared factor")


def _share(role: ParameterRole, use: Use | None) -> float:
    shape = role.layout.viewed(role.shape)
    taps = tuple(shape[a] for a in role.layout.tap_axes)
    if not taps or use is None or role.layout.transposed:
        return 1.0
    return max(tap_share(use, taps, role.layout.strides()), _LEAST_SHARE)


def _slope(use: Use | None) -> float:
    """E f'² of what feeds a map; 1 where no activation does."""
    feed = moments_of(use.feed) if use is not None and use.feed is not None else None
    return feed.dsecond if feed is not None and math.isfinite(feed.dsecond) else 1.0


def _balanced(var: float, role: ParameterRole, options: AutoOptions) -> tuple[Number, ...]:
    """The variance that keeps the gradient, and the harmonic mean of both, as far as asked for."""
    if options.balance == "forward" or not role.fan_out:
        return ()
    back = 1.0 / (float(role.fan_out) * _slope(role.use))
    one = Number("backward", back)
    return (one,) if options.balance == "backward" else (one, Number("balanced", 2.0 / (1.0 / var + 1.0 / back)))


# ---------------------------------------------------------------------- entries, loops, adapters
def entry(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """A pointwise map that alone carries a signal into a residual stream: a shortcut, an input projection."""
    use = role.use
    if use is None or "stream_in" not in use.tags or use.branch is not None or use.norm_after or use.chain:
        return None
    if {"input", "norm", "gate"} & set(use.feeds) or _taps(role) > 1 or role.layout.groups > 1 or len(role.uses) > 1:
        return None

    how = as_orthogonal(role)
    return forward(network, role, options, adds=("stream entry",), rule="stream entry", evidence="stream-entry", **how)


def _taps(role: ParameterRole) -> int:
    shape = role.layout.viewed(role.shape)
    return math.prod(shape[a] for a in role.layout.tap_axes)


def looped(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """A square map that is applied to its own output step after step: a recurrence written by hand."""
    if role.iterated < _LOOPS or role.branch is not None or role.fan_in != role.fan_out or _taps(role) > 1:
        return None
    return draft(
        "recurrent",
        lambda read: (),
        lambda values: Orthogonal(),
        reasons=("looped",),
        evidence="recurrent",
        times=role.iterated,
    )


def even(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """A factor that is summed over and that its module starts at one number everywhere: a plain sum or mean.

    Likewise one whose rows all start as ramps (the values of a calibrator at its keypoints), and zeros that are applied
    step after step: without them a recurrence starts as the rest of it says.
    """
    live = network.live(role.name)
    if role.use is None or role.use.op_name != "sum" or live is None or live.size < _FEWEST:
        return None
    number = float(live.flat[0])
    if not bool((live == number).all()):
        return fixed(None, rule="designed", reason=reason("ramp"), action="keep") if _is_ramp(live) else None
    if number == 0.0 and role.iterated < _LOOPS:
        return None
    return fixed(None, rule="designed", reason=reason("even", number=number), action="keep")


def _is_ramp(live: Any) -> bool:
    """Whether all rows grow, or all fall, from entry to entry: of random rows of four one in 24 does."""
    steps = live[..., 1:] - live[..., :-1]
    return steps.shape[-1] >= _STEPS and live.size >= _MANY and (bool((steps > 0).all()) or bool((steps < 0).all()))


def adapter(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """The second factor of a low-rank pair whose module starts it at zero (LoRA): it stays zero."""
    if set(role.feeds) != {"lin"} or role.fan_in is None or role.fan_out is None or role.fan_in >= role.fan_out:
        return None
    live = network.live(role.name)
    if live is None or live.any():
        return None
    return draft("adapter", lambda read: (Number("std", 0.0, "adapter"),), lambda values: Zeros())
