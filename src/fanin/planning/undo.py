"""What a tensor held before a write, kept until all writes are done: as a copy, or as what the way back does not tell.

Two neighbours at most have the same product with a factor, once it is rounded: a third would be two units in the last
place away, and their products more than one. So one bit a number says which of them it was. Numbers that are too small
for full precision, or whose products are, may share one with many, and those of 16 bits often are: a byte says by how
much the division is off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fanin.memory import as_array
from fanin.tensors.writable import is_plain

__all__ = ["Copied", "Divided", "Multiplied", "packed"]

_PIECE = 1 << 16  # numbers that are multiplied, or divided, at a time
_WORDS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
_FURTHEST = 2  # units in the last place that product / factor may be off


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


class Multiplied:
    """A multiplication of a tensor, piece by piece, and the way back; called, it puts the old numbers back.

    It may be called when the multiplication ended early, and again. It keeps one bit a number; of the piece that is
    being written, and of those with numbers that a bit does not bring back, a copy.

    Args:
        own: the tensor; see `fits`.
        factor: what its numbers are multiplied by.
        multiply: does that with a tensor that has no other dtype.

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

    def __init__(self, own: torch.Tensor, factor: float, multiply: Callable[[torch.Tensor], Any]) -> None:
        self._own, self._factor, self._multiply = own, factor, multiply
        self._kept: list[torch.Tensor | np.ndarray[Any, Any]] = []  # of each piece a copy, or its bits

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
        scratch = torch.empty_like(self._own.view(-1)[:_PIECE])
        for piece in self._pieces():
            before = piece.clone()
            self._kept.append(before)
            self._multiply(piece)
            if self._is_ordinary(before, scratch[: len(piece)]):
                self._kept[-1] = self._bits(before, piece, scratch[: len(piece)])

    def __call__(self) -> None:
        """Put the old numbers back."""
        for at, (piece, kept) in enumerate(zip(self._pieces(), self._kept, strict=False)):
            before = kept if isinstance(kept, torch.Tensor) else self._before(piece, kept)
            self._kept[at] = before  # the bits belong to the products, which are gone once this is written
            piece.copy_(before)

    def _pieces(self) -> list[torch.Tensor]:
        flat = self._own.view(-1)
        return [flat[first : first + _PIECE] for first in range(0, len(flat), _PIECE)]

    def _is_ordinary(self, before: torch.Tensor, scratch: torch.Tensor) -> bool:
        """Whether neither a number nor its product has less than full precision, but for zeros."""
        kind, size = torch.finfo(before.dtype), torch.abs(before, out=scratch)
        least, most = 2.0 * kind.smallest_normal / min(self._factor, 1.0), 0.5 * kind.max / max(self._factor, 1.0)
        smallest, largest = (float(end) for end in size.aminmax())
        if smallest <= least:
            size[size == 0.0] = largest
            smallest = float(size.min())
        return (least < smallest and largest < most) or largest == 0.0

    def _bits(self, before: torch.Tensor, product: torch.Tensor, scratch: torch.Tensor) -> np.ndarray[Any, Any]:
        """Of each number whether the neighbour that is nearer to zero has the same product."""
        words = _WORDS[before.dtype.itemsize]
        torch.sub(before.view(words), 1, out=scratch.view(words))
        self._multiply(scratch)
        return np.packbits(as_array(scratch) == as_array(product))

    def _before(self, product: torch.Tensor, bits: np.ndarray[Any, Any]) -> torch.Tensor:
        """The numbers with such products: the one that is nearest to zero, or its neighbour."""
        words = (product / self._factor).view(_WORDS[product.dtype.itemsize])
        nearest = words.clone()
        for step in range(_FURTHEST, -_FURTHEST - 1, -1):
            near = (words + step).view(product.dtype)
            again = near.clone()
            self._multiply(again)
            nearest = torch.where(again == product, near.view(words.dtype), nearest)
        higher = torch.from_numpy(np.unpackbits(bits, count=len(words)))
        return torch.where(product == 0.0, product, (nearest + higher).view(product.dtype))


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
