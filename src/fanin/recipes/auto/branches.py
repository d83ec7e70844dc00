"""Maps of residual branches: how much each of many branches adds to its stream."""

from __future__ import annotations

import math

from fanin.graph.roles.data import Branch, ParameterRole
from fanin.recipes.auto.evidence import ODD_BRANCHES
from fanin.recipes.auto.maps import forward
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.auto.sharp import calm_variance, is_sharp
from fanin.recipes.auto.wording import Number, draft, zero
from fanin.recipes.engine.activation_facts import is_limited, is_odd
from fanin.recipes.engine.draft import Draft, Read
from fanin.recipes.engine.network import BranchInfo, Network

__all__ = ["residual"]

_SMALL_SCALE = 0.5  # mean size of a layer scale below which it takes the place of the depth factor


def residual(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """A map of a residual branch whose std depends on the depth; None for any other map."""
    use, info = role.use, network.branch_of(role.use)
    if use is None or use.branch is None or info is None or info.num_branches < 1:
        return None
    if use.branch.writes and options.last_map == "zero":
        return zero("zero last map")
    if not (info.normed or info.post_norm or info.mixes):
        return _shared(network, role, options, info)
    if not use.branch.writes:
        return None
    if not (info.normed or info.post_norm):
        return _last_of_mixing(role, info)
    if use.norm_after and not info.post_norm:
        return forward(network, role, options, adds=("norm follows",), rule="forward", evidence="")
    if _is_scaled(network, use.branch):
        scale = use.branch.layer_scale
        return forward(network, role, options, adds=("layer scale",), rule="forward", evidence="", scale=scale)
    return _last_of_normed(role, info)


def _is_scaled(network: Network, branch: Branch) -> bool:
    """Whether a small learned scale multiplies the branch already."""
    if not branch.layer_scale:
        return False
    live = network.live(branch.layer_scale)
    return live is None or float(abs(live).mean()) < _SMALL_SCALE


def _shared(network: Network, role: ParameterRole, options: AutoOptions, info: BranchInfo) -> Draft:
    """All maps of a branch without norm share the factor 1 / branches; a branch of one map has a factor of its own."""
    if info.num_maps == 1:
        return _single(network, role, options, info)
    return forward(
        network,
        role,
        options,
        factor=info.num_branches ** (-1.0 / max(info.num_maps, 1)),
        adds=("residual shared",),
        rule="residual shared",
        evidence="residual-shared",
        branches=info.num_branches,
        maps=info.num_maps,
    )


def _single(network: Network, role: ParameterRole, options: AutoOptions, info: BranchInfo) -> Draft:
    """The only map of its branch: 1 / sqrt(branches); up to 6 times as much before an odd bounded function.

    Such a function adds at most its bound, and additions of mean zero: the stream grows as sqrt(1 + branches) at worst.
    """
    calm, q = not _is_odd_and_bounded(role), _calm_in_branch(role, info)
    adds = ("residual single",) if calm else ("residual odd",)
    return forward(
        network,
        role,
        options,
        factor=min(1.0, (1.0 if calm else ODD_BRANCHES) / math.sqrt(info.num_branches)) * math.sqrt(q),
        how="" if q == 1.0 else "branch chi",
        adds=adds if q == 1.0 else (*adds, "residual sharp"),
        rule="residual single",
        evidence="residual-single",
        branches=info.num_branches,
        q=q,
    )


def _calm_in_branch(role: ParameterRole, info: BranchInfo) -> float:
    """Variance of the pre-activations of a sharp activation (sin 3x, tanh 3x) in such a branch; 1 before any other.

    The changes that n branches add have no common direction: they count as sqrt(n) layers.
    """
    use = role.use
    activation = use.activation if use is not None and use.branch is not None and not use.branch.writes else None
    if activation is None or not is_sharp(activation):
        return 1.0
    return calm_variance(activation, max(1, round(math.sqrt(info.num_branches))))


def _is_odd_and_bounded(role: ParameterRole) -> bool:
    """Whether the map meets an odd bounded function inside its branch."""
    use = role.use
    if use is None or use.branch is None or use.branch.writes or use.activation is None:
        return False
    return is_odd(use.activation) and is_limited(use.activation)


def _last_of_normed(role: ParameterRole, info: BranchInfo) -> Draft:
    """By 1 / sqrt(branches); by 1 / branches where one map writes in all of them, since equal additions add up."""
    looped = role.iterated > 1
    divide = float(info.num_branches) if looped else math.sqrt(info.num_branches)
    fan_in = float(role.fan_in or 1.0)

    def numbers(read: Read) -> tuple[Number, ...]:
        stream = 1.0 if info.post_norm else read.stream_rms
        std = stream / (math.sqrt(fan_in * max(1.0, read.second_moment)) * divide)
        return (
            Number("second", read.second_moment),
            Number("branches", info.num_branches),
            Number("stream", stream, "post-norm" if info.post_norm else "predicted"),
            Number("std", std, "looped" if looped else "residual"),
        )

    return draft(
        "residual",
        numbers,
        reasons=("residual looped" if looped else "residual",),
        evidence="post-norm" if info.post_norm else "last-map",
        branches=info.num_branches,
        times=role.iterated,
    )


def _last_of_mixing(role: ParameterRole, info: BranchInfo) -> Draft:
    """By 1 / branches, which trained better than 1 / sqrt(branches) in branches with attention or a gate."""
    fan_in = float(role.fan_in or 1.0)

    def numbers(read: Read) -> tuple[Number, ...]:
        std = read.stream_rms / (math.sqrt(fan_in * read.second_moment) * info.num_branches)
        return (
            Number("second", read.second_moment),
            Number("branches", info.num_branches),
            Number("std", std, "mixing"),
        )

    return draft("residual no norm", numbers, evidence="no-norm-mixing", branches=info.num_branches)
