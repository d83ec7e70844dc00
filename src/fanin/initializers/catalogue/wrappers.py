"""Laws made of laws: scaled, one for each part of the outputs, one for each stretch of the inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fanin.errors import ArgumentError, LayoutError
from fanin.initializers import sampling
from fanin.initializers.base import Array, EntryMoments, Initializer, Ranges, finite
from fanin.initializers.blocks import pooled, unviewed
from fanin.initializers.parts import joined, overlaps, part_of
from fanin.layout import Layout
from fanin.streams.keys import Key
from fanin.streams.sampling import sample
from fanin.streams.spec import Draw

__all__ = ["PerInput", "PerPart", "Scaled"]


@dataclass(frozen=True, slots=True)
class Scaled(Initializer):
    """Another law times a factor: 1 / sqrt(2 L) for the last map of each residual branch, for example.

    Args:
        law: any law.
        factor: finite; 0 gives zeros.

    Raises:
        ArgumentError: the factor is not finite.

    Source: Radford et al. 2019 (GPT-2, section 2.3) for 1 / sqrt(N) on residual layers.

    Example:
        >>> from fanin.initializers import Normal
        >>> Scaled(Normal(std=0.02), 0.5).std_for((4, 4))
        0.01
    """

    law: Initializer
    factor: float

    def __post_init__(self) -> None:
        finite("factor", self.factor)

    @property
    def breaks_symmetry(self) -> bool:  # type: ignore[override]
        """As the law does, unless the factor is 0."""
        return self.law.breaks_symmetry and self.factor != 0.0

    @property
    def uncorrelated_inputs(self) -> bool:  # type: ignore[override]
        """As the law's."""
        return self.law.uncorrelated_inputs

    @property
    def copies(self) -> int:  # type: ignore[override]
        """As the law's."""
        return self.law.copies

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Mean times factor, variance times factor^2."""
        m = self.law.moments(shape, layout)
        return EntryMoments(
            mean=m.mean * self.factor,
            var=m.var * self.factor**2,
            kurtosis=m.kurtosis,
            bound=None if m.bound is None else m.bound * abs(self.factor),
        )

    def draw(self, shape: Sequence[int], layout: Layout | None = None) -> Draw | None:
        """The law's draw with its width and shift multiplied; None for a negative factor, which no width carries."""
        one = self.law.draw(shape, layout)
        if one is None or self.factor < 0.0:
            return None
        return dataclasses.replace(one, width=one.width * self.factor, shift=one.shift * self.factor)

    def check(self, shape: Sequence[int], layout: Layout | None = None) -> None:
        """As the law does."""
        self.law.check(shape, layout)

    def joint_axes(self, shape: Sequence[int], layout: Layout | None = None) -> tuple[int, ...] | None:
        """The law's."""
        return self.law.joint_axes(shape, layout)

    def part(self, box: Ranges, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """The law's part, multiplied as `values` does."""
        if self.draw(shape, layout) is not None:
            return Initializer.part(self, box, shape, layout, key, dtype)
        drawn = part_of(self.law, box, shape, layout, key, sampling.source_dtype(dtype))
        return sampling.cast(drawn.astype(sampling.wide_dtype(dtype)) * self.factor, dtype)

    def values(self, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """The law's values, multiplied in float64 and rounded once."""
        wide = sampling.wide_dtype(dtype)
        drawn = self.law.sample(shape, key=key, layout=layout, dtype=sampling.source_dtype(dtype)).astype(wide)
        return sampling.cast(drawn * self.factor, dtype)


@dataclass(frozen=True, slots=True)
class PerPart(Initializer):
    """A law of its own for each part of a fused parameter: q, k and v; the gates of an LSTM; gate and up.

    Each part sees its own shape, so its fan_out counts its own outputs. Elementwise laws keep the stream of the whole
    parameter: a part drawn from Normal(std=0.02) has the values that the whole would have there.

    Args:
        laws: one for each part of the layout, in order.

    Raises:
        ArgumentError: no laws, or something else than laws.
        LayoutError: the layout has another number of parts, or none was given.

    Example:
        >>> import fanin
        >>> from fanin.initializers import Normal, Zeros
        >>> law = PerPart((Zeros(), Normal(std=0.02), Normal(std=0.02)))
        >>> w = law.sample((6, 4), key=fanin.key(0, "in_proj_weight"), layout=fanin.Layout.linear(parts=3))
        >>> (w != 0).any(axis=1).tolist()
        [False, False, True, True, True, True]
    """

    laws: tuple[Initializer, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.laws, tuple) or not self.laws or not all(isinstance(w, Initializer) for w in self.laws):
            raise ArgumentError(f"PerPart takes a tuple of one or more laws; got {self.laws!r}")

    @property
    def breaks_symmetry(self) -> bool:  # type: ignore[override]
        """Where every law does."""
        return all(law.breaks_symmetry for law in self.laws)

    @property
    def uncorrelated_inputs(self) -> bool:  # type: ignore[override]
        """Where every law's are."""
        return all(law.uncorrelated_inputs for law in self.laws)

    def _parts(
        self, shape: Sequence[int], layout: Layout | None
    ) -> list[tuple[Initializer, slice, tuple[int, ...], Layout]]:
        """(law, its slice of the output axis, its shape, its layout), one for each part."""
        where = Layout.default(max(len(shape), 1)) if layout is None else layout
        where.check(shape)
        shape, where = unviewed(shape, where)
        sizes = where.part_sizes(shape)
        if len(sizes) != len(self.laws) or len(where.out_axes) != 1:
            raise LayoutError(
                f"{len(self.laws)} laws for a layout of {len(sizes)} parts along {len(where.out_axes)} output axes. "
                "Give the layout that names the parts, for example Layout.linear(parts=3), and one law for each."
            )
        axis, one = where.out_axes[0], dataclasses.replace(where, parts=1)
        ends = [sum(sizes[: p + 1]) for p in range(len(sizes))]
        shapes = [tuple(n if a == axis else m for a, m in enumerate(shape)) for n in sizes]
        return [
            (law, slice(end - n, end), part, one)
            for law, end, n, part in zip(self.laws, ends, sizes, shapes, strict=True)
        ]

    def check(self, shape: Sequence[int], layout: Layout | None = None) -> None:
        """As each law does for its part."""
        for law, _, part, one in self._parts(shape, layout):
            law.check(part, one)

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Pooled over the parts."""
        found = self._parts(shape, layout)
        return pooled((max(int(np.prod(part)), 1), law.moments(part, one)) for law, _, part, one in found)

    def joint_axes(self, shape: Sequence[int], layout: Layout | None = None) -> tuple[int, ...] | None:
        """Those of all laws."""
        axes = joined([law.joint_axes(part, one) for law, _, part, one in self._parts(shape, layout)])
        return None if layout and layout.view else axes

    def part(self, box: Ranges, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """What the box holds of each part."""
        found = self._parts(shape, layout)
        axis, sizes = found[0][3].out_axes[0], [where.stop - where.start for _, where, _, _ in found]
        pieces = []
        for p, low, high in overlaps(sizes, *box[axis]):
            law, where, part, one = found[p]
            request = law.draw(part, one)
            if request is None:
                inside = [(low, high) if a == axis else ends for a, ends in enumerate(box)]
                pieces.append(part_of(law, inside, part, one, key.for_purpose(f"part {p}"), dtype))
            else:
                low, high = where.start + low, where.start + high
                there = [slice(low, high) if a == axis else slice(*ends) for a, ends in enumerate(box)]
                pieces.append(sample(request, key, shape, dtype=dtype, box=there))
        return np.concatenate(pieces, axis=axis)

    def values(self, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """The parts, side by side."""
        found = self._parts(shape, layout)
        seen = shape if layout is None else layout.viewed(shape)
        axis = found[0][3].out_axes[0]
        pieces = []
        for p, (law, where, part, one) in enumerate(found):
            request = law.draw(part, one)
            if request is None:
                pieces.append(law.sample(part, key=key.for_purpose(f"part {p}"), layout=one, dtype=dtype))
            else:
                box = tuple(where if a == axis else slice(0, n) for a, n in enumerate(seen))
                pieces.append(sample(request, key, seen, dtype=dtype, box=box))
        return np.concatenate(pieces, axis=axis).reshape(shape)


@dataclass(frozen=True, slots=True)
class PerInput(Initializer):
    """A law of its own for each stretch of a weight's inputs: what is read from the input, what from the state.

    A map of joined inputs, W [x; h], is a sum of maps side by side, W_x x + W_h h. Each law sees its own map: its
    fan_in counts its own inputs, and with `Layout.parts` an orthogonal law makes each gate's W_h orthogonal.

    Args:
        laws: one for each stretch, in order.
        sizes: inputs of each stretch; they add up to the weight's input axis.

    Raises:
        ArgumentError: no laws, something else than laws, or not one positive size for each.
        LayoutError: the layout has several input axes, groups, or another number of inputs.

    Example:
        >>> import fanin
        >>> from fanin.initializers import Orthogonal, Zeros
        >>> law = PerInput((Zeros(), Orthogonal()), (2, 3))
        >>> w = law.sample((6, 5), key=fanin.key(0, "cell.weight"), layout=fanin.Layout.linear(parts=2))
        >>> bool((w[:, :2] == 0).all()), bool(abs(w[:3, 2:] @ w[:3, 2:].T - np.eye(3)).max() < 1e-6)
        (True, True)
    """

    laws: tuple[Initializer, ...]
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.laws, tuple) or not self.laws or not all(isinstance(w, Initializer) for w in self.laws):
            raise ArgumentError(f"PerInput takes a tuple of one or more laws; got {self.laws!r}")
        counts = isinstance(self.sizes, tuple) and all(type(n) is int and n > 0 for n in self.sizes)
        if not counts or len(self.sizes) != len(self.laws):
            raise ArgumentError(
                f"PerInput takes one positive number of inputs for each of {len(self.laws)} laws; got {self.sizes!r}"
            )

    @property
    def breaks_symmetry(self) -> bool:  # type: ignore[override]
        """Where some law does: two units differ as soon as one stretch of their weights differs."""
        return any(law.breaks_symmetry for law in self.laws)

    @property
    def uncorrelated_inputs(self) -> bool:  # type: ignore[override]
        """Where every law's are."""
        return all(law.uncorrelated_inputs for law in self.laws)

    def _stretches(self, shape: Sequence[int], layout: Layout | None) -> tuple[list[tuple[int, ...]], Layout]:
        """The shape of each stretch, and the layout of all."""
        where = Layout.default(max(len(shape), 1)) if layout is None else layout
        where.check(shape)
        shape, where = unviewed(shape, where)
        inputs = shape[where.in_axes[0]] if len(where.in_axes) == 1 else 0
        if where.groups > 1 or inputs != sum(self.sizes):
            raise LayoutError(
                f"PerInput of {self.sizes} inputs needs a weight without groups whose one input axis has "
                f"{sum(self.sizes)} entries; got the shape {tuple(shape)} with input axes {where.in_axes}. Give the "
                "layout that names the input axis, for example Layout.linear_in_out()."
            )
        return [tuple(n if a == where.in_axes[0] else m for a, m in enumerate(shape)) for n in self.sizes], where

    def check(self, shape: Sequence[int], layout: Layout | None = None) -> None:
        """As each law does for its stretch."""
        shapes, where = self._stretches(shape, layout)
        for law, one in zip(self.laws, shapes, strict=True):
            law.check(one, where)

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Pooled over the stretches."""
        shapes, where = self._stretches(shape, layout)
        found = zip(self.laws, shapes, strict=True)
        return pooled((max(int(np.prod(one)), 1), law.moments(one, where)) for law, one in found)

    def joint_axes(self, shape: Sequence[int], layout: Layout | None = None) -> tuple[int, ...] | None:
        """Those of all laws."""
        shapes, where = self._stretches(shape, layout)
        axes = joined([law.joint_axes(one, where) for law, one in zip(self.laws, shapes, strict=True)])
        return None if layout and layout.view else axes

    def part(self, box: Ranges, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """What the box holds of each stretch."""
        shapes, where = self._stretches(shape, layout)
        axis, pieces = where.in_axes[0], []
        for p, low, high in overlaps(self.sizes, *box[axis]):
            inside = [(low, high) if a == axis else ends for a, ends in enumerate(box)]
            stream = key.for_purpose(f"input {p}")
            pieces.append(part_of(self.laws[p], inside, shapes[p], where, stream, dtype))
        return np.concatenate(pieces, axis=axis)

    def values(self, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """The stretches, side by side, each from a stream of its own."""
        shapes, where = self._stretches(shape, layout)
        pieces = [
            law.sample(one, key=key.for_purpose(f"input {p}"), layout=where, dtype=dtype)
            for p, (law, one) in enumerate(zip(self.laws, shapes, strict=True))
        ]
        return np.concatenate(pieces, axis=where.in_axes[0]).reshape(shape)
