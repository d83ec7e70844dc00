"""What the layers of a model read in one step: its size, and how much of it is zero for the whole batch."""

from __future__ import annotations

from typing import Any

import torch

from fanin.model.untouched import working
from fanin.model.wrappers import named_modules

__all__ = ["Layers"]

_ROWS = 512  # positions that are looked at
_SAMPLES = 16  # samples of a convolution that are looked at
_LINEAR = (torch.nn.Linear,)
_CONVOLUTIONS = (torch.nn.modules.conv._ConvNd,)


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
        self._seen: dict[int, torch.Tensor] = {}

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

    def taken(self) -> dict[int, torch.Tensor]:
        """What was seen since the last call: place of a layer -> (mean square, share of dead features)."""
        seen = dict(self._seen)
        self._seen.clear()
        return seen

    def read(self, seen: dict[int, torch.Tensor]) -> tuple[tuple[float | None, ...], tuple[float | None, ...]]:
        """(rms, share of dead features), one a layer; None where a layer did not run."""
        values = {}
        if seen:
            device = next(iter(seen.values())).device
            rows = torch.stack([v.to(device) for v in seen.values()]).double().tolist()
            values = dict(zip(seen, rows, strict=True))
        pairs = [values.get(place) for place in range(len(self.names))]
        return (
            tuple(_finite(p[0] ** 0.5) if p is not None and p[0] >= 0 else None for p in pairs),
            tuple(_finite(p[1]) if p is not None else None for p in pairs),
        )


class _Look:
    """A forward pre-hook that looks at some positions of what a layer reads. It holds no layer."""

    def __init__(self, place: int, seen: dict[int, torch.Tensor]) -> None:
        self._place, self._seen = place, seen

    def __call__(self, module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        if torch.compiler.is_compiling() or working() or not args or not isinstance(args[0], torch.Tensor):
            return
        x = args[0].detach()
        if not x.is_floating_point() or x.dim() < 1 or x.numel() == 0 or not module.training:
            return
        with torch.no_grad():
            rows = _rows(x, module)
            dead = (rows == 0).all(0).float().mean() * (rows >= 0).all()
            self._seen[self._place] = torch.stack([rows.float().square().mean(), dead.float()])


def _rows(x: torch.Tensor, module: torch.nn.Module) -> torch.Tensor:
    """Shape (positions, features), of at most 512 positions spread over the batch."""
    if isinstance(module, _CONVOLUTIONS):
        batched = x.dim() == len(module.kernel_size) + 2
        x = x[:: max(len(x) // _SAMPLES, 1)].movedim(1, -1) if batched else x.movedim(0, -1)
    flat = x.reshape(-1, x.shape[-1])
    return flat[:: max(len(flat) // _ROWS, 1) | 1]


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
