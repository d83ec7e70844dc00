"""Average pooling: the mean of a window."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fanin.graph.ir import Op
from fanin.moments.algebra import unsure_of_places
from fanin.moments.forward.convolution import TapWindow, each, tap_counts
from fanin.moments.frame import Frame, NoRuleError
from fanin.moments.moments import JointMoments
from fanin.moments.signal import Signal

__all__ = ["RULES", "averaged", "pooling_windows"]


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
    x, shape = frame.moments(op.arg(0, "input")), frame.graph.value(op.output).shape
    made = averaged(x, pooling_windows(frame, op), shape)
    return frame.made(op, unsure_of_places(made, x.rms), leaf=False)


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
    return made.changed(width_var=x.width_var)


RULES: Mapping[str, Callable[[Frame, Op], Signal]] = dict.fromkeys(
    [f"{kind}avg_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3)], _avg_pool
)
