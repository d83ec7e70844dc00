"""Max pooling: the largest of correlated entries, through whatever function of few tensors leads to them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from fanin.graph.ir import Op
from fanin.model.operations import TURNS
from fanin.moments import kernel as kn
from fanin.moments import laws
from fanin.moments.algebra import concatenated, unsure_of_places
from fanin.moments.forward.convolution import TapWindow, each
from fanin.moments.forward.elementwise import evaluate, region_of
from fanin.moments.forward.views import dimension_order
from fanin.moments.frame import Frame, NoRuleError
from fanin.moments.kernel import Array
from fanin.moments.laws import Law
from fanin.moments.moments import JointMoments
from fanin.moments.signal import Signal
from fanin.moments.sources import entries, is_positive, normal_correlation

__all__ = ["MAXIMA", "RULES", "Part", "Windows", "parts_of", "tap_shares"]

MAXIMA = frozenset(f"{kind}max_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3))
_PAIRS = 4096
_Counts = npt.NDArray[np.int64]
_Mask = npt.NDArray[np.bool_]
_CHANNELS = 1


def _pooled_dims(op: Op) -> int:
    """How many dimensions a pooling runs over."""
    return next(int(c) for c in op.name if c.isdigit())


def tap_shares(op: Op, before: Sequence[int], after: Sequence[int]) -> Mapping[int, float]:
    """How many entries a window has, and the share of the windows that have so many: fewer at a padded border."""
    counts = np.ones(1, dtype=int)
    for own in _taps_by_dim(op, before[2:], after[2:]):
        counts = np.outer(counts, own).reshape(-1)
    found, times = np.unique(counts, return_counts=True)
    return {int(n): float(t / counts.size) for n, t in zip(found, times, strict=True)}


def _taps_by_dim(op: Op, before: Sequence[int], after: Sequence[int]) -> Iterator[_Counts]:
    """Entries of each window along each pooled dimension."""
    n = len(before)
    if op.name.startswith("adaptive"):
        for size, out in zip(before, after, strict=True):
            i = np.arange(out)
            yield -(-(i + 1) * size // out) - i * size // out
        return
    taps = each(op.arg(1, "kernel_size"), n)
    stride, padding = each(op.arg(2, "stride") or taps, n), each(op.arg(3, "padding", 0), n)
    dilation = each(op.arg(4, "dilation", 1), n)
    for d in range(n):
        window = TapWindow.of_convolution(
            before[d], after[d], taps[d], stride=stride[d], padding=padding[d], dilation=dilation[d]
        )
        yield np.count_nonzero(window.places >= 0, axis=1)


@dataclass(frozen=True, slots=True)
class Part:
    """A run of the channels that are pooled.

    Attributes:
        value: the tensor that holds the run.
        start: its first channel.
        size: how many.
    """

    value: int
    start: int
    size: int


def parts_of(frame: Frame, value: int, start: int = 0) -> list[Part]:
    """The tensors that were joined along the channels to make one: each has a law of its own."""
    op, shape = frame.graph.producer(value), frame.graph.value(value).shape
    if op is None or op.name != "cat" or int(op.arg(1, "dim", 0)) % len(shape) != _CHANNELS:
        return [Part(value, start, shape[_CHANNELS] if len(shape) > _CHANNELS else 1)]
    found = []
    for t in op.arg(0, "tensors"):
        if frame.graph.value(t.index).numel:
            found += parts_of(frame, t.index, start)
            start += frame.graph.value(t.index).shape[_CHANNELS]
    return found


@dataclass(frozen=True)
class Windows:
    """Windows of a function of few tensors, drawn in pairs.

    Entries of one window, and of two windows, correlate as the kernels of the sources say for entries at different
    places.

    Attributes:
        frame: of the sweep.
        value: the tensor that is pooled, before its dimensions were put in another order.
        sources: the tensors it is a function of, with their moments at the shape that is pooled.
        shares: how many entries a window has, and how often.
        order: where each dimension that is pooled comes from.
    """

    frame: Frame
    value: int
    sources: Mapping[int, JointMoments]
    shares: Mapping[int, float]
    order: tuple[int, ...]

    @classmethod
    def of(cls, frame: Frame, value: int, shares: Mapping[int, float]) -> Windows:
        """The windows of a value.

        Raises:
            NoRuleError: it is no function of few tensors with a Gaussian law.
        """
        value, order = _before_reordering(frame, value)
        shape, region = frame.graph.value(value).shape, region_of(frame, value)
        if not region or any(frame.signals[v].numbers is not None or is_positive(frame, v) for v in region):
            raise NoRuleError("a maximum over known numbers, or over what is never negative")
        sources = {v: frame.moments_at(v).expanded(shape).permuted(order) for v in region}
        return cls(frame, value, {v: _by_window(m) for v, m in sources.items()}, shares, order)

    @property
    def is_source(self) -> bool:
        """Whether the pooled tensor is not made of another one."""
        return tuple(self.sources) == (self.frame.first(self.value),)

    def put_back(self, g: JointMoments) -> JointMoments:
        """A gradient of what is pooled with its dimensions in the order of `value`."""
        return g if self.order == tuple(range(len(self.order))) else g.permuted(np.argsort(self.order).tolist())

    @property
    def width_var(self) -> float:
        """What finite width makes of the windows, as a variance of the log mean square."""
        return max(m.width_var + m.own_var for m in self.sources.values())

    def largest(self, shape: Sequence[int]) -> JointMoments:
        """Moments of the largest entries, a tensor of that shape."""
        made = self._paired(tuple(shape), lambda drawn: drawn.at_largest(drawn.of(self.value)))
        pooled = self.frame.moments_at(self.value)
        return unsure_of_places(replace(made, width_var=self.width_var), pooled.rms)

    def law(self) -> Law | None:
        """The law of a largest entry."""
        drawn = self._drawn((1, 1, 1))
        top = drawn.at_largest(drawn.of(self.value)).reshape(-1)
        return laws.of_points(top, np.ones(top.size))

    def slopes(self, inner: int, shape: Sequence[int]) -> JointMoments:
        """Moments of the derivative by a source, or by a value between, at the largest entries; of a tensor's shape."""
        return self._paired(tuple(shape), lambda drawn: drawn.at_largest(drawn.slope_by(inner)))

    def favour(self, inner: int) -> float:
        """Mean square of a source, or of a value between, at the largest entries, over its mean square everywhere."""
        drawn = self._drawn((1, 1, 1))
        values = drawn.of(inner)
        everywhere = float(np.square(values).mean())
        return float(np.square(drawn.at_largest(values)).mean()) / everywhere if everywhere > 0.0 else 1.0

    def _paired(self, shape: tuple[int, ...], read: Callable[[_Drawn], Array]) -> JointMoments:
        """Moments of one number a window, (pairs, 2), for windows that agree in sample, channel and place or not."""
        sizes = (*shape[:2], math.prod(shape[2:]))
        kernel, mean = np.empty((2, 2, 2)), 0.0
        for kind in itertools.product((0, 1), repeat=3):
            seen = read(self._drawn(kind))
            if all(kind):
                kernel[kind], mean = float(np.mean(seen**2)), float(np.mean(seen))
            else:
                kernel[kind] = float(np.mean(seen[:, 0] * seen[:, 1]))
        live = [i for i, n in enumerate(sizes) if n != 1]
        for i in reversed(range(3)):
            if i not in live:
                kernel = np.take(kernel, 1, axis=i)
        made = JointMoments(shape=sizes, sizes=tuple(sizes[i] for i in live), mean=mean, kernel=kernel)
        return made.reshaped(shape)

    def _drawn(self, kind: tuple[int, ...]) -> _Drawn:
        """Pairs of windows that agree in sample, channel and place (1) or do not (0); drawn once a frame."""
        known = self.frame.windows
        key = (self.value, tuple(self.shares.items()), kind)
        if key not in known:
            known[key] = self._draw(kind)
        found: _Drawn = known[key]
        return found

    def _draw(self, kind: tuple[int, ...]) -> _Drawn:
        import torch

        rng, taps = np.random.default_rng(5), max(self.shares)
        counts = self._counts(rng, same=bool(kind[2]))
        env: dict[int, Any] = {}
        for v, m in self.sources.items():
            full = _with_all_axes(normal_correlation(self.frame, v, m), m)
            pair = np.array([[full[kind[0], kind[1], 0], full[kind]], [full[1, 1, 0], 1.0]])
            noise = rng.standard_normal((_PAIRS, 2, taps))
            drawn = kn.coloured(noise, kn.root_eigenvalues(pair, (2, taps)))
            env[v] = torch.from_numpy(entries(self.frame, v, drawn.reshape(-1)))
        return _Drawn(self.frame, self.value, env, np.arange(taps) < counts[..., None])

    def _counts(self, rng: np.random.Generator, *, same: bool) -> _Counts:
        """Entries of each window, (pairs, 2): windows at one place have as many."""
        sizes, shares = np.array(list(self.shares)), np.cumsum(list(self.shares.values()))
        even = sizes[np.minimum(np.searchsorted(shares, (np.arange(_PAIRS) + 0.5) / _PAIRS), len(sizes) - 1)]
        one = rng.permutation(even)
        return np.stack((one, one if same else rng.permutation(even)), axis=1)


