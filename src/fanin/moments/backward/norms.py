"""Backward through norms: divided by the root of what was normalised, less what would change its mean and size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from fanin.graph.ir import Op
from fanin.moments import kernel as kn
from fanin.moments.algebra import normalised, product
from fanin.moments.backward.common import LEAST_SE_BACKWARD, along_output, handed_on, received, unbroadcast
from fanin.moments.forward.arithmetic import EVEN_CHANCE
from fanin.moments.forward.elementwise import groups_of
from fanin.moments.forward.maxima import parts_of
from fanin.moments.frame import Frame, NoRuleError
from fanin.moments.moments import JointMoments
from fanin.moments.places import divided, made

__all__ = ["RULES"]


def _normalised(x: JointMoments, g: JointMoments, dims: Sequence[int], *, eps: float, centre: bool) -> JointMoments:
    """Gradient before a norm over `dims`.

    (g - mean g - x_hat mean(g x_hat)) / sqrt(v + eps), the last term by its 1 / n share.
    """
    axes = x.axes_of(dims)
    kernel = kn.centred(x.kernel, x.sizes, axes) if centre else x.kernel
    second = max(kn.diagonal(kernel), 0.0) + eps
    count = math.prod(x.shape[d] for d in dims)
    own = g.axes_of(dims)
    back = kn.centred(g.kernel, g.sizes, own) if centre else g.kernel
    kept = 1.0 - 1.0 / max(count - 1.0, 1.0) if centre else 1.0 - 1.0 / count
    if x.places is None or x.places.dim in {d % len(x.shape) for d in dims}:
        return g.with_kernel(back * (kept / second), 0.0)
    gain, places = divided(g.places, x.places, eps / max(second - eps, 1e-300))
    return replace(g.with_kernel(back * (gain * kept / second), 0.0), places=places)


def _affine_parts(
    frame: Frame, op: Op, g: JointMoments, x_hat: JointMoments, scale: int | None, shift: int | None, dim: int | None
) -> tuple[JointMoments, dict[int, JointMoments]]:
    """Gradient before scale and shift, and those of scale and shift."""
    out: dict[int, JointMoments] = {}
    tail = 0 if dim is None else len(g.shape) - dim - 1
    if shift is not None:
        shape = frame.graph.value(shift).shape
        out[shift] = unbroadcast(g, (*shape, *(1,) * tail)).reshaped(shape)
    if scale is not None:
        shape = frame.graph.value(scale).shape
        out[scale] = unbroadcast(product(g, x_hat), (*shape, *(1,) * tail)).reshaped(shape)
        g = product(g, frame.moments_at(scale).reshaped((*shape, *(1,) * tail)))
    return g, out


def _layer_norm(frame: Frame, op: Op, grads: Sequence[JointMoments | None]) -> Mapping[int, JointMoments]:
    g, x = received(grads), frame.moments(op.arg(0, "input"))
    if g is None:
        return {}
    centre = op.name == "layer_norm"
    eps = op.arg(4 if centre else 3, "eps")
    eps = (1e-5 if centre else 1.2e-7) if eps is None else float(eps)
    dims = list(range(len(x.shape) - len(tuple(op.arg(1, "normalized_shape"))), len(x.shape)))
    x_hat = normalised(x, dims, eps=eps, centre=centre)
    g, out = _affine_parts(frame, op, g, x_hat, op.ref(2, "weight"), op.ref(3, "bias") if centre else None, None)
    out[op.inputs[0]] = _across(frame, op, _normalised(x, g, dims, eps=eps, centre=centre))
    return out


def _across(frame: Frame, op: Op, g: JointMoments) -> JointMoments:
    """What is left of a gradient that is partly a multiple of the norm's own output.

    Of a share s along it 1 - s is left, so an error of s counts s / (1 - s) times in the logarithm. The energy along it
    was measured; that of the gradient itself has the least error of any prediction, which moves s as much.
    """
    out = frame.moments_at(op.output)
    share = next((frame.radial[v] for v in handed_on(frame, op.output) if v in frame.radial), None)
    if share is None:
        share = along_output(frame, op.output) / max(out.shape[-1] * out.second_moment, 1e-300)
    share = min(share, _MOST_ALONG)
    return g.scaled(math.sqrt(1.0 - share)).widened((share / (1.0 - share)) ** 2 * (_LEAST_VAR + g.own_var))


_MOST_ALONG = 0.999
_LEAST_VAR = (2.0 * LEAST_SE_BACKWARD) ** 2  # of ln(mean square), twice that of ln(rms)


def _batch_norm(frame: Frame, op: Op, grads: Sequence[JointMoments | None]) -> Mapping[int, JointMoments]:
    g, x = received(grads), frame.moments(op.arg(0, "input"))
    if g is None:
        return {}
    eps = float(op.arg(7, "eps", 1e-5))
    if not (bool(op.arg(5, "training", False)) or op.arg(3, "running_mean") is None):
        raise NoRuleError("running statistics")
    dims = [d for d in range(len(x.shape)) if d != 1]
    x_hat = normalised(x, dims, eps=eps, centre=True)
    g, out = _affine_parts(frame, op, g, x_hat, op.ref(1, "weight"), op.ref(2, "bias"), 1)
    x = _within(frame, op, x, dims)
    out[op.inputs[0]] = _of_unlike(frame, op, dims, eps, _normalised(x, g, dims, eps=eps, centre=True))
    return out


def _within(frame: Frame, op: Op, x: JointMoments, dims: Sequence[int]) -> JointMoments:
    """The input with the variance inside each channel as its places, where channels were joined."""
    parts = parts_of(frame, op.inputs[0])
    if len(parts) == 1:
        return x
    energies = []
    for part in parts:
        m = frame.moments_at(part.value)
        own = max(kn.diagonal(kn.centred(m.kernel, m.sizes, m.axes_of(dims))), 0.0)
        energies.append(own * (m.places.energies if m.places and m.places.dim == 1 else np.ones(part.size)))
    return x.changed(places=made(1, np.concatenate(energies)))


def _of_unlike(frame: Frame, op: Op, dims: Sequence[int], eps: float, g: JointMoments) -> JointMoments:
    """The gradient where channels differ in size because a function cuts off more of some of them than of others.

    Each is divided by its own variance. Those that are nearly cut off receive the most, and pass the least on: the
    density of the gradient over the entries of the function's source says so. That all channels of a group have their
    mean variance is not known, so the error spans from no gain to its square.
    """
    channels = g.shape[1]
    groups = groups_of(frame, op.inputs[0], dims, min(channels, _MOST_GROUPS))
    if groups is None or len(groups.common) == 1:
        return g
    variances = groups.variances + eps
    energies = variances.mean() / variances
    gain = float(energies.mean())
    frame.unlike[op.index] = groups.given(energies) / gain
    scatter = float(np.square(energies).mean()) / gain**2 - 1.0
    wide = g.scaled(math.sqrt(gain)).widened(EVEN_CHANCE * math.log(gain) ** 2)
    return wide.changed(spread=wide.own_var + scatter / channels)


_MOST_GROUPS = 64


def _group_norm(frame: Frame, op: Op, grads: Sequence[JointMoments | None]) -> Mapping[int, JointMoments]:
    g, x = received(grads), frame.moments(op.arg(0, "input"))
    if g is None:
        return {}
    eps, groups = float(op.arg(4, "eps", 1e-5)), int(op.arg(1, "num_groups"))
    split = (x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
    dims = list(range(2, len(split)))
    xs = x.reshaped(split)
    x_hat = normalised(xs, dims, eps=eps, centre=True).reshaped(x.shape)
    g, out = _affine_parts(frame, op, g, x_hat, op.ref(2, "weight"), op.ref(3, "bias"), 1)
    out[op.inputs[0]] = _normalised(xs, g.reshaped(split), dims, eps=eps, centre=True).reshaped(x.shape)
    return out


RULES = {"layer_norm": _layer_norm, "rms_norm": _layer_norm, "batch_norm": _batch_norm, "group_norm": _group_norm}
