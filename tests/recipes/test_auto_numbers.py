"""Every number of `auto`: what happens on both sides of a threshold, and what each constant gives in closed form."""

import itertools
import math

import pytest
import torch
from torch import nn

import fanin
from fanin.theory.moments import gaussian_moments


def plain(hidden, activation, width=16, inputs=8, outputs=4):
    """A plain stack with `hidden` activations."""
    widths = [inputs, *[width] * hidden]
    layers = [m for a, b in itertools.pairwise(widths) for m in (nn.Linear(a, b), activation())]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def of_moment(moment, *shape):
    """Numbers whose mean square is exactly that."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (x * math.sqrt(moment) / x.square().mean().sqrt()).float()


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, fn):
        super().__init__()
        self.fn = fn

    def forward(self, x):
        return self.fn(x)


def rules_of(model, x, **options):
    plan = fanin.plan(model, x, **options)
    return {a.rule for a in plan.values() if a.role == "weight"}


# ---------------------------------------------------------------------- which start a plain stack gets
@pytest.mark.parametrize(
    ("activation", "first_depth", "rule"),
    [(nn.ReLU, 4, "mirrored"), (nn.ELU, 4, "orthogonal"), (nn.Tanh, 16, "critical")],
)
def test_a_stack_gets_its_own_start_from_a_depth_on(activation, first_depth, rule):
    x = of_moment(1.0, 4, 8)
    assert rule in rules_of(plain(first_depth, activation), x)
    assert rule not in rules_of(plain(first_depth - 1, activation), x)


def chi(a, shift=0.0, at=0.0):
    """chi_1 of sigmoid(a x + at) - shift once its mean is removed, and the share of E f² that is mean."""
    m = gaussian_moments(lambda z: 1.0 / (1.0 + torch.exp(-a * torch.as_tensor(z) - at).numpy()) - shift)
    return m.dsecond / m.var, m.mean**2 / m.second


def solve(f, target, low, high):
    """Argument in [low, high] where an increasing function reaches the target."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if f(middle) < target else (low, middle)
    return low


@pytest.mark.parametrize(("at", "centred"), [(1.055, True), (1.065, False)])
def test_a_logistic_stack_is_centred_while_the_gradient_grows_by_less_than_six_percent_a_layer(at, centred):
    # the further a logistic function is moved, the more it is an exponential
    b = solve(lambda b: chi(1.0, at=b)[0], at, 0.0, 4.0)
    model = plain(3, lambda: Apply(lambda x: torch.sigmoid(x + b)))
    assert ("centred" in rules_of(model, of_moment(1.0, 4, 8))) == centred


@pytest.mark.parametrize(("share", "centred"), [(0.51, True), (0.49, False)])
def test_a_stack_is_centred_where_at_least_half_of_the_second_moment_is_mean(share, centred):
    shift = solve(lambda s: -chi(1.0, s)[1], -share, 0.0, 0.5)
    model = plain(3, lambda: Apply(lambda x: torch.sigmoid(x) - shift))
    assert ("centred" in rules_of(model, of_moment(1.0, 4, 8))) == centred


@pytest.mark.parametrize(("omega", "siren"), [(5.0, True), (4.9, False), (-5.0, True)])
@pytest.mark.parametrize("wave", [torch.sin, torch.cos])
def test_a_network_of_sines_is_one_from_omega_5_on(omega, siren, wave):
    model = plain(2, lambda: Apply(lambda x: wave(omega * x)))
    got = rules_of(model, of_moment(1.0, 4, 8))
    assert ("siren" in got) == siren
    assert got == {"siren first", "siren", "siren last"} or not siren


