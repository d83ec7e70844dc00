"""Fourteen models on which data-dependent starts fail without a word, each with measurements of its own.

`products` computes by hand what every reachable operation gives without its bias; it is the test's own forward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from tests.calibration.helpers import batch, rms

Sizes = dict[tuple[str, str], list[float]]


@dataclass(frozen=True)
class Trap:
    """A model, its input, and what its outputs measure.

    Attributes:
        make: the model and its input.
        products: (parameter, part) -> size of each use, on a fresh forward of the test's own.
        named: parameter -> the status that says why it stays.
        reused: parameters whose uses meet their targets in the geometric mean.
        passes: forward passes at most.
        accuracy: relative.
    """

    make: Callable[[], tuple[nn.Module, torch.Tensor]]
    products: Callable[[nn.Module, torch.Tensor], Sizes]
    named: dict[str, str]
    reused: tuple[str, ...] = ()
    passes: int = 2
    accuracy: float = 1e-4


class Order(nn.Module):
    """Defined in another order than it runs."""

    def __init__(self):
        super().__init__()
        self.last, self.first, self.middle = nn.Linear(48, 6), nn.Linear(32, 48), nn.Linear(48, 48)

    def forward(self, x):
        return self.last(torch.relu(self.middle(torch.relu(self.first(x)))))


def order_products(m, x):
    a = torch.relu(m.first(x))
    b = torch.relu(m.middle(a))
    return {
        ("first.weight", ""): [rms(x @ m.first.weight.T)],
        ("middle.weight", ""): [rms(a @ m.middle.weight.T)],
        ("last.weight", ""): [rms(b @ m.last.weight.T)],
    }


class Reused(nn.Module):
    """One layer five times."""

    def __init__(self):
        super().__init__()
        self.stem, self.cell, self.head = nn.Linear(32, 48), nn.Linear(48, 48), nn.Linear(48, 6)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        for _ in range(5):
            x = torch.relu(self.cell(x))
        return self.head(x)


def reused_products(m, x):
    h, sizes = torch.relu(m.stem(x)), []
    for _ in range(5):
        sizes.append(rms(h @ m.cell.weight.T))
        h = torch.relu(m.cell(h))
    return {
        ("stem.weight", ""): [rms(x @ m.stem.weight.T)],
        ("cell.weight", ""): sizes,
        ("head.weight", ""): [rms(h @ m.head.weight.T)],
    }


class Tied(nn.Module):
    """A table that is the output layer too."""

    def __init__(self):
        super().__init__()
        self.table, self.map = nn.Embedding(50, 32), nn.Linear(32, 32)

    def forward(self, ids):
        return F.linear(torch.tanh(self.map(self.table(ids))), self.table.weight)


def tied_products(m, ids):
    return {("map.weight", ""): [rms(m.table.weight[ids] @ m.map.weight.T)]}


class Attention(nn.Module):
    """nn.MultiheadAttention calls no submodule for its projections."""

    def __init__(self):
        super().__init__()
        self.mix = nn.MultiheadAttention(32, 4, batch_first=True)

    def forward(self, x):
        return x + self.mix(x, x, x, need_weights=False)[0]


def _attended(q, k, v, heads):
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def attention_products(m, x):
    weight, bias = m.mix.in_proj_weight, m.mix.in_proj_bias
    q, k, v = (x @ w.T for w in weight.chunk(3))
    bq, bk, bv = bias.chunk(3)
    mixed = _attended(q + bq, k + bk, v + bv, 4)
    return {
        ("mix.in_proj_weight", "attn_q"): [rms(q)],
        ("mix.in_proj_weight", "attn_k"): [rms(k)],
        ("mix.in_proj_weight", "attn_v"): [rms(v)],
        ("mix.out_proj.weight", ""): [rms(mixed @ m.mix.out_proj.weight.T)],
    }


class Grouped(nn.Module):
    """Packed q, k and v of unequal sizes (four query heads on one key head)."""

    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(32, 48, bias=False), nn.Linear(32, 32)
        with torch.no_grad():
            self.qkv.weight[:32] *= 3.0
            self.qkv.weight[40:] *= 0.2

    def forward(self, x):
        q, k, v = self.qkv(x).split([32, 8, 8], dim=-1)
        q = q.unflatten(-1, (4, 8)).transpose(1, 2)
        k, v = (t.unsqueeze(1).expand(-1, 4, -1, -1) for t in (k, v))
        return x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def grouped_products(m, x):
    y = x @ m.qkv.weight.T
    q, k, v = y.split([32, 8, 8], dim=-1)
    heads = q.unflatten(-1, (4, 8)).transpose(1, 2)
    wide = [t.unsqueeze(1).expand(-1, 4, -1, -1) for t in (k, v)]
    mixed = F.scaled_dot_product_attention(heads, *wide).transpose(1, 2).flatten(2)
    return {
        ("qkv.weight", "attn_q"): [rms(q)],
        ("qkv.weight", "attn_k"): [rms(k)],
        ("qkv.weight", "attn_v"): [rms(v)],
        ("out.weight", ""): [rms(mixed @ m.out.weight.T)],
    }


class Bare(nn.Module):
    """Parameters in products of the user's own."""

    def __init__(self, how):
        super().__init__()
        self.a, self.b, self.how = nn.Parameter(torch.randn(48, 32)), nn.Parameter(torch.randn(6, 48)), how

    def forward(self, x):
        return self.how(torch.relu(self.how(x, self.a)), self.b)


