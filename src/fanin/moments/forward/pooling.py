"""Max pooling: the largest of a window of correlated entries, through whatever function leads to it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from fanin.graph.ir import Op
from fanin.moments import kernel as kn
from fanin.moments.forward.elementwise import Function, chain_function, correlation, is_positive, region_of
from fanin.moments.frame import Frame, NoRuleError
from fanin.moments.kernel import Array
from fanin.moments.moments import Moments
from fanin.moments.signal import Signal

__all__ = ["RULES", "largest_of_windows"]

_PAIRS = 4096


def largest_of_windows(m: Moments, f: Function, taps: int, shape: tuple[int, ...]) -> Moments:
    """Moments of max f(u) over windows of `taps` entries.

    M describes u, whose last dimensions are pooled away to `shape`.

    Entries of one window, and of two windows, correlate as m says for entries at different places; pairs of windows
    are drawn.
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
    made = Moments(shape=sizes, sizes=tuple(sizes[i] for i in live), mean=mean, kernel=kernel)
    return replace(made.reshaped(shape), width_var=m.width_var)


def _with_all_axes(kernel: Array, m: Moments) -> Array:
    for d, n in enumerate(m.shape):
        if n == 1:
            kernel = np.repeat(np.expand_dims(kernel, d), 2, d)
    return kernel


def _max_pool(frame: Frame, op: Op) -> Any:
    n = next(int(c) for c in op.name if c.isdigit())
    value = op.inputs[0]
    m = frame.moments_at(value)
    shape = frame.graph.value(op.output).shape
    if len(m.shape) != n + 2 or len(op.outputs) > 1:
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
    made = frame.made(op, largest_of_windows(source, f, _taps(op, n, m.shape, shape), shape))
    return replace(made, positive=frame.signals[value].positive)


def _taps(op: Op, n: int, before: tuple[int, ...], after: tuple[int, ...]) -> int:
    if op.name.startswith("adaptive"):
        return max(1, round(math.prod(a / b for a, b in zip(before[2:], after[2:], strict=True))))
    size = op.arg(1, "kernel_size")
    return math.prod([int(size)] * n if isinstance(size, int) else (int(k) for k in size))


RULES: Mapping[str, Callable[[Frame, Op], Signal]] = dict.fromkeys(
    [f"{kind}max_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3)], _max_pool
)