@dataclass(frozen=True)
class _Drawn:
    """Drawn pairs of windows.

    Attributes:
        frame: of the sweep.
        value: the tensor that is pooled.
        env: the entries of its sources, (pairs * 2 * taps,).
        inside: which entries a window has, (pairs, 2, taps): those out of bounds are never the largest.
    """

    frame: Frame
    value: int
    env: Mapping[int, Any]
    inside: _Mask

    def of(self, inner: int) -> Array:
        """A value of the chain at each entry, (pairs, 2, taps)."""
        import torch

        with torch.no_grad():
            return self._windowed(evaluate(self.frame, inner, dict(self.env)))

    def at_largest(self, values: Array) -> Array:
        """What these are where the pooled tensor is the largest in its window, (pairs, 2)."""
        return np.asarray(np.take_along_axis(values, self._largest, axis=-1)[..., 0])

    def slope_by(self, inner: int) -> Array:
        """Derivative of the pooled tensor by a source or a value between, (pairs, 2, taps)."""
        import torch

        with torch.no_grad():
            x = evaluate(self.frame, inner, dict(self.env)).expand(self.inside.size).clone()
        with torch.enable_grad():
            env = {**self.env, self.frame.first(inner): x.requires_grad_()}
            out = evaluate(self.frame, self.value, env).expand(self.inside.size)
            (slope,) = torch.autograd.grad(out.sum(), x, allow_unused=True) if out.requires_grad else (None,)
        return np.zeros(self.inside.shape) if slope is None else self._windowed(slope)

    @cached_property
    def _largest(self) -> _Counts:
        return np.asarray(np.where(self.inside, self.of(self.value), -np.inf).argmax(axis=-1)[..., None])

    def _windowed(self, entries: Any) -> Array:
        return np.asarray(entries.detach().double().expand(self.inside.size).numpy()).reshape(self.inside.shape)


