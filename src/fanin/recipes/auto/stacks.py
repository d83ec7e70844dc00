"""Plain stacks: one chain of maps and activations, without norm, skip or attention.

Here the start decides whether a deep network trains at all, and here whole layers can be matched to each other:
mirrored pairs, centred
rows, critical orthogonal maps. What fits none of them is left to the forward rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fanin.graph.analysis.activations import Activation
from fanin.graph.roles.data import ParameterRole
from fanin.initializers import Centred, MirroredOrthogonal, Normal, Orthogonal, Zeros
from fanin.recipes.auto.evidence import (
    CALM_RMS,
    CENTRED_CHI,
    CENTRED_SHARE,
    CRITICAL_FROM,
    CRITICAL_SPREAD,
    MIRROR_FROM,
    ORTHOGONAL_FROM,
    SIREN_OMEGA,
)
from fanin.recipes.auto.maps import input_scale
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.engine.activation_facts import bend, is_bounded, is_odd, mirror_slope, moments_of
from fanin.recipes.engine.draft import Draft, Made, Read, fixed
from fanin.recipes.engine.network import Network
from fanin.recipes.step import Step

__all__ = ["Stack", "critical_q", "stack_drafts", "stack_of"]

_UNMIRRORED = ("max_pool", "permute", "transpose", "movedim", "amax", "adaptive_max_pool")
_BALDUZZI = "Balduzzi et al. 2017, arXiv 1702.08591, section 4"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A chain of maps with the same activation after each but the last.

    Attributes:
        maps: the weights, in order; the last one is the head.
        activation: what follows each hidden map.
        input_moment: E x² of what the first map reads; 1 where it is not known.
    """

    maps: tuple[ParameterRole, ...]
    activation: Activation
    input_moment: float

    @property
    def num_hidden(self) -> int:
        """Number of activations."""
        return len(self.maps) - 1

    @property
    def is_dense(self) -> bool:
        """Whether no map is a convolution."""
        return not any(m.layout.tap_axes for m in self.maps)


def stack_of(network: Network) -> Stack | None:
    """The model as a plain stack with one activation; None for every other model."""
    chain = network.roles.stack
    if len(chain) < 2:
        return None
    activations = [a for _, a in chain[:-1]]
    first = activations[0]
    if first is None or any(a is None or a.label != first.label for a in activations):
        return None
    maps = tuple(network.roles[name] for name, _ in chain)
    if any(len(m.uses) != 1 or m.layout.lookup for m in maps):
        return None
    return Stack(maps=maps, activation=first, input_moment=_input_moment(network, maps[0]))


def _input_moment(network: Network, first: ParameterRole) -> float:
    operand = network.data_operand(network.graph.ops[first.uses[0].op])
    known = network.graph.data.get(operand) if operand is not None else None
    if known is None or not known.is_floating_point() or not known.numel():
        return 1.0
    moment = float(known.detach().double().square().mean())
    return moment if math.isfinite(moment) and moment > 0.0 else 1.0


def stack_drafts(network: Network, options: AutoOptions) -> tuple[Mapping[str, Draft], tuple[str, ...]]:
    """Drafts for the maps of a plain stack, and what the reader should know; none where the forward rule is right."""
    stack = stack_of(network)
    if stack is None or _is_siren(stack.activation):
        return {}, ()
    slope = mirror_slope(stack.activation)
    if slope is not None and options.mirrored and stack.num_hidden >= MIRROR_FROM:
        why_not = _cannot_mirror(network, stack)
        if not why_not:
            return _mirrored(stack, slope, options), ()
        note = f"this plain stack of {stack.num_hidden} {stack.activation.label} layers cannot be mirrored: {why_not}"
        return _unmirrored(stack), (note,)
    for applies, make in _FAMILIES:
        if applies(stack):
            return make(stack, options), ()
    return _unmirrored(stack), ()


def _is_siren(activation: Activation) -> bool:
    return activation.name in ("sin", "cos") and abs(activation.inner) >= SIREN_OMEGA


