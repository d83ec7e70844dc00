"""The fans that other frameworks read off a bare shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from fanin.errors import LayoutError, ShapeError
from fanin.initializers.base import EntryMoments, Initializer, finite, one_of
from fanin.initializers.catalogue.variance_scaling import MODES, LawName, Mode, law_with_std
from fanin.layout import Fans, Layout
from fanin.streams.spec import Draw

__all__ = ["PEERS", "Peer", "PeerScaling", "peer_fans"]

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

    Raises:
        ArgumentError: an unknown peer, mode or law, or a gain below 0.

    Example:
        >>> law = PeerScaling(peer="keras", gain=2.0**0.5, law="truncated_normal")      # he_normal, depthwise
        >>> round(law.std_for((3, 3, 64, 1)), 4), round((2.0 / 9.0) ** 0.5, 4)
        (0.0589, 0.4714)
    """

    peer: Peer
    gain: float = 1.0
    mode: Mode = "fan_in"
    law: LawName = "normal"

    def __post_init__(self) -> None:
        finite("gain", self.gain, low=0.0)
        one_of("peer", self.peer, tuple(PEERS))
        one_of("mode", self.mode, tuple(MODES))
        law_with_std(self.law, 1.0)

    def _entry_law(self, shape: Sequence[int]) -> Initializer:
        fan = MODES[self.mode](peer_fans(shape, self.peer))
        if not fan > 0.0:
            raise ShapeError(f"{self} divides by {self.mode}, which is {fan:g} for the empty shape {tuple(shape)}.")
        return law_with_std(self.law, self.gain / math.sqrt(fan))

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Variance gain^2 / fan."""
        if layout is not None:
            layout.check(shape)  # it changes nothing here, but a wrong one is still an error
        return self._entry_law(shape).moments(shape)

    def draw(self, shape: Sequence[int], layout: Layout | None = None) -> Draw | None:
        """The draw of the law with its numbers put in."""
        return self._entry_law(shape).draw(shape)

    def __str__(self) -> str:
        return f"PeerScaling({self.peer!r}, gain={self.gain:.6g}, mode={self.mode!r}, law={self.law!r})"
