"""What the layers of a model read in one step: its size, and how much of it is zero for the whole batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fanin.model.untouched import working
from fanin.model.wrappers import named_modules
from fanin.watching.gone import NoCopy

__all__ = ["Layers", "Sight", "dropout_of", "inert"]

_ROWS = 64  # positions that are looked at
_SAMPLES = 16  # samples of a convolution that are looked at
_WIDE = (torch.float32, torch.float64)
_DTYPES = (torch.float16, torch.bfloat16, *_WIDE)
_LINEAR = (torch.nn.Linear,)
_DROPOUT = (torch.nn.modules.dropout._DropoutNd,)
_MODAL = (*_DROPOUT, torch.nn.modules.batchnorm._BatchNorm)
_CONVOLUTIONS = (torch.nn.modules.conv._ConvNd,)
_Values = tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Sight:
    """What one layer read, still on its device.

    Attributes:
        squares: sum of squares of each feature over the positions that were looked at.
        least: the smallest of them.
        count: how many values these are.
        features: how many features.
    """

    squares: torch.Tensor
    least: torch.Tensor
    count: int
    features: int


class Layers:
    """Hooks on the linear and convolutional layers of a model, there only for steps that are measured.

    The values stay on their device until `read`.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        found: dict[int, tuple[str, torch.nn.Module]] = {}
        for name, module in named_modules(model):
            if isinstance(module, _LINEAR + _CONVOLUTIONS):
                found.setdefault(id(module), (name, module))
        self.names = tuple(name for name, _ in found.values())
        self._modules = [module for _, module in found.values()]
        self._dims = [len(m.kernel_size) if isinstance(m, _CONVOLUTIONS) else 0 for m in self._modules]
        self._handles: list[Any] = []
        self._seen: dict[int, Sight] = {}

    def open(self) -> None:
        """Put the hooks on."""
        self.close()
        for place, module in enumerate(self._modules):
            self._handles.append(module.register_forward_pre_hook(_Look(place, self._seen, self._dims[place])))

    def close(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def taken(self) -> dict[int, Sight]:
        """What was seen since the last call, by the place of the layer."""
        seen = dict(self._seen)
        self._seen.clear()
        return seen

    def read(self, steps: Sequence[dict[int, Sight]]) -> list[tuple[_Values, _Values]]:
        """(rms, share of dead features) of each step, one a layer; None where a layer did not run."""
        numbers = iter(_numbers([sight for seen in steps for sight in seen.values()]))
        found = [{place: next(numbers) for place in seen} for seen in steps]
        pairs = [[values.get(place, (None, None)) for place in range(len(self.names))] for values in found]
        return [(tuple(size for size, _ in step), tuple(dead for _, dead in step)) for step in pairs]


def numbers_in(seen: dict[int, Sight]) -> int:
    """How many numbers wait on their device."""
    return sum(sight.features for sight in seen.values())


def _numbers(sights: Sequence[Sight]) -> list[tuple[float | None, float | None]]:
    """(rms, share of dead features) of each, read from the device together.

    A feature is dead where it is zero everywhere; where one value of a layer is negative, none counts.
    """
    if not sights:
        return []
    leasts, squares = [s.least for s in sights], [s.squares for s in sights]
    device = leasts[0].device
    if any(part.dtype != torch.float32 or part.device != device for part in leasts + squares):
        leasts, squares = ([p.to(device, torch.float32) for p in parts] for parts in (leasts, squares))
    values = torch.cat((torch.stack(leasts), *squares)).cpu().numpy()  # one transfer for all layers
    found: list[tuple[float | None, float | None]] = []
    start = len(sights)
    for s, least in zip(sights, values[:start].tolist(), strict=True):
        row = values[start : start + s.features]
        dead = 1 - np.count_nonzero(row) / s.features if least >= 0 else 0.0
        found.append((_finite(math.sqrt(np.add.reduce(row, dtype=np.float64) / s.count)), dead))
        start += s.features
    return found


class _Look(NoCopy):
    """A forward pre-hook that looks at some positions of what a layer reads first in a step. It holds no layer."""

    def __init__(self, place: int, seen: dict[int, Sight], dims: int) -> None:
        self._place, self._seen, self._dims = place, seen, dims

    def __call__(self, module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        if self._place in self._seen or not module.training or torch.compiler.is_compiling() or working():
            return
        x = args[0] if args else None
        if isinstance(x, torch.Tensor) and _is_plain(x):
            seen, others = _positions(x.detach()) if self._dims == 0 else _places(x.detach(), self._dims)
            wide = seen if seen.dtype in _WIDE else seen.float()
            squares = (wide * wide).sum(others)
            self._seen[self._place] = Sight(squares, seen.amin(), seen.numel(), squares.numel())


def dropout_of(model: torch.nn.Module) -> dict[str, float]:
    """The share that each dropout layer puts to zero, by its name."""
    return {name: float(m.p) for name, m in named_modules(model) if isinstance(m, _DROPOUT)}


def inert(model: torch.nn.Module) -> tuple[str, ...]:
    """Names of the layers that do something else in training than in eval mode."""
    return tuple(name for name, m in named_modules(model) if isinstance(m, _MODAL) and getattr(m, "p", 1.0) > 0)


def _is_plain(x: torch.Tensor) -> bool:
    """Whether this holds real numbers of its own: no mapped, nested, sparse, fake or spread tensor."""
    return (
        type(x) in (torch.Tensor, torch.nn.Parameter)
        and x.dtype in _DTYPES
        and x.layout is torch.strided
        and not x.is_meta
        and not torch._C._functorch.is_functorch_wrapped_tensor(x)
        and x.dim() >= 1
        and x.numel() > 0
    )


def _positions(x: torch.Tensor) -> tuple[torch.Tensor, int]:
    """(at most 64 rows spread over the batch and the sequence, the dimension that is no feature); no copy."""
    x = x if x.dim() == 2 else x.reshape(-1, x.shape[-1])
    return (x if len(x) <= _ROWS else x[:: _step(len(x), _ROWS)]), 0


def _places(x: torch.Tensor, dims: int) -> tuple[torch.Tensor, tuple[int, int]]:
    """(at most 64 positions of 16 samples, the dimensions that are no features); no copy.

    Args:
        x: what a convolution over this many dimensions reads.
        dims: their number.
    """
    x = x if x.dim() == dims + 2 else x[None]
    x = (x if len(x) <= _SAMPLES else x[:: _step(len(x), _SAMPLES)]).flatten(2)
    most = _ROWS // len(x)
    return (x if x.shape[2] <= most else x[:, :, :: _step(x.shape[2], most)]), (0, 2)


def _step(length: int, most: int) -> int:
    """The least odd stride that leaves at most so many places."""
    return -(-length // most) | 1


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
