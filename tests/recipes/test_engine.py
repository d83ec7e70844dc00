"""What every recipe builds on: facts of activations, questions of the network, the sweep, and the common rules."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import fanin
from fanin.graph.analysis.activations import FoundActivation
from fanin.graph.recording.capture import capture
from fanin.graph.roles.data import Use
from fanin.graph.roles.label import roles
from fanin.initializers import Constant, ForgetBias, Ones, Orthogonal, VarianceScaling, Zeros
from fanin.recipes.engine.activation_facts import bend, is_bounded, is_odd, mirror_slope, moments_of
from fanin.recipes.engine.network import Network, tap_share
from fanin.recipes.reading.departures import departures
from fanin.recipes.step import Step
from fanin.theory.moments import gaussian_moments


def normal(*shape):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    return x / x.square().mean().sqrt()


def custom(fn):
    return FoundActivation("custom", fn=fn)


def network(model, *inputs):
    graph = capture(model, inputs)
    return Network(graph=graph, roles=roles(graph), tensors=dict(model.named_parameters()))


# ---------------------------------------------------------------------- activations
def relu(x):
    return np.maximum(x, 0.0)


@pytest.mark.parametrize(("departure", "linear"), [(0.24, True), (0.26, False)])
def test_a_pair_may_depart_from_a_line_by_a_quarter_of_its_slope(departure, linear):
    # relu plus half a triangle on [-2, 2], odd: f(x) - f(-x) = x + triangle, whose height is the departure
    def f(x):
        return relu(x) + 0.5 * departure * np.sign(x) * np.clip(1.0 - np.abs(np.abs(x) - 1.0), 0.0, None)

    assert (mirror_slope(custom(f)) is not None) == linear


def test_the_slope_of_a_pair_is_read_far_out():
    assert mirror_slope(custom(lambda x: 3.0 * relu(x))) == 3.0
    assert mirror_slope(custom(lambda x: np.where(x > 0, x, -0.5 * x))) == 0.5

    # 40 out the slope is 1.0001, up to 36 it is 1
    assert mirror_slope(custom(lambda x: relu(x) + 1e-3 * relu(x - 36.0))) == 1.0001


@pytest.mark.parametrize(("departure", "slope_is_one"), [(0.9e-3, True), (1.1e-3, False)])
def test_a_pair_within_a_thousandth_of_a_line_has_its_slope(departure, slope_is_one):
    def f(x):
        return relu(x) + 0.5 * departure * np.sign(x) * np.clip(1.0 - np.abs(np.abs(x) - 1.0), 0.0, None)

    assert (mirror_slope(custom(f)) == 1.0) == slope_is_one


def test_a_nearly_linear_pair_has_the_slope_that_keeps_the_rms():
    def mish(x):
        return x * np.tanh(np.logaddexp(0.0, x))

    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    rms = math.sqrt(np.sum(weights * (mish(nodes) - mish(-nodes)) ** 2) / weights.sum())
    assert mirror_slope(custom(mish)) == pytest.approx(rms, abs=1e-4)
    assert rms > 1.1  # the slope far away is 1: signals would grow by a tenth a layer
    assert mirror_slope(custom(lambda x: x * x)) is None  # the slope is zero
    assert mirror_slope(custom(np.abs)) is None
    assert mirror_slope(custom(np.exp)) is None
    assert mirror_slope(custom(lambda x: np.where(np.abs(x) > 3, np.nan, x))) is None


@pytest.mark.parametrize(("even", "odd"), [(0.9e-5, True), (1.1e-5, False)])
def test_a_function_is_odd_within_a_hundred_thousandth(even, odd):
    assert is_odd(custom(lambda x: np.tanh(x) + 0.5 * even * np.ones_like(x))) == odd


@pytest.mark.parametrize(("slope", "bounded"), [(0.0005, True), (0.00055, False)])
def test_a_bounded_function_hardly_grows_from_20_on(slope, bounded):
    # growth over both tails is 2 * 380 slopes, allowed is a fifth of 1 + the value at 20
    assert is_bounded(custom(lambda x: np.tanh(x) + slope * x)) == bounded
    assert is_bounded(custom(lambda x: np.tanh(x) + slope * np.maximum(x, 0) * 2)) == (
        2 * slope * 380 < 0.2 * (2 + 40 * slope)
    )
    assert not is_bounded(custom(np.exp))


@pytest.mark.parametrize(
    ("fn", "at"),
    [
        (lambda z: np.tanh(2 * z), 0.5),
        (lambda z: 3.0 / (1.0 + np.exp(-z)), 2.0),
        (np.arctan, math.pi / 2),
        (lambda z: -np.tanh(z), 1.0),
        (lambda z: z**3 / (1 + np.abs(z) ** 3), 1.0),  # flat at zero
        (relu, 1.0),
    ],
)
def test_a_function_saturates_at_half_its_range_over_its_slope(fn, at):
    assert bend(custom(fn)) == pytest.approx(at, rel=1e-2 if fn is np.arctan else 1e-6)


def test_moments_are_those_of_the_function_that_is_in_the_model():
    assert moments_of(FoundActivation("relu", fn=lambda x: np.maximum(x, 0.0))).second == 0.5
    twice = FoundActivation("relu", fn=lambda x: 2.0 * np.maximum(x, 0.0), gain=2.0)
    assert moments_of(twice).second == pytest.approx(2.0)
    inside = FoundActivation("tanh", fn=lambda x: np.tanh(3.0 * x), inner=3.0)
    assert moments_of(inside).second == pytest.approx(gaussian_moments("tanh", q=9.0).second, rel=1e-6)
    assert moments_of(FoundActivation("tanh", fn=np.tanh), 0.25).second == gaussian_moments("tanh", q=0.25).second
    assert moments_of(custom(lambda x: x**3)).second == pytest.approx(15.0, rel=1e-6)


# ---------------------------------------------------------------------- taps
def brute_share(n_in, n_out, k, s, p, d):
    return sum(0 <= o * s - p + t * d < n_in for o in range(n_out) for t in range(k)) / (n_out * k)


@pytest.mark.parametrize(
    ("padding", "dilation", "stride", "n_out", "want"),
    [
        ((1,), (), (1,), 9, brute_share(9, 9, 3, 1, 1, 1)),
        ((2,), (2,), (1,), 9, brute_share(9, 9, 3, 1, 2, 2)),
        ((1,), (1,), (2,), 5, brute_share(9, 5, 3, 2, 1, 1)),
        ("same", (1,), (1,), 9, brute_share(9, 9, 3, 1, 1, 1)),
        ("valid", (1,), (1,), 7, 1.0),
        ((), (), (1,), 7, 1.0),
    ],
)
def test_the_share_of_taps_on_data(padding, dilation, stride, n_out, want):
    use = Use(
        op=0,
        op_name="conv1d",
        module="",
        padding=padding,
        dilation=dilation,
        input_shape=(2, 8, 9),
        output_shape=(2, 8, n_out),
    )
    assert tap_share(use, (3,), stride) == pytest.approx(want)
    assert tap_share(use, (), ()) == 1.0


# ---------------------------------------------------------------------- the network
class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.heads = heads

    def forward(self, x, memory=None):
        memory = x if memory is None else memory

        def split(t):
            return t.view(len(t), -1, self.heads, t.shape[-1] // self.heads).transpose(1, 2)

        y = nn.functional.scaled_dot_product_attention(split(self.q(x)), split(self.k(memory)), split(self.v(memory)))
        return self.o(y.transpose(1, 2).flatten(2))


def mlp(width, norm=True):
    layers = [nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)]
    return nn.Sequential(nn.LayerNorm(width), *layers) if norm else nn.Sequential(*layers)


class Translator(nn.Module):
    """An encoder of N and a decoder of M layers that attends to it."""

    def __init__(self, n=4, m=2, width=16):
        super().__init__()
        self.source, self.target = nn.Embedding(20, width), nn.Embedding(30, width)
        self.enc = nn.ModuleList(nn.ModuleList([Attention(width, 2), mlp(width, False)]) for _ in range(n))
        self.dec = nn.ModuleList(
            nn.ModuleList([Attention(width, 2), Attention(width, 2), mlp(width, False)]) for _ in range(m)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 30)

    def forward(self, ids, out):
        x = self.source(ids)
        for attention, feed in self.enc:
            x = x + attention(x)
            x = x + feed(x)
        y = self.target(out)
        for attention, cross, feed in self.dec:
            y = y + attention(y)
            y = y + cross(y, x)
            y = y + feed(y)
        return self.head(self.norm(y))


IDS, OUT = torch.arange(10).reshape(2, 5), torch.arange(6).reshape(2, 3)


def test_a_stream_that_attends_to_another_is_a_decoder():
    net = network(Translator(), IDS, OUT)
    sizes = {s.num_branches: net.is_decoder(s.number) for s in net.roles.streams}
    assert sizes == {8: False, 6: True}
    assert net.width == 16
    assert net.head_dim == 8
    assert network(mlp(16), normal(4, 16)).head_dim is None
    assert not network(mlp(16), normal(4, 16)).is_decoder(0)


@pytest.mark.slow
def test_encoders_and_decoders_are_scaled_by_their_own_depths():
    n, m, glorot = 4, 2, math.sqrt(2 / 32)
    plan = fanin.plan(Translator(n, m), (IDS, OUT), recipe="deepnorm")
    assert plan["enc.0.0.o.weight"].std == pytest.approx(glorot * 0.87 * (n**4 * m) ** (-1 / 16), rel=1e-6)
    assert plan["dec.0.0.o.weight"].std == pytest.approx(glorot * (12 * m) ** -0.25, rel=1e-6)
    assert plan["dec.0.0.q.weight"].std == pytest.approx(glorot, rel=1e-6)
    plan = fanin.plan(Translator(n, m), (IDS, OUT), recipe="t_fixup")
    assert plan["enc.0.0.o.weight"].std == pytest.approx(glorot * 0.67 * n**-0.25, rel=1e-6)
    assert plan["dec.0.0.o.weight"].std == pytest.approx(glorot * (9 * m) ** -0.25, rel=1e-6)
    assert plan["dec.0.0.v.weight"].std == pytest.approx(glorot * math.sqrt(2) * (9 * m) ** -0.25, rel=1e-6)


class Image(nn.Module):
    """A residual stream of images: its features are axis 1."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 12, 3, padding=1)
        self.c = nn.Conv2d(12, 12, 3, padding=1)

    def forward(self, x):
        x = self.a(x)
        x = x + self.b(x)
        return x + self.c(x)


