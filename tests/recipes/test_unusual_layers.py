"""Bags of rows, modulated signals, products of parameters, additive attention scores, distances from centres."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import fanin
from fanin.graph.ir import Graph
from fanin.graph.recording.capture import capture
from fanin.graph.roles.label import roles
from fanin.initializers import Ones, PerPart, Zeros
from fanin.recipes.auto.film import _is_designed
from fanin.recipes.engine.modulation import Modulator, Stretch
from tests.selection import few

WIDE = 16


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def whole(high, *shape):
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(0))


def planned(model, *inputs):
    return fanin.plan(model, inputs).assignments


# ---------------------------------------------------------------------- bags
class Bag(nn.Module):
    def __init__(self, *, per_bag=None, **options):
        super().__init__()
        self.table, self.out, self.per_bag = nn.EmbeddingBag(40, WIDE, **options), nn.Linear(WIDE, 3), per_bag

    def forward(self, ids, weights=None):
        if self.per_bag:
            return self.out(self.table(ids.flatten(), torch.arange(0, ids.numel(), self.per_bag)))
        return self.out(self.table(ids, per_sample_weights=weights))


@pytest.mark.parametrize(
    ("model", "inputs", "rows"),
    [
        (lambda: Bag(mode="sum"), (whole(40, 8, 9),), 9),
        (lambda: Bag(mode="sum", per_bag=12), (whole(40, 8, 9),), 12),
        (lambda: Bag(mode="mean"), (whole(40, 8, 9),), 1),
        (lambda: Bag(mode="sum"), (whole(40, 8, 9), torch.full((8, 9), 2.0)), 36),
        (lambda: Bag(mode="sum", padding_idx=0), (torch.where(torch.arange(9) < 4, 1, 0).expand(8, 9),), 4),
    ],
    ids=["sum", "offsets", "mean", "weighted", "padded"],
)
def test_a_bag_that_sums_has_small_rows(model, inputs, rows):
    table = planned(model(), *inputs)["table.weight"]
    assert table.std == pytest.approx(1.0 / math.sqrt(rows))
    assert ("summed" in table.reason) == (rows > 1)


# ---------------------------------------------------------------------- modulations
class Film(nn.Module):
    """relu(scale * h + shift), both made from a condition by one map or two, or read from tables."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.a, self.cond, self.out = nn.Linear(WIDE, WIDE), nn.Linear(4, 8), nn.Linear(WIDE, 3)
        make = (lambda n: nn.Embedding(5, n)) if "table" in kind else (lambda n: nn.Linear(8, n))
        self.both = make(2 * WIDE) if "two" not in kind else None
        self.scale, self.shift = (make(WIDE), make(WIDE)) if "two" in kind else (None, None)

    def forward(self, x, c):
        c = c if "table" in self.kind else torch.relu(self.cond(c))
        if "slices" in self.kind:
            made = self.both(c)
            shift, scale = made[:, :WIDE], made[:, WIDE:]
        elif "rows" in self.kind:
            scale, shift = self.both(c).view(-1, 2, WIDE).unbind(1)
        else:
            scale, shift = (self.scale(c), self.shift(c)) if "two" in self.kind else self.both(c).chunk(2, -1)
        scale = 1 + scale if "plus" in self.kind else scale
        h = self.a(x)
        return self.out(torch.relu(torch.addcmul(shift, h, scale) if "fused" in self.kind else h * scale + shift))


class Plain(nn.Module):
    def __init__(self, film):
        super().__init__()
        self.a, self.out = film.a, film.out

    def forward(self, x):
        return self.out(torch.relu(self.a(x)))


@pytest.mark.parametrize(
    "kind",
    [
        "one map",
        "plus",
        "two maps",
        "two maps plus",
        "table",
        "two tables",
        "table plus",
        "slices",
        "rows",
        "fused plus",
    ],
)
def test_a_modulation_starts_as_none(kind):
    model, x = Film(kind), drawn(6, WIDE)
    c = whole(5, 6) if "table" in kind else drawn(6, 4)
    fanin.init_(model, (x, c), trial=False)
    assert torch.allclose(model(x, c), Plain(model)(x), atol=1e-6)


def test_a_table_that_its_module_set_as_a_scale_stays():
    model = Film("two tables")
    with torch.no_grad():
        model.scale.weight.normal_(1.0, 0.02)
        model.shift.weight.zero_()
    found = planned(model, drawn(6, WIDE), whole(5, 6))
    assert {found[n].action for n in ("scale.weight", "shift.weight")} == {"keep"}
    assert "as its module set them" in found["scale.weight"].reason


