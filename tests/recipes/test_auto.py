"""The recipe `auto`: which rule decides for which map, and that what it promises happens."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import fanin
from fanin.errors import ArgumentError, CoverageError
from fanin.initializers import (
    Centred,
    ChronoBias,
    ForgetBias,
    MirroredOrthogonal,
    Normal,
    Ones,
    Orthogonal,
    SirenFirst,
    Zeros,
)
from tests.selection import few


def mlp(widths, activation, bias=True):
    layers = []
    for a, b in itertools.pairwise(widths[:-1]):
        layers += [nn.Linear(a, b, bias=bias), activation()]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1], bias=bias))


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def rms(x):
    return float(x.detach().double().square().mean().sqrt())


class Residual(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return x + self.body(x)


# ---------------------------------------------------------------------- plain stacks
@pytest.mark.parametrize(
    "activation", few([nn.ReLU, nn.GELU, nn.SiLU, nn.Softplus, nn.Hardswish, lambda: nn.LeakyReLU(0.2)], nn.ReLU)
)
def test_a_deep_plain_stack_starts_as_a_linear_isometry(activation):
    model = mlp([64, *[64] * 20, 10], activation).double()
    x = normal(32, 64).double()
    plan = fanin.init_(model, x, trial=False)
    assert {a.rule for a in plan.values() if a.role == "weight"} == {"mirrored"}
    before, after = model[0](x)[:, :32], model[:-2](x)[:, :32]
    want = (before @ before.T).detach()
    assert torch.allclose(after @ after.T, want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))


def test_the_promise_of_a_mirrored_network_has_power():
    model = mlp([64, *[64] * 20, 10], nn.ReLU)
    x = normal(32, 64)
    fanin.init_(model, x, trial=False)
    exact = rms(model[:-2](x))
    with torch.no_grad():
        for layer in model[::2]:
            layer.weight.mul_(1.03)
    assert not math.isclose(rms(model[:-2](x)), exact, rel_tol=0.2)


def test_a_convolutional_stack_is_mirrored_and_keeps_its_signal_through_the_padding():
    layers = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU()]
    for _ in range(19):
        layers += [nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    x = normal(16, 1, 9, 9)
    plan = fanin.init_(model, x, trial=False)
    assert plan["38.weight"].rule == "mirrored"
    first, last = rms(model[0](x)), rms(model[:39](x))
    assert 0.5 < last / first < 2.0


def pooled_stack():
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU()]
    for _ in range(5):
        layers += [nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, 1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 16, 4)), normal(2, 1, 9, 9)


def gathered_stack():
    layers = [m for a in (1, *[5] * 5) for m in (nn.Conv2d(a, 5, 3, padding=1), nn.ReLU())]
    return nn.Sequential(*layers, nn.Flatten(), nn.AvgPool1d(4), nn.Linear(101, 4)), normal(2, 1, 9, 9)


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (lambda: (mlp([8, 16, 1, 16, 16, 16, 4], nn.ReLU), normal(5, 8)), "a single unit"),
        (gathered_stack, "no multiple of it"),
        (pooled_stack, "does not pass on"),
    ],
)
def test_where_mirroring_is_impossible_the_plan_says_why(build, why):
    plan = fanin.plan(*build())
    assert not any(isinstance(a.initializer, MirroredOrthogonal) for a in plan.values())
    assert any(why in w for w in plan.warnings)


def deep_of(width, activation=nn.GELU):
    return mlp([16, *[width] * 30, 10], activation).double()


def started(width, activation=nn.GELU):
    """A deep stack at its planned start, its hidden pre-activations and the gradients that reach them."""
    model, x, found = deep_of(width, activation), normal(8, 16).double(), []
    plan = fanin.init_(model, x, trial=False)
    assert {a.rule for a in plan.values() if a.role == "weight"} == {"mirrored"}
    h = x
    for layer in model:
        h = layer(h)
        if isinstance(layer, nn.Linear):
            h.retain_grad()
            found.append(h)
    h.square().sum().backward()
    return model, [z.detach() for z in found], [z.grad for z in found]


def deviation(width, activation=nn.GELU):
    """How far an odd stack is from the even one with a unit less: signals and gradients of all layers, relative."""
    (_, signals, grads), (_, even, even_grads) = started(width, activation), started(width - 1, activation)
    pairs = [*zip(signals, even, strict=True), *zip(grads, even_grads, strict=True)]
    return max(float((a[:, : b.shape[1]] - b).norm() / b.norm()) for a, b in pairs)


@pytest.mark.parametrize("width", few([3, 17, 63, 129], 3, 17))
def test_an_odd_width_starts_as_the_even_one_below_it(width):
    assert deviation(width) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("activation", [nn.GELU, nn.ReLU])
def test_every_odd_width_starts_as_the_even_one_below_it(activation):
    assert max(deviation(width, activation) for width in range(3, 130, 2)) < 1e-6


def test_a_unit_left_over_that_is_read_would_be_noticed(monkeypatch):
    values = MirroredOrthogonal.values
    monkeypatch.setattr(
        MirroredOrthogonal, "values", lambda law, *rest: np.where((w := values(law, *rest)) == 0.0, 0.1, w)
    )
    assert deviation(17) > 0.02


def test_a_unit_left_over_is_trained_from_the_second_step_on():
    model, x = deep_of(17), normal(8, 16).double()
    fanin.init_(model, x, trial=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    incoming, outgoing = (model[i].weight.detach().clone() for i in (28, 30))
    assert not outgoing[:, 16].any()
    for step in range(2):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        assert bool(model[30].weight.grad[:16, 16].all())
        assert bool(model[28].weight.grad[16].any()) == (step > 0)
        optimizer.step()
    assert not torch.equal(model[28].weight[16], incoming[16])


def odd_channels():
    layers = [m for a in (1, *[7] * 6) for m in (nn.Conv2d(a, 7, 3, padding=1), nn.ReLU())]
    return nn.Sequential(*layers, nn.AvgPool2d(3), nn.Flatten(), nn.Linear(63, 4)).double()


def test_odd_channels_and_their_flattened_places_are_mirrored():
    model, x = odd_channels(), normal(16, 1, 9, 9).double()
    plan = fanin.init_(model, x, trial=False)
    assert {a.rule for a in plan.values() if a.role == "weight"} == {"mirrored"}
    assert "the last has no twin" in plan["0.weight"].reason
    torch.testing.assert_close(model(-x), -model(x))
    assert not model[-1].weight[:, 54:].any()


def test_shallow_stacks_and_those_without_a_linear_pair_are_not_mirrored():
    assert fanin.plan(mlp([8, 16, 16, 4], nn.ReLU), normal(5, 8))["2.weight"].rule == "forward"
    deep = fanin.plan(mlp([8, *[16] * 9, 4], nn.ELU), normal(5, 8))
    assert isinstance(deep["4.weight"].initializer, Orthogonal)
    assert deep["4.weight"].initializer.gain == pytest.approx(1.223429, rel=1e-5)
    assert fanin.plan(mlp([8, *[16] * 9, 4], nn.Mish), normal(5, 8))["4.weight"].rule == "mirrored"
    off = fanin.plan(mlp([8, *[16] * 9, 4], nn.ReLU), normal(5, 8), mirrored=False)
    assert isinstance(off["4.weight"].initializer, Orthogonal)
    assert off["4.weight"].initializer.gain == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize(
    ("activation", "shallow", "deep"),
    [(nn.Sigmoid, (9, "centred"), (10, "shaped")), (nn.ELU, (29, "orthogonal"), (30, "shaped"))],
)
def test_deep_logistic_and_elu_stacks_are_shaped(activation, shallow, deep):
    for hidden, rule in (shallow, deep):
        plan = fanin.plan(mlp([16, *[16] * hidden, 10], activation), normal(8, 16))
        assert plan["4.weight"].rule == rule
    want = fanin.plan(mlp([16, *[16] * deep[0], 10], activation), normal(8, 16), recipe="dks")
    assert plan["4.weight"].initializer == want["4.weight"].initializer
    assert plan["4.bias"].initializer == want["4.bias"].initializer
    assert plan["4.weight"].steps[-1].quantity == "evidence"


def test_stacks_that_were_better_otherwise_or_cannot_be_shaped_are_not():
    def rule(activation, **more):
        return fanin.plan(mlp([16, *[16] * 30, 10], activation, **more), normal(8, 16))["4.weight"].rule

    assert rule(nn.SELU) == "orthogonal"  # its slope jumps
    assert rule(nn.Tanh) == "critical"
    assert rule(nn.Mish) == "mirrored"
    assert rule(nn.ELU, bias=False) == "orthogonal"
    assert rule(nn.Sigmoid, bias=False) == "centred"


@pytest.mark.parametrize(("head", "size"), few([("unit", 1.0), ("calm", 0.1), ("zero", 0.0)], ("unit", 1.0)))
def test_a_shaped_stack_has_the_outputs_that_are_asked_for(head, size):
    model, x = mlp([64, *[64] * 15, 64], nn.Sigmoid), normal(64, 64)
    fanin.init_(model, x, head=head)
    assert rms(model(x)) == pytest.approx(size, rel=0.2)


def test_logistic_stacks_are_centred():
    model = mlp([32, *[64] * 9, 10], nn.Sigmoid)
    plan = fanin.init_(model, normal(64, 32), trial=False)
    assert isinstance(plan["4.weight"].initializer, Centred)
    assert float(model[4].weight.detach().double().sum(1).abs().max()) < 1e-5
    assert plan["0.weight"].std * math.sqrt(32) == pytest.approx(2.0)
    # sigmoid(z) = (1 + tanh(z / 2)) / 2: four times what a tanh that is fed numbers of rms 1 has
    tanh = 4.0 * fanin.theory.gain("tanh") / math.sqrt(64)
    assert plan["4.weight"].std == pytest.approx(tanh, rel=0.02)
    hidden = model[:17](normal(64, 32)).detach()
    one = torch.nn.functional.normalize(hidden.double(), dim=1)
    assert float((one @ one.T)[~torch.eye(64, dtype=bool)].mean().abs()) < 0.3


def fanin_start(model, x, seed):
    fanin.init_(model, x, seed=seed, trial=False)
    return model(x).detach()


def test_tanh_by_depth():
    deep = fanin.plan(mlp([32, *[32] * 100, 10], nn.Tanh), normal(8, 32))
    assert deep["4.weight"].rule == "critical"
    q = deep["0.weight"].std ** 2 * 32
    at = fanin.theory.isometry("tanh", depth=100, q=q)
    assert at.relative_var == pytest.approx(1.0, rel=1e-3)
    assert at.mean == pytest.approx(1.0)
    gain = deep["4.weight"].initializer.gain
    assert gain == pytest.approx(fanin.theory.gain("tanh", direction="backward", q=q), rel=1e-6)
    model, x = mlp([32, *[32] * 100, 10], nn.Tanh), normal(512, 32)
    sizes = []
    for seed in range(8):
        replace(deep, seed=seed).apply_(model)
        sizes.append(float(model(x).detach().square().mean()))
    assert sum(sizes) / len(sizes) == pytest.approx(1.0, rel=0.3)  # unit logits from activations of 0.04
    shallow = fanin.plan(mlp([32, *[32] * 10, 10], nn.Tanh), normal(8, 32))
    assert shallow["4.weight"].std * math.sqrt(32) == pytest.approx(1.5925, rel=2e-3)


def test_unequal_widths_keep_the_signal():
    widths = [784, 1024, 64, 1024, 10]
    model = mlp(widths, nn.ReLU)
    plan = fanin.init_(model, normal(64, 784), trial=False)
    x = normal(64, 784)
    for layer in model[:-1]:
        x = layer(x)
        if isinstance(layer, nn.Linear):
            assert 0.75 < rms(x) < 1.35
    assert plan["2.weight"].std == pytest.approx(math.sqrt(2 / 1024), rel=0.02)


@pytest.mark.parametrize(("scale", "divide"), [(0.1, 1.0), (1.0, 1.0), (255.0, 255.0)])
def test_the_first_layer_is_scaled_down_and_never_up(scale, divide):
    plan = fanin.plan(mlp([400, 64, 64, 10], nn.ReLU), scale * normal(64, 400))
    assert plan["0.weight"].std * math.sqrt(400) == pytest.approx(1.0 / divide, rel=0.03)
    assert any("second moment" in w for w in plan.warnings) == (scale != 1.0)


def test_balance_takes_the_gradient_into_account():
    model = mlp([64, 256, 64, 10], nn.ReLU)
    x = normal(4, 64)
    assert fanin.plan(model, x)["2.weight"].std == pytest.approx(math.sqrt(2 / 256), rel=0.1)
    assert fanin.plan(model, x, balance="backward")["2.weight"].std == pytest.approx(math.sqrt(2 / 64), rel=1e-9)
    both = fanin.plan(model, x, balance="both")["2.weight"]
    var = {s.quantity: s.value for s in both.steps}
    assert both.std**2 == pytest.approx(2 / (1 / var["var"] + 1 / var["var backward"]))


# ---------------------------------------------------------------------- heads and losses
@pytest.mark.parametrize(
    ("head", "low", "high"), few([("unit", 0.2, 1.0), ("calm", -0.01, 0.03), ("zero", -1e-6, 1e-6)], every=2)
)
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Sigmoid, nn.Tanh])
@pytest.mark.parametrize("depth", few([2, 8], 2))
def test_the_initial_loss(head, low, high, activation, depth):
    model = mlp([64, *[128] * depth, 10], activation)
    fanin.init_(model, normal(256, 64), head=head)
    logits = model(normal(256, 64)).double().detach()
    loss = float((logits.logsumexp(1) - logits.mean(1)).mean())
    assert low <= loss - math.log(10) <= high


# ---------------------------------------------------------------------- residual networks
def blocks(n, width=64, norm=False):
    def body():
        maps = [nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)]
        return nn.Sequential(nn.LayerNorm(width), *maps) if norm else nn.Sequential(*maps)

    return nn.Sequential(nn.Linear(32, width), *(Residual(body()) for _ in range(n)), nn.Linear(width, 10))


def test_branches_without_norm_share_the_depth_factor():
    plan = fanin.plan(blocks(20), normal(8, 32))
    first, last = plan["3.body.0.weight"], plan["3.body.2.weight"]
    assert first.rule == last.rule == "residual shared"
    assert first.std * 8 == pytest.approx(20**-0.5, rel=0.1)
    assert last.std * 8 == pytest.approx(math.sqrt(2) * 20**-0.5, rel=1e-6)


@pytest.mark.parametrize("norm", few([False, True], every=2))
def test_the_stream_grows_by_less_than_two(norm):
    model = blocks(20, norm=norm)
    x = normal(64, 32)
    fanin.init_(model, x, trial=False)
    start = rms(model[0](x))
    assert rms(model[:-1](x)) / start < 2.0


def test_the_last_map_of_a_normed_branch_is_relative_to_the_stream():
    plan = fanin.plan(blocks(8, norm=True), normal(64, 32))
    last = plan["2.body.3.weight"]
    assert last.rule == "residual"
    assert last.std * 8 * math.sqrt(8) == pytest.approx(1.0, rel=0.05)
    zero = fanin.plan(blocks(8, norm=True), normal(64, 32), last_map="zero")
    assert zero["2.body.3.weight"].initializer == Zeros()


@pytest.mark.slow
def test_identical_clones_are_drawn_apart_and_said():
    layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
    model = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    plan = fanin.init_(model, normal(2, 5, 32), trial=False)
    assert any("copies of another" in w for w in plan.warnings)
    assert not torch.equal(model.layers[0].linear1.weight, model.layers[1].linear1.weight)


def test_batch_norm_keeps_its_scale_of_one():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.n = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)

        def forward(self, x):
            return torch.relu(x + self.n(self.a(x)))

    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), Block(), Block(), nn.Flatten(), nn.Linear(8 * 64, 10))
    nn.init.zeros_(model[1].n.weight)
    assert fanin.plan(model, normal(4, 3, 8, 8))["1.n.weight"].initializer == Ones()


# ---------------------------------------------------------------------- recurrent, sines, tables
class Tagger(nn.Module):
    def __init__(self, tied=False):
        super().__init__()
        self.table, self.rnn = nn.Embedding(50, 16), nn.LSTM(16, 16, batch_first=True)
        self.out = nn.Linear(16, 50, bias=False)
        if tied:
            self.out.weight = self.table.weight

    def forward(self, ids):
        return self.out(self.rnn(self.table(ids))[0])


def test_recurrent_cells():
    ids = torch.zeros(2, 7, dtype=torch.long)
    plan = fanin.plan(Tagger(), ids)
    assert plan["rnn.weight_hh_l0"].initializer == Orthogonal()
    assert plan["rnn.weight_hh_l0"].fan_out == 16
    assert plan["rnn.bias_ih_l0"].initializer == ForgetBias()
    assert plan["rnn.bias_hh_l0"].initializer == Zeros()
    assert fanin.plan(Tagger(), ids, memory=100)["rnn.bias_ih_l0"].initializer == ChronoBias(t_max=100.0)


def test_tables_by_their_head():
    ids = torch.zeros(2, 7, dtype=torch.long)
    assert fanin.plan(Tagger(), ids)["table.weight"].std == 1.0
    tied = fanin.plan(Tagger(tied=True), ids)["table.weight"]
    assert tied.rule == "tied embedding"
    assert tied.aliases == ("out.weight",)
    assert tied.std < 1.0


def test_sines():
    class Sine(nn.Module):
        def forward(self, x):
            return torch.sin(30.0 * x)

    model = nn.Sequential(nn.Linear(2, 64), Sine(), nn.Linear(64, 64), Sine(), nn.Linear(64, 3))
    plan = fanin.init_(model, torch.rand(512, 2) * 2 - 1, trial=False)
    assert plan["0.weight"].initializer == SirenFirst()
    assert 30 * rms(model[:3](torch.rand(512, 2) * 2 - 1)) == pytest.approx(1.0, rel=0.25)
    assert plan["4.weight"].rule == "siren last"


# ---------------------------------------------------------------------- the plan as a whole
def test_every_law_carries_its_derivation():
    plan = fanin.plan(blocks(4, norm=True), normal(8, 32))
    for a in plan.values():
        assert a.reason
        if a.role == "weight":
            assert {"fan_in", "std"} <= {s.quantity for s in a.steps}
            assert any(s.quantity == "evidence" for s in a.steps)
    text = plan.explain("3.body.3.weight")
    assert "branches" in text
    assert "docs/recipes.md" in text


def test_predictions_hold():
    model = blocks(6, norm=True)
    x = normal(128, 32)
    plan = fanin.init_(model, x, trial=False)
    predicted = plan["0.weight"].predicted_rms[0]
    assert rms(model[0](x)) == pytest.approx(predicted, rel=0.1)
    assert rms(model(x)) == pytest.approx(plan["7.weight"].predicted_rms[0], rel=0.25)


def test_a_model_on_meta_gets_the_same_plan():
    with torch.device("meta"):
        ghost = blocks(4, norm=True)
    real, empty = (fanin.plan(m, normal(8, 32)) for m in (blocks(4, norm=True), ghost))
    assert real.to_json() == empty.to_json()


def test_what_can_only_be_kept_cannot_be_kept_on_meta():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.gamma = nn.Linear(8, 8), nn.Parameter(torch.full((8,), 0.1))

        def forward(self, x):
            return x + self.gamma * self.fc(x)

    assert fanin.plan(Scaled(), normal(2, 8))["gamma"].action == "keep"
    with torch.device("meta"):
        ghost = Scaled()
    with pytest.raises(CoverageError, match="gamma"):
        fanin.plan(ghost, normal(2, 8))


@pytest.mark.parametrize("option", [{"head": "loud"}, {"balance": "up"}, {"last_map": "one"}, {"memory": 1}])
def test_options_are_checked(option):
    with pytest.raises(ArgumentError, match=next(iter(option))):
        fanin.plan(mlp([4, 4, 4], nn.ReLU), normal(2, 4), **option)


def test_overrides_win_over_rules():
    plan = fanin.plan(mlp([8, *[16] * 6, 4], nn.ReLU), normal(5, 8), overrides={"4.weight": Normal(std=0.7)})
    assert plan["4.weight"].std == 0.7
    assert np.isclose(plan["2.weight"].std, plan["6.weight"].std)


# ---------------------------------------------------------------------- residual streams
class Shortcut(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, x):
        return torch.relu(self.shortcut(x) + self.second(torch.relu(self.first(x))))


def test_a_shortcut_without_norm_is_orthogonal():
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), Shortcut(16, 32), Shortcut(32, 64))
    plan = fanin.init_(model, normal(2, 3, 8, 8), trial=False)
    for name, module in (("2", model[2]), ("3", model[3])):
        assert plan[f"{name}.shortcut.weight"].rule == "stream entry"
        flat = module.shortcut.weight.detach().double().flatten(1)
        singular = torch.linalg.svdvals(flat)
        assert float(singular.max() / singular.min()) == pytest.approx(1.0, abs=1e-5)
        assert float(flat.square().mean().sqrt()) == pytest.approx(plan[f"{name}.shortcut.weight"].std, rel=1e-5)
    assert plan["2.first.weight"].rule != "stream entry"


class Direct(nn.Module):
    """x + W scan(x) with a direct term inside that no weight stands in, as state-space layers have it."""

    def __init__(self, width):
        super().__init__()
        self.mix, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        h = self.mix(x)
        return x + self.out(h * h.tanh().cumsum(1) + 0.5 * h)


def test_a_branch_without_weights_is_no_depth():
    from fanin.graph.recording.capture import capture
    from fanin.graph.roles.label import roles

    model = nn.Sequential(Direct(16), Direct(16))
    found = roles(capture(model, normal(2, 8, 16)))
    assert [s.num_branches for s in found.streams] == [2]
    assert [len(s.sums) for s in found.streams] == [2]


@pytest.mark.parametrize(("recipe", "explodes"), [("auto", False), ("torch", False), ("classic", True)])
def test_a_stream_that_would_explode_is_told(recipe, explodes):
    def block():
        return Residual(nn.Sequential(nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64)))

    model = nn.Sequential(nn.Linear(64, 64), *(block() for _ in range(20)))
    x = normal(256, 64)
    plan = fanin.init_(model, x, recipe=recipe, trial=False)
    assert any("the residual stream grows" in w for w in plan.warnings) == explodes
    assert (rms(model(x)) / rms(model[0](x)) > 10.0) == explodes


def test_scores_behind_a_mask_of_infinities_are_followed():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.scores, self.values = nn.Linear(16, 8), nn.Linear(16, 16)
            self.after = nn.Linear(16, 16)
            self.register_buffer("mask", torch.full((8, 8), -torch.inf).triu(2))

        def forward(self, x):
            s = torch.where(torch.ones(8, 8).tril().bool(), self.scores(x) + self.mask, -torch.inf)
            s = s + 0.5
            weights = torch.exp(s - s.amax(-1, keepdim=True))
            return self.after(weights @ self.values(x))

    model, x = Masked(), normal(64, 8, 16)
    plans = [fanin.plan(model, x) for _ in range(2)]
    assert plans[0].to_json() == plans[1].to_json()
    (predicted,) = plans[0]["after.weight"].predicted_rms
    sizes = []
    for seed in range(6):
        fanin.init_(model, x, seed=seed, trial=False)
        sizes.append(rms(model(x)))
    assert sum(sizes) / len(sizes) == pytest.approx(predicted, rel=0.25)


class Patches(nn.Module):
    """Learned positions as a bare parameter, and a bias added inside a branch."""

    def __init__(self, width=32):
        super().__init__()
        self.patch = nn.Conv2d(1, width, 4, 4)
        self.position = nn.Parameter(torch.zeros(1, 16, width))
        self.inner = nn.Parameter(torch.zeros(1, 16, width))
        self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width)) for _ in range(3))
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        h = self.patch(x).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            h = h + torch.relu(block(h) + self.inner)
        return self.head(h.mean(1))


def test_positions_are_as_large_as_the_patches_they_join():
    model, x = Patches(), normal(8, 1, 16, 16)
    plan = fanin.init_(model, x, trial=False)
    assert plan["position"].rule == "position"
    assert plan["position"].std == pytest.approx(rms(model.patch(x)), rel=0.1)
    assert plan["inner"].std == 0.0
