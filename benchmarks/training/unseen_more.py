"""More architectures that are in no zoo: combinations of kinds, made after the first ones were looked at."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn import functional

from benchmarks.training.unseen_models import WIDTH, Conv, Pairs, Residual, maps, pictures, rows, stack

__all__ = ["MORE"]


# ---------------------------------------------------------------------- products, made weights
class Fused(nn.Module):
    """Layers that combine the pieces of one map."""

    def __init__(self, combine: Callable[..., torch.Tensor], parts: int, depth: int = 3) -> None:
        super().__init__()
        self.combine, self.parts = combine, parts
        self.maps, self.head = maps(depth, parts * WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.maps:
            x = self.combine(x, *layer(x).chunk(self.parts, -1))
        return self.head(x)


class SwiGLU(nn.Module):
    """Gated maps without a stream around them."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.up, self.down, self.head = maps(depth, 2 * WIDTH), maps(depth), nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for up, down in zip(self.up, self.down, strict=True):
            a, b = up(x).chunk(2, -1)
            x = down(functional.silu(a) * b)
        return self.head(x)


class CrossNetwork(nn.Module):
    """x0 * (W x) + x, layer after layer."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.maps, self.head = maps(depth), nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = x
        for layer in self.maps:
            x = first * layer(x) + x
        return self.head(x)


class Outer(nn.Module):
    """Kronecker products written by broadcasting."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.left = nn.ParameterList(nn.Parameter(torch.randn(8, 8) / 8) for _ in range(depth))
        self.right = nn.ParameterList(nn.Parameter(torch.randn(8, 8) / 8) for _ in range(depth))
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for a, b in zip(self.left, self.right, strict=True):
            x = torch.relu(x @ (a[:, None, :, None] * b[None, :, None, :]).reshape(64, 64))
        return self.head(x)


class TensorTrain(nn.Module):
    """Weights of two cores."""

    def __init__(self, depth: int = 3, rank: int = 4) -> None:
        super().__init__()
        self.one = nn.ParameterList(nn.Parameter(torch.randn(8, 8, rank) / 5) for _ in range(depth))
        self.two = nn.ParameterList(nn.Parameter(torch.randn(rank, 8, 8) / 5) for _ in range(depth))
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for a, b in zip(self.one, self.two, strict=True):
            x = functional.elu(x @ torch.einsum("iar,rjb->ijab", a, b).reshape(64, 64))
        return self.head(x)


