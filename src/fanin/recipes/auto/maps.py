"""Single maps: the forward rule, heads, attention's projections, and maps of a branch."""

from __future__ import annotations

import math

from fanin.graph.roles.data import ParameterRole, Use
from fanin.initializers import Normal, Orthogonal, Zeros
from fanin.recipes.auto.evidence import CALM_RMS, FAINTEST, LARGE_INPUT
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.engine.activation_facts import moments_of
from fanin.recipes.engine.draft import Draft, Made, Read, fixed
from fanin.recipes.engine.network import BranchInfo, Network, tap_share
from fanin.recipes.step import Step

__all__ = ["adapter", "entry", "forward", "head", "input_scale", "looped", "rescaled", "residual"]

_HE = "He et al. 2015, arXiv 1502.01852, eq. 7-10, with E x² in place of its value for ReLU"


# ---------------------------------------------------------------------- the forward rule
def forward(
    network: Network, role: ParameterRole, options: AutoOptions, *, factor: float = 1.0, why: str = ""
) -> Draft:
    """Keep the signal: std = factor / sqrt(fan_in share E x²).

    Args:
        network: the captured model.
        role: the map.
        options: of the recipe; `balance` mixes in the gradient's rule.
        factor: multiplies the std (a depth factor).
        why: words for that factor.
    """
    use, fan_in = role.use, float(role.fan_in or 1.0)
    share = _share(role, use)
    is_first = use is not None and set(use.feeds) == {"input"}
    unit = _unit_moment(use, factor)

    def make(read: Read) -> Made:
        second = input_scale(read.second_moment) if is_first else read.second_moment
        steps = [read.step()]
        if unit is not None and not is_first:
            second = unit[0] if use is not None and use.norm_after else max(unit[0], read.second_moment)
            steps.append(Step(quantity="E x² taken", value=second, formula=unit[1]))
        var = 1.0 / (fan_in * share * second)
        if share != 1.0:
            steps.append(
                Step(quantity="taps on data", value=share, formula="share of kernel taps that zero padding leaves")
            )
        words = f"1 / (fan_in × {second:.4g}): E x² only where it is large" if is_first else "1 / (fan_in E x²)"
        words = words.replace("fan_in", "fan_in × taps") if share != 1.0 else words
        steps.append(Step(quantity="var", value=var, formula=f"{words}: the output has second moment 1", source=_HE))
        var = _balanced(var, role, use, options, steps)
        if factor != 1.0:
            steps.append(Step(quantity="factor", value=factor, formula=why))
        std = math.sqrt(var) * factor
        steps.append(Step(quantity="std", value=std, formula="sqrt(var)" + (" × factor" if factor != 1.0 else "")))
        return Made(law=Normal(std=std), steps=tuple(steps))

    evidence = "first-layer" if is_first else "projections" if _projects(role) else "widths"
    reason = _forward_reason(role, is_first) + (f"; {why}" if why else "")
    return Draft(rule="first layer" if is_first else "forward", reason=reason, make=make, evidence=evidence)


def _unit_moment(use: Use | None, factor: float) -> tuple[float, str] | None:
    """The second moment to take in place of the predicted one, and why; None to take the predicted one."""
    if use is None:
        return None
    feed = moments_of(use.feed) if use.feed is not None else None
    value = feed.second if feed is not None and feed.second > 0.0 else 1.0
    if use.norm_after == "batch_norm":
        return value, "of a unit signal: the batch norm behind it undoes any size, and equal sizes learn equally fast"
    inside = use.branch is not None and use.branch.position > 0
    if factor != 1.0 and inside:
        return value, "of a unit signal: the smaller one here is the branch's own depth factor, not to be made up for"
    return None


def input_scale(moment: float) -> float:
    """What a network's input divides the first layer's variance by: E x² where it is large, 1 otherwise.

    Example:
        >>> input_scale(1.03), input_scale(0.1), input_scale(16000.0)
        (1.0, 1.0, 16000.0)
    """
    return moment if moment > LARGE_INPUT else 1.0


def _share(role: ParameterRole, use: Use | None) -> float:
    taps = tuple(role.shape[a] for a in role.layout.tap_axes)
    if not taps or use is None or role.layout.transposed:
        return 1.0
    return max(tap_share(use, taps, role.layout.strides()), 1e-3)


def _balanced(var: float, role: ParameterRole, use: Use | None, options: AutoOptions, steps: list[Step]) -> float:
    """The variance that keeps the gradient, or the harmonic mean of both, if asked for."""
    if options.balance == "forward" or not role.fan_out:
        return var
    feed = moments_of(use.feed) if use is not None and use.feed is not None else None
    slope = feed.dsecond if feed is not None else 1.0
    back = 1.0 / (float(role.fan_out) * slope)
    steps.append(Step(quantity="var backward", value=back, formula=f"1 / (fan_out E f'²), E f'² = {slope:.4g}"))
    if options.balance == "backward":
        return back
    both = 2.0 / (1.0 / var + 1.0 / back)
    steps.append(
        Step(
            quantity="var balanced",
            value=both,
            formula="harmonic mean of both",
            source="Glorot and Bengio 2010, eq. 12",
        )
    )
    return both


