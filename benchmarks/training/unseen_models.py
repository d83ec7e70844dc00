"""Architectures that are in no zoo; each reads 8 x 8 pixels and gives ten logits."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn import functional

__all__ = ["MODELS"]

WIDTH = 64
Function = Callable[[torch.Tensor], torch.Tensor]


class Do(nn.Module):
    """An elementwise function as a module."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def stack(function: Function, depth: int = 3, width: int = WIDTH) -> nn.Module:
    sizes = [64, *[width] * depth]
    layers = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b), Do(function))]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def maps(count: int, out: int = WIDTH, size: int = WIDTH) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(size, out) for _ in range(count))


def rows(x: torch.Tensor) -> torch.Tensor:
    """The 8 rows of a picture: (samples, 8, 8)."""
    return x.view(-1, 8, 8)


# ---------------------------------------------------------------------- functions of two maps, made weights
class Pairs(nn.Module):
    """Layers that combine two maps of one input."""

    def __init__(self, combine: Callable[..., torch.Tensor], depth: int = 4) -> None:
        super().__init__()
        self.combine = combine
        self.one, self.two, self.head = maps(depth), maps(depth), nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for one, two in zip(self.one, self.two, strict=True):
            x = self.combine(x, one(x), two(x))
        return self.head(x)


class Hyper(nn.Module):
    """One or two layers whose weights a map makes from the input."""

    def __init__(self, hidden: int = 0) -> None:
        super().__init__()
        self.hidden = hidden
        self.enc, self.make = nn.Linear(64, 32), nn.Linear(32, 74 * hidden if hidden else 640)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.make(torch.relu(self.enc(x)))
        if not self.hidden:
            return torch.bmm(x[:, None], made.view(-1, 64, 10))[:, 0]
        first, last = made.split([64 * self.hidden, 10 * self.hidden], -1)
        h = torch.relu(torch.bmm(x[:, None], first.reshape(-1, 64, self.hidden)))
        return torch.bmm(h, last.reshape(-1, self.hidden, 10))[:, 0]


class Codes(nn.Module):
    """Layers whose weights a network makes from learned codes."""

    def __init__(self, layers: int = 3) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.randn(layers, 16))
        self.make = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, WIDTH * WIDTH))
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for code in self.codes:
            x = torch.relu(functional.linear(x, self.make(code).view(WIDTH, WIDTH)))
        return self.head(x)


class LowRank(nn.Module):
    """Layers whose weight is the product of two thin ones."""

    def __init__(self, layers: int = 4, rank: int = 8) -> None:
        super().__init__()
        scale = 1.0 / math.sqrt(WIDTH)
        self.left = nn.ParameterList(nn.Parameter(torch.randn(WIDTH, rank) * scale) for _ in range(layers))
        self.right = nn.ParameterList(nn.Parameter(torch.randn(rank, WIDTH) * scale) for _ in range(layers))
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for left, right in zip(self.left, self.right, strict=True):
            x = torch.relu(x @ (left @ right))
        return self.head(x)


class Kronecker(nn.Module):
    """Layers whose weight is the Kronecker product of two 8 x 8 matrices."""

    def __init__(self, layers: int = 4) -> None:
        super().__init__()
        self.left = nn.ParameterList(nn.Parameter(torch.randn(8, 8) / 8) for _ in range(layers))
        self.right = nn.ParameterList(nn.Parameter(torch.randn(8, 8) / 8) for _ in range(layers))
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for left, right in zip(self.left, self.right, strict=True):
            x = torch.relu(functional.linear(x, torch.kron(left, right)))
        return self.head(x)


class Circulant(nn.Module):
    """Layers that are circular convolutions, by products of Fourier transforms."""

    def __init__(self, layers: int = 3) -> None:
        super().__init__()
        self.kernels = nn.ParameterList(nn.Parameter(torch.randn(WIDTH) / 8) for _ in range(layers))
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for kernel in self.kernels:
            x = torch.relu(torch.fft.irfft(torch.fft.rfft(x) * torch.fft.rfft(kernel), n=WIDTH))
        return self.head(x)


class Couplings(nn.Module):
    """Affine couplings x2 exp(s(x1)) + t(x1), then a head."""

    def __init__(self, num: int = 6) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64)) for _ in range(num))
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for net in self.nets:
            a, b = x.chunk(2, -1)
            scale, shift = net(a).chunk(2, -1)
            x = torch.cat([b * torch.exp(scale) + shift, a], -1)
        return self.head(x)


