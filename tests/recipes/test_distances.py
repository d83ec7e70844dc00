"""Outputs that are distances from learned points: calm from the start, whatever way they are written in."""

import math

import pytest
import torch
from torch import nn

import fanin

X = torch.randn(256, 64, generator=torch.Generator().manual_seed(0))
Y = torch.randint(0, 10, (256,), generator=torch.Generator().manual_seed(1))

WAYS = {
    "one product": lambda h, m: 2 * h @ m.t() - h.pow(2).sum(-1, keepdim=True) - m.pow(2).sum(-1),
    "squared cdist": lambda h, m: -(torch.cdist(h, m) ** 2),
    "differences": lambda h, m: -((h[:, None] - m) ** 2).sum(-1),
    "differences, scaled": lambda h, m: -((h[:, None] - m) ** 2).sum(-1) / m.shape[1] ** 0.5,
    "its own factor": lambda h, m: -((h[:, None] - m) * (h[:, None] - m)).sum(-1),
    "a factor between": lambda h, m: -(2 * (h[:, None] - m)).square().sum(-1),
    "absolute": lambda h, m: -(h[:, None] - m).abs().sum(-1),
    "log of 1 + d": lambda h, m: -torch.log1p(((h[:, None] - m) ** 2).sum(-1)),
    "log softmax": lambda h, m: (-((h[:, None] - m) ** 2).sum(-1)).log_softmax(-1),
}


class Compared(nn.Module):
    """A network whose outputs are distances."""

    def __init__(self, way, size=1.0, features=32, norm=False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.way = way
        self.body = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, features))
        self.norm = nn.LayerNorm(features) if norm else nn.Identity()
        self.m = nn.Parameter(size * torch.randn(10, features))

    def forward(self, x):
        return self.way(self.norm(self.body(x)), self.m)


def spread(model):
    with torch.no_grad():
        return float(model(X).var(1).mean().sqrt())


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("features", [16, 256])
def test_the_distances_of_a_sample_have_at_most_the_std_of_outputs(name, features):
    model = Compared(WAYS[name], features=features)
    plan = fanin.plan(model, X)
    plan.apply_(model)
    large = Compared(WAYS[name], features=features)
    with torch.no_grad():  # as they were drawn before: signal and centres of rms 1
        plan.apply_(large)
        large.body[2].weight.div_(plan["body.2.weight"].std * math.sqrt(48 * 0.5))
        large.m.div_(plan["m"].std)
    assert spread(model) < 1.6
    assert (plan["body.2.weight"].rule == "before distances") is (name in ("absolute", "log of 1 + d"))
    if name != "log of 1 + d":
        assert spread(large) > 2.0 * spread(model)  # so that the bound above tells them apart


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("size", [0.1, 0.3, 1.0])
def test_a_start_is_found_for_points_of_any_size(name, size):
    model = Compared(WAYS[name], size)
    loss = nn.functional.nll_loss if name == "log softmax" else None
    plan = fanin.init_(model, X, targets=Y, loss=loss)
    assert plan["m"].initializer is not None


def test_behind_a_norm_only_the_points_are_calm():
    plan = fanin.plan(Compared(WAYS["differences"], norm=True), X)
    assert plan["body.2.weight"].rule != "before distances"
    assert plan["m"].std < 0.2


@pytest.mark.parametrize("form", range(5))
def test_distances_with_learned_scales_are_distances(form):
    class Scaled(Compared):
        def __init__(self) -> None:
            super().__init__(None)
            self.log = nn.Parameter(torch.zeros(10, 32))

        def forward(self, x):
            d, g = self.body(x)[:, None] - self.m, self.log.exp()
            return -(d * d * g, d**2 * g, (d * g) ** 2, (d / g) ** 2, d * g * d)[form].sum(-1)

    plan = fanin.plan(Scaled(), X)
    assert plan["m"].rule == "centres"
    assert plan["m"].std < 0.5
    assert plan["log"].action == "keep"


def test_points_lie_around_the_mean_of_the_signal():
    plan = fanin.plan(Compared(lambda h, m: -torch.cdist(torch.sigmoid(h), m)), X)
    law = plan["m"].initializer
    assert law.mean == pytest.approx(0.5, rel=0.02)
    assert law.std == pytest.approx(0.208, rel=0.05)  # of a logistic function of N(0, 1)
    assert fanin.plan(Compared(lambda h, m: -torch.cdist(h, m)), X)["m"].initializer.mean == 0.0


class Behind(Compared):
    """A map reads a function of the distances."""

    def __init__(self, function) -> None:
        super().__init__(lambda h, m: function(-((h[:, None] - m) ** 2).mean(-1)))
        self.out = nn.Linear(10, 3)

    def forward(self, x):
        return self.out(super().forward(x))


@pytest.mark.parametrize(
    ("function", "times"),
    [(torch.exp, 1.5), (torch.tanh, 1.0), (lambda d: d.softmax(-1), 1.0)],
    ids=["a", "b", "c"],
)
def test_the_points_of_bumps_lie_further_apart_than_the_signal(function, times):
    plan = fanin.plan(Behind(function), X)
    assert (plan["m"].rule, plan["m"].std) == ("centres", pytest.approx(times, rel=0.05))
    assert plan["body.2.weight"].rule != "before distances"


