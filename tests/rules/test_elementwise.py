"""P502 of parameters that multiply a signal number by number: score vectors of an attention, scales of features."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

import fanin


class Scored(nn.Module):
    """Additive attention: each pair of samples is scored by two vectors, in one of the ways that this is written."""

    def __init__(self, form):
        super().__init__()
        self.form, self.inner, self.out = form, nn.Linear(16, 32), nn.Linear(32, 3)
        self.source, self.target = (nn.Parameter(torch.randn(4, 8) / 8**0.5) for _ in range(2))

    def scores(self, z, vector):
        if self.form == "einsum":
            return torch.einsum("nho,ho->nh", z, vector)
        return (z * vector).sum(-1) if self.form == "sum" else torch.sum(input=vector[None] * z, dim=(2,))

    def forward(self, x):
        z = self.inner(x).view(len(x), 4, 8)
        e = self.scores(z, self.source)[:, None] + self.scores(z, self.target)[None]
        mixed = torch.einsum("mnh,nho->mho", functional.leaky_relu(e, 0.2).softmax(1), z)
        return self.out(functional.elu(mixed.flatten(1)))


class Pooled(nn.Module):
    """Attention pooling with one vector, which is multiplied as a matrix is."""

    def __init__(self):
        super().__init__()
        self.inner, self.vector, self.out = nn.Linear(16, 16), nn.Parameter(torch.randn(16) / 4), nn.Linear(16, 3)

    def forward(self, x):
        tokens = x[:, None] + torch.arange(4.0)[:, None] / 4
        weights = (torch.tanh(self.inner(tokens)) @ self.vector).softmax(1)
        return self.out((weights[..., None] * tokens).sum(1))


class Tokens(nn.Module):
    """FT-Transformer's tokens (Gorishniy et al. 2021): each feature times a vector, plus a bias, beside one for all."""

    def __init__(self, form):
        super().__init__()
        self.form, self.all = form, nn.Parameter(torch.randn(32) / 32**0.5)
        self.weight, self.bias = (nn.Parameter(torch.randn(16, 32) / 32**0.5) for _ in range(2))
        self.norm, self.mix, self.out = nn.LayerNorm(32), nn.Linear(32, 32), nn.Linear(32, 3)

    def forward(self, x):
        if self.form == "mul":
            tokens = self.weight * x[..., None] + self.bias
        elif self.form == "einsum":
            tokens = torch.einsum("nf,fd->nfd", x, self.weight) + self.bias
        else:
            tokens = torch.addcmul(self.bias, x[..., None], self.weight)
        tokens = torch.cat([self.all.expand(len(x), 1, -1), tokens], 1)
        return self.out((tokens + torch.relu(self.mix(self.norm(tokens)))).mean(1))


class Waves(nn.Module):
    """Learned frequencies of any size (Gorishniy et al. 2022), whose sines have a size of their own."""

    def __init__(self):
        super().__init__()
        self.frequencies, self.mix, self.out = (
            nn.Parameter(10 * torch.randn(16, 8)),
            nn.Linear(16, 32),
            nn.Linear(32, 3),
        )

    def forward(self, x):
        angles = 2 * torch.pi * self.frequencies * x[..., None]
        return self.out(torch.relu(self.mix(torch.cat([angles.cos(), angles.sin()], -1))).mean(1))


class Summed(nn.Module):
    """Features that are summed with a weight of one each."""

    def __init__(self):
        super().__init__()
        self.inner, self.ones, self.out = nn.Linear(16, 256), nn.Parameter(torch.ones(256)), nn.Linear(1, 3)

    def forward(self, x):
        return self.out((torch.tanh(self.inner(x)) * self.ones).sum(-1, keepdim=True) / 16)


def found(build, change=None):
    torch.manual_seed(0)
    model = build()
    if change is not None:
        with torch.no_grad():
            change(model)
    report = fanin.check(model, torch.randn(48, 16), targets=torch.randint(0, 3, (48,)), predict=False, trial=False)
    return [f for f in report.findings if f.severity != "note"]


CASES = [
    *((lambda f=f: Scored(f), name, 100) for f in ("sum", "dim", "einsum") for name in ("source", "target")),
    (Pooled, "vector", 100),
    *((lambda f=f: Tokens(f), name, 50) for f in ("mul", "einsum", "addcmul") for name in ("weight", "bias")),
]


@pytest.mark.parametrize(("build", "name", "times"), CASES)
def test_a_parameter_that_multiplies_number_by_number_is_named_with_its_ratio(build, name, times):
    first = found(build, lambda m: getattr(m, name).mul_(times))[0]
    assert (first.code, first.paths[0]) == ("P502", name)
    assert times / 2 < first.value < 2 * times
    assert f"{first.value:.3g} times" in first.message


@pytest.mark.parametrize("build", [*dict.fromkeys(c[0] for c in CASES), Waves, Summed])
def test_nothing_is_said_of_one_of_ordinary_size(build):
    assert found(build) == []


def test_tokens_and_their_biases_that_are_both_too_large_are_told_by_the_one_beside_them():
    first = found(lambda: Tokens("mul"), lambda m: (m.weight.mul_(50), m.bias.mul_(50)))[0]
    assert (first.code, first.paths[0]) == ("P502", "weight")
    assert "the rms of all" in first.message
