"""Architectures written after all rules that the rows before them had mended, first looked at as they are here."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn import functional

from benchmarks.training.unseen_models import WIDTH, maps, pictures, rows

__all__ = ["LAST"]


# ---------------------------------------------------------------------- made and factored weights
class MadeKernels(nn.Module):
    """Residual convolutions whose kernels a two-layer network makes from one learned code a layer."""

    def __init__(self, depth: int = 3, channels: int = 12, code: int = 8) -> None:
        super().__init__()
        self.channels, self.first, self.head = (
            channels,
            nn.Conv2d(1, channels, 3, padding=1),
            nn.Linear(channels * 16, 10),
        )
        self.codes = nn.Parameter(torch.randn(depth, code))
        self.inner, self.make = nn.Linear(code, 24), nn.Linear(24, channels * channels * 9)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(pictures(x))
        for kernel in self.make(torch.tanh(self.inner(self.codes))).view(-1, self.channels, self.channels, 3, 3):
            h = h + functional.conv2d(functional.silu(h), kernel, padding=1)
        return self.head(functional.avg_pool2d(h, 2).flatten(1))


class DiagonalLowRank(nn.Module):
    """Weights that are a learned diagonal of ones and a product of two thin factors, the second one zero (LoRA)."""

    def __init__(self, depth: int = 4, rank: int = 6) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(64, WIDTH), nn.Linear(WIDTH, 10)
        self.diagonal = nn.ParameterList(nn.Parameter(torch.ones(WIDTH)) for _ in range(depth))
        self.down = nn.ParameterList(nn.Parameter(torch.randn(WIDTH, rank) / 8) for _ in range(depth))
        self.up = nn.ParameterList(nn.Parameter(torch.zeros(rank, WIDTH)) for _ in range(depth))
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(WIDTH)) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x)
        for diagonal, down, up, bias in zip(self.diagonal, self.down, self.up, self.biases, strict=True):
            h = functional.gelu(h * diagonal + h @ down @ up + bias)
        return self.head(h)


class Butterfly(nn.Module):
    """Maps that are two block-diagonal factors with the blocks dealt out between them (Monarch matrices)."""

    def __init__(self, depth: int = 3, blocks: int = 8) -> None:
        super().__init__()
        self.blocks, self.head = blocks, nn.Linear(WIDTH, 10)
        self.left, self.right = (
            nn.ParameterList(nn.Parameter(torch.randn(blocks, 8, 8) / 8**0.5) for _ in range(depth)) for _ in range(2)
        )
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(WIDTH)) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for left, right, bias in zip(self.left, self.right, self.biases, strict=True):
            h = torch.einsum("nki,kij->njk", x.view(len(x), self.blocks, -1), left)
            h = torch.einsum("njk,jkl->nlj", h, right).flatten(1)
            x = torch.relu(h + bias)
        return self.head(x)


# ---------------------------------------------------------------------- loops
class Oscillators(nn.Module):
    """Coupled damped oscillators driven by the rows, steps of 0.4 (coRNN)."""

    def __init__(self, width: int = 48, step: float = 0.4) -> None:
        super().__init__()
        self.step, self.width, self.head = step, width, nn.Linear(width, 10)
        self.reads, self.holds, self.speeds = nn.Linear(8, width), *maps(2, width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = z = x.new_zeros(len(x), self.width)
        for row in rows(x).unbind(1):
            z = z + self.step * (torch.tanh(self.holds(y) + self.speeds(z) + self.reads(row)) - y - 0.5 * z)
            y = y + self.step * z
        return self.head(y)


class LinearScan(nn.Module):
    """A gated linear recurrence in closed form, by sums of logarithms over the pixels; two layers with residuals."""

    def __init__(self, depth: int = 2, width: int = 32) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(8, width), nn.Linear(width, 10)
        self.forgets, self.values, self.outs = (maps(depth, width, width) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.embed(rows(x))
        for forget, value, out in zip(self.forgets, self.values, self.outs, strict=True):
            logs = functional.logsigmoid(forget(h) + 1.0).cumsum(1)
            states = logs.exp() * ((-logs).exp() * torch.sigmoid(-forget(h) - 1.0) * value(h)).cumsum(1)
            h = h + out(functional.silu(states))
        return self.head(h[:, -1])


class Monotone(nn.Module):
    """A monotone equilibrium: damped steps of z <- relu((1 - m) z - A'A z + (B - B') z + U x)."""

    def __init__(self, steps: int = 8, width: int = 48) -> None:
        super().__init__()
        self.steps, self.inject, self.head = steps, nn.Linear(64, width), nn.Linear(width, 10)
        self.a = nn.Parameter(torch.randn(width, width) * width**-0.5 * 0.5)
        self.b = nn.Parameter(torch.randn(width, width) * width**-0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = self.inject(x)
        z = torch.zeros_like(seen)
        for _ in range(self.steps):
            inner = 0.9 * z - z @ self.a.t() @ self.a + z @ (self.b - self.b.t())
            z = 0.5 * z + 0.5 * torch.relu(inner + seen)
        return self.head(z)


class Hamiltonian(nn.Module):
    """Leapfrog steps of a Hamiltonian network: q and p take turns, with one kernel and its transpose a step."""

    def __init__(self, depth: int = 5, size: int = 32, width: int = 64, step: float = 0.3) -> None:
        super().__init__()
        self.step, self.head = step, nn.Linear(2 * size, 10)
        self.kernels = nn.ParameterList(nn.Parameter(torch.randn(2, width, size) / size**0.5) for _ in range(depth))
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(2, width)) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, p = x.chunk(2, -1)
        for kernel, bias in zip(self.kernels, self.biases, strict=True):
            p = p - self.step * torch.tanh(functional.linear(q, kernel[0], bias[0])) @ kernel[0]
            q = q + self.step * torch.tanh(functional.linear(p, kernel[1], bias[1])) @ kernel[1]
        return self.head(torch.cat([q, p], -1))


# ---------------------------------------------------------------------- sums of logs, exponentials, tables
class SumProduct(nn.Module):
    """Log-densities of pixels, products of pairs and weighted sums of them, in turn, up to ten classes."""

    def __init__(self, parts: int = 6) -> None:
        super().__init__()
        self.centres, self.widths = nn.Parameter(torch.randn(64, parts)), nn.Parameter(torch.zeros(64, parts))
        sizes = [32, 16, 8, 4, 2]
        self.mix = nn.ParameterList(nn.Parameter(torch.randn(n, parts, parts)) for n in sizes)
        self.last = nn.Parameter(torch.randn(10, parts))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        level = -0.5 * ((x[..., None] - self.centres) * (-self.widths).exp()).square() - self.widths
        for mix in self.mix:
            pairs = level[:, ::2] + level[:, 1::2]
            level = torch.logsumexp(pairs[:, :, None] + mix.log_softmax(-1), -1)
        return torch.logsumexp((level[:, 0] + level[:, 1])[:, None] + self.last.log_softmax(-1), -1)


class PositiveFeatures(nn.Module):
    """Attention by positive features exp(w x - |x|²/2) of fixed random directions (Performer), with norms."""

    def __init__(self, depth: int = 2, width: int = 32, count: int = 24) -> None:
        super().__init__()
        self.embed, self.place, self.head = (
            nn.Linear(8, width),
            nn.Parameter(torch.randn(8, width) * 0.1),
            nn.Linear(width, 10),
        )
        self.qkv, self.out = maps(depth, 3 * width, width), maps(depth, width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.register_buffer("directions", torch.randn(count, width))

    def features(self, x: torch.Tensor) -> torch.Tensor:
        x = x * x.shape[-1] ** -0.25
        return torch.exp(x @ self.directions.t() - x.square().sum(-1, keepdim=True) / 2) + 1e-4

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.embed(rows(x)) + self.place
        for qkv, out, norm in zip(self.qkv, self.out, self.norms, strict=True):
            q, k, v = qkv(norm(h)).chunk(3, -1)
            q, k = self.features(q), self.features(k)
            h = h + out(q @ (k.transpose(1, 2) @ v) / (q @ k.sum(1)[..., None]))
        return self.head(h.mean(1))


class TabledActivations(nn.Module):
    """Each unit's function is a table of 17 numbers over [-3, 3], read by linear interpolation, begun as SiLU."""

    def __init__(self, depth: int = 3, count: int = 17) -> None:
        super().__init__()
        self.maps, self.head = maps(depth), nn.Linear(WIDTH, 10)
        values = functional.silu(torch.linspace(-3, 3, count))
        self.tables = nn.ParameterList(nn.Parameter(values.repeat(WIDTH, 1)) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer, table in zip(self.maps, self.tables, strict=True):
            at = (layer(x).clamp(-3, 3) + 3) / 6 * (table.shape[1] - 1)
            low = at.detach().floor().clamp(max=table.shape[1] - 2).long()
            units = torch.arange(len(table))
            a, b = table[units, low], table[units, low + 1]
            x = a + (at - low) * (b - a)
        return self.head(x)


class Wavelets(nn.Module):
    """Every connection is a wavelet (1 - u²) exp(-u²/2) with a place, a size and a weight of its own (WavKAN)."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [64, 24, 10]
        pairs = list(itertools.pairwise(sizes))
        self.places = nn.ParameterList(nn.Parameter(torch.zeros(b, a)) for a, b in pairs)
        self.sizes = nn.ParameterList(nn.Parameter(torch.ones(b, a)) for a, b in pairs)
        self.weights = nn.ParameterList(
            nn.Parameter(nn.init.kaiming_uniform_(torch.empty(b, a), a=5**0.5)) for a, b in pairs
        )
        self.norm = nn.LayerNorm(24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer, (place, size, weight) in enumerate(zip(self.places, self.sizes, self.weights, strict=True)):
            u = (x[:, None] - place) / size
            x = ((1 - u.square()) * torch.exp(-u.square() / 2) * weight).sum(-1)
            x = x if layer else self.norm(x)
        return x


class HashedGrid(nn.Module):
    """Pixel values put into cells at four resolutions, each a slot of a small table by a hash of cell and place."""

    def __init__(self, slots: int = 128, size: int = 2) -> None:
        super().__init__()
        self.slots, self.resolutions = slots, (2, 4, 8, 16)
        self.tables = nn.ModuleList(nn.Embedding(slots, size) for _ in self.resolutions)
        for table in self.tables:
            nn.init.uniform_(table.weight, -1e-2, 1e-2)
        self.one, self.head = nn.Linear(64 * size * 4, 48), nn.Linear(48, 10)
        self.register_buffer("places", torch.arange(64) * 2654435761 % 65537)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = []
        for table, cells in zip(self.tables, self.resolutions, strict=True):
            at = x.clamp(-1, 2) * cells
            low = at.floor()
            share = (at - low)[..., None]
            a, b = (
                table((low.long() * 805459861 ^ self.places).remainder(self.slots)),
                table(((low.long() + 1) * 805459861 ^ self.places).remainder(self.slots)),
            )
            found.append(((1 - share) * a + share * b).flatten(1))
        return self.head(torch.relu(self.one(torch.cat(found, -1))))


# ---------------------------------------------------------------------- sets, graphs, gates
class Relations(nn.Module):
    """All pairs of rows through one network, summed, and a network of the sum (a relation network)."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.pair = nn.Sequential(nn.Linear(18, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.after = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))
        self.register_buffer("place", torch.arange(8.0)[:, None] / 4 - 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.cat([rows(x), self.place.expand(len(x), -1, -1)], -1)
        pairs = torch.cat([h[:, :, None].expand(-1, -1, 8, -1), h[:, None].expand(-1, 8, -1, -1)], -1)
        return self.after(self.pair(pairs).sum((1, 2)))


class GraphAttention(nn.Module):
    """Graph attention with scores a' leaky(W_l h_i + W_r h_j), four heads side by side, and residual maps (GATv2)."""

    def __init__(self, depth: int = 2, heads: int = 4, size: int = 8) -> None:
        super().__init__()
        width = heads * size
        self.heads, self.embed, self.head = heads, nn.Linear(8, width), nn.Linear(8 * width, 10)
        self.left, self.right, self.beside = (maps(depth, width, width) for _ in range(3))
        self.scores = nn.ParameterList(
            nn.Parameter(nn.init.xavier_uniform_(torch.empty(heads, size))) for _ in range(depth)
        )
        far = (torch.arange(8)[:, None] - torch.arange(8)).abs()
        self.register_buffer("apart", (far > 2)[..., None])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.embed(rows(x))
        for left, right, beside, score in zip(self.left, self.right, self.beside, self.scores, strict=True):
            a, b = (m(h).unflatten(-1, (self.heads, -1)) for m in (left, right))
            scores = (functional.leaky_relu(a[:, :, None] + b[:, None], 0.2) * score).sum(-1)
            shares = scores.masked_fill(self.apart, float("-inf")).softmax(2)
            h = functional.elu(torch.einsum("nijh,njhd->nihd", shares, b).flatten(2) + beside(h))
        return self.head(h.flatten(1))


class GatedResidualNorm(nn.Module):
    """Gated residual blocks norm(x + GLU(W2 elu(W1 x + context))) with a context for all of them (TFT)."""

    def __init__(self, depth: int = 4, width: int = 48) -> None:
        super().__init__()
        self.embed, self.context, self.head = nn.Linear(64, width), nn.Linear(64, 16), nn.Linear(width, 10)
        self.one, self.two = maps(depth, width, width), maps(depth, width, width)
        self.glu, self.with_context = maps(depth, 2 * width, width), maps(depth, width, 16)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, context = self.embed(x), torch.tanh(self.context(x))
        for one, two, glu, more, norm in zip(self.one, self.two, self.glu, self.with_context, self.norms, strict=True):
            h = norm(h + functional.glu(glu(two(functional.elu(one(h) + more(context)))), -1))
        return self.head(h)


class ComplexWeights(nn.Module):
    """Complex weights, modReLU with a learned threshold, and the modulus of a complex head."""

    def __init__(self, depth: int = 3, width: int = 48) -> None:
        super().__init__()
        sizes = [64, *[width] * depth, 10]
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(b, a, dtype=torch.cfloat) * a**-0.5) for a, b in itertools.pairwise(sizes)
        )
        self.thresholds = nn.ParameterList(nn.Parameter(torch.full((width,), -0.05)) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = torch.complex(x, torch.zeros_like(x))
        for weight, threshold in zip(self.weights, [*self.thresholds, None], strict=True):
            z = z @ weight.t()
            if threshold is not None:
                size = (z.real.square() + z.imag.square() + 1e-6).sqrt()
                z = z * (torch.relu(size + threshold) / size)
        return z.real


class Winners(nn.Module):
    """In each block of four units only the largest passes (local winner takes all), residual maps between."""

    def __init__(self, depth: int = 5) -> None:
        super().__init__()
        self.maps, self.head = maps(depth), nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for n, layer in enumerate(self.maps):
            blocks = layer(x).unflatten(-1, (-1, 4))
            won = torch.where(blocks >= blocks.amax(-1, keepdim=True), blocks, torch.zeros_like(blocks)).flatten(-2)
            x = x + won if n % 2 else won
        return self.head(x)


class TreeOfExperts(nn.Module):
    """A tree of three soft gates over four bottleneck experts, beside the input, twice."""

    def __init__(self, depth: int = 2, rank: int = 12) -> None:
        super().__init__()
        self.top, self.low = maps(depth, 1), maps(depth, 2)
        self.down = nn.ParameterList(nn.Parameter(torch.randn(4, WIDTH, rank) / 8) for _ in range(depth))
        self.up = nn.ParameterList(nn.Parameter(torch.randn(4, rank, WIDTH) / rank**0.5) for _ in range(depth))
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for top, low, down, up in zip(self.top, self.low, self.down, self.up, strict=True):
            a, b = torch.sigmoid(top(x)), torch.sigmoid(low(x))
            shares = torch.stack(
                [a[:, 0] * b[:, 0], a[:, 0] * (1 - b[:, 0]), (1 - a[:, 0]) * b[:, 1], (1 - a[:, 0]) * (1 - b[:, 1])], -1
            )
            inner = functional.gelu(torch.einsum("nd,edr->ner", x, down))
            x = x + torch.einsum("ne,ner,erd->nd", shares, inner, up)
        return self.head(x)


class MatrixCapsules(nn.Module):
    """Poses of 4 x 4 numbers, votes by learned matrices, and routing by distances to their mean."""

    def __init__(self, first: int = 8, rounds: int = 2) -> None:
        super().__init__()
        self.first, self.rounds = first, rounds
        self.poses, self.matrices = nn.Linear(64, first * 16), nn.Parameter(torch.randn(first, 10, 4, 4) * 0.5)
        self.beta, self.head = nn.Parameter(torch.zeros(10)), nn.Linear(160, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        poses = torch.tanh(self.poses(x)).view(-1, self.first, 1, 4, 4)
        votes = (poses @ self.matrices).flatten(-2)
        shares = torch.full(votes.shape[:3], 0.1)
        for _ in range(self.rounds):
            shares = shares / shares.sum(1, keepdim=True)
            mean = (shares[..., None] * votes).sum(1)
            far = (votes - mean[:, None]).square().mean(-1)
            shares = (self.beta - far).softmax(2)
        return self.head(mean.flatten(1))


class GuardedQuotients(nn.Module):
    """Layers a / b with b kept from zero by its sign, signed logarithms after them, where() choosing small values."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.above, self.below, self.head = maps(depth), maps(depth), nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for above, below in zip(self.above, self.below, strict=True):
            b = below(x)
            b = torch.where(b.abs() < 0.5, torch.where(b < 0, -0.5, 0.5), b)
            q = above(x) / b
            x = torch.where(q.abs() < 1.0, q, q.sign() * (1 + torch.log(q.abs().clamp(min=1.0))))
        return self.head(x)


LAST: Mapping[str, Callable[[], nn.Module]] = {
    "kernels from codes": MadeKernels,
    "diagonal and low rank": DiagonalLowRank,
    "butterfly factors": Butterfly,
    "oscillators": Oscillators,
    "linear scan": LinearScan,
    "monotone equilibrium": Monotone,
    "Hamiltonian steps": Hamiltonian,
    "sums of products": SumProduct,
    "positive features": PositiveFeatures,
    "tabled activations": TabledActivations,
    "wavelets": Wavelets,
    "hashed grid": HashedGrid,
    "relations of rows": Relations,
    "graph attention, four heads": GraphAttention,
    "gated residual norm": GatedResidualNorm,
    "complex weights": ComplexWeights,
    "winners of four": Winners,
    "tree of experts": TreeOfExperts,
    "matrix capsules": MatrixCapsules,
    "guarded quotients": GuardedQuotients,
}