# ---------------------------------------------------------------------- mirrored
def _cannot_mirror(network: Network, stack: Stack) -> str:
    """Why mirrored pairs would not cancel; "" where they do."""
    for role in stack.maps[:-1]:
        units = math.prod(role.shape[a] for a in role.layout.out_axes)
        if units % 2:
            return f"{role.name} has an odd number of units ({units}); one more or less would do"
    for role in stack.maps:
        if role.layout.groups > 1 or role.layout.batch_axes or len(role.parts) > 1:
            return f"{role.name} is grouped, and its groups keep the two copies of a unit apart"
    first, last = stack.maps[0].uses[0].op, stack.maps[-1].uses[0].op
    for op in network.graph.ops[first:last]:
        if op.output not in network.weight_only and op.name.startswith(_UNMIRRORED):
            return f"{op.name} stands between its layers, and it does not pass on a pair of opposite signs"
    return ""


def _mirrored(stack: Stack, slope: float, options: AutoOptions) -> dict[str, Draft]:
    q = stack.input_moment / input_scale(stack.input_moment)
    profiles: list[npt.NDArray[np.float64]] = []
    drafts = {}
    for index, role in enumerate(stack.maps):
        growth, profiles = _padding_growth(role, profiles)
        drafts[role.name] = _mirrored_draft(stack, index, role, slope, q, 1.0 / math.sqrt(growth), options)
    return drafts


def _mirrored_draft(
    stack: Stack, index: int, role: ParameterRole, slope: float, q: float, padding: float, options: AutoOptions
) -> Draft:
    is_first, is_head = index == 0, index == stack.num_hidden
    side = "output" if is_first else "input" if is_head else "both"
    steps = [
        Step(
            quantity="f(x) - f(-x)",
            value=f"{slope:g} x",
            formula=f"f = {stack.activation.label}: a mirrored pair is linear",
            source=_BALDUZZI,
        )
    ]
    gain = padding
    if is_first:
        gain /= math.sqrt(input_scale(stack.input_moment))
        steps.append(
            Step(
                quantity="E x²",
                value=stack.input_moment,
                formula=f"measured on the given input; divides var by {input_scale(stack.input_moment):.4g}",
            )
        )
    else:
        gain /= slope
    if padding != 1.0:
        steps.append(
            Step(quantity="padding", value=padding, formula="1 / sqrt(share of q that zero padding leaves here)")
        )
    if is_head and options.head == "zero":
        return fixed(
            Zeros(), rule="zero head", reason="zero, as asked for: equal outputs and an initial loss of exactly ln C"
        )
    if is_head and options.head == "calm":
        gain *= CALM_RMS
    steps.append(
        Step(
            quantity="gain",
            value=gain,
            formula={"output": "[A; -A]", "input": "[A, -A]", "both": "[[A, -A], [-A, A]]"}[side],
        )
    )
    law = MirroredOrthogonal(side=side, gain=gain, kernel="flat")  # type: ignore[arg-type]
    out = q * (CALM_RMS**2 if is_head and options.head == "calm" else 1.0)
    pooled = is_head and "mean" in "".join(role.feeds)

    def make(read: Read) -> Made:
        var = None if pooled else out / (float(role.fan_in or 1.0) * read.second_moment)
        return Made(law=law, steps=tuple(steps), var=var)

    reason = (
        f"plain stack of {stack.num_hidden} {stack.activation.label} layers: mirrored pairs of an orthogonal map, "
        "so the network "
        "starts as a deep linear map that keeps lengths, angles and gradients"
    )
    return Draft(rule="mirrored", reason=reason, make=make, evidence="mirrored")


def _padding_growth(
    role: ParameterRole, profiles: list[npt.NDArray[np.float64]]
) -> tuple[float, list[npt.NDArray[np.float64]]]:
    """Share of the mean second moment that a zero-padded convolution leaves, following q from the middle to the border.

    q at output position o is the mean over taps of q where the tap reads, 0 in the padding; the profile is a product
    over dimensions.
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
        reads = np.add.outer(
            np.arange(n_out) * role.layout.strides()[axis] - padding[axis], np.arange(taps[axis]) * dilation[axis]
        )
        inside = (reads >= 0) & (reads < n_in)
        after = np.where(inside, before[np.clip(reads, 0, n_in - 1)], 0.0).mean(axis=1)
        growth *= float(after.mean() / before.mean())
        out.append(after / after.mean())
    return growth, out


# ---------------------------------------------------------------------- centred
def _wants_centring(stack: Stack) -> bool:
    """A large mean, and gradients that survive the gain without it."""
    m = moments_of(stack.activation)
    if m is None or m.var <= 0.0 or mirror_slope(stack.activation) is not None:
        return False
    return m.mean**2 / m.second >= CENTRED_SHARE and m.dsecond / m.var <= CENTRED_CHI


def _centred(stack: Stack, options: AutoOptions) -> dict[str, Draft]:
    """Every pre-activation as large as where the activation bends, as a tanh's would be 1."""
    width = bend(stack.activation)
    first, *rest = stack.maps
    drafts = {role.name: _centred_draft(stack, role, width, options) for role in rest}
    return {first.name: _centred_first(stack, first, width), **drafts}


