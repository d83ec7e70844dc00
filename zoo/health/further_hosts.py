"""Hosts of a fourth look: queries, codes, edges, routes, couplings, worlds of equations; also faults of what is fed."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from zoo.health.later_hosts import Arguments, Fault, garbage, he, labelled, only_head, tie, valued

__all__ = ["FAULTS", "HOSTS"]


# ---------------------------------------------------------------------- hosts
class TimeUNet(nn.Module):
    """A small U-Net of noise levels: the time is added in every block, the last convolutions of blocks are zero."""

    class Block(nn.Module):
        def __init__(self, inside: int, n: int) -> None:
            super().__init__()
            self.norm1, self.conv1 = nn.GroupNorm(4, inside), nn.Conv2d(inside, n, 3, padding=1)
            self.time, self.norm2 = nn.Linear(32, n), nn.GroupNorm(4, n)
            self.conv2, self.skip = nn.Conv2d(n, n, 3, padding=1), nn.Conv2d(inside, n, 1)
            nn.init.zeros_(self.conv2.weight)

        def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            h = self.conv1(F.silu(self.norm1(x))) + self.time(F.silu(t))[..., None, None]
            return self.skip(x) + self.conv2(F.silu(self.norm2(h)))

    def __init__(self, n: int = 16) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(16, 32), nn.SiLU(), nn.Linear(32, 32))
        self.into = nn.Conv2d(3, n, 3, padding=1)
        self.down, self.mid, self.up = self.Block(n, n), self.Block(n, 2 * n), self.Block(3 * n, n)
        self.norm, self.out = nn.GroupNorm(4, n), nn.Conv2d(n, 3, 3, padding=1)
        self.register_buffer("freqs", torch.exp(-torch.arange(8) * math.log(1000) / 8))

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        angles = t[:, None] * self.freqs
        t = self.time(torch.cat([angles.sin(), angles.cos()], -1))
        one = self.down(self.into(x), t)
        two = self.mid(F.avg_pool2d(one, 2), t)
        x = self.up(torch.cat([F.interpolate(two, scale_factor=2.0), one], 1), t)
        return self.out(F.silu(self.norm(x)))


def time_unet() -> Arguments:
    x, t = torch.randn(16, 3, 8, 8), torch.rand(16) * 1000
    return {"model": TimeUNet(), "inputs": (x, t), "targets": torch.randn(16, 3, 8, 8)}


class Dilated(nn.Module):
    """ByteNet: a causal convolution of growing dilation between two maps, in every residual block."""

    def __init__(self, n: int = 32, depth: int = 5) -> None:
        super().__init__()
        self.bytes = nn.Embedding(64, n)
        self.one, self.two = (nn.ModuleList(nn.Conv1d(n, n, 1) for _ in range(depth)) for _ in range(2))
        self.far = nn.ModuleList(nn.Conv1d(n, n, 3, dilation=2**i) for i in range(depth))
        self.norms, self.head = nn.ModuleList(nn.GroupNorm(1, n) for _ in range(depth)), nn.Conv1d(n, 64, 1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.bytes(ids).transpose(1, 2)
        for norm, one, far, two in zip(self.norms, self.one, self.far, self.two, strict=True):
            h = one(norm(x).relu()).relu()
            x = x + two(far(F.pad(h, (2 * far.dilation[0], 0))).relu())
        return self.head(x)


def dilated() -> Arguments:
    ids = torch.randint(0, 64, (8, 41))
    return {"model": Dilated(), "inputs": ids[:, :-1], "targets": ids[:, 1:]}


class Detection(nn.Module):
    """DETR without its matching: queries that look at a picture, classes and boxes of each."""

    def __init__(self, n: int = 32) -> None:
        super().__init__()
        self.patch, self.places = nn.Conv2d(3, n, 4, 4), nn.Parameter(0.02 * torch.randn(16, n))
        encoder = nn.TransformerEncoderLayer(n, 4, 2 * n, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(encoder, 2, enable_nested_tensor=False)
        self.queries = nn.Embedding(7, n)
        self.decoder = nn.ModuleList(nn.TransformerDecoderLayer(n, 4, 2 * n, 0.0, batch_first=True) for _ in range(2))
        self.classes = nn.Linear(n, 5)
        self.boxes = nn.Sequential(nn.Linear(n, n), nn.ReLU(), nn.Linear(n, n), nn.ReLU(), nn.Linear(n, 4))
        for p in (p for part in (self.encoder, self.decoder) for p in part.parameters() if p.ndim > 1):
            nn.init.xavier_uniform_(p)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        memory = self.encoder(self.patch(x).flatten(2).transpose(1, 2) + self.places)
        q = self.queries.weight.expand(len(x), -1, -1)
        for layer in self.decoder:
            q = layer(q, memory)
        return self.classes(q), self.boxes(q).sigmoid()


def detection() -> Arguments:
    labels, boxes = torch.randint(0, 5, (12, 7)), torch.rand(12, 7, 4)

    def loss(y: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return F.cross_entropy(y[0].flatten(0, 1), labels.flatten()) + 5 * F.l1_loss(y[1], boxes)

    return {"model": Detection(), "inputs": torch.randn(12, 3, 16, 16), "loss": loss}


class Codes(nn.Module):
    """VQ-VAE of residual blocks, whose codes are a buffer that a moving mean would fill."""

    def __init__(self, n: int = 24) -> None:
        super().__init__()
        self.stem, self.back = nn.Conv2d(3, n, 4, 2, 1), nn.ConvTranspose2d(n, 3, 4, 2, 1)
        self.enc, self.dec = (
            nn.ModuleList(
                nn.Sequential(nn.ReLU(), nn.Conv2d(n, n, 3, padding=1), nn.ReLU(), nn.Conv2d(n, n, 1)) for _ in range(2)
            )
            for _ in range(2)
        )
        self.register_buffer("codes", torch.randn(32, n) * 0.2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        z = self.stem(x)
        for block in self.enc:
            z = z + block(z)
        flat = z.permute(0, 2, 3, 1)
        nearest = torch.cdist(flat.flatten(0, 2), self.codes).argmin(1)
        code = self.codes[nearest].view_as(flat)
        commitment = (flat - code.detach()).square().mean()
        y = (flat + (code - flat).detach()).permute(0, 3, 1, 2)
        for block in self.dec:
            y = y + block(y)
        return self.back(y), commitment


def codes() -> Arguments:
    x = torch.randn(12, 3, 16, 16)
    return {"model": Codes(), "inputs": x, "loss": lambda y: F.mse_loss(y[0], x) + 0.25 * y[1]}


class Edges(nn.Module):
    """GINE: neighbours' states plus what their edges say, through a rectifier, summed, and a mean over each graph."""

    def __init__(self, n: int = 32) -> None:
        super().__init__()
        self.nodes, self.edges = nn.Linear(9, n), nn.ModuleList(nn.Linear(4, n) for _ in range(3))
        self.maps = nn.ModuleList(
            nn.Sequential(nn.Linear(n, 2 * n), nn.BatchNorm1d(2 * n), nn.ReLU(), nn.Linear(2 * n, n)) for _ in range(3)
        )
        self.head = nn.Linear(n, 1)

    def forward(self, x: torch.Tensor, pairs: torch.Tensor, kinds: torch.Tensor, graph: torch.Tensor) -> torch.Tensor:
        x = self.nodes(x)
        for edge, block in zip(self.edges, self.maps, strict=True):
            sent = (x[pairs[0]] + edge(kinds)).relu()
            x = block(x + torch.zeros_like(x).index_add_(0, pairs[1], sent)).relu()
        total = torch.zeros(12, x.shape[1]).index_add_(0, graph, x)
        return self.head(total / 10).squeeze(-1)