@pytest.mark.parametrize("factor", [2.0, -2.0])
def test_points_of_a_written_product_lie_where_the_signal_lies(factor):
    """|h|² - 2 h m + |m|² with the factor on the signal, whichever its sign."""
    sign = -1 if factor > 0 else 1
    way = lambda h, m: -(sign * (factor * h) @ m.t() + m.pow(2).sum(-1) + h.pow(2).sum(-1, keepdim=True))  # noqa: E731
    plan = fanin.plan(Compared(lambda h, m: way(torch.relu(h), m)), X)
    assert plan["m"].initializer.mean == pytest.approx(0.4, rel=0.05)  # of max(0, z), z normal: 1 / sqrt(2 pi)


def test_points_of_a_signal_that_never_varies_are_not_one_point():
    plan = fanin.plan(Compared(lambda h, m: -torch.cdist(1.0 + 0.0 * h, m)), X)
    assert plan["m"].initializer is None or plan["m"].std > 0.0


def test_pairs_of_features_are_no_points():
    """The square of a sum less the sum of squares counts pairs (Rendle 2010, factorization machines, eq. 5)."""

    class Pairs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor, self.head = nn.Parameter(torch.randn(64, 8)), nn.Linear(8, 10)

        def forward(self, x):
            return self.head(0.5 * ((x @ self.factor) ** 2 - (x**2) @ (self.factor**2)))

    assert fanin.plan(Pairs(), X)["factor"].rule != "centres"


@pytest.mark.parametrize("first", ["sizes", "product"])
def test_sizes_that_are_added_before_the_product_are_those_of_points(first):
    """|h s|² + |m s|² - 2 h s m s with learned scales s, in either order."""

    class Scaled(Compared):
        def __init__(self) -> None:
            super().__init__(None)
            self.log = nn.Parameter(torch.full((32,), 0.7))

        def forward(self, x):
            s = torch.exp(-self.log)
            h, m = self.body(x) * s, self.m * s
            sizes, product = (h**2).sum(1)[:, None] + (self.m * s).pow(2).sum(1), 2 * h @ m.T
            return torch.exp(-(sizes - product if first == "sizes" else -(product - sizes)) / 32)

    plan = fanin.plan(Scaled(), X)
    assert plan["m"].rule == "centres"
    assert plan["m"].std == pytest.approx(1.5 * 0.5, rel=0.05)  # of bumps, for the signal h s of rms exp(-0.7)


# ---------------------------------------------------------------------- centres laid out by their module
STEPS = torch.linspace(-2.0, 2.0, 8)
BUMPS = {
    "bumps": lambda h, m: torch.exp(-((h[..., None] - m) ** 2)),
    "hats": lambda h, m: torch.relu(1 - (h[..., None] - m).abs()),
    "knots": lambda h, m: torch.relu(h[..., None] - m),
    "turned": lambda h, m: torch.relu(m - h[..., None]),
    "ends": lambda h, m: (torch.relu(h[..., None] - m) * torch.relu(m + 1 - h[..., None])).square(),
}


class Laid(nn.Module):
    """Features of each unit's distance from centres of its own."""

    def __init__(self, way, centres) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.way, self.body, self.m = way, nn.Linear(64, 16), nn.Parameter(centres.clone())
        self.head = nn.LazyLinear(10)
        self(X)

    def forward(self, x):
        return self.head(self.way(self.body(x), self.m).flatten(1))


@pytest.mark.parametrize("name", BUMPS)
@pytest.mark.parametrize(
    "centres",
    [STEPS.repeat(16, 1), STEPS.repeat(16, 1) * torch.arange(1, 17)[:, None], torch.logspace(-1, 1, 8).repeat(16, 1)],
    ids=["alike", "steps of their own", "alike, not even"],
)
def test_centres_that_a_module_lays_out_stay(name, centres):
    assert (plan := fanin.plan(Laid(BUMPS[name], centres), X))["m"].action == "keep"
    assert "lays out" in plan["m"].reason


@pytest.mark.parametrize("name", BUMPS)
def test_centres_drawn_at_random_are_drawn_anew(name):
    centres = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
    for drawn in (centres, centres.sort(-1).values, STEPS + 0.05 * centres):
        assert fanin.plan(Laid(BUMPS[name], drawn), X)["m"].rule == "centres"


@pytest.mark.parametrize("name", BUMPS)
@pytest.mark.parametrize("centres", [STEPS, torch.logspace(-1, 1, 8)], ids=["even", "not even"])
def test_one_grid_for_all_units_stays(name, centres):
    assert fanin.plan(Laid(BUMPS[name], centres), X)["m"].action == "keep"


def test_one_number_and_a_bias_of_each_unit_are_no_grid():
    assert fanin.plan(Laid(BUMPS["knots"], torch.full((8,), 0.5)), X)["m"].action == "draw"
    assert fanin.plan(Laid(lambda h, m: torch.relu(h + m), torch.linspace(-1.0, 1.0, 16)), X)["m"].action == "draw"


def test_a_bias_of_a_map_from_one_number_is_no_grid():
    model = nn.Sequential(nn.Linear(64, 1), nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 10))
    assert fanin.plan(model, X)["1.bias"].action == "draw"


def compared(centres):
    return fanin.plan(Laid(lambda h, m: torch.exp(-(torch.cdist(h, m) ** 2) / 16), centres), X)["m"]


def test_points_of_the_whole_signal_stay_in_steps_and_not_alike():
    assert compared(STEPS[:, None].repeat(1, 16)).action == "keep"
    for alike in (torch.zeros(8, 16), torch.randn(1, 16).repeat(8, 1)):  # one point for all: units would be alike
        assert compared(alike).rule == "centres"
