"""Networks of the second held set; none of them is in the sets before."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

__all__ = ["Decoder", "Highway", "HourGlass", "Pooled", "Squeezed", "TextConv", "TwoTasks", "Waves"]


class Decoder(nn.Module):
    """A language model of today's form: RMSNorm, a gated feed-forward layer, no biases, std 1 / sqrt(fan_in)."""

    def __init__(self, vocabulary: int, width: int = 40, depth: int = 3) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(vocabulary, width), nn.Linear(width, vocabulary, bias=False)
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(2 * depth + 1))
        self.mix = nn.ModuleList(nn.MultiheadAttention(width, 4, bias=False, batch_first=True) for _ in range(depth))
        self.up = nn.ModuleList(nn.Linear(width, 4 * width, bias=False) for _ in range(depth))
        self.down = nn.ModuleList(nn.Linear(2 * width, width, bias=False) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.table(x)
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        for i, (mix, up, down) in enumerate(zip(self.mix, self.up, self.down, strict=True)):
            n = self.norms[2 * i](h)
            h = h + mix(n, n, n, attn_mask=mask, need_weights=False)[0]
            a, b = up(self.norms[2 * i + 1](h)).chunk(2, -1)
            h = h + down(functional.silu(a) * b)
        return self.head(self.norms[-1](h)).flatten(0, 1)


class Highway(nn.Module):
    """Layers that pass on a learned share of their input."""

    def __init__(self, depth: int = 6, width: int = 48) -> None:
        super().__init__()
        self.entry, self.head = nn.Linear(64, width), nn.Linear(width, 10)
        self.maps = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.gates = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        for gate in self.gates:
            nn.init.constant_(gate.bias, -1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.entry(x)
        for layer, gate in zip(self.maps, self.gates, strict=True):
            share = gate(x).sigmoid()
            x = share * torch.relu(layer(x)) + (1 - share) * x
        return self.head(x)


class HourGlass(nn.Module):
    """A convolutional autoencoder with a skip, as in U-Net."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.down = nn.Conv2d(1, width, 3, stride=2, padding=1)
        self.middle = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1)
        self.last = nn.ConvTranspose2d(2 * width, 1, 4, stride=2, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = functional.leaky_relu(self.down(x), 0.1)
        second = functional.leaky_relu(self.middle(first), 0.1)
        return self.last(torch.cat([functional.leaky_relu(self.up(second), 0.1), first], 1))


class Pooled(nn.Module):
    """A set of pixels with their places, read by one small network each and summed up by attention."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Linear(3, width), nn.GELU(), nn.Linear(width, width), nn.GELU())
        self.score, self.head = nn.Linear(width, 4), nn.Linear(4 * width, 10)
        grid = torch.linspace(-1, 1, 8)
        self.register_buffer("places", torch.cartesian_prod(grid, grid))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pixels = torch.cat([x[:, :, None], self.places.expand(len(x), -1, -1)], -1)
        h = self.each(pixels)
        return self.head(torch.einsum("bps,bpd->bsd", self.score(h).softmax(1), h).flatten(1))


class Squeezed(nn.Module):
    """Convolutions whose channels are scaled by what a small network makes of their means."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(1, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)])
        self.norms = nn.ModuleList(nn.InstanceNorm2d(width, affine=True) for _ in range(2))
        self.one, self.two = nn.Linear(width, 8), nn.Linear(8, width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = functional.hardswish(norm(conv(x)))
            x = x * self.two(torch.relu(self.one(x.mean((2, 3))))).sigmoid()[:, :, None, None]
        return self.head(x.amax((2, 3)))


class TextConv(nn.Module):
    """Causal dilated convolutions over characters."""

    def __init__(self, vocabulary: int, width: int = 40) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(vocabulary, width), nn.Conv1d(width, vocabulary, 1)
        self.layers = nn.ModuleList(nn.Conv1d(width, 2 * width, 2, dilation=2**i) for i in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.table(x).transpose(1, 2)
        for i, layer in enumerate(self.layers):
            h = h + functional.glu(layer(functional.pad(h, (2**i, 0))), dim=1)
        return self.head(h).transpose(1, 2).flatten(0, 1)


class TwoTasks(nn.Module):
    """One trunk; which digit it is, and what the picture looks like."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(64, width), nn.Mish(), nn.Linear(width, width), nn.Mish())
        self.digit, self.picture = nn.Linear(width, 10), nn.Linear(width, 64)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        h = self.trunk(x)
        return {"digit": self.digit(h), "picture": self.picture(h)}


class Waves(nn.Module):
    """A network of sines from places to colours, started as Sitzmann et al. 2020 say."""

    def __init__(self, width: int = 48, depth: int = 2, first: float = 30.0) -> None:
        super().__init__()
        self.first = first
        self.entry = nn.Linear(2, width)
        self.maps = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.head = nn.Linear(width, 3)
        nn.init.uniform_(self.entry.weight, -0.5, 0.5)
        for layer in (*self.maps, self.head):
            bound = (6 / width) ** 0.5 / 30.0
            nn.init.uniform_(layer.weight, -bound, bound)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.sin(self.first * self.entry(x))
        for layer in self.maps:
            x = torch.sin(30.0 * layer(x))
        return self.head(x)
