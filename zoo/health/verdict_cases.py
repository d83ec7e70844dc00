"""Hosts times faults times severities, and what must stay silent: name -> a case with the answer that is right.

A case gives the keyword arguments of `fanin.check` and what its report must say: the code of the first finding and a
name that its paths hold, or nothing above a note.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from zoo.health.fresh_hosts import FAULTS as FRESH_FAULTS
from zoo.health.fresh_hosts import HOSTS as FRESH
from zoo.health.further_hosts import FAULTS as FURTHER_FAULTS
from zoo.health.further_hosts import HOSTS as FURTHER
from zoo.health.held_hosts import HELD, Held
from zoo.health.later_hosts import FAULTS, Fault
from zoo.health.later_hosts import HOSTS as LATER
from zoo.health.newest_hosts import FAULTS as NEWEST_FAULTS
from zoo.health.newest_hosts import HOSTS as NEWEST

__all__ = ["CASES", "FAMILIES", "Case", "checked", "judged"]

WIDTH, VOCAB, TOKENS = 64, 100, 16


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model with the right answer.

    Attributes:
        kind: which kind of fault, for the table.
        make: gives the keyword arguments of `fanin.check`.
        codes: codes of which the first finding must have one; empty where nothing above a note is right.
        path: what a path of that finding must hold.
        note: the right answer is a note among the findings.
    """

    kind: str
    make: Callable[[], dict[str, Any]]
    codes: tuple[str, ...] = ()
    path: str = ""
    note: bool = False


def judged(case: Case, report: Any) -> bool:
    """Whether a report says what is right."""
    if not case.codes:
        return bool(report.ok)
    shown = [f for f in report.findings if f.severity == "note"] if case.note else report.findings[:1]
    right = any(f.code in case.codes and any(case.path in p for p in f.paths) for f in shown)
    return right and (case.note or not report.ok)


def checked(case: Case, *, predict: bool | None = False) -> Any:
    """The report of a case, without predictions unless asked for."""
    import fanin

    torch.manual_seed(0)
    return fanin.check(**case.make(), predict=predict, trial=False)


# ---------------------------------------------------------------------- hosts
def he(layer: nn.Module, gain: float = 2**0.5) -> None:
    nn.init.normal_(layer.weight, std=gain / layer.weight[0].numel() ** 0.5)
    nn.init.zeros_(layer.bias)


def mlp(act: type = nn.ReLU, depth: int = 6, gain: float = 2**0.5) -> nn.Sequential:
    layers = [m for _ in range(depth) for m in (nn.Linear(WIDTH, WIDTH), act())]
    for layer in layers[::2]:
        he(layer, gain)
    return nn.Sequential(*layers, nn.Linear(WIDTH, 10))


def cnn(depth: int = 5, act: type = nn.ReLU) -> nn.Sequential:
    layers, n = [], 3
    for _ in range(depth):
        layers += [nn.Conv2d(n, 32, 3, padding=1), act()]
        he(layers[-2])
        n = 32
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


class Blocks(nn.Module):
    """A language model of pre-norm blocks, with attention or without."""

    def __init__(self, attention: bool = False, std: float = 0.02, depth: int = 4) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCAB, WIDTH)
        nn.init.normal_(self.embed.weight, std=std)
        self.place = nn.Parameter(0.02 * torch.randn(TOKENS, WIDTH))
        self.blocks = nn.ModuleList(Block(attention) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCAB, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids) + self.place[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)).flatten(0, 1)