def test_the_width_of_a_model():
    assert network(Image(), normal(2, 3, 7, 7)).width == 12
    plain = nn.Sequential(nn.Linear(9, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 3))
    assert network(plain, normal(2, 9)).width == 20
    assert network(nn.LayerNorm(5), normal(2, 5)).width == 1


def test_outputs_behind_a_spectral_norm_are_predicted():
    inner = nn.utils.parametrizations.spectral_norm(nn.Linear(64, 64))
    model, x = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), inner, nn.ReLU(), nn.Linear(64, 4)), normal(256, 32)
    plan = fanin.init_(model, x)
    assert plan["0.weight"].predicted_rms == (pytest.approx(1.0, rel=1e-6),)
    model.eval()
    for name, piece in (("2.parametrizations.weight.original", model[:3]), ("4.weight", model)):
        (rms,), (se,) = plan[name].predicted_rms, plan[name].predicted_se
        measured = float(piece(x).detach().square().mean().sqrt())
        assert abs(math.log(measured / rms)) <= 5 * math.hypot(se, 0.02)
    assert plan["2.parametrizations.weight.original"].predicted_rms[0] < 0.5  # without the norm it is 1


class Tokens(nn.Module):
    """Two tables side by side, and what else may be added to them."""

    def __init__(self, width=16):
        super().__init__()
        self.text = nn.ModuleDict({"words": nn.Embedding(20, width), "places": nn.Embedding(9, width)})
        self.blocks = nn.ModuleList(mlp(width) for _ in range(2))
        self.head = nn.Linear(width, 20)

    def forward(self, ids):
        x = self.text["words"](ids) + self.text["places"](torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


def test_positions_are_drawn_like_the_tokens_beside_them():
    plan = fanin.plan(Tokens(), torch.arange(10).reshape(2, 5))
    words, places = plan["text.words.weight"], plan["text.places.weight"]
    assert places.rule == "position"
    assert places.std == words.std == 1.0
    assert "text.words.weight" in places.reason


class Added(nn.Module):
    """A table of numbers added to scores, inside a branch."""

    def __init__(self, width=16, tokens=5):
        super().__init__()
        self.entry, self.norm = nn.Linear(8, width), nn.LayerNorm(width)
        self.scores, self.values = nn.Linear(width, tokens), nn.Linear(width, width)
        self.bias, self.head = nn.Parameter(torch.ones(1, tokens, tokens)), nn.Linear(width, 3)

    def forward(self, x):
        h = self.entry(x)
        n = self.norm(h)
        h = h + torch.softmax(self.scores(n) + self.bias, -1) @ self.values(n)
        return self.head(h)


def test_what_is_added_to_attention_scores_is_zero():
    assert fanin.plan(Added(), normal(3, 5, 8))["bias"].initializer == Zeros()


# ---------------------------------------------------------------------- the sweep
class Twice(nn.Module):
    """One map that reads inputs of two sizes."""

    def __init__(self):
        super().__init__()
        self.norm, self.fc, self.head = nn.LayerNorm(64, eps=1e-12), nn.Linear(64, 64, bias=False), nn.Linear(64, 3)
        self.entry = nn.Linear(8, 64)

    def forward(self, x):
        a = self.norm(self.entry(x))
        return self.head(torch.tanh(self.fc(a)) * torch.tanh(self.fc(3.0 * a)))


def test_a_map_used_twice_goes_by_the_mean_of_what_it_reads():
    plan = fanin.plan(Twice(), normal(4, 8))
    assert plan["fc.weight"].std == pytest.approx(1 / math.sqrt(64 * 5.0), rel=1e-3)
    assert len(plan["fc.weight"].predicted_rms) == 2
    assert plan["fc.weight"].predicted_rms[1] == pytest.approx(3 * plan["fc.weight"].predicted_rms[0], rel=1e-6)


@pytest.mark.parametrize(("eps", "snapped"), [(1.9e-3, True), (2.1e-3, False)])
def test_what_a_norms_eps_takes_off_is_not_made_up_for(eps, snapped):
    model = nn.Sequential(nn.Linear(8, 64), nn.LayerNorm(64, eps=eps), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    std = fanin.plan(model, normal(4, 8))["2.weight"].std
    assert (std == pytest.approx(1 / 8, abs=0.0, rel=1e-12)) == snapped
    assert std == pytest.approx(math.sqrt((1 + eps) / 64) if not snapped else 1 / 8, rel=1e-4)


@pytest.mark.parametrize("norm", [nn.utils.parametrizations.weight_norm])
def test_weight_norm_gets_the_length_of_the_rows_that_the_law_gives(norm):
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), norm(nn.Linear(64, 64)), nn.ReLU(), nn.Linear(64, 4))
    plan = fanin.init_(model, normal(256, 8))
    plain = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    want = fanin.plan(plain, normal(256, 8))
    (name,) = [n for n in plan if n.endswith("original1")]
    assert plan[name].std == pytest.approx(want["2.weight"].std, rel=1e-6)
    assert plan["4.weight"].std == pytest.approx(want["4.weight"].std, rel=0.02)
    assert plan[name].predicted_rms[0] == pytest.approx(want["2.weight"].predicted_rms[0], rel=0.02)


