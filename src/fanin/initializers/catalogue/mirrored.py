"""Mirrored orthogonal maps: networks that look linear at the start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from fanin.errors import ArgumentError, ShapeError
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


class _Parts(NamedTuple):
    """How one side of a map is divided: units of A, and units that are left over (0 or one unit's)."""

    half: int
    spare: int


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

    Of an odd number of units the last one is left over. It reads a random direction, with the std of the other units,
    and its outgoing weights are zero: at step 0 the network computes what it would without this unit. From the first
    step on its outgoing weights receive a gradient, and from the second its incoming ones.

    Args:
        side: where the copies are.
        gain: multiplies A.
        scaled: False leaves rectangular maps unscaled.
        kernel: for convolutions, what A is: "delta" (`DeltaOrthogonal`), "full" (`ConvOrthogonal`) or "flat" (the
            flattened kernel `Orthogonal`, not an isometry).
        centre: of "delta", see `fanin.initializers.taps.centre_index`.
        inputs_per_unit: inputs that one unit of the layer before gives: 1, or the number of positions that a flatten
            lays side by side for each channel. It matters only where the number of units is odd.

    Raises:
        ArgumentError: an unknown side, kernel or centre, a gain that is not finite, or inputs_per_unit below 1.
        ShapeError: a single unit on a mirrored side, inputs that are no multiple of inputs_per_unit, or a grouped map.
        LayoutError: the shape has no input axis.

    Source: Balduzzi, Frean, Leary, Lewis, Ma, McWilliams 2017 (arXiv 1702.08591, section 4); the exactness for GELU,
    SiLU and softplus follows from f(x) - f(-x) = x. The unit left over is measured in docs/recipes.md.

    Example:
        >>> import fanin, numpy as np
        >>> a = MirroredOrthogonal(side="output").sample((9, 4), key=fanin.key(0, "fc1.weight"))
        >>> b = MirroredOrthogonal(side="input").sample((4, 9), key=fanin.key(0, "fc2.weight"))
        >>> x = np.random.default_rng(0).normal(size=4)
        >>> bool(np.allclose(np.linalg.norm(b @ np.maximum(a @ x, 0.0)), np.linalg.norm(x), rtol=1e-6))
        True
        >>> bool(np.array_equal(a[:4], -a[4:8])), b[:, 8].any()
        (True, np.False_)
    """

    uncorrelated_inputs: ClassVar[bool] = False
    side: Side
    gain: float = 1.0
    scaled: bool = True
    kernel: KernelForm = "delta"
    centre: Centre = "same"
    inputs_per_unit: int = 1

    def __post_init__(self) -> None:
        finite("gain", self.gain)
        one_of("side", self.side, ("input", "output", "both"))
        one_of("kernel", self.kernel, ("delta", "full", "flat"))
        one_of("centre", self.centre, ("same", "half"))
        if not isinstance(self.inputs_per_unit, int) or self.inputs_per_unit < 1:
            raise ArgumentError(f"inputs_per_unit is a whole number >= 1; got {self.inputs_per_unit!r}")

    @property
    def copies(self) -> int:  # type: ignore[override]
        """Two where the units are mirrored, one where the inputs alone are."""
        return 1 if self.side == "input" else 2

    # ------------------------------------------------------------------ sizes
    def _parts(self, size: int, side: str, per_unit: int) -> _Parts:
        """How an axis of that size is divided; all of it in A where this side is not mirrored."""
        if self.side not in (side, "both"):
            return _Parts(size, 0)
        units, rest = divmod(size, per_unit)
        if rest:
            raise ShapeError(
                f"{self} needs a multiple of inputs_per_unit = {per_unit} inputs; got {size}. Give the number of "
                "inputs that one unit of the layer before stands for."
            )
        if units < 2:
            raise ShapeError(
                f"a map mirrored on its {side} side needs at least two units there; got {units}. Make the layer one "
                "unit wider, or use Orthogonal(scaled=True) there."
            )
        return _Parts(units // 2 * per_unit, units % 2 * per_unit)

    def _sides(self, block: Block) -> tuple[_Parts, _Parts]:
        """Outputs and inputs."""
        return self._parts(block.out, "output", 1), self._parts(block.inputs, "input", self.inputs_per_unit)

    def _map_law(self, taps: tuple[int, ...], gain: float) -> Initializer:
        if not taps or self.kernel == "flat":
            return Orthogonal(gain=gain, scaled=self.scaled)
        if self.kernel == "full":
            return ConvOrthogonal(gain=gain, scaled=self.scaled)
        return DeltaOrthogonal(gain=gain, scaled=self.scaled, centre=self.centre)

    def _layout(self, shape: Sequence[int], layout: Layout | None) -> Layout:
        where = mapped_layout(shape, layout, self)
        if where.groups > 1:
            raise ShapeError(
                f"{self} needs every output to see both copies of an input, and {where.groups} groups keep them apart; "
                "use DeltaOrthogonal or Dirac for grouped convolutions."
            )
        return where

    # ------------------------------------------------------------------ moments
    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Those of A, which a sign does not change; of an odd width, pooled with the unit left over and its zeros."""
        where = self._layout(shape, layout)
        return pooled(part for block in where.blocks(shape) for part in self._of_block(block, where))

    def _of_block(self, block: Block, layout: Layout) -> list[tuple[int, EntryMoments]]:
        out, inputs = self._sides(block)
        read = block.inputs - inputs.spare
        of_map = self._of_map(block, layout)
        counts = (
            ((block.out - out.spare) * read, of_map),
            (block.out * inputs.spare, EntryMoments(var=0.0, bound=0.0)),
        )
        found = [(n * block.maps * block.num_taps, m) for n, m in counts if n]
        if out.spare:
            law, small, one = self._small(block, layout, rows=1)
            row = law.moments(small, one)
            factor = of_map.std / row.std
            scaled = replace(row, var=of_map.var, bound=None if row.bound is None else row.bound * factor)
            found.append((block.maps * out.spare * read * block.num_taps, scaled))
        return found

    def _of_map(self, block: Block, layout: Layout) -> EntryMoments:
        law, small, one = self._small(block, layout)
        return law.moments(small, one)

    def _small(
        self, block: Block, layout: Layout, rows: int | None = None
    ) -> tuple[Initializer, tuple[int, ...], Layout]:
        """The law of A, its shape (maps, out, in, *taps) and its layout; with `rows`: of so many rows, at gain 1."""
        out, inputs = self._sides(block)
        axes = tuple(range(3, 3 + len(block.taps)))
        one = Layout(
            batch_axes=(0,),
            out_axes=(1,),
            in_axes=(2,),
            tap_axes=axes,
            stride=layout.strides() if axes else 1,
            transposed=layout.transposed,
        )
        law = self._map_law(block.taps, self.gain if rows is None else 1.0)
        return law, (block.maps, out.half if rows is None else rows, inputs.half, *block.taps), one

    # ------------------------------------------------------------------ values
    def values(self, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """A and its copies, the unit left over, and zeros where it is read."""
        where = self._layout(shape, layout)

        def make(k: Key, block: Block, wide: str) -> Array:
            out, inputs = self._sides(block)
            rows = self._map(k, block, where, wide)
            if self.side != "input":
                spare = [self._spare_row(k, block, where, wide)] if out.spare else []
                rows = np.concatenate([rows, -rows, *spare], axis=1)
            if self.side == "output":
                return rows
            unread = np.zeros((*rows.shape[:2], inputs.spare, rows.shape[3]), dtype=rows.dtype)
            return np.concatenate([rows, -rows, unread], axis=2)

        return assemble(shape, where, key, dtype, make)

    def _map(self, key: Key, block: Block, layout: Layout, dtype: str) -> Array:
        law, small, one = self._small(block, layout)
        return law.values(small, one, key, dtype).reshape(*small[:3], block.num_taps)

    def _spare_row(self, key: Key, block: Block, layout: Layout, dtype: str) -> Array:
        """What the unit left over reads of A's inputs: a random direction, with the std of A's entries."""
        law, small, one = self._small(block, layout, rows=1)
        row = law.values(small, one, key.for_purpose("spare unit"), dtype).reshape(*small[:3], block.num_taps)
        factor = self._of_map(block, layout).std / law.std_for(small, one)
        return np.asarray(row * row.dtype.type(factor))
