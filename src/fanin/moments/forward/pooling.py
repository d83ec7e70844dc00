"""Pooling: the mean of a window, and the largest of its correlated entries through whatever function leads to it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fanin.graph.ir import Op
from fanin.moments import kernel as kn
from fanin.moments.forward.convolution import TapWindow, each, tap_counts
from fanin.moments.forward.elementwise import Function, chain_function, correlation, is_positive, region_of
from fanin.moments.frame import Frame, NoRuleError
from fanin.moments.kernel import Array
from fanin.moments.moments import JointMoments
from fanin.moments.signal import Signal

__all__ = [
    "RULES",
    "averaged",
    "drawn_at_the_largest",
    "largest_of_windows",
    "pooled_dims",
    "pooling_windows",
    "window_taps",
]

_PAIRS = 4096


def largest_of_windows(m: JointMoments, f: Function, taps: int, shape: tuple[int, ...]) -> JointMoments:
    """Moments of max f(u) over windows of `taps` entries.

    The argument m describes u, whose last dimensions are pooled away to `shape`. Entries of one window, and of two
    windows, correlate as m says for entries at different places; pairs of windows are drawn.
    """
    lead = m.shape[:2]
    places = math.prod(m.shape[2:])
    flat = m.reshaped((*lead, places)).merged(0, 1, 2)
    full = _with_all_axes(correlation(flat), flat)
    std = math.sqrt(flat.entry_var)
    rng = np.random.default_rng(5)
    noise = rng.standard_normal((_PAIRS, 2, taps))
    sizes = (lead[0], lead[1], math.prod(shape[2:]))
    kernel = np.empty((2, 2, 2))
    mean = 0.0
    for a, b, p in itertools.product((0, 1), repeat=3):
        pair = np.array([[full[a, b, 0], full[a, b, p]], [full[1, 1, 0], 1.0]])
        drawn = kn.coloured(noise, kn.root_eigenvalues(pair, (2, taps)))
        top = f(flat.mean + std * drawn.reshape(-1)).reshape(drawn.shape).max(axis=-1)
        if a and b and p:
            kernel[a, b, p], mean = float(np.mean(top**2)), float(np.mean(top))
        else:
            kernel[a, b, p] = float(np.mean(top[:, 0] * top[:, 1]))
    live = [i for i, n in enumerate(sizes) if n != 1]
    for i in reversed(range(3)):
        if i not in live:
            kernel = np.take(kernel, 1, axis=i)
    made = JointMoments(shape=sizes, sizes=tuple(sizes[i] for i in live), mean=mean, kernel=kernel)
    return replace(made.reshaped(shape), width_var=m.width_var + m.own_var)


def _with_all_axes(kernel: Array, m: JointMoments) -> Array:
    for d, n in enumerate(m.shape):
        if n == 1:
            kernel = np.repeat(np.expand_dims(kernel, d), 2, d)
    return kernel


def _max_pool(frame: Frame, op: Op) -> Any:
    value = op.inputs[0]
    m = frame.moments_at(value)
    shape = frame.graph.value(op.output).shape
    if len(m.shape) != pooled_dims(op) + 2 or len(op.outputs) > 1:
        raise NoRuleError(f"{op.name} of an unbatched tensor, or with its indices")
    region = region_of(frame, value)
    if len(region) != 1 or frame.signals[region[0]].moments is None or is_positive(frame, region[0]):
        raise NoRuleError("a maximum over more than one source")
    source = frame.signals[region[0]].known
    if source.shape != m.shape:
        raise NoRuleError("a maximum over a broadcast source")
    producer = frame.graph.producer(value)
    f: Function = (
        (lambda z: z) if region[0] == value or producer is None else chain_function(frame, producer, region[0])
    )
    made = frame.made(op, largest_of_windows(source, f, window_taps(op, m.shape, shape), shape))
    return replace(made, positive=frame.signals[value].positive)


def pooled_dims(op: Op) -> int:
    """How many dimensions a pooling runs over."""
    return next(int(c) for c in op.name if c.isdigit())


def window_taps(op: Op, before: tuple[int, ...], after: tuple[int, ...]) -> int:
    """Entries of one window."""
    if op.name.startswith("adaptive"):
        return max(1, round(math.prod(a / b for a, b in zip(before[2:], after[2:], strict=True))))
    size = op.arg(1, "kernel_size")
    return math.prod([int(size)] * pooled_dims(op) if isinstance(size, int) else (int(k) for k in size))


def drawn_at_the_largest(m: JointMoments, f: Function, taps: int) -> Array:
    """Draws of the entry of a window at which f is largest: what reaches the maximum's source comes from there.

    Example:
        >>> u = drawn_at_the_largest(JointMoments.iid((4, 8, 16)), lambda z: np.maximum(z, 0.0), 4)
        >>> bool(abs((u > 0).mean() - 15 / 16) < 0.02)
        True
    """
    flat = m.reshaped((*m.shape[:2], math.prod(m.shape[2:]))).merged(0, 1, 2)
    pair = _with_all_axes(correlation(flat), flat)[1, 1]
    noise = np.random.default_rng(5).standard_normal((_PAIRS, taps))
    u = flat.mean + math.sqrt(flat.entry_var) * kn.coloured(noise, kn.root_eigenvalues(pair, (taps,)))
    largest = f(u.reshape(-1)).reshape(u.shape).argmax(axis=-1)
    return np.asarray(u[np.arange(_PAIRS), largest])


def pooling_windows(frame: Frame, op: Op) -> list[TapWindow]:
    """The windows of an average pooling, one a pooled dimension."""
    n = next(int(c) for c in op.name if c.isdigit())
    before, after = frame.graph.value(op.inputs[0]).shape[-n:], frame.graph.value(op.output).shape[-n:]
    padded = bool(op.arg(5, "count_include_pad", True))
    if op.name.startswith("adaptive"):
        if any(a % b for a, b in zip(before, after, strict=True)):
            raise NoRuleError("adaptive pooling of uneven windows")
        taps = tuple(a // b for a, b in zip(before, after, strict=True))
        stride, padding = taps, (0,) * n
    else:
        if op.arg(6, "divisor_override") is not None:
            raise NoRuleError("a divisor of its own")
        taps = each(op.arg(1, "kernel_size"), n)
        stride, padding = each(op.arg(2, "stride") or taps, n), each(op.arg(3, "padding", 0), n)
    return [
        TapWindow.of_convolution(a, b, k, stride=s, padding=p, dilation=1).averaging(padded=padded)
        for a, b, k, s, p in zip(before, after, taps, stride, padding, strict=True)
    ]


def _avg_pool(frame: Frame, op: Op) -> Signal:
    x = frame.moments(op.arg(0, "input"))
    return frame.made(op, averaged(x, pooling_windows(frame, op), frame.graph.value(op.output).shape), leaf=False)


def averaged(x: JointMoments, windows: Sequence[TapWindow], shape: tuple[int, ...]) -> JointMoments:
    """Weighted sum over windows of the last dimensions."""
    n, lead = len(windows), len(shape) - len(windows)
    x = x.merged(*range(lead, len(x.shape)))
    lead_axes = x.axes_of(range(lead))
    kernel = x.kernel
    for d in range(n):
        if x.shape[lead + d] == 1:
            kernel = np.repeat(np.expand_dims(kernel, len(lead_axes) + d), 2, len(lead_axes) + d)
    tables = [tap_counts(w, s) for w, s in zip(windows, x.shape[lead:], strict=True)]
    letters = [f"{o}{p}{t}" for o, p, t in zip("xyz"[:n], "pqr"[:n], "tuv"[:n], strict=True)]
    flat = kernel.reshape((-1, *(2,) * n))
    summed = np.einsum(f"a{'pqr'[:n]},{','.join(letters)}->a{'xyz'[:n]}", flat, *tables)
    kernel = summed.reshape((2,) * (len(lead_axes) + n))
    for d in reversed(range(n)):
        if shape[lead + d] == 1:
            kernel = np.take(kernel, 1, axis=len(lead_axes) + d)
    reads = float(np.prod([w.weights.sum() / w.weights.shape[0] for w in windows]))
    sizes = (*(x.sizes[a] for a in lead_axes), *(s for s in shape[lead:] if s != 1))
    made = JointMoments(shape=shape, sizes=sizes, mean=x.mean * reads, kernel=np.asarray(kernel))
    return replace(made, width_var=x.width_var)


RULES: Mapping[str, Callable[[Frame, Op], Signal]] = {
    **dict.fromkeys([f"{kind}max_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3)], _max_pool),
    **dict.fromkeys([f"{kind}avg_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3)], _avg_pool),
}