class Adaptive(nn.Module):
    """A residual branch with scale, shift and gate from a condition (AdaLN)."""

    def __init__(self):
        super().__init__()
        self.mod, self.norm = nn.Linear(4, 3 * WIDE), nn.LayerNorm(WIDE, elementwise_affine=False)
        self.f, self.out = nn.Linear(WIDE, WIDE), nn.Linear(WIDE, 3)

    def forward(self, x, c):
        shift, scale, gate = self.mod(c).chunk(3, -1)
        return self.out(x + gate * self.f(torch.relu(self.norm(x) * (1 + scale) + shift)))


def test_the_gate_of_a_modulated_branch_starts_open_or_stays_zero_by_design():
    model, inputs = Adaptive(), (drawn(6, WIDE), drawn(6, 4))
    found = planned(model, *inputs)
    assert found["mod.weight"].initializer == Zeros()
    assert found["mod.bias"].initializer == PerPart((Zeros(), Zeros(), Ones()))
    for parameter in model.mod.parameters():
        nn.init.zeros_(parameter)
    assert {planned(model, *inputs)[n].action for n in ("mod.weight", "mod.bias")} == {"keep"}


class Bilinear(nn.Module):
    """Gates made of the same input as what they multiply: no modulation."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.out = (nn.Linear(WIDE, WIDE) for _ in range(4))

    def forward(self, x):
        return self.out(self.a(x) * self.b(x) + self.c(x)) + self.a(x) * x


def test_a_product_of_maps_of_one_input_is_no_modulation():
    assert not {a.rule for a in planned(Bilinear(), drawn(6, WIDE)).values()} & {"modulation"}


# ---------------------------------------------------------------------- products of parameters
class Product(nn.Module):
    def __init__(self, shapes, make):
        super().__init__()
        self.factors, self.make = nn.ParameterList([nn.Parameter(drawn(*s)) for s in shapes]), make
        self.out = nn.Linear(32, 3)

    def weight(self):
        return self.make(*self.factors)

    def forward(self, x):
        return self.out(torch.relu(functional.linear(x, self.weight())))


PRODUCTS = {
    "low rank": ([(32, 3), (3, WIDE)], lambda a, b: a @ b),
    "low rank by einsum": ([(32, 3), (3, WIDE)], lambda a, b: torch.einsum("or,ri->oi", a, b)),
    "tensor train": ([(8, 4, 3), (3, 4, 4)], lambda a, b: torch.einsum("air,rbj->abij", a, b).reshape(32, WIDE)),
    "three cores": (
        [(4, 4, 3), (3, 4, 2, 3), (3, 2, 2)],
        lambda a, b, c: torch.einsum("air,rbjs,sck->abcijk", a, b, c).reshape(32, WIDE),
    ),
    "tucker": ([(32, 3), (3, 3), (3, WIDE)], lambda a, g, b: a @ g @ b),
}


@pytest.mark.parametrize("name", few(PRODUCTS, every=2))
def test_a_product_has_the_std_that_its_use_needs(name):
    sizes = []
    for seed in range(12):
        model = Product(*PRODUCTS[name])
        fanin.init_(model, drawn(6, WIDE), seed=seed, trial=False)
        sizes.append(model.weight().detach().square().mean())
    # the mean of twelve products of a few numbers each; a wrong count of paths is off by 1.7 or more
    assert float(torch.stack(sizes).mean().sqrt()) == pytest.approx(1 / math.sqrt(WIDE), rel=0.25)


# ---------------------------------------------------------------------- scores, sums, distances
class Additive(nn.Module):
    """Graph attention: scores a1 . z_i + a2 . z_j by heads."""

    def __init__(self):
        super().__init__()
        self.w, self.out = nn.Linear(WIDE, WIDE, bias=False), nn.Linear(WIDE, 3)
        self.left, self.right = nn.Parameter(torch.randn(4, 4)), nn.Parameter(torch.randn(4, 4))

    def forward(self, x):
        z = self.w(x).view(*x.shape[:-1], 4, 4)
        scores = (z * self.left).sum(-1)[:, :, None] + (z * self.right).sum(-1)[:, None]
        shares = torch.softmax(functional.leaky_relu(scores, 0.2), 2)
        return self.out(torch.einsum("bijh,bjhd->bihd", shares, z).flatten(2))


def test_additive_scores_have_rms_one_each():
    found = planned(Additive(), drawn(4, 6, WIDE))
    assert found["left"].fan_in == found["right"].fan_in == 4
    assert found["left"].std == pytest.approx(0.5, rel=0.1)
    assert found["w.weight"].rule == "first layer"


def test_a_sum_whose_factors_are_all_one_stays_one():
    model = Additive()
    nn.init.ones_(model.left)
    found = planned(model, drawn(4, 6, WIDE))
    assert (found["left"].action, found["right"].action) == ("keep", "draw")
    assert "1 everywhere" in found["left"].reason


class Mixed(nn.Module):
    """Layers mixed by the softmax of a few numbers, as ELMo mixes them: no map."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.mix = nn.Linear(WIDE, WIDE), nn.Linear(WIDE, WIDE), nn.Parameter(torch.zeros(2))

    def forward(self, x):
        both = torch.stack([self.a(x), self.b(x)])
        return (both * torch.softmax(self.mix, 0)[:, None, None]).sum(0)


