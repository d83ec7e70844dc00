"""Scales behind a norm: one where that is usual, and as found where the module chose them."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import fanin

X = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
one = F.normalize


def length(z):
    return z / z.norm(dim=-1, keepdim=True)


class Scaled(nn.Module):
    def __init__(self, forward, scale) -> None:
        super().__init__()
        self.a, self.p, self.t = nn.Linear(32, 16), nn.Parameter(torch.randn(10, 16)), nn.Parameter(torch.tensor(scale))
        self.run = forward

    def forward(self, x):
        return self.run(self.a(x), self.p, self.t)


CHOSEN = {
    "exp of a temperature": (lambda z, p, t: t.exp() * one(z) @ one(p).T, math.log(1 / 0.07)),
    "temperature": (lambda z, p, t: (t * one(z)) @ one(p).T, 10.0),
    "inverse temperature": (lambda z, p, t: (one(z) / t) @ one(p).T, 0.1),
    "temperature behind the product": (lambda z, p, t: t * (one(z) @ one(p).T), 10.0),
    "softplus of a temperature": (lambda z, p, t: (F.softplus(t) * one(z)) @ one(p).T, 10.0),
    "length sqrt(d)": (lambda z, p, t: t * length(z) @ p.T, 4.0),
    "length sqrt(d), each unit": (lambda z, p, t: t * length(z) @ p.T, [4.0] * 16),
    "exp of a norm's scale": (lambda z, p, t: t.exp() * F.layer_norm(z, (16,)) @ p.T, [0.0] * 16),
    "exp of a branch's scale": (lambda z, p, t: (z + t.exp() * F.layer_norm(z @ p.T @ p, (16,))) @ p.T, [-2.0] * 16),
}
USUAL = {
    "layer norm": (lambda z, p, t: F.layer_norm(z, (16,), t) @ p.T, [0.5] * 16, 1.0),
    "layer norm, 1 + w": (lambda z, p, t: (1 + t) * F.layer_norm(z, (16,)) @ p.T, [0.5] * 16, 0.0),
    "written out": (lambda z, p, t: t * (z - z.mean(-1, True)) / z.std(-1, keepdim=True) @ p.T, [0.5] * 16, 1.0),
    "rms norm": (lambda z, p, t: F.rms_norm(z, (16,), t) @ p.T, [1.0] * 16, 1.0),
}


@pytest.mark.parametrize("name", CHOSEN)
@pytest.mark.parametrize("recipe", ["auto", "classic"])
def test_a_scale_that_the_module_chose_stays(name, recipe):
    model = Scaled(*CHOSEN[name])
    before = model.t.detach().clone()
    plan = fanin.init_(model, X, recipe=recipe, trial=False)
    assert plan["t"].action == "keep"
    assert torch.equal(model.t.detach(), before)


@pytest.mark.parametrize("name", USUAL)
def test_a_usual_scale_starts_at_one(name):
    run, found, wanted = USUAL[name]
    model = Scaled(run, found)
    fanin.init_(model, X, trial=False)
    assert torch.equal(model.t.detach(), torch.full((16,), wanted))


class Divided(nn.Module):
    """x / sqrt(b² + c² * x²), whose constant is a bias by its place (Balle et al. 2016, arXiv 1511.06281, eq. 3)."""

    def __init__(self, bias=lambda b: b**2) -> None:
        super().__init__()
        self.a, self.out, self.bias = nn.Linear(32, 16), nn.Linear(16, 4), bias
        self.c, self.b = nn.Parameter(0.1 * torch.eye(16)), nn.Parameter(torch.ones(16))

    def forward(self, x):
        h = self.a(x)
        return self.out(h / torch.sqrt(F.linear(h**2, self.c**2 + 1e-6, self.bias(self.b)) + 1e-6))


def test_what_a_function_makes_a_bias_of_stays():
    assert fanin.plan(Divided(), X)["b"].action == "keep"
    assert fanin.plan(Divided(bias=lambda b: 2 * b), X)["b"].action == "draw"