def test_maps_behind_sines_give_phases_of_unit_std():
    plan = fanin.plan(plain(2, lambda: Apply(lambda x: torch.sin(30.0 * x)), width=64), of_moment(1.0, 4, 8))
    assert plan["2.weight"].initializer.bound == pytest.approx(math.sqrt(3.0 / (64 * 0.5)) / 30.0, rel=0.02)
    second = (1.0 - math.exp(-2.0)) / 2.0  # E sin²(z), z ~ N(0, 1)
    assert plan["4.weight"].initializer.bound == pytest.approx(math.sqrt(3.0 / (64 * second)) / 30.0, rel=0.02)


# ---------------------------------------------------------------------- inputs
@pytest.mark.parametrize(("moment", "divide"), [(1.24, 1.0), (1.26, 1.26), (0.1, 1.0)])
@pytest.mark.parametrize("hidden", [2, 6])
def test_the_first_layer_divides_by_the_input_only_where_it_is_large(moment, divide, hidden):
    plan = fanin.plan(plain(hidden, nn.ReLU), of_moment(moment, 16, 8))
    assert plan["0.weight"].std == pytest.approx(1.0 / math.sqrt(8 * divide), rel=1e-4)


@pytest.mark.parametrize(("moment", "said"), [(0.29, True), (0.31, False), (2.95, False), (3.05, True)])
def test_an_input_far_from_unit_size_is_reported(moment, said):
    plan = fanin.plan(plain(2, nn.ReLU), of_moment(moment, 16, 8))
    assert any("second moment" in w for w in plan.warnings) == said


def test_every_float_input_is_looked_at_and_integers_are_not():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.fc = nn.Embedding(9, 8), nn.Linear(8, 4)

        def forward(self, ids, x, empty):
            return self.fc(self.table(ids) + x) + empty.sum()

    plan = fanin.plan(Two(), (torch.full((2, 3), 7), of_moment(9.0, 2, 3, 8), torch.zeros(0)))
    (warning,) = [w for w in plan.warnings if "second moment" in w]
    assert "'1' has second moment 9" in warning


# ---------------------------------------------------------------------- heads
class Faint(nn.Module):
    """A head that reads what a norm made, times a number: E x² is its square."""

    def __init__(self, size, width=64):
        super().__init__()
        self.size, self.first, self.norm = size, nn.Linear(8, width), nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        return self.head(self.size * self.norm(self.first(x)))


@pytest.mark.parametrize(("size", "taken"), [(0.45, 0.25), (0.55, 0.55**2), (2.0, 4.0)])
def test_a_head_is_scaled_up_only_as_far_as_for_an_input_of_half_size(size, taken):
    plan = fanin.plan(Faint(size), of_moment(1.0, 4, 8))
    assert plan["head.weight"].std == pytest.approx(1.0 / math.sqrt(64 * taken), rel=1e-3)


@pytest.mark.parametrize(("width", "rms"), [(25, 0.1), (400, 0.05)])
def test_a_calm_head_gives_outputs_of_a_tenth_or_less(width, rms):
    plan = fanin.plan(Faint(1.0, width), of_moment(1.0, 4, 8), head="calm")
    assert plan["head.weight"].std == pytest.approx(rms / math.sqrt(width), rel=1e-3)


@pytest.mark.parametrize(
    ("activation", "hidden", "second"),
    [(nn.Sigmoid, 3, None), (nn.Tanh, 20, None), (nn.ReLU, 6, 0.5)],
)
def test_a_calm_head_of_a_plain_stack_gives_a_tenth_of_the_unit_one(activation, hidden, second):
    model, x = plain(hidden, activation, width=32), of_moment(1.0, 4, 8)
    name = f"{2 * hidden}.weight"
    unit, calm = (fanin.plan(model, x, head=h)[name] for h in ("unit", "calm"))
    assert calm.rule == unit.rule != "head"
    assert calm.std / unit.std == pytest.approx(0.1, rel=1e-9)
    assert calm.predicted_rms[0] / unit.predicted_rms[0] == pytest.approx(0.1, rel=1e-6)
    assert unit.predicted_rms[0] == pytest.approx(1.0, rel=0.05)
    zero = fanin.plan(model, x, head="zero")[name]
    assert zero.std == 0.0
    assert zero.predicted_rms == (0.0,)