def test_a_derivation_goes_from_fan_in_to_the_std():
    plan = fanin.plan(nn.LSTM(4, 8), normal(3, 2, 4))
    for a in (plan["weight_ih_l0"], plan["weight_hh_l0"]):
        assert a.rule.startswith("recurrent")
    stacked = fanin.plan(
        nn.Sequential(*(m for _ in range(6) for m in (nn.Linear(8, 8), nn.ReLU())), nn.Linear(8, 2)), normal(4, 8)
    )["2.weight"]
    assert stacked.steps[0].quantity == "fan_in"
    assert stacked.steps[0].value == 8
    assert next(s for s in stacked.steps if s.quantity == "std").value == pytest.approx(stacked.std)


# ---------------------------------------------------------------------- the whole network
def clones(values, noise=0.0):
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.weight.copy_(values)
        model[2].weight[3, 3] += noise
    return model


@pytest.mark.parametrize(
    ("values", "noise", "said"),
    [
        (torch.arange(16.0).reshape(4, 4), 0.0, True),
        (torch.arange(16.0).reshape(4, 4), 1.0, False),
        (torch.ones(4, 4), 0.0, False),
    ],
)
def test_equal_weights_are_named_as_copies(values, noise, said):
    plan = fanin.plan(clones(values, noise=noise), normal(3, 4))
    assert sum(w.startswith("1 weight is a copy") and "2.weight of 0.weight" in w for w in plan.warnings) == said
    assert any("a copy of" in w for w in plan.warnings) == said


