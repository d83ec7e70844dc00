"""Starts that `auto` leaves as their module chose them: of no size, of one sign, at a constant, shares of a mixture."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import fanin

X = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
norm = nn.utils.parametrizations.spectral_norm


class Made(nn.Module):
    """A map whose weight is made of a parameter."""

    def __init__(self, make, start) -> None:
        super().__init__()
        self.make, self.raw, self.head = make, nn.Parameter(start), nn.Linear(16, 4)

    def forward(self, x):
        return self.head(torch.relu(x @ self.make(self.raw).t()))


def drawn(size=1.0, mean=0.0):
    torch.manual_seed(0)
    return mean + size * torch.randn(16, 16)


# ---------------------------------------------------------------------- of no size
@pytest.mark.parametrize("size", [0.01, 3.0])
@pytest.mark.parametrize(
    "make",
    [
        F.normalize,
        lambda w: w / w.norm(),
        lambda w: (w - w.mean(1, keepdim=True)) / w.std(1, keepdim=True),
        lambda w: w.sign(),
    ],
    ids=["normalize", "norm", "standardised", "sign"],
)
def test_a_weight_divided_by_its_own_size_is_drawn_at_the_size_found(make, size):
    plan = fanin.plan(Made(make, drawn(size)), X)
    assert plan["raw"].rule == "sizeless"
    assert plan["raw"].std == pytest.approx(size, rel=0.2)


class Imaginary(Made):
    """The same of a complex weight, all of whose real parts are zero."""

    def forward(self, x):
        weight = self.make(self.raw)
        turned = torch.complex(torch.zeros_like(weight), weight)
        return self.head(torch.relu((x.to(turned.dtype) @ turned.t()).imag))


@pytest.mark.parametrize(
    ("make", "rule"), [(F.normalize, "sizeless"), (torch.exp, "designed"), (torch.tanh, "first layer")]
)
def test_of_a_complex_weight_both_parts_are_looked_at(make, rule):
    assert fanin.plan(Imaginary(make, drawn(0.5)), X)["raw"].rule == rule


class Padded(nn.Module):
    """A weight that is joined with numbers made on the spot, as the kernels of state-space models are."""

    def __init__(self, rows, dtype) -> None:
        super().__init__()
        self.raw, self.rows, self.dtype, self.head = nn.Parameter(drawn()), rows, dtype, nn.Linear(16 + rows, 4)

    def forward(self, x):
        weight = torch.cat([self.raw.to(self.dtype), torch.zeros(self.rows, 16, dtype=self.dtype)])
        return self.head(torch.relu((x.to(self.dtype) @ weight.t()).real.float()))


@pytest.mark.parametrize("rows", [0, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
def test_numbers_that_pad_a_weight_are_none_of_its_units(dtype, rows):
    model = Padded(rows, dtype)
    plan = fanin.plan(model, X)
    assert (plan["raw"].action, plan["raw"].std) == ("draw", pytest.approx(0.25))
    assert not fanin.check(model, X).measurements.missing.get("prediction", "").startswith("theory could not follow")


class Kernel(nn.Module):
    """The start of a kernel that is joined with no more rows of it."""

    def __init__(self, dtype) -> None:
        super().__init__()
        self.rates, self.dtype, self.out = nn.Parameter(torch.rand(16)), dtype, nn.Linear(16, 4)

    def forward(self, x):
        kernel = torch.cat([self.rates.to(self.dtype)[None], torch.zeros(0, 16, dtype=self.dtype)])
        return self.out(torch.einsum("tn,bn->bn", kernel, x.to(self.dtype)).real.float())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
def test_a_kernel_that_is_joined_with_nothing_is_read(dtype):
    targets = torch.zeros(64, dtype=torch.long)
    assert fanin.plan(Kernel(dtype), X)["out.weight"].action == "draw"
    assert fanin.check(Kernel(dtype), X, targets=targets).result is not None
    fanin.init_(Kernel(dtype), X, targets=targets)


@pytest.mark.parametrize("factor", [0.5, 6.0])
def test_a_constant_times_a_weight_is_no_square_of_it(factor):
    class Scaled(Made):
        def forward(self, x):
            return self.head(torch.relu(x @ (self.raw * factor).t() + 0.1))

    assert fanin.plan(Scaled(None, drawn()), X)["raw"].rule == "first layer"


# ---------------------------------------------------------------------- fields of coordinates
class Field(nn.Module):
    """A map whose weight is a field over a grid; `reads` feeds the first map the input instead."""

    def __init__(self, omega, deep=False, reads=False, residual=False) -> None:
        super().__init__()
        self.residual = residual
        grid = torch.linspace(-1, 1, 4)
        self.register_buffer("places", torch.stack(torch.meshgrid(grid, grid, indexing="ij"), -1).view(16, 2))
        self.omega, self.reads = omega, reads
        self.first, self.last, self.out = nn.Linear(2, 32), nn.Linear(32, 8), nn.Linear(8, 4)
        self.inner = nn.Linear(32, 32) if deep else None

    def forward(self, x):
        h = torch.sin(self.omega * self.first(x[:, :2] if self.reads else self.places))
        if self.inner is not None:
            inside = torch.sin(self.omega * self.inner(h))
            h = h + inside if self.residual else inside
        made = self.last(h)
        return self.out(torch.relu(made if self.reads else x @ made / 4))


@pytest.mark.parametrize(
    ("omega", "deep", "residual"), [(3.0, False, False), (8.0, False, False), (3.0, True, False), (3.0, True, True)]
)
def test_maps_of_a_field_that_no_input_reaches_keep_their_bandwidth(omega, deep, residual):
    plan = fanin.plan(Field(omega, deep, residual=residual), X)
    kept = {n for n, a in plan.items() if a.action == "keep"}
    maps = ("first", "inner") if deep else ("first",)
    assert kept == {f"{m}.{part}" for m in maps for part in ("weight", "bias")}
    assert "bandwidth" in plan["first.weight"].reason
    assert "phases of the field that first.weight starts" in plan["first.bias"].reason


@pytest.mark.parametrize(
    "model",
    [Field(1.0), Field(3.0, reads=True), Field(3.0, deep=True, reads=True, residual=True)],
    ids=["smooth", "of the input", "branch"],
)
def test_where_the_input_passes_or_the_function_is_smooth_the_map_is_drawn(model):
    assert all(a.action == "draw" for a in fanin.plan(model, X).values())


@pytest.mark.parametrize(
    "make",
    [lambda w: w, lambda w: w * 0.5, lambda w: w.tanh(), lambda w: w * w.abs()],
    ids=["plain", "half", "tanh", "power"],
)
def test_other_weights_get_the_size_that_the_signal_needs(make):
    stds = [fanin.plan(Made(make, drawn(size)), X)["raw"].std for size in (0.01, 3.0)]
    assert stds[0] == pytest.approx(stds[1])


def test_spectral_norm_takes_the_parameter_and_not_the_weight_that_it_makes():
    layer = nn.Linear(16, 16, bias=False)
    nn.init.normal_(layer.weight, std=5.0)
    plan = fanin.plan(nn.Sequential(norm(layer), nn.ReLU(), nn.Linear(16, 4)), X)
    (name,) = [n for n in plan if n.endswith("original")]
    assert plan[name].std == pytest.approx(5.0, rel=0.2)


@pytest.mark.parametrize("start", [torch.zeros(16, 16), torch.full((16, 16), torch.nan)], ids=["zero", "nan"])
def test_a_size_that_is_none_gives_way_to_the_usual_one(start):
    assert fanin.plan(Made(F.normalize, start), X)["raw"].std == pytest.approx(1 / 4)


# ---------------------------------------------------------------------- of one sign
@pytest.mark.parametrize(
    ("make", "start", "kept"),
    [
        (F.softplus, drawn(mean=-4.0), True),
        (torch.exp, drawn(mean=-4.0), True),
        (torch.square, drawn(0.1), True),
        (lambda w: w.clamp(min=0), drawn(0.1), True),
        (torch.sigmoid, drawn(mean=-4.0), True),
        (torch.tanh, drawn(0.1), False),
        (lambda w: w + 1.0, drawn(0.1), False),
        (lambda w: F.softplus(w) - F.softplus(-w), drawn(0.1), False),
    ],
    ids=["softplus", "exp", "square", "clamp", "sigmoid", "tanh", "shifted", "odd"],
)
def test_a_weight_of_one_sign_keeps_the_numbers_found(make, start, kept):
    plan = fanin.plan(Made(make, start), X)
    assert (plan["raw"].action == "keep") == kept


def test_the_head_behind_a_weight_of_one_sign_is_made_for_the_numbers_kept():
    model = Made(F.softplus, drawn(mean=-1.0))
    fanin.init_(model, X, trial=False)
    assert 0.5 < model(X).square().mean().sqrt() < 2.0


# ---------------------------------------------------------------------- at a constant
class View(nn.Module):
    """A map that chooses an affine view of a picture."""

    def __init__(self, start=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0)) -> None:
        super().__init__()
        self.inner, self.place = nn.Linear(16, 16), nn.Linear(16, 6)
        nn.init.zeros_(self.place.weight)
        self.place.bias.data.copy_(torch.tensor(start))
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        picture = x.view(-1, 1, 4, 4)
        grid = F.affine_grid(self.place(torch.relu(self.inner(x))).view(-1, 2, 3), list(picture.shape), False)
        return self.head(F.grid_sample(picture, grid, align_corners=False).flatten(1))


class Gated(nn.Module):
    """A gate in the middle of a plain network."""

    def __init__(self, weight=0.0, bias=-2.0) -> None:
        super().__init__()
        self.enter, self.gate, self.head = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 4)
        self.gate.weight.data.mul_(weight)
        if bias is not None:
            nn.init.constant_(self.gate.bias, bias)

    def forward(self, x):
        h = torch.tanh(self.enter(x))
        return self.head(torch.relu(h + 0.5) * torch.sigmoid(self.gate(h)))


@pytest.mark.parametrize(("model", "name"), [(View(), "place"), (View((0.0,) * 6), "place"), (Gated(), "gate")])
def test_a_map_of_zeros_beside_a_chosen_bias_stays_with_it(model, name):
    plan = fanin.plan(model, X)
    assert plan[f"{name}.weight"].action == plan[f"{name}.bias"].action == "keep"


def test_what_only_such_a_map_reads_stays_too():
    plan = fanin.plan(View(), X)
    assert plan["inner.weight"].action == plan["inner.bias"].action == "keep"
    assert fanin.plan(Gated(), X)["enter.weight"].action == "draw"  # the product reads it as well


@pytest.mark.parametrize("given", [{"weight": 1.0}, {"bias": None}, {"bias": 0.0}])
def test_a_map_of_zeros_with_a_bias_of_no_choice_is_drawn(given):
    plan = fanin.plan(Gated(**given), X)
    assert plan["gate.weight"].action == plan["gate.bias"].action == "draw"


def of_zeros(bias, *maps):
    for layer in maps:
        nn.init.zeros_(layer.weight)
        nn.init.constant_(layer.bias, bias)


class Plain(nn.Module):
    """Two maps and a head, joined in one of several ways."""

    def __init__(self, join) -> None:
        super().__init__()
        self.join = join
        self.a, self.b, self.head = nn.Linear(16, 16), nn.Linear(16, 16), nn.LazyLinear(4)
        with torch.no_grad():
            self(X)

    def forward(self, x):
        return self.head(self.join(self.a, self.b, x))


JOINS = {
    "after": lambda a, b, x: torch.relu(b(torch.relu(a(x)))),
    "gate": lambda a, b, x: a(x) * torch.sigmoid(b(x)),
    "join": lambda a, b, x: torch.cat([x, torch.relu(a(x)), torch.relu(b(x))], -1),
    "add": lambda a, b, x: torch.relu(a(x)) + torch.relu(b(x)),
    "attention": lambda a, b, x: F.scaled_dot_product_attention(x, a(x), b(x)),
}


@pytest.mark.parametrize("bias", [0.1, -1.0])
@pytest.mark.parametrize("join", JOINS)
def test_maps_of_zeros_are_drawn_where_their_constants_are_all_that_goes_on(join, bias):
    model = Plain(JOINS[join])
    of_zeros(bias, model.a, model.b)
    plan = fanin.init_(model, X, trial=False)
    assert {plan[f"{n}.{kind}"].action for n in "ab" for kind in ("weight", "bias")} == {"draw"}
    assert model(X).std(0).min() > 1e-3


def test_of_two_factors_a_gate_of_zeros_is_kept_beside_one_that_varies():
    model = Plain(JOINS["gate"])
    of_zeros(-2.0, model.b)
    assert fanin.plan(model, X)["b.weight"].action == "keep"
    of_zeros(-2.0, model.a)
    assert fanin.plan(model, X)["b.weight"].action == "draw"


def test_rows_of_an_identity_matrix_vary_as_the_integers_that_choose_them_do():
    class OfIntegers(Gated):
        def forward(self, x):
            return super().forward(F.one_hot(x, 16).float())

    plan = fanin.plan(OfIntegers(), torch.arange(64) % 16)
    assert plan["gate.weight"].action == "keep"


# ---------------------------------------------------------------------- shares
class Shifted(nn.Module):
    """A mixture of a normed signal and its neighbour."""

    def __init__(self, share) -> None:
        super().__init__()
        self.norm, self.mix, self.head = nn.LayerNorm(16), nn.Parameter(torch.linspace(0, 1, 16)), nn.Linear(16, 4)
        self.share = share

    def forward(self, x):
        n = self.norm(x)
        mixed = n * self.mix + n.roll(1, 0) * (1 - self.mix) if self.share else n * self.mix
        return self.head(mixed)


@pytest.mark.parametrize("share", [True, False])
def test_shares_of_a_mixture_are_no_scale_of_a_norm(share):
    assert (fanin.plan(Shifted(share), X)["mix"].action == "keep") == share


# ---------------------------------------------------------------------- heads behind kept factors
class Filters(nn.Module):
    """A filter in Fourier space before the output layer, with or without a map in between."""

    def __init__(self, *, between: bool = False, ones: bool = False) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.ones(16) if ones else torch.randn(16) / 8)
        self.map, self.head = nn.Linear(16, 16) if between else nn.Identity(), nn.Linear(16, 4)

    def forward(self, x):
        made = torch.fft.irfft(torch.fft.rfft(x) * torch.fft.rfft(self.filter), n=16)
        return self.head(torch.relu(self.map(torch.relu(made))))


def test_a_head_is_not_scaled_up_for_what_kept_factors_make_faint():
    torch.manual_seed(0)
    plan = fanin.plan(Filters(), X)
    assert plan["filter"].action == "keep"
    assert plan["head.weight"].std == pytest.approx(1 / 4)
    assert fanin.plan(Filters(between=True), X)["head.weight"].std > 0.3


# ---------------------------------------------------------------------- sizes that only set how far a step goes
class Compared(nn.Module):
    """A map whose outputs are, or are not, divided by their length before they meet the classes."""

    def __init__(self, size, *, divided=True) -> None:
        super().__init__()
        self.first, self.map, self.divided = nn.Linear(16, 32), nn.Linear(32, 32), divided
        nn.init.normal_(self.map.weight, std=size)
        self.classes = nn.Parameter(torch.randn(4, 32))

    def forward(self, x):
        h = self.map(torch.relu(self.first(x)))
        h = F.normalize(h, dim=1) if self.divided else torch.tanh(h)
        return 8 * h @ F.normalize(self.classes, dim=1).t()


@pytest.mark.parametrize(("size", "kept"), [(0.6, True), (0.9, True), (0.1, False), (5.0, False)])
def test_a_map_before_a_division_by_the_length_is_drawn_no_smaller_than_found(size, kept):
    torch.manual_seed(0)
    std = fanin.plan(Compared(size), X)["map.weight"].std
    assert (abs(std / size - 1) < 0.1) is kept
    assert abs(fanin.plan(Compared(size, divided=False), X)["map.weight"].std / size - 1) > 0.1


def test_two_draws_of_such_a_map_by_its_module_give_one_plan():
    torch.manual_seed(0)
    assert len({fanin.plan(Compared(0.6), X)["map.weight"].std for _ in range(8)}) == 1


class Polynomial(nn.Module):
    """Coefficients of a polynomial of normalised numbers, one a unit and power."""

    def __init__(self, coefficients) -> None:
        super().__init__()
        self.map, self.head = nn.Linear(16, 24), nn.Linear(24, 4)
        self.coefficients = nn.Parameter(torch.tensor(coefficients).repeat(24, 1) + 0.02 * torch.randn(24, 3))

    def forward(self, x):
        z, c = F.layer_norm(self.map(x), (24,)), self.coefficients
        return self.head(c[:, 0] + z * (c[:, 1] + z * c[:, 2]))


def test_coefficients_of_a_polynomial_are_no_scale_of_a_norm():
    torch.manual_seed(0)
    assert fanin.plan(Polynomial([0.0, 1.0, 0.1]), X)["coefficients"].action == "keep"


def test_a_scale_that_was_drawn_around_one_is_a_scale():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 24), nn.LayerNorm(24), nn.ReLU(), nn.Linear(24, 4))
    nn.init.normal_(model[1].weight, 1.0, 0.02)
    assert fanin.plan(model, X)["1.weight"].action == "draw"


class Factors(nn.Module):
    """A head behind factors of the signal alone, which their module drew."""

    def __init__(self, spread) -> None:
        super().__init__()
        self.factors, self.head = nn.Parameter(0.5 + spread * torch.randn(3, 16)), nn.Linear(16, 4)

    def forward(self, x):
        for factor in self.factors:
            x = torch.relu(x * factor).flip(1)
        return self.head(x)


def test_a_head_behind_factors_of_one_sign_is_not_scaled_up_either():
    torch.manual_seed(0)
    plan = fanin.plan(Factors(0.05), X)
    assert plan["factors"].action == "keep"
    assert plan["head.weight"].std <= 1 / 4 + 1e-9


class Turning(nn.Module):
    """A recurrence of phases, from a first state that it learns."""

    def __init__(self) -> None:
        super().__init__()
        self.phases = nn.Parameter(3 * (2 * torch.rand(12) - 1))
        self.start, self.read, self.head = nn.Parameter(0.2 * torch.randn(12)), nn.Linear(2, 12), nn.Linear(24, 4)

    def forward(self, x):
        h = self.start.expand(len(x), -1).to(torch.complex64)
        for step in x.view(len(x), 8, 2).unbind(1):
            h = h * torch.polar(torch.ones_like(self.phases), self.phases) + self.read(step)
        return self.head(torch.cat([h.real, h.imag], 1))


def test_angles_and_a_first_state_are_no_code(recwarn):
    torch.manual_seed(0)
    plan = fanin.plan(Turning(), X)
    assert (plan["phases"].action, plan["start"].action) == ("keep", "keep")
    assert not [w for w in recwarn if "complex" in str(w.message)]


class Coded(nn.Module):
    """A map that makes a weight of a learned code."""

    def __init__(self) -> None:
        super().__init__()
        self.code, self.maker, self.head = nn.Parameter(0.2 * torch.randn(8)), nn.Linear(8, 16 * 16), nn.Linear(16, 4)

    def forward(self, x):
        return self.head(torch.relu(x @ self.maker(self.code).view(16, 16)))


def test_a_code_that_a_map_reads_is_one():
    assert fanin.plan(Coded(), X)["code"].std == 1.0


class Linear(nn.Module):
    """A factorisation machine: first-order rows that are summed into the outputs, beside a network."""

    def __init__(self, start) -> None:
        super().__init__()
        self.rows, self.embed, self.head = nn.Embedding(40, 4), nn.Embedding(40, 8), nn.Linear(8, 4)
        start(self.rows.weight)

    def forward(self, ids):
        return self.rows(ids).sum(1) + self.head(torch.relu(self.embed(ids).sum(1)))


def test_rows_of_zeros_that_are_summed_into_the_outputs_stay():
    torch.manual_seed(0)
    ids = torch.randint(0, 40, (64, 5))
    assert fanin.plan(Linear(nn.init.zeros_), ids)["rows.weight"].action == "keep"
    assert fanin.plan(Linear(nn.init.normal_), ids)["rows.weight"].action == "draw"


def test_copies_that_are_kept_are_not_said_to_be_drawn():
    class Identities(nn.Module):
        def __init__(self, start):
            super().__init__()
            self.maps = nn.ParameterList([nn.Parameter(start.clone()) for _ in range(3)])
            self.head = nn.Linear(16, 4)

        def forward(self, x):
            for weight in self.maps:
                x = torch.relu(x @ weight)
            return self.head(x)

    torch.manual_seed(0)
    assert not any("copies" in w for w in fanin.plan(Identities(torch.eye(16)), X).warnings)
    assert any("copies" in w for w in fanin.plan(Identities(torch.randn(16, 16) / 4), X).warnings)
