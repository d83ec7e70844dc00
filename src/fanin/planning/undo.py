"""What a tensor held before a write, kept until all writes are done: as a copy, or as what dividing by a factor misses.

A number times a factor, rounded, and divided by the factor again, is off by a few units in the last place. So a quarter
of the memory of float32 numbers, one byte each, is enough to have all bits back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from fanin.tensors.writable import is_plain

__all__ = ["Copied", "Divided", "packed"]

_PIECE = 1 << 16  # numbers that are divided at a time
_WORDS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


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
