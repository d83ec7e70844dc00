"""The networks that the experiments train: plain, small, and written the way people write them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from fanin.errors import UnknownNameError, did_you_mean

__all__ = ["ACTIVATIONS", "ResidualMLP", "SmallResNet", "mlp", "plain_cnn"]

Norm = Literal["none", "batch", "layer"]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "mish": nn.Mish,
    "softplus": nn.Softplus,
    "leaky_relu": nn.LeakyReLU,
    "softsign": nn.Softsign,
    "identity": nn.Identity,
}


def _activation(name: str) -> nn.Module:
    if name not in ACTIVATIONS:
        raise UnknownNameError(f"there is no activation {name!r}; {did_you_mean(name, ACTIVATIONS)}")
    return ACTIVATIONS[name]()


def _norm(kind: Norm, width: int) -> list[nn.Module]:
    kinds: dict[str, list[Callable[[int], nn.Module]]] = {
        "none": [],
        "batch": [nn.BatchNorm1d],
        "layer": [nn.LayerNorm],
    }
    return [build(width) for build in kinds[kind]]


def mlp(widths: Sequence[int], *, activation: str = "relu", norm: Norm = "none") -> nn.Sequential:
    """A multilayer perceptron; the last width is the linear output.

    Args:
        widths: units per layer from input to output, at least two numbers.
        activation: a name in `ACTIVATIONS`.
        norm: "batch" (gamma and beta learned) or "layer" between each hidden layer and its activation.

    Example:
        >>> len([m for m in mlp([784, 100, 100, 10]) if isinstance(m, nn.Linear)])
        3
    """
    layers: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate(pairwise(widths)):
        layers.append(nn.Linear(n_in, n_out))
        if i < len(widths) - 2:
            layers += [*_norm(norm, n_out), _activation(activation)]
    return nn.Sequential(*layers)


def plain_cnn(depth: int, *, channels: int = 16, classes: int = 10, activation: str = "relu") -> nn.Sequential:
    """A stack of `depth` 3 x 3 convolutions without skips or norms on (n, 1, h, w), average pooling, a linear head."""
    layers: list[nn.Module] = [nn.Conv2d(1, channels, 3, padding=1), _activation(activation)]
    for _ in range(depth - 1):
        layers += [nn.Conv2d(channels, channels, 3, padding=1), _activation(activation)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


class _Residual(nn.Module):
    def __init__(self, channels: int, *, batch_norm: bool) -> None:
        super().__init__()

        def norm() -> nn.Module:
            return nn.BatchNorm2d(channels) if batch_norm else nn.Identity()

        self.branch = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=not batch_norm),
            norm(),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=not batch_norm),
            norm(),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.branch(x)
        return out


class SmallResNet(nn.Module):
    """`blocks` residual blocks of two 3 x 3 convolutions on (n, 1, h, w), with or without BatchNorm."""

    def __init__(self, blocks: int, *, channels: int = 16, classes: int = 10, batch_norm: bool = True) -> None:
        super().__init__()
        self.stem: nn.Conv2d = nn.Conv2d(1, channels, 3, padding=1)
        self.blocks: nn.Sequential = nn.Sequential(*[_Residual(channels, batch_norm=batch_norm) for _ in range(blocks)])
        self.head: nn.Linear = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of images of shape (n, 1, h, w)."""
        out: Tensor = self.head(self.blocks(self.stem(x)).mean(dim=(2, 3)))
        return out


class _Branch(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.branch(x)
        return out


class ResidualMLP(nn.Module):
    """`blocks` pre-norm residual blocks of two linear maps with GELU, on vectors."""

    def __init__(self, blocks: int, *, inputs: int = 784, width: int = 64, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Linear(inputs, width)
        self.blocks = nn.Sequential(*[_Branch(width) for _ in range(blocks)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of vectors of shape (n, inputs)."""
        out: Tensor = self.head(self.norm(self.blocks(self.stem(x))))
        return out
