"""What the axes of a weight mean: the one place where a shape becomes fan_in and fan_out.

A `Layout` is passed, never guessed from the rank. Modules and captured operations give it; for a bare array the caller
does, with torch's (out, in, *taps) as the documented default.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from fanin.errors import ArgumentError, LayoutError
from fanin.text.reading import read_fields, shown

__all__ = ["Block", "Fans", "Layout", "assert_layout", "fan_in", "fan_out", "fans", "from_blocks", "to_blocks"]


class Fans(NamedTuple):
    """The two fans of one map.

    `fan_in` counts the terms summed into one output, `fan_out` those summed into the gradient of one input; both are
    averages over positions where a stride makes the count vary, so they can be fractions.
    """

    fan_in: float
    fan_out: float


class Block(NamedTuple):
    """The independent maps of one part of a weight: `maps` of them, each from `inputs` to `out` units over `taps`.

    `maps` counts batch entries times groups; `taps` holds the size of each tap axis (empty for a matrix).
    """

    maps: int
    out: int
    inputs: int
    taps: tuple[int, ...]

    @property
    def num_taps(self) -> int:
        """Kernel positions."""
        return math.prod(self.taps)

    @property
    def size(self) -> int:
        """Entries."""
        return self.maps * self.out * self.inputs * self.num_taps


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Which axes of a weight are output, input, kernel taps and batch, and how groups, parts and strides divide them.

    Attributes:
        out_axes: axes that count output units.
        in_axes: axes that count input units; empty for a lookup table.
        tap_axes: kernel positions of a convolution.
        batch_axes: axes over independent maps (experts, heads with their own matrix).
        groups: number of groups of a grouped convolution (1: none).
        groups_on: the side whose axis spans all groups; the other one counts the units of one group.
            torch ``ConvNd`` (out, in / groups): "out". torch ``ConvTransposeNd`` (in, out / groups) and Keras'
            depthwise kernel (taps, channels, multiplier): "in".
        parts: sizes of the maps that lie side by side along the output axis (q, k, v; the gates of an LSTM; gate and
            up). An int asks for that many equal parts. fan_out counts one part.
        stride: stride per tap axis (an int for all). Of a convolution it divides fan_out, of a transposed convolution
            fan_in.
        transposed: the weight is used by a transposed convolution.
        lookup: rows are read, not summed (an embedding): fan_in is 1 (times `bag` rows).
        bag: rows summed into one output by an EmbeddingBag.
        multiplied: the input axes belong to inputs that are multiplied with each other (Bilinear), not to one input
            that is laid out over several axes. fan_out is then the geometric mean over the inputs.
        view: the shape whose axes the layout names, where the parameter's own shape runs axes of different meaning
            together: a flat vector that is used as a matrix. Its numbers are read in the same order. Empty: its own.

    Source: the counts are those of He et al. 2015 (arXiv 1502.01852, eq. 7 and 14) with groups, parts and strides as
    they act in the sum; torch, Keras and Flax count some of them differently (see ``docs/initializers.md``).

    Example:
        >>> fans((64, 32, 3, 3), Layout.conv(2))
        Fans(fan_in=288.0, fan_out=576.0)
        >>> fans((64, 1, 3, 3), Layout.conv(2, groups=64))     # depthwise: torch.nn.init says fan_out = 576
        Fans(fan_in=9.0, fan_out=9.0)
    """

    out_axes: tuple[int, ...] = (0,)
    in_axes: tuple[int, ...] = (1,)
    tap_axes: tuple[int, ...] = ()
    batch_axes: tuple[int, ...] = ()
    groups: int = 1
    groups_on: Literal["out", "in"] = "out"
    parts: int | tuple[int, ...] = 1
    stride: int | tuple[int, ...] = 1
    transposed: bool = False
    lookup: bool = False
    bag: int = 1
    multiplied: bool = False
    view: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        axes = self.out_axes + self.in_axes + self.tap_axes + self.batch_axes
        if len(set(axes)) != len(axes) or sorted(axes) != list(range(len(axes))):
            raise LayoutError(
                "every axis must appear once in out_axes, in_axes, tap_axes or batch_axes, from 0 upwards; got "
                f"out={self.out_axes}, in={self.in_axes}, taps={self.tap_axes}, batch={self.batch_axes}. "
                "Negative axes are not allowed: write them out."
            )
        if self.groups < 1 or self.bag < 1:
            raise LayoutError(f"groups and bag must be >= 1; got groups={self.groups}, bag={self.bag}")
        if self.groups_on not in ("out", "in"):
            raise LayoutError(f"groups_on must be 'out' or 'in'; got {self.groups_on!r}")
        parts = self.parts if isinstance(self.parts, tuple) else (self.parts,)
        if not parts or min(parts) < 1:
            raise LayoutError(f"parts must be a positive count or a tuple of positive sizes; got {self.parts!r}")
        if self.view and len(self.view) != self.rank:
            raise LayoutError(f"a view has one size for each of the {self.rank} axes; got {self.view!r}")
        strides = (self.stride,) if isinstance(self.stride, int) else self.stride
        if not isinstance(self.stride, int) and len(strides) != len(self.tap_axes):
            raise LayoutError(
                f"stride needs one entry for each of the {len(self.tap_axes)} tap axes; got {self.stride!r}"
            )
        if any(s < 1 for s in strides):
            raise LayoutError(f"strides are >= 1; got {self.stride!r}")

    # ------------------------------------------------------------------ the layouts people meet
    @classmethod
    def linear(cls, *, parts: int | tuple[int, ...] = 1) -> Layout:
        """Torch ``nn.Linear`` (out, in); with `parts`, fused maps stacked along out (MultiheadAttention, LSTM)."""
        return cls(parts=parts)

    @classmethod
    def linear_in_out(cls, *, parts: int | tuple[int, ...] = 1) -> Layout:
        """(in, out) matrices: GPT-2's Conv1D, ``x @ W``, Keras and Flax Dense kernels."""
        return cls(out_axes=(1,), in_axes=(0,), parts=parts)

    @classmethod
    def conv(cls, num_taps: int, *, groups: int = 1, stride: int | tuple[int, ...] = 1) -> Layout:
        """Torch ``nn.ConvNd`` (out, in / groups, *taps)."""
        return cls(tap_axes=tuple(range(2, 2 + num_taps)), groups=groups, stride=stride)

    @classmethod
    def conv_transposed(cls, num_taps: int, *, groups: int = 1, stride: int | tuple[int, ...] = 1) -> Layout:
        """Torch ``nn.ConvTransposeNd`` (in, out / groups, *taps)."""
        return cls(
            out_axes=(1,),
            in_axes=(0,),
            tap_axes=tuple(range(2, 2 + num_taps)),
            groups=groups,
            groups_on="in",
            stride=stride,
            transposed=True,
        )

    @classmethod
    def channels_last(
        cls, rank: int, *, groups: int = 1, stride: int | tuple[int, ...] = 1, transposed: bool = False
    ) -> Layout:
        """Keras, Flax and Haiku kernels (*taps, in/groups, out); `transposed`: Flax' ConvTranspose (*taps, in, out)."""
        return cls(
            out_axes=(rank - 1,),
            in_axes=(rank - 2,),
            tap_axes=tuple(range(rank - 2)),
            groups=groups,
            stride=stride,
            transposed=transposed,
        )

    @classmethod
    def keras_depthwise(cls, rank: int, channels: int, *, stride: int | tuple[int, ...] = 1) -> Layout:
        """Keras' depthwise kernel (*taps, channels, multiplier)."""
        return cls(
            out_axes=(rank - 1,),
            in_axes=(rank - 2,),
            tap_axes=tuple(range(rank - 2)),
            groups=channels,
            groups_on="in",
            stride=stride,
        )

    @classmethod
    def keras_conv_transposed(cls, rank: int, *, stride: int | tuple[int, ...] = 1) -> Layout:
        """Keras' transposed kernel (*taps, out, in); also Flax' ConvTranspose with ``transpose_kernel=True``."""
        return cls(
            out_axes=(rank - 2,), in_axes=(rank - 1,), tap_axes=tuple(range(rank - 2)), stride=stride, transposed=True
        )

    @classmethod
    def embedding(cls, *, bag: int = 1) -> Layout:
        """A lookup table (rows, features); `bag` rows are summed into one output by an EmbeddingBag(mode="sum")."""
        return cls(out_axes=(1,), in_axes=(0,), lookup=True, bag=bag)

    @classmethod
    def bilinear(cls) -> Layout:
        """Torch ``nn.Bilinear`` (out, in1, in2): both inputs are summed over.

        The gradient of the first input sums out x in2 terms, that of the second out x in1: fan_out is their geometric
        mean, exact for both where in1 = in2.

        Example:
            >>> fans((96, 16, 64), Layout.bilinear())
            Fans(fan_in=1024.0, fan_out=3072.0)
        """
        return cls(in_axes=(1, 2), multiplied=True)

    @classmethod
    def experts(cls, *, in_out: bool = False, parts: int | tuple[int, ...] = 1) -> Layout:
        """Stacked expert matrices (experts, out, in), or (experts, in, out)."""
        return cls(batch_axes=(0,), out_axes=(2 if in_out else 1,), in_axes=(1 if in_out else 2,), parts=parts)

    @classmethod
    def heads(cls, *, output: bool = False) -> Layout:
        """Per-head projection (model, heads, size) of Flax and Keras attention; `output`: (heads, size, model)."""
        if output:
            return cls(in_axes=(0, 1), out_axes=(2,))
        return cls(in_axes=(0,), out_axes=(1, 2))

    @classmethod
    def c01b(cls) -> Layout:
        """cuda-convnet's (in, height, width, out), as in Lasagne's ``c01b=True``."""
        return cls(out_axes=(3,), in_axes=(0,), tap_axes=(1, 2))

    @classmethod
    def vector(cls, *, parts: int | tuple[int, ...] = 1) -> Layout:
        """A 1-D parameter with one number per unit (bias, norm scale; `parts`: gates): it has no fans."""
        return cls(out_axes=(0,), in_axes=(), parts=parts)

    @classmethod
    def default(cls, rank: int) -> Layout:
        """Torch's (out, in, *taps) for a bare array of the given rank: the documented default, not a guess."""
        if rank == 1:
            return cls.vector()
        if rank < 1:
            raise LayoutError("a scalar has no axes, so no layout; give a tensor of rank >= 1")
        return cls.conv(rank - 2)

    # ------------------------------------------------------------------ facts
    @property
    def rank(self) -> int:
        """Number of axes that the layout describes."""
        return len(self.out_axes) + len(self.in_axes) + len(self.tap_axes) + len(self.batch_axes)

    def viewed(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape whose axes the layout names.

        Raises:
            LayoutError: the view has another number of entries than the parameter.

        Example:
            >>> Layout(view=(32, 64)).viewed((2048,)), Layout.linear().viewed((32, 64))
            ((32, 64), (32, 64))
        """
        if self.view and math.prod(self.view) != math.prod(shape):
            raise LayoutError(f"the view {self.view} does not hold the numbers of a parameter of shape {tuple(shape)}")
        return self.view or tuple(shape)

    def check(self, shape: Sequence[int]) -> None:
        """Raise `LayoutError` where the layout does not fit the shape."""
        shape = self.viewed(shape)
        if len(shape) != self.rank:
            raise LayoutError(
                f"the layout names {self.rank} axes but the shape {tuple(shape)} has {len(shape)}. Pass the layout "
                f"that fits, for example Layout.default({max(len(shape), 1)}) for torch's (out, in, *taps)."
            )
        spanned = _size(shape, self.out_axes if self.groups_on == "out" else self.in_axes)
        if spanned % self.groups:
            raise LayoutError(
                f"{self.groups} groups do not divide the {spanned} units of the {self.groups_on} axes in shape "
                f"{tuple(shape)}"
            )
        sizes = self.part_sizes(shape)
        if sum(sizes) != _size(shape, self.out_axes):
            raise LayoutError(
                f"parts {self.parts} do not add up to the {_size(shape, self.out_axes)} output units of shape "
                f"{tuple(shape)}"
            )
        if len(sizes) > 1 and (self.groups > 1 or len(self.out_axes) > 1):
            raise LayoutError("parts need a single output axis and no groups")

    def part_sizes(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Output units of each part."""
        shape = self.viewed(shape)
        if isinstance(self.parts, tuple):
            return self.parts
        size, rest = divmod(_size(shape, self.out_axes), self.parts)
        if rest:
            raise LayoutError(
                f"{self.parts} equal parts do not divide the {_size(shape, self.out_axes)} output units of shape "
                f"{tuple(shape)}"
            )
        return (size,) * self.parts

    def strides(self) -> tuple[int, ...]:
        """Stride of each tap axis."""
        return (self.stride,) * len(self.tap_axes) if isinstance(self.stride, int) else self.stride

    def blocks(self, shape: Sequence[int]) -> tuple[Block, ...]:
        """The independent maps inside a weight of this shape, one entry for each part.

        Example:
            >>> Layout.conv(2, groups=4).blocks((8, 3, 5, 5))
            (Block(maps=4, out=2, inputs=3, taps=(5, 5)),)
        """
        self.check(shape)
        shape = self.viewed(shape)
        maps = _size(shape, self.batch_axes) * self.groups
        inputs = _size(shape, self.in_axes) // (self.groups if self.groups_on == "in" else 1)
        taps = tuple(shape[a] for a in self.tap_axes)
        divide = self.groups if self.groups_on == "out" else 1
        return tuple(Block(maps, out // divide, inputs, taps) for out in self.part_sizes(shape))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form that holds only what differs from the defaults."""
        defaults = Layout()
        changed = {k: v for k, v in asdict(self).items() if v != getattr(defaults, k)}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in changed.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Layout:
        """Inverse of `to_dict`.

        Raises:
            LayoutError: the data describes no layout.
        """
        try:
            return cls(**read_fields(cls, data))
        except LayoutError:
            raise
        except ArgumentError as error:
            raise LayoutError(f"no layout: {error}") from error


def assert_layout(layout: object) -> None:
    """Check that it is a layout, or None for torch's (out, in, *taps).

    Raises:
        LayoutError: it is neither.
    """
    if layout is not None and not isinstance(layout, Layout):
        raise LayoutError(f"layout is None or a Layout, such as Layout.linear(); got {shown(layout)}")


def _size(shape: Sequence[int], axes: Sequence[int]) -> int:
    return math.prod(shape[a] for a in axes)


def _assert_shape(shape: Iterable[Any]) -> None:
    try:
        right = all(operator.index(n) >= 0 for n in shape)
    except (TypeError, ValueError):  # no sequence, or a tensor, whose rows are no sizes
        right = False
    if not right:
        raise LayoutError(f"a shape holds whole numbers >= 0, as in (256, 784) or weight.shape; got {shown(shape)}")


def fans(shape: Sequence[int], layout: Layout | None = None) -> Fans:
    """fan_in and fan_out of one map inside a weight of the given shape.

    fan_in = inputs of one group x taps (/ stride product if transposed); fan_out = outputs of one group and part x taps
    (/ stride product if not transposed). Parts of unequal size count with their mean. Of inputs that are multiplied,
    n_1 ... n_k units wide, fan_in = n_1 ... n_k and fan_out = out (n_1 ... n_k)^((k-1)/k).

    Args:
        shape: shape of the whole weight.
        layout: what its axes mean; torch's (out, in, *taps) where none is given.

    Raises:
        LayoutError: no shape, a layout that does not fit it, or a shape without an input axis (a bias, a norm scale).

    Example:
        >>> fans((256, 784))
        Fans(fan_in=784.0, fan_out=256.0)
        >>> fans((64, 16, 4, 4), Layout.conv_transposed(2, stride=2))
        Fans(fan_in=256.0, fan_out=256.0)
    """
    assert_layout(layout)
    _assert_shape(shape)
    layout = Layout.default(len(shape)) if layout is None else layout
    layout.check(shape)
    if not layout.in_axes:
        raise LayoutError(
            f"a parameter of shape {tuple(shape)} with one number per unit has no fan_in or fan_out; use a law that "
            "needs none (Zeros, Ones, Constant, Normal(std=...)), or pass the layout of the weight it belongs to."
        )
    shape = layout.viewed(shape)
    taps = _size(shape, layout.tap_axes)
    strides = math.prod(layout.strides())
    ins = _size(shape, layout.in_axes) / (layout.groups if layout.groups_on == "in" else 1)
    outs = _size(shape, layout.out_axes) / (layout.groups if layout.groups_on == "out" else 1)
    outs /= len(layout.part_sizes(shape))
    if layout.lookup:
        return Fans(float(layout.bag), outs)
    if layout.multiplied:
        outs *= ins ** (1.0 - 1.0 / len(layout.in_axes))
    down, up = (strides, 1) if layout.transposed else (1, strides)
    return Fans(ins * taps / down, outs * taps / up)


def fan_in(shape: Sequence[int], layout: Layout | None = None) -> float:
    """Number of terms summed into one output; see `fans`.

    Example:
        >>> fan_in((768, 256), Layout.linear(parts=3))
        256.0
    """
    return fans(shape, layout).fan_in


def fan_out(shape: Sequence[int], layout: Layout | None = None) -> float:
    """Number of terms summed into the gradient of one input; see `fans`.

    Example:
        >>> fan_out((768, 256), Layout.linear(parts=3))
        256.0
    """
    return fans(shape, layout).fan_out


def to_blocks(weight: npt.NDArray[Any], layout: Layout) -> list[npt.NDArray[Any]]:
    """The maps inside a weight: for each part one array (batch x groups, out, in, taps).

    Structured laws (orthogonal, delta-orthogonal, identity, ...) fill these blocks; `from_blocks` puts them back.

    Example:
        >>> [b.shape for b in to_blocks(np.zeros((12, 4)), Layout.linear(parts=3))]
        [(1, 4, 4, 1), (1, 4, 4, 1), (1, 4, 4, 1)]
    """
    layout.check(weight.shape)
    weight = weight.reshape(layout.viewed(weight.shape))
    order = (*layout.batch_axes, *layout.out_axes, *layout.in_axes, *layout.tap_axes)
    b, o, i, t = (
        _size(weight.shape, axes) for axes in (layout.batch_axes, layout.out_axes, layout.in_axes, layout.tap_axes)
    )
    flat = weight.transpose(order).reshape(b, o, i, t)
    g = layout.groups
    if g > 1 and layout.groups_on == "out":
        return [flat.reshape(b * g, o // g, i, t)]
    if g > 1:
        return [flat.reshape(b, o, g, i // g, t).transpose(0, 2, 1, 3, 4).reshape(b * g, o, i // g, t)]
    edges = np.cumsum(layout.part_sizes(weight.shape))[:-1]
    return list(np.split(flat, edges, axis=1))


def from_blocks(blocks: Sequence[npt.NDArray[Any]], shape: Sequence[int], layout: Layout) -> npt.NDArray[Any]:
    """Inverse of `to_blocks`: the weight of the given shape that holds these maps.

    Example:
        >>> w = np.arange(24.0).reshape(2, 3, 4)
        >>> blocks = to_blocks(w, Layout.experts())
        >>> bool((from_blocks(blocks, w.shape, Layout.experts()) == w).all())
        True
    """
    own, shape = tuple(shape), layout.viewed(shape)
    b, o, i, t = (_size(shape, axes) for axes in (layout.batch_axes, layout.out_axes, layout.in_axes, layout.tap_axes))
    g = layout.groups
    if g > 1 and layout.groups_on == "out":
        flat = blocks[0].reshape(b, o, i, t)
    elif g > 1:
        flat = blocks[0].reshape(b, g, o, i // g, t).transpose(0, 2, 1, 3, 4).reshape(b, o, i, t)
    else:
        flat = np.concatenate(blocks, axis=1)
    order = (*layout.batch_axes, *layout.out_axes, *layout.in_axes, *layout.tap_axes)
    inverse = np.argsort(order)
    return np.ascontiguousarray(flat.reshape([shape[a] for a in order]).transpose(inverse)).reshape(own)