def test_the_shares_of_a_mixture_stay():
    assert planned(Mixed(), drawn(6, WIDE))["mix"].action == "keep"


class Centres(nn.Module):
    def __init__(self, by_hand):
        super().__init__()
        self.centres, self.out, self.by_hand = nn.Parameter(torch.rand(9, WIDE)), nn.Linear(9, 3), by_hand

    def forward(self, x):
        far = ((x[:, None] - self.centres) ** 2).sum(-1) if self.by_hand else torch.cdist(x, self.centres).square()
        return self.out(torch.exp(-far / WIDE))


@pytest.mark.parametrize("by_hand", [False, True])
def test_centres_of_bumps_go_with_the_size_of_what_they_are_compared_with(by_hand):
    x = 3.0 * drawn(64, WIDE)
    found = planned(Centres(by_hand), x)["centres"]
    assert found.std == pytest.approx(1.5 * float(x.square().mean().sqrt()), rel=0.01)
    assert "centres of bumps" in found.reason


# ---------------------------------------------------------------------- tables of scales and shifts
SIGNS = np.tile([1.0, -1.0], (50, 4))  # of mean 0 and std 1


@pytest.mark.parametrize(
    ("scales", "shifts", "designed"),
    [
        (1.0 + 0.0 * SIGNS, 0.0 * SIGNS, True),
        (1.09 + 0.0 * SIGNS, -0.09 + 0.0 * SIGNS, True),
        (1.11 + 0.0 * SIGNS, 0.0 * SIGNS, False),
        (1.0 + 0.0 * SIGNS, -0.11 + 0.0 * SIGNS, False),
        (1.0 + 0.09 * SIGNS, 0.09 * SIGNS, True),
        (1.0 + 0.11 * SIGNS, 0.0 * SIGNS, False),
        (1.0 + 0.0 * SIGNS, 0.11 * SIGNS, False),
        (0.0 * SIGNS, 1.0 + 0.0 * SIGNS, False),
    ],
)
def test_a_table_within_a_tenth_of_scale_1_and_shift_0_is_its_authors(scales, shifts, designed):
    found = Modulator((Stretch("scale", 8), Stretch("shift", 8, start=8)))
    assert _is_designed(np.concatenate((scales, shifts), 1), found) == designed


class Mean(nn.Module):
    """A sum of numbers, each times a factor of its own."""

    def __init__(self, size):
        super().__init__()
        self.first, self.factors = nn.Linear(WIDE, size), nn.Parameter(torch.full((size,), 1.0 / size))

    def forward(self, x):
        return (torch.tanh(self.first(x)) * self.factors).sum(-1)


@pytest.mark.parametrize("size", [2, 5])
def test_two_equal_factors_of_a_sum_are_a_mean_by_design(size):
    assert planned(Mean(size), drawn(6, WIDE))["factors"].rule == "designed"


class Outer(nn.Module):
    """Layers whose weight is a Kronecker product, by torch.kron or by broadcasting."""

    def __init__(self, product, layers=3):
        super().__init__()
        self.product = product
        self.left = nn.ParameterList(nn.Parameter(torch.randn(4, 4)) for _ in range(layers))
        self.right = nn.ParameterList(nn.Parameter(torch.randn(8, 8)) for _ in range(layers))

    def forward(self, x):
        for left, right in zip(self.left, self.right, strict=True):
            x = torch.relu(nn.functional.linear(x, self.product(left, right)))
        return x


@pytest.mark.parametrize(
    "product",
    [torch.kron, lambda a, b: (a[:, None, :, None] * b[None, :, None, :]).reshape(32, 32)],
    ids=["kron", "broadcast"],
)
def test_factors_of_a_kronecker_product_make_an_orthogonal_weight_of_the_forward_std(product):
    model, x = Outer(product), torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
    plan = fanin.plan(model, x)
    plan.apply_(model)
    assert {plan[f"{side}.1"].rule for side in ("left", "right")} == {"factor"}
    weight = product(model.left[1], model.right[1]).detach()
    assert torch.allclose(weight @ weight.T, 2.0 * torch.eye(32), atol=1e-4)  # E relu(z)² = 1/2


