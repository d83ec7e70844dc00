"""The fans that other frameworks read off a bare shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from fanin.errors import ArgumentError, LayoutError, ShapeError
from fanin.initializers.base import EntryMoments, Initializer, finite, one_of
from fanin.initializers.catalogue.variance_scaling import MODES, LawName, Mode, law_with_std
from fanin.layout import Fans, Layout
from fanin.streams.spec import Draw

__all__ = ["PEERS", "Peer", "PeerScaling", "axes_of", "peer_fans"]

Peer = Literal["torch", "keras", "jax", "lasagne", "lasagne_c01b", "mxnet", "paddle"]


def _out_in_taps(shape: Sequence[int]) -> Fans:
    """(out, in, *taps): torch, MXNet."""
    taps = math.prod(shape[2:])
    return Fans(float(shape[1] * taps), float(shape[0] * taps))


def _taps_in_out(shape: Sequence[int]) -> Fans:
    """(*rest, in, out), the rest counted as taps: JAX, Flax."""
    taps = math.prod(shape[:-2])
    return Fans(float(shape[-2] * taps), float(shape[-1] * taps))


def _keras(shape: Sequence[int]) -> Fans:
    """As JAX, and defined for scalars and vectors too."""
    if len(shape) < 2:
        size = float(shape[0]) if shape else 1.0
        return Fans(size, size)
    return _taps_in_out(shape)


def _in_out_or_conv(shape: Sequence[int]) -> Fans:
    """(in, out) matrices, (out, in, *taps) kernels: Lasagne, Paddle."""
    return Fans(float(shape[0]), float(shape[1])) if len(shape) == 2 else _out_in_taps(shape)


def _c01b(shape: Sequence[int]) -> Fans:
    """(in, height, width, out)."""
    if len(shape) != 4:
        raise ShapeError(f"c01b kernels have four axes (in, height, width, out); got shape {tuple(shape)}")
    taps = shape[1] * shape[2]
    return Fans(float(shape[0] * taps), float(shape[3] * taps))


PEERS: dict[str, Callable[[Sequence[int]], Fans]] = {
    "torch": _out_in_taps,
    "keras": _keras,
    "jax": _taps_in_out,
    "lasagne": _in_out_or_conv,
    "lasagne_c01b": _c01b,
    "mxnet": _out_in_taps,
    "paddle": _in_out_or_conv,
}


def _size(shape: Sequence[int], axes: Sequence[int]) -> int:
    return math.prod(shape[axis] for axis in axes)


def _keras_axes(shape: Sequence[int], inputs: Sequence[int], outputs: Sequence[int], batch: Sequence[int]) -> Fans:
    """Axes that are neither inputs nor outputs count nothing."""
    return Fans(float(_size(shape, inputs)), float(_size(shape, outputs)))


def _jax_axes(shape: Sequence[int], inputs: Sequence[int], outputs: Sequence[int], batch: Sequence[int]) -> Fans:
    """Axes that are neither inputs, outputs nor batch count as taps."""
    taken = _size(shape, (*inputs, *outputs, *batch))
    taps = math.prod(shape) / taken if taken else 0.0
    return Fans(_size(shape, inputs) * taps, _size(shape, outputs) * taps)


_BY_AXES: dict[str, Callable[[Sequence[int], Sequence[int], Sequence[int], Sequence[int]], Fans]] = {
    "keras": _keras_axes,
    "jax": _jax_axes,
}


def axes_of(name: str, value: int | Sequence[int] | None) -> tuple[int, ...] | None:
    """An argument that names axes, as a tuple; None stays None.

    Raises:
        ArgumentError: it is neither an integer nor a sequence of different integers.

    Example:
        >>> axes_of("in_axis", -2), axes_of("input_axes", [0, 1])
        ((-2,), (0, 1))
    """
    if value is None:
        return None
    found = tuple(value) if isinstance(value, list | tuple) else (value,)
    if any(isinstance(axis, bool) or not isinstance(axis, int) for axis in found) or len(set(found)) < len(found):
        raise ArgumentError(f"{name} must be an axis or different axes, as in [0, 1]; got {value!r}")
    return found


def peer_fans(shape: Sequence[int], peer: str) -> Fans:
    """fan_in and fan_out as that framework computes them: from the shape, knowing nothing of the layer.

    Compare `fanin.fans`, which is told what the axes mean. They part for grouped and depthwise kernels, transposed
    convolutions, fused and batched matrices.

    Args:
        shape: shape of the whole parameter, in that framework's order of axes.
        peer: "torch", "keras", "jax" (also Flax), "lasagne", "lasagne_c01b", "mxnet" or "paddle".

    Raises:
        ArgumentError: an unknown peer.
        LayoutError: a shape for which that framework raises too.

    Source: the functions _calculate_fan_in_and_fan_out of torch 2.13, compute_fans of Keras 3.15, _compute_fans of JAX
    0.10; init.py of Lasagne; initializer.py of MXNet; the Initializer base class of Paddle.

    Example:
        >>> peer_fans((64, 1, 3, 3), "torch")           # depthwise: fan_out is 9
        Fans(fan_in=9.0, fan_out=576.0)
        >>> peer_fans((3, 3, 64, 1), "keras")           # depthwise: fan_in is 9
        Fans(fan_in=576.0, fan_out=9.0)
    """
    one_of("peer", peer, tuple(PEERS))
    if len(shape) < 2 and peer != "keras":
        raise LayoutError(
            f"{peer} computes no fans for the shape {tuple(shape)}: it needs two axes. Use a law without fans for it."
        )
    return PEERS[peer](shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerScaling(Initializer):
    """What another framework samples under a fan-scaled name: std = gain / sqrt(fan), with its own reading of the fan.

    The layout is not looked at, as the framework does not. Made by ``get(name, like=...)``; for a fresh network use
    `VarianceScaling`, whose fans are right.

    Args:
        peer: whose fans, see `peer_fans`.
        gain: multiplies the realised std, >= 0.
        mode: which fan.
        law: "truncated_normal" is cut at two parent standard deviations and compensated.
        in_axes: axes that count as inputs, where the framework lets its user say so (Keras' input_axes, JAX's in_axis).
        out_axes: axes that count as outputs.
        batch_axes: axes that count independent maps (JAX's batch_axis).

    Raises:
        ArgumentError: an unknown peer, mode or law, a gain below 0, or axes for a peer that has no such arguments.
        ShapeError: when drawn, an axis that the weight does not have.

    Example:
        >>> law = PeerScaling(peer="keras", gain=2.0**0.5, law="truncated_normal")      # he_normal, depthwise
        >>> round(law.std_for((3, 3, 64, 1)), 4), round((2.0 / 9.0) ** 0.5, 4)
        (0.0589, 0.4714)
    """

    peer: Peer
    gain: float = 1.0
    mode: Mode = "fan_in"
    law: LawName = "normal"
    in_axes: tuple[int, ...] | None = None
    out_axes: tuple[int, ...] | None = None
    batch_axes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        finite("gain", self.gain, low=0.0)
        one_of("peer", self.peer, tuple(PEERS))
        given = (self.in_axes, self.out_axes, self.batch_axes or None)
        if any(axes is not None for axes in given) and self.peer not in _BY_AXES:
            raise ArgumentError(f"{self.peer} takes no axes; those that do are {', '.join(_BY_AXES)}.")
        one_of("mode", self.mode, tuple(MODES))
        law_with_std(self.law, 1.0)

    def _entry_law(self, shape: Sequence[int]) -> Initializer:
        fan = MODES[self.mode](self._fans(shape))
        if not fan > 0.0:
            raise ShapeError(f"{self} divides by {self.mode}, which is {fan:g} for the empty shape {tuple(shape)}.")
        return law_with_std(self.law, self.gain / math.sqrt(fan))

    def _fans(self, shape: Sequence[int]) -> Fans:
        if self.in_axes is None or self.out_axes is None:
            return peer_fans(shape, self.peer)
        named = (*self.in_axes, *self.out_axes, *self.batch_axes)
        beyond = [axis for axis in named if not -len(shape) <= axis < len(shape)]
        if beyond:
            raise ShapeError(f"{self} names axis {beyond[0]}, and the shape {tuple(shape)} has {len(shape)} axes.")
        return _BY_AXES[self.peer](shape, self.in_axes, self.out_axes, self.batch_axes)

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Variance gain^2 / fan."""
        if layout is not None:
            layout.check(shape)  # it changes nothing here, but a wrong one is still an error
        return self._entry_law(shape).moments(shape)

    def draw(self, shape: Sequence[int], layout: Layout | None = None) -> Draw | None:
        """The draw of the law with its numbers put in."""
        return self._entry_law(shape).draw(shape)

    def __str__(self) -> str:
        axes = ("in_axes", "out_axes") if self.in_axes is not None else ()
        named = "".join(f", {name}={getattr(self, name)}" for name in (*axes, *("batch_axes",) * bool(self.batch_axes)))
        return f"PeerScaling({self.peer!r}, gain={self.gain:.6g}, mode={self.mode!r}, law={self.law!r}{named})"
