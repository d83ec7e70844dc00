"""Steps of a loop: what the same weights make of alike inputs points the same way, and sums of it are larger."""

import math

import pytest
import torch
from torch import nn

import fanin
from fanin.graph.recording.capture import capture
from fanin.moments import propagate, read_weights

DRAWS, STEPS, WIDTH = 6, 6, 96
ALIKE = 0.8


def rows(alike: float = ALIKE) -> torch.Tensor:
    """Rows of this correlation with one another."""
    generator = torch.Generator().manual_seed(0)
    common, own = torch.randn(64, 1, 24, generator=generator), torch.randn(64, STEPS, 24, generator=generator)
    return math.sqrt(alike) * common + math.sqrt(1 - alike) * own


class Loop(nn.Module):
    """h <- step(h, W row, U h)."""

    def __init__(self, step) -> None:
        super().__init__()
        self.step, self.read, self.hold = step, nn.Linear(24, 2 * WIDTH), nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        nn.init.normal_(self.read.weight, std=1 / math.sqrt(24))
        nn.init.zeros_(self.read.bias)
        nn.init.normal_(self.hold.weight, std=0.7 / math.sqrt(WIDTH))

    def forward(self, x):
        h = x.new_zeros(len(x), WIDTH)
        for row in x.unbind(1):
            h = self.step(h, *(self.read(row) + self.hold(h)).chunk(2, -1))
        return h


class Summed(nn.Module):
    """One map of every row, with or without a function, summed."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function, self.read = function, nn.Linear(24, WIDTH, bias=False)
        nn.init.normal_(self.read.weight, std=1 / math.sqrt(24))

    def forward(self, x):
        first, *rest = (self.function(self.read(row)) for row in x.unbind(1))
        for one in rest:
            first = first + one
        return first


class Shared(nn.Module):
    """Steps of one residual branch."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(24, 24)
        nn.init.normal_(self.inner.weight, std=1.5 / math.sqrt(24))

    def forward(self, x):
        h = x[:, 0]
        for _ in range(STEPS):
            h = h + 0.5 * torch.tanh(self.inner(h))
        return h


def leaky(h, a, b):
    return 0.7 * h + 0.3 * torch.tanh(a)


def gated(h, a, b):
    return torch.sigmoid(b) * h + (1 - torch.sigmoid(b)) * torch.tanh(a)


def lstm(h, a, b):
    return 0.8 * h - torch.sigmoid(b) * torch.tanh(a)


def error(build, x, *, by_place: bool) -> float:
    """log2 of the predicted rms over the root mean square of several draws."""
    found = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        model = build()
        with torch.no_grad():
            found.append(float(model(x).square().mean()))
    graph = capture(model, x)
    made = propagate(graph, read_weights(model), by_place=by_place)[graph.outputs[0].value].moments
    return math.log2(made.rms) - 0.5 * math.log2(sum(found) / DRAWS)


@pytest.mark.parametrize(
    ("build", "near", "far"),
    [
        (lambda: Summed(nn.Identity()), 0.1, 0.5),
        (lambda: Summed(torch.tanh), 0.1, 0.5),
        (lambda: Summed(torch.relu), 0.1, 0.1),
        (lambda: Loop(leaky), 0.12, 0.3),
        (lambda: Loop(gated), 0.12, 0.2),
        (lambda: Loop(lstm), 0.12, 0.3),
    ],
    ids=["sum", "tanh", "relu", "leaky", "gated", "lstm"],
)
def test_steps_that_read_alike_rows_add_up(build, near, far):
    x = rows()
    assert abs(error(build, x, by_place=True)) < near
    assert error(build, x, by_place=False) < -far


def test_steps_that_read_rows_of_no_correlation_do_not():
    x = rows(0.0)
    assert abs(error(lambda: Summed(torch.tanh), x, by_place=True)) < 0.1


def test_steps_of_one_branch_point_the_same_way():
    assert abs(error(Shared, rows(), by_place=True)) < 0.2 < abs(error(Shared, rows(), by_place=False))


@pytest.mark.parametrize(
    "length",
    [
        lambda v: v @ v,
        lambda v: v.dot(v),
        lambda v: torch.einsum("i,i->", v, v),
        lambda v: (v * v).sum(),
        lambda v: (v[None] @ v)[0],
    ],
    ids=["product", "dot", "einsum", "sum", "row and vector"],
)
def test_a_tensor_that_meets_itself_gives_a_sum_of_squares(length):
    """Householder reflections by vectors of any length keep the length of what they turn (Householder 1958)."""

    class Turned(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.v, self.out = torch.nn.Parameter(torch.randn(4, 64)), torch.nn.Linear(64, 10)

        def forward(self, x):
            for v in self.v:
                x = x - 2 * (x @ v)[:, None] * v / length(v)
            return self.out(x)

    plan = fanin.plan(Turned(), torch.randn(128, 64, generator=torch.Generator().manual_seed(0)))
    # each predicted to add at most its own size: (1 + 4 / 64)^4 = 1.27 of the square; independent operands gave 1e9
    assert 0.8 / 8 < plan["out.weight"].std < 1.02 / 8
