"""Mirrored stacks: pairs of units with opposite weights, so that a deep network starts linear.

Of an odd number of units the last one has no twin; what reads it starts with zero weights for it.
"""

from __future__ import annotations

import itertools
import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from fanin.graph.roles.data import ParameterRole
from fanin.initializers import MirroredOrthogonal
from fanin.model.operations import TURNS
from fanin.recipes.auto.heads import output_rms
from fanin.recipes.auto.inputs import input_scale
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.auto.stack import Stack
from fanin.recipes.auto.wording import Number, Values, draft, zero
from fanin.recipes.engine.draft import Draft, Read
from fanin.recipes.engine.followed import in_order, units_of
from fanin.recipes.engine.network import Network

__all__ = ["cannot_mirror", "head_is_apart", "mirrored"]

_Profile = npt.NDArray[np.float64]
# Operations that do not give the opposite output for the opposite input.
_BREAKS_PAIRS = frozenset(
    {
        *(f"{kind}max_pool{d}d" for kind in ("", "adaptive_") for d in (1, 2, 3)),
        *(f"{kind}max_pool{d}d_with_indices" for kind in ("", "adaptive_") for d in (1, 2, 3)),
        "fractional_max_pool2d",
        "fractional_max_pool3d",
        "amax",
    }
)


def cannot_mirror(network: Network, stack: Stack) -> str:
    """Why mirrored pairs would not cancel; "" where they do."""
    if kept := [role.name for role in stack.maps if role.name in network.kept]:
        return f"{kept[0]} stays as it is (frozen or loaded)"
    for role, reader in itertools.pairwise(stack.maps):
        if units_of(role) < 2:
            return f"{role.name} has a single unit, which makes no pair"
        if units_of(role) % 2 and _inputs(reader) % units_of(role):
            return (
                f"{role.name} has an odd number of units ({units_of(role)}), and the {_inputs(reader)} inputs of "
                f"{reader.name} are no multiple of it, so it cannot be told which inputs are those of one unit"
            )
    for role in stack.maps:
        if role.layout.groups > 1 or role.layout.batch_axes or len(role.parts) > 1:
            return f"{role.name} is grouped, and its groups separate the two units of a pair"
    first, last = stack.maps[0].uses[0].op, stack.maps[-1].uses[0].op
    for op in network.graph.ops[first:last]:
        if op.output not in network.weight_only and op.name in _BREAKS_PAIRS:
            return f"{op.name} is between its layers, and it does not pass on a pair of opposite signs"
    return next((why for pair in itertools.pairwise(stack.maps[:-1]) if (why := _lost_order(network, *pair))), "")


def head_is_apart(network: Network, stack: Stack) -> bool:
    """Whether the output layer reads pairs in no order, as behind a flatten with the channels last."""
    return bool(_lost_order(network, *stack.maps[-2:]))


def _lost_order(network: Network, role: ParameterRole, reader: ParameterRole) -> str:
    """Why the reader cannot tell which of its inputs are whose, where axes are turned before it; "" where it can."""
    between = network.graph.ops[role.uses[0].op + 1 : reader.uses[0].op]
    turn = next((op for op in between if op.name in TURNS and op.output not in network.weight_only), None)
    if turn is None or in_order(network, role, reader):
        return ""
    return f"{turn.name} is between its layers, and {reader.name} does not read the units of {role.name} in their order"


def _inputs(role: ParameterRole) -> int:
    return math.prod(role.shape[a] for a in role.layout.in_axes)


def mirrored(stack: Stack, slope: float, options: AutoOptions) -> dict[str, Draft]:
    """Mirrored orthogonal maps for an activation with f(x) - f(-x) = slope x."""
    profiles: list[_Profile] = []
    drafts = {}
    for index, role in enumerate(stack.maps):
        growth, profiles = padding_growth(role, profiles)
        if index == stack.num_hidden and options.head == "zero":
            drafts[role.name] = zero("zero head")
        else:
            drafts[role.name] = _draft(stack, index, slope, 1.0 / math.sqrt(growth), options)
    return drafts


def _draft(stack: Stack, index: int, slope: float, padding: float, options: AutoOptions) -> Draft:
    role, divisor = stack.maps[index], input_scale(stack.input_moment)
    side: Literal["output", "input", "both"] = (
        "output" if index == 0 else "input" if index == stack.num_hidden else "both"
    )
    size = output_rms(options) if side == "input" else 1.0
    units = 1 if index == 0 else units_of(stack.maps[index - 1])
    per_unit = _inputs(role) // units if units % 2 and index else 1
    gain = padding / (math.sqrt(divisor) if side == "output" else slope) * size
    numbers = (
        Number("pair", f"{slope:g} x"),
        *((Number("moment", stack.input_moment),) if side == "output" else ()),
        *((Number("padding", padding),) if padding != 1.0 else ()),
        Number("gain", gain, side),
    )
    out = stack.input_moment / divisor * size**2

    def var(read: Read, values: Values) -> float:
        return out / (float(role.fan_in or 1.0) * read.second_moment)

    return draft(
        "mirrored",
        lambda read: numbers,
        lambda values: MirroredOrthogonal(side=side, gain=values["gain"], kernel="flat", inputs_per_unit=per_unit),
        reasons=("mirrored", "unit left over") if index < stack.num_hidden and units_of(role) % 2 else ("mirrored",),
        evidence="mirrored",
        var=var,
        hidden=stack.num_hidden,
        activation=stack.activation.label,
        divisor=divisor,
        units=units_of(role),
    )


def padding_growth(role: ParameterRole, profiles: list[_Profile]) -> tuple[float, list[_Profile]]:
    """Share of the mean second moment that a zero-padded convolution leaves, following q from the middle to the border.

    q at output position o is the mean over taps of q where the tap reads, 0 in the padding; the profile is a product
    over dimensions.

    Args:
        role: the convolution.
        profiles: q along every dimension of its input, each of mean 1; empty where q is the same everywhere.

    Returns:
        The share, and the profiles of the output.
    """
    use, taps = role.uses[0], [role.shape[a] for a in role.layout.tap_axes]
    if not taps or (isinstance(use.padding, str) and use.padding != "same") or role.layout.transposed:
        return 1.0, []
    padding = [(k - 1) // 2 for k in taps] if isinstance(use.padding, str) else list(use.padding) or [0] * len(taps)
    dilation = list(use.dilation) or [1] * len(taps)
    sizes = zip(use.input_shape[-len(taps) :], use.output_shape[-len(taps) :], strict=True)
    out, growth = [], 1.0
    for axis, (n_in, n_out) in enumerate(sizes):
        before = profiles[axis] if len(profiles) == len(taps) and len(profiles[axis]) == n_in else np.ones(n_in)
        starts = np.arange(n_out) * role.layout.strides()[axis] - padding[axis]
        reads = np.add.outer(starts, np.arange(taps[axis]) * dilation[axis])
        after = np.where((reads >= 0) & (reads < n_in), before[np.clip(reads, 0, n_in - 1)], 0.0).mean(axis=1)
        growth *= float(after.mean() / before.mean())
        out.append(after / after.mean())
    return growth, out
