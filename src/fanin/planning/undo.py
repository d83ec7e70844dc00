"""What a tensor held before a write, kept until all writes are done: as a copy, or as what the way back does not tell.

Two neighbours at most have the same product with a factor, once it is rounded: a third would be two units in the last
place away, and their products more than one. So the last bit of a number says which of them it was. Numbers that are
too small for full precision, or whose products are, may share one with many, and those of 16 bits often are: a byte
says by how much the division is off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

from fanin.memory import as_array
from fanin.tensors.writable import is_plain

__all__ = ["Copied", "Divided", "Multiplied", "Scratch", "packed"]

_PIECE = 1 << 17  # numbers that are multiplied, or divided, at a time
_WORDS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
_FURTHEST = 2  # units in the last place that product / factor may be off
Numbers: TypeAlias = "np.ndarray[Any, np.dtype[np.floating[Any]]]"
Bits: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"


@dataclass(slots=True)
class Copied:
    """A copy of the numbers; called, it puts them back.

    Attributes:
        own: the tensor.
        numbers: the copy.
    """

    own: torch.Tensor
    numbers: torch.Tensor

    def __call__(self) -> None:
        """Put them back."""
        self.own.copy_(self.numbers)


class Scratch:
    """Memory for one piece of a tensor, used for one piece after the other."""

    def __init__(self) -> None:
        self._of: dict[torch.dtype, tuple[torch.Tensor, Numbers]] = {}

    def of(self, dtype: torch.dtype) -> tuple[torch.Tensor, Numbers]:
        """The memory, as a tensor and as an array."""
        if dtype not in self._of:
            memory = torch.empty(_PIECE, dtype=dtype)
            self._of[dtype] = memory, as_array(memory)
        return self._of[dtype]

    def give_away(self, dtype: torch.dtype) -> None:
        """What is there belongs to somebody now; the next piece gets memory of its own."""
        self._of.pop(dtype, None)


class Multiplied:
    """A multiplication of a tensor, piece by piece, and the way back; called, it puts the old numbers back.

    It may be called when the multiplication ended early, and again. It keeps one bit a number; of the piece that is
    being written, and of those with numbers that a bit does not bring back, a copy.

    Args:
        own: the tensor; see `fits`.
        factor: what its numbers are multiplied by.
        multiply: does that with a tensor that has no other dtype.
        scratch: memory for a piece, shared by tensors that are multiplied one after the other.

    Example:
        >>> weight = torch.tensor([0.1, -0.7, 0.0])
        >>> undo = Multiplied(weight, 0.3, lambda piece: piece.mul_(0.3))
        >>> undo.run()
        >>> weight
        tensor([ 0.0300, -0.2100,  0.0000])
        >>> undo()
        >>> weight
        tensor([ 0.1000, -0.7000,  0.0000])
    """

    def __init__(
        self, own: torch.Tensor, factor: float, multiply: Callable[[torch.Tensor], Any], scratch: Scratch | None = None
    ) -> None:
        self._own, self._factor, self._multiply, self._scratch = own, factor, multiply, scratch or Scratch()
        self._kept: list[torch.Tensor | Bits] = []  # of each piece a copy, or its bits

    @staticmethod
    def fits(own: torch.Tensor) -> bool:
        """Whether a tensor can be multiplied so: floats of 32 bits or more in memory of their own, without gaps."""
        floats = own.is_floating_point() and own.dtype.itemsize >= 4
        return floats and own.device.type == "cpu" and is_plain(own) and own.is_contiguous()

    @property
    def nbytes(self) -> int:
        """Memory that is kept."""
        return sum(kept.nbytes for kept in self._kept)

    def run(self) -> None:
        """Multiply."""
        whole = as_array(self._own.view(-1))
        for piece, first in zip(self._pieces(), range(0, whole.size, _PIECE), strict=True):
            numbers = whole[first : first + _PIECE]
            copy, room = self._scratch.of(piece.dtype)
            bits = _last_bits(numbers) if self._is_ordinary(numbers, room[: numbers.size]) else None
            self._kept.append(copy[: numbers.size].copy_(piece))
            self._multiply(piece)
            if bits is None:
                self._scratch.give_away(piece.dtype)
            else:
                self._kept[-1] = bits

    def __call__(self) -> None:
        """Put the old numbers back."""
        for at, (piece, kept) in enumerate(zip(self._pieces(), self._kept, strict=False)):
            before = kept if isinstance(kept, torch.Tensor) else self._before(piece, kept)
            self._kept[at] = before  # the bits belong to the products, which are gone once this is written
            piece.copy_(before)

    def _pieces(self) -> list[torch.Tensor]:
        flat = self._own.view(-1)
        return [flat[first : first + _PIECE] for first in range(0, len(flat), _PIECE)]

    def _is_ordinary(self, before: Numbers, room: Numbers) -> bool:
        """Whether neither a number nor its product has less than full precision, but for zeros."""
        kind, size = np.finfo(before.dtype), np.abs(before, out=room)
        least = 2.0 * float(kind.smallest_normal) / min(self._factor, 1.0)
        most = 0.5 * float(kind.max) / max(self._factor, 1.0)
        smallest, largest = float(size.min()), float(size.max())
        if smallest <= least:
            size[size == 0.0] = largest
            smallest = float(size.min())
        return (least < smallest and largest < most) or largest == 0.0

    def _before(self, product: torch.Tensor, bits: Bits) -> torch.Tensor:
        """The numbers with such products: the one that is nearest to zero, or its neighbour."""
        words = (product / self._factor).view(_WORDS[product.dtype.itemsize])
        nearest = words.clone()
        for step in range(_FURTHEST, -_FURTHEST - 1, -1):
            near = (words + step).view(product.dtype)
            again = near.clone()
            self._multiply(again)
            nearest = torch.where(again == product, near.view(words.dtype), nearest)
        higher = (nearest & 1) != torch.from_numpy(np.unpackbits(bits, count=len(words)))
        return torch.where(product == 0.0, product, (nearest + higher).view(product.dtype))


def _last_bits(numbers: Numbers) -> Bits:
    """The last bit of each number: of two neighbours one has it, and one has not."""
    low = numbers.view(f"i{numbers.dtype.itemsize}").astype(np.uint8)
    return np.packbits(np.bitwise_and(low, 1, out=low))


@dataclass(slots=True)
class Divided:
    """The way back from numbers that were multiplied; called, it puts the old ones back, also when called again.

    Attributes:
        own: the tensor, which holds the products.
        factor: what the numbers were multiplied by.
        misses: what is to be added to the bits of product / factor, read as a whole number.
    """

    own: torch.Tensor
    factor: float
    misses: torch.Tensor
    _before: torch.Tensor | None = None

    def __call__(self) -> None:
        """Put the old numbers back."""
        if self._before is None:  # from the products, which are gone once this is written
            self._before = self._numbers()
        self.own.copy_(self._before)

    def _numbers(self) -> torch.Tensor:
        before = torch.empty_like(self.own)
        words = before.view(-1).view(_WORDS[before.dtype.itemsize])
        for here, quotients in _quotients(self.own, self.factor):
            torch.add(quotients, self.misses[here], out=words[here])
        return before


def packed(copy: Copied, factor: float) -> Copied | Divided:
    """The same in a fraction of the memory, once the tensor holds the products; the copy where that cannot be.

    Example:
        >>> weight, before = torch.randn(9), None
        >>> copy = Copied(weight, weight.clone())
        >>> before, small = copy.numbers, packed(copy, 0.3)
        >>> small is copy  # the tensor does not hold the products yet
        True
        >>> _ = weight.mul_(0.3)
        >>> packed(copy, 0.3)()
        >>> torch.equal(weight, before)
        True
    """
    own = copy.own
    size = own.dtype.itemsize
    if not own.is_floating_point() or size not in _WORDS or not is_plain(own) or not own.is_contiguous():
        return copy
    words = copy.numbers.view(-1).view(_WORDS[size])
    misses = torch.empty(own.numel(), dtype=torch.int8, device=own.device)
    for here, quotients in _quotients(own, factor):
        miss = torch.sub(words[here], quotients, out=quotients)
        least, largest = miss.aminmax()
        if int(least) < -128 or int(largest) > 127:
            return copy
        misses[here] = miss
    return Divided(own, factor, misses)


def _quotients(own: torch.Tensor, factor: float) -> Iterator[tuple[slice, torch.Tensor]]:
    """Pieces of the tensor divided by the factor, as whole numbers of their bits."""
    flat = own.detach().view(-1)
    for first in range(0, len(flat), _PIECE):
        here = slice(first, min(first + _PIECE, len(flat)))
        yield here, (flat[here] / factor).view(_WORDS[own.dtype.itemsize])
