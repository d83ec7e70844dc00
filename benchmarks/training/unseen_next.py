"""Architectures written after the rules that the rows before them had mended, and first looked at as they are here."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn import functional

from benchmarks.training.unseen_models import WIDTH, maps, pictures, rows

__all__ = ["NEXT"]


class DilatedGates(nn.Module):
    """Dilated causal convolutions over the pixels, tanh times sigmoid, with a residual and a sum of skips (WaveNet)."""

    def __init__(self, depth: int = 5, width: int = 16) -> None:
        super().__init__()
        self.embed, self.head = nn.Conv1d(1, width, 1), nn.Linear(width * 8, 10)
        self.gates = nn.ModuleList(nn.Conv1d(width, 2 * width, 2, dilation=2**d) for d in range(depth))
        self.residual = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(depth))
        self.skip = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, total = self.embed(x[:, None]), 0.0
        for d, (gate, residual, skip) in enumerate(zip(self.gates, self.residual, self.skip, strict=True)):
            a, b = gate(functional.pad(h, (2**d, 0))).chunk(2, 1)
            z = torch.tanh(a) * torch.sigmoid(b)
            h, total = h + residual(z), total + skip(z)
        return self.head(functional.avg_pool1d(torch.relu(total), 8).flatten(1))


class Thresholds(nn.Module):
    """Unfolded iterations of sparse coding: z <- soft(S z + W x, theta) with shared S (LISTA)."""

    def __init__(self, steps: int = 6, codes: int = 96) -> None:
        super().__init__()
        self.steps, self.encode = steps, nn.Linear(64, codes, bias=False)
        self.mix, self.theta = nn.Linear(codes, codes, bias=False), nn.Parameter(torch.full((codes,), 0.1))
        self.head = nn.Linear(codes, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = self.encode(x)
        z = functional.relu(seen.abs() - self.theta) * seen.sign()
        for _ in range(self.steps):
            z = self.mix(z) + seen
            z = functional.relu(z.abs() - self.theta) * z.sign()
        return self.head(z)


class InputConvex(nn.Module):
    """A network whose hidden weights are made positive by softplus, with a skip of the input at each layer (ICNN)."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.first, self.skips, self.head = nn.Linear(64, WIDTH), maps(depth), nn.Linear(WIDTH, 10)
        self.raw = nn.ParameterList(nn.Parameter(torch.randn(WIDTH, WIDTH) - 4.0) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = functional.softplus(self.first(x))
        for raw, skip in zip(self.raw, self.skips, strict=True):
            h = functional.softplus(h @ functional.softplus(raw).t() + skip(x))
        return self.head(h)


class Ternary(nn.Module):
    """Weights rounded to -1, 0, 1 times their mean size, with a straight-through gradient; RMS norms before them."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(WIDTH, WIDTH) * 0.1) for _ in range(depth))
        self.norms = nn.ModuleList(nn.RMSNorm(WIDTH) for _ in range(depth))
        self.head = nn.Linear(WIDTH, 10)

    @staticmethod
    def rounded(w: torch.Tensor) -> torch.Tensor:
        size = w.abs().mean()
        return w + ((w / (size + 1e-6)).round().clamp(-1, 1) * size - w).detach()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for weight, norm in zip(self.weights, self.norms, strict=True):
            x = functional.relu(norm(x) @ self.rounded(weight).t())
        return self.head(x)


class ExponentialGates(nn.Module):
    """A recurrent cell with an exponential input gate, a normaliser and a stabiliser (sLSTM) over the rows."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.width, self.read, self.again = width, nn.Linear(8, 4 * width), nn.Linear(width, 4 * width, bias=False)
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = c = n = x.new_zeros(len(x), self.width)
        m = x.new_zeros(len(x), self.width)
        for row in rows(x).unbind(1):
            i, f, z, o = (self.read(row) + self.again(h)).chunk(4, -1)
            f = functional.logsigmoid(f)
            new = torch.maximum(f + m, i)
            i, f, m = torch.exp(i - new), torch.exp(f + m - new), new
            c, n = f * c + i * torch.tanh(z), f * n + i
            h = torch.sigmoid(o) * c / n.clamp(min=1.0)
        return self.head(h)


class ProductKeys(nn.Module):
    """A memory read by the best of a product of two sets of keys, beside a residual map."""

    def __init__(self, width: int = 32, count: int = 12, best: int = 4) -> None:
        super().__init__()
        self.best, self.embed, self.query = best, nn.Linear(64, width), nn.Linear(width, 2 * 16)
        self.keys = nn.Parameter(torch.randn(2, count, 16) * 0.25)
        self.values, self.head = nn.Embedding(count * count, width), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.embed(x))
        q = self.query(h).view(len(x), 2, 16)
        scores = torch.einsum("nsd,skd->nsk", q, self.keys)
        both = (scores[:, 0, :, None] + scores[:, 1, None, :]).flatten(1)
        top, where = both.topk(self.best, -1)
        return self.head(h + (top.softmax(-1)[..., None] * self.values(where)).sum(1))


