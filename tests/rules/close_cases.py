"""Models with one number to turn, so that what a rule measures can be put close to a threshold, on either side."""

from __future__ import annotations

import math

import torch
from torch import nn

from tests.rules.test_each_rule import Tokens, case, edited, init, net, recurrence, x


def rows(count, values):
    """The first `count` rows of the first weight are `values`."""
    return case(edited(net(), lambda m: m[0].weight[: int(count)].copy_(values)))


def biases(count, value):
    return case(edited(net(), lambda m: (m[0].bias.zero_(), m[0].bias[: int(count)].fill_(value))))


def dead(count):
    """Units that never fire and give next to nothing, so that the others still tell samples apart."""
    some = slice(None, int(count))
    return case(edited(net(), lambda m: (m[0].bias.zero_(), m[0].weight[some].zero_(), m[0].bias[some].fill_(-1e-6))))


def one_large(value, rest=0.1):
    model = edited(net(), lambda m: (nn.init.normal_(m[0].weight, std=rest), m[0].weight[3, 4].fill_(value)))
    return case(model)


def subnormal(count):
    """`count` of the 2048 elements of a weight are below the smallest normal number, the others just above it."""
    return case(edited(net(), lambda m: m[0].weight.fill_(5e-38).view(-1)[: int(count)].fill_(5e-39)))


def frozen_maps(count):
    model = net(depth=9)
    for layer in list(model)[2 : 2 + 2 * int(count) : 2]:
        layer.weight.requires_grad_(False)
    return case(model)


def features(constant=0, ratio=1.0):
    inputs = x(256)
    inputs[:, : int(constant)] = 0.5
    inputs[:, -1] /= ratio
    return case(net(), inputs)


def targets(scale, predictions=1.0):
    model = nn.Sequential(*net(), nn.LayerNorm(10))
    edited(model, lambda m: m[-1].weight.mul_(predictions))
    return case(model, targets=scale * torch.randn(64, 10))


def out_of_reach(percent):
    """Targets of which some are above one, behind a tanh."""
    wanted = torch.rand(100, 10) - 0.5
    wanted[:percent] = 2.0
    return case(nn.Sequential(*net(), nn.Tanh()), x(100), targets=wanted)


def predictions(scale):
    return targets(1.0, scale)


def logits(std):
    """Random labels against logits of a given spread, whatever comes before."""
    return case(edited(nn.Sequential(*net(), nn.LayerNorm(10)), lambda m: m[-1].weight.mul_(std)), x(512))


def knows_its_targets(std):
    given = logits(std)
    with torch.no_grad():
        given["targets"] = given["model"](given["inputs"]).argmax(-1)
    return given


def chain(sizes, width=64):
    """Linear maps that turn and scale, so that the signal has these sizes, one a layer; a head behind them."""
    layers, before = [], 1.0
    for size in sizes:
        layers.append(nn.Linear(width, width, bias=False))
        nn.init.orthogonal_(layers[-1].weight, size / before)
        before = size
    return case(nn.Sequential(*layers, nn.Linear(width, 10)), torch.randn(64, width))


def trend(total, depth=8, width=64):
    """A signal that changes by the factor `total`, evenly."""
    return chain([total ** (i / (depth - 1)) for i in range(depth)], width)


def uneven(turns, growth=6.0):
    """A signal that changes by a factor each layer, with some pairs of neighbours (out of 9) swapped: a lower tau."""
    powers = list(range(12))
    for swap in range(int(turns)):
        at = (7 * swap) % 11
        powers[at], powers[at + 1] = powers[at + 1], powers[at]
    return chain([growth**p for p in powers])


def apart(noise):
    """Samples that differ by `noise` times what they share."""
    inputs = torch.ones(64, 32) + noise * x()
    return case(nn.Sequential(nn.Linear(32, 64, bias=False), nn.Linear(64, 10, bias=False)), inputs)


def statistics(factor):
    """A norm in eval mode whose running statistics make its output larger by a factor."""
    model = nn.Sequential(nn.Linear(32, 32, bias=False), nn.BatchNorm1d(32), nn.Linear(32, 10)).eval()
    nn.init.orthogonal_(model[0].weight)
    model[1].running_var.fill_(factor**-2)
    return case(model)


def scaled(factor):
    """A linear map that multiplies its input by `factor`."""
    model = nn.Sequential(nn.Linear(32, 32, bias=False))
    nn.init.orthogonal_(model[0].weight, factor)
    return {"model": model, "inputs": x(), "loss": lambda out: out.sum()}


def one_small(factor):
    model = init(net(depth=2), gain=2**0.5)
    return case(edited(model, lambda m: m[2].weight.mul_(factor)))


