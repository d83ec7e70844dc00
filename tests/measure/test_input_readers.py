"""An input is judged as the first weights read it: after a division in the model, apart from what joins it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

import fanin


class Behind(nn.Module):
    """A small network behind a function of its inputs."""

    def __init__(self, function, first=None):
        super().__init__()
        torch.manual_seed(0)
        self.function, self.first = function, first or nn.Identity()
        self.net = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 3))

    def forward(self, *inputs):
        return self.net(self.first(self.function(*inputs)))


class RMSNorm(nn.Module):
    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


class Denoiser(nn.Module):
    """Karras et al. 2022: the noisy input is divided by its std, and the noise level goes in as a logarithm."""

    def __init__(self, divides=True):
        super().__init__()
        torch.manual_seed(0)
        self.noise, self.inner, self.out = nn.Linear(1, 64), nn.Linear(20, 64), nn.Linear(64, 20)
        self.divides = divides

    def forward(self, x, sigma):
        sigma = sigma[:, None]
        total = (sigma**2 + 0.25).sqrt()
        read = x / total if self.divides else x
        hidden = self.out(torch.relu(self.inner(read) + self.noise(sigma.log() / 4)))
        return 0.25 / total**2 * x + sigma * 0.5 / total * hidden


def named(model, *inputs):
    report = fanin.check(model, inputs, predict=False, trial=False)
    return [f.paths[0] for f in report.findings if f.code == "D101" and f.severity != "note"]


PIXELS = torch.arange(64 * 20).remainder(256).reshape(64, 20).float()
X, LEVELS = torch.randn(64, 20, generator=torch.Generator().manual_seed(1)), torch.linspace(1, 80, 64)


def plain(x):
    return x


@pytest.mark.parametrize(
    ("function", "first", "x", "flagged"),
    [
        (lambda x: x / 255, None, PIXELS, False),
        (lambda x: x * (1 / 255), None, PIXELS, False),
        (lambda x: x / 127.5 - 1, None, PIXELS, False),
        (plain, None, PIXELS, True),
        (lambda x: x / 255, None, PIXELS / 255, True),
        (lambda x: (x - x.mean()) / x.std(), None, 1000 * X, False),
        (functional.normalize, None, 1000 * X, False),
        (lambda x: functional.layer_norm(x, (20,)), None, 1000 * X, False),
        (lambda x: functional.rms_norm(x, (20,)), None, 1000 * X, False),
        (lambda x: functional.instance_norm(x[None])[0], None, 1000 * X, False),
        (plain, RMSNorm(), 1000 * X, False),
        (plain, nn.LayerNorm(20), 0.01 * X, False),
        (plain, nn.GroupNorm(4, 20), 1000 * X, False),
        (plain, nn.BatchNorm1d(20), 1000 * X, False),
        (functional.logsigmoid, None, 1000 * X, True),
        (functional.logsigmoid, None, X, False),
        (lambda x: 3 * x, None, 1000 * X, True),
    ],
)
def test_an_input_is_judged_behind_what_the_model_divides_it_by(function, first, x, flagged):
    assert named(Behind(function, first), x) == (["inputs[0]"] if flagged else [])


def test_an_input_that_the_signal_is_divided_by_has_no_scale_of_its_own():
    spread = 1000 + LEVELS[:, None]
    assert named(Behind(lambda x, s: x / s), 1000 * X, spread) == []
    assert named(Behind(lambda x, s: x + 0 * s), 1000 * X, spread)[:1] == ["inputs[0]"]
    assert named(Denoiser(), X * LEVELS[:, None], LEVELS) == []
    assert named(Denoiser(divides=False), X * LEVELS[:, None], LEVELS) == ["inputs[0]"]


@pytest.mark.parametrize(("size", "flagged"), [(1.0, False), (1000.0, True)])
def test_inputs_side_by_side_keep_their_own_sizes(size, flagged):
    joined = Behind(lambda x, t: torch.cat([x[:, 2:], t], 1))
    assert named(joined, X, size * X[:, :2].abs()) == (["inputs[1]"] if flagged else [])


class Masked(nn.Module):
    """A hidden signal, times an input."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.out = nn.Linear(20, 64), nn.Linear(64, 3)

    def forward(self, x, mask):
        return self.out(torch.relu(self.inner(x)) * mask)


@pytest.mark.parametrize(("weight", "size", "flagged"), [(1, 1, []), (1000, 1, []), (1, 1000, ["inputs[1]"])])
def test_an_input_is_not_blamed_for_the_size_of_what_it_meets(weight, size, flagged):
    model = Masked()
    model.inner.weight.data.mul_(weight)
    assert named(model, X, size * torch.rand(64, 64)) == flagged


class Scaled(nn.Module):
    """A number for each feature, learned, before the first map."""

    def __init__(self, size):
        super().__init__()
        torch.manual_seed(0)
        self.weight, self.bias = nn.Parameter(torch.full((20,), size)), nn.Parameter(torch.zeros(20))
        self.out = nn.Linear(20, 3)

    def forward(self, x):
        return self.out(x * self.weight + self.bias)


@pytest.mark.parametrize(("weight", "size", "flagged"), [(50.0, 1.0, False), (1e-3, 1000.0, True), (1.0, 1.0, False)])
def test_an_input_is_not_blamed_for_the_parameter_that_reads_it(weight, size, flagged):
    assert named(Scaled(weight), size * X) == (["inputs[0]"] if flagged else [])