def _bend_step(stack: Stack, width: float) -> Step:
    formula = f"(f(inf) - f(-inf)) / (2 f'(0)): {stack.activation.label} bends there as tanh does at 1"
    return Step(quantity="rms z", value=width, formula=formula)


def _centred_first(stack: Stack, role: ParameterRole, width: float) -> Draft:
    std = width / math.sqrt(float(role.fan_in or 1.0) * input_scale(stack.input_moment))
    words = "rms z / sqrt(fan_in), divided by the rms of a large input"
    steps = (_bend_step(stack, width), Step(quantity="std", value=std, formula=words))
    reason = f"feeds {stack.activation.label}, which bends at {width:.3g}: pre-activations that large"
    return fixed(Normal(std=std), rule="centred", reason=reason, evidence="centred", steps=steps)


def _centred_draft(stack: Stack, role: ParameterRole, width: float, options: AutoOptions) -> Draft:
    is_head = role is stack.maps[-1]
    if is_head and options.head == "zero":
        return fixed(
            Zeros(), rule="zero head", reason="zero, as asked for: equal outputs and an initial loss of exactly ln C"
        )
    fan_in = float(role.fan_in or 1.0)
    moments = moments_of(stack.activation, width**2)
    size = width if not is_head else CALM_RMS if options.head == "calm" else 1.0

    def make(read: Read) -> Made:
        spread = moments.var if moments is not None else 1.0
        if read.known and read.second_moment > read.mean**2:
            spread = read.second_moment - read.mean**2
        std = size / math.sqrt(fan_in * spread)
        target = Step(quantity="rms", value=size, formula="of the output") if is_head else _bend_step(stack, width)
        steps = (
            read.step(),
            Step(quantity="Var x", value=spread, formula="what is left of E x² when the rows sum to zero"),
            target,
            Step(quantity="std", value=std, formula=f"{target.quantity} / sqrt(fan_in Var x), rows centred"),
        )
        return Made(law=Centred(Normal(std=std)), steps=steps, var=size**2 / (fan_in * read.second_moment))

    reason = f"reads {stack.activation.label}, whose mean would drown what tells inputs apart: rows sum to zero"
    return Draft(rule="centred", reason=reason, make=make, evidence="centred")


# ---------------------------------------------------------------------- odd, saturating
def _is_deep_odd(stack: Stack) -> bool:
    return (
        stack.is_dense
        and stack.num_hidden >= CRITICAL_FROM
        and is_odd(stack.activation)
        and is_bounded(stack.activation)
    )


def _critical(stack: Stack, options: AutoOptions) -> dict[str, Draft]:
    """Orthogonal at the critical point where the stack's squared singular values spread by their mean."""
    q = critical_q(stack.activation, stack.num_hidden)
    moments = moments_of(stack.activation, q)
    gain = 1.0 / math.sqrt(moments.dsecond) if moments is not None else 1.0
    return {r.name: _critical_draft(stack, i, r, q, gain, options) for i, r in enumerate(stack.maps)}


def critical_q(activation: Activation, depth: int) -> float:
    """The q* at which depth (E f'^4 / (E f'^2)^2 - 1) = 1: the largest that an orthogonal stack bears.

    There the squared singular values of the stack's Jacobian have a standard deviation as large as their mean, 1. A
    larger q* loses directions, a smaller one leaves the stack more linear than it need be. For tanh and many layers
    about 1 / sqrt(8 depth).

    Source: Pennington et al. 2017, arXiv 1711.04735, eq. 22.

    Example:
        >>> round(critical_q(Activation("tanh", fn=np.tanh), 99), 3)
        0.042
    """
    low, high = 1e-8, 1.0
    for _ in range(50):
        middle = math.sqrt(low * high)
        m = moments_of(activation, middle)
        if m is not None and depth * (m.dfourth / m.dsecond**2 - 1.0) < CRITICAL_SPREAD:
            low = middle
        else:
            high = middle
    return low


