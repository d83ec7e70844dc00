"""Which elements of a whole tensor one process holds, as runs along each axis: plain arithmetic, no communication.

Every fact about placements is here once; `holdings` reads a live tensor.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from fanin.errors import ArgumentError, FillError
from fanin.streams.boxes import Box, strides_of
from fanin.tensors.runs import Cut, Runs, between, boxes, held_runs, length, met, placed

__all__ = ["Cell", "Cut", "Holding", "Part", "Piece", "Range", "held_runs", "holdings", "is_partitioned"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a local tensor that is one box of the whole.

    Attributes:
        here: slices of the local tensor, one an axis.
        box: which elements of the whole they are.
    """

    here: tuple[slice, ...]
    box: Box


@dataclass(frozen=True, slots=True)
class Cell:
    """A part of a local tensor that a law whose entries depend on each other can make by itself.

    Attributes:
        here: slices of the local tensor, one an axis.
        runs: which elements of the whole they are: one run along an axis; along a joint one as many as there are.
    """

    here: tuple[slice, ...]
    runs: tuple[Runs, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the box; of a flat local tensor it is a stretch."""
        return tuple(length(runs) for runs in self.runs)


class Part(Protocol):
    """What a process holds of a tensor: `Holding` or `Range`."""

    @property
    def whole(self) -> tuple[int, ...]:
        """Shape of the whole tensor."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the local tensor."""

    def pieces(self) -> Iterator[Piece]:
        """The parts of the local tensor that are boxes of the whole, none of them empty."""

    def cells(self, joint: Collection[int]) -> Iterator[Cell]:
        """The parts of the local tensor that are one run along each axis but the joint ones, none of them empty."""

    def inside(self, box: Sequence[tuple[int, int]]) -> Iterator[tuple[slice, ...]]:
        """Where a box of the whole, (first, after the last) for each axis, lies in the local tensor."""

    def rows(self, first: int, last: int) -> Part:
        """The part that is these indices of the local tensor's first axis."""


@dataclass(frozen=True, slots=True)
class Holding:
    """The part of a tensor that a process holds: the product of runs along each axis.

    Attributes:
        whole: shape of the whole tensor.
        runs: for each axis its half-open runs, in the order in which they lie in the local tensor.
        is_zero: True where the process holds zeros, and another one the values (a partial sum).
        is_first: False for a copy of what another process holds too (a replica that is not the first one).

    Example:
        >>> part = Holding(whole=(6, 4), runs=(((0, 1), (3, 4)), ((0, 4),)))
        >>> part.shape, [piece.here[0] for piece in part.pieces()]
        ((2, 4), [slice(0, 1, None), slice(1, 2, None)])
    """

    whole: tuple[int, ...]
    runs: tuple[Runs, ...]
    is_zero: bool = False
    is_first: bool = True

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the local tensor."""
        return tuple(length(runs) for runs in self.runs)

    @property
    def numel(self) -> int:
        """Number of elements held."""
        return math.prod(self.shape)

    @property
    def is_whole(self) -> bool:
        """Whether the process holds every element, in order."""
        return not self.is_zero and all(
            r == ((0, n),) or (n == 0 and not r) for r, n in zip(self.runs, self.whole, strict=True)
        )

    def pieces(self) -> Iterator[Piece]:
        """The parts of the local tensor that are boxes of the whole, none of them empty."""
        if self.is_zero or not self.numel:
            return
        for chosen in itertools.product(*(placed(runs) for runs in self.runs)):
            there = [slice(first, last) for first, last, _ in chosen]
            here = tuple(slice(at, at + last - first) for first, last, at in chosen)
            yield Piece(here, Box.of(self.whole, there))

    def cells(self, joint: Collection[int]) -> Iterator[Cell]:
        """The parts of the local tensor that are one run along each axis but the joint ones, none of them empty."""
        if self.is_zero or not self.numel:
            return
        whole = [[(runs, slice(0, length(runs)))] for runs in self.runs]
        each = [[(((a, b),), slice(at, at + b - a)) for a, b, at in placed(runs)] for runs in self.runs]
        for chosen in itertools.product(*(whole[n] if n in joint else each[n] for n in range(len(self.runs)))):
            yield Cell(tuple(here for _, here in chosen), tuple(runs for runs, _ in chosen))

    def inside(self, box: Sequence[tuple[int, int]]) -> Iterator[tuple[slice, ...]]:
        """Where a box of the whole, (first, after the last) for each axis, lies in the local tensor."""
        if not self.is_zero:
            yield from itertools.product(*(met(r, *ends) for r, ends in zip(self.runs, box, strict=True)))

    def rows(self, first: int, last: int) -> Holding:
        """The part that is these indices of the local tensor's first axis."""
        return replace(self, runs=(between(self.runs[0], first, last), *self.runs[1:]))


@dataclass(frozen=True, slots=True)
class Range:
    """The part of a tensor that a process holds: elements first ... last - 1 in row-major order, as a flat tensor.

    Attributes:
        whole: shape of the whole tensor.
        first: row-major index of the first element held.
        last: index after the last one.

    Example:
        >>> Range(whole=(2, 3), first=1, last=5).shape
        (4,)
    """

    whole: tuple[int, ...]
    first: int
    last: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the local tensor: flat."""
        return (self.last - self.first,)

    @property
    def numel(self) -> int:
        """Number of elements held."""
        return self.last - self.first

    def pieces(self) -> Iterator[Piece]:
        """The flat range as one box; nothing where it is empty."""
        if self.numel:
            yield Piece((slice(0, self.numel),), Box((self.numel,), (1,), self.first))

    def cells(self, joint: Collection[int]) -> Iterator[Cell]:
        """The flat range as boxes, one after the other: a rest of a row, whole rows, and the beginning of a row."""
        at = 0
        for ends in boxes(self.whole, self.first, self.last):
            size = math.prod(b - a for a, b in ends)
            yield Cell((slice(at, at + size),), tuple((one,) for one in ends))
            at += size

    def inside(self, box: Sequence[tuple[int, int]]) -> Iterator[tuple[slice, ...]]:
        """Where a box of the whole, (first, after the last) for each axis, lies in the flat tensor."""
        sizes, steps = self.whole, strides_of(self.whole)
        tail = len(sizes)  # axes from here on are whole, so they lie in one run
        while tail and tuple(box[tail - 1]) == (0, sizes[tail - 1]):
            tail -= 1
        if not tail:
            yield (slice(0, self.numel),)
            return
        (low, high), step = box[tail - 1], steps[tail - 1]
        for index in itertools.product(*(range(*ends) for ends in box[: tail - 1])):
            start = sum(i * s for i, s in zip(index, steps, strict=False))
            a, b = (min(max(start + x * step - self.first, 0), self.numel) for x in (low, high))
            if a < b:
                yield (slice(a, b),)

    def rows(self, first: int, last: int) -> Range:
        """The part that is these elements of the flat tensor."""
        return replace(self, first=self.first + first, last=self.first + last)


# ---------------------------------------------------------------------- live tensors
def holdings(tensor: Any) -> Holding | Range:
    """Which elements of the whole tensor this process holds.

    Nothing is communicated. A plain tensor is held whole. A DTensor may be placed by any mix of ``Shard``,
    ``_StridedShard``, ``Replicate``, ``Partial("sum")`` (the first rank holds the values, the others zeros) and
    ``Partial("avg")`` over a power of two of ranks. A process outside the mesh holds nothing. A parameter that ZeRO-3
    has partitioned is held as a flat range.

    Args:
        tensor: a torch tensor, DTensor or ZeRO-3 parameter.

    Returns:
        A `Holding` (runs along each axis), or a `Range` of the row-major order for ZeRO-3.

    Raises:
        ArgumentError: no tensor.
        FillError: another placement, which is named, or ranks that ZeRO-3 groups in another way.

    Example:
        >>> import torch
        >>> holdings(torch.zeros(2, 3))
        Holding(whole=(2, 3), runs=(((0, 2),), ((0, 3),)), is_zero=False, is_first=True)
    """
    if is_partitioned(tensor):
        return _of_zero3(tensor)
    if not hasattr(tensor, "shape"):
        raise ArgumentError(
            f"holdings takes one tensor or parameter; got {type(tensor).__name__}. Of a model: {{name: holdings(p) for "
            "name, p in model.named_parameters()}"
        )
    if not (hasattr(tensor, "device_mesh") and hasattr(tensor, "placements")):
        return Holding(tuple(tensor.shape), held_runs(tensor.shape, ()))
    part = _of_dtensor(tensor)
    local = tuple(tensor.to_local().shape)
    if part.shape != local and not (part.numel == 0 and math.prod(local) == 0):
        raise FillError(
            f"a DTensor of shape {part.whole} placed as {tensor.placements} holds a part of shape {local}, and by the "
            f"rules of these placements it should be {part.shape}. Redistribute it first, or fill before sharding."
        )
    return part


def is_partitioned(tensor: Any) -> bool:
    """Whether a tensor is a parameter that ZeRO-3 keeps as flat parts, one on each rank."""
    return hasattr(tensor, "ds_tensor") and hasattr(tensor, "ds_numel") and tensor.numel() == 0


def _of_dtensor(tensor: Any) -> Holding:
    mesh, shape = tensor.device_mesh, tuple(int(n) for n in tensor.shape)
    where = mesh.get_coordinate()
    if where is None:
        return Holding(shape, tuple(() for _ in shape))
    sizes = [mesh.size(axis) for axis in range(len(tensor.placements))]
    kinds = [_read(p, tensor, n) for p, n in zip(tensor.placements, sizes, strict=True)]
    cuts = [
        Cut(kinds[axis].dim % len(shape), sizes[axis], where[axis], kinds[axis].factor)
        for axis in _order(tensor)
        if kinds[axis].dim is not None
    ]
    copies = [where[axis] for axis, kind in enumerate(kinds) if kind.is_copy]
    zeros = any(where[axis] for axis, kind in enumerate(kinds) if kind.is_sum)
    return Holding(shape, held_runs(shape, cuts), is_zero=zeros, is_first=not any(copies))


@dataclass(frozen=True, slots=True)
class _Kind:
    dim: Any = None
    factor: int = 1
    is_copy: bool = False
    is_sum: bool = False


def _read(placement: Any, tensor: Any, ranks: int) -> _Kind:
    """What a placement does, by its very class: an unknown one may be a subclass of a known one."""
    from torch.distributed.tensor import Partial, Replicate, Shard
    from torch.distributed.tensor.placement_types import _StridedShard

    kind = type(placement)
    if kind is Shard:
        return _Kind(dim=placement.dim)
    if kind is _StridedShard:
        return _Kind(dim=placement.dim, factor=int(placement.split_factor))
    if kind is Replicate:
        return _Kind(is_copy=True)
    if kind is Partial and placement.reduce_op == "sum":
        return _Kind(is_sum=True)
    if kind is Partial and placement.reduce_op == "avg" and ranks & (ranks - 1) == 0:
        return _Kind(is_copy=True)
    raise FillError(
        f"a DTensor placed as {tensor.placements} cannot be filled: {placement!r} of the class {kind.__name__} over "
        f"{ranks} ranks does not say which elements a rank holds. Allowed are Shard, _StridedShard, Replicate, "
        "Partial('sum'), and Partial('avg') over a power of two of ranks. Redistribute it first, or fill before "
        "sharding."
    )


def _order(tensor: Any) -> list[int]:
    """Mesh axes in the order in which they cut; a DTensor may carry an order of its own for each tensor axis."""
    spec = tensor._spec
    listed = getattr(spec, "shard_order", None) or ()
    if getattr(spec, "use_strided_shard_as_shard_order", False):
        listed = ()
    said = [axis for entry in listed for axis in entry.mesh_dims]
    return said + [axis for axis in range(len(tensor.placements)) if axis not in said]


def _of_zero3(tensor: Any) -> Range:
    import torch.distributed as dist

    shape, count, part = tuple(int(n) for n in tensor.ds_shape), int(tensor.ds_numel), tensor.ds_tensor
    if getattr(tensor, "ds_secondary_tensor", None) is not None or getattr(tensor, "comm", None) is not None:
        raise FillError(
            "a ZeRO-3 parameter with secondary partitions (hpZ) or in sub-groups (MiCS) is kept in more than one way. "
            "Fill it before it is partitioned, or inside deepspeed.zero.GatheredParameters(params, modifier_rank=0)."
        )
    size = int(part.numel())
    ranks, rank = dist.get_world_size(tensor.ds_process_group), dist.get_rank(tensor.ds_process_group)
    if size != -(-count // ranks):
        raise FillError(
            f"a ZeRO-3 parameter of {count} numbers over {ranks} ranks has parts of {size}, not {-(-count // ranks)}. "
            "Fill it inside deepspeed.zero.GatheredParameters(params, modifier_rank=0)."
        )
    return Range(shape, min(rank * size, count), min((rank + 1) * size, count))