def _before_reordering(frame: Frame, value: int) -> tuple[int, tuple[int, ...]]:
    """The tensor whose dimensions were put in another order to make a value, and that order."""
    order = tuple(range(len(frame.graph.value(value).shape)))
    while (op := frame.graph.producer(value)) is not None and op.name in TURNS:
        before = dimension_order(frame, op)
        value, order = frame.first(op.inputs[0]), tuple(before[d] for d in order)
    return value, order


def _by_window(m: JointMoments) -> JointMoments:
    """The tensor with all pooled dimensions as one."""
    return m.reshaped((*m.shape[:2], math.prod(m.shape[2:]))).merged(0, 1, 2)


def _with_all_axes(kernel: Array, m: JointMoments) -> Array:
    for d, n in enumerate(m.shape):
        if n == 1:
            kernel = np.repeat(np.expand_dims(kernel, d), 2, d)
    return np.asarray(kernel)


def _max_pool(frame: Frame, op: Op) -> Signal:
    """The largest entry of each window, of each of the tensors that were joined to make what is pooled."""
    value, shape = op.inputs[0], frame.graph.value(op.output).shape
    before = frame.moments_at(value).shape
    if len(before) != _pooled_dims(op) + 2 or len(op.outputs) > 1:
        raise NoRuleError(f"{op.name} of an unbatched tensor, or with its indices")
    shares = tap_shares(op, before, shape)
    parts = parts_of(frame, value)
    windows = [Windows.of(frame, part.value, shares) for part in parts]
    runs = [w.largest((shape[0], part.size, *shape[2:])) for w, part in zip(windows, parts, strict=True)]
    if len(runs) > 1:
        return replace(frame.made(op, concatenated(runs, 1)), positive=frame.signals[value].positive)
    return replace(frame.made(op, runs[0]), positive=frame.signals[value].positive, law=windows[0].law())


RULES = dict.fromkeys(sorted(MAXIMA), _max_pool)
