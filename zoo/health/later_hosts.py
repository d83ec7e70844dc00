"""Further models that no rule was tuned on, with faults of every kind: written after the rules, and judged once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from zoo.health.held_hosts import Arguments, he, labelled, valued

__all__ = ["FAULTS", "HOSTS", "Arguments", "Fault", "garbage", "he", "labelled", "only_head", "tie", "valued"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What breaks a host, and the right answer.

    Attributes:
        host: name in `HOSTS`.
        breaks: changes the healthy model.
        codes: codes of which the first finding must have one.
        path: what a path of that finding must hold.
        note: the right answer is a note among the findings.
        feeds: changes what the model is fed, or trained with; None where that is as it should be.
    """

    host: str
    breaks: Callable[[Any], Any]
    codes: tuple[str, ...]
    path: str
    note: bool = False
    feeds: Callable[[Arguments], Arguments] | None = None


class Reversible(nn.Module):
    """Two streams, each of which gets a function of the other."""

    def __init__(self, depth: int = 4, n: int = 32) -> None:
        super().__init__()
        made = lambda: nn.ModuleList(nn.Linear(n, n) for _ in range(depth))  # noqa: E731
        self.f, self.g, self.head = made(), made(), nn.Linear(2 * n, 10)
        he(*self.f, *self.g, gain=2**0.5 * (2 * depth) ** -0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, -1)
        for f, g in zip(self.f, self.g, strict=True):
            a = a + f(b).relu()
            b = b + g(a).relu()
        return self.head(torch.cat([a, b], -1))


class Squeezed(nn.Module):
    """Residual blocks with batch norm and a gate for each channel."""

    def __init__(self, n: int = 32, depth: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, n, 3, padding=1, bias=False)
        self.convs = nn.ModuleList(nn.Conv2d(n, n, 3, padding=1, bias=False) for _ in range(depth))
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for _ in range(depth))
        self.narrow = nn.ModuleList(nn.Linear(n, n // 4) for _ in range(depth))
        self.wide = nn.ModuleList(nn.Linear(n // 4, n) for _ in range(depth))
        self.head = nn.Linear(n, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for conv, norm, narrow, wide in zip(self.convs, self.norms, self.narrow, self.wide, strict=True):
            h = norm(conv(x))
            x = F.relu(x + h * wide(narrow(h.mean((2, 3))).relu()).sigmoid()[:, :, None, None])
        return self.head(x.mean((2, 3)))


class Classed(nn.Module):
    """A vision transformer that is read at its class token."""

    def __init__(self, n: int = 64, patches: int = 16) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, n, 4, 4)
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, n))
        self.places = nn.Parameter(0.02 * torch.randn(1, patches + 1, n))
        layer = lambda: nn.TransformerEncoderLayer(  # noqa: E731
            n, 4, 4 * n, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.ModuleList(layer() for _ in range(3))
        self.norm, self.head = nn.LayerNorm(n), nn.Linear(n, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x)[:, 0])


class Tagger(nn.Module):
    def __init__(self, vocab: int = 90, n: int = 32) -> None:
        super().__init__()
        self.words = nn.Embedding(vocab, n, padding_idx=0)
        self.rnn = nn.GRU(n, n, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * n, 7)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(self.words(ids))[0]).flatten(0, 1)


def tagger() -> Arguments:
    return {"model": Tagger(), "inputs": torch.randint(1, 90, (8, 12)), "targets": torch.randint(0, 7, (96,))}


class Variational(nn.Module):
    def __init__(self, n: int = 64, code: int = 8) -> None:
        super().__init__()
        self.enc, self.mean, self.log_var = nn.Linear(n, n), nn.Linear(n, code), nn.Linear(n, code)
        self.dec, self.out = nn.Linear(code, n), nn.Linear(n, n)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        h = self.enc(x).relu()
        mean, log_var = self.mean(h), self.log_var(h)
        z = mean + torch.randn_like(mean) * (0.5 * log_var).exp()
        return self.out(self.dec(z).relu()), mean, log_var


def variational() -> Arguments:
    x = torch.randn(64, 64)

    def loss(out: tuple[torch.Tensor, ...]) -> torch.Tensor:
        y, mean, log_var = out
        return F.mse_loss(y, x) + 0.5 * (mean**2 + log_var.exp() - 1 - log_var).mean()

    return {"model": Variational(), "inputs": x, "loss": loss}


class Towers(nn.Module):
    """Two encoders whose outputs are compared, with a learned temperature."""

    def __init__(self, n: int = 32) -> None:
        super().__init__()
        tower = lambda d: nn.Sequential(nn.Linear(d, 64), nn.GELU(), nn.LayerNorm(64), nn.Linear(64, n))  # noqa: E731
        self.image, self.text = tower(48), tower(24)
        self.logit_scale = nn.Parameter(torch.tensor(2.6592))

    def forward(self, image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        a, b = F.normalize(self.image(image), dim=-1), F.normalize(self.text(text), dim=-1)
        return self.logit_scale.exp() * a @ b.T


def towers() -> Arguments:
    inputs = {"image": torch.randn(32, 48), "text": torch.randn(32, 24)}
    return {"model": Towers(), "inputs": inputs, "targets": torch.arange(32)}


class Mixture(nn.Module):
    """A mixture density network."""

    def __init__(self, n: int = 64, parts: int = 5) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, n), nn.Tanh(), nn.Linear(n, n), nn.Tanh(), nn.Linear(n, n), nn.Tanh())
        for layer in self.body[::2]:
            he(layer, gain=1.0)
        self.weights, self.means, self.scales = (nn.Linear(n, parts) for _ in range(3))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        h = self.body(x)
        return self.weights(h).log_softmax(-1), self.means(h), self.scales(h)


