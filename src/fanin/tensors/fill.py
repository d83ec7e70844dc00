"""Write a law into a torch tensor: in place, in any memory format, on any device, whole or one shard of it.

Everything that can be known to fail is checked before the first byte changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from fanin.errors import ArgumentError, ShapeError
from fanin.layout import assert_layout
from fanin.memory import as_array
from fanin.streams.arguments import assert_key, assert_threads, checked_shape
from fanin.streams.boxes import Box
from fanin.streams.cpu import Progress, fill_memory
from fanin.streams.dtypes import fill_dtype
from fanin.streams.geometry import Walk
from fanin.streams.keys import Key
from fanin.streams.law import Law, parts, prepare
from fanin.streams.spec import Draw
from fanin.tensors.cells import Ranges, write_cells
from fanin.tensors.holdings import Holding, Part, Piece, holdings
from fanin.tensors.shards import is_sharded, local_part
from fanin.tensors.writable import is_plain, refuse_hollow, refuse_unfit
from fanin.text.reading import shown

if TYPE_CHECKING:
    import torch

    from fanin.layout import Layout

__all__ = ["Fillable", "fill_"]


class Fillable(Protocol):
    """What `fill_` asks of a law; every `fanin.initializers.Initializer` has it."""

    def check(self, shape: Sequence[int], layout: Layout | None = None) -> None:
        """Raise where the law has no meaning for the shape."""

    def draw(self, shape: Sequence[int], layout: Layout | None = None) -> Draw | None:
        """How one entry is drawn; None where entries depend on each other."""

    def sample(
        self, shape: Sequence[int], *, key: Key, layout: Layout | None = None, dtype: Any = "float32"
    ) -> npt.NDArray[Any]:
        """The whole array."""


@runtime_checkable
class Divisible(Fillable, Protocol):
    """A law that may say which parts of a weight can be made by themselves; every `Initializer` is one."""

    def joint_axes(self, shape: Sequence[int], layout: Layout | None = None) -> tuple[int, ...] | None:
        """Axes along which entries depend on each other; None where only the whole can be made."""

    def part(self, box: Ranges, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> npt.NDArray[Any]:
        """The values of a box that is whole along these axes."""

    def write_into(
        self,
        weight: npt.NDArray[Any],
        key: Key,
        layout: Layout | None = None,
        box: Ranges | None = None,
        of: Sequence[int] = (),
    ) -> bool:
        """Write them into a float32 array; whether it did."""

    def mean_for(self, shape: Sequence[int], layout: Layout | None = None) -> float:
        """Mean of an entry."""

    def std_for(self, shape: Sequence[int], layout: Layout | None = None) -> float:
        """Standard deviation of an entry."""


def fill_(
    tensor: torch.Tensor,
    law: Fillable | Draw,
    *,
    key: Key,
    layout: Layout | None = None,
    shape: Sequence[int] | None = None,
    box: Sequence[slice] | None = None,
    part: Part | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> torch.Tensor:
    """Write a law's values into a tensor, in place: the same values as ``law.sample`` with that key, bit for bit.

    Gradients are not recorded, and autograd is told that the tensor changed. A DTensor fills its own shard, without
    communication. Elementwise laws take less than 8 MiB beside the tensor, whatever its size.

    Args:
        tensor: floating or complex, in any memory format (channels last, transposed, a slice with steps) and on any
            device; a parameter that requires grad is fine.
        law: an initializer, or a `Draw`.
        key: the stream, ``fanin.key(seed, name)``.
        layout: what the axes mean; torch's (out, in, *taps) where none is given.
        shape: shape of the whole parameter, where the tensor is a shard of it.
        box: which part of it: slices (steps >= 1), one an axis. The tensor must have the box's shape.
        part: which part of it, where that is no box (`fanin.holdings`): the flat parts of FSDP and ZeRO-3.
        threads: at most so many, on the CPU; the bits do not depend on it.
        progress: called with the number of elements written so far; an exception raised in it stops the fill.

    Returns:
        The tensor.

    Raises:
        ArgumentError: something that is no law, key or count of threads.
        FillError: the tensor has no memory of its own (meta, ZeRO-3, lazy), or shares places between its elements.
        DtypeError: weights cannot be drawn in its dtype (integers, quantised).
        ShapeError: tensor, shape and box do not fit together, or the law has no meaning for the shape.

    Example:
        >>> import fanin, torch
        >>> from fanin.streams import Draw
        >>> w = torch.empty(64, 3, 3, 3).to(memory_format=torch.channels_last)
        >>> _ = fill_(w, Draw(kind="normal", width=0.1), key=fanin.key(0, "conv1.weight"))
        >>> half, box = torch.empty(32, 3, 3, 3), [slice(32, 64)]
        >>> _ = fill_(half, Draw(kind="normal", width=0.1), key=fanin.key(0, "conv1.weight"), shape=w.shape, box=box)
        >>> torch.equal(half, w[32:])
        True
    """
    import torch

    assert_key(key)
    assert_threads(threads)
    assert_layout(layout)
    _assert_law(law)
    place = _place(tensor, shape, box, part)
    writer = _writer(law, place, key, layout, threads, progress)
    with torch.no_grad():
        writer(place.memory)
        if not place.memory.is_inference():
            torch.autograd.graph.increment_version(tensor)
    return tensor


def _assert_law(law: object) -> None:
    """Check that it is a law, not its name or its class.

    Raises:
        ArgumentError: it is not.
    """
    if isinstance(law, type) or not (
        isinstance(law, Draw) or all(hasattr(law, n) for n in ("check", "draw", "sample"))
    ):
        how = f"fanin.initializers.get({law!r})" if isinstance(law, str) else "he_normal() or Normal(std=0.02)"
        raise ArgumentError(f"a law is an initializer, or a Draw; got {shown(law)}. Write {how}.")


# ---------------------------------------------------------------------- where to write
@dataclass(frozen=True, slots=True)
class _Place:
    """Memory that can be written, and which parts of it are which boxes of which parameter."""

    memory: torch.Tensor
    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]
    part: Part | None = None  # None where the box has steps

    @property
    def is_whole(self) -> bool:
        """Whether the memory is the parameter."""
        return len(self.pieces) == 1 and self.pieces[0].box == Box.of(self.shape)

    def parts(self, memory: torch.Tensor) -> Iterator[tuple[torch.Tensor, Box]]:
        """Each part of the memory that is one box of the parameter."""
        for piece in self.pieces:
            yield memory[piece.here] if piece.here else memory, piece.box


def _place(
    tensor: torch.Tensor, shape: Sequence[int] | None, slices: Sequence[slice] | None, part: Part | None
) -> _Place:
    plain = is_plain(tensor)
    refuse_hollow(tensor)
    memory = tensor.detach() if plain else tensor
    if is_sharded(tensor):
        if shape is not None or slices is not None:
            raise ShapeError("a DTensor knows its own shape and shard; leave shape= and box= out")
        part, memory = holdings(tensor), local_part(tensor).detach()
    refuse_unfit(memory)
    fill_dtype(memory.dtype)
    if part is not None:
        return _place_of_part(memory, part)
    if slices is not None and shape is None:
        raise ShapeError(f"box={slices!r} needs shape=, the shape of the whole parameter that it is cut from")
    whole = tuple(memory.shape) if shape is None else checked_shape(shape)
    box = Box.of(whole, slices)
    if box.shape != tuple(memory.shape):
        raise ShapeError(
            f"the tensor has shape {tuple(memory.shape)} and the box {slices} of a parameter of shape {whole} has "
            f"{box.shape}; they must be equal. Give shape= and box= of this very shard."
        )
    return _Place(memory, whole, (Piece((), box),), _part_of_box(whole, slices))


def _part_of_box(shape: tuple[int, ...], slices: Sequence[slice] | None) -> Part | None:
    """A box as a part; None where it leaves elements out."""
    ends = [cut.indices(n) for cut, n in zip((*(slices or ()), *(slice(None),) * len(shape)), shape, strict=False)]
    runs = tuple(((a, b),) if a < b else () for a, b, _ in ends)
    return Holding(shape, runs) if all(step == 1 for _, _, step in ends) else None


def _place_of_part(memory: torch.Tensor, part: Part) -> _Place:
    if tuple(memory.shape) != part.shape and memory.numel():
        raise ShapeError(
            f"the tensor has shape {tuple(memory.shape)} and the part {part} has {part.shape}; they must be equal. "
            "Give the part that this very tensor is."
        )
    pieces = tuple(part.pieces()) if memory.numel() else ()
    return _Place(memory, part.whole, pieces, part)


# ---------------------------------------------------------------------- what to write
Writer = Callable[["torch.Tensor"], object]


def _writer(
    law: Fillable | Draw,
    place: _Place,
    key: Key,
    layout: Layout | None,
    threads: int | None,
    progress: Progress | None,
) -> Writer:
    """What writes the law, with everything checked that can be checked before writing."""
    dtype = place.memory.dtype
    if not isinstance(law, Draw):
        law.check(place.shape, layout)
        request = law.draw(place.shape, layout)
        if request is None:
            return _structured(law, place, key, layout)
        law = request
    prepared = prepare(law, dtype)
    return _by_parts(place, lambda memory, box: _draw(memory, prepared, key, box, threads, progress))


def _by_parts(place: _Place, write: Callable[[torch.Tensor, Box], None]) -> Writer:
    """What writes each part of the memory; where other processes hold the values of a sum, zeros."""

    def writer(memory: torch.Tensor) -> None:
        if not place.pieces:
            memory.zero_()
        for part, box in place.parts(memory):
            write(part, box)

    return writer


def _structured(law: Fillable, place: _Place, key: Key, layout: Layout | None) -> Writer:
    """What writes a law whose entries depend on each other: in place where it can, else by a copy of the whole."""
    import torch

    constant = getattr(law, "only_value", None)
    if constant is not None:
        law.sample((), key=key, dtype=fill_dtype(place.memory.dtype).name)  # refuses a value that the dtype cannot hold
        return _by_parts(place, lambda memory, box: _constant(memory, constant))
    dtype, memory = place.memory.dtype, place.memory
    if place.is_whole and memory.device.type == "cpu" and dtype == torch.float32 and memory.is_contiguous():
        return lambda memory: _write_or_copy(memory, law, key, layout)
    if not place.pieces:
        return lambda memory: memory.zero_()
    drawn_in_single = dtype in (torch.float32, torch.bfloat16, torch.float16)
    if (by_cells := _by_cells(law, place, key, layout, drawn_in_single)) is not None:
        return by_cells
    values = np.empty(place.shape, np.float32) if drawn_in_single else None
    if values is None or not _write_into(law, values, key, layout):
        values = law.sample(place.shape, key=key, layout=layout, dtype=fill_dtype(dtype).name)
    flat = np.ascontiguousarray(values).reshape(-1)
    return _by_parts(place, lambda memory, box: _copy(memory, _boxed(flat, box)))


def _by_cells(law: Fillable, place: _Place, key: Key, layout: Layout | None, in_single: bool) -> Writer | None:
    """What writes a few units at a time; None for a law that makes the whole alone.

    None also where the numbers may be too large for the dtype, which is seen before the first byte in the whole alone.
    """
    part, dtype, shape = place.part, fill_dtype(place.memory.dtype), place.shape
    if part is None or not isinstance(law, Divisible) or (joint := law.joint_axes(shape, layout)) is None:
        return None
    if not _FAR * (abs(law.mean_for(shape, layout)) + law.std_for(shape, layout)) < dtype.largest:
        return None

    def make(box: Ranges) -> npt.NDArray[Any]:
        values = np.empty([b - a for a, b in box], np.float32) if in_single else None
        if values is not None and law.write_into(values, key, layout, box, shape):
            return values
        return law.part(box, shape, layout, key, dtype.name)

    return lambda memory: write_cells(memory, part, joint, make, _copy)


_FAR = 1e6  # standard deviations that no number of a law reaches


def _constant(memory: torch.Tensor, value: float) -> None:
    memory.fill_(value)


def _boxed(flat: npt.NDArray[Any], box: Box) -> npt.NDArray[Any]:
    """A box of an array that is given as its elements in row-major order; nothing is copied."""
    return as_strided(flat[box.start :], box.shape, tuple(step * flat.itemsize for step in box.strides))


def _write_into(law: Fillable, weight: npt.NDArray[Any], key: Key, layout: Layout | None) -> bool:
    write = getattr(law, "write_into", None)
    return write is not None and bool(write(weight, key, layout))


def _write_or_copy(memory: torch.Tensor, law: Fillable, key: Key, layout: Layout | None) -> None:
    if not _write_into(law, as_array(memory), key, layout):
        _copy(memory, law.sample(tuple(memory.shape), key=key, layout=layout))


def _copy(memory: torch.Tensor, values: npt.NDArray[Any]) -> None:
    import torch

    if values.dtype.name == "bfloat16":
        memory.copy_(torch.from_numpy(np.ascontiguousarray(values).view(np.int16)).view(torch.bfloat16))
    else:
        memory.copy_(torch.from_numpy(np.ascontiguousarray(values)))


def _draw(memory: torch.Tensor, law: Law, key: Key, box: Box, threads: int | None, progress: Progress | None) -> None:
    import torch

    if box.size == 0:
        return
    lanes = torch.view_as_real(memory).unbind(-1) if law.dtype.is_complex else (memory,)
    for lane, (part, stream) in zip(lanes, parts(law, key), strict=True):
        if memory.device.type == "cpu":
            fill_memory(_flat(lane), part, stream, box, steps=lane.stride(), threads=threads, progress=progress)
        else:
            _draw_on_device(lane, part, stream, Walk.of(box, lane.stride()), progress)


def _span(t: torch.Tensor) -> torch.Tensor:
    """The memory from the first to the last element of a tensor, as one axis."""
    reach = 1 + sum((size - 1) * step for size, step in zip(t.shape, t.stride(), strict=True))
    return t.as_strided((reach,), (1,))


def _flat(t: torch.Tensor) -> npt.NDArray[Any]:
    import torch

    flat = _span(t)
    return as_array(flat.view(torch.int16)).view(np.uint16) if flat.element_size() == 2 else as_array(flat)


def _draw_on_device(t: torch.Tensor, law: Law, key: Key, walk: Walk, progress: Progress | None) -> None:
    from fanin.streams import torch_engine, triton_engine

    if t.device.type == "cuda" and triton_engine.can_fill(law, walk):
        triton_engine.fill_flat(_span(t), law, key, walk)
        if progress is not None:
            progress(t.numel())
    else:
        torch_engine.fill_flat(_span(t), law, key, walk, progress)
