"""Every choice of `auto` that rests on evidence, on both sides: which rule decides, and what follows from it."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import fanin
from fanin.initializers import ForgetBias, Normal, Ones, Orthogonal, Zeros
from tests.selection import few


def normal(*shape):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    return x / x.square().mean().sqrt()


class Stream(nn.Module):
    """x + scale * body(x) for each body, then a head."""

    def __init__(self, bodies, width=64, inputs=16, entry=None, scales=None):
        super().__init__()
        self.entry = entry if entry is not None else nn.Linear(inputs, width)
        self.bodies, self.head = nn.ModuleList(bodies), nn.Linear(width, 8)
        self.scales = scales

    def forward(self, x):
        x = self.entry(x)
        for i, body in enumerate(self.bodies):
            x = x + (body(x) if self.scales is None else self.scales[i] * body(x))
        return self.head(x)


def exact_norm(width=64):
    return nn.LayerNorm(width, eps=1e-12)


def normed(width=64):
    return nn.Sequential(exact_norm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))


def bare(width=64, maps=2):
    layers = [m for _ in range(maps) for m in (nn.ReLU(), nn.Linear(width, width))]
    return nn.Sequential(*layers[1:])


# ---------------------------------------------------------------------- residual branches
@pytest.mark.parametrize("n", [2, 9])
def test_the_last_map_of_n_different_branches_is_divided_by_sqrt_n(n):
    plan = fanin.plan(Stream([normed() for _ in range(n)]), normal(8, 16))
    last = plan["bodies.0.3.weight"]
    assert last.rule == "residual"
    assert last.std == pytest.approx(1.0 / math.sqrt(64 * n), rel=1e-3)  # E x² of half a ReLU counts as 1


@pytest.mark.parametrize("n", [2, 9])
def test_the_last_map_of_one_branch_used_n_times_is_divided_by_n(n):
    plan = fanin.plan(Stream([normed()] * n), normal(8, 16))
    last = plan["bodies.0.3.weight"]
    assert last.rule == "residual"
    assert last.std == pytest.approx(1.0 / (math.sqrt(64) * n), rel=1e-3)


def test_a_large_branch_is_scaled_down_by_what_its_last_map_reads():
    class Doubled(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.fc = exact_norm(), nn.Linear(64, 64)

        def forward(self, x):
            return self.fc(3.0 * self.norm(x))

    plan = fanin.plan(Stream([Doubled() for _ in range(4)]), normal(8, 16))
    assert plan["bodies.0.fc.weight"].std == pytest.approx(1.0 / (3.0 * math.sqrt(64 * 4)), rel=1e-3)


def test_the_last_map_is_relative_to_the_stream_it_joins():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(16, 64)

        def forward(self, x):
            return 0.5 * self.fc(x)

    plan = fanin.plan(Stream([normed() for _ in range(4)], entry=Half()), normal(8, 16))
    assert plan["bodies.0.3.weight"].std == pytest.approx(0.5 / math.sqrt(64 * 4), rel=1e-3)
    assert plan.extras["streams"] == [{"branches": 4, "start_rms": pytest.approx(0.5, rel=1e-3)}]


class Sine(nn.Module):
    def forward(self, x):
        return torch.sin(x)


class PostNorm(nn.Module):
    def __init__(self, n, width=64):
        super().__init__()
        self.entry = nn.Linear(16, width)
        self.maps = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(n)
        )
        self.norms, self.head = nn.ModuleList(exact_norm(width) for _ in range(n)), nn.Linear(width, 8)

    def forward(self, x):
        x = 0.5 * self.entry(x)
        for body, norm in zip(self.maps, self.norms, strict=True):
            x = norm(x + body(x))
        return self.head(x)


def test_the_last_map_before_a_post_norm_is_relative_to_a_unit_stream():
    plan = fanin.plan(PostNorm(4), normal(8, 16))
    last = plan["maps.1.2.weight"]
    assert last.rule == "residual"
    assert any(s.value == "post-norm" for s in last.steps)
    assert last.std == pytest.approx(1.0 / math.sqrt(64 * 4), rel=1e-3)


@pytest.mark.parametrize(("maps", "n"), [(2, 4), (3, 8)])
def test_all_maps_of_a_branch_without_norm_share_the_factor_of_its_depth(maps, n):
    plan = fanin.plan(Stream([bare(maps=maps) for _ in range(n)]), normal(8, 16))
    factor = n ** (-1.0 / maps)
    assert plan["bodies.0.0.weight"].std == pytest.approx(factor / math.sqrt(64), rel=1e-3)
    for i in range(1, maps):  # E x² of ReLU is 1/2 for a unit signal; the factor before it is not made up for
        assert plan[f"bodies.0.{2 * i}.weight"].std == pytest.approx(factor * math.sqrt(2 / 64), rel=1e-6)


@pytest.mark.parametrize(
    ("act", "n", "factor"),
    [
        (nn.ReLU, 16, 0.25),
        (nn.GELU, 16, 0.25),
        (nn.Sigmoid, 16, 0.25),  # bounded and not odd: all branches add the same mean
        (nn.Hardshrink, 16, 0.25),  # odd and not bounded
        (nn.Tanh, 16, 1.0),
        (nn.Tanh, 64, 0.75),
        pytest.param(Sine, 64, 0.75, marks=pytest.mark.slow),
    ],
)
def test_the_only_map_of_a_branch_has_a_factor_of_its_own(act, n, factor):
    bodies = [nn.Sequential(nn.Linear(64, 64, bias=False), act()) for _ in range(n)]
    first = fanin.plan(Stream(bodies), normal(8, 16))["bodies.0.0.weight"]
    assert first.rule == "residual single"
    assert first.std == pytest.approx(factor / math.sqrt(64), rel=2e-3)


class Gated(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.up, self.gate, self.down = (nn.Linear(width, width, bias=False) for _ in range(3))

    def forward(self, x):
        return self.down(self.up(x) * torch.sigmoid(self.gate(x)))


def test_the_last_map_of_a_gated_branch_without_norm_is_divided_by_the_number_of_branches():
    plan = fanin.plan(Stream([Gated() for _ in range(5)]), normal(8, 16))
    last = plan["bodies.0.down.weight"]
    assert last.rule == "residual no norm"
    second = fanin.theory.moments.gaussian_moments("sigmoid").second
    assert last.std == pytest.approx(1.0 / (math.sqrt(64 * second) * 5), rel=0.01)
    assert plan["bodies.0.up.weight"].rule == "forward"


@pytest.mark.parametrize(("size", "divided"), [(0.1, False), (0.45, False), (0.55, True), (1.0, True)])
def test_a_small_layer_scale_takes_the_place_of_the_depth_factor(size, divided):
    scales = nn.ParameterList([nn.Parameter(torch.full((64,), size)) for _ in range(4)])
    plan = fanin.plan(Stream([normed() for _ in range(4)], scales=scales), normal(8, 16))
    last = plan["bodies.0.3.weight"]
    assert (last.rule == "residual") == divided
    if not divided:
        assert last.std == pytest.approx(math.sqrt(2 / 64), rel=1e-3)
    assert plan["scales.0"].action == "keep"


class Ended(nn.Module):
    """A branch between two norms."""

    def __init__(self, norm, width=64):
        super().__init__()
        self.norm, self.fc, self.end = exact_norm(width), nn.Linear(width, width), norm(width)

    def forward(self, x):
        return self.end(self.fc(self.norm(x)))


def test_a_norm_that_ends_a_branch_takes_its_share_of_the_stream():
    plan = fanin.plan(Stream([Ended(nn.LayerNorm) for _ in range(9)]), normal(8, 16))
    end = plan["bodies.0.end.weight"]
    assert end.rule == "branch-end norm"
    assert end.initializer.value == pytest.approx(1.0 / 3.0, rel=1e-3)
    assert plan["bodies.0.fc.weight"].std == pytest.approx(1 / 8, rel=1e-3)
    assert plan["bodies.0.norm.weight"].initializer == Ones()


class OneAdded(nn.Module):
    """RMSNorm whose parameter is added to one, as Gemma has it."""

    def __init__(self, width, one=1.0):
        super().__init__()
        self.weight, self.one = nn.Parameter(torch.zeros(width)), one

    def forward(self, x):
        x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-12)
        return x * (self.weight + self.one)


def test_what_is_added_to_a_norms_scale_is_taken_off_it():
    for one, law in ((1.0, Zeros()), (0.25, fanin.initializers.Constant(0.75))):
        model = nn.Sequential(nn.Linear(16, 64), OneAdded(64, one), nn.Linear(64, 4))
        assert fanin.plan(model, normal(8, 16))["1.weight"].initializer == law
    plan = fanin.plan(Stream([Ended(OneAdded) for _ in range(4)]), normal(8, 16))
    assert plan["bodies.0.end.weight"].initializer.value == pytest.approx(0.5 - 1.0, rel=1e-3)


class Convs(nn.Module):
    def __init__(self, norm=nn.BatchNorm2d, width=16):
        super().__init__()
        self.a, self.n = nn.Conv2d(width, width, 3, padding=1, bias=False), norm(width)
        self.b, self.m = nn.Conv2d(width, width, 3, padding=1, bias=False), norm(width)

    def forward(self, x):
        return self.m(self.b(torch.relu(self.n(self.a(x)))))


class Images(nn.Module):
    def __init__(self, bodies, width=16):
        super().__init__()
        self.entry, self.bodies = nn.Conv2d(3, width, 1), nn.ModuleList(bodies)
        self.head = nn.Linear(width, 8)

    def forward(self, x):
        x = self.entry(x)
        for body in self.bodies:
            x = torch.relu(x + body(x))
        return self.head(x.mean((2, 3)))


def test_a_batch_norm_that_ends_a_branch_keeps_one_and_undoes_what_its_map_reads():
    model = Images([Convs() for _ in range(9)])
    plan = fanin.plan(model, normal(4, 3, 8, 8))
    assert {plan[f"bodies.{i}.m.weight"].initializer for i in range(9)} == {Ones()}
    share = ((3 * 8 - 2) / (3 * 8)) ** 2  # taps on data, of a 3 x 3 kernel on 8 x 8 with padding 1
    for i in (0, 8):  # the stream grows, and the weights stay alike
        assert plan[f"bodies.{i}.b.weight"].std == pytest.approx(math.sqrt(2.0 / (16 * 9 * share)), rel=1e-3)


def test_last_map_zero_is_zero_in_every_kind_of_branch():
    for model in (Stream([normed()] * 2), Stream([bare(), bare()]), Stream([Gated(), Gated()])):
        plan = fanin.plan(model, normal(8, 16), last_map="zero")
        zeros = [n for n, a in plan.items() if a.rule == "zero last map"]
        assert zeros
        assert all(plan[n].std == 0.0 for n in zeros)
        assert not any("bodies.0.1." in n or "up" in n or "bodies.0.0." in n for n in zeros)


# ---------------------------------------------------------------------- maps by their place
def test_padding_is_made_up_for_by_the_share_of_taps_on_data():
    plain = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 49, 5))
    plan = fanin.plan(plain, normal(4, 3, 7, 7))
    assert plan["0.weight"].std == pytest.approx(1 / math.sqrt(27 * (19 / 21) ** 2), rel=1e-6)
    strided = nn.Sequential(nn.ConvTranspose2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 49, 5))
    assert fanin.plan(strided, normal(4, 3, 7, 7))["0.weight"].std == pytest.approx(27**-0.5, rel=0.01)


@pytest.mark.parametrize(("kernel", "share"), [(501, 1 / 501), (4001, 1e-3)])
def test_a_kernel_that_lies_on_padding_counts_as_a_thousandth_on_data_at_least(kernel, share):
    model = nn.Sequential(nn.Conv1d(1, 4, kernel, padding=kernel // 2), nn.Flatten(), nn.Linear(4, 2))
    plan = fanin.plan(model, normal(64, 1, 1))
    assert plan["0.weight"].std == pytest.approx(1.0 / math.sqrt(kernel * share), rel=1e-3)


@pytest.mark.parametrize("balance", ["backward", "both"])
def test_balance_keeps_the_gradient_behind_every_activation(balance):
    model = nn.Sequential(nn.Linear(32, 128), nn.GELU(), nn.Linear(128, 32), nn.GELU(), nn.Linear(32, 5))
    slope = fanin.theory.moments.gaussian_moments("gelu").dsecond
    plan = fanin.plan(model, normal(8, 32), balance=balance)
    back = 1 / (32 * slope)
    q = 32 * plan["0.weight"].std ** 2
    front = 1 / (128 * fanin.theory.moments.gaussian_moments("gelu", q=q).second)
    want = back if balance == "backward" else 2 / (1 / front + 1 / back)
    assert plan["2.weight"].std ** 2 == pytest.approx(want, rel=1e-6)
    assert plan["0.weight"].std ** 2 == pytest.approx(1 / 128 if balance == "backward" else 2 / (128 + 32), rel=1e-6)


class Shortcut(nn.Module):
    def __init__(self, kernel=1, groups=1, norm=False, twice=False):
        super().__init__()
        self.skip = nn.Conv2d(16, 16, kernel, padding=kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(16) if norm else nn.Identity()
        self.a, self.b = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.twice = twice

    def forward(self, x):
        x = torch.relu(x)
        x = self.norm(self.skip(x)) + self.b(torch.relu(self.a(x)))
        return torch.relu(self.norm(self.skip(x)) + self.b(torch.relu(self.a(x)))) if self.twice else x


@pytest.mark.parametrize(
    ("block", "entry"),
    [
        ({}, True),
        ({"kernel": 3}, False),
        ({"groups": 2}, False),
        ({"norm": True}, False),
        ({"twice": True}, False),
    ],
)
def test_only_a_plain_pointwise_shortcut_is_orthogonal(block, entry):
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), Shortcut(**block))
    plan = fanin.plan(model, normal(4, 3, 8, 8))
    assert (plan["1.skip.weight"].rule == "stream entry") == entry
    if entry:
        law = plan["1.skip.weight"].initializer
        assert isinstance(law, Orthogonal)
        assert law.scaled
        assert plan["1.skip.weight"].std == pytest.approx(math.sqrt(2 / 16), rel=0.05)


def test_a_map_on_the_input_of_a_stream_is_a_first_layer():
    plan = fanin.plan(Stream([normed()] * 2), normal(8, 16))
    assert plan["entry.weight"].rule == "first layer"
    assert plan["entry.weight"].std == pytest.approx(1 / 4)


def square_loop(**layer):
    class Looped(nn.Module):
        def __init__(self):
            super().__init__()
            kind = layer.get("kind", nn.Linear)
            self.inner = kind(8, layer.get("out", 8), **layer.get("more", {}))

        def forward(self, x):
            for _ in range(4):
                x = torch.tanh(self.inner(x))[:, :8]
            return x

    return Looped()


@pytest.mark.parametrize(
    ("layer", "x", "recurrent"),
    [
        ({}, (4, 8), True),
        ({"out": 12}, (4, 8), False),
        ({"kind": nn.Conv1d, "more": {"kernel_size": 1}}, (4, 8, 6), True),
        ({"kind": nn.Conv1d, "more": {"kernel_size": 3, "padding": 1}}, (4, 8, 6), False),
    ],
)
def test_a_square_pointwise_map_that_feeds_itself_is_orthogonal(layer, x, recurrent):
    plan = fanin.plan(square_loop(**layer), normal(*x))
    assert (plan["inner.weight"].rule == "recurrent") == recurrent
    assert isinstance(plan["inner.weight"].initializer, Orthogonal) == recurrent


# ---------------------------------------------------------------------- plain stacks
def relu_stack(change=None, at=2, width=16, depth=5):
    layers = [nn.Linear(8, width), nn.ReLU()]
    for i in range(1, depth):
        layers += [change(width) if change is not None and i == at else nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 4))


def rules_of(model, x):
    return {a.rule for a in fanin.plan(model, x).values() if a.role == "weight"}


class Between(nn.Module):
    """Convolutions in a chain, with an operation between the second and the third."""

    def __init__(self, between, n=1):
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[n - 1]
        self.convs = nn.ModuleList(conv(4, 4, 3, padding=1) for _ in range(4))
        self.between, self.head = between, nn.Linear(4, 2)

    def forward(self, x):
        for i, conv in enumerate(self.convs):
            x = torch.relu(conv(x))
            x = self.between(x) if i == 1 else x
        return self.head(x.flatten(2).mean(-1))


def pool(name, n, **more):
    return lambda x: getattr(F, f"{name}{n}d")(x, 2, **more)


def first(pool):
    return lambda x: pool(x)[0]


MAXIMA = {
    **{f"max_pool{n}d": (pool("max_pool", n), n) for n in (1, 2, 3)},
    **{f"max_pool{n}d_with_indices": (first(pool("max_pool", n, return_indices=True)), n) for n in (1, 2, 3)},
    **{f"adaptive_max_pool{n}d": (pool("adaptive_max_pool", n), n) for n in (1, 2, 3)},
    **{f"fractional_max_pool{n}d": (pool("fractional_max_pool", n, output_ratio=(0.5,) * n), n) for n in (2, 3)},
    "amax": (lambda x: x.amax(-1, keepdim=True), 1),
    "permute": (lambda x: x.permute(0, 2, 1), 1),
    "transpose": (lambda x: x.transpose(1, 2), 1),
    "movedim": (lambda x: x.movedim(1, 2), 1),
}


@pytest.mark.parametrize("name", few(MAXIMA, every=2))
def test_what_breaks_pairs_of_units_keeps_a_stack_from_being_mirrored(name):
    between, n = MAXIMA[name]
    plan = fanin.plan(Between(between, n), normal(2, 4, *[4] * n))
    assert "mirrored" not in {a.rule for a in plan.values()}
    assert any(f"cannot be mirrored: {name} is between its layers" in w for w in plan.warnings)


def test_a_mean_between_its_layers_lets_a_stack_be_mirrored():
    assert "mirrored" in rules_of(Between(lambda x: F.avg_pool1d(x, 2)), normal(2, 4, 4))


def test_a_grouped_map_keeps_a_stack_from_being_mirrored():
    convs = [m for _ in range(5) for m in (nn.Conv1d(8, 8, 3, padding=1), nn.ReLU())]
    assert "mirrored" in rules_of(nn.Sequential(*convs, nn.Conv1d(8, 4, 1)), normal(2, 8, 9))
    convs[4] = nn.Conv1d(8, 8, 3, padding=1, groups=2)
    plan = fanin.plan(nn.Sequential(*convs, nn.Conv1d(8, 4, 1)), normal(2, 8, 9))
    assert "mirrored" not in {a.rule for a in plan.values()}
    assert any("4.weight is grouped" in w for w in plan.warnings)
    assert not any(a.rule == "orthogonal" for a in plan.values())  # convolutions are left to the forward rule


def test_a_width_may_be_odd_in_the_head_alone():
    assert "mirrored" in rules_of(nn.Sequential(*relu_stack()[:-1], nn.Linear(16, 5)), normal(4, 8))


def test_stacks_with_two_activations_go_by_the_forward_rule():
    layers = list(relu_stack())
    layers[3] = nn.GELU()
    assert rules_of(nn.Sequential(*layers), normal(4, 8)) == {"first layer", "forward", "head"}


def test_convolutional_tanh_stacks_go_by_the_forward_rule():
    convs = [m for _ in range(17) for m in (nn.Conv1d(8, 8, 1), nn.Tanh())]
    assert "critical" not in rules_of(nn.Sequential(*convs, nn.Conv1d(8, 4, 1)), normal(2, 8, 9))


# ---------------------------------------------------------------------- recurrent cells
def test_a_gru_has_no_forget_bias_and_an_lstm_one_in_its_input_bias():
    gru = fanin.plan(nn.GRU(4, 8), normal(3, 2, 4))
    assert {gru[n].initializer for n in ("bias_ih_l0", "bias_hh_l0")} == {Zeros()}
    lstm = fanin.plan(nn.LSTM(4, 8), normal(3, 2, 4))
    assert lstm["bias_ih_l0"].initializer == ForgetBias()
    assert lstm["bias_hh_l0"].initializer == Zeros()
    assert lstm["weight_ih_l0"].std == pytest.approx(math.sqrt(2 / (4 + 8)), rel=1e-6)  # Glorot, each gate by itself
    remembers = fanin.plan(nn.GRU(4, 8), normal(3, 2, 4), memory=50)
    assert remembers["bias_ih_l0"].initializer == fanin.initializers.ChronoBias(t_max=50.0, order="rzn")
    assert remembers["bias_hh_l0"].initializer == Zeros()
    rnn = fanin.plan(nn.RNN(4, 8), normal(3, 2, 4), memory=50)
    assert rnn["bias_ih_l0"].initializer == Zeros()


# ---------------------------------------------------------------------- biases, tokens, unused parameters
class Steps(nn.Module):
    """Softplus time steps as state-space layers have them."""

    def __init__(self, start):
        super().__init__()
        self.fc = nn.Linear(8, 8)
        nn.init.constant_(self.fc.bias, start)

    def forward(self, x):
        return x * nn.functional.softplus(self.fc(x))


@pytest.mark.parametrize(("start", "kept"), [(-1.1, True), (-0.9, False), (0.0, False)])
def test_a_bias_that_spaces_time_steps_is_kept(start, kept):
    bias = fanin.plan(Steps(start), normal(4, 8))["fc.bias"]
    assert (bias.action == "keep") == kept
    assert kept or bias.initializer == Zeros()


def test_a_very_negative_bias_before_any_other_activation_is_zeroed():
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    nn.init.constant_(model[0].bias, -3.0)
    assert fanin.plan(model, normal(4, 8))["0.bias"].initializer == Zeros()


class Patches(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.patch, self.cls = nn.Linear(16, width), nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.zeros(1, 5, width))
        self.blocks = nn.ModuleList(nn.Sequential(exact_norm(width), nn.Linear(width, width)) for _ in range(3))
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        h = torch.cat([self.cls.expand(len(x), -1, -1), 0.5 * self.patch(x)], 1) + self.position
        for block in self.blocks:
            h = h + block(h)
        return self.head(h[:, 0])


def test_a_learned_token_is_small_and_its_position_is_not():
    plan = fanin.plan(Patches(), normal(3, 4, 16))
    assert plan["cls"].rule == "token"
    assert plan["cls"].std == 0.02
    assert plan["position"].rule == "position"
    assert plan["position"].std == pytest.approx(math.sqrt((4 * 0.25 + 0.02**2) / 5), rel=0.05)


class Queries(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.queries = nn.Parameter(torch.zeros(1, 5, width))
        self.blocks = nn.ModuleList(nn.Sequential(exact_norm(width), nn.Linear(width, width)) for _ in range(2))
        self.read, self.head = nn.Linear(8, width), nn.Linear(width, 3)

    def forward(self, x):
        h = self.queries.expand(len(x), -1, -1)
        for block in self.blocks:
            h = h + block(h) + self.read(x)[:, None]
        return self.head(h.mean(1))


def test_queries_that_a_stream_starts_from_have_unit_size():
    plan = fanin.plan(Queries(), normal(3, 8))
    assert (plan["queries"].rule, plan["queries"].std) == ("query", 1.0)


class Idle(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.matrix, self.even = nn.Parameter(torch.randn(6, 25)), nn.Parameter(torch.full((6, 25), 0.1))
        self.ones, self.zeros = nn.Parameter(torch.ones(5)), nn.Parameter(torch.zeros(5))
        self.numbers = nn.Parameter(torch.arange(5.0))
        self.idle_bias = nn.Parameter(torch.arange(5.0))

    def forward(self, x):
        return self.fc(x)


def test_what_the_forward_pass_never_reads_gets_a_safe_law_or_is_kept():
    plan = fanin.plan(Idle(), normal(3, 4))
    assert plan["matrix"].std == pytest.approx(1 / 5)
    assert isinstance(plan["matrix"].initializer, Normal)
    assert plan["ones"].action == plan["even"].action == "keep"
    assert plan["zeros"].initializer == Zeros()
    assert plan["numbers"].action == "keep"
    assert plan["idle_bias"].initializer == Zeros()
    assert {plan[n].rule for n in ("matrix", "zeros", "idle_bias")} == {"unused"}


def test_each_choice_names_the_measurements_behind_it():
    def evidence(plan, name):
        return [s.value for s in plan[name].steps if s.quantity == "evidence"]

    images = fanin.plan(Images([Convs() for _ in range(2)]), normal(4, 3, 8, 8))
    assert evidence(images, "bodies.0.n.weight") == ["batch-norm"]
    normed_plan = fanin.plan(Stream([normed() for _ in range(2)]), normal(8, 16))
    assert evidence(normed_plan, "bodies.0.0.weight") == []
    assert evidence(normed_plan, "entry.weight") == ["first-layer"]
    assert evidence(normed_plan, "bodies.0.1.weight") == ["widths"]
    assert evidence(normed_plan, "bodies.0.3.weight") == ["last-map"]
    assert evidence(normed_plan, "head.weight") == ["head"]
    line = next(s for s in normed_plan["head.weight"].steps if s.quantity == "evidence")
    assert "1/sqrt(d) 2.62" in line.formula
    relu, gelu = (fanin.plan(relu_stack_of(a), normal(4, 8), mirrored=False)["2.weight"] for a in (nn.ReLU, nn.GELU))
    assert [s.value for a in (relu, gelu) for s in a.steps if s.quantity == "evidence"] == ["orthogonal", "gelu-gain"]


def relu_stack_of(activation):
    hidden = [m for _ in range(4) for m in (nn.Linear(16, 16), activation())]
    return nn.Sequential(nn.Linear(8, 16), activation(), *hidden, nn.Linear(16, 4))


class Cell(nn.Module):
    """A cell whose biases have names of their own."""

    def __init__(self):
        super().__init__()
        self.w, self.u = nn.Parameter(torch.randn(32, 4)), nn.Parameter(torch.randn(32, 8))
        self.b_input, self.b_state = nn.Parameter(torch.zeros(32)), nn.Parameter(torch.zeros(32))

    def forward(self, x):
        h = (torch.zeros(len(x), 8), torch.zeros(len(x), 8))
        return torch.lstm_cell(x, h, self.w, self.u, self.b_input, self.b_state)[0]


@pytest.mark.parametrize(
    ("model", "first", "second"),
    [(nn.LSTMCell(4, 8), "bias_ih", "bias_hh"), (Cell(), "b_input", "b_state")],
)
@pytest.mark.parametrize("recipe", ["auto", "classic"])
def test_the_forget_gate_starts_open_in_the_bias_of_the_input_map(model, first, second, recipe):
    plan = fanin.plan(model, normal(3, 4), recipe=recipe)
    assert plan[first].initializer == ForgetBias()
    assert plan[second].initializer == Zeros()


def test_a_centred_map_whose_input_is_not_predicted_goes_by_the_function_alone():
    from fanin.graph.recording.capture import capture
    from fanin.graph.roles.label import roles
    from fanin.recipes.auto.centred import centred
    from fanin.recipes.auto.options import AutoOptions
    from fanin.recipes.auto.stack import stack_of
    from fanin.recipes.engine.draft import Read
    from fanin.recipes.engine.network import Network

    model = nn.Sequential(nn.Linear(8, 16), nn.Sigmoid(), nn.Linear(16, 16), nn.Sigmoid(), nn.Linear(16, 4))
    graph = capture(model, normal(3, 8))
    network = Network(graph=graph, roles=roles(graph), tensors=dict(model.named_parameters()))
    drafts = centred(stack_of(network), AutoOptions())
    var = fanin.theory.moments.gaussian_moments("sigmoid", q=4.0).var  # sigmoid saturates at 2
    assert drafts["2.weight"].make(Read()).law.law.std == pytest.approx(2.0 / math.sqrt(16 * var), rel=1e-9)
    seen = Read(second_moment=0.5, mean=0.5, known=True)
    assert drafts["2.weight"].make(seen).law.law.std == pytest.approx(2.0 / math.sqrt(16 * 0.25), rel=1e-9)


def test_maps_that_no_activation_feeds_count_on_an_input_of_rms_1():
    model = nn.Sequential(
        nn.Linear(16, 64), exact_norm(), nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 4)
    )
    assert fanin.plan(model, normal(8, 16))["2.weight"].std == pytest.approx(1 / 8, rel=1e-6)
    linear = Stream([nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64)) for _ in range(4)])
    assert fanin.plan(linear, normal(8, 16))["bodies.0.1.weight"].std == pytest.approx(0.5 / 8, rel=1e-6)


# ---------------------------------------------------------------------- where the numbers are from
def test_a_derivation_says_what_was_measured_and_what_was_predicted():
    plan = fanin.plan(nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4)), normal(4, 8))
    said = [next(s.formula for s in plan[name].steps if s.quantity == "E x²") for name in ("0.weight", "2.weight")]
    assert said == ["measured on the given input", "after tanh in 1: predicted from the line above"]


class ChannelsLast(nn.Module):
    """Convolutions of pictures whose channels come last, as Keras writes them."""

    def __init__(self, between=None, channels=6, *, flat=False):
        super().__init__()
        self.between, self.flat = between, flat
        self.convs = nn.ModuleList(nn.Conv2d(a, channels, 3, padding=1) for a in (2, *[channels] * 4))
        self.head = nn.Linear(channels * (16 if flat else 1), 3)

    def forward(self, x):
        for conv in self.convs:
            x = F.relu(conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
            x = x if self.between is None else self.between(x)
        return self.head(x.flatten(1) if self.flat else x.mean((1, 2)))


@pytest.mark.parametrize("channels", [6, 7])
def test_units_are_followed_through_turned_axes(channels):
    torch.manual_seed(0)
    model, x = ChannelsLast(channels=channels), normal(8, 4, 4, 2)
    plan = fanin.init_(model, x, trial=False)
    assert {a.rule for a in plan.values()} == {"mirrored", "bias"}
    parts = model(x[:4]) + model(x[4:]) - model(x[:4] + x[4:])
    assert float(parts.detach().abs().max()) < 1e-4 * float(model(x).detach().abs().max())  # pairs cancel: linear


def test_an_output_layer_that_cannot_tell_pairs_apart_is_random_and_the_rest_mirrored():
    plan = fanin.plan(ChannelsLast(flat=True), normal(8, 4, 4, 2))
    assert {plan[f"convs.{n}.weight"].rule for n in range(5)} == {"mirrored"}
    assert plan["head.weight"].rule == "head"


def shuffle(x):
    return x.view(*x.shape[:3], 2, 3).transpose(3, 4).flatten(3)


def test_units_that_change_places_keep_a_stack_from_being_mirrored():
    plan = fanin.plan(ChannelsLast(shuffle), normal(8, 4, 4, 2))
    assert "mirrored" not in {a.rule for a in plan.values()}
    assert any("does not read the units of convs.0.weight in their order" in w for w in plan.warnings)


class Gate(nn.Module):
    """A spatial gate that starts as its bias of ones (Liu et al. 2021, arXiv 2105.08050, section 2.1)."""

    def __init__(self, size):
        super().__init__()
        self.inner, self.gate, self.out = nn.Linear(16, 32), nn.Linear(16, 16), nn.Linear(16, 4)
        nn.init.normal_(self.gate.weight, std=size / 4)
        nn.init.ones_(self.gate.bias)

    def forward(self, x):
        u, v = self.inner(x).chunk(2, -1)
        return self.out(u * self.gate(v))


def test_a_map_that_starts_nearly_at_zero_and_is_drawn_is_named():
    x = torch.randn(8, 16)
    drawn = fanin.plan(Gate(1e-3), x)["gate.weight"]
    assert drawn.action == "draw"
    assert "as found it starts at 0.00" in drawn.warnings[0]
    assert fanin.plan(Gate(1.0), x)["gate.weight"].warnings == ()
    kept = fanin.plan(Gate(1e-3), x, overrides={"gate.weight": None})["gate.weight"]
    assert (kept.action, kept.warnings) == ("keep", ())


class Letters(nn.Module):
    """A convolution over tokens, and no attention (Kim 2014, arXiv 1408.5882)."""

    def __init__(self, std, seed=0, padding=None):
        super().__init__()
        torch.manual_seed(seed)
        self.table = nn.Embedding(17, 16, padding_idx=padding)
        with torch.no_grad():
            self.table.weight.mul_(std)
        self.maps, self.out = nn.Conv1d(16, 32, 3), nn.Linear(32, 4)

    def forward(self, ids):
        return self.out(torch.relu(self.maps(self.table(ids).transpose(1, 2))).amax(-1))


def test_a_small_table_keeps_its_size_whatever_its_draw_and_padding():
    ids = torch.randint(0, 17, (32, 12), generator=torch.Generator().manual_seed(0))
    usual = [
        fanin.plan(Letters(1.0, seed, padding), ids)["table.weight"].std for seed in range(8) for padding in (None, 3)
    ]
    assert usual == [1.0] * 16
    small = [fanin.plan(Letters(0.15, seed, padding), ids) for seed in range(4) for padding in (None, 3)]
    assert {p["table.weight"].std for p in small} == {2**-2.75}  # 0.149
    assert {p["maps.weight"].rule for p in small} == {"first layer"}