class Induced(nn.Module):
    """Set attention through learned inducing points, and a learned seed that pools (a set transformer)."""

    def __init__(self, width: int = 32, points: int = 4) -> None:
        super().__init__()
        self.embed, self.points = nn.Linear(8, width), nn.Parameter(torch.empty(points, width))
        self.seed = nn.Parameter(torch.empty(1, width))
        nn.init.xavier_uniform_(self.points), nn.init.xavier_uniform_(self.seed)
        self.blocks = nn.ModuleList(nn.MultiheadAttention(width, 4, batch_first=True) for _ in range(3))
        self.forwards, self.head = maps(3, width, width), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.embed(rows(x))
        points, seed = (p.expand(len(x), -1, -1) for p in (self.points, self.seed))

        def block(i: int, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
            a = q + self.blocks[i](q, k, k, need_weights=False)[0]
            return a + torch.relu(self.forwards[i](a))

        h = block(1, h, block(0, points, h))
        return self.head(block(2, seed, h)[:, 0])


class TimeODE(nn.Module):
    """Ten Euler steps of one vector field that reads the time beside the state."""

    def __init__(self, steps: int = 10, width: int = 48) -> None:
        super().__init__()
        self.steps, self.embed, self.head = steps, nn.Linear(64, width), nn.Linear(width, 10)
        self.inner, self.outer = nn.Linear(width + 1, 2 * width), nn.Linear(2 * width + 1, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.embed(x)
        for step in range(self.steps):
            t = torch.full_like(h[:, :1], step / self.steps)
            inner = functional.softplus(self.inner(torch.cat([h, t], -1)))
            h = h + self.outer(torch.cat([inner, t], -1)) / self.steps
        return self.head(h)


class BSplines(nn.Module):
    """Layers of sums of order-one splines of each input beside a SiLU map (a Kolmogorov-Arnold network)."""

    def __init__(self, knots: int = 7) -> None:
        super().__init__()
        sizes = [64, 24, 24, 10]
        self.register_buffer("grid", torch.linspace(-2, 2, knots))
        self.splines = nn.ParameterList(
            nn.Parameter(0.1 * torch.randn(b, a * knots) / knots) for a, b in itertools.pairwise(sizes)
        )
        self.bases = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(sizes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for spline, base in zip(self.splines, self.bases, strict=True):
            hats = functional.relu(1 - (x[..., None] - self.grid).abs() * 1.5)
            x = base(functional.silu(x)) + hats.flatten(1) @ spline.t()
        return x


class Spheres(nn.Module):
    """States kept on the unit sphere, steps of learned size towards a branch's point, and cosine logits (nGPT)."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.embed, self.up, self.down = nn.Linear(64, WIDTH), maps(depth, 96), maps(depth, WIDTH, 96)
        self.steps = nn.ParameterList(nn.Parameter(torch.full((WIDTH,), 0.2)) for _ in range(depth))
        self.classes, self.scale = nn.Parameter(torch.randn(10, WIDTH)), nn.Parameter(torch.tensor(10.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = functional.normalize(self.embed(x), dim=-1)
        for up, down, step in zip(self.up, self.down, self.steps, strict=True):
            to = functional.normalize(down(functional.silu(up(h * WIDTH**0.5))), dim=-1)
            h = functional.normalize(h + step * (to - h), dim=-1)
        return self.scale * functional.linear(h, functional.normalize(self.classes, dim=-1))


class DecisionTree(nn.Module):
    """A soft tree of depth four: products of sigmoids choose among sixteen leaves, each with a map of its own."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.depth, self.splits = depth, nn.Linear(64, 2**depth - 1)
        self.leaves = nn.Parameter(torch.randn(2**depth, 64, 10) * 0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        right, reach = torch.sigmoid(self.splits(x)), x.new_ones(len(x), 1)
        for level in range(self.depth):
            p = right[:, 2**level - 1 : 2 ** (level + 1) - 1]
            reach = torch.stack([reach * (1 - p), reach * p], -1).flatten(1)
        return torch.einsum("nl,nd,ldo->no", reach, x, self.leaves)


class Quaternions(nn.Module):
    """Maps that share four matrices by the Hamilton product, split as four parts of the state."""

    def __init__(self, depth: int = 4, part: int = 16) -> None:
        super().__init__()
        self.parts = nn.ParameterList(nn.Parameter(torch.randn(4, part, part) * 0.12) for _ in range(depth))
        self.head = nn.Linear(4 * part, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for w in self.parts:
            r, i, j, k = w
            rows_ = [
                torch.cat([r, -i, -j, -k], 1),
                torch.cat([i, r, -k, j], 1),
                torch.cat([j, k, r, -i], 1),
                torch.cat([k, -j, i, r], 1),
            ]
            x = functional.leaky_relu(x @ torch.cat(rows_).t(), 0.1)
        return self.head(x)


class Transformer2D(nn.Module):
    """A small network that chooses an affine view of the picture (a spatial transformer) before convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.localise = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 6))
        nn.init.zeros_(self.localise[2].weight)
        self.localise[2].bias.data.copy_(torch.tensor([1.0, 0, 0, 0, 1, 0]))
        self.convs = nn.Sequential(nn.Conv2d(1, 12, 3), nn.ReLU(), nn.Conv2d(12, 12, 3), nn.ReLU())
        self.head = nn.Linear(12 * 16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        image = pictures(x)
        grid = functional.affine_grid(self.localise(x).view(-1, 2, 3), list(image.shape), align_corners=False)
        seen = functional.grid_sample(image, grid, align_corners=False)
        return self.head(self.convs(seen).flatten(1))


class KeyValueMixing(nn.Module):
    """Token shift, exponentially decayed key-value sums and squared ReLU channels (RWKV), with norms."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embed, self.norm_a, self.norm_b = nn.Linear(8, width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix = nn.Parameter(torch.rand(5, width))
        self.r, self.k, self.v, self.o = maps(4, width, width)
        self.decay, self.first = nn.Parameter(torch.linspace(-3, 1, width)), nn.Parameter(torch.zeros(width))
        self.key, self.value = nn.Linear(width, 2 * width, bias=False), nn.Linear(2 * width, width, bias=False)
        self.gate, self.head = nn.Linear(width, width, bias=False), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.embed(rows(x))
        n = self.norm_a(h)
        past = functional.pad(n, (0, 0, 1, 0))[:, :-1]
        r, k, v = (m(n * w + past * (1 - w)) for m, w in zip((self.r, self.k, self.v), self.mix[:3], strict=True))
        top, below, out = torch.zeros_like(k[:, 0]), torch.zeros_like(k[:, 0]), []
        for t in range(n.shape[1]):
            now = torch.exp((k[:, t] + self.first).clamp(max=20))
            out.append((top + now * v[:, t]) / (below + now))
            fade, weight = torch.exp(-torch.exp(self.decay)), torch.exp(k[:, t].clamp(max=20))
            top, below = fade * top + weight * v[:, t], fade * below + weight
        h = h + self.o(torch.sigmoid(r) * torch.stack(out, 1))
        n = self.norm_b(h)
        past = functional.pad(n, (0, 0, 1, 0))[:, :-1]
        k, r = n * self.mix[3] + past * (1 - self.mix[3]), n * self.mix[4] + past * (1 - self.mix[4])
        h = h + torch.sigmoid(self.gate(r)) * self.value(torch.relu(self.key(k)).square())
        return self.head(h.mean(1))


class DeltaRule(nn.Module):
    """A matrix memory that is overwritten by the delta rule, with normalised keys and a learned write strength."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.embed, self.beta, self.head = nn.Linear(8, width), nn.Linear(width, 1), nn.Linear(width, 10)
        self.q, self.k, self.v, self.o = maps(4, width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.embed(rows(x))
        q, k = functional.silu(self.q(h)), functional.normalize(functional.silu(self.k(h)), dim=-1)
        v, beta = self.v(h), torch.sigmoid(self.beta(h))
        memory, out = x.new_zeros(len(x), h.shape[-1], h.shape[-1]), []
        for t in range(h.shape[1]):
            old = torch.einsum("nvk,nk->nv", memory, k[:, t])
            memory = memory + torch.einsum("nv,nk->nvk", beta[:, t] * (v[:, t] - old), k[:, t])
            out.append(torch.einsum("nvk,nk->nv", memory, q[:, t]))
        return self.head((h + self.o(torch.stack(out, 1))).mean(1))


class UNet(nn.Module):
    """Two levels down by strided convolutions and up by transposed ones, joined by concatenation, with group norms."""

    def __init__(self, c: int = 8) -> None:
        super().__init__()
        self.enter, self.down, self.low = nn.Conv2d(1, c, 3, padding=1), nn.Conv2d(c, 2 * c, 2, 2), None
        self.low = nn.Conv2d(2 * c, 2 * c, 3, padding=1)
        self.up, self.join = nn.ConvTranspose2d(2 * c, c, 2, 2), nn.Conv2d(2 * c, c, 3, padding=1)
        self.norms, self.head = nn.ModuleList([nn.GroupNorm(4, c), nn.GroupNorm(4, 2 * c)]), nn.Linear(c * 16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = functional.silu(self.norms[0](self.enter(pictures(x))))
        b = functional.silu(self.norms[1](self.down(a)))
        b = functional.silu(self.low(b))
        joined = functional.silu(self.join(torch.cat([a, self.up(b)], 1)))
        return self.head(functional.avg_pool2d(joined, 2).flatten(1))


class Codebook(nn.Module):
    """An encoder whose output is replaced by the nearest of learned codes, with a straight-through gradient (VQ)."""

    def __init__(self, codes: int = 32, width: int = 8) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8 * width))
        self.codes = nn.Parameter(torch.empty(codes, width).uniform_(-1 / codes, 1 / codes))
        self.decode, self.width = nn.Sequential(nn.Linear(8 * width, 64), nn.ReLU(), nn.Linear(64, 10)), width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.encode(x).view(len(x), 8, self.width)
        chosen = self.codes[torch.cdist(z, self.codes.expand(len(x), -1, -1)).argmin(-1)]
        passed = z + (chosen - z).detach() + 0.1 * (chosen - chosen.detach())
        return self.decode(passed.flatten(1))


class GroupSort(nn.Module):
    """Spectrally normalised maps with sorted pairs in the place of an activation (1-Lipschitz)."""

    def __init__(self, depth: int = 5) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.spectral_norm
        self.maps, self.head = nn.ModuleList(norm(m) for m in maps(depth)), nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.maps:
            x = layer(x).unflatten(-1, (-1, 2)).sort(-1).values.flatten(-2)
        return self.head(x)


class Messages(nn.Module):
    """Messages over a grid graph with edge maps of both ends, gathered by index_add, updated by a GRU, twice."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        ends = [(a, b) for a in range(16) for b in range(16) if abs(a // 4 - b // 4) + abs(a % 4 - b % 4) == 1]
        self.register_buffer("ends", torch.tensor(ends).t())
        self.embed, self.edge = nn.Linear(4, width), nn.Linear(2 * width, width)
        self.update, self.head = nn.GRUCell(width, width), nn.Linear(width * 16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        cells = pictures(x).unfold(2, 2, 2).unfold(3, 2, 2).reshape(len(x), 16, 4)
        h = torch.tanh(self.embed(cells))
        for _ in range(2):
            sent = functional.elu(self.edge(torch.cat([h[:, self.ends[0]], h[:, self.ends[1]]], -1)))
            got = torch.zeros_like(h).index_add(1, self.ends[1], sent)
            h = self.update(got.flatten(0, 1), h.flatten(0, 1)).view_as(h)
        return self.head(h.flatten(1))


class DoubleFourier(nn.Module):
    """A Fourier operator in two dimensions with real and imaginary kernels apart, and channel maps beside it."""

    def __init__(self, depth: int = 2, width: int = 12, modes: int = 4) -> None:
        super().__init__()
        self.modes, self.lift, self.head = modes, nn.Conv2d(1, width, 1), nn.Linear(width * 16, 10)
        self.real, self.imaginary = (
            nn.ParameterList(nn.Parameter(torch.randn(width, width, modes, modes) / width) for _ in range(depth))
            for _ in range(2)
        )
        self.points = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, m = self.lift(pictures(x)), self.modes
        for real, imaginary, point in zip(self.real, self.imaginary, self.points, strict=True):
            waves = torch.fft.rfft2(h, norm="ortho")
            kept = torch.einsum("bixy,ioxy->boxy", waves[..., :m, :m], torch.complex(real, imaginary))
            low = torch.zeros_like(waves)
            low[..., :m, :m] = kept
            h = functional.gelu(torch.fft.irfft2(low, s=(8, 8), norm="ortho") + point(h))
        return self.head(functional.avg_pool2d(h, 2).flatten(1))


class DroppedMaxout(nn.Module):
    """Maxout of three pieces with dropout before each layer, and PReLU slopes at the end."""

    def __init__(self, depth: int = 4, pieces: int = 3) -> None:
        super().__init__()
        self.pieces, self.maps = pieces, maps(depth, WIDTH * pieces)
        self.last, self.slope, self.head = nn.Linear(WIDTH, WIDTH), nn.PReLU(WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.maps:
            x = layer(functional.dropout(x, 0.1, self.training)).unflatten(-1, (-1, self.pieces)).amax(-1)
        return self.head(self.slope(self.last(x)))


class ImplicitMixer(nn.Module):
    """Eight damped fixed-point iterations of a mixer over rows and columns, one set of weights for all."""

    def __init__(self, steps: int = 8, width: int = 24) -> None:
        super().__init__()
        self.steps, self.embed, self.head = steps, nn.Linear(8, width), nn.Linear(width, 10)
        self.tokens, self.channels, self.norm = nn.Linear(8, 8), nn.Linear(width, width), nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = self.embed(rows(x))
        z = torch.zeros_like(seen)
        for _ in range(self.steps):
            mixed = self.tokens(z.transpose(1, 2)).transpose(1, 2)
            z = 0.5 * z + 0.5 * torch.tanh(self.norm(seen + mixed + self.channels(z)))
        return self.head(z.mean(1))


NEXT: Mapping[str, Callable[[], nn.Module]] = {
    "dilated gates": DilatedGates,
    "soft thresholds": Thresholds,
    "positive weights": InputConvex,
    "ternary weights": Ternary,
    "exponential gates": ExponentialGates,
    "product keys": ProductKeys,
    "inducing points": Induced,
    "Euler steps with time": TimeODE,
    "hat splines": BSplines,
    "states on a sphere": Spheres,
    "soft tree": DecisionTree,
    "quaternion maps": Quaternions,
    "chosen view": Transformer2D,
    "decayed keys and values": KeyValueMixing,
    "delta rule": DeltaRule,
    "down, up and joined": UNet,
    "nearest codes": Codebook,
    "sorted pairs, spectral norm": GroupSort,
    "messages on a grid": Messages,
    "Fourier operator, 2-D": DoubleFourier,
    "maxout with dropout": DroppedMaxout,
    "implicit mixer": ImplicitMixer,
}