class FiLM(nn.Module):
    """Layers that a condition scales and shifts."""

    def __init__(self, depth: int = 3, residual: bool = False) -> None:
        super().__init__()
        self.maps, self.films, self.residual = maps(depth), maps(depth, 2 * WIDTH), residual
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        condition = x
        for layer, film in zip(self.maps, self.films, strict=True):
            scale, shift = film(condition).chunk(2, -1)
            h = torch.relu(scale * layer(x) + shift)
            x = x + h if self.residual else h
        return self.head(x)


class Fourier(nn.Module):
    """Fourier features before layers of sin(3x)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.rest = nn.Linear(64, 48), stack(lambda x: torch.sin(3 * x), 3, 96)
        self.rest[0] = nn.Linear(96, 96)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x)
        return self.rest(torch.cat([h.sin(), h.cos()], -1))


class RBF(nn.Module):
    """Gaussians of the distance to learned centres."""

    def __init__(self) -> None:
        super().__init__()
        self.map, self.centres, self.head = nn.Linear(64, 16), nn.Parameter(torch.randn(48, 16)), nn.Linear(48, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.exp(-torch.cdist(self.map(x), self.centres).square() / 16))


class Bumps(nn.Module):
    """Layers in which every connection is a learned sum of six Gaussian bumps."""

    def __init__(self, depth: int = 2) -> None:
        super().__init__()
        self.register_buffer("grid", torch.linspace(-2, 2, 6))
        sizes = [64, *[32] * (depth - 1), 10]
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(b, a, 6) * 0.1) for a, b in itertools.pairwise(sizes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for weight in self.weights:
            basis = torch.exp(-((x[..., None] - self.grid) ** 2))
            x = torch.einsum("nig,oig->no", basis, weight)
        return x


class Products(nn.Module):
    """Product units exp(W log|x|) beside a plain layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.logs, self.head = nn.Linear(64, 32), nn.Linear(32, 32), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x)
        return self.head(torch.cat([torch.relu(h), torch.exp(0.3 * self.logs(torch.log(h.abs() + 1)))], -1))


class Cosines(nn.Module):
    """Layers that give cosines between the input and the rows of the weight, times 8."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.maps, self.head = maps(depth), nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.maps:
            rows_of_one = functional.normalize(layer.weight, dim=1)
            x = torch.relu(8 * functional.linear(functional.normalize(x, dim=1), rows_of_one))
        return self.head(x)


# ---------------------------------------------------------------------- sets, attention, mixing
class SetAttention(nn.Module):
    """The 8 rows of a picture as a set, a round of attention to learned queries."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.queries = nn.Linear(8, 32), nn.Parameter(torch.randn(4, 32))
        self.kv, self.head = nn.Linear(32, 64), nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        keys, values = self.kv(self.embed(rows(x))).chunk(2, -1)
        weights = (self.queries @ keys.transpose(1, 2) / math.sqrt(32)).softmax(-1)
        return self.head((weights @ values).flatten(1))