class Block(nn.Module):
    def __init__(self, attention: bool) -> None:
        super().__init__()
        self.attention = Attention() if attention else None
        self.norm, self.up, self.down = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.attention is not None:
            x = x + self.attention(x)
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Attention(nn.Module):
    """Causal attention, rotary, with or without a bias of position."""

    def __init__(self, heads: int = 4, bias: Callable[[int], torch.Tensor] | None = None, causal: bool = True) -> None:
        super().__init__()
        self.heads, self.bias, self.causal, size = heads, bias, causal, WIDTH // heads
        self.norm, self.qkv, self.out = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.register_buffer("inv_freq", 1e4 ** (-torch.arange(size // 2) / (size // 2)))

    def turned(self, x: torch.Tensor) -> torch.Tensor:
        angles = torch.arange(x.shape[-2])[:, None] * self.inv_freq
        a, b = x.chunk(2, -1)
        return torch.cat([a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()], -1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(self.norm(x)).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        scores = self.turned(q) @ self.turned(k).transpose(-1, -2) / (d // self.heads) ** 0.5
        if self.bias is not None:
            scores = scores + self.bias(t)
        if self.causal:
            scores = scores + torch.full((t, t), -torch.inf).triu(1)
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, d))


class Attended(nn.Module):
    """Vectors, one attention with a bias, and a head."""

    def __init__(self, bias: Callable[[int], torch.Tensor] | None, causal: bool = False) -> None:
        super().__init__()
        self.attention, self.head = Attention(bias=bias, causal=causal), nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head((x + self.attention(x)).mean(1))


def alibi(t: int) -> torch.Tensor:
    place = torch.arange(t)
    return -(place[:, None] - place[None]).abs() * 2.0 ** -torch.arange(1, 5)[:, None, None]


def distances(t: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    table = 4 * torch.randn(4, 2 * t, generator=generator)
    place = torch.arange(t)
    return table[:, place[:, None] - place[None] + t]


def window(t: int) -> torch.Tensor:
    place = torch.arange(t)
    return torch.where((place[:, None] - place[None]).abs() < t // 4, 0.0, -30.0)


def vectors(model: nn.Module, n: int = 64, **more: Any) -> dict[str, Any]:
    return {"model": model, "inputs": torch.randn(n, WIDTH), "targets": torch.randint(0, 10, (n,)), **more}


def images(model: nn.Module, n: int = 16) -> dict[str, Any]:
    return {"model": model, "inputs": torch.randn(n, 3, 16, 16), "targets": torch.randint(0, 10, (n,))}


def tokens(model: nn.Module, n: int = 8, vocab: int = VOCAB) -> dict[str, Any]:
    ids = torch.randint(0, vocab, (n, TOKENS))
    return {"model": model, "inputs": ids, "targets": torch.randint(0, vocab, (n * TOKENS,))}


HOSTS: dict[str, tuple[Callable[[], nn.Module], Callable[..., dict[str, Any]], tuple[str, ...]]] = {
    "relu": (mlp, vectors, ("2", "6")),
    "tanh": (lambda: mlp(nn.Tanh, gain=1.1), vectors, ("2", "6")),
    "gelu": (lambda: mlp(nn.GELU, gain=1.5), vectors, ("4",)),
    "cnn": (cnn, images, ("2", "6")),
    "blocks": (Blocks, tokens, ("blocks.1.up",)),
    "attention": (lambda: Blocks(True), tokens, ("blocks.2.up",)),
}


def edited(host: str, change: Callable[[nn.Module], Any]) -> Callable[[], dict[str, Any]]:
    def make() -> dict[str, Any]:
        build, case, _ = HOSTS[host]
        model = build()
        with torch.no_grad():
            change(model)
        return case(model)

    return make


def weight(model: nn.Module, name: str) -> torch.Tensor:
    return model.get_submodule(name).weight


# ---------------------------------------------------------------------- faults
def scales() -> Iterator[tuple[str, Case]]:
    for host, factors in (
        ("relu", (10, 30, 200, 1 / 30, 1 / 100)),
        ("gelu", (10, 30, 1 / 30)),
        ("tanh", (30, 100)),
        ("cnn", (10, 30, 1 / 30)),
        ("blocks", (30,)),
        ("attention", (30,)),
    ):
        for name in HOSTS[host][2]:
            for factor in factors:
                make = edited(host, lambda m, n=name, f=factor: weight(m, n).mul_(f))
                yield f"{host} {name} x{factor:.3g}", Case(kind="one scale", make=make, codes=("P502",), path=name)
    for host in ("relu", "gelu", "cnn"):
        for factor in (50, 200):
            make = edited(host, lambda m, f=factor: [weight(m, n).mul_(f) for n in ("2", "4", "8")])
            yield f"{host} three x{factor}", Case(kind="three scales", make=make, codes=("P502",), path="4")
    for host in ("blocks", "attention"):
        for std in (10.0, 50.0, 200.0):
            make = edited(host, lambda m, s=std: m.embed.weight.normal_(std=s))
            yield f"{host} embedding {std}", Case(kind="table scale", make=make, codes=("P502",), path="embed")
        for factor in (10, 20, 50):
            make = edited(host, lambda m, f=factor: [b.down.weight.mul_(f) for b in m.blocks])
            yield f"{host} branches x{factor}", Case(kind="branches", make=make, codes=("P502",), path="down")


class Chain(nn.Module):
    """Bare matrices used as x @ W."""

    def __init__(self, widths: tuple[int, ...], swapped: bool) -> None:
        super().__init__()
        self.w = nn.ParameterList(nn.Parameter(torch.empty(a, b)) for a, b in pairwise(widths))
        for w in self.w:
            nn.init.kaiming_normal_(w) if swapped else nn.init.normal_(w, std=(2 / w.shape[0]) ** 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for w in self.w[:-1]:
            x = torch.relu(x @ w)
        return x @ self.w[-1]


def swapped() -> Iterator[tuple[str, Case]]:
    for widths in ((1024, 256, 64, 16, 10), (2048, 256, 32, 10), (1024, 512, 128, 32, 16, 10)):
        for wrong in (True, False):

            def make(widths: tuple[int, ...] = widths, wrong: bool = wrong) -> dict[str, Any]:
                case = vectors(Chain(widths, wrong))
                return {**case, "inputs": torch.randn(64, widths[0])}

            codes = ("P502",) if wrong else ()
            yield f"(in, out) {widths} {wrong}", Case(kind="swapped fans", make=make, codes=codes, path="w.")


def values() -> Iterator[tuple[str, Case]]:
    faults: dict[str, Callable[[torch.Tensor], Any]] = {
        "3e30": lambda w: w.view(-1)[7:8].fill_(3e30),
        "-1e8": lambda w: w.view(-1)[11:12].fill_(-1e8),
        "1e4 rms": lambda w: w.view(-1)[5:6].fill_(1e4 * w.square().mean().sqrt()),
        "subnormal": lambda w: w.zero_().view(-1)[::2].fill_(8e-45),
    }
    for host in HOSTS:
        name = HOSTS[host][2][0]
        for words, fault in faults.items():
            make = edited(host, lambda m, n=name, f=fault: f(weight(m, n)))
            yield f"{host} {words}", Case(kind="garbage", make=make, codes=("P507",), path=name)
        make = edited(host, lambda m, n=name: m.get_submodule(n).bias[3:4].fill_(3e30))
        yield f"{host} bias 3e30", Case(kind="garbage", make=make, codes=("P507",), path=f"{name}.bias")


class GraphAttention(nn.Module):
    """Nodes of a ring that attend to each other, with an offset that is a bare parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.map, self.score = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, 1, bias=False)
        self.offset, self.head = nn.Parameter(torch.zeros(WIDTH)), nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.map(x)
        e = F.leaky_relu(self.score(h) + self.score(h).transpose(-1, -2))
        return self.head(F.elu(e.softmax(-1) @ h + self.offset)).flatten(0, 1)


def graph_attention(value: float = 0.0) -> dict[str, Any]:
    model = GraphAttention()
    with torch.no_grad():
        model.offset[5] = value
    return {"model": model, "inputs": torch.randn(8, 12, WIDTH), "targets": torch.randint(0, 10, (96,))}


class Tied(nn.Module):
    def __init__(self, tie: bool, vocab: int = 211, copied: bool = False) -> None:
        super().__init__()
        self.table, self.norm = nn.Embedding(vocab, WIDTH), nn.LayerNorm(WIDTH)
        self.mix, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, vocab, bias=False)
        nn.init.normal_(self.table.weight, std=0.02)
        nn.init.normal_(self.head.weight, std=0.02)
        if tie:
            self.head.weight = self.table.weight
        if copied:
            self.head.weight = nn.Parameter(self.table.weight.detach().clone())

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.table(ids)
        return self.head(self.norm(x + self.mix(x))).flatten(0, 1)


def rows() -> Iterator[tuple[str, Case]]:
    for tie in (True, False):
        for where in (slice(200, 211), slice(0, 1), slice(50, 60)):
            for factor in (8, 50):

                def make(tie: bool = tie, where: slice = where, factor: int = factor) -> dict[str, Any]:
                    model = Tied(tie)
                    with torch.no_grad():
                        model.table.weight[where] *= factor
                    return tokens(model, vocab=211)

                name = f"rows {where.start}:{where.stop} x{factor} {'tied' if tie else 'own head'}"
                yield name, Case(kind="rows", make=make, codes=("P508",), path="table")


class Filtered(nn.Module):
    """A fixed filter, as a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filter", torch.ones(3, 1, 3, 3) / 9)
        self.net = cnn(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(F.conv2d(x, self.filter, padding=1, groups=3) * 3)


def forgotten() -> Iterator[tuple[str, Case]]:
    for value in (3e30, -4e9):
        make = lambda v=value: graph_attention(v)  # noqa: E731
        yield (
            f"graph attention with {value:.0e}".replace("+", ""),
            Case(kind="garbage", make=make, codes=("P507",), path="offset"),
        )
    yield "graph attention", Case(kind="silent", make=graph_attention)


def closed() -> dict[str, Any]:
    """Softplus layers whose biases keep every unit off: no time steps."""
    case = vectors(nn.Sequential(*(m for _ in range(3) for m in (nn.Linear(WIDTH, WIDTH), nn.Softplus()))))
    for layer in case["model"][::2]:
        nn.init.constant_(layer.bias, -6.0)
    case["model"].append(nn.Linear(WIDTH, 10))
    return case


def buffers() -> Iterator[tuple[str, Case]]:
    for value, code in ((math.nan, "P504"), (math.inf, "P504"), (0.0, "P509"), (8e-45, "P509"), (3e30, "P509")):

        def rotary(value: float = value) -> dict[str, Any]:
            model = Blocks(True)
            for block in model.blocks:
                block.attention.inv_freq.fill_(value)
            return tokens(model)

        yield f"rotary {value}", Case(kind="buffers", make=rotary, codes=(code,), path="inv_freq")
    for value, code in ((math.nan, "P504"), (0.0, "P509")):

        def fixed(value: float = value) -> dict[str, Any]:
            model = Filtered()
            model.filter.fill_(value)
            return images(model)

        yield f"filter {value}", Case(kind="buffers", make=fixed, codes=(code,), path="filter")
    yield "filter", Case(kind="buffers", make=lambda: images(Filtered()))


def trained() -> Iterator[tuple[str, Case]]:
    for host in HOSTS:
        for name in HOSTS[host][2]:
            make = edited(host, lambda m, n=name: m.get_submodule(n).requires_grad_(False))
            yield f"{host} frozen {name}", Case(kind="frozen", make=make, codes=("P510",), path=name)

        def only_head(host: str = host) -> dict[str, Any]:
            build, case, _ = HOSTS[host]
            model = build().requires_grad_(False)
            (model.head if hasattr(model, "head") else model[-1]).requires_grad_(True)
            return case(model)

        yield f"{host} only the head", Case(kind="frozen", make=only_head, codes=("P510",), note=True)
    for host, names in (("relu", ("2", "6")), ("tanh", ("4", "8")), ("gelu", ("2", "4")), ("cnn", ("2", "4"))):
        tie = edited(host, lambda m, n=names: setattr(m.get_submodule(n[1]), "weight", m.get_submodule(n[0]).weight))
        yield f"{host} tied {names}", Case(kind="tied", make=tie, codes=("P511",), path=names[1])
        twin = edited(host, lambda m, n=names: m.__setitem__(int(n[1]), copy.deepcopy(m[int(n[0])])))
        yield f"{host} copied {names}", Case(kind="copied", make=twin, codes=("P505",), path=names[1], note=True)
    yield (
        "lost tie",
        Case(kind="tied", make=lambda: tokens(Tied(False, copied=True), vocab=211), codes=("P505",), path="head"),
    )


def overflow() -> Iterator[tuple[str, Case]]:
    for depth in (30, 60, 90):
        make = lambda d=depth: vectors(mlp(depth=d, gain=8.0))  # noqa: E731
        yield f"relu {depth} layers at N(0, 1)", Case(kind="overflow", make=make, codes=("S202",))


# ---------------------------------------------------------------------- what must stay silent
class Adapter(nn.Module):
    """LoRA around a frozen map."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a, self.b = nn.Linear(base.in_features, 4, bias=False), nn.Linear(4, base.out_features, bias=False)
        nn.init.zeros_(self.b.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + 2 * self.b(self.a(x))


def adapted(host: str) -> Callable[[], dict[str, Any]]:
    def make() -> dict[str, Any]:
        build, case, _ = HOSTS[host]
        model = build().requires_grad_(False)
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.Linear) and name not in ("head", "12", "qkv", "out"):
                    setattr(parent, name, Adapter(child))
        return case(model)

    return make


class Equilibrium(nn.Module):
    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps, self.w, self.u = steps, nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = torch.zeros_like(x)
        for _ in range(self.steps):
            z = torch.tanh(self.w(z) + self.u(x))
        return self.head(z)


class Siren(nn.Module):
    def __init__(self, depth: int, frequency: float = 30.0) -> None:
        super().__init__()
        self.frequency = frequency
        self.layers = nn.ModuleList(nn.Linear(2 if i == 0 else 128, 128) for i in range(depth))
        self.head = nn.Linear(128, 3)
        for i, layer in enumerate([*self.layers, self.head]):
            bound = 0.5 if i == 0 else (6 / 128) ** 0.5 / frequency
            nn.init.uniform_(layer.weight, -bound, bound)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = torch.sin(self.frequency * layer(x))
        return self.head(x)


class Steps(nn.Module):
    """A state-space step whose size is a softplus of a published bias."""

    def __init__(self, low: float = 1e-3) -> None:
        super().__init__()
        self.rank, self.step, self.head = nn.Linear(WIDTH, 4), nn.Linear(4, WIDTH), nn.Linear(WIDTH, 10)
        self.mix, self.decay = nn.Linear(WIDTH, WIDTH), nn.Parameter(torch.arange(1.0, 9).log().repeat(WIDTH, 1))
        nn.init.uniform_(self.step.weight, -0.5, 0.5)
        dt = torch.exp(torch.rand(WIDTH) * math.log(0.1 / low) + math.log(low))
        self.step.bias.data = dt + torch.log(-torch.expm1(-dt))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u = self.mix(x)
        dt = F.softplus(self.step(self.rank(u)))
        kept = torch.exp(-dt[..., None] * self.decay.exp()).mean(-1)
        return self.head(u + kept * u + dt * u)


class Detector(nn.Module):
    def __init__(self, bias: float) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 128, 3, padding=1), nn.Conv2d(128, 20, 1)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.constant_(self.head.bias, bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.stem(x).relu())


def detected(bias: float, share: float) -> dict[str, Any]:
    targets = (torch.rand(16, 20, 16, 16) < share).float()
    return {**images(Detector(bias)), "targets": targets, "loss": F.binary_cross_entropy_with_logits}


class Queries(nn.Module):
    """A decoder whose learned queries start alike."""

    def __init__(self, spread: float) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, WIDTH, 2, 2)
        self.queries = nn.Parameter(torch.randn(1, WIDTH) + spread * torch.randn(20, WIDTH))
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(WIDTH, 4, 128, dropout=0.0, batch_first=True) for _ in range(3)
        )
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        memory = self.patch(x).flatten(2).transpose(1, 2)
        q = self.queries.expand(len(x), -1, -1)
        for layer in self.layers:
            q = layer(q, memory)
        return self.head(q.mean(1))


class Actor(nn.Module):
    """A policy that returns a distribution and a value."""

    def __init__(self, gaussian: bool) -> None:
        super().__init__()
        self.body, self.gaussian = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()), gaussian
        self.pi, self.value = nn.Linear(WIDTH, 4), nn.Linear(WIDTH, 1)
        nn.init.orthogonal_(self.pi.weight, 0.01)
        self.log_std = nn.Parameter(torch.zeros(4))

    def forward(self, x: torch.Tensor) -> tuple[Any, torch.Tensor]:
        h = self.body(x)
        if self.gaussian:
            normal = torch.distributions.Normal(self.pi(h), self.log_std.exp().expand(len(x), 4))
            return torch.distributions.Independent(normal, 1), self.value(h)
        return torch.distributions.Categorical(logits=self.pi(h)), self.value(h)


class Masked(nn.Module):
    """Buffers of 0 and -inf, of zeros that are added, and running extremes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.full((TOKENS, TOKENS), -torch.inf).triu(1))
        self.register_buffer("shift", torch.zeros(WIDTH))
        self.register_buffer("lowest", torch.full((1,), torch.inf))
        self.attention = Attention(bias=lambda t: self.mask[:t, :t], causal=False)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head((x + self.shift + self.attention(x)).mean(1))


class Field(nn.Module):
    """A NeRF: a deep ReLU network with a sigmoid at its output."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(depth))
        for layer in self.layers:
            he(layer)
        self.out = nn.Linear(WIDTH, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x).relu()
        y = self.out(x)
        return torch.cat([y[:, :3].sigmoid(), y[:, 3:].relu()], -1)


def attended(bias: Callable[[int], torch.Tensor] | None, t: int, n: int, factor: float = 1.0) -> dict[str, Any]:
    model = Attended(bias)
    with torch.no_grad():
        model.attention.qkv.weight[: 2 * WIDTH] *= factor
    return {"model": model, "inputs": torch.randn(n, t, WIDTH), "targets": torch.randint(0, 10, (n,))}


def silent() -> Iterator[tuple[str, Case]]:
    made: dict[str, Callable[[], dict[str, Any]]] = {}
    for host, (build, case, _) in HOSTS.items():
        made[host] = lambda b=build, c=case: c(b())
        made[f"{host} of one sample"] = lambda b=build, c=case: c(b(), 1)
        made[f"{host} of two samples"] = lambda b=build, c=case: c(b(), 2)
    for host in ("relu", "tanh", "blocks", "attention"):
        made[f"{host} with adapters"] = adapted(host)
    for steps in (4, 12, 30):
        made[f"equilibrium of {steps} steps"] = lambda s=steps: vectors(Equilibrium(s))
    for name, bias in (("alibi", alibi), ("distances", distances), ("window", window)):
        for t in (64, 128, 256):
            for n in (1, 8):
                made[f"{name} {t} tokens, {n} samples"] = lambda b=bias, t=t, n=n: attended(b, t, n)
    for depth in (3, 5, 8):
        made[f"siren {depth}"] = lambda d=depth: {
            "model": Siren(d),
            "inputs": torch.rand(256, 2) * 2 - 1,
            "targets": torch.randn(256, 3),
        }
    for low in (1e-3, 1e-4):
        made[f"time steps from {low}"] = lambda x=low: vectors(Steps(x))
    for share in (1e-2, 1e-3):
        made[f"prior of {share}"] = lambda s=share: detected(math.log(s / (1 - s)), s)
        made[f"no prior for {share}"] = lambda s=share: detected(0.0, s)
    for spread in (0.01, 0.1, 1.0):
        made[f"queries {spread} apart"] = lambda s=spread: images(Queries(s))
    for gaussian in (True, False):
        made[f"policy {gaussian}"] = lambda g=gaussian: {"model": Actor(g), "inputs": torch.randn(64, WIDTH)}
    made["tied table"] = lambda: tokens(Tied(True), vocab=211)
    made["masks and extremes"] = lambda: {
        "model": Masked(),
        "inputs": torch.randn(8, TOKENS, WIDTH),
        "targets": torch.randint(0, 10, (8,)),
    }
    for depth in (4, 8):
        made[f"field {depth}"] = lambda d=depth: {**vectors(Field(d)), "targets": torch.rand(64, 4)}
    for name, make in made.items():
        yield name, Case(kind="silent", make=make)
    yield "softplus at -6", Case(kind="biases", make=closed, codes=("P503",), path="bias")
    for n in (1, 8):
        hot = lambda n=n: attended(alibi, 64, n, 6.0)  # noqa: E731
        yield f"alibi and large queries, {n} samples", Case(kind="condensed", make=hot, codes=("T701",))


def unseen() -> Iterator[tuple[str, Case]]:
    """Kinds of models that no rule was tuned on, healthy and with one fault each."""
    for name, held in HELD.items():
        yield f"healthy {name}", Case(kind="silent, unseen", make=held.make)

        def broken(held: Held = held) -> dict[str, Any]:
            case = held.make()
            with torch.no_grad():
                held.fault(case["model"])
            return case

        yield name, Case(kind="unseen", make=broken, codes=held.codes, path=held.path)


def hosts_and_faults(
    hosts: dict[str, Callable[[], dict[str, Any]]], faults: dict[str, Fault], kind: str
) -> Iterator[tuple[str, Case]]:
    """The same once more, with several faults a model."""
    for name, make in hosts.items():
        yield f"healthy {name}", Case(kind=f"silent, {kind}", make=make)
    for name, fault in faults.items():

        def broken(fault: Fault = fault) -> dict[str, Any]:
            case = hosts[fault.host]()
            with torch.no_grad():
                fault.breaks(case["model"])
            return fault.feeds(case) if fault.feeds else case

        yield name, Case(kind=kind, make=broken, codes=fault.codes, path=fault.path, note=fault.note)


def later() -> Iterator[tuple[str, Case]]:
    yield from hosts_and_faults(LATER, FAULTS, "later")


def fresh() -> Iterator[tuple[str, Case]]:
    yield from hosts_and_faults(FRESH, FRESH_FAULTS, "fresh")


def newest() -> Iterator[tuple[str, Case]]:
    yield from hosts_and_faults(NEWEST, NEWEST_FAULTS, "newest")


def further() -> Iterator[tuple[str, Case]]:
    yield from hosts_and_faults(FURTHER, FURTHER_FAULTS, "further")


FAMILIES: tuple[Callable[[], Iterator[tuple[str, Case]]], ...] = (
    scales, swapped, values, forgotten, rows, buffers, trained, overflow, silent, unseen, later, fresh, newest,
    further,
)  # fmt: skip
CASES: dict[str, Case] = {name: case for family in FAMILIES for name, case in family()}
