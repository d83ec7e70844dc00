"""Faults injected into networks not looked at while rules were tuned: name -> (case, acceptable first findings).

A case is a callable that gives keyword arguments of `fanin.check`. Small models only, no downloads.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["BROKEN_HELD_OUT"]


def linear_net(depth=4, width=128, act=nn.ReLU, gain=2**0.5, norm=None, inputs=64, outputs=10, bias=True):
    layers, n = [], inputs
    for _ in range(depth):
        layer = nn.Linear(n, width, bias=bias)
        if gain is not None:
            nn.init.normal_(layer.weight, std=gain * n**-0.5)
            if bias:
                nn.init.zeros_(layer.bias)
        layers += [layer, *([norm(width)] if norm else []), act()]
        n = width
    head = nn.Linear(n, outputs)
    return nn.Sequential(*layers, head)


def conv_net(depth=4, width=32, norm=True, act=nn.ReLU):
    layers, n = [], 3
    for i in range(depth):
        layers += [nn.Conv2d(n, width, 3, stride=2 if i % 2 else 1, padding=1, bias=not norm)]
        layers += [nn.BatchNorm2d(width)] if norm else []
        layers += [act()]
        n = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n, 10))


class Residual(nn.Module):
    def __init__(self, depth=8, width=64, norm=True, gain=1.0):
        super().__init__()
        make = lambda: nn.Sequential(  # noqa: E731
            *([nn.LayerNorm(width)] if norm else []),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, width),
        )
        self.stem, self.blocks = nn.Linear(64, width), nn.ModuleList(make() for _ in range(depth))
        self.head = nn.Linear(width, 10)
        for block in self.blocks:
            for m in block:
                if isinstance(m, nn.Linear):
                    nn.init.normal_(m.weight, std=gain * m.in_features**-0.5)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


class Language(nn.Module):
    def __init__(self, std=0.02, tied=True, width=64, vocab=100, qk=1.0, masked=True):
        super().__init__()
        self.embed = nn.Embedding(vocab, width)
        self.place = nn.Parameter(0.02 * torch.randn(24, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(4)
        )
        self.norm, self.head, self.masked = nn.LayerNorm(width), nn.Linear(width, vocab, bias=False), masked
        nn.init.normal_(self.embed.weight, std=std)
        if tied:
            self.head.weight = self.embed.weight
        for layer in self.layers:
            with torch.no_grad():
                layer.self_attn.in_proj_weight[: 2 * width] *= qk

    def forward(self, ids):
        x = self.embed(ids) + self.place
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1]) if self.masked else None
        for layer in self.layers:
            x = layer(x, src_mask=mask)
        return self.head(self.norm(x))


def edit(model, change):
    with torch.no_grad():
        change(model)
    return model


def vectors(model, x=None, y=None, **more):
    x = torch.randn(64, 64) if x is None else x
    return {"model": model, "inputs": x, "targets": torch.randint(0, 10, (len(x),)) if y is None else y, **more}


def images(model, x=None, **more):
    x = torch.randn(16, 3, 32, 32) if x is None else x
    return {"model": model, "inputs": x, "targets": torch.randint(0, 10, (len(x),)), **more}


def language(model):
    ids = torch.randint(0, 100, (8, 24))
    return {
        "model": model,
        "inputs": ids,
        "loss": lambda o: F.cross_entropy(o[:, :-1].reshape(-1, 100), ids[:, 1:].reshape(-1)),
    }


class Cut(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how, self.a, self.b, self.c = how, nn.Linear(64, 128), nn.Linear(128, 128), nn.Linear(128, 10)

    def forward(self, x):
        if self.how == "no_grad":
            with torch.no_grad():
                h = self.a(x).relu()
        elif self.how == "numpy":
            h = torch.from_numpy(self.a(x).relu().detach().numpy())
        else:
            h = torch.tensor(self.a(x).relu().tolist())
        return self.c(self.b(h).relu())


class Deadlock(nn.Module):
    """A branch whose both factors are zero never opens."""

    def __init__(self):
        super().__init__()
        self.trunk = linear_net()
        self.down, self.up = nn.Linear(64, 8, bias=False), nn.Linear(8, 10, bias=False)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.up.weight)

    def forward(self, x):
        return self.trunk(x) + self.up(self.down(x))


class Divided(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = linear_net()

    def forward(self, x):
        y = self.body(x)
        return y / (y - y.clamp(max=0) - y.clamp(min=0))


class Spare(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.aux = linear_net(), nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, x):
        return self.body(x)


class Slow(nn.Module):
    """Twenty tanh layers at three times the critical gain."""

    def __init__(self):
        super().__init__()
        self.body = linear_net(20, 64, nn.Tanh, gain=3.0)

    def forward(self, x):
        return self.body(x)


def sized(x, i, j, value):
    x[i, j] = value
    return x


def fanned(model):
    """fan_out where fan_in is meant, in widening convolutions: the std is too small by sqrt(width ratio)."""
    for m in model.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.normal_(m.weight, std=(2 / (m.out_channels * 9 * 8)) ** 0.5)
            nn.init.zeros_(m.bias)
    return model


def constant_features():
    x = torch.zeros(64, 64)
    x[:, :8] = torch.randn(64, 8)
    return x + 1.0


def nchw_swapped():
    return torch.randint(0, 256, (16, 3, 32, 32)).float()


def adam(lr):
    model = linear_net()
    return vectors(model, optimizer=torch.optim.Adam(model.parameters(), lr=lr))


def sgd(lr):
    model = linear_net()
    return vectors(model, optimizer=torch.optim.SGD(model.parameters(), lr=lr))


def binary(end):
    model = linear_net(outputs=1)
    y = torch.randint(0, 2, (64, 1)).float()
    return {
        "model": nn.Sequential(*model, *end),
        "inputs": torch.randn(64, 64),
        "loss": lambda o: F.binary_cross_entropy_with_logits(o, y),
    }


def nll(end):
    y = torch.randint(0, 10, (64,))
    return {
        "model": nn.Sequential(*linear_net(), *end),
        "inputs": torch.randn(64, 64),
        "loss": lambda o: F.nll_loss(o, y),
    }


def regression(factor, shift=0.0):
    y = factor * torch.randn(64, 1) + shift
    return {"model": linear_net(outputs=1), "inputs": torch.randn(64, 64), "loss": lambda o: F.mse_loss(o, y)}


def clones():
    model = linear_net(width=64)
    with torch.no_grad():
        for row in range(0, 64, 2):
            model[0].weight[row + 1] = model[0].weight[row]
            model[2].weight[row + 1] = model[2].weight[row]
    return vectors(model)


def experts():
    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            first = linear_net(1)
            self.first, self.rest = first, nn.ModuleList(copy.deepcopy(first) for _ in range(3))

        def forward(self, x):
            return self.first(x) + sum(e(x) for e in self.rest)

    return vectors(Experts())


SCALE_LOW = {"S201", "S203", "S205", "P502"}
SCALE_HIGH = {"S202", "S204", "A302", "P502"}

BROKEN_HELD_OUT = {
    "tanh stack std 0.01": (
        lambda: vectors(
            edit(
                linear_net(10, act=nn.Tanh, gain=None), lambda m: [nn.init.normal_(p, std=0.01) for p in m.parameters()]
            )
        ),
        SCALE_LOW,
    ),
    "gelu 12 default": (lambda: vectors(linear_net(12, act=nn.GELU, gain=None)), SCALE_LOW),
    "silu 12 gain 0.5": (lambda: vectors(linear_net(12, act=nn.SiLU, gain=0.5)), SCALE_LOW),
    "leaky 10 gain 5": (lambda: vectors(linear_net(10, act=nn.LeakyReLU, gain=5.0)), SCALE_HIGH),
    "elu 10 N(0,1)": (lambda: vectors(linear_net(10, act=nn.ELU, gain=128**0.5)), SCALE_HIGH),
    "linear stack gain 3": (lambda: vectors(linear_net(10, act=nn.Identity, gain=3.0)), SCALE_HIGH),
    "sigmoid 8 xavier": (lambda: vectors(linear_net(8, act=nn.Sigmoid, gain=1.0)), SCALE_LOW),
    "tanh 20 gain 3": (lambda: vectors(Slow()), SCALE_HIGH),
    "orthogonal gain 3, relu": (
        lambda: vectors(
            edit(linear_net(10), lambda m: [nn.init.orthogonal_(q.weight, 5.0) for q in m if isinstance(q, nn.Linear)])
        ),
        SCALE_HIGH,
    ),
    "conv no norm, fan_out / 8": (lambda: images(fanned(conv_net(10, norm=False))), SCALE_LOW),
    "conv 12 default no norm": (lambda: images(conv_net(12, norm=False)), SCALE_LOW),
    "residual stack without norm, gain 2": (
        lambda: vectors(Residual(16, norm=False, gain=2.0)),
        {"S202", "S204", "L801"},
    ),
    "constant kernels": (
        lambda: images(
            edit(conv_net(), lambda m: [nn.init.constant_(q.weight, 0.01) for q in m if isinstance(q, nn.Conv2d)])
        ),
        {"P501"},
    ),
    "cloned units": (clones, {"P501"}),
    "all ones linear": (
        lambda: vectors(edit(linear_net(), lambda m: [nn.init.ones_(q.weight) for q in m if isinstance(q, nn.Linear)])),
        {"P501"},
    ),
    "zero weights": (
        lambda: vectors(edit(linear_net(), lambda m: [nn.init.zeros_(p) for p in m.parameters()])),
        {"G402"},
    ),
    "zero hidden layer": (
        lambda: vectors(edit(linear_net(), lambda m: [nn.init.zeros_(m[2].weight), nn.init.zeros_(m[4].weight)])),
        {"G402"},
    ),
    "deadlock branch": (lambda: vectors(Deadlock()), {"G402"}),
    "dead layer by bias -8": (lambda: vectors(edit(linear_net(), lambda m: m[2].bias.fill_(-8.0))), {"P503", "A301"}),
    "biases +10 before tanh": (
        lambda: vectors(
            edit(linear_net(act=nn.Tanh), lambda m: [q.bias.fill_(10.0) for q in m if isinstance(q, nn.Linear)][:0])
        ),
        {"P503", "A302"},
    ),
    "conv dead by bias -5": (
        lambda: images(edit(conv_net(norm=False), lambda m: m[2].bias.fill_(-5.0))),
        {"P503", "A301"},
    ),
    "sigmoid saturated, std 3": (
        lambda: vectors(
            edit(
                linear_net(2, act=nn.Sigmoid),
                lambda m: [nn.init.normal_(q.weight, std=3.0) for q in m[:-1] if isinstance(q, nn.Linear)],
            )
        ),
        {"A302", "S202"},
    ),
    "tanh saturated, std 2": (
        lambda: vectors(
            edit(
                linear_net(3, act=nn.Tanh),
                lambda m: [nn.init.normal_(q.weight, std=2.0) for q in m[:-1] if isinstance(q, nn.Linear)],
            )
        ),
        {"A302"},
    ),
    "no_grad": (lambda: vectors(Cut("no_grad")), {"G401"}),
    "numpy round trip": (lambda: vectors(Cut("numpy")), {"G401"}),
    "list round trip": (lambda: vectors(Cut("list")), {"G401"}),
    "spare head": (lambda: vectors(Spare()), {"G401"}),
    "nan in a weight": (
        lambda: vectors(edit(linear_net(), lambda m: m[2].weight[0, :1].fill_(float("nan")))),
        {"P504"},
    ),
    "inf in a bias": (lambda: vectors(edit(linear_net(), lambda m: m[2].bias[:1].fill_(float("inf")))), {"P504"}),
    "nan in the input": (lambda: vectors(linear_net(), sized(torch.randn(64, 64), 3, 5, float("nan"))), {"D103"}),
    "inf in the input": (lambda: vectors(linear_net(), sized(torch.randn(64, 64), 3, 5, float("inf"))), {"D103"}),
    "constant input": (lambda: vectors(linear_net(), torch.full((64, 64), 0.7)), {"D103"}),
    "0 / 0 inside": (lambda: vectors(Divided()), {"S207"}),
    "input x100": (lambda: vectors(linear_net(), 100 * torch.randn(64, 64)), {"D101"}),
    "input x1e-4": (lambda: vectors(linear_net(), 1e-4 * torch.randn(64, 64)), {"D101"}),
    "input offset 20": (lambda: vectors(linear_net(), 20 + torch.randn(64, 64)), {"D102", "D101"}),
    "one feature x1e5": (
        lambda: vectors(linear_net(), torch.randn(64, 64) * torch.cat([torch.full((1,), 1e5), torch.ones(63)])),
        {"D101", "D102"},
    ),
    "constant features": (lambda: vectors(linear_net(), constant_features()), {"D102"}),
    "bytes into a BN net": (lambda: images(conv_net(), nchw_swapped()), {"D101"}),
    "bytes into a net without norm": (lambda: images(conv_net(norm=False), nchw_swapped()), {"D101"}),
    "targets x1e4": (lambda: regression(1e4), {"D104"}),
    "targets x1e-4": (lambda: regression(1e-4), {"D104"}),
    "targets at 5000": (lambda: regression(1.0, 5000.0), {"D104"}),
    "softmax before CE": (lambda: images(nn.Sequential(*conv_net(), nn.Softmax(-1))), {"L802"}),
    "sigmoid before BCE with logits": (lambda: binary([nn.Sigmoid()]), {"L802"}),
    "nll without log_softmax": (lambda: nll([]), {"L802"}),
    "sigmoid before CE": (lambda: vectors(nn.Sequential(*linear_net(), nn.Sigmoid())), {"L802"}),
    "head x30": (lambda: images(edit(conv_net(), lambda m: m[-1].weight.mul_(60))), {"L801"}),
    "head N(0,1)": (lambda: vectors(edit(linear_net(), lambda m: nn.init.normal_(m[-1].weight))), {"L801"}),
    "embedding std 1, tied head": (lambda: language(Language(std=1.0)), {"L801"}),
    "query and key x6": (lambda: language(Language(qk=6.0)), {"T701"}),
    "query and key x20, no mask": (lambda: language(Language(qk=20.0, masked=False)), {"T701"}),
    "BN1d with 2 samples": (lambda: vectors(linear_net(norm=nn.BatchNorm1d), torch.randn(2, 64)), {"N601"}),
    "BN1d with 4 samples": (lambda: vectors(linear_net(norm=nn.BatchNorm1d), torch.randn(4, 64)), {"N601"}),
    "LayerNorm eps 100": (lambda: vectors(linear_net(norm=lambda n: nn.LayerNorm(n, eps=100.0))), {"N602"}),
    "tiny signal into LayerNorm": (
        lambda: vectors(
            edit(
                linear_net(3, norm=nn.LayerNorm),
                lambda m: [q.weight.mul_(1e-4) for q in m[:-1] if isinstance(q, nn.Linear)],
            )
        ),
        {"N602"},
    ),
    "plain BN 60 layers": (lambda: vectors(linear_net(60, norm=nn.BatchNorm1d)), {"S204"}),
    "Adam lr 1": (lambda: adam(1.0), {"O901"}),
    "SGD lr 1e4": (lambda: sgd(1e4), {"O901"}),
    "samples all equal after a mean": (lambda: vectors(linear_net(30, gain=1.2)), SCALE_LOW),
}
BROKEN_HELD_OUT["biases +10 before tanh"] = (
    lambda: vectors(
        edit(linear_net(act=nn.Tanh), lambda m: [q.bias.fill_(10.0) for q in m[:-1] if isinstance(q, nn.Linear)])
    ),
    {"P503", "A302"},
)