def _critical_draft(
    stack: Stack, index: int, role: ParameterRole, q: float, gain: float, options: AutoOptions
) -> Draft:
    fan_in = float(role.fan_in or 1.0)
    source = "Pennington et al. 2017, arXiv 1711.04735, eq. 22; Schoenholz et al. 2017, arXiv 1611.01232, eq. 5"
    words = f"depth (E f'⁴ / (E f'²)² - 1) = {CRITICAL_SPREAD:g}, depth = {stack.num_hidden}"
    at = Step(quantity="q*", value=q, formula=f"{words}: singular values spread by their mean", source=source)
    reason = f"{stack.num_hidden} {stack.activation.label} layers: orthogonal at the critical point q* = {q:.3g}"
    if index == stack.num_hidden:
        return _critical_head(role, stack.activation, q, at, options, reason)
    if index == 0:
        std = math.sqrt(q / (fan_in * input_scale(stack.input_moment)))
        steps = (at, Step(quantity="std", value=std, formula="sqrt(q* / fan_in), divided by the rms of a large input"))
        return fixed(
            Normal(std=std),
            rule="critical",
            reason=f"{reason}; the first map sets q*",
            evidence="tanh-deep",
            steps=steps,
        )
    steps = (at, Step(quantity="gain", value=gain, formula="1 / sqrt(E f'(z)²), z ~ N(0, q*): chi_1 = 1"))
    return fixed(Orthogonal(gain=gain, scaled=True), rule="critical", reason=reason, evidence="tanh-deep", steps=steps)


def _critical_head(
    role: ParameterRole, activation: Activation, q: float, at: Step, options: AutoOptions, reason: str
) -> Draft:
    if options.head == "zero":
        return fixed(Zeros(), rule="zero head", reason="zero, as asked for")
    moments = moments_of(activation, q)
    second = moments.second if moments is not None else q
    size = CALM_RMS if options.head == "calm" else 1.0
    std = size / math.sqrt(float(role.fan_in or 1.0) * second)
    steps = (
        at,
        Step(quantity="E f²", value=second, formula="of N(0, q*): what the head reads"),
        Step(quantity="std", value=std, formula=f"{size:g} / sqrt(fan_in E f²): outputs of rms {size:g}"),
    )
    reason = f"{reason}; the head makes up for the small q*"
    return fixed(Normal(std=std), rule="critical", reason=reason, evidence="tanh-deep", steps=steps)


# ---------------------------------------------------------------------- orthogonal
def _unmirrored(stack: Stack) -> dict[str, Draft]:
    """Dense hidden maps orthogonal at the backward gain (ReLU kin: mean of both); {} where that gains nothing."""
    moments = moments_of(stack.activation)
    if not stack.is_dense or stack.num_hidden < ORTHOGONAL_FROM or moments is None:
        return {}
    if (is_odd(stack.activation) and is_bounded(stack.activation)) or min(moments.second, moments.dsecond) <= 0.0:
        return {}
    pairs = mirror_slope(stack.activation) is not None
    gain = (moments.second * moments.dsecond) ** -0.25 if pairs else moments.dsecond**-0.5
    source = "Saxe et al. 2013, arXiv 1312.6120, section 3"
    words = "geometric mean of both" if pairs else "the backward one"
    steps = (
        Step(quantity="forward gain", value=moments.second**-0.5, formula="1 / sqrt(E f²)"),
        Step(quantity="backward gain", value=moments.dsecond**-0.5, formula="1 / sqrt(E f'²)"),
        Step(quantity="gain", value=gain, formula=words, source=source),
    )
    reason = f"{stack.num_hidden} {stack.activation.label} layers, not mirrored: orthogonal maps"
    evidence = "orthogonal" if math.isclose(moments.second, moments.dsecond) else "gelu-gain"
    law = Orthogonal(gain=gain, scaled=True)
    return {
        r.name: fixed(law, rule="orthogonal", reason=reason, evidence=evidence, steps=steps) for r in stack.maps[1:-1]
    }


_FAMILIES: tuple[tuple[Callable[[Stack], bool], Callable[[Stack, AutoOptions], dict[str, Draft]]], ...] = (
    (_wants_centring, _centred),
    (_is_deep_odd, _critical),
)