def _projects(role: ParameterRole) -> bool:
    return bool({"attn_q", "attn_k", "attn_v"} & set(role.tags))


def _forward_reason(role: ParameterRole, is_first: bool) -> str:
    if is_first:
        return "first layer: unit pre-activations, scaled down for a large input and never up for a small one"
    reads = ", ".join(role.feeds) or "its input"
    return f"reads {reads}: passes on unit second moment"


def entry(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """A pointwise map that alone carries a signal into a residual stream: a shortcut, an input projection."""
    use = role.use
    if use is None or "stream_in" not in use.tags or use.branch is not None or use.norm_after or use.chain:
        return None
    taps = math.prod(role.shape[a] for a in role.layout.tap_axes)
    if {"input", "norm", "gate"} & set(use.feeds) or taps > 1 or role.layout.groups > 1 or len(role.uses) > 1:
        return None
    draft = forward(network, role, options)

    def make(read: Read) -> Made:
        made = draft.make(read)
        std = made.law.std_for(role.shape, role.layout) if made.law is not None else 1.0
        gain = std * math.sqrt(float(role.fan_in or 1.0))
        step = Step(quantity="gain", value=gain, formula="std × sqrt(fan_in): the same std, as orthogonal rows")
        return Made(law=Orthogonal(gain=gain, scaled=True), steps=(*made.steps, step))

    reason = f"{draft.reason}; it alone carries the stream, so orthogonal: no draw shortens or lengthens it"
    return Draft(rule="stream entry", reason=reason, make=make, evidence="stream-entry")


# ---------------------------------------------------------------------- heads
def head(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """The map to the outputs, None for any other."""
    tags = set(role.use.tags) if role.use is not None else set()
    if "head" not in tags or tags & {
        "residual",
        "stream_in",
        "attn_q",
        "attn_k",
        "attn_v",
        "linear",
        "gate",
        "act+gate",
    }:
        return None
    if options.head == "zero":
        return fixed(
            Zeros(), rule="zero head", reason="zero, as asked for: equal outputs and an initial loss of exactly ln C"
        )
    fan_in = float(role.fan_in or 1.0)
    least = 1.0 if "rnn" in role.feeds else FAINTEST

    def make(read: Read) -> Made:
        size = 1.0 if options.head == "unit" else min(CALM_RMS, 1.0 / math.sqrt(fan_in))
        second = max(least, read.second_moment)
        std = size / math.sqrt(fan_in * second)
        steps = (
            read.step(),
            Step(
                quantity="E x² taken",
                value=second,
                formula=f"at least {least:g}: a head is not scaled up for a faint input",
            ),
            Step(
                quantity="output rms",
                value=size,
                formula="unit logits" if size == 1.0 else "calm: min(0.1, 1 / sqrt(fan_in))",
            ),
            Step(quantity="std", value=std, formula="output rms / sqrt(fan_in E x² taken)"),
        )
        return Made(law=Normal(std=std), steps=steps)

    reason = "the head: outputs of rms 1 by the second moment it actually reads"
    if options.head == "calm":
        reason = "a calm head: outputs so small that the loss starts at ln C"
    return Draft(rule="head", reason=reason, make=make, evidence="head")


# ---------------------------------------------------------------------- residual branches
def residual(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """A map of a residual branch that the depth concerns; None for one that it does not."""
    use, info = role.use, network.branch_of(role.use)
    if use is None or use.branch is None or info is None or info.num_branches < 1:
        return None
    if use.branch.writes and options.last_map == "zero":
        return fixed(
            Zeros(),
            rule="zero last map",
            reason="the last map of its branch, zero as asked for: the branch adds nothing at first",
        )
    if info.normed or info.post_norm:
        return _last_of_normed(network, role, options, use, info)
    if info.mixes:
        return _last_of_mixing(role, info) if use.branch.writes else None
    factor = info.num_branches ** (-1.0 / max(info.num_maps, 1))
    why = (
        f"a branch without norm, one of {info.num_branches}: its {info.num_maps} maps share a factor "
        f"1/{info.num_branches}"
    )
    draft = forward(network, role, options, factor=factor, why=why)
    return Draft(rule="residual shared", reason=draft.reason, make=draft.make, evidence="residual-shared")


def _last_of_normed(
    network: Network, role: ParameterRole, options: AutoOptions, use: Use, info: BranchInfo
) -> Draft | None:
    if use.branch is None or not use.branch.writes:
        return None
    if use.norm_after and not info.post_norm:
        draft = forward(network, role, options)
        return Draft(
            rule="forward", reason=f"{draft.reason}; a norm follows before the sum, so no depth factor", make=draft.make
        )
    if use.branch.layer_scale and _is_small(network, use.branch.layer_scale):
        draft = forward(network, role, options)
        words = f"{draft.reason}; {use.branch.layer_scale} scales the branch already, so no depth factor"
        return Draft(rule="forward", reason=words, make=draft.make)
    looped = role.iterated > 1
    divide = float(info.num_branches) if looped else math.sqrt(info.num_branches)
    fan_in = float(role.fan_in or 1.0)

    def make(read: Read) -> Made:
        stream = 1.0 if info.post_norm else read.stream_rms
        large = max(1.0, read.second_moment)
        std = stream / (math.sqrt(fan_in * large) * divide)
        steps = (
            read.step(),
            Step(quantity="branches", value=info.num_branches, formula="additions to this residual stream"),
            Step(
                quantity="stream rms",
                value=stream,
                formula="1 after a norm" if info.post_norm else "predicted where it starts",
            ),
            Step(
                quantity="std",
                value=std,
                formula=f"stream rms / (sqrt(fan_in max(1, E x²)) {'branches' if looped else 'sqrt(branches)'}): a "
                "small E x² is no "
                "reason to scale up, which measured no gain",
                source="Radford et al. 2019 (GPT-2), section 2.3, made relative to the stream",
            ),
        )
        return Made(law=Normal(std=std), steps=steps)

    count = f"{info.num_branches} branches"
    reason = f"last map of its branch: all {count} together add as much as the stream started with"
    if looped:
        reason = (
            f"last map of a branch that is used {role.iterated} times: equal contributions add up, so "
            f"1/{info.num_branches}"
        )
    return Draft(rule="residual", reason=reason, make=make, evidence="post-norm" if info.post_norm else "last-map")


def _is_small(network: Network, name: str) -> bool:
    live = network.live(name)
    return live is None or float(abs(live).mean()) < 0.5


def _last_of_mixing(role: ParameterRole, info: BranchInfo) -> Draft:
    fan_in = float(role.fan_in or 1.0)

    def make(read: Read) -> Made:
        std = read.stream_rms / (math.sqrt(fan_in * read.second_moment) * info.num_branches)
        steps = (
            read.step(),
            Step(quantity="branches", value=info.num_branches, formula="additions to this residual stream"),
            Step(quantity="std", value=std, formula="stream rms / (sqrt(fan_in E x²) branches)"),
        )
        return Made(law=Normal(std=std), steps=steps)

    reason = f"last map of an attention or gated branch without norm: 1/{info.num_branches} of the stream each"
    return Draft(rule="residual no norm", reason=reason, make=make, evidence="no-norm-mixing")


# ---------------------------------------------------------------------- odd ones
def rescaled(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """A weight that spectral norm divides by its largest singular value: its own size has no effect."""
    if role.use is None or "spectral_norm" not in role.use.chain:
        return None
    std = 1.0 / math.sqrt(float(role.fan_in or 1.0))
    steps = (Step(quantity="std", value=std, formula="1 / sqrt(fan_in); any other would give the same network"),)
    reason = (
        "spectral norm divides it by its largest singular value, so its size has no effect; random, so units differ"
    )
    return fixed(Normal(std=std), rule="spectral norm", reason=reason, steps=steps)


def looped(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """A square map that feeds itself step after step: a recurrence written by hand."""
    fans = (role.fan_in, role.fan_out)
    if role.iterated < 3 or role.branch is not None or fans[0] != fans[1] or role.role != "weight":
        return None
    if role.layout.tap_axes and math.prod(role.shape[a] for a in role.layout.tap_axes) > 1:
        return None
    reason = f"feeds itself {role.iterated} times: orthogonal, so no direction grows or fades by the step"
    return fixed(Orthogonal(), rule="recurrent", reason=reason, evidence="recurrent")


def adapter(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """The second map of a low-rank pair whose module starts it at zero (LoRA): zero, so the base map speaks alone."""
    if set(role.feeds) != {"lin"} or role.fan_in is None or role.fan_out is None or role.fan_in >= role.fan_out:
        return None
    live = network.live(role.name)
    if live is None or live.any():
        return None
    return fixed(
        Zeros(),
        rule="adapter",
        reason="second map of a low-rank pair that its module starts at zero: the map beside it speaks alone at first",
        steps=(
            Step(quantity="std", value=0.0, formula="zero", source="Hu et al. 2021, arXiv 2106.09685, section 4.1"),
        ),
    )