def edges() -> Arguments:
    graph = torch.arange(120) // 10
    pairs = torch.randint(0, 10, (2, 360)) + 10 * (torch.arange(360) % 12)
    inputs = (torch.randn(120, 9), pairs, torch.randn(360, 4), graph)
    return {"model": Edges(), "inputs": inputs, "targets": torch.randn(12), "loss": F.mse_loss}


class Listener(nn.Module):
    """Speech to text: strided convolutions, then decoder layers with cross attention."""

    class Layer(nn.Module):
        def __init__(self, n: int) -> None:
            super().__init__()
            self.norms = nn.ModuleList(nn.LayerNorm(n) for _ in range(3))
            self.own, self.own_out = nn.Linear(n, 3 * n), nn.Linear(n, n)
            self.ask, self.seen, self.seen_out = nn.Linear(n, n), nn.Linear(n, 2 * n), nn.Linear(n, n)
            self.up, self.down = nn.Linear(n, 4 * n), nn.Linear(4 * n, n)

        def forward(self, x: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
            def heads(*parts: torch.Tensor) -> list[torch.Tensor]:
                return [p.unflatten(-1, (4, -1)).transpose(1, 2) for p in parts]

            mixed = F.scaled_dot_product_attention(*heads(*self.own(self.norms[0](x)).chunk(3, -1)), is_causal=True)
            x = x + self.own_out(mixed.transpose(1, 2).flatten(2))
            asked = F.scaled_dot_product_attention(
                *heads(self.ask(self.norms[1](x)), *self.seen(memory).chunk(2, -1)),
            )
            x = x + self.seen_out(asked.transpose(1, 2).flatten(2))
            return x + self.down(F.gelu(self.up(self.norms[2](x))))

    def __init__(self, n: int = 32, vocab: int = 50) -> None:
        super().__init__()
        self.ear = nn.ModuleList(nn.Conv1d(a, n, 3, b, 1) for a, b in ((20, 1), (n, 2)))
        self.words = nn.Embedding(vocab, n)
        nn.init.normal_(self.words.weight, std=0.02)
        place = torch.arange(64)[:, None] / 1e4 ** (torch.arange(n // 2) / (n // 2))
        self.register_buffer("places", torch.cat([place.sin(), place.cos()], -1))
        self.layers, self.norm = nn.ModuleList(self.Layer(n) for _ in range(3)), nn.LayerNorm(n)

    def forward(self, sound: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        for conv in self.ear:
            sound = F.gelu(conv(sound))
        memory = sound.transpose(1, 2) + self.places[: sound.shape[2]]
        x = self.words(ids) * 32**0.5 + 0.1 * self.places[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x, memory)
        return (self.norm(x) @ self.words.weight.T).flatten(0, 1)


def listener() -> Arguments:
    ids = torch.randint(0, 50, (8, 13))
    inputs = (torch.randn(8, 20, 40), ids[:, :-1])
    return {"model": Listener(), "inputs": inputs, "targets": ids[:, 1:].flatten()}


class Switch(nn.Module):
    """Every token goes to the one expert that its router likes best (Fedus et al. 2021)."""

    class Routed(nn.Module):
        def __init__(self, n: int) -> None:
            super().__init__()
            self.norm, self.router = nn.LayerNorm(n), nn.Linear(n, 4, bias=False)
            self.experts = nn.ModuleList(
                nn.Sequential(nn.Linear(n, 2 * n), nn.ReLU(), nn.Linear(2 * n, n)) for _ in range(4)
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.norm(x)
            weight, best = self.router(h).softmax(-1).max(-1)
            out = torch.zeros_like(x)
            for i, expert in enumerate(self.experts):
                chosen = (best == i).nonzero(as_tuple=True)[0]
                out = out.index_add(0, chosen, expert(h[chosen]) * weight[chosen, None])
            return x + out

    def __init__(self, n: int = 32) -> None:
        super().__init__()
        self.into, self.blocks = nn.Linear(20, n), nn.ModuleList(self.Routed(n) for _ in range(3))
        self.norm, self.head = nn.LayerNorm(n), nn.Linear(n, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.into(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class LinearRecurrence(nn.Module):
    """Griffin's recurrence: a gate raises a learned decay to a power, and what enters is scaled to keep its size."""

    class Block(nn.Module):
        def __init__(self, n: int) -> None:
            super().__init__()
            self.norm, self.x, self.y = nn.LayerNorm(n), nn.Linear(n, n), nn.Linear(n, n)
            self.recur, self.enter, self.out = nn.Linear(n, n), nn.Linear(n, n), nn.Linear(n, n)
            kept = torch.empty(n).uniform_(0.9, 0.999)
            self.decay = nn.Parameter(torch.log(kept ** (1 / 8) / (1 - kept ** (1 / 8))))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.norm(x)
            u, gate = self.x(h), F.gelu(self.y(h))
            log_a = 8 * self.recur(u).sigmoid() * F.logsigmoid(self.decay)
            entering = (1 - (2 * log_a).exp()).clamp_min(1e-6).sqrt() * self.enter(u).sigmoid() * u
            state, out = torch.zeros_like(u[:, 0]), []
            for a, e in zip(log_a.exp().unbind(1), entering.unbind(1), strict=True):
                state = a * state + e
                out.append(state)
            return x + self.out(torch.stack(out, 1) * gate)

    def __init__(self, n: int = 32) -> None:
        super().__init__()
        self.words, self.blocks = nn.Embedding(40, n), nn.ModuleList(self.Block(n) for _ in range(3))
        nn.init.normal_(self.words.weight, std=0.05)
        self.norm, self.head = nn.LayerNorm(n), nn.Linear(n, 40)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.words(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)).transpose(1, 2)


def linear_recurrence() -> Arguments:
    ids = torch.randint(0, 40, (8, 13))
    return {"model": LinearRecurrence(), "inputs": ids[:, :-1], "targets": ids[:, 1:]}


class CosinePair(nn.Module):
    """Two pictures through one tower; their cosine is what is judged."""

    def __init__(self, n: int = 24) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(a, n, 3, 2, 1, bias=False) for a in (3, n, n))
        self.norms, self.out = nn.ModuleList(nn.BatchNorm2d(n) for _ in range(3)), nn.Linear(n, 16)
        he(*self.convs)

    def tower(self, x: torch.Tensor) -> torch.Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x)).relu()
        return self.out(x.mean((2, 3)))

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.tower(a), self.tower(b)


def cosine_pair() -> Arguments:
    same = torch.where(torch.rand(24) < 0.5, 1.0, -1.0)
    inputs = (torch.randn(24, 3, 16, 16), torch.randn(24, 3, 16, 16))
    return {"model": CosinePair(), "inputs": inputs, "loss": lambda y: F.cosine_embedding_loss(*y, same)}


class Glow(nn.Module):
    """Steps of a flow: scale and shift of each channel, an orthogonal mixing, an affine coupling that ends in zero."""

    def __init__(self, n: int = 12, steps: int = 4) -> None:
        super().__init__()
        self.logs, self.shift = (nn.ParameterList(nn.Parameter(torch.zeros(n)) for _ in range(steps)) for _ in range(2))
        self.mix = nn.ParameterList(nn.Parameter(torch.linalg.qr(torch.randn(n, n))[0]) for _ in range(steps))
        self.nets = nn.ModuleList(
            nn.Sequential(nn.Linear(n // 2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, n))
            for _ in range(steps)
        )
        for net in self.nets:
            nn.init.zeros_(net[4].weight)
            nn.init.zeros_(net[4].bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(len(x))
        for logs, shift, mix, net in zip(self.logs, self.shift, self.mix, self.nets, strict=True):
            x = ((x + shift) * logs.exp()) @ mix
            a, b = x.chunk(2, 1)
            raw, move = net(a).chunk(2, 1)
            scale = (raw + 2).sigmoid()
            x = torch.cat([a, (b + move) * scale], 1)
            total = total + scale.log().sum(1) + logs.sum() + torch.linalg.slogdet(mix)[1]
        return (0.5 * x.square().sum(1) - total).mean() / x.shape[1]


class Translation(nn.Module):
    """Two layers of LSTM read, two write; words share one table with the output."""

    def __init__(self, n: int = 32, vocab: int = 45) -> None:
        super().__init__()
        self.words = nn.Embedding(vocab, n)
        nn.init.normal_(self.words.weight, std=n**-0.5)
        self.reader, self.writer = (nn.LSTM(n, n, 2, batch_first=True) for _ in range(2))
        self.out = nn.Linear(n, n)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        _, state = self.reader(self.words(source))
        h, _ = self.writer(self.words(target), state)
        return (torch.tanh(self.out(h)) @ self.words.weight.T).flatten(0, 1)


def translation() -> Arguments:
    source, target = torch.randint(0, 45, (16, 9)), torch.randint(0, 45, (16, 8))
    return {"model": Translation(), "inputs": (source, target[:, :-1]), "targets": target[:, 1:].flatten()}


class Frames(nn.Module):
    """Four frames of a game to a policy and a value, as PPO starts them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(4, 16, 8, 4), nn.ReLU(), nn.Conv2d(16, 32, 4, 2), nn.ReLU(), nn.Flatten(),
            nn.Linear(32 * 16, 64), nn.ReLU(),
        )  # fmt: skip
        self.policy, self.value = nn.Linear(64, 6), nn.Linear(64, 1)
        for layer in (self.body[0], self.body[2], self.body[5], self.policy, self.value):
            gain = 0.01 if layer is self.policy else 1.0 if layer is self.value else 2**0.5
            nn.init.orthogonal_(layer.weight, gain)
            nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = self.body(x)
        return self.policy(h), self.value(h)


def frames() -> Arguments:
    actions, gains, returns = torch.randint(0, 6, (24,)), torch.randn(24), torch.randn(24)

    def loss(y: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        log_p = y[0].log_softmax(-1)
        taken = log_p.gather(1, actions[:, None])[:, 0]
        ratio = (taken - taken.detach()).exp()
        entropy = -(log_p.exp() * log_p).sum(-1).mean()
        return -(ratio * gains).mean() + 0.5 * F.mse_loss(y[1][:, 0], returns) - 0.01 * entropy

    return {"model": Frames(), "inputs": torch.rand(24, 4, 44, 44), "loss": loss}


class EdgeConvolution(nn.Module):
    """DGCNN: a map of each point and its difference to its nearest, the largest of which counts."""

    def __init__(self, n: int = 32) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Conv2d(2 * a, n, 1, bias=False) for a in (3, n, n))
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for _ in range(3))
        self.all, self.head = nn.Linear(3 * n, 64), nn.Linear(64, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for conv, norm in zip(self.maps, self.norms, strict=True):
            near = torch.cdist(x, x).topk(6, largest=False).indices
            beside = torch.gather(
                x[:, None].expand(-1, x.shape[1], -1, -1), 2, near[..., None].expand(*near.shape, x.shape[2])
            )
            pairs = torch.cat([x[:, :, None].expand_as(beside), beside - x[:, :, None]], -1)
            x = F.leaky_relu(norm(conv(pairs.permute(0, 3, 1, 2))), 0.2).amax(-1).transpose(1, 2)
            kept.append(x)
        return self.head(F.leaky_relu(self.all(torch.cat(kept, -1)), 0.2).amax(1))


class GeneratedKernels(nn.Module):
    """A code for each layer makes the kernel of that layer."""

    def __init__(self, n: int = 12) -> None:
        super().__init__()
        self.n, self.stem = n, nn.Conv2d(3, n, 3, padding=1)
        self.codes, self.make = nn.Parameter(torch.randn(3, 16)), nn.Linear(16, n * n * 9)
        nn.init.normal_(self.make.weight, std=(2 / (n * 9 * 16)) ** 0.5)
        nn.init.zeros_(self.make.bias)
        self.norms, self.head = nn.ModuleList(nn.GroupNorm(3, n) for _ in range(3)), nn.Linear(n, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for code, norm in zip(self.codes, self.norms, strict=True):
            kernel = self.make(code).view(self.n, self.n, 3, 3)
            x = x + F.conv2d(norm(x).relu(), kernel, padding=1)
        return self.head(x.mean((2, 3)))


class NextBlocks(nn.Module):
    """ConvNeXt: a wide depthwise kernel, a norm, a wide hidden map, and a scale of 1e-6 at the end of the branch."""

    class Block(nn.Module):
        def __init__(self, n: int) -> None:
            super().__init__()
            self.far, self.norm = nn.Conv2d(n, n, 7, padding=3, groups=n), nn.LayerNorm(n)
            self.up, self.down = nn.Linear(n, 4 * n), nn.Linear(4 * n, n)
            self.gamma = nn.Parameter(torch.full((n,), 1e-6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.norm(self.far(x).permute(0, 2, 3, 1))
            return x + (self.gamma * self.down(F.gelu(self.up(h)))).permute(0, 3, 1, 2)

    def __init__(self, n: int = 24) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, n, 4, 4), nn.LayerNorm(n)
        self.blocks, self.head = nn.ModuleList(self.Block(n) for _ in range(4)), nn.Linear(n, 10)
        self.last = nn.LayerNorm(n)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.stem(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        for block in self.blocks:
            x = block(x)
        return self.head(self.last(x.mean((2, 3))))


class OneMatrixBack(nn.Module):
    """An autoencoder whose decoder is the transpose of its encoder, layer by layer, written x @ W."""

    def __init__(self, widths: tuple[int, ...] = (48, 96, 32, 12)) -> None:
        super().__init__()
        sizes = list(pairwise(widths))
        self.w = nn.ParameterList(nn.Parameter(torch.randn(a, b) * (2 / a) ** 0.5) for a, b in sizes)
        self.up = nn.ParameterList(nn.Parameter(torch.zeros(b)) for _, b in sizes)
        self.back = nn.ParameterList(nn.Parameter(torch.zeros(a)) for a, _ in sizes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for w, b in zip(self.w, self.up, strict=True):
            x = F.leaky_relu(x @ w + b, 0.1)
        for i in reversed(range(3)):
            x = x @ self.w[i].T + self.back[i]
            x = F.leaky_relu(x, 0.1) if i else x
        return x


def one_matrix_back() -> Arguments:
    x = torch.randn(64, 48)
    return {"model": OneMatrixBack(), "inputs": x, "targets": x.clone()}


class Equation(nn.Module):
    """A network that should solve u'' = -u: the loss reads its derivatives."""

    def __init__(self, n: int = 40) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(a, n) for a in (1, n, n, n))
        self.out = nn.Linear(n, 1)
        for layer in (*self.maps, self.out):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def u(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.maps:
            x = torch.tanh(layer(x))
        return self.out(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            u = self.u(x)
            (first,) = torch.autograd.grad(u.sum(), x, create_graph=True)
            (second,) = torch.autograd.grad(first.sum(), x, create_graph=True)
            start = self.u(torch.zeros(1, 1))
        return (second + u).square().mean() + (start - 1).square().sum()


class Ranked(nn.Module):
    """DLRM: tables and a map of numbers, whose products of pairs go to the top."""

    def __init__(self, n: int = 16) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(40, n) for _ in range(5))
        for table in self.tables:
            nn.init.uniform_(table.weight, -((1 / 40) ** 0.5), (1 / 40) ** 0.5)
        self.bottom = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, n), nn.ReLU())
        self.top = nn.Sequential(nn.Linear(n + 15, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))
        he(*(m for part in (self.bottom, self.top) for m in part if isinstance(m, nn.Linear)), gain=1.2)

    def forward(self, x: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        dense = self.bottom(x)
        all_ = torch.stack([dense, *(t(ids[:, i]) for i, t in enumerate(self.tables))], 1)
        i, j = torch.tril_indices(6, 6, -1)
        return self.top(torch.cat([dense, (all_ @ all_.transpose(1, 2))[:, i, j]], 1))[:, 0]


def ranked() -> Arguments:
    inputs = (torch.randn(64, 13), torch.randint(0, 40, (64, 5)))
    targets = (torch.rand(64) < 0.5).float()
    return {"model": Ranked(), "inputs": inputs, "targets": targets, "loss": F.binary_cross_entropy_with_logits}


class Residual(nn.Module):
    """A ResNet whose last norms of branches start at zero."""

    class Block(nn.Module):
        def __init__(self, a: int, b: int) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b)
            self.conv2, self.bn2 = nn.Conv2d(b, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b)
            self.skip, self.bn = nn.Conv2d(a, b, 1, 2, bias=False), nn.BatchNorm2d(b)
            nn.init.zeros_(self.bn2.weight)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
            return (self.bn(self.skip(x)) + h).relu()

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.blocks, self.fc = (
            nn.ModuleList(self.Block(a, b) for a, b in ((16, 16), (16, 32), (32, 32))),
            nn.Linear(32, 10),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.bn(self.stem(x)).relu()
        for block in self.blocks:
            x = block(x)
        return self.fc(x.mean((2, 3)))


class Controlled(nn.Module):
    """A frozen network beside a copy that is trained and is let in through convolutions of zeros."""

    def __init__(self, n: int = 16) -> None:
        super().__init__()
        make = lambda: nn.ModuleList(nn.Conv2d(a, n, 3, padding=1) for a in (3, n, n))  # noqa: E731
        self.base, self.copy = make().requires_grad_(False), make()
        self.copy.load_state_dict(self.base.state_dict())
        self.hint, self.zero = nn.Conv2d(1, 3, 1), nn.ModuleList(nn.Conv2d(n, n, 1) for _ in range(3))
        self.out = nn.Conv2d(n, 3, 1).requires_grad_(False)
        for layer in (self.hint, *self.zero):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor, hint: torch.Tensor) -> torch.Tensor:
        h, c = x, x + self.hint(hint)
        for base, copied, zero in zip(self.base, self.copy, self.zero, strict=True):
            c = F.silu(copied(c))
            h = F.silu(base(h)) + zero(c)
        return self.out(h)


def controlled() -> Arguments:
    inputs = (torch.randn(12, 3, 8, 8), torch.randn(12, 1, 8, 8))
    return {"model": Controlled(), "inputs": inputs, "targets": torch.randn(12, 3, 8, 8)}


class StockField(nn.Module):
    """A NeRF as torch draws it: frequencies of a position, five layers, colours and a density."""

    def __init__(self, depth: int = 5, n: int = 64) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, n) for a in (36, *[n] * (depth - 1)))
        self.out = nn.Linear(n, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        angles = (x[..., None] * 2.0 ** torch.arange(6) * math.pi).flatten(1)
        h = torch.cat([angles.sin(), angles.cos()], -1)
        for layer in self.layers:
            h = layer(h).relu()
        y = self.out(h)
        return torch.cat([y[:, :3].sigmoid(), y[:, 3:].relu()], -1)


def stock_field() -> Arguments:
    return {"model": StockField(), "inputs": torch.rand(256, 3) * 2 - 1, "targets": torch.rand(256, 4)}


class Narrow(nn.Module):
    """A regression through a narrow hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(a, b) for a, b in ((24, 64), (64, 8), (8, 64)))
        self.out = nn.Linear(64, 1)
        he(*self.maps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.maps:
            x = layer(x).relu()
        return self.out(x)


class SidePath(nn.Module):
    """Deep layers beside a wide map of the same features (Cheng et al. 2016)."""

    def __init__(self, n: int = 40) -> None:
        super().__init__()
        self.wide, self.last = nn.Linear(30, 7), nn.Linear(n, 7)
        self.deep = nn.ModuleList(nn.Linear(a, n) for a in (30, n, n))
        he(*self.deep)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x
        for layer in self.deep:
            h = layer(h).relu()
        return self.wide(x) + self.last(h)


HOSTS: dict[str, Callable[[], Arguments]] = {
    "time u-net": time_unet,
    "dilated": dilated,
    "detection": detection,
    "codes": codes,
    "edges": edges,
    "listener": listener,
    "switch": lambda: labelled(Switch(), 128, 20, classes=6),
    "linear recurrence": linear_recurrence,
    "cosine pair": cosine_pair,
    "glow": lambda: {"model": Glow(), "inputs": torch.randn(64, 12), "loss": lambda y: y},
    "translation": translation,
    "frames": frames,
    "edge convolution": lambda: labelled(EdgeConvolution(), 12, 30, 3, classes=5),
    "generated kernels": lambda: labelled(GeneratedKernels(), 16, 3, 12, 12),
    "next blocks": lambda: labelled(NextBlocks(), 16, 3, 24, 24),
    "one matrix back": one_matrix_back,
    "equation": lambda: {"model": Equation(), "inputs": torch.rand(64, 1) * 6, "loss": lambda y: y},
    "ranked": ranked,
    "residual": lambda: labelled(Residual(), 24, 3, 16, 16),
    "controlled": controlled,
    "stock field": stock_field,
    "narrow": lambda: valued(Narrow(), torch.randn(64, 24), torch.randn(64, 1) * 2),
    "side path": lambda: labelled(SidePath(), 64, 30, classes=7),
}


# ---------------------------------------------------------------------- faults
def _scaled(name: str, factor: float) -> Callable[[Any], Any]:
    return lambda m: m.get_parameter(name).mul_(factor)


def _zero(*names: str) -> Callable[[Any], Any]:
    return lambda m: [m.get_parameter(n).zero_() for n in names]


def _frozen(name: str) -> Callable[[Any], Any]:
    return lambda m: m.get_submodule(name).requires_grad_(False)


def _equal_rows(name: str) -> Callable[[Any], Any]:
    return lambda m: m.get_parameter(name).copy_(m.get_parameter(name)[:1].clone().expand_as(m.get_parameter(name)))


def _nothing(model: Any) -> None:
    """The model is well; what it is fed is not."""


def _bad_statistics(model: Any) -> None:
    """Running statistics of other data, in eval mode."""
    model.eval()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.fill_(0.0)
            layer.running_var.fill_(1e-6)


def _with(**more: Any) -> Callable[[Arguments], Arguments]:
    return lambda case: {**case, **more}


def _bytes(case: Arguments) -> Arguments:
    x = case["inputs"]
    return {**case, "inputs": tuple(255 * v for v in x) if isinstance(x, tuple) else 255 * x}


def _constant(case: Arguments) -> Arguments:
    x, *rest = case["inputs"] if isinstance(case["inputs"], tuple) else (case["inputs"],)
    inputs = (torch.ones_like(x), *rest)
    return {**case, "inputs": inputs if rest else inputs[0]}


def _fast(rate: float) -> Callable[[Arguments], Arguments]:
    return lambda case: {**case, "optimizer": torch.optim.SGD(case["model"].parameters(), lr=rate)}


def _fault(host: str, breaks: Callable[[Any], Any], codes: str, path: str, **more: Any) -> Fault:
    return Fault(host=host, breaks=breaks, codes=tuple(codes.split()), path=path, **more)


FAULTS: dict[str, Fault] = {
    "time u-net, up.skip x40": _fault("time u-net", _scaled("up.skip.weight", 40), "P502", "up.skip"),
    "time u-net, time x200": _fault("time u-net", _scaled("time.2.weight", 200), "P502", "time.2"),
    "time u-net, NaN in the frequencies": _fault("time u-net", lambda m: garbage(m.freqs, torch.nan), "P504", "freqs"),
    "time u-net, a hidden map of zeros": _fault("time u-net", _zero("time.2.weight", "time.2.bias"), "G402", "time.2"),
    "dilated, one element": _fault("dilated", lambda m: garbage(m.far[2].weight, 1e4), "P507", "far.2"),
    "dilated, equal rows": _fault("dilated", _equal_rows("one.3.weight"), "P501", "one.3"),
    "dilated, two.1 x20": _fault("dilated", _scaled("two.1.weight", 20), "P502", "two.1"),
    "dilated, frozen": _fault("dilated", _frozen("far.1"), "P510", "far.1"),
    "dilated, a hidden map of zeros": _fault("dilated", _zero("one.2.weight", "one.2.bias"), "G402", "one.2"),
    "detection, queries of garbage": _fault("detection", lambda m: garbage(m.queries.weight, 3e30), "P507", "queries"),
    "detection, boxes x200": _fault("detection", _scaled("boxes.2.weight", 200), "P502", "boxes.2"),
    "detection, tied by mistake": _fault(
        "detection", lambda m: tie(m, m.decoder[1].linear1, m.decoder[0].linear1), "P511", "linear1"
    ),
    "detection, a hidden map of zeros": _fault("detection", _zero("boxes.2.weight", "boxes.2.bias"), "G402", "boxes.2"),
    "codes, NaN": _fault("codes", lambda m: garbage(m.codes, torch.nan), "P504", "codes"),
    "codes, dec.0.3 x50": _fault("codes", _scaled("dec.0.3.weight", 50), "P502", "dec.0.3"),
    "codes, dead by their bias": _fault("codes", lambda m: m.enc[1][1].bias.fill_(-10), "P503", "enc.1.1"),
    "edges, one map x50": _fault("edges", _scaled("edges.1.weight", 50), "P502", "edges.1"),
    "edges, shapes that broadcast": _fault(
        "edges", _nothing, "L804", "", feeds=lambda case: {**case, "targets": case["targets"][:, None]}
    ),
    "edges, infinite variance": _fault("edges", lambda m: m.maps[1][1].weight.fill_(torch.inf), "P504", "maps.1.1"),
    "listener, words x250": _fault("listener", _scaled("words.weight", 250), "P502", "words"),
    "listener, seen_out x40": _fault("listener", _scaled("layers.1.seen_out.weight", 40), "P502", "layers.1.seen_out"),
    "listener, places of infinity": _fault("listener", lambda m: m.places[3].fill_(torch.inf), "P504", "places"),
    "listener, copied maps": _fault(
        "listener", lambda m: m.layers[2].up.weight.copy_(m.layers[1].up.weight), "P505", "layers.2.up", note=True
    ),
    "listener, first ear of zeros": _fault("listener", _zero("ear.0.weight", "ear.0.bias"), "G402", "ear.0"),
    "switch, an expert x60": _fault("switch", _scaled("blocks.1.experts.2.2.weight", 60), "P502", "experts.2.2"),
    "switch, experts dead": _fault(
        "switch", lambda m: [e[0].bias.fill_(-10) for e in m.blocks[1].experts], "P503", "blocks.1.experts"
    ),
    "switch, only the head": _fault("switch", only_head, "P510", "", note=True),
    "linear recurrence, gates open": _fault(
        "linear recurrence", lambda m: m.blocks[1].recur.bias.fill_(20), "P503 A302", "blocks.1.recur"
    ),
    "linear recurrence, out x50": _fault(
        "linear recurrence", _scaled("blocks.0.out.weight", 50), "P502", "blocks.0.out"
    ),
    "linear recurrence, words x500": _fault("linear recurrence", _scaled("words.weight", 500), "P502", "words"),
    "cosine pair, raw bytes": _fault("cosine pair", _nothing, "D101", "", feeds=_bytes, note=True),
    "cosine pair, frozen": _fault("cosine pair", _frozen("convs.1"), "P510", "convs.1"),
    "cosine pair, first of zeros": _fault("cosine pair", _zero("convs.0.weight"), "G402", "convs.0"),
    "glow, a hidden map x60": _fault("glow", _scaled("nets.1.2.weight", 60), "P502", "nets.1.2"),
    "glow, NaN": _fault("glow", lambda m: garbage(m.logs[2], torch.nan), "P504", "logs.2"),
    "glow, a hidden map of zeros": _fault("glow", _zero("nets.2.2.weight", "nets.2.2.bias"), "G402", "nets.2.2"),
    "translation, recurrent x20": _fault("translation", _scaled("writer.weight_hh_l1", 20), "P506", "writer"),
    "translation, words x50": _fault("translation", _scaled("words.weight", 50), "P502 P506 L801", ""),
    "translation, rows": _fault("translation", lambda m: m.words.weight[40:].mul_(40), "P508", "words"),
    "frames, raw bytes": _fault("frames", _nothing, "D101", "", feeds=_bytes),
    "frames, an absurd rate": _fault("frames", _nothing, "O901", "", feeds=_fast(300.0)),
    "frames, body.2 / 30": _fault("frames", _scaled("body.2.weight", 1 / 30), "P502", "body.2"),
    "frames, body.5 of zeros": _fault("frames", _zero("body.5.weight"), "G402", "body.5"),
    "edge convolution, statistics of other data": _fault("edge convolution", _bad_statistics, "P509", "norms.0"),
    "edge convolution, all x50": _fault("edge convolution", _scaled("all.weight", 50), "P502", "all"),
    "edge convolution, constant points": _fault("edge convolution", _nothing, "D103", "", feeds=_constant),
    "generated kernels, make x30": _fault("generated kernels", _scaled("make.weight", 30), "P502", "make"),
    "generated kernels, codes of garbage": _fault(
        "generated kernels", lambda m: garbage(m.codes, -4e9), "P507", "codes"
    ),
    "next blocks, one wide map x30": _fault("next blocks", _scaled("blocks.2.up.weight", 30), "P502", "blocks.2.up"),
    "next blocks, far frozen": _fault("next blocks", _frozen("blocks.1.far"), "P510", "blocks.1.far"),
    "next blocks, far of zeros": _fault("next blocks", _zero("blocks.1.far.weight"), "G402", "blocks.1.far"),
    "one matrix back, w.1 x30": _fault("one matrix back", _scaled("w.1", 30), "P502", "w.1"),
    "one matrix back, all x200": _fault("one matrix back", lambda m: [w.mul_(200) for w in m.w], "P502 S202", "w"),
    "equation, maps.2 x60": _fault("equation", _scaled("maps.2.weight", 60), "P502", "maps.2"),
    "equation, frozen": _fault("equation", _frozen("maps.1"), "P510", "maps.1"),
    "ranked, a table x200": _fault("ranked", _scaled("tables.2.weight", 200), "P502", "tables.2"),
    "ranked, equal rows": _fault("ranked", _equal_rows("top.2.weight"), "P501", "top.2"),
    "ranked, top frozen": _fault("ranked", _frozen("top.2"), "P510", "top.2"),
    "residual, the stem of zeros": _fault("residual", _zero("stem.weight"), "G402", "stem"),
    "residual, statistics of other data": _fault("residual", _bad_statistics, "P509", "bn"),
    "residual, raw bytes": _fault("residual", _nothing, "D101", "", feeds=_bytes, note=True),
    "residual, raw bytes in eval mode": _fault("residual", lambda m: m.eval(), "D101", "", feeds=_bytes),
    "residual, labels off": _fault(
        "residual", _nothing, "D105", "", feeds=lambda case: {**case, "targets": torch.full((24,), 3)}
    ),
    "controlled, copy.1 x30": _fault("controlled", _scaled("copy.1.weight", 30), "P502", "copy.1"),
    "controlled, shut twice": _fault("controlled", _zero("copy.0.weight", "copy.0.bias"), "G402", "copy.0"),
    "stock field, layers.3 x60": _fault("stock field", _scaled("layers.3.weight", 60), "P502", "layers.3"),
    "stock field, all / 4": _fault(
        "stock field", lambda m: [layer.weight.div_(4) for layer in m.layers], "P502 S201 S203 S205", "layers"
    ),
    "narrow, maps.1 / 300": _fault("narrow", _scaled("maps.1.weight", 1 / 300), "P502", "maps.1"),
    "narrow, targets x1000": _fault(
        "narrow", _nothing, "D104", "targets", feeds=lambda case: {**case, "targets": 1000 * case["targets"]}
    ),
    "side path, a hidden map of zeros": _fault("side path", _zero("deep.1.weight"), "G402", "deep.1"),
    "side path, three x200": _fault(
        "side path", lambda m: [layer.weight.mul_(200) for layer in m.deep], "P502", "deep"
    ),
}
