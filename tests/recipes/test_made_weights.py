"""Weights that the model changes before it uses them, and weights that maps make: the size that the signal meets."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import fanin
from fanin.recipes.engine.effective import OwnSize, own_size

X = torch.randn(256, 64, generator=torch.Generator().manual_seed(0))
MASK = torch.arange(64) < 16

FUNCTIONS = {
    "as it is": lambda w: w,
    "times 6": lambda w: 6.0 * w,
    "over 6": lambda w: w / 6.0,
    "equalised": lambda w: w / math.sqrt(w.shape[1]),
    "sums": lambda w: w.cumsum(0),
    "mean with its mirror image": lambda w: (w + w.flip(0)) / 2,
    "masked": lambda w: w * MASK[: w.shape[1]],
    "triangle": torch.tril,
    "bent": lambda w: 2.0 * w.tanh(),
    "signed square": lambda w: w * w.abs(),
    "rounded": lambda w: w + (torch.round(w * 8) / 8 - w).detach(),
    "one of three signs": lambda w: w + (w.sign() * w.abs().mean() - w).detach(),
}
UNEVEN = frozenset({"sums", "masked", "triangle"})  # whose rows differ in size, so that one draw says less


class Made(nn.Module):
    """Two layers of a weight that is made of a parameter."""

    def __init__(self, make) -> None:
        super().__init__()
        self.make = make
        self.one, self.two = (nn.Parameter(torch.randn(64, 64)) for _ in range(2))
        self.head = nn.Linear(64, 10)

    def layers(self, x):
        one = F.linear(x, self.make(self.one))
        return one, F.linear(torch.relu(one), self.make(self.two))

    def forward(self, x):
        return self.head(torch.relu(self.layers(x)[1]))


def planned(model, x=X):
    plan = fanin.plan(model, x)
    plan.apply_(model)
    return plan


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_the_signal_meets_has_the_size_that_was_chosen(name):
    model = Made(FUNCTIONS[name])
    plan = planned(model)
    with torch.no_grad():
        sizes = [float(h.square().mean().sqrt()) for h in model.layers(X)]
    # 64 units of 64 terms: one draw is off by 1 / sqrt(2 64) in each of its row norms, by all of it where rows differ
    tolerance = 0.35 if name in UNEVEN else 0.12
    assert sizes == pytest.approx([1.0, 1.0], rel=tolerance)
    assert ("makes the weight that it uses" in plan["one"].reason) == (name != "as it is")


def test_a_factor_divides_the_std_and_nothing_else():
    plain, times = (fanin.plan(Made(FUNCTIONS[n]), X) for n in ("as it is", "times 6"))
    for name in ("one", "two"):
        assert times[name].std == pytest.approx(plain[name].std / 6.0, rel=1e-6)
        assert times[name].predicted_rms == pytest.approx(plain[name].predicted_rms)
    assert times["head.weight"].std == pytest.approx(plain["head.weight"].std)
    assert "as used" in {s.quantity for s in times["one"].steps}


def test_a_large_weight_that_is_multiplied_is_not_drawn_to_see_that():
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.zeros(8192, 8192, device="meta"))

        def forward(self, x):
            return F.linear(x, 4.0 * self.w)

    plan = fanin.plan(Wide(), torch.zeros(2, 8192, device="meta"))
    assert plan["w"].std == pytest.approx(0.25 / math.sqrt(8192), rel=1e-3)


@pytest.mark.parametrize("name", ["times 6", "sums", "bent", "signed square"])
def test_a_model_that_is_built_on_meta_gets_the_same_laws(name):
    wanted = fanin.plan(Made(FUNCTIONS[name]), X)
    with torch.device("meta"):
        found = fanin.plan(Made(FUNCTIONS[name]), torch.zeros(256, 64))
    # that input has no numbers, and the given one has a second moment of 1 but for chance
    assert [found[n].std for n in ("one", "two")] == pytest.approx([wanted[n].std for n in ("one", "two")], rel=0.02)


def test_float64_and_half_weights_are_made_and_checked():
    for dtype in (torch.float64, torch.bfloat16):
        model = Made(FUNCTIONS["times 6"]).to(dtype)
        assert planned(model, X.to(dtype))["one"].std == pytest.approx(1 / 48, rel=0.01)
        assert fanin.check(model, X.to(dtype)).ok


@pytest.mark.parametrize("make", [F.normalize, torch.sign], ids=["own size", "sign"])
def test_where_no_std_gives_the_size_the_rule_stays(make):
    plan = fanin.plan(Made(make), X)
    assert plan["one"].action == "draw"
    assert math.isfinite(plan["one"].std)
    assert "makes the weight that it uses" not in plan["one"].reason  # nothing was sized for it
    assert "as used" not in {s.quantity for s in plan["one"].steps}


@pytest.mark.parametrize("bound", [0.1, 0.13, 0.2])
def test_a_bounded_function_is_not_driven_into_its_bounds(bound):
    model = Made(lambda w: bound * w.tanh())
    planned(model)
    share = float((model.one.detach().tanh().abs() > 0.95).double().mean())  # at tanh(1.83)
    assert share < 0.15  # of N(0, 1.14²), the std at which tanh follows by .4, 0.11 are beyond 1.83


# ---------------------------------------------------------------------- a factor behind the product
class Behind(nn.Module):
    """Maps whose outputs are multiplied by a number."""

    def __init__(self, factor, after=torch.relu, residual=False) -> None:
        super().__init__()
        self.factor, self.after, self.residual = factor, after, residual
        self.one, self.two, self.head = (nn.Parameter(torch.randn(n, 64)) for n in (64, 64, 10))

    def layers(self, x):
        one = x @ self.one.t() * self.factor
        inner = self.after(one) @ self.two.t() * self.factor
        return one, one + inner if self.residual else inner

    def forward(self, x):
        return self.after(self.layers(x)[1]) @ self.head.t() / 8


@pytest.mark.parametrize("factor", [1 / 8, 2**0.5 / 8, torch.tensor(0.125)])
def test_a_factor_that_is_one_over_the_root_of_fan_in_is_part_of_the_map(factor):
    model = Behind(factor)
    planned(model)
    with torch.no_grad():
        sizes = [float(h.square().mean().sqrt()) for h in (*model.layers(X), model(X))]
    assert sizes == pytest.approx([1.0] * 3, rel=0.35)  # the last of ten outputs
    assert sizes[:2] == pytest.approx([1.0] * 2, rel=0.12)


OTHERS = {
    "frequency": (3.0, torch.sin, False),
    "small": (0.01, torch.relu, False),
    "branch": (1 / 8, torch.relu, True),
    "soft cap": (1 / 15, torch.tanh, False),
    "exponent": (1 / 8, torch.exp, False),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_factors_are_a_function_s_or_a_branch_s(name):
    plan = fanin.plan(Behind(*OTHERS[name]), X)
    assert "as used" not in {s.quantity for s in plan["two"].steps}


# ---------------------------------------------------------------------- of several parameters
class Product(nn.Module):
    """A weight that is the product of two, changed on its way."""

    def __init__(self, make, inner=lambda w: w) -> None:
        super().__init__()
        self.make, self.inner = make, inner
        self.a, self.b = nn.Parameter(torch.randn(64, 32)), nn.Parameter(torch.randn(32, 64))
        self.head = nn.Linear(64, 10)

    def weight(self):
        return self.make(self.inner(self.a) @ self.b)

    def forward(self, x):
        return self.head(torch.relu(F.linear(x, self.weight())))


@pytest.mark.parametrize("name", ["as it is", "times 6", "over 6", "masked", "bent"])
def test_the_factors_of_a_product_share_what_is_done_to_it(name):
    model = Product(FUNCTIONS[name])
    plan = planned(model)
    size = float(model.weight().detach().square().sum(1).mean().sqrt())
    assert size == pytest.approx(1.0, rel=0.25)
    if name == "times 6":
        usual = fanin.plan(Product(FUNCTIONS["as it is"]), X)
        shares = [plan[n].std / usual[n].std for n in ("a", "b")]
        assert shares == pytest.approx([6.0**-0.5] * 2)


def test_what_is_done_to_one_factor_is_taken_back_in_that_one():
    usual = fanin.plan(Product(FUNCTIONS["as it is"]), X)
    plan = fanin.plan(Product(FUNCTIONS["as it is"], FUNCTIONS["over 6"]), X)
    assert plan["a"].std == pytest.approx(6.0 * usual["a"].std)
    assert plan["b"].std == pytest.approx(usual["b"].std)


# ---------------------------------------------------------------------- made by maps
class Generated(nn.Module):
    """A weight for each sample, made by a map of it."""

    def __init__(self, make) -> None:
        super().__init__()
        self.make = make
        self.code, self.maker, self.head = nn.Linear(64, 32), nn.Linear(32, 24 * 64), nn.Linear(24, 10)

    def weights(self, x):
        return self.make(self.maker(torch.tanh(self.code(x))).view(-1, 24, 64))

    def forward(self, x):
        return self.head(torch.relu(torch.bmm(self.weights(x), x[:, :, None])[..., 0]))


@pytest.mark.parametrize("name", ["as it is", "times 6", "over 6", "sums", "bent"])
def test_a_made_weight_counts_what_is_done_to_it(name):
    model = Generated(FUNCTIONS[name])
    plan = planned(model)
    assert plan["maker.weight"].rule == "made weight"
    size = float(model.weights(X).detach().square().sum(2).mean().sqrt())
    assert size == pytest.approx(1.0, rel=0.2)


class Scores(nn.Module):
    """Attention over few positions, of as many heads: no matrix there is made of the features of one map alone."""

    def __init__(self, where) -> None:
        super().__init__()
        self.where = where
        self.q, self.k, self.v, self.out = (nn.Linear(32, 32) for _ in range(4))

    def heads(self, maps, x):
        return maps(x).view(*x.shape[:2], 4, 8).transpose(1, 2)

    def forward(self, x):
        q, k, v = (self.heads(m, x) for m in (self.q, self.k, self.v))
        if self.where == "einsum":
            scores = torch.einsum("bhtd,bhsd->bhts", q, k) / 8**0.5
        elif self.where == "query":
            scores = (q / 8**0.5) @ k.transpose(-1, -2)
        else:
            scores = q @ k.transpose(-1, -2) / 8**0.5
        mixed = (scores if self.where == "linear" else scores.softmax(-1)) @ v
        return self.out(mixed.transpose(1, 2).flatten(2).mean(1))


ATTENTION = [(w, n) for w in ("scores", "query", "einsum", "linear") for n in (1, 2, 4, 8) if (w, n) != ("linear", 1)]


@pytest.mark.parametrize(("where", "positions"), ATTENTION)
def test_queries_and_keys_are_no_made_weights_however_few_the_positions(where, positions):
    plan = fanin.plan(Scores(where), torch.randn(16, positions, 32))
    assert {plan[f"{n}.weight"].rule for n in "qkv"} == {"first layer"}


@pytest.mark.parametrize("apply", [lambda h, w: F.linear(h, w), lambda h, w: h @ w.t()], ids=["linear", "product"])
def test_slots_of_a_signal_that_a_map_reads_are_no_made_weight(apply):
    class Slots(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.each, self.head = nn.Linear(64, 32), nn.Parameter(torch.randn(6, 8)), nn.Linear(24, 10)

        def forward(self, x):
            return self.head(apply(torch.relu(self.first(x)).view(-1, 4, 8), self.each).flatten(1))

    assert fanin.plan(Slots(), X)["first.weight"].rule == "first layer"


class Readout(nn.Module):
    """A state that is read by a vector which a map makes of each sample, as in selective state-space layers."""

    def __init__(self) -> None:
        super().__init__()
        self.state, self.reads, self.head = nn.Linear(64, 24 * 8), nn.Linear(64, 8), nn.Linear(24, 10)

    def forward(self, x):
        return self.head((self.state(x).view(-1, 24, 8) @ self.reads(x)[:, :, None])[..., 0])


def test_a_made_vector_counts_the_terms_that_it_sums():
    plan = fanin.plan(Readout(), X)
    assert plan["reads.weight"].rule == "made weight"
    assert plan["reads.weight"].std == pytest.approx(1 / math.sqrt(8 * 64), rel=0.01)


# ---------------------------------------------------------------------- the solver
@pytest.mark.parametrize(
    ("size_at", "wanted", "std", "bends"),
    [
        (lambda s: s, 0.3, 0.3, False),
        (lambda s: 6 * s, 0.3, 0.05, False),
        (lambda s: s * s, 0.25, 0.5, True),
        (lambda s: math.tanh(s), 0.5, math.atanh(0.5), True),
        (lambda s: math.tanh(s), 3.0, 1.22, True),  # from s to 1.1 s the logarithm grows by .4 ln 1.1
    ],
)
def test_the_std_that_gives_a_size(size_at, wanted, std, bends):
    found = own_size(size_at, wanted)
    assert found is not None
    assert (found.std, found.bends) == (pytest.approx(std, rel=0.01), bends)


@pytest.mark.parametrize("size_at", [lambda s: 8.0, lambda s: None, lambda s: 1.0 / s])
def test_there_is_none_where_no_std_does_it(size_at):
    assert own_size(size_at, 3.0) is None


def test_a_size_that_is_right_is_left():
    assert own_size(lambda s: 1.005 * s, 2.0) == OwnSize(2.0, bends=False)