def like_tokens(keep):
    model = Tokens(False)

    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.value = model.value

        def forward(self, h):
            for value in self.value:
                h = keep * h + (1 - keep) * torch.softmax(h @ h.transpose(1, 2) / 32, -1) @ value(h)
            return h

    return {"model": Mixed(), "inputs": torch.randn(8, 16, 32)}


def half(std, gradient=1.0):
    """In float16; the gradients at the output spread over four decades around `gradient`."""
    model = init(nn.Sequential(nn.Linear(32, 64)), std=std).half()
    wanted = gradient * torch.logspace(-2, 2, 64)
    return {"model": model, "inputs": x(512).half(), "loss": lambda out: (out.float() * wanted).sum()}


def far_up(count):
    """`count` of 4096 activations are close to the largest number of float16."""
    model = edited(nn.Sequential(nn.Linear(32, 4096)), lambda m: m[0].bias[: int(count)].fill_(2e4)).half()
    return {"model": model, "inputs": x().half(), "loss": lambda out: out.float().mean()}


def normed_chaos(gain):
    """Batch normalisation before every tanh, whose argument has the std `gain`: gradients grow towards the input."""
    model = net(nn.Tanh, depth=9, norm=nn.BatchNorm1d)
    return case(edited(model, lambda m: [n.weight.fill_(gain) for n in m if isinstance(n, nn.BatchNorm1d)]))


def read_large(factor):
    """A recurrence of small matrices that reads an input `factor` times unit scale."""
    given = recurrence(nn.LSTM, 0.05)
    return {**given, "inputs": factor * given["inputs"]}


def gated(gate, bias, std=0.1):
    """An LSTM with a large recurrent matrix, one gate of which has a bias."""
    given = recurrence(nn.LSTM, std)
    with torch.no_grad():
        given["model"][0].bias_hh_l0[64 * gate : 64 * (gate + 1)] = bias
    return given


def grows(factor):
    """A ReLU state that grows by `factor` over 25 steps."""
    given = recurrence(nn.RNN, 1.0, nonlinearity="relu")
    nn.init.orthogonal_(given["model"][0].weight_hh_l0, math.sqrt(2.0 * factor ** (2 / 50)))
    return given


class Positions(nn.Module):
    """Sine and cosine of a table of angles, added to the input."""

    def __init__(self, largest):
        super().__init__()
        self.register_buffer("angles", torch.linspace(0.0, largest, 32))
        self.head = nn.Linear(32, 10)

    def forward(self, h):
        return self.head(h + self.angles.sin())


def eps(value):
    model = init(net(depth=9), gain=0.7)
    return case(model, optimizer=torch.optim.Adam(model.parameters(), lr=1e-3, eps=value))


def outweighed(count):
    """Weights far too small, and some biases of ordinary size beside them."""
    model = init(net(depth=2), std=1e-3)
    return case(edited(model, lambda m: [layer.bias[: int(count)].fill_(0.1) for layer in (m[0], m[2])]))


def table(std):
    model = nn.Sequential(nn.Embedding(120, 32), nn.Flatten(), nn.Linear(8 * 32, 10))
    edited(model, lambda m: nn.init.normal_(m[0].weight, std=std))
    return case(model, torch.randint(0, 120, (64, 8)))


class Positioned(nn.Module):
    """Tokens, and a table of positions that is `ratio` times as large."""

    def __init__(self, ratio):
        super().__init__()
        self.tokens = nn.Embedding(120, 64)
        self.positions = nn.Parameter(torch.randn(1, 8, 64) * 0.05 * ratio)
        self.head = nn.Linear(64, 10)
        nn.init.normal_(self.tokens.weight, std=0.05)

    def forward(self, tokens):
        return self.head((self.tokens(tokens) + self.positions).mean(1))


def positions(ratio):
    return case(Positioned(ratio), torch.randint(0, 120, (64, 8)))


def normed(std):
    model = nn.Sequential(nn.Linear(32, 64), nn.LayerNorm(64, eps=1e-2), nn.ReLU(), nn.Linear(64, 10))
    return case(edited(model, lambda m: (nn.init.orthogonal_(m[0].weight.T, std), m[0].bias.zero_())))


def constant_input(changed):
    """All entries are 1 but a few of many, which differ by the smallest step of float32 that 1 has."""
    inputs = torch.ones(64, 32)
    inputs.view(-1)[: int(changed)] += 2.0**-18
    return case(net(), inputs)


def batch(size):
    return case(net(norm=nn.BatchNorm1d, depth=2), x(int(size)))


def alike(count, classes):
    """A batch of so many samples, all of class 1."""
    model = nn.Sequential(nn.Linear(32, classes))
    return case(model, x(count), torch.ones(count, dtype=torch.long))