def test_a_gain_for_rows_times_one_for_columns_stays_a_gain():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(16, 16))
            self.rows, self.columns = nn.Parameter(torch.ones(16)), nn.Parameter(torch.ones(16))

        def forward(self, x):
            return nn.functional.linear(x, self.weight * torch.outer(self.rows, self.columns))

    plan = fanin.plan(Scaled(), torch.randn(8, 16))
    assert [plan[n].role for n in ("weight", "rows", "columns")] == ["weight", "gain", "gain"]


class StateSpace(nn.Module):
    """x + W gelu(y), y a diagonal linear recurrence over the steps of x, from a state of zeros."""

    def __init__(self, depth=2, width=8, states=4):
        super().__init__()
        rates = torch.log(torch.arange(1.0, states + 1)).repeat(width, 1)
        self.log_rate = nn.ParameterList(nn.Parameter(rates.clone()) for _ in range(depth))
        self.out = nn.ParameterList(nn.Parameter(torch.randn(width, states)) for _ in range(depth))
        self.direct = nn.ParameterList(nn.Parameter(torch.ones(width)) for _ in range(depth))
        self.maps, self.head = nn.ModuleList(nn.Linear(width, width) for _ in range(depth)), nn.Linear(width, 4)

    def forward(self, x):
        for log_rate, out, direct, layer in zip(self.log_rate, self.out, self.direct, self.maps, strict=True):
            state, seen = torch.zeros(len(x), *out.shape), []
            for u in x.unbind(1):
                state = torch.exp(-log_rate.exp()) * state + u[..., None]
                seen.append((state * out).sum(-1) + direct * u)
            x = x + layer(nn.functional.gelu(torch.stack(seen, 1)))
        return self.head(x.mean(1))


def test_decay_rates_that_meet_a_zero_state_first_are_kept():
    torch.manual_seed(0)
    model, x = StateSpace(), torch.randn(16, 5, 8)
    before = [p.detach().clone() for p in model.log_rate]
    plan = fanin.init_(model, x, trial=False)
    assert {plan[f"log_rate.{n}"].action for n in (0, 1)} == {"keep"}
    assert all(torch.equal(a, b) for a, b in zip(model.log_rate, before, strict=True))


def test_additions_to_steps_side_by_side_do_not_make_a_stream_deeper():
    torch.manual_seed(0)
    found = roles(capture(StateSpace(), torch.randn(16, 5, 8)))
    assert [found[f"maps.{n}.weight"].branch.num_branches for n in (0, 1)] == [2, 2]


class Points(nn.Module):
    """exp(-|h - c|² / 32), or the cosine of h and c, written with one product."""

    def __init__(self, *, cosine=False):
        super().__init__()
        self.cosine, self.one = cosine, nn.Linear(24, 16)
        self.points, self.head = nn.Parameter(torch.randn(20, 16)), nn.Linear(20, 4)

    def forward(self, x):
        h = torch.tanh(self.one(x))
        if self.cosine:
            return self.head(h @ self.points.t() / self.points.square().sum(-1).sqrt())
        square = h.square().sum(-1, keepdim=True) - 2 * h @ self.points.t() + self.points.square().sum(-1)
        return self.head(torch.exp(-square / 32))


def test_centres_of_bumps_that_are_written_out_go_with_the_signal():
    torch.manual_seed(0)
    model, x = Points(), torch.randn(256, 24)
    plan = fanin.init_(model, x, trial=False)
    assert plan["points"].rule == "centres"
    size = float(torch.tanh(model.one(x)).detach().square().mean().sqrt())
    assert float(model.points.detach().std()) == pytest.approx(1.5 * size, rel=0.25)  # 320 entries: 5 x 0.04
    assert fanin.plan(Points(cosine=True), x)["points"].rule != "centres"


class Branches(nn.Module):
    """A sum of maps of one input: no stack, so each weight is looked at alone."""

    def __init__(self, count):
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(8, 8) for _ in range(count))

    def forward(self, x):
        return sum(one(x).relu() for one in self.maps)


def test_choosing_walks_the_whole_graph_a_fixed_number_of_times(monkeypatch):
    """Once for each weight, a plan would take the square of the time."""
    walks = []
    walk = Graph.live_ops
    monkeypatch.setattr(Graph, "live_ops", lambda graph: walks.append(graph) or walk(graph))

    def counted(maps):
        walks.clear()
        fanin.plan(Branches(maps), torch.randn(4, 8))
        return len(walks)

    assert counted(6) == counted(12)
