"""What the layers of a model read in one step: its size, and how much of it is zero for the whole batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fanin.memory import as_array
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


@dataclass(frozen=True, slots=True)
class Sight:
    """What one layer read, still on its device.

    Attributes:
        size: Euclidean norm of the values that were looked at.
        count: how many these are.
        least: the smallest of them.
        most: the largest one of each feature.
    """

    size: torch.Tensor
    count: int
    least: torch.Tensor
    most: torch.Tensor


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
        self._handles: list[Any] = []
        self._seen: dict[int, Sight] = {}

    def open(self) -> None:
        """Put the hooks on."""
        self.close()
        for place, module in enumerate(self._modules):
            self._handles.append(module.register_forward_pre_hook(_Look(place, self._seen)))

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

    def read(self, seen: dict[int, Sight]) -> tuple[tuple[float | None, ...], tuple[float | None, ...]]:
        """(rms, share of dead features), one a layer; None where a layer did not run."""
        values = dict(zip(seen, _numbers(list(seen.values())), strict=True)) if seen else {}
        pairs = [values.get(place, (None, None)) for place in range(len(self.names))]
        return tuple(size for size, _ in pairs), tuple(dead for _, dead in pairs)


def _numbers(sights: list[Sight]) -> list[tuple[float | None, float | None]]:
    """(rms, share of dead features) of each, read from the device together.

    A feature is dead where it is zero everywhere; where one value of a layer is negative, none counts.
    """
    device = sights[0].size.device
    parts = [part for s in sights for part in (s.size.view(1), s.least.view(1), s.most)]
    if not all(part.dtype == torch.float32 and part.device == device for part in parts):
        parts = [part.to(device, torch.float32) for part in parts]
    values = as_array(torch.cat(parts).cpu())  # one transfer for all layers
    found, start = [], 0
    for s in sights:
        size, least = values[start : start + 2].tolist()
        features = values[start + 2 : start + 2 + len(s.most)]
        dead = (len(features) - np.count_nonzero(features)) / len(features) if least >= 0 else 0.0
        found.append((_finite(size / s.count**0.5), dead))
        start += 2 + len(features)
    return found


class _Look(NoCopy):
    """A forward pre-hook that looks at some positions of what a layer reads first in a step. It holds no layer."""

    def __init__(self, place: int, seen: dict[int, Sight]) -> None:
        self._place, self._seen = place, seen

    def __call__(self, module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        if torch.compiler.is_compiling() or working() or self._place in self._seen or not module.training:
            return
        x = args[0] if args else None
        if isinstance(x, torch.Tensor) and _is_plain(x):
            seen, others = _part(x.detach(), module)
            wide = None if seen.dtype in _WIDE else torch.float32
            size = torch.linalg.vector_norm(seen, dtype=wide)
            self._seen[self._place] = Sight(size, seen.numel(), seen.amin(), seen.amax(others))


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


def _part(x: torch.Tensor, module: torch.nn.Module) -> tuple[torch.Tensor, tuple[int, ...]]:
    """(at most 64 positions spread over the batch, the dimensions that are no features); few operations, no copy."""
    if isinstance(module, _CONVOLUTIONS):
        x = x if x.dim() == len(module.kernel_size) + 2 else x[None]
        x = _spread(x, 0, _SAMPLES).flatten(2)
        return _spread(x, 2, _ROWS // len(x)), (0, 2)
    return _spread(x.reshape(-1, x.shape[-1]) if x.dim() != 2 else x, 0, _ROWS), (0,)


def _spread(x: torch.Tensor, dim: int, most: int) -> torch.Tensor:
    """At most so many places of a dimension, at an odd stride."""
    length = x.shape[dim]
    if length <= most:
        return x
    step = -(-length // most) | 1
    return x[::step] if dim == 0 else x[:, :, ::step]


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
