"""Mirrored orthogonal maps: networks that look linear at the start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from fanin.errors import ShapeError
from fanin.initializers.base import Array, EntryMoments, Initializer, finite, one_of
from fanin.initializers.blocks import assemble, mapped_layout, pooled
from fanin.initializers.catalogue.conv_orthogonal import ConvOrthogonal
from fanin.initializers.catalogue.delta_orthogonal import DeltaOrthogonal
from fanin.initializers.catalogue.orthogonal import Orthogonal
from fanin.initializers.taps import Centre
from fanin.layout import Block, Layout
from fanin.streams.keys import Key

__all__ = ["MirroredOrthogonal", "Side"]

Side = Literal["input", "output", "both"]
KernelForm = Literal["delta", "full", "flat"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MirroredOrthogonal(Initializer):
    """Orthogonal maps in mirrored copies: a network of ReLUs that starts as a linear orthogonal map.

    For every f with f(x) - f(-x) = x (ReLU, GELU, SiLU, softplus, hardswish) a layer [A; -A] followed by f and by [B,
    -B] computes B A x exactly: outputs, lengths, angles and gradients of the whole network are those of the product of
    orthogonal maps, at any depth. For leaky ReLU of slope a f(x) - f(-x) = (1 + a) x, so take gain 1 / (1 + a); for the
    sigmoid it is tanh(x / 2): take gain 2.

    =============  ======================  ===========================================
    side           the map                 used for
    =============  ======================  ===========================================
    "output"       [A; -A]                 the first layer
    "both"         [[A, -A], [-A, A]]      hidden layers
    "input"        [A, -A]                 the layer after the last activation
    =============  ======================  ===========================================

    A is `Orthogonal` of half the width on each mirrored side, times max(1, sqrt(out / in)) where rectangular, so the
    second moment of what f sees is kept. Units come in pairs of opposite sign, which training separates, because f is
    not odd.

    Args:
        side: where the copies are.
        gain: multiplies A.
        scaled: False leaves rectangular maps unscaled.
        kernel: for convolutions, what A is: "delta" (`DeltaOrthogonal`), "full" (`ConvOrthogonal`) or "flat" (the
            flattened kernel `Orthogonal`, not an isometry).
        centre: of "delta", see `fanin.initializers.taps.centre_index`.

    Raises:
        ArgumentError: an unknown side, kernel or centre, or a gain that is not finite.
        ShapeError: an odd width on a mirrored side, or a grouped map.
        LayoutError: the shape has no input axis.

    Source: Balduzzi, Frean, Leary, Lewis, Ma, McWilliams 2017 (arXiv 1702.08591, section 4); the exactness for GELU,
    SiLU and softplus follows from f(x) - f(-x) = x.

    Example:
        >>> import fanin, numpy as np
        >>> a = MirroredOrthogonal(side="output").sample((8, 4), key=fanin.key(0, "fc1.weight"))
        >>> b = MirroredOrthogonal(side="input").sample((4, 8), key=fanin.key(0, "fc2.weight"))
        >>> x = np.random.default_rng(0).normal(size=4)
        >>> bool(np.allclose(np.linalg.norm(b @ np.maximum(a @ x, 0.0)), np.linalg.norm(x), rtol=1e-6))
        True
    """

    uncorrelated_inputs: ClassVar[bool] = False
    side: Side
    gain: float = 1.0
    scaled: bool = True
    kernel: KernelForm = "delta"
    centre: Centre = "same"

    def __post_init__(self) -> None:
        finite("gain", self.gain)
        one_of("side", self.side, ("input", "output", "both"))
        one_of("kernel", self.kernel, ("delta", "full", "flat"))
        one_of("centre", self.centre, ("same", "half"))

    def _half(self, block: Block) -> tuple[int, int]:
        """Units and inputs of A."""
        halves = []
        for side, size in (("output", block.out), ("input", block.inputs)):
            mirrored = self.side in (side, "both")
            if mirrored and size % 2:
                raise ShapeError(
                    f"a map mirrored on its {side} side needs an even number of {side}s; got {size}. Make the layer "
                    "one unit wider, or use Orthogonal(scaled=True) there."
                )
            halves.append(size // 2 if mirrored else size)
        return halves[0], halves[1]

    def _map_law(self, taps: tuple[int, ...]) -> Initializer:
        if not taps or self.kernel == "flat":
            return Orthogonal(gain=self.gain, scaled=self.scaled)
        if self.kernel == "full":
            return ConvOrthogonal(gain=self.gain, scaled=self.scaled)
        return DeltaOrthogonal(gain=self.gain, scaled=self.scaled, centre=self.centre)

    def _layout(self, shape: Sequence[int], layout: Layout | None) -> Layout:
        where = mapped_layout(shape, layout, self)
        if where.groups > 1:
            raise ShapeError(
                f"{self} needs every output to see both copies of an input, and {where.groups} groups keep them apart; "
                "use DeltaOrthogonal or Dirac for grouped convolutions."
            )
        return where

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Those of A: a sign changes none of them."""
        where = self._layout(shape, layout)
        return pooled((block.size, self._of_map(block, where)) for block in where.blocks(shape))

    def _of_map(self, block: Block, layout: Layout) -> EntryMoments:
        law, small, one = self._small(block, layout)
        return law.moments(small, one)

    def _small(self, block: Block, layout: Layout) -> tuple[Initializer, tuple[int, ...], Layout]:
        """The law of A, its shape (maps, out, in, *taps) and the layout of that."""
        out, inputs = self._half(block)
        axes = tuple(range(3, 3 + len(block.taps)))
        one = Layout(
            batch_axes=(0,),
            out_axes=(1,),
            in_axes=(2,),
            tap_axes=axes,
            stride=layout.strides() if axes else 1,
            transposed=layout.transposed,
        )
        return self._map_law(block.taps), (block.maps, out, inputs, *block.taps), one

    def values(self, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """A and its copies."""
        where = self._layout(shape, layout)

        def make(k: Key, block: Block, wide: str) -> Array:
            law, small, one = self._small(block, where)
            a = law.values(small, one, k, wide).reshape(*small[:3], block.num_taps)
            return _COPIES[self.side](a)

        return assemble(shape, where, key, dtype, make)


def _on_output(a: Array) -> Array:
    return np.concatenate([a, -a], axis=1)


def _on_input(a: Array) -> Array:
    return np.concatenate([a, -a], axis=2)


_COPIES: dict[str, Callable[[Array], Array]] = {
    "output": _on_output,
    "input": _on_input,
    "both": lambda a: _on_output(_on_input(a)),
}
