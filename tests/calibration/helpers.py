"""Models and measurements that the tests of calibration share; nothing here asks fanin what an output measures."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode


def rms(x: torch.Tensor) -> float:
    return float(x.detach().double().square().mean().sqrt())


def batch(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {n: t.detach().clone() for n, t in (*model.named_parameters(), *model.named_buffers())}


def same_state(model: nn.Module, before: dict[str, torch.Tensor]) -> bool:
    now = dict((*model.named_parameters(), *model.named_buffers()))
    return now.keys() == before.keys() and all(torch.equal(now[n].detach(), t) for n, t in before.items())


@contextmanager
def counted_forwards(model: nn.Module, log: Path):
    """Notes in a file each call of the outermost forward on real numbers: what Python remembers would be put back."""
    original, outermost = type(model).forward, id(model)
    log.write_bytes(b"")

    def forward(self, x, *args, **kwargs):
        if id(self) == outermost and not isinstance(x, FakeTensor):
            with log.open("ab") as file:
                file.write(b".")
        return original(self, x, *args, **kwargs)

    type(model).forward = forward
    try:
        yield
    finally:
        type(model).forward = original


class Products(TorchFunctionMode):
    """The test's own hooks: the product of every call of the named operations, without the bias."""

    def __init__(self, **operations: Callable) -> None:
        super().__init__()
        self.operations, self.sizes = operations, []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "").strip("_")
        if name in self.operations:
            self.sizes.append(rms(self.operations[name](out, *args, **(kwargs or {}))))
        return out


def less_bias(out, x, w, b=None, *_, **__):
    shape = (-1, *(1,) * (w.dim() - 2))
    return out if b is None else out - b.view(shape)


def mlp(depth: int = 12, width: int = 64, inputs: int = 64, outputs: int = 10, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for i in range(depth - 1):
        layers += [nn.Linear(inputs if i == 0 else width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def close(a: float, b: float, relative: float = 1e-4) -> bool:
    return math.isclose(a, b, rel_tol=relative)


class Fn(nn.Module):
    """A forward as a function of the module and its inputs."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *args, **kwargs):
        return self.function(self, *args, **kwargs)
