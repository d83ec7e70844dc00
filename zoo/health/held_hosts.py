"""Models of kinds that no rule was tuned on, each with one fault: name -> arguments of a check, fault, right answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["HELD", "Held"]

Arguments = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Held:
    """A healthy model and one fault in it.

    Attributes:
        make: gives the arguments of `fanin.check` for the healthy model.
        fault: what breaks it.
        codes: codes of which the first finding must have one.
        path: what a path of that finding must hold.
    """

    make: Callable[[], Arguments]
    fault: Callable[[Any], Any]
    codes: tuple[str, ...]
    path: str


def he(*layers: Any, gain: float = 2**0.5) -> None:
    for layer in layers:
        nn.init.normal_(layer.weight, std=gain / layer.weight[0].numel() ** 0.5)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def labelled(model: nn.Module, *shape: int, classes: int = 10) -> Arguments:
    return {"model": model, "inputs": torch.randn(shape), "targets": torch.randint(0, classes, (shape[0],))}


def valued(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Arguments:
    return {"model": model, "inputs": x, "targets": y}


class ConvAutoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in ((3, 32), (32, 64)))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in ((64, 32), (32, 3)))
        he(*self.down)
        for layer in self.up:
            nn.init.normal_(layer.weight, std=(2 / (layer.weight.shape[0] * 4)) ** 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.down:
            x = layer(x).relu()
        return self.up[1](self.up[0](x).relu())


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
        self.mid, self.merge = nn.Conv2d(64, 32, 3, padding=1), nn.Conv2d(64, 32, 3, padding=1)
        self.out = nn.Conv2d(32, 5, 1)
        he(self.one, self.two, self.mid, self.merge)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.one(x).relu()
        b = self.two(F.max_pool2d(a, 2)).relu()
        b = F.interpolate(self.mid(b).relu(), scale_factor=2)
        return self.out(self.merge(torch.cat([a, b], 1)).relu())


def unet() -> Arguments:
    return {"model": UNet(), "inputs": torch.randn(4, 3, 16, 16), "targets": torch.randint(0, 5, (4, 16, 16))}


class Critic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in ((3, 32), (32, 64), (64, 128)))
        self.score = nn.Linear(128 * 16, 1)
        he(*self.convs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.2)
        return self.score(x.flatten(1))


def critic() -> Arguments:
    return {"model": Critic(), "inputs": torch.randn(8, 3, 32, 32), "loss": lambda y: y[:4].mean() - y[4:].mean()}


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(48, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32)
        )
        he(*self.encoder[:5:2])

    def forward(self, pair: torch.Tensor) -> torch.Tensor:
        a, b = self.encoder(pair[:, 0]), self.encoder(pair[:, 1])
        return F.cosine_similarity(a, b)[:, None]


class Seq2Seq(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.answers = nn.Embedding(80, 48), nn.Embedding(80, 48)
        nn.init.normal_(self.embed.weight, std=0.1)
        nn.init.normal_(self.answers.weight, std=0.1)
        self.encoder, self.decoder = nn.LSTM(48, 64, batch_first=True), nn.LSTM(48, 64, batch_first=True)
        self.head = nn.Linear(64, 80)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        _, state = self.encoder(self.embed(ids))
        return self.head(self.decoder(self.answers(ids), state)[0]).flatten(0, 1)


def seq2seq() -> Arguments:
    ids = torch.randint(0, 80, (8, 12))
    return valued(Seq2Seq(), ids, ids.roll(-1, 1).flatten())


class MixerBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(64), nn.LayerNorm(64)
        self.tokens = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.channels = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.tokens(self.n1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.n2(x))


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch, self.blocks = nn.Linear(48, 64), nn.Sequential(*(MixerBlock() for _ in range(4)))
        self.norm, self.head = nn.LayerNorm(64), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.blocks(self.patch(x))).mean(1))


class Convolved(nn.Module):
    """A graph network: bare matrices, and an adjacency that is a buffer."""

    def __init__(self) -> None:
        super().__init__()
        ring = torch.eye(24) + torch.eye(24).roll(1, 1) + torch.eye(24).roll(-1, 1)
        self.register_buffer("adjacency", ring / 3**0.5)
        self.w = nn.ParameterList(nn.Parameter(torch.randn(a, b) * (2 / a) ** 0.5) for a, b in ((32, 64), (64, 48)))
        self.last = nn.Parameter(torch.randn(48, 7) / 48**0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for w in self.w:
            x = torch.relu(self.adjacency @ (x @ w))
        return (x @ self.last).flatten(0, 1)


def graph() -> Arguments:
    return valued(Convolved(), torch.randn(4, 24, 32), torch.randint(0, 7, (96,)))


class DeepSets(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.phi = nn.Sequential(nn.Linear(8, 64), nn.ELU(), nn.Linear(64, 64), nn.ELU())
        self.rho = nn.Sequential(nn.Linear(64, 64), nn.ELU(), nn.Linear(64, 10))
        he(self.phi[0], self.phi[2], self.rho[0], gain=1.25)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rho(self.phi(x).mean(1) * x.shape[1] ** 0.5)


class Ode(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lift, self.head = nn.Linear(32, 64), nn.Linear(64, 10)
        self.f = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.lift(x)
        for _ in range(8):
            h = h + 0.125 * self.f(h)
        return self.head(h)


class Quantised(nn.Module):
    """Nearest codes, passed straight through, with their loss."""

    def __init__(self) -> None:
        super().__init__()
        self.enc, self.dec = nn.Linear(32, 16), nn.Linear(16, 32)
        self.codes = nn.Embedding(64, 16)
        nn.init.normal_(self.codes.weight, std=0.5)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        z = self.enc(x)
        near = torch.cdist(z, self.codes.weight).argmin(1)
        q = self.codes(near)
        loss = F.mse_loss(q, z.detach()) + 0.25 * F.mse_loss(z, q.detach())
        return {"loss": loss + F.mse_loss(self.dec(z + (q - z).detach()), x)}


class Capsules(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.primary, self.w = nn.Linear(32, 12 * 8), nn.Parameter(torch.randn(12, 10, 8, 16) / 8**0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u = squash(self.primary(x).view(-1, 12, 8))
        votes = torch.einsum("bid,ijde->bije", u, self.w)
        b = torch.zeros(votes.shape[:3])
        for _ in range(3):
            v = squash((b.softmax(2)[..., None] * votes).sum(1))
            b = b + (votes * v[:, None]).sum(-1)
        return 4 * v.norm(dim=-1)


def squash(x: torch.Tensor) -> torch.Tensor:
    size = x.square().sum(-1, keepdim=True)
    return x * size.sqrt() / (1 + size)


class Coupling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.s, self.t = nn.Linear(64, 8), nn.Linear(64, 8)
        he(self.body[0], self.body[2])
        nn.init.normal_(self.s.weight, std=0.01)
        nn.init.normal_(self.t.weight, std=0.01)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = self.body(a)
        s = self.s(h)
        return b * s.exp() + self.t(h), s.sum(1)


class Flow(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(Coupling() for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, 1)
        total = torch.zeros(len(x))
        for coupling in self.couplings:
            b, log = coupling(a, b)
            a, b, total = b, a, total + log
        return 0.5 * (a.square().sum(1) + b.square().sum(1)) - total


class Dueling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(4, 32, 4, 2), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.Flatten())
        self.hidden = nn.Linear(32 * 25, 128)
        self.value, self.advantage = nn.Linear(128, 1), nn.Linear(128, 6)
        he(self.body[0], self.body[2], self.hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.hidden(self.body(x)).relu()
        a = self.advantage(h)
        return self.value(h) + a - a.mean(1, keepdim=True)


class PostNorm(nn.Module):
    """An encoder as BERT's: three tables that a norm reads, and norms behind the sums."""

    def __init__(self) -> None:
        super().__init__()
        self.word, self.place, self.kind = nn.Embedding(120, 64), nn.Embedding(16, 64), nn.Embedding(2, 64)
        for table in (self.word, self.place, self.kind):
            nn.init.normal_(table.weight, std=0.02)
        self.norm = nn.LayerNorm(64)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(64, 4, 256, 0.0, "gelu", batch_first=True) for _ in range(3)
        )
        self.head = nn.Linear(64, 120)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.word(ids) + self.place(torch.arange(ids.shape[1])) + self.kind(torch.zeros_like(ids))
        x = self.norm(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(x).flatten(0, 1)


def post_norm() -> Arguments:
    ids = torch.randint(0, 120, (8, 16))
    return valued(PostNorm(), ids, ids.flatten())


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lift, self.router, self.head = nn.Linear(32, 64), nn.Linear(64, 4), nn.Linear(64, 10)
        self.norm = nn.LayerNorm(64)
        self.up = nn.Parameter(torch.randn(4, 64, 128) * (2 / 64) ** 0.5)
        self.down = nn.Parameter(torch.randn(4, 128, 64) / 128**0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.lift(x)
        n = self.norm(h)
        y = torch.bmm(F.silu(torch.bmm(n.expand(4, -1, -1), self.up)), self.down)
        return self.head(h + (self.router(n).softmax(-1).T[..., None] * y).sum(0))


class ConvLstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gates, self.head = nn.Conv2d(3 + 16, 64, 3, padding=1), nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = c = torch.zeros(len(x), 16, *x.shape[-2:])
        for frame in x.unbind(1):
            i, f, o, g = self.gates(torch.cat([frame, h], 1)).chunk(4, 1)
            c = (f + 1).sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return self.head(h.mean((2, 3)))


class Tcn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv1d(4, 32, 1), nn.Linear(32, 10)
        self.convs = nn.ModuleList(nn.Conv1d(32, 32, 3, dilation=2**i, padding=2 ** (i + 1)) for i in range(4))
        he(*self.convs, gain=1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for conv in self.convs:
            x = x + conv(x)[..., : x.shape[-1]].relu()
        return self.head(x[..., -1])


class PointNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers = [
            m for a, b in ((3, 64), (64, 64), (64, 128)) for m in (nn.Conv1d(a, b, 1), nn.BatchNorm1d(b), nn.ReLU())
        ]
        self.points, self.head = nn.Sequential(*layers), nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.points(x).amax(-1))


class PreNorm(nn.Module):
    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.n1, self.attention = nn.LayerNorm(width), nn.MultiheadAttention(width, 4, batch_first=True)
        self.n2, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.n1(x)
        x = x + self.attention(h, h, h, need_weights=False)[0]
        return x + self.down(F.gelu(self.up(self.n2(x))))


class UTransformer(nn.Module):
    """Pre-norm blocks at two resolutions, with a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.fine, self.coarse, self.again = nn.Linear(48, 64), PreNorm(), PreNorm(), PreNorm()
        self.fold, self.spread = nn.Linear(128, 64), nn.Linear(64, 128)
        self.norm, self.head = nn.LayerNorm(64), nn.Linear(64, 48)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.fine(self.patch(x))
        b = self.coarse(self.fold(a.reshape(len(a), -1, 128)))
        return self.head(self.norm(self.again(a + self.spread(b).reshape(a.shape))))


class Hyper(nn.Module):
    """A network that makes the weights of another one."""

    def __init__(self) -> None:
        super().__init__()
        self.enc, self.made = nn.Linear(64, 32), nn.Linear(32, 640)
        he(self.enc)
        nn.init.normal_(self.made.weight, std=1 / (32 * 64) ** 0.5)
        nn.init.zeros_(self.made.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.bmm(x[:, None], self.made(self.enc(x).relu()).view(-1, 64, 10))[:, 0]


class WaveNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(4, 32, 1)
        self.gated = nn.ModuleList(nn.Conv1d(32, 64, 2, dilation=2**i, padding=2**i) for i in range(4))
        self.skip = nn.ModuleList(nn.Conv1d(32, 32, 1) for _ in range(4))
        self.out = nn.Conv1d(32, 16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, total = self.stem(x), 0.0
        for gated, skip in zip(self.gated, self.skip, strict=True):
            a, b = gated(x)[..., : x.shape[-1]].chunk(2, 1)
            h = skip(a.tanh() * b.sigmoid())
            x, total = x + h, total + h
        return self.out(total.relu())


def wavenet() -> Arguments:
    return {"model": WaveNet(), "inputs": torch.randn(4, 4, 32), "targets": torch.randint(0, 16, (4, 32))}


class Inducing(nn.Module):
    """A set transformer with learned inducing points."""

    def __init__(self) -> None:
        super().__init__()
        self.lift, self.points = nn.Linear(8, 64), nn.Parameter(torch.randn(12, 64))
        self.one = nn.MultiheadAttention(64, 4, batch_first=True)
        self.two = nn.MultiheadAttention(64, 4, batch_first=True)
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.lift(x)
        p = self.points.expand(len(x), -1, -1)
        h = p + self.one(p, x, x, need_weights=False)[0]
        x = x + self.two(x, h, h, need_weights=False)[0]
        return self.head(x.mean(1))


class Factors(nn.Module):
    """Users and items, and the product of their vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(50, 32), nn.Embedding(70, 32)
        nn.init.normal_(self.user.weight, std=0.1)
        nn.init.normal_(self.item.weight, std=0.1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return (self.user(ids[:, 0]) * self.item(ids[:, 1])).sum(1)


class Denoiser(nn.Module):
    """Time enters through sines of fixed frequencies."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequencies", 1e4 ** (-torch.arange(16) / 16))
        self.time, self.one, self.two = (
            nn.Linear(32, 64),
            nn.Conv2d(3, 64, 3, padding=1),
            nn.Conv2d(64, 64, 3, padding=1),
        )
        self.norm, self.out = nn.GroupNorm(8, 64), nn.Conv2d(64, 3, 3, padding=1)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        angles = t[:, None] * self.frequencies
        h = self.one(x) + F.silu(self.time(torch.cat([angles.sin(), angles.cos()], 1)))[..., None, None]
        return self.out(F.silu(self.norm(self.two(F.silu(h)))))


def denoiser() -> Arguments:
    x = torch.randn(4, 3, 8, 8)
    return valued(Denoiser(), (x, 1000 * torch.rand(4)), torch.randn(4, 3, 8, 8))


def autoencoder() -> Arguments:
    x = torch.randn(8, 3, 16, 16)
    return valued(ConvAutoencoder(), x, x.clone())


def flow() -> Arguments:
    return {"model": Flow(), "inputs": torch.randn(64, 16), "loss": lambda y: y.mean()}


def u_transformer() -> Arguments:
    x = torch.randn(4, 16, 48)
    return valued(UTransformer(), x, x.clone())


def factors() -> Arguments:
    ids = torch.stack([torch.randint(0, 50, (64,)), torch.randint(0, 70, (64,))], 1)
    return valued(Factors(), ids, torch.randn(64))


def siamese() -> Arguments:
    return valued(Siamese(), torch.randn(32, 2, 48), torch.rand(32, 1))


HELD: dict[str, Held] = {
    "convolutional autoencoder": Held(
        make=autoencoder, fault=lambda m: m.up[0].weight.mul_(30), codes=("P502",), path="up.0"
    ),
    "U-Net": Held(make=unet, fault=lambda m: m.two.weight.mul_(0.02), codes=("P502",), path="two"),
    "critic": Held(
        make=critic, fault=lambda m: m.convs[1].weight.view(-1)[9].fill_(3e30), codes=("P507",), path="convs.1.weight"
    ),
    "siamese": Held(
        make=siamese, fault=lambda m: m.encoder[2].requires_grad_(False), codes=("P510",), path="encoder.2"
    ),
    "LSTM to LSTM": Held(make=seq2seq, fault=lambda m: m.embed.weight.mul_(300), codes=("P502",), path="embed"),
    "MLP-Mixer": Held(
        make=lambda: labelled(Mixer(), 8, 16, 48),
        fault=lambda m: [b.channels[2].weight.mul_(40) for b in m.blocks],
        codes=("P502",),
        path="channels.2",
    ),
    "graph convolution": Held(make=graph, fault=lambda m: m.w[1].mul_(40), codes=("P502",), path="w.1"),
    "graph without edges": Held(make=graph, fault=lambda m: m.adjacency.zero_(), codes=("P509",), path="adjacency"),
    "deep sets": Held(
        make=lambda: labelled(DeepSets(), 32, 20, 8),
        fault=lambda m: m.rho[0].weight.mul_(60),
        codes=("P502",),
        path="rho.0",
    ),
    "neural ODE": Held(
        make=lambda: labelled(Ode(), 32, 32), fault=lambda m: m.f[2].weight.mul_(80), codes=("P502",), path="f.2"
    ),
    "codebook": Held(
        make=lambda: {"model": Quantised(), "inputs": torch.randn(64, 32)},
        fault=lambda m: m.codes.weight[60:].mul_(40),
        codes=("P508",),
        path="codes",
    ),
    "capsules": Held(
        make=lambda: labelled(Capsules(), 32, 32),
        fault=lambda m: m.w.view(-1)[5].fill_(float("nan")),
        codes=("P504",),
        path="w",
    ),
    "coupling flow": Held(
        make=flow, fault=lambda m: m.couplings[1].t.weight.mul_(3e3), codes=("P502",), path="couplings.1.t"
    ),
    "dueling heads": Held(
        make=lambda: valued(Dueling(), torch.randn(8, 4, 16, 16), torch.randn(8, 6)),
        fault=lambda m: m.hidden.weight.mul_(50),
        codes=("P502",),
        path="hidden",
    ),
    "post-norm encoder": Held(
        make=post_norm, fault=lambda m: m.word.weight[110:].mul_(60), codes=("P508",), path="word"
    ),
    "experts": Held(
        make=lambda: labelled(Experts(), 32, 32), fault=lambda m: m.up.mul_(50), codes=("P502",), path="up"
    ),
    "convolutional LSTM": Held(
        make=lambda: labelled(ConvLstm(), 8, 5, 3, 8, 8),
        fault=lambda m: m.gates.weight.mul_(40),
        codes=("P502",),
        path="gates",
    ),
    "temporal convolutions": Held(
        make=lambda: labelled(Tcn(), 16, 4, 32),
        fault=lambda m: setattr(m.convs[2], "weight", m.convs[1].weight),
        codes=("P511",),
        path="convs.2",
    ),
    "point cloud": Held(
        make=lambda: labelled(PointNet(), 16, 3, 32),
        fault=lambda m: m.points[3].requires_grad_(False),
        codes=("P510",),
        path="points.3",
    ),
    "U-shaped transformer": Held(
        make=u_transformer, fault=lambda m: m.patch.weight.mul_(100), codes=("P502",), path="patch"
    ),
    "hypernetwork": Held(
        make=lambda: labelled(Hyper(), 64, 64), fault=lambda m: m.enc.weight.mul_(50), codes=("P502",), path="enc"
    ),
    "gated convolutions": Held(make=wavenet, fault=lambda m: m.skip[1].weight.mul_(80), codes=("P502",), path="skip.1"),
    "inducing points": Held(
        make=lambda: labelled(Inducing(), 8, 20, 8),
        fault=lambda m: m.points.view(-1)[::2].fill_(2e-42),
        codes=("P507",),
        path="points",
    ),
    "factors": Held(make=factors, fault=lambda m: m.item.weight.mul_(500), codes=("P502",), path="item"),
    "denoiser without time": Held(
        make=denoiser, fault=lambda m: m.frequencies.zero_(), codes=("P509",), path="frequencies"
    ),
}
