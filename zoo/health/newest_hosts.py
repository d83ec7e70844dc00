"""More hosts, with faults and without: score vectors, feature tokens, gates over places, noise levels, margins."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from zoo.health.later_hosts import Arguments, Fault, garbage, labelled

__all__ = ["FAULTS", "HOSTS"]


# ---------------------------------------------------------------------- hosts
class ScoreAttention(nn.Module):
    """One layer of a graph attention network."""

    def __init__(self, inside: int, heads: int, size: int) -> None:
        super().__init__()
        self.shape, self.lin = (heads, size), nn.Linear(inside, heads * size, bias=False)
        nn.init.xavier_uniform_(self.lin.weight)
        self.a_src, self.a_dst = (nn.Parameter(torch.randn(1, heads, size) / size**0.5) for _ in range(2))
        self.bias = nn.Parameter(torch.zeros(heads * size))

    def forward(self, x: torch.Tensor, near: torch.Tensor) -> torch.Tensor:
        z = self.lin(x).view(-1, *self.shape)
        scores = (z * self.a_src).sum(-1)[:, None] + (z * self.a_dst).sum(-1)[None]
        scores = F.leaky_relu(scores, 0.2).masked_fill(~near[..., None], -1e9)
        return F.elu(torch.einsum("nmh,nhd->mhd", scores.softmax(0), z).flatten(1) + self.bias)


class GraphAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ScoreAttention(n, 4, 8) for n in (24, 32, 32))
        self.head = nn.Linear(32, 6)

    def forward(self, x: torch.Tensor, near: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x, near)
        return self.head(x)


def graph() -> Arguments:
    near = (torch.rand(60, 60) < 0.1) | torch.eye(60).bool()
    return {"model": GraphAttention(), "inputs": (torch.randn(60, 24), near), "targets": torch.randint(0, 6, (60,))}


class Features(nn.Module):
    """FT-Transformer: a token for each number, one for each category, one for all."""

    def __init__(self, numbers: int = 8, n: int = 48) -> None:
        super().__init__()
        bound = n**-0.5
        self.weight, self.bias = (nn.Parameter(torch.empty(numbers, n).uniform_(-bound, bound)) for _ in range(2))
        self.table, self.cls = nn.Embedding(30, n), nn.Parameter(torch.empty(n).uniform_(-bound, bound))
        nn.init.uniform_(self.table.weight, -bound, bound)
        layer = lambda: nn.TransformerEncoderLayer(n, 4, 2 * n, dropout=0.0, batch_first=True, norm_first=True)  # noqa: E731
        self.layers, self.norm = nn.ModuleList(layer() for _ in range(2)), nn.LayerNorm(n)
        self.head = nn.Linear(n, 3)

    def forward(self, numbers: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        tokens = numbers[..., None] * self.weight + self.bias
        x = torch.cat([self.cls.expand(len(numbers), 1, -1), tokens, self.table(kinds)], 1)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x[:, 0]).relu())


def features() -> Arguments:
    inputs = (torch.randn(48, 8), torch.randint(0, 30, (48, 3)))
    return {"model": Features(), "inputs": inputs, "targets": torch.randint(0, 3, (48,))}


class Denoiser(nn.Module):
    """Karras et al. 2022: what is read is divided by its spread, which the noise level gives."""

    def __init__(self, n: int = 16) -> None:
        super().__init__()
        self.into, self.level = nn.Conv2d(3, n, 3, padding=1), nn.Linear(1, n)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.GroupNorm(4, n), nn.SiLU(), nn.Conv2d(n, n, 3, padding=1)) for _ in range(4)
        )
        self.out = nn.Conv2d(n, 3, 3, padding=1)

    def forward(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        s = sigma[:, None, None, None]
        total = (s**2 + 0.25).sqrt()
        h = self.into(x / total) + self.level(sigma.log()[:, None] / 4)[..., None, None]
        for block in self.blocks:
            h = h + block(h)
        return 0.25 / total**2 * x + 0.5 * s / total * self.out(F.silu(h))


def denoiser() -> Arguments:
    sigma, clean = (1.2 * torch.randn(16) - 1.2).exp() * 20, 0.5 * torch.randn(16, 3, 8, 8)
    noisy = clean + sigma[:, None, None, None] * torch.randn_like(clean)

    def loss(y: torch.Tensor) -> torch.Tensor:
        weight = (sigma**2 + 0.25) / (0.5 * sigma) ** 2
        return (weight[:, None, None, None] * (y - clean).square()).mean()

    return {"model": Denoiser(), "inputs": (noisy, sigma), "loss": loss}


class Gates(nn.Module):
    """gMLP with its map over places as bare parameters, of the shape of other maps."""

    class Block(nn.Module):
        def __init__(self, n: int) -> None:
            super().__init__()
            self.norm, self.into, self.inner = nn.LayerNorm(n), nn.Linear(n, 2 * n), nn.LayerNorm(n)
            self.space, self.shift = nn.Parameter(1e-6 * torch.randn(n, n)), nn.Parameter(torch.ones(n, 1))
            self.out = nn.Linear(n, n)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            u, v = F.gelu(self.into(self.norm(x))).chunk(2, -1)
            return x + self.out(u * (torch.einsum("bnd,mn->bmd", self.inner(v), self.space) + self.shift))

    def __init__(self, n: int = 24) -> None:
        super().__init__()
        self.words = nn.Embedding(50, n)
        self.blocks, self.norm, self.head = (
            nn.ModuleList(self.Block(n) for _ in range(4)),
            nn.LayerNorm(n),
            nn.Linear(n, 5),
        )

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.words(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


def gates() -> Arguments:
    return {"model": Gates(), "inputs": torch.randint(0, 50, (16, 24)), "targets": torch.randint(0, 5, (16,))}


class Aligned(nn.Module):
    """Bahdanau et al. 2015: a decoder cell that looks at all states of an encoder."""

    def __init__(self, n: int = 32, vocab: int = 40) -> None:
        super().__init__()
        self.words, self.encoder = nn.Embedding(vocab, n), nn.GRU(n, n, batch_first=True)
        self.query, self.key, self.score = nn.Linear(n, n), nn.Linear(n, n), nn.Parameter(torch.randn(n) / n**0.5)
        self.cell, self.head = nn.GRUCell(2 * n, n), nn.Linear(n, vocab)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        states, last = self.encoder(self.words(source))
        h, out = last[0], []
        for t in range(target.shape[1]):
            scores = torch.tanh(self.query(h)[:, None] + self.key(states)) @ self.score
            seen = (scores.softmax(1)[..., None] * states).sum(1)
            h = self.cell(torch.cat([self.words(target[:, t]), seen], 1), h)
            out.append(self.head(h))
        return torch.stack(out, 1).flatten(0, 1)


def aligned() -> Arguments:
    source, target = torch.randint(0, 40, (16, 9)), torch.randint(0, 40, (16, 6))
    return {"model": Aligned(), "inputs": (source, target), "targets": target.roll(-1, 1).flatten()}


class Angles(nn.Module):
    """Faces by the angle to their class, less a margin at the label, of which some are not known."""

    def __init__(self, margin: float = 0.5, scale: float = 30.0) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(32, 64), nn.BatchNorm1d(64), nn.PReLU(), nn.Linear(64, 32), nn.BatchNorm1d(32)
        )
        self.classes, self.margin, self.scale = nn.Parameter(torch.randn(40, 32)), margin, scale

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        cosine = F.linear(F.normalize(self.body(x)), F.normalize(self.classes)).clamp(-0.999, 0.999)
        own = F.one_hot(labels.clamp_min(0), 40).bool() & (labels >= 0)[:, None]
        turned = (cosine.acos() + self.margin).cos()
        return F.cross_entropy(self.scale * torch.where(own, turned, cosine), labels, ignore_index=-1)


def angles() -> Arguments:
    labels = torch.randint(0, 40, (96,)).masked_fill(torch.rand(96) < 0.5, -1)
    return {"model": Angles(), "inputs": (torch.randn(96, 32), labels), "loss": lambda y: y}


class Steps(nn.Module):
    """A selective state space layer, whose step sizes come through a softplus (Gu and Dao 2023)."""

    def __init__(self, n: int = 24, states: int = 8) -> None:
        super().__init__()
        self.norm, self.into, self.step, self.made = (
            nn.LayerNorm(n),
            nn.Linear(n, 2 * n),
            nn.Linear(n, n),
            nn.Linear(n, 2 * states),
        )
        self.rates, self.direct = (
            nn.Parameter(torch.arange(1.0, states + 1).log().repeat(n, 1)),
            nn.Parameter(torch.ones(n)),
        )
        self.out = nn.Linear(n, n)
        steps = torch.empty(n).uniform_(math.log(1e-3), math.log(1e-1)).exp()
        with torch.no_grad():
            self.step.bias.copy_(steps + torch.log(-torch.expm1(-steps)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u, gate = self.into(self.norm(x)).chunk(2, -1)
        u = F.silu(u)
        dt, (b, c) = F.softplus(self.step(u)), self.made(u).chunk(2, -1)
        state, out = 0.0, []
        for t in range(x.shape[1]):
            kept = torch.exp(-dt[:, t, :, None] * self.rates.exp())
            state = kept * state + dt[:, t, :, None] * u[:, t, :, None] * b[:, t, None]
            out.append((state * c[:, t, None]).sum(-1) + self.direct * u[:, t])
        return x + self.out(torch.stack(out, 1) * F.silu(gate))


class Selective(nn.Module):
    def __init__(self, n: int = 24) -> None:
        super().__init__()
        self.words, self.layers = nn.Embedding(50, n), nn.ModuleList(Steps(n) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(n), nn.Linear(n, 50)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.words(ids)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x)).flatten(0, 1)


def selective() -> Arguments:
    ids = torch.randint(0, 50, (8, 13))
    return {"model": Selective(), "inputs": ids[:, :-1], "targets": ids[:, 1:].flatten()}


class Grouped(nn.Module):
    """Attention of many queries over few keys, with a slope for the distance, behind tokens times sqrt(width)."""

    def __init__(self, n: int = 32, vocab: int = 60) -> None:
        super().__init__()
        self.words = nn.Embedding(vocab, n)
        nn.init.normal_(self.words.weight, std=n**-0.5)
        self.norm, self.q, self.kv, self.out = nn.LayerNorm(n), nn.Linear(n, n), nn.Linear(n, 16), nn.Linear(n, n)
        self.last, self.head = nn.LayerNorm(n), nn.Linear(n, vocab)
        self.register_buffer("slopes", 2.0 ** -torch.arange(1.0, 9.0, 2))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.words(ids) * 32**0.5
        n, t = ids.shape
        h = self.norm(x)
        q = self.q(h).view(n, t, 4, 8).transpose(1, 2)
        k, v = (part[:, None].expand(-1, 4, -1, -1) for part in self.kv(h).chunk(2, -1))
        place = torch.arange(t)
        bias = self.slopes[:, None, None] * (place[None] - place[:, None]).clamp(max=0)
        mask = torch.full((t, t), -torch.inf).triu(1)
        mixed = (q @ k.transpose(-1, -2) / 8**0.5 + bias + mask).softmax(-1) @ v
        x = x + self.out(mixed.transpose(1, 2).reshape(n, t, -1))
        return self.head(self.last(x)).flatten(0, 1)


def grouped() -> Arguments:
    ids = torch.randint(0, 60, (4, 73))
    return {"model": Grouped(), "inputs": ids[:, :-1], "targets": ids[:, 1:].flatten()}


class Pixels(nn.Module):
    """Raw bytes, which the model divides by itself, to a class for each pixel; label 255 does not count."""

    def __init__(self, n: int = 24) -> None:
        super().__init__()
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in ((3, n), (n, n)))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, n, 4, stride=2, padding=1) for a in (n, 2 * n))
        self.head = nn.Conv2d(n, 6, 1)
        for layer in (*self.down, *self.up):
            fan = layer.weight[0].numel() if isinstance(layer, nn.Conv2d) else layer.weight.shape[0] * 4
            nn.init.normal_(layer.weight, std=(2 / fan) ** 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = self.down[0]((x / 255 - 0.5) / 0.29).relu()
        two = self.down[1](one).relu()
        three = self.up[0](two).relu()
        return self.head(self.up[1](torch.cat([one, three], 1)).relu())


def pixels() -> Arguments:
    labels = torch.randint(0, 6, (8, 16, 16)).masked_fill(torch.rand(8, 16, 16) < 0.8, 255)
    bytes_ = torch.randint(0, 256, (8, 3, 16, 16)).float()
    return {"model": Pixels(), "inputs": bytes_, "loss": lambda y: F.cross_entropy(y, labels, ignore_index=255)}


class Coupled(nn.Module):
    """A flow of affine couplings, whose nets end in zeros."""

    def __init__(self, n: int = 16) -> None:
        super().__init__()
        make = lambda: nn.Sequential(nn.Linear(n // 2, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, n))  # noqa: E731
        self.nets = nn.ModuleList(make() for _ in range(6))
        for net in self.nets:
            nn.init.zeros_(net[4].weight)
            nn.init.zeros_(net[4].bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(len(x))
        for net in self.nets:
            a, b = x.chunk(2, 1)
            scale, shift = net(a).chunk(2, 1)
            total = total + torch.tanh(scale).sum(1)
            x = torch.cat([b * torch.tanh(scale).exp() + shift, a], 1)
        return (0.5 * x.square().sum(1) - total).mean() / x.shape[1]


def coupled() -> Arguments:
    return {"model": Coupled(), "inputs": torch.randn(64, 16), "loss": lambda y: y}


class Experts(nn.Module):
    """Four experts, mixed by a router."""

    def __init__(self, n: int = 32) -> None:
        super().__init__()
        self.into, self.router = nn.Linear(20, n), nn.Linear(n, 4, bias=False)
        self.up, self.down = (
            nn.Parameter(torch.randn(4, n, 2 * n) / n**0.5),
            nn.Parameter(torch.randn(4, 2 * n, n) / (2 * n) ** 0.5),
        )
        self.norm, self.head = nn.LayerNorm(n), nn.Linear(n, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.into(x)
        z = self.norm(h)
        inner = F.gelu(torch.einsum("bn,enm->bem", z, self.up))
        out = torch.einsum("bem,emn->ben", inner, self.down)
        return self.head(h + (self.router(z).softmax(-1)[..., None] * out).sum(1))


HOSTS: dict[str, Callable[[], Arguments]] = {
    "score vectors": graph,
    "feature tokens": features,
    "noise levels": denoiser,
    "bare gates": gates,
    "aligned": aligned,
    "angles": angles,
    "selective": selective,
    "shared keys": grouped,
    "bytes": pixels,
    "coupled": coupled,
    "bare experts": lambda: labelled(Experts(), 64, 20, classes=7),
}


# ---------------------------------------------------------------------- faults
def _small_steps(model: Any) -> None:
    """A global start that zeroes the biases that space the steps, and a softplus that is shut instead."""
    for layer in model.layers:
        nn.init.constant_(layer.into.bias, -30.0)


FAULTS: dict[str, Fault] = {
    "score vectors, one x100": Fault(
        host="score vectors", breaks=lambda m: m.layers[1].a_src.mul_(100), codes=("P502",), path="layers.1.a_src"
    ),
    "score vectors, garbage": Fault(
        host="score vectors", breaks=lambda m: garbage(m.layers[1].bias, 3e30), codes=("P507",), path="layers.1.bias"
    ),
    "score vectors, middle frozen": Fault(
        host="score vectors",
        breaks=lambda m: m.layers[1].lin.weight.requires_grad_(False),
        codes=("P510",),
        path="layers.1.lin",
    ),
    "feature tokens, weight x50": Fault(
        host="feature tokens", breaks=lambda m: m.weight.mul_(50), codes=("P502",), path="weight"
    ),
    "feature tokens, bias x50": Fault(
        host="feature tokens", breaks=lambda m: m.bias.mul_(50), codes=("P502",), path="bias"
    ),
    "feature tokens, rows": Fault(
        host="feature tokens", breaks=lambda m: m.table.weight[25:].mul_(50), codes=("P508",), path="table"
    ),
    "noise levels, into x40": Fault(
        host="noise levels", breaks=lambda m: m.into.weight.mul_(40), codes=("P502",), path="into"
    ),
    "noise levels, NaN": Fault(
        host="noise levels", breaks=lambda m: garbage(m.level.weight, torch.nan), codes=("P504",), path="level"
    ),
    "bare gates, one open": Fault(
        host="bare gates", breaks=lambda m: m.blocks[2].space.normal_(std=0.2), codes=("P502",), path="blocks.2.space"
    ),
    "bare gates, out x60": Fault(
        host="bare gates", breaks=lambda m: m.blocks[1].out.weight.mul_(60), codes=("P502",), path="blocks.1.out"
    ),
    "aligned, score x100": Fault(host="aligned", breaks=lambda m: m.score.mul_(100), codes=("P502",), path="score"),
    "aligned, head x40": Fault(
        host="aligned", breaks=lambda m: m.head.weight.mul_(40), codes=("P502", "L801"), path="head"
    ),
    "angles, infinite gains": Fault(
        host="angles", breaks=lambda m: m.body[1].weight.fill_(torch.inf), codes=("P504",), path="body.1"
    ),
    "selective, shut": Fault(host="selective", breaks=_small_steps, codes=("P503",), path="into.bias"),
    "selective, made x60": Fault(
        host="selective", breaks=lambda m: m.layers[1].out.weight.mul_(60), codes=("P502",), path="layers.1.out"
    ),
    "shared keys, NaN slopes": Fault(
        host="shared keys", breaks=lambda m: m.slopes.fill_(torch.nan), codes=("P504",), path="slopes"
    ),
    "shared keys, queries x40": Fault(
        host="shared keys", breaks=lambda m: m.q.weight.mul_(40), codes=("T701", "P502"), path="q"
    ),
    "bytes, second map x30": Fault(
        host="bytes", breaks=lambda m: m.down[1].weight.mul_(30), codes=("P502",), path="down.1"
    ),
    "bytes, equal filters": Fault(
        host="bytes", breaks=lambda m: m.up[0].weight.copy_(m.up[0].weight[:, :1].clone()), codes=("P501",), path="up.0"
    ),
    "coupled, a net open": Fault(
        host="coupled", breaks=lambda m: m.nets[2][2].weight.mul_(60), codes=("P502",), path="nets.2.2"
    ),
    "bare experts, up x60": Fault(host="bare experts", breaks=lambda m: m.up.mul_(60), codes=("P502",), path="up"),
}