class HyperSine(nn.Module):
    """A layer of sin(2x) whose weights a map makes from the input."""

    def __init__(self, hidden: int = 24) -> None:
        super().__init__()
        self.enc, self.make, self.head = nn.Linear(64, 24), nn.Linear(24, 64 * hidden), nn.Linear(hidden, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.make(torch.tanh(self.enc(x))).view(len(x), 64, -1)
        return self.head(torch.sin(2 * torch.bmm(x[:, None], made)[:, 0]))


class PictureFiLM(nn.Module):
    """Convolutions that a code of the picture scales by 1 + s and shifts."""

    def __init__(self, depth: int = 3, channels: int = 16) -> None:
        super().__init__()
        sizes = [1, *[channels] * depth]
        self.maps = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(sizes))
        self.films, self.code = maps(depth, 2 * channels, 8), nn.Linear(64, 8)
        self.head = nn.Linear(channels * 16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        code, h = torch.tanh(self.code(x)), pictures(x)
        for layer, film in zip(self.maps, self.films, strict=True):
            scale, shift = film(code)[..., None, None].chunk(2, 1)
            h = functional.silu((1 + scale) * layer(h) + shift)
        return self.head(functional.avg_pool2d(h, 2).flatten(1))


class GatedPictures(nn.Module):
    """Convolutions that multiply their two halves."""

    def __init__(self, depth: int = 4, channels: int = 12) -> None:
        super().__init__()
        sizes = [1, *[channels] * depth]
        self.maps = nn.ModuleList(nn.Conv2d(a, 2 * b, 3, padding=1) for a, b in itertools.pairwise(sizes))
        self.head = nn.Linear(channels * 16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = pictures(x)
        for layer in self.maps:
            a, b = layer(h).chunk(2, 1)
            h = functional.gelu(a) * b
        return self.head(functional.avg_pool2d(h, 2).flatten(1))


class BoundedCouplings(nn.Module):
    """Affine couplings with bounded log-scales."""

    def __init__(self, num: int = 6) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nn.Sequential(nn.Linear(32, 48), nn.Tanh(), nn.Linear(48, 64)) for _ in range(num))
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for net in self.nets:
            a, b = x.chunk(2, -1)
            scale, shift = net(a).chunk(2, -1)
            x = torch.cat([b * torch.exp(torch.tanh(scale)) + shift, a], -1)
        return self.head(x)


class Splines(nn.Module):
    """Sums of bumps beside a map of SiLUs (KAN)."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.register_buffer("grid", torch.linspace(-2, 2, 5))
        sizes = [64, *[32] * (depth - 1), 10]
        self.bumps = nn.ParameterList(nn.Parameter(torch.randn(b, a, 5) * 0.1) for a, b in itertools.pairwise(sizes))
        self.base = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for weight, base in zip(self.bumps, self.base, strict=True):
            basis = torch.exp(-((1.2 * (x[..., None] - self.grid)) ** 2))
            x = base(functional.silu(x)) + torch.einsum("nig,oig->no", basis, weight)
        return x


class DenseProducts(nn.Module):
    """Every layer reads all before it and multiplies two maps of them."""

    def __init__(self, depth: int = 4, growth: int = 16) -> None:
        super().__init__()
        self.one = nn.ModuleList(nn.Linear(64 + growth * i, growth) for i in range(depth))
        self.two = nn.ModuleList(nn.Linear(64 + growth * i, growth) for i in range(depth))
        self.head = nn.Linear(64 + growth * depth, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for a, b in zip(self.one, self.two, strict=True):
            x = torch.cat([x, a(x) * torch.tanh(b(x))], -1)
        return self.head(x)


class LowRankStream(nn.Module):
    """Residual branches whose weight is the product of two thin ones."""

    def __init__(self, depth: int = 6, rank: int = 8) -> None:
        super().__init__()
        self.left = nn.ParameterList(nn.Parameter(torch.randn(WIDTH, rank) / 8) for _ in range(depth))
        self.right = nn.ParameterList(nn.Parameter(torch.randn(rank, WIDTH) / 8) for _ in range(depth))
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for left, right in zip(self.left, self.right, strict=True):
            x = x + functional.gelu(x @ (left @ right))
        return self.head(x)


class TiedDecoder(nn.Module):
    """An autoencoder whose decoder uses the encoder's weights, added to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(64, 32), nn.Linear(32, 16), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = functional.gelu(self.two(functional.gelu(self.one(x))))
        return self.head(x + functional.gelu(h @ self.two.weight) @ self.one.weight)


class DepthwiseViews(nn.Module):
    """Depthwise kernels kept as (3, 3, channels) and reshaped, as Keras does."""

    def __init__(self, depth: int = 3, channels: int = 16) -> None:
        super().__init__()
        self.channels, self.first = channels, nn.Conv2d(1, channels, 3, padding=1)
        self.kernels = nn.ParameterList(nn.Parameter(torch.randn(3, 3, channels) * 0.3) for _ in range(depth))
        self.points = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(depth))
        self.head = nn.Linear(channels * 16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.first(pictures(x)))
        for kernel, point in zip(self.kernels, self.points, strict=True):
            weight = kernel.permute(2, 0, 1).reshape(self.channels, 1, 3, 3)
            h = functional.silu(point(functional.conv2d(h, weight, padding=1, groups=self.channels)))
        return self.head(functional.avg_pool2d(h, 2).flatten(1))


