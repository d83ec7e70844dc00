"""Small real networks of many kinds: plain, convolutional, residual, recurrent, attention."""

from __future__ import annotations

import itertools
import math

import torch
from torch import nn
from torch.nn import functional

__all__ = [
    "ConvNet",
    "Gpt",
    "Lora",
    "PatchFormer",
    "Recurrent",
    "Residual",
    "ResidualConv",
    "TextRecurrent",
    "mlp",
]


def mlp(
    depth: int = 3,
    width: int = 64,
    act: type[nn.Module] = nn.ReLU,
    norm: type[nn.Module] | None = None,
    inputs: int = 64,
    outputs: int = 10,
) -> nn.Sequential:
    """A plain network."""
    sizes = [inputs, *[width] * depth]
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), *([norm(b)] if norm else []), act()]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


class ConvNet(nn.Module):
    """Three convolutions over 8 x 8 pixels and a linear layer."""

    def __init__(self, width: int = 16, norm: bool = True, act: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        sizes = [1, width, 2 * width, 2 * width]
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(sizes):
            layers += [nn.Conv2d(a, b, 3, padding=1), *([nn.BatchNorm2d(b)] if norm else []), act()]
        self.body = nn.Sequential(*layers, nn.AvgPool2d(2))
        self.head = nn.Linear(2 * width * 16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).flatten(1))


class Residual(nn.Module):
    """Blocks of two linear layers beside a skip.

    Args:
        zero: whether the second map of each block starts at zero.
        scale: initial value of a LayerScale vector; None for no such vector.
    """

    def __init__(
        self, depth: int = 6, width: int = 64, norm: bool = True, zero: bool = False, scale: float | None = None
    ) -> None:
        super().__init__()
        self.entry, self.head = nn.Linear(64, width), nn.Linear(width, 10)
        self.norms = nn.ModuleList(nn.LayerNorm(width) if norm else nn.Identity() for _ in range(depth))
        self.first = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(depth))
        self.second = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(depth))
        self.scales = nn.ParameterList(
            nn.Parameter(torch.full((width,), scale)) for _ in range(depth if scale is not None else 0)
        )
        if zero:
            for layer in self.second:
                nn.init.zeros_(layer.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.entry(x)
        for i, (norm, a, b) in enumerate(zip(self.norms, self.first, self.second, strict=True)):
            branch = b(functional.gelu(a(norm(x))))
            x = x + (branch * self.scales[i] if len(self.scales) else branch)
        return self.head(x)


class ResidualConv(nn.Module):
    """A small ResNet over 8 x 8 pixels."""

    def __init__(self, width: int = 16, depth: int = 3) -> None:
        super().__init__()
        self.entry, self.head = nn.Conv2d(1, width, 3, padding=1, bias=False), nn.Linear(width, 10)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
            )
            for _ in range(depth)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.entry(x)
        for block in self.blocks:
            x = torch.relu(x + block(x))
        return self.head(x.mean((2, 3)))


class PatchFormer(nn.Module):
    """A transformer over the eight rows of a picture, each a token.

    Args:
        first: whether norms come before the layers, not behind the sums.
    """

    def __init__(self, width: int = 32, depth: int = 2, first: bool = True) -> None:
        super().__init__()
        self.entry, self.head = nn.Linear(8, width), nn.Linear(width, 10)
        self.place = nn.Parameter(0.02 * torch.randn(8, width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=first)
            for _ in range(depth)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.entry(x) + self.place
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(1))


class Recurrent(nn.Module):
    """A recurrent layer that reads the rows of a picture."""

    def __init__(self, kind: type[nn.RNNBase] = nn.LSTM, width: int = 48) -> None:
        super().__init__()
        self.cell, self.head = kind(8, width, batch_first=True), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.cell(x)[0][:, -1])


class TextRecurrent(nn.Module):
    """A recurrent layer that reads characters."""

    def __init__(self, vocabulary: int, kind: type[nn.RNNBase] = nn.LSTM, width: int = 48) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, width)
        self.cell, self.head = kind(width, width, batch_first=True), nn.Linear(width, vocabulary)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.cell(self.table(x))[0]).flatten(0, 1)


class Gpt(nn.Module):
    """A small GPT of characters, started as GPT-2 is: std 0.02, last maps of branches over sqrt(2 depth)."""

    def __init__(self, vocabulary: int, width: int = 48, depth: int = 2, tied: bool = True, std: float = 0.02) -> None:
        super().__init__()
        self.table, self.places = nn.Embedding(vocabulary, width), nn.Embedding(64, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        for p in self.parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=std)
        for block in self.blocks:
            for last in (block.out, block.down):
                nn.init.normal_(last.weight, std=std / math.sqrt(2 * depth))
        if tied:
            self.head.weight = self.table.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.table(x) + self.places(torch.arange(x.shape[1]))
        for block in self.blocks:
            h = block(h)
        return self.head(self.norm(h)).flatten(0, 1)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.one, self.two = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, d = x.shape
        q, k, v = (m.view(b, t, self.heads, -1).transpose(1, 2) for m in self.qkv(self.one(x)).chunk(3, -1))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(b, t, d))
        return x + self.down(functional.gelu(self.up(self.two(x))))


class Lora(nn.Module):
    """A frozen linear layer with a low-rank pair beside it, of which the second map starts at zero."""

    def __init__(self, base: nn.Linear, rank: int = 4) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a, self.b = (
            nn.Linear(base.in_features, rank, bias=False),
            nn.Linear(rank, base.out_features, bias=False),
        )
        nn.init.zeros_(self.b.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + 2.0 * self.b(self.a(x))
