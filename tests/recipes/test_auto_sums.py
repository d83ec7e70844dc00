"""What `auto` keeps of tables and centres, how it takes sizes that theory does not know, and sums over positions."""

import math

import pytest
import torch
from torch import nn

import fanin
from tests.selection import few


class Added(nn.Module):
    """A table that is added to a signal, as it is or through a function."""

    def __init__(self, function):
        super().__init__()
        self.function, self.first, self.head = function, nn.Linear(16, 24), nn.Linear(24, 4)
        self.table = nn.Parameter(torch.randn(6, 24))

    def forward(self, x):
        h = self.first(x)[:, None] + self.function(self.table)
        return self.head(torch.tanh(h).mean(1))


class Repeated(Added):
    """The same, added to a signal that has the table's axes."""

    def forward(self, x):
        h = self.first(x)[:, None].expand(-1, 6, -1) + self.function(self.table)
        return self.head(torch.tanh(h).mean(1))


FUNCTIONS = ("softmax", "log_softmax", "exp", "softplus", "tanh")
SHAPED = [(name, build) for name in FUNCTIONS for build in (Added, Repeated)]


@pytest.mark.parametrize(("name", "build"), few(SHAPED, ("softmax", Repeated), *SHAPED[::2]))
def test_a_table_that_a_function_shapes_before_it_is_added_is_kept(build, name):
    functions = {"exp": torch.exp, "softplus": nn.functional.softplus, "tanh": torch.tanh}
    function = functions.get(name, lambda t: getattr(t, name)(-1))
    a = fanin.plan(build(function), torch.randn(32, 16))["table"]
    assert a.action == "keep"
    assert f"made by {name} before it is added" in a.reason
    assert "made by" not in fanin.plan(build(lambda t: t), torch.randn(32, 16))["table"].reason


class Bumps(nn.Module):
    """Every connection is a bump with a centre of its own."""

    def __init__(self, centres):
        super().__init__()
        self.centres, self.weights = nn.Parameter(centres), nn.Parameter(torch.randn(8, 16) / 4)
        self.size, self.head = nn.Parameter(torch.ones(8, 16)), nn.Linear(8, 4)

    def forward(self, x):
        u = (x[:, None] - self.centres) / self.size
        return self.head(((1 - u.square()) * torch.exp(-u.square() / 2) * self.weights).sum(-1))


@pytest.mark.parametrize(("value", "action"), [(0.0, "keep"), (1.5, "keep"), (None, "draw")])
def test_centres_that_are_alike_for_all_units_stay_and_others_are_as_large_as_the_signal(value, action):
    centres = torch.randn(8, 16) if value is None else torch.full((8, 16), value)
    a = fanin.plan(Bumps(centres), 3.0 * torch.randn(256, 16))["centres"]
    assert (a.action, a.rule) == (action, "designed" if action == "keep" else "centres")
    assert a.std == pytest.approx(3.0, rel=0.05) if action == "draw" else a.initializer is None


class Sums(nn.Module):
    """A network of sums over positions."""

    def __init__(self, function=torch.relu, mean=False, after=1):
        super().__init__()
        self.function, self.mean, self.each = function, mean, nn.Linear(12, 32)
        self.after, self.head = nn.ModuleList(nn.Linear(32, 32) for _ in range(after)), nn.Linear(32, 4)

    def forward(self, x):
        h = torch.relu(self.each(x))
        h = h.mean(1) if self.mean else h.sum(1)
        for layer in self.after:
            h = self.function(layer(h))
        return self.head(h)


def stds(model, positions):
    plan = fanin.plan(model, torch.randn(64, positions, 12, generator=torch.Generator().manual_seed(0)))
    return plan["after.0.weight"], plan["head.weight"]


@pytest.mark.parametrize("positions", [4, 16, 64])
def test_the_map_behind_a_sum_over_positions_is_as_large_as_behind_their_mean_and_the_head_takes_it_back(positions):
    torch.manual_seed(0)
    of_sum, head = stds(Sums(), positions)
    of_mean, usual = stds(Sums(mean=True), positions)
    assert of_sum.rule == "summed"
    assert of_sum.std == pytest.approx(of_mean.std, rel=1e-3)
    assert head.std == pytest.approx(usual.std / positions, rel=1e-3)


