"""Convolutions: sums over taps, with the share of them that padding leaves out of bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fanin.graph.ir import Op
from fanin.memory import as_array
from fanin.moments.algebra import summed_up
from fanin.moments.answers import MeanMapped
from fanin.moments.forward.by_place import note_convolved, place_gain
from fanin.moments.forward.contractions import finished, numbers_of
from fanin.moments.frame import Frame
from fanin.moments.kernel import Array, axis_mean
from fanin.moments.moments import JointMoments
from fanin.moments.places import made
from fanin.moments.signal import Signal

__all__ = [
    "RULES",
    "TapWindow",
    "channel_energies",
    "convolution_windows",
    "each",
    "living_taps",
    "run_of_channels",
    "tap_counts",
    "window_sum",
]


@dataclass(frozen=True, slots=True)
class TapWindow:
    """Which input place each output place reads through which tap, along one dimension; -1: out of bounds.

    Attributes:
        places: (outputs, taps).
        weights: what each is multiplied by, (outputs, taps); 0 out of bounds.
    """

    places: Array
    weights: Array

    @classmethod
    def summing(cls, places: Array) -> TapWindow:
        """Every place inside the bounds counts once."""
        return cls(places, (places >= 0).astype(float))

    @classmethod
    def of_convolution(cls, size: int, out: int, taps: int, *, stride: int, padding: int, dilation: int) -> TapWindow:
        """A convolution or pooling."""
        p = np.arange(out)[:, None] * stride - padding + np.arange(taps)[None, :] * dilation
        return cls.summing(np.where((p >= 0) & (p < size), p, -1))

    @classmethod
    def of_transposed(cls, size: int, out: int, taps: int, *, stride: int, padding: int, dilation: int) -> TapWindow:
        """A transposed convolution."""
        p = np.arange(out)[:, None] + padding - np.arange(taps)[None, :] * dilation
        p = np.where(p % stride == 0, p // stride, -1)
        return cls.summing(np.where((p >= 0) & (p < size), p, -1))

    def reversed(self, size: int) -> TapWindow:
        """The same relation seen from the input: which output place each input place feeds through which tap."""
        back = np.full((size, self.places.shape[1]), -1)
        out, tap = np.nonzero(self.places >= 0)
        weights = np.zeros(back.shape)
        back[self.places[out, tap].astype(int), tap] = out
        weights[self.places[out, tap].astype(int), tap] = self.weights[out, tap]
        return TapWindow(back, weights)

    def of_taps(self, kept: slice) -> TapWindow:
        """Some of the taps alone; the others multiply by zero."""
        return TapWindow(self.places[:, kept], self.weights[:, kept])

    def averaging(self, *, padded: bool) -> TapWindow:
        """The mean over each window: of all its taps, zeros of the padding among them, or of those inside alone."""
        inside = np.maximum(self.weights.sum(axis=1, keepdims=True), 1.0)
        return TapWindow(self.places, self.weights / (self.weights.shape[1] if padded else inside))


def tap_counts(window: TapWindow, size: int) -> Array:
    """Mean number of pairs of (place, tap) by whether output places, input places and taps agree, weights multiplied.

    Returns:
        Shape (2, 2, 2); index 0 where they differ, 1 where they agree.
    """
    w = window.weights
    outs, taps = w.shape
    place = np.maximum(window.places, 0).astype(int)
    by_place = np.zeros((outs, size))
    np.add.at(by_place, (np.repeat(np.arange(outs), taps), place.ravel()), w.ravel())
    both = float(np.square(w).sum())
    same_out = _counts(both, float((by_place**2).sum()), both, float((w.sum(1) ** 2).sum()))
    any_out = _counts(both, float((by_place.sum(0) ** 2).sum()), float((w.sum(0) ** 2).sum()), float(w.sum() ** 2))
    if outs == 1:
        return np.stack((same_out, same_out))
    return np.stack(((any_out - same_out) / (outs * (outs - 1)), same_out / outs))


def _counts(both: float, place: float, tap: float, every: float) -> Array:
    """Pairs by (input place agrees, tap agrees) out of the counts of those that agree at least there."""
    return np.array([[every - place - tap + both, tap - both], [place - both, both]])


def window_sum(
    x: JointMoments,
    weight: JointMoments,
    windows: Sequence[TapWindow],
    *,
    groups: int,
    transposed: bool,
    out_shape: tuple[int, ...],
) -> JointMoments:
    """Moments of the sum over channels of one group and taps.

    Shapes: x (batch, channels, *places), the weight as in torch.
    """
    spatial = len(windows)
    x = x.merged(*range(2, 2 + spatial))
    weight = weight.merged(*range(2, 2 + spatial))
    batch = x.shape[0]
    rows, columns = _halves(weight, 0, groups), _halves(weight, 1, groups)
    dims = (groups, *rows, *columns)
    ws = weight.reshaped((*dims, *weight.shape[2:])).merged(*range(5 + spatial))
    into, out = (dims[1:3], dims[3:5]) if transposed else (dims[3:5], dims[1:3])
    xs = x.reshaped((batch, groups, *into, *x.shape[2:])).merged(*range(4 + spatial))
    ins = into[0] * into[1]
    xk, wk = _full_kernel(xs), _full_kernel(ws)
    if transposed:
        wk = np.moveaxis(wk, (1, 2), (3, 4))
    kernel = _apply(xk, wk, [tap_counts(w, n) for w, n in zip(windows, x.shape[2:], strict=True)], into)
    shape = (batch, groups, *out, *out_shape[2:])
    live = [d for d, n in enumerate(shape) if n != 1]
    for d in reversed(range(len(shape))):
        if d not in live:
            kernel = np.take(kernel, 1, axis=d)
    reads = float(np.prod([(w.places >= 0).sum() / w.places.shape[0] for w in windows]))
    mean = x.mean * weight.mean * ins * reads
    made = JointMoments(shape=shape, sizes=tuple(shape[d] for d in live), mean=mean, kernel=kernel)
    return made.reshaped(out_shape)


def _halves(weight: JointMoments, dim: int, groups: int) -> tuple[Any, Any]:
    """The weight's units of one group along a dimension: (2, half) where two halves repeat one another, else (1, all).

    Half of an odd number is no whole number, see `fanin.moments.halves`.
    """
    sizes = weight.dim_sizes(dim)
    if groups == 1 and len(sizes) == 2 and sizes[0] == 2:
        return 2, sizes[1]
    return 1, weight.shape[dim] // groups if dim == 0 else weight.shape[dim]


def _full_kernel(m: JointMoments) -> Array:
    """The kernel with an axis for every dimension, those of size 1 too."""
    kernel = m.kernel
    for d, n in enumerate(m.shape):
        if n == 1:
            kernel = np.repeat(np.expand_dims(kernel, d), 2, d)
    return kernel


def _apply(x: Array, w: Array, counts: Sequence[Array], into: Sequence[float]) -> Array:
    """Sum over input channels and taps: x (batch, group, half, in, *places), w (group, half, out, half, in, *taps)."""
    places, taps, outs = "pqr"[: len(counts)], "tuv"[: len(counts)], "xyz"[: len(counts)]
    tables = [f"{o}{p}{t}" for o, p, t in zip(outs, places, taps, strict=True)]
    equation = f"nghi{places},gkohi{taps},h,i,{','.join(tables)}->ngko{outs}"
    halves, channels = (np.array([n * (n - 1.0), float(n)]) for n in into)
    return np.asarray(np.einsum(equation, x, w, halves, channels, *counts))


# ---------------------------------------------------------------------- the ops
def each(value: Any, n: int) -> tuple[int, ...]:
    """One number for each of n dimensions, from one number or n of them."""
    if isinstance(value, int):
        return (value,) * n
    out = tuple(int(v) for v in value)
    return out * n if len(out) == 1 else out


def _full(shape: tuple[int, ...], n: int) -> tuple[int, ...]:
    """The shape with a batch dimension."""
    return shape if len(shape) == n + 2 else (1, *shape)


def convolution_windows(frame: Frame, op: Op) -> list[TapWindow]:
    """The windows of a (transposed) convolution, one a spatial dimension."""
    n = int(op.name[-2])
    transposed = "transpose" in op.name
    before = _full(frame.graph.value(op.inputs[0]).shape, n)[2:]
    after = _full(frame.graph.value(op.output).shape, n)[2:]
    taps = frame.graph.value(op.inputs[1]).shape[2:]
    stride, dilation = each(op.arg(3, "stride", 1), n), each(op.arg(7 if transposed else 5, "dilation", 1), n)
    padding = _padding(op.arg(4, "padding", 0), taps, dilation)
    make = TapWindow.of_transposed if transposed else TapWindow.of_convolution
    return [
        make(before[d], after[d], taps[d], stride=stride[d], padding=padding[d], dilation=dilation[d]) for d in range(n)
    ]


def living_taps(frame: Frame, op: Op) -> tuple[JointMoments, list[TapWindow]]:
    """The weight and the windows without taps that are zero for all channels: a delta kernel is its centre alone.

    At a border the centre is always inside, while an average over nine taps would lose a share there.
    """
    w, windows = frame.moments(op.arg(1, "weight")), convolution_windows(frame, op)
    numbers = frame.numbers(op.arg(1, "weight"))
    if numbers is None or bool((numbers[:1, :1] != 0).all()):  # one channel shows that all taps are used
        return w, windows
    array = as_array(numbers.detach().cpu().double())
    used = np.abs(array).max(axis=(0, 1)) > 0.0
    if used.all() or not used.any():
        return w, windows
    ranges = [np.flatnonzero(used.any(axis=tuple(e for e in range(used.ndim) if e != d))) for d in range(used.ndim)]
    kept = [slice(int(r[0]), int(r[-1]) + 1) for r in ranges]
    box = (slice(None), slice(None), *kept)
    return JointMoments.measured(array[box]), [v.of_taps(k) for v, k in zip(windows, kept, strict=True)]


def _convolution(frame: Frame, op: Op) -> Signal:
    n = int(op.name[-2])
    x, (w, windows) = frame.moments(op.arg(0, "input")), living_taps(frame, op)
    shape = frame.graph.value(op.output).shape
    out = window_sum(
        x.reshaped(_full(x.shape, n)),
        w,
        windows,
        groups=int(op.arg(6, "groups", 1)),
        transposed="transpose" in op.name,
        out_shape=_full(shape, n),
    )
    gain = place_gain(frame, op.inputs[0], windows)
    out = out.with_kernel(gain * out.kernel, gain**0.5 * out.mean)
    made = _convolved(frame, op, out, x, shape, n)
    if made.moments is not None and made.moments.second_moment > 0.0:
        note_convolved(frame, op, windows, min(out.second_moment / made.moments.second_moment, 1.0))
    return made


def run_of_channels(frame: Frame, op: Op, run: slice) -> tuple[JointMoments, JointMoments] | None:
    """Moments of a run of a convolution's channels, without and with its bias; None with groups, or transposed."""
    if op.name not in RULES or "transpose" in op.name or int(op.arg(6, "groups", 1)) != 1:
        return None
    n, count, template = int(op.name[-2]), run.stop - run.start, op.arg(2, "bias")
    x, weight, windows = frame.moments(op.arg(0, "input")), op.arg(1, "weight"), convolution_windows(frame, op)
    numbers = numbers_of(frame, weight)
    kernel = frame.moments(weight).resized(0, count) if numbers is None else JointMoments.measured(numbers[run])
    batch, _, *places = _full(frame.graph.value(op.output).shape, n)
    shape, full = (batch, count, *places), x.reshaped(_full(x.shape, n))
    alone = window_sum(full, kernel, windows, groups=1, transposed=False, out_shape=shape)
    gain = place_gain(frame, op.inputs[0], windows)
    alone = alone.with_kernel(gain * alone.kernel, gain**0.5 * alone.mean)
    if template is None:
        return alone, alone
    bias = numbers_of(frame, template)
    own = frame.moments(template).part(-1, run.start, count) if bias is None else JointMoments.measured(bias[run])
    return alone, summed_up(alone, own.reshaped((count, *(1,) * n)))