def mixture() -> Arguments:
    y = torch.randn(128, 1)

    def loss(out: tuple[torch.Tensor, ...]) -> torch.Tensor:
        weights, means, scales = out
        log = weights - scales - 0.5 * ((y - means) / scales.exp()) ** 2
        return -log.logsumexp(-1).mean()

    return {"model": Mixture(), "inputs": torch.randn(128, 8), "loss": loss}


class Kernels(nn.Module):
    """Attention with positive features in place of a softmax."""

    def __init__(self, n: int = 32, depth: int = 3) -> None:
        super().__init__()
        make = lambda: nn.ModuleList(nn.Linear(n, n) for _ in range(depth))  # noqa: E731
        self.q, self.k, self.v, self.o = make(), make(), make(), make()
        self.norms = nn.ModuleList(nn.LayerNorm(n) for _ in range(depth))
        self.head = nn.Linear(n, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for q, k, v, o, norm in zip(self.q, self.k, self.v, self.o, self.norms, strict=True):
            h = norm(x)
            a, b = F.elu(q(h)) + 1, F.elu(k(h)) + 1
            mixed = a @ (b.transpose(1, 2) @ v(h)) / (a @ b.sum(1)[:, :, None])
            x = x + o(mixed)
        return self.head(x.mean(1))


class Swish(nn.Module):
    """Decoder blocks with RMS norm, rotary positions and a gated MLP."""

    def __init__(self, n: int = 64, depth: int = 3, vocab: int = 100) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(vocab, n), nn.Linear(n, vocab, bias=False)
        linear = lambda a, b: nn.ModuleList(nn.Linear(a, b, bias=False) for _ in range(depth))  # noqa: E731
        self.qkv, self.o = linear(n, 3 * n), linear(n, n)
        self.gate, self.up, self.down = linear(n, 2 * n), linear(n, 2 * n), linear(2 * n, n)
        self.one, self.two = (nn.ModuleList(nn.RMSNorm(n) for _ in range(depth)) for _ in range(2))
        self.last = nn.RMSNorm(n)
        self.register_buffer("inv_freq", 1e4 ** (-torch.arange(0, 16, 2) / 16))
        for p in self.parameters():
            if p.ndim == 2:
                nn.init.normal_(p, std=0.02)

    def turned(self, x: torch.Tensor) -> torch.Tensor:
        angle = torch.outer(torch.arange(x.shape[2]), self.inv_freq)
        a, b = x.chunk(2, -1)
        return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.table(ids)
        for i in range(len(self.o)):
            q, k, v = (t.unflatten(-1, (4, 16)).transpose(1, 2) for t in self.qkv[i](self.one[i](x)).chunk(3, -1))
            h = F.scaled_dot_product_attention(self.turned(q), self.turned(k), v, is_causal=True)
            x = x + self.o[i](h.transpose(1, 2).flatten(2))
            h = self.two[i](x)
            x = x + self.down[i](F.silu(self.gate[i](h)) * self.up[i](h))
        return self.head(self.last(x)).flatten(0, 1)


def swish() -> Arguments:
    ids = torch.randint(0, 100, (8, 16))
    return {"model": Swish(), "inputs": ids, "targets": ids.flatten()}


class Clicks(nn.Module):
    """Numbers and the sum of many lookups, deep and wide, to one probability."""

    def __init__(self, n: int = 16) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(300, n) for _ in range(4))
        for table in self.tables:
            nn.init.normal_(table.weight, std=0.1)
        self.wide = nn.Linear(8, 1)
        self.deep = nn.Sequential(nn.Linear(4 * n + 8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, ids: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        found = [table(ids[:, i]) for i, table in enumerate(self.tables)]
        return (self.deep(torch.cat([*found, x], -1)) + self.wide(x))[:, 0]


def clicks() -> Arguments:
    y = torch.randint(0, 2, (128,)).float()
    inputs = {"ids": torch.randint(0, 300, (128, 4)), "x": torch.randn(128, 8)}
    return {"model": Clicks(), "inputs": inputs, "loss": lambda o: F.binary_cross_entropy_with_logits(o, y)}


class Grouped(nn.Module):
    """Bottlenecks of grouped convolutions with group norm."""

    def __init__(self, n: int = 32, depth: int = 3) -> None:
        super().__init__()
        conv = lambda k, g: nn.Conv2d(n, n, k, padding=k // 2, groups=g, bias=False)  # noqa: E731
        self.stem = nn.Conv2d(3, n, 3, padding=1)
        self.inner = nn.ModuleList(conv(3, 4) for _ in range(depth))
        self.outer = nn.ModuleList(conv(1, 1) for _ in range(depth))
        self.norms = nn.ModuleList(nn.GroupNorm(4, n) for _ in range(2 * depth))
        self.head = nn.Linear(n, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for i, (inner, outer) in enumerate(zip(self.inner, self.outer, strict=True)):
            x = F.relu(x + self.norms[2 * i + 1](outer(F.relu(self.norms[2 * i](inner(x))))))
        return self.head(x.mean((2, 3)))


class Highway(nn.Module):
    def __init__(self, n: int = 64, depth: int = 5) -> None:
        super().__init__()
        self.maps, self.gates = (nn.ModuleList(nn.Linear(n, n) for _ in range(depth)) for _ in range(2))
        self.head = nn.Linear(n, 10)
        he(*self.maps)
        for gate in self.gates:
            nn.init.constant_(gate.bias, -2.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for made, gate in zip(self.maps, self.gates, strict=True):
            t = gate(x).sigmoid()
            x = t * made(x).relu() + (1 - t) * x
        return self.head(x)


class Minimal(nn.Module):
    """A recurrence whose gate reads the input alone."""

    def __init__(self, n: int = 32) -> None:
        super().__init__()
        self.read, self.gate, self.new = nn.Linear(8, n), nn.Linear(n, n), nn.Linear(n, n)
        self.head = nn.Linear(n, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.read(x)
        z, new, h = self.gate(x).sigmoid(), self.new(x), torch.zeros_like(x[:, 0])
        for t in range(x.shape[1]):
            h = (1 - z[:, t]) * h + z[:, t] * new[:, t]
        return self.head(h)


class Summed(nn.Module):
    """Sums over neighbours, then a small network with batch norm, thrice."""

    def __init__(self, n: int = 32, nodes: int = 40) -> None:
        super().__init__()
        links = (torch.rand(nodes, nodes) < 0.1).float()
        self.register_buffer("links", ((links + links.T) > 0).float())
        mlp = lambda: nn.Sequential(nn.Linear(n, n), nn.BatchNorm1d(n), nn.ReLU(), nn.Linear(n, n), nn.ReLU())  # noqa: E731
        self.layers, self.head = nn.ModuleList(mlp() for _ in range(3)), nn.Linear(n, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x + self.links @ x)
        return self.head(x)


class Enlarged(nn.Module):
    """Super-resolution: plain convolutions, then pixels out of channels."""

    def __init__(self, n: int = 32) -> None:
        super().__init__()
        self.body = nn.ModuleList(nn.Conv2d(a, n, 3, padding=1) for a in (3, n, n, n))
        self.out = nn.Conv2d(n, 12, 3, padding=1)
        he(*self.body)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x
        for conv in self.body:
            h = conv(h).relu()
        return F.interpolate(x, scale_factor=2.0) + F.pixel_shuffle(self.out(h), 2)


def enlarged() -> Arguments:
    return valued(Enlarged(), torch.randn(8, 3, 12, 12), torch.randn(8, 3, 24, 24))


class Bilinear(nn.Module):
    def __init__(self, n: int = 32) -> None:
        super().__init__()
        self.a, self.b, self.both, self.head = nn.Linear(16, n), nn.Linear(24, n), nn.Bilinear(n, n, n), nn.Linear(n, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.both(self.a(x[:, :16]).tanh(), self.b(x[:, 16:]).tanh()).relu())


class Separable(nn.Module):
    """Depthwise and pointwise convolutions without norms."""

    def __init__(self, n: int = 32, depth: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, n, 3, padding=1)
        self.own = nn.ModuleList(nn.Conv2d(n, n, 3, padding=1, groups=n) for _ in range(depth))
        self.mixed = nn.ModuleList(nn.Conv2d(n, n, 1) for _ in range(depth))
        self.head = nn.Linear(n, 10)
        he(self.stem, *self.mixed)
        he(*self.own, gain=1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).relu()
        for own, mixed in zip(self.own, self.mixed, strict=True):
            x = mixed(own(x)).relu()
        return self.head(x.mean((2, 3)))


class Letters(nn.Module):
    """Letters, convolutions of three lengths over them, and the largest value of each."""

    def __init__(self, n: int = 32) -> None:
        super().__init__()
        self.letters = nn.Embedding(60, n)
        self.convs = nn.ModuleList(nn.Conv1d(n, n, k, padding=k // 2) for k in (3, 5, 7))
        self.hidden, self.head = nn.Linear(3 * n, 64), nn.Linear(64, 10)
        he(*self.convs, self.hidden)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.letters(ids).transpose(1, 2)
        x = torch.cat([conv(x).relu().amax(2) for conv in self.convs], -1)
        return self.head(self.hidden(x).relu())


def letters() -> Arguments:
    return {"model": Letters(), "inputs": torch.randint(0, 60, (16, 24)), "targets": torch.randint(0, 10, (16,))}


def only_head(model: Any) -> None:
    """Freeze everything but the head."""
    model.requires_grad_(False)
    model.head.requires_grad_(True)


def garbage(tensor: torch.Tensor, value: float, every: int | None = None) -> None:
    """Write one number, or one in so many, where an initializer cannot have."""
    flat = tensor.view(-1)
    flat[3 : None if every else 4 : every or 1] = value


def tie(model: Any, one: nn.Module, other: nn.Module) -> None:
    one.weight = other.weight


HOSTS: dict[str, Callable[[], Arguments]] = {
    "reversible": lambda: labelled(Reversible(), 64, 64),
    "squeezed": lambda: labelled(Squeezed(), 16, 3, 12, 12),
    "class token": lambda: labelled(Classed(), 16, 3, 16, 16),
    "tagger": tagger,
    "variational": variational,
    "two towers": towers,
    "mixture density": mixture,
    "kernel attention": lambda: labelled(Kernels(), 16, 10, 32),
    "gated decoder": swish,
    "clicks": clicks,
    "grouped bottlenecks": lambda: labelled(Grouped(), 16, 3, 12, 12),
    "highway": lambda: labelled(Highway(), 64, 64),
    "minimal recurrence": lambda: labelled(Minimal(), 32, 10, 8, classes=5),
    "summed neighbours": lambda: labelled(Summed(), 40, 32, classes=4),
    "enlarged": enlarged,
    "bilinear": lambda: labelled(Bilinear(), 64, 40, classes=6),
    "separable": lambda: labelled(Separable(), 16, 3, 12, 12),
    "letters": letters,
}

_SCALE = ("P502",)
FAULTS: dict[str, Fault] = {
    "reversible, f.2 x40": Fault(host="reversible", breaks=lambda m: m.f[2].weight.mul_(40), codes=_SCALE, path="f.2"),
    "reversible, g.1 frozen": Fault(
        host="reversible", breaks=lambda m: m.g[1].requires_grad_(False), codes=("P510",), path="g.1"
    ),
    "squeezed, a frozen convolution": Fault(
        host="squeezed", breaks=lambda m: m.convs[1].requires_grad_(False), codes=("P510",), path="convs.1"
    ),
    "squeezed, NaN in a norm": Fault(
        host="squeezed", breaks=lambda m: garbage(m.norms[1].bias, torch.nan), codes=("P504",), path="norms.1.bias"
    ),
    "class token, garbage": Fault(
        host="class token", breaks=lambda m: garbage(m.token, 3e30), codes=("P507",), path="token"
    ),
    "class token, places at another scale": Fault(
        host="class token", breaks=lambda m: m.places[:, 12:].mul_(60), codes=("P508",), path="places"
    ),
    "tagger, garbage in a bias": Fault(
        host="tagger", breaks=lambda m: garbage(m.rnn.bias_ih_l0, -2e20), codes=("P507",), path="bias_ih_l0"
    ),
    "tagger, words x200": Fault(host="tagger", breaks=lambda m: m.words.weight.mul_(200), codes=_SCALE, path="words"),
    "variational, out x60": Fault(
        host="variational", breaks=lambda m: m.out.weight.mul_(60), codes=(*_SCALE, "L801"), path="out"
    ),
    "variational, dec x60": Fault(host="variational", breaks=lambda m: m.dec.weight.mul_(60), codes=_SCALE, path="dec"),
    "two towers, temperature of garbage": Fault(
        host="two towers", breaks=lambda m: m.logit_scale.fill_(4e12), codes=("P507",), path="logit_scale"
    ),
    "two towers, frozen image": Fault(
        host="two towers", breaks=lambda m: m.image[0].requires_grad_(False), codes=("P510",), path="image.0", note=True
    ),
    "mixture density, body.2 / 40": Fault(
        host="mixture density", breaks=lambda m: m.body[2].weight.div_(40), codes=_SCALE, path="body.2"
    ),
    "mixture density, body tied": Fault(
        host="mixture density", breaks=lambda m: tie(m, m.body[4], m.body[2]), codes=("P511",), path="body.4"
    ),
    "kernel attention, copied keys": Fault(
        host="kernel attention",
        breaks=lambda m: m.k[1].weight.copy_(m.k[0].weight),
        codes=("P505",),
        path="k.1",
        note=True,
    ),
    "gated decoder, NaN frequencies": Fault(
        host="gated decoder", breaks=lambda m: m.inv_freq.fill_(torch.nan), codes=("P504",), path="inv_freq"
    ),
    "gated decoder, zero frequencies": Fault(
        host="gated decoder", breaks=lambda m: m.inv_freq.zero_(), codes=("P509",), path="inv_freq"
    ),
    "gated decoder, gate and up tied": Fault(
        host="gated decoder",
        breaks=lambda m: tie(m, m.gate[1], m.gate[0]),
        codes=("P511",),
        path="gate.1",
        note=True,
    ),
    "gated decoder, table x2500": Fault(
        host="gated decoder", breaks=lambda m: m.table.weight.mul_(2500), codes=_SCALE, path="table"
    ),
    "clicks, rows at another scale": Fault(
        host="clicks", breaks=lambda m: m.tables[2].weight[270:].mul_(80), codes=("P508",), path="tables.2"
    ),
    "clicks, subnormal table": Fault(
        host="clicks", breaks=lambda m: garbage(m.tables[1].weight, 3e-42, 2), codes=("P507",), path="tables.1"
    ),
    "grouped bottlenecks, frozen": Fault(
        host="grouped bottlenecks", breaks=lambda m: m.inner[1].requires_grad_(False), codes=("P510",), path="inner.1"
    ),
    "grouped bottlenecks, one huge element": Fault(
        host="grouped bottlenecks", breaks=lambda m: garbage(m.outer[1].weight, 9e4), codes=("P507",), path="outer.1"
    ),
    "highway, maps.3 x60": Fault(
        host="highway", breaks=lambda m: m.maps[3].weight.mul_(60), codes=_SCALE, path="maps.3"
    ),
    "minimal recurrence, only the head": Fault(
        host="minimal recurrence", breaks=only_head, codes=("P510",), path="", note=True
    ),
    "summed neighbours, no links": Fault(
        host="summed neighbours", breaks=lambda m: m.links.zero_(), codes=("P509",), path="links"
    ),
    "enlarged, body.2 / 40": Fault(
        host="enlarged", breaks=lambda m: m.body[2].weight.div_(40), codes=_SCALE, path="body.2"
    ),
    "bilinear, one huge element": Fault(
        host="bilinear", breaks=lambda m: garbage(m.both.weight, 4e4), codes=("P507",), path="both"
    ),
    "separable, own.2 x40": Fault(
        host="separable", breaks=lambda m: m.own[2].weight.mul_(40), codes=_SCALE, path="own.2"
    ),
    "separable, all mixed x6": Fault(
        host="separable",
        breaks=lambda m: [layer.weight.mul_(6) for layer in m.mixed],
        codes=(*_SCALE, "S202"),
        path="mixed",
    ),
    "letters, table x80": Fault(
        host="letters", breaks=lambda m: m.letters.weight.mul_(80), codes=_SCALE, path="letters"
    ),
    "letters, hidden frozen": Fault(
        host="letters", breaks=lambda m: m.hidden.requires_grad_(False), codes=("P510",), path="hidden"
    ),
}
