"""Backward through convolutions: the same windows, read from the other side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from fanin.graph.ir import Op
from fanin.moments.backward.common import received
from fanin.moments.forward.convolution import TapWindow, channel_energies, living_taps, window_sum
from fanin.moments.frame import Frame
from fanin.moments.moments import JointMoments
from fanin.moments.places import made, multiplied

__all__ = ["RULES"]


def _convolution(frame: Frame, op: Op, grads: Sequence[JointMoments | None]) -> Mapping[int, JointMoments]:
    g = received(grads)
    if g is None:
        return {}
    transposed = "transpose" in op.name
    n = int(op.name[-2])
    x, (w, windows) = frame.moments(op.arg(0, "input")), living_taps(frame, op)
    whole = frame.moments(op.arg(1, "weight"))
    full = x.shape if len(x.shape) == n + 2 else (1, *x.shape)
    gs = g if len(g.shape) == n + 2 else g.reshaped((1, *g.shape))
    windows = [v.reversed(size) for v, size in zip(windows, full[2:], strict=True)]
    groups = int(op.arg(6, "groups", 1))
    back = window_sum(gs, w, windows, groups=groups, transposed=not transposed, out_shape=full)
    back = _by_channel(frame, op, x, g, back.reshaped(x.shape), n)
    out = {op.inputs[0]: back, op.inputs[1]: _weight(gs, x.reshaped(full), whole, windows, groups)}
    bias = op.ref(2, "bias")
    if bias is not None:
        out[bias] = gs.summed([0, *range(2, n + 2)])
    return out


def _by_channel(frame: Frame, op: Op, x: JointMoments, g: JointMoments, back: JointMoments, n: int) -> JointMoments:
    """The gradient before a depthwise convolution, whose channels multiply by their own few taps."""
    energies, dim = channel_energies(frame, op, x), len(x.shape) - n - 1
    if energies is None or energies.size != back.shape[dim]:
        return back
    gain, places = multiplied([made(dim, energies), g.places])
    return replace(back.scaled(gain**0.5), places=places)


def _weight(
    g: JointMoments, x: JointMoments, w: JointMoments, windows: Sequence[TapWindow], groups: int
) -> JointMoments:
    """Gradient of a kernel: over samples and places, products of a gradient and the input that its tap reads."""
    del groups
    share = float(np.prod([(v.places >= 0).mean() for v in windows]))
    sums = 0.0
    n, places = g.shape[0], math.prod(g.shape[2:])
    for same_sample in (True, False):
        for same_place in (True, False):
            pairs = n * (1.0 if same_sample else n - 1.0) * places * (1.0 if same_place else places - 1.0)
            sums += pairs * _at(g, same_sample, same_place) * _at(x, same_sample, same_place)
    reads = share * math.prod(x.shape[2:]) / places if x.shape[2:] != g.shape[2:] else share
    return JointMoments.iid(w.shape, var=max(sums * min(reads, 1.0), 0.0))


def _at(m: JointMoments, same_sample: bool, same_place: bool) -> float:
    differ = [] if same_sample else [0]
    differ += [] if same_place else [d for d in range(2, len(m.shape)) if m.shape[d] != 1][:1]
    return m.pair(*differ) if differ else m.second_moment


RULES = dict.fromkeys((f"conv{t}{n}d" for t in ("", "_transpose") for n in (1, 2, 3)), _convolution)