def _padding(padding: Any, taps: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    if padding == "valid":
        return (0,) * len(taps)
    if padding == "same":
        return tuple(d * (k - 1) // 2 for k, d in zip(taps, dilation, strict=True))
    return each(padding, len(taps))


def _convolved(frame: Frame, op: Op, out: JointMoments, x: JointMoments, shape: tuple[int, ...], n: int) -> Signal:
    bias, mapped = op.arg(2, "bias"), _mean_mapped(frame, op, x)
    if bias is not None:
        b, numbers = frame.moments(bias), numbers_of(frame, bias)
        out = summed_up(out, b.reshaped((*b.shape, *(1,) * n)))
        if mapped is not None and numbers is not None:
            mapped = replace(mapped, bias=numbers)
            out = mapped.answered(out)
    out = replace(out.reshaped(shape), width_var=x.width_var + x.own_var + _border_var(convolution_windows(frame, op)))
    rows, inputs, *taps = frame.graph.value(op.inputs[1]).shape
    near = max(_likeness_of_places(x, n) ** 2, _NEAR) * (1.0 - 1.0 / max(math.prod(taps), 1))  # of taps of one channel
    few = (near + max(x.overlap * max(inputs, 1) - 1.0, 0.0)) / max(inputs, 1)
    given = out.own_var if mapped is None else mapped.own_var(out)
    overlap = min(max(x.overlap, 1.0 / max(inputs, 1)) + 1.0 / max(rows, 1), 1.0)
    energies = channel_energies(frame, op, x)
    places = None if energies is None else made(len(shape) - n - 1, energies)
    out = replace(out, spread=given + 2.0 * few / max(rows, 1), overlap=overlap, places=places)
    return finished(frame, op, out)


_NEAR = 0.1  # mean squared correlation of the places of two taps behind a convolution of three by three and a rectifier


def _border_var(windows: Sequence[TapWindow]) -> float:
    """Variance of the log mean square by what padding leaves out.

    Behind a padded convolution the places in the middle are larger than those at the border, and the next one reads
    them more often: more by the squared relative deviation of the number of taps inside.
    """
    inside = [w.weights.sum(axis=1) for w in windows]
    more = sum(float((n.std() / n.mean()) ** 2) for n in inside if n.mean() > 0.0)
    return min(more, 1.0) ** 2


def channel_energies(frame: Frame, op: Op, x: JointMoments) -> Array | None:
    """Mean square of each channel of a depthwise convolution, up to one factor; None for any other, or without numbers.

    A channel has its own few taps alone, so that channels differ in size: a batch norm that divides each by its own
    passes a gradient on that grows by E[1 / s^2] E[s^2].
    """
    numbers = frame.numbers(op.arg(1, "weight"))
    if numbers is None or "transpose" in op.name or numbers.shape[1] != 1 or int(op.arg(6, "groups", 1)) == 1:
        return None
    taps = as_array(numbers.detach().cpu().double()).reshape(numbers.shape[0], -1)
    c = float(np.clip(_likeness_of_places(x, int(op.name[-2])), 0.0, 1.0)) if taps.shape[1] > 1 else 0.0
    return np.asarray((1.0 - c) * np.square(taps).sum(axis=1) + c * np.square(taps.sum(axis=1)))


def _likeness_of_places(x: JointMoments, n: int) -> float:
    """Correlation of two places of a channel: the taps of a kernel that reads places alike are one number's worth."""
    dims = [d for d in range(len(x.shape) - n, len(x.shape)) if x.shape[d] != 1]
    return (x.pair(*dims) - x.mean**2) / x.entry_var if dims and x.entry_var > 0.0 else 1.0


def _mean_mapped(frame: Frame, op: Op, x: JointMoments) -> MeanMapped | None:
    """What the map makes of its input's mean, where its weight is known numbers."""
    weight = numbers_of(frame, op.arg(1, "weight"))
    if weight is None or "transpose" in op.name:
        return None
    sums = np.asarray(weight.shape[1] * axis_mean(weight, 1)[:, 0], dtype=np.float64)
    for window in reversed(convolution_windows(frame, op)):
        sums = sums @ (window.places >= 0).mean(axis=0)  # a tap counts where it reads the signal
    return MeanMapped(sums=sums, mean=x.mean, dim=-1 - int(op.name[-2]))


RULES = dict.fromkeys((f"conv{t}{n}d" for t in ("", "_transpose") for n in (1, 2, 3)), _convolution)