@pytest.mark.parametrize(("inputs", "outputs", "said"), [(5, 3, False), (4, 4, True)])
def test_copies_are_told_from_chance_by_sixteen_numbers(inputs, outputs, said):
    layers = [nn.Linear(inputs, outputs), nn.Linear(outputs, inputs), nn.Linear(inputs, outputs)]
    with torch.no_grad():
        layers[2].weight.copy_(layers[0].weight)
    model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    assert any("a copy of" in w for w in fanin.plan(model, normal(3, inputs)).warnings) == said


def test_copies_behind_a_kept_weight_are_named_too():
    copies = clones(torch.arange(16.0).reshape(4, 4))
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), *copies)
    model[0].weight.requires_grad_(False)
    plan = fanin.plan(model, normal(3, 4))
    assert any("4.weight of 2.weight" in w for w in plan.warnings)


def test_a_step_ends_with_its_source_where_it_has_one():
    assert str(Step(quantity="gain", value=1.5, source="He 2015")).endswith("[He 2015]")
    assert "[" not in str(Step(quantity="gain", value=1.5))


class Residual(nn.Module):
    def __init__(self, body, share=1.0):
        super().__init__()
        self.body, self.share = body, share

    def forward(self, x):
        return x + self.share * self.body(x)


@pytest.mark.parametrize(("growth", "said"), [(9.5, False), (10.5, True)])
def test_a_stream_that_grows_tenfold_is_reported(growth, said):
    """He's law doubles the variance with every branch: 8-fold in rms behind six, the seventh adds its share."""
    shares = [1.0] * 6 + [math.sqrt((growth / 8.0) ** 2 - 1.0)]
    blocks = [Residual(nn.Sequential(nn.ReLU(), nn.Linear(64, 64)), share) for share in shares]
    model = nn.Sequential(nn.Linear(8, 64), *blocks, nn.Linear(64, 3))
    plan = fanin.plan(model, normal(4, 8), recipe="classic")
    assert any("the residual stream grows" in w for w in plan.warnings) == said