# ---------------------------------------------------------------------- loops, mixing
class InTurn(nn.Module):
    """An LSTM over rows whose gates take turns unit by unit, with or without peepholes."""

    def __init__(self, width: int = 48, *, peepholes: bool = False) -> None:
        super().__init__()
        self.width, self.reads = width, nn.Linear(8, 4 * width)
        self.holds, self.head = nn.Linear(width, 4 * width, bias=False), nn.Linear(width, 10)
        self.peep = nn.Parameter(torch.zeros(2, width)) if peepholes else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = c = x.new_zeros(len(x), self.width)
        for row in rows(x).unbind(1):
            f, i, o, n = (self.reads(row) + self.holds(h)).view(len(x), self.width, 4).unbind(-1)
            if self.peep is not None:
                f, o = f + self.peep[0] * c, o + self.peep[1] * c
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(n)
            h = torch.sigmoid(o) * torch.tanh(c)
        return self.head(h)


class Loop(nn.Module):
    """h <- step(h, W_x row, W_h h) over the rows."""

    def __init__(self, step: Callable[..., torch.Tensor], width: int = 48) -> None:
        super().__init__()
        self.step, self.width = step, width
        self.reads, self.holds, self.head = nn.Linear(8, width), nn.Linear(width, width), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x.new_zeros(len(x), self.width)
        for row in rows(x).unbind(1):
            h = self.step(h, self.reads(row), self.holds(h))
        return self.head(h)


class NormedLoop(nn.Module):
    """An equilibrium iteration with a norm."""

    def __init__(self, steps: int = 8) -> None:
        super().__init__()
        self.steps, self.inner, self.outer = steps, nn.Linear(WIDTH, WIDTH), nn.Linear(64, WIDTH)
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        read = self.outer(x)
        h = torch.zeros_like(read)
        for _ in range(self.steps):
            h = torch.tanh(self.norm(self.inner(h) + read))
        return self.head(h)