class Attention(nn.Module):
    """Blocks of attention and a map without norms, with or without the residual stream."""

    def __init__(self, depth: int = 2, residual: bool = True, linear: bool = False) -> None:
        super().__init__()
        self.embed, self.positions = nn.Linear(8, 32), nn.Parameter(torch.zeros(8, 32))
        self.qkv, self.out = maps(depth, 96, 32), maps(depth, 32, 32)
        self.up, self.down = maps(depth, 64, 32), maps(depth, 32, 64)
        self.residual, self.linear, self.head = residual, linear, nn.Linear(32, 10)

    def _mixed(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        if self.linear:
            q, k = functional.elu(q) + 1, functional.elu(k) + 1
            return q @ (k.transpose(1, 2) @ v) / (q @ k.sum(1)[..., None])
        return (q @ k.transpose(1, 2) / math.sqrt(32)).softmax(-1) @ v

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.embed(rows(x)) + self.positions
        for qkv, out, up, down in zip(self.qkv, self.out, self.up, self.down, strict=True):
            a = out(self._mixed(*qkv(h).chunk(3, -1)))
            h = h + a if self.residual else a
            b = down(functional.gelu(up(h)))
            h = h + b if self.residual else b
        return self.head(h.mean(1))


class AdditiveGraph(nn.Module):
    """Rows as nodes, each with its neighbours; scores a(W h_i) + b(W h_j) through a leaky ReLU."""

    def __init__(self, depth: int = 2) -> None:
        super().__init__()
        sizes = [8, *[32] * depth]
        self.maps = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(sizes))
        self.mine, self.theirs = maps(depth, 1, 32), maps(depth, 1, 32)
        near = torch.eye(8) + torch.diag(torch.ones(7), 1) + torch.diag(torch.ones(7), -1)
        self.register_buffer("far", torch.where(near > 0, 0.0, float("-inf")))
        self.head = nn.Linear(256, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = rows(x)
        for layer, mine, theirs in zip(self.maps, self.mine, self.theirs, strict=True):
            h = layer(h)
            scores = functional.leaky_relu(mine(h) + theirs(h).transpose(1, 2), 0.2) + self.far
            h = functional.elu(scores.softmax(-1) @ h)
        return self.head(h.flatten(1))


class Mixer(nn.Module):
    """Maps over rows and over columns in turn, with residuals."""

    def __init__(self, depth: int = 3, width: int = 24) -> None:
        super().__init__()
        self.embed, self.over, self.along = nn.Linear(8, width), maps(depth, 8, 8), maps(depth, width, width)
        self.head = nn.Linear(8 * width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.embed(rows(x))
        for over, along in zip(self.over, self.along, strict=True):
            h = h + functional.gelu(over(h.transpose(1, 2))).transpose(1, 2)
            h = h + functional.gelu(along(h))
        return self.head(h.flatten(1))


class SpatialGate(nn.Module):
    """gMLP: half of the channels multiply a map over positions of the other half."""

    def __init__(self, depth: int = 2) -> None:
        super().__init__()
        self.embed, self.up, self.down = nn.Linear(8, 32), maps(depth, 64, 32), maps(depth, 32, 32)
        self.over, self.norms = maps(depth, 8, 8), nn.ModuleList(nn.LayerNorm(32) for _ in range(depth))
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.embed(rows(x))
        for up, down, over, norm in zip(self.up, self.down, self.over, self.norms, strict=True):
            a, b = functional.gelu(up(norm(h))).chunk(2, -1)
            h = h + down(a * over(b.transpose(1, 2)).transpose(1, 2))
        return self.head(h.mean(1))


class Experts(nn.Module):
    """A soft mixture of four small networks."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(64, 4)
        self.experts = nn.ModuleList(stack(torch.relu, 2, 32) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = self.router(x).softmax(-1)
        return (torch.stack([e(x) for e in self.experts], -1) * weights[:, None]).sum(-1)


class Maxout(nn.Module):
    """The larger one of two maps, unit by unit."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.maps, self.head = maps(depth, 2 * WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.maps:
            x = layer(x).view(-1, WIDTH, 2).amax(-1)
        return self.head(x)


# ---------------------------------------------------------------------- streams, loops
class Residual(nn.Module):
    """x + f(W x), without or with a norm, or with a fixed step."""

    def __init__(self, function: Function, depth: int = 8, norm: bool = False, step: float = 1.0) -> None:
        super().__init__()
        self.function, self.step, self.maps = function, step, maps(depth)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) if norm else nn.Identity() for _ in range(depth))
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer, norm in zip(self.maps, self.norms, strict=True):
            x = x + self.step * self.function(layer(norm(x)))
        return self.head(x)