@pytest.mark.parametrize(
    ("model", "positions"),
    [(Sums(mean=True), 16), (Sums(torch.tanh), 16), (Sums(nn.functional.gelu), 16), (Sums(after=2), 16), (Sums(), 3)],
)
def test_other_maps_behind_positions_follow_the_forward_rule(model, positions):
    assert stds(model, positions)[0].rule == "forward"


class Unknown(nn.Module):
    """A signal whose size theory does not know: a quotient of exponentials."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.out, self.head = (nn.Linear(32, 32) for _ in range(4))
        self.register_buffer("directions", torch.randn(24, 32))

    def features(self, x):
        return torch.exp(x @ self.directions.t() / 2 - x.square().sum(-1, keepdim=True) / 8)

    def forward(self, x):
        q, k = self.features(self.q(x)), self.features(self.k(x))
        h = q @ (k.transpose(1, 2) @ x) / (q @ k.sum(1)[..., None])
        return self.head(torch.relu(self.out(h)).mean(1))


def test_a_size_that_theory_does_not_know_is_assumed_to_be_one_and_the_plan_says_so():
    torch.manual_seed(0)
    model, x = Unknown(), torch.randn(32, 8, 32)
    plan = fanin.plan(model, x)
    assert plan["out.weight"].predicted_se[0] > 1.0
    assert plan["out.weight"].std == pytest.approx(1.0 / math.sqrt(32))
    assert any("assumed" in s.formula for s in plan["out.weight"].steps)
    y = torch.randint(0, 32, (32,))
    assert fanin.init_(model, x, targets=y)["out.weight"].action == "draw"


class Calibrated(nn.Module):
    """Each feature goes through a line between keypoints, whose values are learned (Gupta et al. 2016, JMLR 17, 3)."""

    def __init__(self, values) -> None:
        super().__init__()
        self.values, self.out = nn.Parameter(values), nn.Linear(8, 4)

    def forward(self, x):
        near = torch.relu(1 - (x[..., None] - torch.linspace(-2, 2, 6)).abs() / 0.8)
        return self.out((near * self.values).sum(-1))


@pytest.mark.parametrize(
    ("values", "action"),
    [
        (torch.linspace(0, 1, 6).repeat(8, 1), "keep"),
        (torch.linspace(0, 1, 6).flip(0) * torch.rand(8, 1) + 1, "keep"),
        (torch.rand(8, 6, generator=torch.Generator().manual_seed(0)), "draw"),
    ],
    ids=["rising", "falling", "random"],
)
def test_the_ramps_of_calibrators_stay(values, action):
    a = fanin.plan(Calibrated(values), torch.randn(64, 8))["values"]
    assert a.action == action
    assert ("ramp" in a.reason) == (action == "keep")


class Memory(nn.Module):
    """A linear memory whose state also drives it, by a factor that starts at zero (Voelker et al. 2019, LMU)."""

    def __init__(self) -> None:
        super().__init__()
        self.reads, self.state, self.out = nn.Linear(4, 1), nn.Parameter(torch.zeros(6)), nn.Linear(6, 3)
        self.register_buffer("keeps", 0.9 * torch.linalg.qr(torch.randn(6, 6))[0])

    def forward(self, x):
        m = x.new_zeros(len(x), 6)
        for step in x.unbind(1):
            u = self.reads(step) + (m * self.state).sum(-1, keepdim=True)
            m = m @ self.keeps.T + u
        return self.out(m)


def test_zeros_that_a_recurrence_applies_to_its_state_stay():
    assert fanin.plan(Memory(), torch.randn(32, 8, 4))["state"].action == "keep"


class Squeezed(nn.Module):
    """A channel gate behind a norm: the means over places of a signal around zero are small by chance."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.squeeze, self.excite, self.head = nn.Linear(16, 4), nn.Linear(4, 16), nn.Linear(16, 4)

    def forward(self, x):
        h = self.norm(self.first(x))
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(h.mean((2, 3))))))
        return self.head(torch.relu(h * gate[..., None, None]).mean((2, 3)))


def test_a_channel_gate_is_not_scaled_up_for_means_that_are_small_by_chance():
    x = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    plan = fanin.plan(Squeezed(), x)
    assert plan["squeeze.weight"].std == pytest.approx(0.5)  # 1 / sqrt(16 x 0.25)
    assert plan["excite.weight"].std <= 1.0
    assert any("means over places" in s.formula for s in plan["squeeze.weight"].steps)
    assert not any("means over places" in s.formula for s in plan["first.weight"].steps)