def test_the_first_map_of_a_critical_stack_sets_q_for_a_large_input():
    model = plain(20, nn.Tanh, width=32)
    one, four = (fanin.plan(model, of_moment(m, 16, 8))["0.weight"].std for m in (1.0, 4.0))
    assert one / four == pytest.approx(2.0, rel=1e-4)
    one, four = (fanin.plan(plain(3, nn.Sigmoid), of_moment(m, 16, 8))["0.weight"].std for m in (1.0, 4.0))
    assert one / four == pytest.approx(2.0, rel=1e-4)


@pytest.mark.parametrize("depth", [16, 40])
def test_a_critical_stack_spreads_its_singular_values_by_their_mean(depth):
    plan = fanin.plan(plain(depth, nn.Tanh, width=32), of_moment(1.0, 4, 8))
    at = fanin.theory.isometry("tanh", depth=depth, q=8 * plan["0.weight"].std ** 2)
    assert at.relative_var == pytest.approx(1.0, rel=1e-3)


def test_a_critical_head_gives_unit_outputs_from_its_small_input():
    plan = fanin.plan(plain(20, nn.Tanh, width=32), of_moment(1.0, 4, 8))
    q = 8 * plan["0.weight"].std ** 2
    second = gaussian_moments("tanh", q=q).second
    assert plan["40.weight"].std == pytest.approx(1.0 / math.sqrt(32 * second), rel=1e-6)


@pytest.mark.parametrize("a", [1.0, 0.5])
def test_centred_maps_have_the_size_at_which_the_function_saturates(a):
    """sigmoid(a x) saturates at 2 / a; rows that sum to zero leave Var f of E f²."""
    model = plain(3, lambda: Apply(lambda x: torch.sigmoid(a * x)), width=512)
    plan = fanin.plan(model, of_moment(1.0, 4, 8))
    width = 2.0 / a
    assert plan["0.weight"].std == pytest.approx(width / math.sqrt(8), rel=1e-5)
    var = gaussian_moments("sigmoid", q=4.0).var
    assert plan["2.weight"].std == pytest.approx(width / math.sqrt(512 * var), rel=0.01)
    assert plan["6.weight"].std == pytest.approx(1.0 / math.sqrt(512 * var), rel=0.01)


@pytest.mark.parametrize(
    ("activation", "gain"),
    [
        # unmirrored ReLU: both gains are sqrt(2); GELU: their geometric mean; ELU, SELU: the backward one
        (nn.ReLU, math.sqrt(2.0)),
        (nn.GELU, (fanin.theory.gain("gelu") * fanin.theory.gain("gelu", direction="backward")) ** 0.5),
        (nn.ELU, fanin.theory.gain("elu", direction="backward")),
        (nn.SELU, fanin.theory.gain("selu", direction="backward")),
    ],
)
def test_unmirrored_stacks_are_orthogonal_at_their_gain(activation, gain):
    plan = fanin.plan(plain(5, activation), of_moment(1.0, 4, 8), mirrored=False)
    assert plan["2.weight"].rule == "orthogonal"
    assert plan["2.weight"].initializer.gain == pytest.approx(gain, rel=1e-6)
    assert {plan["0.weight"].rule, plan["10.weight"].rule} == {"first layer", "head"}


# ---------------------------------------------------------------------- mirrored pairs
@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_mirrored_maps_undo_the_slope_of_a_pair(slope):
    plan = fanin.plan(plain(5, lambda: nn.LeakyReLU(slope), width=64), of_moment(4.0, 16, 8))
    gains = [plan[f"{i}.weight"].initializer.gain for i in (0, 2, 8, 10)]
    assert gains == pytest.approx([0.5, 1 / (1 + slope), 1 / (1 + slope), 1 / (1 + slope)], rel=1e-4)
    assert [plan[f"{i}.weight"].initializer.side for i in (0, 2, 8, 10)] == ["output", "both", "both", "input"]


