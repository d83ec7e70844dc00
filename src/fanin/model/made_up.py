"""Numbers for batches that nobody gave, from streams that no seed of the user's starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fanin.streams.keys import key

if TYPE_CHECKING:
    import torch

__all__ = ["array_source", "tensor_source"]

_NAME = "a batch that was made up"


def tensor_source(seed: int = 0) -> torch.Generator:
    """A new generator for tensors that are made up; the generators that there are stay as they are.

    `torch.manual_seed(0)` before a model is built starts the very numbers of `torch.Generator().manual_seed(0)`:
    weights and inputs would agree number by number. The start here is hashed from a name and the seed.

    Args:
        seed: each from 0 to 2**64 - 1 has numbers of its own; others are taken modulo 2**64.

    Example:
        >>> import torch
        >>> one, same, other = (torch.randn(2, generator=tensor_source(seed)) for seed in (0, 0, 1))
        >>> plain = torch.randn(2, generator=torch.Generator().manual_seed(0))
        >>> bool((one == same).all()), bool((one == other).any()), bool((one == plain).any())
        (True, False, False)
    """
    import torch

    return torch.Generator().manual_seed(_start(seed))


def array_source(seed: int = 0) -> np.random.Generator:
    """The same for arrays of NumPy, beside `numpy.random.default_rng(seed)`.

    Example:
        >>> one, other, plain = array_source(0), array_source(1), np.random.default_rng(0)
        >>> len({float(source.standard_normal()) for source in (one, other, plain)})
        3
    """
    return np.random.default_rng(_start(seed))


def _start(seed: int) -> int:
    return key(seed % 2**64, _NAME).key64
