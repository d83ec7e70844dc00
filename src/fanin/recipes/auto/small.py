"""Everything that is not a map: biases, norms, scales, positions, tokens, and what the forward pass never reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from fanin.graph.roles.data import ParameterRole
from fanin.initializers import Constant, Initializer, Normal, Ones, Zeros
from fanin.recipes.auto.evidence import TOKEN_STD
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.engine.draft import Draft, Made, Read, fixed
from fanin.recipes.engine.network import Network
from fanin.recipes.step import Step
from fanin.text.roles import role_words

__all__ = ["SMALL", "kept_draft"]

_Rule = Callable[[Network, ParameterRole, AutoOptions], Draft]


def kept_draft(why: str, *, rule: str = "constructor") -> Draft:
    """The tensor stays as its module made it."""
    return fixed(None, rule=rule, reason=why, action="keep")


def norm_scale(network: Network, role: ParameterRole, options: AutoOptions) -> Draft:
    """One; where the norm multiplies by a constant plus the parameter, what makes the sum one."""
    offset = network.starts_from(role)
    if role.name in network.end_norms:
        return _end_norm(network, role, offset)
    law: Initializer = Ones() if offset == 0.0 else Zeros() if offset == 1.0 else Constant(1.0 - offset)
    plus = f" ({offset:g} is added to it, so it starts at {1.0 - offset:g})" if offset else ""
    evidence = "batch-norm" if role.norm == "batch_norm" else ""
    return fixed(
        law, rule="norm scale", reason=f"a norm starts by passing on what it normalized{plus}", evidence=evidence
    )


def _end_norm(network: Network, role: ParameterRole, offset: float) -> Draft:
    """A norm between the last map of a branch and the sum: only its scale can carry the depth factor."""
    use = network.end_norms[role.name]
    info = network.branch_of(use)
    branches = info.num_branches if info is not None else 1
    stream = use.branch.stream if use.branch is not None else None

    def make(read: Read) -> Made:
        size = read.stream_rms / math.sqrt(branches)
        steps: tuple[Step, ...] = (
            Step(quantity="branches", value=branches, formula="additions to this residual stream"),
            Step(quantity="stream rms", value=read.stream_rms, formula="predicted where it starts"),
            Step(quantity="scale", value=size, formula="stream rms / sqrt(branches): what the branch adds"),
        )
        if offset:
            steps = (
                *steps,
                Step(quantity="value", value=size - offset, formula=f"scale - {offset:g}, which the norm adds"),
            )
        return Made(law=Constant(size - offset), steps=steps)

    reason = (
        f"ends its branch, one of {branches}, so its scale is the branch's size: together they add what the stream "
        "started with"
    )
    return Draft(rule="branch-end norm", reason=reason, make=make, evidence="last-map", stream=stream)


def zero(network: Network, role: ParameterRole, options: AutoOptions) -> Draft:
    """A norm's shift, and what is added to attention scores."""
    return fixed(
        Zeros(),
        rule=role_words(role.role),
        reason="starts at zero: it adds nothing until it has learned something",
    )


def bias(network: Network, role: ParameterRole, options: AutoOptions) -> Draft:
    """Zero; the time step of a state-space layer keeps what its module computed."""
    owner = network.roles.parameters.get(role.owner)
    activation = owner.activation if owner is not None else None
    live = network.live(role.name)
    if activation is not None and activation.name == "softplus" and live is not None and live.mean() < -1.0:
        return kept_draft("the bias before a softplus that sets time steps: its module spaces them on purpose")
    return fixed(Zeros(), rule="bias", reason="biases start at zero; the weights alone tell units apart")


def position(network: Network, role: ParameterRole, options: AutoOptions) -> Draft:
    """As large as the tokens or patches it is added to; zero where it is added to attention scores."""
    if not _is_position(network, role):
        return fixed(
            Zeros(),
            rule="attention bias",
            reason="added to attention scores: zero, so no distance is preferred at first",
        )
    if network.starts_stream(role):
        return _query()
    table = network.beside(role)
    if table is None:
        reason = "positions as large as what they are added to: as much to read off them as off the patches"
        return Draft(rule="position", reason=reason, make=_as_large, evidence="position")
    from fanin.recipes.auto.tables import embedding

    like = embedding(network, table, options)
    reason = f"positions as large as the tokens they are added to ({table.name})"
    return Draft(rule="position", reason=reason, make=like.make, evidence="position", like=table.name)


def _is_position(network: Network, role: ParameterRole) -> bool:
    """Whether it is added to what a stream starts from and not inside a branch; a table by what its rows do next."""
    if role.branch is not None:
        return False
    if role.tags or not role.uses:
        return not role.uses or bool({"stream_in", "linear", "head", "act"} & set(role.tags))
    return network.joins_stream(role)


def _as_large(read: Read) -> Made:
    std = math.sqrt(read.second_moment)
    return Made(law=Normal(std=std), steps=(read.step(), Step(quantity="std", value=std, formula="sqrt(E x²)")))


def _query() -> Draft:
    reason = "learned queries or latents that a residual stream starts from: std 1, so the stream starts at unit size"
    return fixed(Normal(std=1.0), rule="query", reason=reason, evidence="embedding-untied")


def token(network: Network, role: ParameterRole, options: AutoOptions) -> Draft:
    """A learned token; as large as a stream where it starts one (queries, latents)."""
    if network.starts_stream(role):
        return _query()
    return fixed(
        Normal(std=TOKEN_STD),
        rule="token",
        reason="a learned token starts small and random: the position added to it gives it its size",
    )


def keep(network: Network, role: ParameterRole, options: AutoOptions) -> Draft:
    """Scales, slopes, decay rates: numbers whose start is the design of their module."""
    return kept_draft(f"{role_words(role.role)}: its module sets it on purpose ({role.reason or 'elementwise'})")


def unused(network: Network, role: ParameterRole, options: AutoOptions) -> Draft:
    """Never read under these inputs: a safe law if it has the shape of a map, else kept."""
    why = "the forward pass never reads it on these inputs"
    live = network.live(role.name)
    if len(role.shape) < 2:
        constant = live is None or bool((live == live.flat[0]).all())
        if constant and live is not None and float(live.flat[0]) not in (0.0,):
            return kept_draft(why)
        return (
            fixed(Zeros(), rule="unused", reason=f"{why}; zero")
            if constant or role.name.endswith("bias")
            else kept_draft(why)
        )
    fan_in = role.fan_in or math.prod(role.shape[1:])
    std = 1.0 / math.sqrt(max(fan_in, 1.0))
    steps = (Step(quantity="std", value=std, formula="1 / sqrt(fan_in)"),)
    return fixed(Normal(std=std), rule="unused", reason=f"{why}; 1/sqrt(fan_in), should it ever be read", steps=steps)


SMALL: Mapping[str, _Rule] = {
    "bias": bias,
    "norm_scale": norm_scale,
    "norm_shift": zero,
    "attn_bias": zero,
    "position": position,
    "token": token,
    "layer_scale": keep,
    "gain": keep,
    "act_param": keep,
    "scale": keep,
    "shift": keep,
    "unused": unused,
}
