"""Parts of a convolution's channels that are unlike, and numbers added to functions of several tensors."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from fanin.graph.recording.capture import capture
from fanin.moments import propagate, read_weights
from tests.selection import few

DRAWS = 12
X = torch.randn(128, 8, 8, 8, generator=torch.Generator().manual_seed(0))


def error(build, x, *, by_place=False):
    """log2 of the predicted rms of the outputs over the root mean square of several draws."""
    squares = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        model = build()
        squares.append(float(model(x).detach().square().mean()))
    graph = capture(model, x)
    made = propagate(graph, read_weights(model), by_place=by_place)[graph.outputs[0].value].moments
    return float(np.log2(made.rms) - 0.5 * np.log2(np.mean(squares)))


class Halves(nn.Module):
    """A convolution whose channels are two maps: one with a bias of its own, one of another size; one is read."""

    def __init__(self, which, cut, size=1.0, bias=2.0, dims=2):
        super().__init__()
        self.which, self.cut = which, cut
        self.map = (nn.Conv1d, nn.Conv2d)[dims - 1](8, 64, 3, padding=1)
        nn.init.normal_(self.map.weight, std=(8 * 3**dims) ** -0.5)
        with torch.no_grad():
            self.map.weight[32:] *= size
            self.map.bias[:32], self.map.bias[32:] = 0.0, bias

    def forward(self, x):
        return self.cut(self.map(x))[self.which]


CUTS = {
    "chunk": lambda h: h.chunk(2, 1),
    "split": lambda h: h.split(32, 1),
    "tensor_split": lambda h: h.tensor_split(2, 1),
    "narrow": lambda h: (h.narrow(1, 0, 32), h.narrow(1, 32, 32)),
}


@pytest.mark.parametrize(("cut", "which", "dims"), few(list(itertools.product(CUTS, (0, 1), (1, 2))), every=2))
def test_a_part_of_a_convolutions_channels_has_its_own_bias_and_size(cut, which, dims):
    x = X if dims == 2 else X.flatten(2)
    assert abs(error(lambda: Halves(which, CUTS[cut], size=0.3, dims=dims), x)) < 0.06


def test_parts_of_one_law_are_as_all_channels_are():
    assert abs(error(lambda: Halves(0, CUTS["chunk"], bias=0.0), X)) < 0.06


class Product(Halves):
    """The two maps multiplied: one of them is nearly its bias."""

    def forward(self, x):
        a, b = self.cut(self.map(x))
        return a * b


def test_a_product_with_a_bias_is_no_larger_where_the_signal_is():
    inside = torch.full((8, 8), 0.1)
    inside[2:-2, 2:-2] = 1.0
    found = error(lambda: Product(0, CUTS["chunk"], size=0.05, bias=1.0), X * inside, by_place=True)
    assert abs(found) < 0.1


class Hats(nn.Module):
    """Hat functions around a grid, of a sum of two maps."""

    def __init__(self, function):
        super().__init__()
        self.function, self.one, self.two = function, nn.Linear(64, 64), nn.Linear(64, 64)
        self.register_buffer("grid", torch.linspace(-2, 2, 7))
        for layer in (self.one, self.two):
            nn.init.normal_(layer.weight, std=0.5**0.5 / 8)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        return self.function((self.one(x) + self.two(x))[..., None] - self.grid)


@pytest.mark.parametrize(
    "function",
    [
        lambda u: torch.relu(1 - 1.5 * u.abs()),
        lambda u: torch.relu(1 - u.square()),
        lambda u: (2.0 - u.abs()).clamp(min=0.0).square(),
        lambda u: torch.tanh(3.0 * u.abs() - 1.0),
        lambda u: torch.exp(-(1.0 + u.square())),
    ],
)
def test_a_number_added_to_a_function_of_several_tensors_leaves_it_one(function):
    x = torch.randn(256, 64, generator=torch.Generator().manual_seed(1))
    assert abs(error(lambda: Hats(function), x)) < 0.06