# ---------------------------------------------------------------------- the rules that recipes share
class Everything(nn.Module):
    def __init__(self, tied):
        super().__init__()
        self.table, self.places = nn.Embedding(20, 16), nn.Embedding(9, 16)
        self.norm, self.rnn = nn.LayerNorm(16), nn.LSTM(16, 16, batch_first=True)
        self.gru = nn.GRU(16, 16, batch_first=True)
        self.blocks = nn.ModuleList(mlp(16) for _ in range(2))
        self.head = nn.Linear(16, 20, bias=False)
        if tied:
            self.head.weight = self.table.weight

    def forward(self, ids):
        x = self.table(ids) + self.places(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = x + block(x)
        return self.head(self.gru(self.rnn(self.norm(x))[0])[0])


@pytest.mark.parametrize("tied", [False, True])
def test_the_rules_that_recipes_share(tied):
    plan = fanin.plan(Everything(tied), torch.arange(10).reshape(2, 5), recipe="classic")
    assert plan["table.weight"].std == pytest.approx(0.25 if tied else 1.0)
    assert plan["places.weight"].std == 0.02
    assert plan["norm.weight"].initializer == Ones()
    assert plan["rnn.weight_ih_l0"].initializer == VarianceScaling(gain=1.0, mode="fan_avg", law="normal")
    assert plan["rnn.weight_hh_l0"].initializer == Orthogonal()
    assert plan["rnn.bias_ih_l0"].initializer == ForgetBias()
    for name in ("rnn.bias_hh_l0", "gru.bias_ih_l0", "gru.bias_hh_l0", "norm.bias"):
        assert plan[name].initializer == Zeros()


class Offset(nn.Module):
    def __init__(self, width, one):
        super().__init__()
        self.weight, self.one = nn.Parameter(torch.zeros(width)), one

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-12) * (self.one + self.weight)