def conv_stack(padding, n=5, **conv):
    layers = [nn.Conv2d(1, 8, 3, padding=padding, **conv), nn.ReLU()]
    for _ in range(n - 1):
        layers += [nn.Conv2d(8, 8, 3, padding=padding, **conv), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


def profile_growth(q, dilation=1, padding=1, k=3):
    """Mean of q after one zero-padded 1-d convolution over its mean before; and the new profile."""
    n = len(q)
    out = []
    for o in range(n):
        taps = [o - padding + t * dilation for t in range(k)]
        out.append(sum(q[i] for i in taps if 0 <= i < n) / k)
    mean = sum(out) / n
    return mean / (sum(q) / n), [v / mean for v in out]


@pytest.mark.parametrize(("padding", "dilation"), [(1, 1), ("same", 1), (2, 2)])
def test_mirrored_convolutions_make_up_for_zero_padding_layer_by_layer(padding, dilation):
    size = 9
    plan = fanin.plan(conv_stack(padding, dilation=dilation), of_moment(1.0, 4, 1, size, size))
    q = [1.0] * size
    for layer in range(5):
        growth, q = profile_growth(q, dilation, dilation)
        gain = plan[f"{2 * layer}.weight"].initializer.gain
        assert gain == pytest.approx(1.0 / growth, rel=1e-4)  # two dimensions: 1 / sqrt(growth²)
    assert plan["12.weight"].initializer.gain == pytest.approx(1.0)


@pytest.mark.parametrize("padding", [0, "valid"])
def test_mirrored_convolutions_without_padding_need_no_correction(padding):
    plan = fanin.plan(conv_stack(padding), of_moment(1.0, 4, 1, 16, 16))
    assert [plan[f"{2 * i}.weight"].initializer.gain for i in range(5)] == pytest.approx([1.0] * 5)


# ---------------------------------------------------------------------- tables and tokens
class Language(nn.Module):
    def __init__(self, tokens, width, size=1.0, tied=True, cell=None):
        super().__init__()
        self.size = size
        self.table, self.norm = nn.Embedding(tokens, width), nn.LayerNorm(width, eps=1e-12)
        self.rnn = cell(width, width, batch_first=True) if cell is not None else None
        self.head = nn.Linear(width, tokens, bias=False)
        if tied:
            self.head.weight = self.table.weight

    def forward(self, ids):
        x = self.table(ids)
        x = self.size * self.norm(x) if self.rnn is None else self.rnn(x)[0]
        return self.head(x)


IDS = torch.arange(6).reshape(2, 3)


@pytest.mark.parametrize("size", [1.0, 2.0])
def test_a_tied_table_has_the_share_of_gpt2(size):
    """0.02 at width 768, relative to the std that gives logits of rms 1."""
    plan = fanin.plan(Language(50, 768, size), IDS)
    want = 0.02 * math.sqrt(768.0) / (math.sqrt(768) * size)
    limit = math.sqrt(2.0) * math.log(50) / (768 * size)
    assert plan["table.weight"].std == pytest.approx(min(want, limit), rel=1e-3)
    wide = fanin.plan(Language(50, 32, size), IDS)
    assert wide["table.weight"].std == pytest.approx(0.02 * math.sqrt(768.0 / 32) / size, rel=1e-3)


def test_a_calm_tied_table_gives_logits_of_a_tenth():
    plan = fanin.plan(Language(50, 32), IDS, head="calm")
    assert plan["table.weight"].std == pytest.approx(0.1 / math.sqrt(32), rel=2e-3)


def test_a_table_tied_to_the_head_of_a_recurrent_cell_takes_its_state_for_unit_size():
    plan = fanin.plan(Language(50, 16, cell=nn.LSTM), IDS)
    assert plan["table.weight"].std == pytest.approx(0.02 * math.sqrt(768.0 / 16), rel=1e-3)


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])
def test_a_head_on_a_recurrent_state_keeps_one_over_sqrt_of_its_width(cell):
    plan = fanin.plan(Language(50, 16, tied=False, cell=cell), IDS)
    assert plan["head.weight"].std == pytest.approx(16**-0.5, rel=1e-6)