def by_transpose(x, w):
    return x @ w.T


def by_einsum(x, w):
    return torch.einsum("bi,oi->bo", x, w)


def bare_products(m, x):
    first = x @ m.a.T
    return {("a", ""): [rms(first)], ("b", ""): [rms(torch.relu(first) @ m.b.T)]}


class Upwards(nn.Module):
    """Transposed convolutions."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.ConvTranspose2d(12, 16, 4, 2, 1), nn.ConvTranspose2d(16, 8, 3, 1, 1)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))


def upwards_products(m, x):
    first = F.conv_transpose2d(x, m.a.weight, None, 2, 1)
    hidden = torch.relu(first + m.a.bias.view(-1, 1, 1))
    return {
        ("a.weight", ""): [rms(first)],
        ("b.weight", ""): [rms(F.conv_transpose2d(hidden, m.b.weight, None, 1, 1))],
    }


def two(norm):
    def make():
        torch.manual_seed(0)
        first = norm(nn.Linear(32, 48))
        return nn.Sequential(first, nn.ReLU(), nn.Linear(48, 6)), batch(64, 32)

    return make


def parametrized_products(m, x):
    hidden = torch.relu(m[0](x))
    return {
        ("0.parametrizations.weight.original1", ""): [rms(x @ m[0].weight.T)],
        ("2.weight", ""): [rms(hidden @ m[2].weight.T)],
    }


def last_products(m, x):
    return {("2.weight", ""): [rms(m[1](m[0](x)) @ m[2].weight.T)]}


def frozen():
    model, x = two(lambda layer: layer)()
    model[0].requires_grad_(False)
    return model, x


def half():
    model, x = two(lambda layer: layer)()
    return model.bfloat16(), x.bfloat16()


def half_products(m, x):
    hidden = torch.relu(m[0](x))
    return {
        ("0.weight", ""): [rms(F.linear(x, m[0].weight))],
        ("2.weight", ""): [rms(F.linear(hidden, m[2].weight))],
    }


def normed():
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(16 * 64, 6)), batch(32, 3, 8, 8)


def normed_products(m, x):
    m.train()
    running = [b.clone() for b in m[1].buffers()]
    hidden = m[3](m[2](m[1](m[0](x))))
    for buffer, before in zip(m[1].buffers(), running, strict=True):
        buffer.copy_(before)
    return {("4.weight", ""): [rms(hidden @ m[4].weight.T)]}


def dead():
    model, x = two(lambda layer: layer)()
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.fill_(-1.0)
    return model, x


def made(kind, *arguments, shape=(64, 32)):
    def make():
        torch.manual_seed(0)
        return kind(*arguments), batch(*shape)

    return make


def tied():
    torch.manual_seed(0)
    return Tied(), torch.randint(0, 50, (16, 8), generator=torch.Generator().manual_seed(1))


weight_norm = torch.nn.utils.parametrizations.weight_norm
spectral_norm = torch.nn.utils.parametrizations.spectral_norm
_SPECTRAL = {"0.parametrizations.weight.original": "parametrized"}

TRAPS = {
    "order": Trap(made(Order), order_products, {}),
    "reused": Trap(made(Reused), reused_products, {}, reused=("cell.weight",), passes=5),
    "tied": Trap(tied, tied_products, {"table.weight": "tied table"}),
    "attention": Trap(made(Attention, shape=(16, 8, 32)), attention_products, {}),
    "packed": Trap(made(Grouped, shape=(16, 8, 32)), grouped_products, {}),
    "transpose": Trap(made(Bare, by_transpose), bare_products, {}),
    "einsum": Trap(made(Bare, by_einsum), bare_products, {}),
    "conv-transpose": Trap(made(Upwards, shape=(16, 12, 5, 5)), upwards_products, {}),
    "weight-norm": Trap(two(weight_norm), parametrized_products, {}),
    "spectral-norm": Trap(two(spectral_norm), last_products, _SPECTRAL),
    "frozen": Trap(frozen, last_products, {"0.weight": "frozen"}),
    "bf16": Trap(half, half_products, {}, accuracy=1e-2),
    "batch-norm": Trap(normed, normed_products, {"0.weight": "norm behind"}),
    "dead": Trap(dead, lambda m, x: {}, {"0.weight": "constant", "2.weight": "constant"}),
}