@pytest.mark.parametrize(("one", "law"), [(1.0, Zeros()), (0.25, Constant(0.75)), (0.0, Ones())])
def test_the_common_norm_scale_makes_one_of_what_is_added_to_it(one, law):
    model = nn.Sequential(nn.Linear(8, 16), Offset(16, one), nn.Linear(16, 4))
    assert fanin.plan(model, normal(4, 8), recipe="classic")["1.weight"].initializer == law


class Query(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.queries, self.cls = nn.Parameter(torch.zeros(1, 5, width)), nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList(mlp(width) for _ in range(2))
        self.read, self.head = nn.Linear(8, width), nn.Linear(width, 3)

    def forward(self, x, stream):
        if stream:
            h = self.queries.expand(len(x), -1, -1)
        else:
            h = torch.cat([self.cls.expand(len(x), -1, -1), self.read(x)[:, None]], 1)
        for block in self.blocks:
            h = h + block(h)
        return self.head(h.mean(1) + self.read(x))


def test_tokens_by_convention_and_queries_of_unit_size():
    assert fanin.plan(Query(), (normal(3, 8), True), recipe="classic")["queries"].std == 1.0
    assert fanin.plan(Query(), (normal(3, 8), False), recipe="classic")["cls"].std == 0.02


class Mirrored(nn.Module):
    """Weights on the left of the product, one of them made of another: W x and (W - mean W) x."""

    def __init__(self, width=16):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, width))

    def forward(self, x):
        x = torch.tanh(self.weight @ x)
        return (self.weight - self.weight.mean()) @ x


def test_values_made_of_parameters_alone_are_no_data():
    net = network(Mirrored(), normal(16, 4))
    products = [op for op in net.graph.live_ops() if op.name in ("matmul", "mm", "linear")]
    made = {
        net.graph.parameters["weight"].value,
        *(i for i in products[1].inputs if i != net.data_operand(products[1])),
    }
    assert made <= net.weight_only
    assert not {net.data_operand(op) for op in products} & net.weight_only
    assert [net.data_operand(op) for op in products] == [net.graph.inputs[0], products[1].inputs[1]]


# ---------------------------------------------------------------------- derivations
def test_a_derivation_ends_in_one_std_and_a_fixed_law_has_none():
    plan = fanin.plan(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), normal(4, 8))
    for name in ("0.weight", "2.weight"):
        quantities = [s.quantity for s in plan[name].steps if s.quantity != "evidence"]
        assert quantities[0] == "fan_in"
        assert quantities[-1] == "std"
        assert quantities.count("std") == 1
    state = fanin.plan(nn.LSTM(8, 8), normal(3, 2, 8))["weight_hh_l0"]
    assert [s.quantity for s in state.steps] == ["evidence"]


def test_what_stays_says_why_and_what_it_holds():
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    model[0].weight.requires_grad_(False)
    frozen = fanin.plan(model, normal(4, 64))["0.weight"].reason
    assert frozen.startswith("it is frozen (requires_grad=False): uniform within")
    kept = fanin.plan(model, normal(4, 64), recipe="keep")["2.weight"].reason
    assert kept.startswith("uniform")


@pytest.mark.parametrize(("value", "wrong"), [(1.1e-6, True), (1e-6, False)])
def test_a_small_constant_is_compared_with_its_own_size(value, wrong):
    values = np.full((4, 4), value, dtype=np.float32)
    found = list(departures("w", values, Constant(float(np.float32(1e-6))), None, "float32", 5.0))
    assert [m.quantity for m in found] == ["values"] * wrong