class Dense(nn.Module):
    """Every layer reads all layers before it."""

    def __init__(self, depth: int = 5, growth: int = 24) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(64 + growth * i, growth) for i in range(depth))
        self.head = nn.Linear(64 + growth * depth, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.maps:
            x = torch.cat([x, torch.relu(layer(x))], -1)
        return self.head(x)


class Tied(nn.Module):
    """One map, used over and over."""

    def __init__(self, function: Function, steps: int = 6, read_again: bool = False) -> None:
        super().__init__()
        self.function, self.steps, self.read_again = function, steps, read_again
        self.inner, self.outer, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(64, WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        read = self.outer(x)
        h = self.function(read)
        for _ in range(self.steps):
            h = self.function(self.inner(h) + read) if self.read_again else self.function(self.inner(h))
        return self.head(h)


class Cell(nn.Module):
    """Recurrent cells over the 8 rows, written out: "lstm", "gru", "minimal" or "plain"."""

    def __init__(self, kind: str, width: int = 48) -> None:
        super().__init__()
        self.kind, self.width, gates = kind, width, {"lstm": 4, "gru": 3, "minimal": 2, "plain": 1}[kind]
        self.reads, self.holds = nn.Linear(8, gates * width), nn.Linear(width, gates * width, bias=False)
        self.head = nn.Linear(width, 10)

    def _step(self, a: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.kind == "gru":
            r, z, n = a.chunk(3, -1)
            hr, hz, hn = self.holds(h).chunk(3, -1)
            new = torch.tanh(n + torch.sigmoid(r + hr) * hn)
            z = torch.sigmoid(z + hz)
            return z * h + (1 - z) * new, c
        parts = (a + self.holds(h)).chunk({"lstm": 4, "minimal": 2, "plain": 1}[self.kind], -1)
        if self.kind == "plain":
            return torch.tanh(parts[0]), c
        if self.kind == "minimal":
            keep = torch.sigmoid(parts[0])
            return keep * h + (1 - keep) * torch.tanh(parts[1]), c
        forget, new, write, out = parts
        c = torch.sigmoid(forget) * c + torch.sigmoid(write) * torch.tanh(new)
        return torch.sigmoid(out) * torch.tanh(c), c

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = c = x.new_zeros(len(x), self.width)
        for row in rows(x).unbind(1):
            h, c = self._step(self.reads(row), h, c)
        return self.head(h)


# ---------------------------------------------------------------------- pictures
def pictures(x: torch.Tensor) -> torch.Tensor:
    return x.view(-1, 1, 8, 8)


class Conv(nn.Module):
    """Convolutions without norm, plain or split into depthwise and pointwise, then the mean over places."""

    def __init__(self, function: Function, depth: int = 4, channels: int = 16, split: bool = False) -> None:
        super().__init__()
        self.function, self.first = function, nn.Conv2d(1, channels, 3, padding=1)

        def one() -> nn.Module:
            if not split:
                return nn.Conv2d(channels, channels, 3, padding=1)
            return nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1, groups=channels), nn.Conv2d(channels, channels, 1)
            )

        self.rest = nn.ModuleList(one() for _ in range(depth - 1))
        self.head = nn.Linear(channels * 16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.function(self.first(pictures(x)))
        for layer in self.rest:
            h = self.function(layer(h))
        return self.head(functional.avg_pool2d(h, 2).flatten(1))


class Squeezed(nn.Module):
    """Convolutions whose channels are multiplied by a function of their means."""

    def __init__(self, depth: int = 3, channels: int = 16) -> None:
        super().__init__()
        sizes = [1, *[channels] * depth]
        self.maps = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(sizes))
        self.gates = maps(depth, channels, channels)
        self.head = nn.Linear(channels * 16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = pictures(x)
        for layer, gate in zip(self.maps, self.gates, strict=True):
            h = torch.relu(layer(h))
            h = h * torch.sigmoid(gate(h.mean((2, 3))))[..., None, None]
        return self.head(functional.avg_pool2d(h, 2).flatten(1))


class Upsampled(nn.Module):
    """Down to 2 x 2 and up again by transposed convolutions, with a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(1, 16, 3, 2, 1), nn.Conv2d(16, 32, 3, 2, 1)
        self.up = nn.ConvTranspose2d(32, 16, 4, 2, 1)
        self.head = nn.Linear(32 * 16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = torch.relu(self.down1(pictures(x)))
        b = torch.relu(self.down2(a))
        return self.head(torch.cat([a, torch.relu(self.up(b))], 1).flatten(1))


class Binned(nn.Module):
    """Pixels as words of a small vocabulary, one for each place, summed by an embedding bag."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(64 * 8, 48, mode="sum")
        self.register_buffer("places", 8 * torch.arange(64))
        self.rest = nn.Sequential(nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        words = ((x + 1) * 2.5).long().clamp(0, 7) + self.places
        return self.rest(self.bag(words))


FUNCTIONS: Mapping[str, Callable[[], nn.Module]] = {
    "sin(2x), 4 layers": lambda: stack(lambda x: torch.sin(2 * x), 4),
    "sin(3x)": lambda: stack(lambda x: torch.sin(3 * x)),
    "Fourier features, sin(3x)": Fourier,
    "x exp(-x²)": lambda: stack(lambda x: x * torch.exp(-x * x)),
    "tanh(5x)": lambda: stack(lambda x: torch.tanh(5 * x)),
    "erf(4x), 5 layers": lambda: stack(lambda x: torch.erf(4 * x), 5),
    "x / (1 + |x|), 4 layers": lambda: stack(lambda x: x / (1 + x.abs()), 4),
    "guarded x / (1 + x)": lambda: stack(lambda x: torch.where(x > 0, x / (1 + x.abs()), 0.05 * x), 4),
    "squared ReLU": lambda: stack(lambda x: torch.relu(x).square(), 3),
    "odd width GELU, 6 layers": lambda: stack(functional.gelu, 6, 63),
    "cos(x)": lambda: stack(torch.cos),
    "x + sin²(x), 5 layers": lambda: stack(lambda x: x + torch.sin(x).square(), 5),
    "x tanh(x), 4 layers": lambda: stack(lambda x: x * torch.tanh(x), 4),
    "exp(-x²)": lambda: stack(lambda x: torch.exp(-x * x)),
    "log(1 + relu(x)), 5 layers": lambda: stack(lambda x: torch.log1p(torch.relu(x)), 5),
    "signed square root, 4 layers": lambda: stack(lambda x: x.sign() * (x.abs() + 1e-2).sqrt(), 4),
    "mish, 10 layers": lambda: stack(functional.mish, 10),
    "softplus, 5 layers": lambda: stack(functional.softplus, 5),
    "hardswish, 8 layers, width 50": lambda: stack(functional.hardswish, 8, 50),
    "shrunk tanh, 6 layers": lambda: stack(lambda x: 1.7159 * torch.tanh(2 * x / 3), 6),
    "clipped x³, 3 layers": lambda: stack(lambda x: (x**3).clamp(-2, 2)),
    "leaky 0.3, 15 layers": lambda: stack(lambda x: functional.leaky_relu(x, 0.3), 15),
}
MADE: Mapping[str, Callable[[], nn.Module]] = {
    "hypernetwork": Hyper,
    "hypernetwork, two layers": lambda: Hyper(32),
    "weights from codes": Codes,
    "low-rank weights": LowRank,
    "Kronecker weights": Kronecker,
    "circulant weights": Circulant,
    "couplings": Couplings,
    "FiLM": FiLM,
    "residual FiLM": lambda: FiLM(4, residual=True),
    "radial basis": RBF,
    "bumps": Bumps,
    "product units": Products,
    "cosine layers": Cosines,
    "polynomial": lambda: Pairs(lambda x, a, b: a * b, 3),
    "residual polynomial": lambda: Pairs(lambda x, a, b: x + a * b),
    "highway": lambda: Pairs(lambda x, a, b: a.sigmoid() * b.relu() + (1 - a.sigmoid()) * x),
    "gated tanh": lambda: Pairs(lambda x, a, b: a.sigmoid() * b.tanh()),
    "gated residual": lambda: Pairs(lambda x, a, b: x + a.sigmoid() * b.tanh()),
    "SiLU gate, 5 layers": lambda: Pairs(lambda x, a, b: functional.silu(a) * b, 5),
    "maximum of two": lambda: Pairs(lambda x, a, b: torch.maximum(a, b)),
    "maxout": Maxout,
}
MIXED: Mapping[str, Callable[[], nn.Module]] = {
    "set attention": SetAttention,
    "attention without norms": Attention,
    "attention without skips": lambda: Attention(residual=False),
    "linear attention": lambda: Attention(linear=True),
    "additive graph attention": AdditiveGraph,
    "mixer": Mixer,
    "spatial gate": SpatialGate,
    "soft experts": Experts,
    "residual ReLU, 8 layers": lambda: Residual(torch.relu),
    "residual tanh, 20 layers": lambda: Residual(torch.tanh, 20),
    "residual norm GELU, 10 layers": lambda: Residual(functional.gelu, 10, norm=True),
    "Euler steps of 1/8": lambda: Residual(torch.tanh, 8, step=0.125),
    "dense concatenation": Dense,
    "tied ReLU, 6 steps": lambda: Tied(torch.relu),
    "tied tanh, 10 steps": lambda: Tied(torch.tanh, 10),
    "equilibrium, 12 steps": lambda: Tied(torch.tanh, 12, read_again=True),
    "LSTM written out": lambda: Cell("lstm"),
    "GRU written out": lambda: Cell("gru"),
    "minimal gated cell": lambda: Cell("minimal"),
    "tanh cell": lambda: Cell("plain"),
    "convolutions, 4 layers": lambda: Conv(torch.relu),
    "convolutions of 15 channels, GELU": lambda: Conv(functional.gelu, 5, 15),
    "depthwise and pointwise": lambda: Conv(torch.relu, 4, split=True),
    "squeeze and multiply": Squeezed,
    "down and up": Upsampled,
    "binned pixels": Binned,
}
MODELS: Mapping[str, Callable[[], nn.Module]] = {**FUNCTIONS, **MADE, **MIXED}