def test_a_summed_bag_of_rows_has_unit_size():
    from fanin.graph.roles.data import ParameterRole
    from fanin.layout import Layout
    from fanin.recipes.auto.options import AutoOptions
    from fanin.recipes.auto.tables import embedding
    from fanin.recipes.engine.draft import Read

    role = ParameterRole(name="t", role="embedding", shape=(50, 16), layout=Layout.embedding(bag=9))
    assert embedding(None, role, AutoOptions()).make(Read()).law.std == pytest.approx(1.0 / 3.0)


# ---------------------------------------------------------------------- loops, adapters
class Looped(nn.Module):
    def __init__(self, steps, width=8):
        super().__init__()
        self.steps, self.inner, self.head = steps, nn.Linear(width, width), nn.Linear(width, 4)

    def forward(self, x):
        for _ in range(self.steps):
            x = torch.tanh(self.inner(x))
        return self.head(x)


@pytest.mark.parametrize(("steps", "rule"), [(2, "first layer"), (3, "recurrent")])
def test_a_map_that_feeds_itself_three_times_is_a_recurrence(steps, rule):
    assert fanin.plan(Looped(steps), of_moment(1.0, 4, 8))["inner.weight"].rule == rule


class Adapted(nn.Module):
    """A low-rank adapter beside a map, its second factor zero or not."""

    def __init__(self, rank, zero, width=16):
        super().__init__()
        self.base, self.down = nn.Linear(width, width), nn.Linear(width, rank, bias=False)
        self.up = nn.Linear(rank, width, bias=False)
        if zero:
            nn.init.zeros_(self.up.weight)

    def forward(self, x):
        return torch.relu(self.base(x) + self.up(self.down(x)))


@pytest.mark.parametrize(
    ("rank", "zero", "is_adapter"), [(4, True, True), (4, False, False), (15, True, True), (16, True, False)]
)
def test_the_second_factor_of_a_low_rank_adapter_stays_zero_where_its_module_sets_it(rank, zero, is_adapter):
    plan = fanin.plan(nn.Sequential(Adapted(rank, zero), nn.Linear(16, 4)), of_moment(1.0, 4, 16))
    assert (plan["0.up.weight"].rule == "adapter") == is_adapter
    assert (plan["0.up.weight"].std == 0.0) == is_adapter


@pytest.mark.parametrize(("memory", "fine"), [(2.0, False), (2.1, True)])
def test_a_memory_is_longer_than_two_steps(memory, fine):
    if fine:
        assert fanin.plan(nn.LSTM(4, 4), of_moment(1.0, 3, 2, 4), memory=memory)["bias_ih_l0"].rule == "chrono"
    else:
        with pytest.raises(fanin.errors.ArgumentError, match="memory"):
            fanin.plan(nn.LSTM(4, 4), of_moment(1.0, 3, 2, 4), memory=memory)


def test_a_map_behind_a_sine_that_is_not_predicted_counts_on_half():
    from fanin.graph.roles.data import ParameterRole
    from fanin.layout import Layout
    from fanin.recipes.auto.siren import _hidden
    from fanin.recipes.engine.draft import Read

    role = ParameterRole(name="w", role="weight", shape=(16, 64), layout=Layout.linear())
    law = _hidden(role, 30.0, last=False).make(Read()).law
    assert law.bound == pytest.approx(math.sqrt(3.0 / 0.5) / 30.0)  # a role without uses has a fan_in of 1