class RungeKutta(nn.Module):
    """Three steps of fourth order through one small network."""

    def __init__(self, steps: int = 3) -> None:
        super().__init__()
        self.steps, self.one, self.two, self.head = steps, *maps(2), nn.Linear(WIDTH, 10)

    def slope(self, x: torch.Tensor) -> torch.Tensor:
        return self.two(torch.tanh(self.one(x)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        d = 1 / self.steps
        for _ in range(self.steps):
            a = self.slope(x)
            b = self.slope(x + d / 2 * a)
            c = self.slope(x + d / 2 * b)
            x = x + d / 6 * (a + 2 * b + 2 * c + self.slope(x + d * c))
        return self.head(x)


class TiedGraph(nn.Module):
    """Messages between neighbouring rows, the same maps at every round."""

    def __init__(self, width: int = 32, rounds: int = 4) -> None:
        super().__init__()
        self.rounds, self.embed, self.head = rounds, nn.Linear(8, width), nn.Linear(8 * width, 10)
        self.mine, self.theirs = maps(2, width, width)
        near = torch.eye(8) + torch.diag(torch.ones(7), 1) + torch.diag(torch.ones(7), -1)
        self.register_buffer("near", near / near.sum(1, keepdim=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.embed(rows(x))
        for _ in range(self.rounds):
            h = torch.relu(self.near @ self.theirs(h) + self.mine(h))
        return self.head(h.flatten(1))


class Near(nn.Module):
    """Attention with a bias by distance, or a decay with a gate, without norms."""

    def __init__(self, depth: int = 2, width: int = 32, *, decay: bool = False) -> None:
        super().__init__()
        self.embed, self.head, self.decay = nn.Linear(8, width), nn.Linear(width, 10), decay
        self.qkv, self.out, self.gates = maps(depth, 3 * width, width), maps(depth, width, width), None
        far = torch.arange(8)[:, None] - torch.arange(8)
        if decay:
            self.gates = maps(depth, width, width)
        self.register_buffer("near", torch.tril(0.8 ** far.clamp(min=0).float()) if decay else -0.5 * far.abs().float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.embed(rows(x))
        for n, (qkv, out) in enumerate(zip(self.qkv, self.out, strict=True)):
            q, k, v = qkv(h).chunk(3, -1)
            scores = q @ k.transpose(1, 2)
            if self.gates is not None:
                h = h + out(functional.silu(self.gates[n](h)) * (scores / 32 * self.near @ v))
            else:
                h = h + torch.tanh(out((scores / 32**0.5 + self.near).softmax(-1) @ v))
        return self.head(h.mean(1))


class SineExperts(nn.Module):
    """A soft mixture of networks of sines."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(64, 4)
        self.experts = nn.ModuleList(stack(lambda x: torch.sin(2 * x), 2, 32) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = self.router(x).softmax(-1)
        return (torch.stack([e(x) for e in self.experts], -1) * weights[:, None]).sum(-1)


class Shuffled(nn.Module):
    """Grouped maps with the groups mixed after each."""

    def __init__(self, depth: int = 6, groups: int = 4) -> None:
        super().__init__()
        self.groups, self.head = groups, nn.Linear(WIDTH, 10)
        self.maps = nn.ModuleList(nn.Conv1d(WIDTH, WIDTH, 1, groups=groups) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.maps:
            h = torch.relu(layer(x[..., None])[..., 0])
            x = h.view(len(x), self.groups, -1).transpose(1, 2).flatten(1)
        return self.head(x)


class Bottleneck(nn.Module):
    """Six numbers of the input, decoded and joined with it."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Linear(64, 32), nn.GELU(), nn.Linear(32, 6))
        self.up = nn.Sequential(nn.Linear(6, 32), nn.GELU(), nn.Linear(32, 64))
        self.head = nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.cat([self.up(self.down(x)), x], -1))


MORE: Mapping[str, Callable[[], nn.Module]] = {
    "SwiGLU without a stream": SwiGLU,
    "relu(a b + c) of one map": lambda: Fused(lambda x, a, b, c: torch.relu(a * b + c), 3),
    "relu(x a + b) of one map": lambda: Fused(lambda x, a, b: torch.relu(x * a + b), 2),
    "cross network": CrossNetwork,
    "logaddexp of two": lambda: Pairs(lambda x, a, b: torch.logaddexp(a, b)),
    "highway of tanh(4x)": lambda: Pairs(lambda x, a, b: a.sigmoid() * torch.tanh(4 * b) + (1 - a.sigmoid()) * x),
    "x³, 3 layers": lambda: stack(lambda x: x**3),
    "x (1 + x), 4 layers": lambda: stack(lambda x: x * (1 + x), 4),
    "sin(15x), 2 layers": lambda: stack(lambda x: torch.sin(15 * x), 2),
    "tanh(3x) residual, 6 layers": lambda: Residual(lambda x: torch.tanh(3 * x), 6),
    "sin(3x) convolutions": lambda: Conv(lambda x: torch.sin(3 * x)),
    "squared ReLU convolutions": lambda: Conv(lambda x: torch.relu(x).square()),
    "SiLU convolutions of 13 channels": lambda: Conv(functional.silu, 6, 13),
    "gated convolutions": GatedPictures,
    "convolutions, 1 + s modulated": PictureFiLM,
    "depthwise kernels through views": DepthwiseViews,
    "hypernetwork of sines": HyperSine,
    "low-rank residual": LowRankStream,
    "Kronecker by broadcasting": Outer,
    "tensor train": TensorTrain,
    "bounded couplings": BoundedCouplings,
    "bumps beside SiLUs": Splines,
    "dense products": DenseProducts,
    "tied autoencoder": TiedDecoder,
    "bottleneck beside its input": Bottleneck,
    "LSTM, gates in turn": InTurn,
    "LSTM with peepholes, gates in turn": lambda: InTurn(40, peepholes=True),
    "leaky loop": lambda: Loop(lambda h, a, b: 0.7 * h + 0.3 * torch.tanh(a + b)),
    "multiplicative integration": lambda: Loop(lambda h, a, b: torch.tanh(a * b + a + b)),
    "equilibrium with a norm": NormedLoop,
    "Runge-Kutta steps": RungeKutta,
    "tied graph": TiedGraph,
    "attention with distances": Near,
    "retention": lambda: Near(decay=True),
    "experts of sines": SineExperts,
    "grouped ReLU, shuffled": Shuffled,
}
