"""Second moments through layers that are not plain linear maps: tables, Bilinear, recurrent gates, attention."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import fanin
from fanin.initializers import Initializer, Normal, Orthogonal, PerPart, Scaled, VarianceScaling, Zeros
from fanin.layout import Layout, fans
from tests.initializers.statistics import WRONG, assert_power, assert_ratio
from tests.selection import few

LAWS = ("normal", "uniform", "truncated_normal", "orthogonal")
QUICK = ("normal", "orthogonal")


def fan_in_law(name: str) -> Initializer:
    return Orthogonal(scaled=True) if name == "orthogonal" else VarianceScaling(law=name)


def weights_noise(law: Initializer, shape: tuple[int, ...], layout: Layout) -> float:
    if isinstance(law, Orthogonal):
        return 0.0
    return (law.kurtosis_for(shape, layout) - 1.0) / math.prod(shape)


def wrong(law: Initializer) -> Initializer:
    return Scaled(law, WRONG)


def filled(law: Initializer, shape: tuple[int, ...], layout: Layout, seed: int = 0) -> Tensor:
    return law.fill_(torch.empty(shape), key=fanin.key(seed, "weight"), layout=layout).double()


def unit(shape: tuple[int, ...], seed: int) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x / x.square().mean(dim=-1, keepdim=True).sqrt()


def must_see(check, law: Initializer) -> None:
    """The check passes for the law and fails for one that is 3 % off."""
    check(law)
    with pytest.raises(AssertionError, match="want 1"):
        check(wrong(law))


@pytest.mark.parametrize("name", LAWS)
def test_embedding_rows_have_second_moment_one(name):
    shape, layout, law = (512, 128), Layout.embedding(), fan_in_law(name)

    def check(sampled: Initializer) -> None:
        table = nn.Embedding(*shape, _weight=filled(sampled, shape, layout))
        got = table(torch.arange(512)).square().mean().item()
        tolerance = weights_noise(law, shape, layout) or 1e-9
        assert_power(tolerance)
        assert_ratio(got, 1.0, rel_var=tolerance, what="rows")

    must_see(check, law)


@pytest.mark.parametrize("name", LAWS)
def test_embedding_bags_of_eight_rows_have_second_moment_one(name):
    shape, layout, law = (4096, 128), Layout.embedding(bag=8), fan_in_law(name)

    def check(sampled: Initializer) -> None:
        table = nn.EmbeddingBag(*shape, mode="sum", _weight=filled(sampled, shape, layout))
        rows = torch.randperm(4096, generator=torch.Generator().manual_seed(0)).reshape(512, 8)
        tolerance = 2.0 / (512 * 128)  # sums of eight are close to Gaussian
        assert_power(tolerance)
        assert_ratio(table(rows).square().mean().item(), 1.0, rel_var=tolerance, what="sums of rows")

    must_see(check, law)


@pytest.mark.parametrize("name", few(LAWS, "normal"))
def test_bilinear_forms_have_second_moment_one(name):
    shape, layout, law = (96, 24, 32), Layout.bilinear(), fan_in_law(name)

    def check(sampled: Initializer) -> None:
        form = nn.Bilinear(24, 32, 96, bias=False).double()
        with torch.no_grad():
            form.weight.copy_(filled(sampled, shape, layout))
            got = form(unit((16384, 24), 1), unit((16384, 32), 2)).square().mean().item()
        # a product of two Gaussians has kurtosis 9, so 8 in place of 2 for the outputs
        tolerance = weights_noise(law, shape, layout) + 8.0 / (16384 * 96)
        assert_power(tolerance)
        assert_ratio(got, 1.0, rel_var=tolerance, what="outputs")

    must_see(check, law)


# ---------------------------------------------------------------------- recurrent cells
SMALL = 1e-4  # pre-activations so small that every non-linearity is its tangent
HIDDEN, INPUTS = 96, 64


# What to set for one LSTM gate to show in the output: biases of i, f, g, o; cell state before; slope of the output.
# With a bias of +-40 a gate is open or shut to 1e-17.
LSTM_PROBES = {
    "i": ((0.0, -40.0, 40.0, 40.0), 0.0, 0.25 * (1.0 - math.tanh(0.5) ** 2)),
    "f": ((-40.0, 0.0, 0.0, 40.0), 1.0, 0.25 * (1.0 - math.tanh(0.5) ** 2)),
    "g": ((40.0, -40.0, 0.0, 40.0), 0.0, 1.0),
    "o": ((40.0, -40.0, 40.0, 0.0), 0.0, 0.25 * math.tanh(1.0)),
}


def lstm_showing(gate: str, weight: Tensor) -> nn.LSTM:
    """An LSTM whose output moves with one gate alone, from the cell state of the table."""
    lstm = nn.LSTM(INPUTS, HIDDEN).double()
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(weight)
        lstm.weight_hh_l0.zero_()
        lstm.bias_hh_l0.zero_()
        lstm.bias_ih_l0.copy_(torch.tensor(LSTM_PROBES[gate][0], dtype=torch.float64).repeat_interleave(HIDDEN))
    return lstm


def lstm_gate(gate: str, weight: Tensor, x: Tensor) -> Tensor:
    """The pre-activation of one gate, read off the output of a real nn.LSTM."""
    lstm, (_, cell, slope) = lstm_showing(gate, weight), LSTM_PROBES[gate]
    with torch.no_grad():
        state = (torch.zeros(1, len(x), HIDDEN, dtype=torch.float64), torch.full((1, len(x), HIDDEN), cell).double())
        rest, _ = lstm(0.0 * x[None], state)
        moved, _ = lstm(SMALL * x[None], state)
    return (moved - rest)[0] / (SMALL * slope)


@pytest.mark.parametrize("name", few(LAWS, "normal"))
@pytest.mark.parametrize("gate", "ifgo")
def test_every_gate_of_an_lstm_keeps_the_second_moment(gate, name):
    shape, layout, law = (4 * HIDDEN, INPUTS), Layout.linear(parts=4), fan_in_law(name)

    def check(sampled: Initializer) -> None:
        draws = [lstm_gate(gate, filled(sampled, shape, layout, s), unit((256, INPUTS), s)) for s in range(12)]
        tolerance = (4.0 * weights_noise(law, shape, layout) + 2.0 / draws[0].numel()) / 12
        assert_power(tolerance)
        got = sum(d.square().mean().item() for d in draws) / 12
        assert_ratio(got, 1.0, rel_var=tolerance, what=f"gate {gate}")

    must_see(check, law)


GRU_PROBES = {
    "r": ((0.0, -40.0, 0.0), 1.0, 0.25 * (1.0 - math.tanh(0.5) ** 2)),
    "z": ((0.0, 0.0, 40.0), 0.0, -0.25),
    "n": ((0.0, -40.0, 0.0), 0.0, 1.0),
}


def gru_showing(gate: str, weight: Tensor) -> nn.GRU:
    """A GRU whose output moves with one gate alone."""
    biases, hidden_bias, _ = GRU_PROBES[gate]
    gru = nn.GRU(INPUTS, HIDDEN).double()
    # to see r, the other weights must not move n as well
    keep = torch.tensor([float(g == gate or gate == "n") for g in "rzn"], dtype=torch.float64)
    with torch.no_grad():
        gru.weight_ih_l0.copy_(weight * keep.repeat_interleave(HIDDEN)[:, None])
        gru.weight_hh_l0.zero_()
        gru.bias_hh_l0.zero_()
        gru.bias_hh_l0[2 * HIDDEN :] = hidden_bias
        gru.bias_ih_l0.copy_(torch.tensor(biases, dtype=torch.float64).repeat_interleave(HIDDEN))
    return gru


def gru_gate(gate: str, weight: Tensor, x: Tensor) -> Tensor:
    """The pre-activation of one gate, read off the output of a real nn.GRU."""
    gru, slope = gru_showing(gate, weight), GRU_PROBES[gate][-1]
    with torch.no_grad():
        rest, moved = gru(0.0 * x[None])[0], gru(SMALL * x[None])[0]
    return (moved - rest)[0] / (SMALL * slope)


@pytest.mark.parametrize("name", few(LAWS, "normal"))
@pytest.mark.parametrize("gate", "rzn")
def test_every_gate_of_a_gru_keeps_the_second_moment(gate, name):
    shape, layout, law = (3 * HIDDEN, INPUTS), Layout.linear(parts=3), fan_in_law(name)

    def check(sampled: Initializer) -> None:
        draws = [gru_gate(gate, filled(sampled, shape, layout, s), unit((256, INPUTS), s)) for s in range(12)]
        tolerance = (3.0 * weights_noise(law, shape, layout) + 2.0 / draws[0].numel()) / 12
        assert_power(tolerance)
        got = sum(d.square().mean().item() for d in draws) / 12
        assert_ratio(got, 1.0, rel_var=tolerance, what=f"gate {gate}")

    must_see(check, law)


@pytest.mark.parametrize("parts", [3, 4])
def test_each_gate_of_an_orthogonal_recurrent_weight_is_orthogonal(parts):
    weight = filled(Orthogonal(), (parts * 32, 32), Layout.linear(parts=parts))
    for gate in weight.chunk(parts):
        torch.testing.assert_close(gate @ gate.T, torch.eye(32, dtype=torch.float64), atol=1e-6, rtol=0.0)
    keras = filled(Orthogonal(), (32, parts * 32), Layout.linear_in_out(parts=parts))
    for gate in keras.chunk(parts, dim=1):
        torch.testing.assert_close(gate @ gate.T, torch.eye(32, dtype=torch.float64), atol=1e-6, rtol=0.0)


# ---------------------------------------------------------------------- attention
def attention(in_proj: Tensor, embed: int) -> nn.MultiheadAttention:
    module = nn.MultiheadAttention(embed, 4, bias=False, batch_first=True).double()
    with torch.no_grad():
        module.in_proj_weight.copy_(in_proj)
        module.out_proj.weight.copy_(torch.eye(embed))
    return module


@pytest.mark.parametrize("name", LAWS)
def test_values_of_attention_keep_the_second_moment(name):
    """With one token the attention weight is 1, so the output of the module is its value."""
    embed, layout, law = 96, Layout.linear(parts=3), fan_in_law(name)

    def check(sampled: Initializer) -> None:
        total = 0.0
        for seed in range(12):
            x = unit((256, 1, embed), seed)
            with torch.no_grad():
                y, _ = attention(filled(sampled, (3 * embed, embed), layout, seed), embed)(x, x, x)
            total += y.square().mean().item() / 12
        tolerance = (3.0 * weights_noise(law, (3 * embed, embed), layout) + 2.0 / (256 * embed)) / 12
        assert_power(tolerance)
        assert_ratio(total, 1.0, rel_var=tolerance, what="values")

    must_see(check, law)


def test_torch_starts_fused_attention_too_small_and_the_layout_does_not():
    shape, layout = (3 * 128, 128), Layout.linear(parts=3)
    assert fans(shape, layout) == (128.0, 128.0)
    torchs = fanin.initializers.get("glorot_uniform", like="torch").std_for(shape)
    ours = fanin.initializers.glorot_uniform().std_for(shape, layout)
    assert ours / torchs == pytest.approx(math.sqrt(2.0))


def test_zero_queries_attend_uniformly():
    """q and k zero: each output is the mean of the values, in the module itself."""
    embed, layout = 96, Layout.linear(parts=3)
    law = PerPart((Zeros(), Zeros(), Normal(std=0.1)))
    x = unit((4, 7, embed), 0)
    with torch.no_grad():
        y, weights = attention(filled(law, (3 * embed, embed), layout), embed)(x, x, x)
    torch.testing.assert_close(weights, torch.full_like(weights, 1.0 / 7.0))
    torch.testing.assert_close(y, y.mean(dim=1, keepdim=True).expand_as(y))


# ---------------------------------------------------------------------- gradients
def fan_out_law(name: str) -> Initializer:
    # an orthogonal map with at least as many outputs as inputs keeps gradients without scaling
    return Orthogonal() if name == "orthogonal" else VarianceScaling(mode="fan_out", law=name)


def lstm_gradient(gate: str, weight: Tensor, delta: Tensor) -> Tensor:
    """Gradient at the input of a real nn.LSTM when one gate's pre-activations have gradient `delta`."""
    _, cell, slope = LSTM_PROBES[gate]
    zeros = torch.zeros(1, len(delta), HIDDEN, dtype=torch.float64)
    x = torch.zeros(1, len(delta), INPUTS, dtype=torch.float64, requires_grad=True)
    out, _ = lstm_showing(gate, weight)(x, (zeros, zeros + cell))
    return torch.autograd.grad(out, x, delta[None] / slope)[0][0]


def gru_gradient(gate: str, weight: Tensor, delta: Tensor) -> Tensor:
    """Likewise of a real nn.GRU."""
    x = torch.zeros(1, len(delta), INPUTS, dtype=torch.float64, requires_grad=True)
    out, _ = gru_showing(gate, weight)(x)
    return torch.autograd.grad(out, x, delta[None] / GRU_PROBES[gate][-1])[0][0]


def attention_gradient(weight: Tensor, delta: Tensor) -> Tensor:
    """Gradient at the input of a real nn.MultiheadAttention with one token: that of its value map."""
    x = torch.zeros(len(delta), 1, weight.shape[1], dtype=torch.float64, requires_grad=True)
    y, _ = attention(weight, weight.shape[1])(x, x, x)
    return torch.autograd.grad(y, x, delta[:, None])[0][:, 0]


GRADIENTS = {
    **{f"LSTM gate {g}": ((4 * HIDDEN, INPUTS), 4, lambda w, d, g=g: lstm_gradient(g, w, d)) for g in "ifgo"},
    **{f"GRU gate {g}": ((3 * HIDDEN, INPUTS), 3, lambda w, d, g=g: gru_gradient(g, w, d)) for g in "rzn"},
    "attention values": ((3 * HIDDEN, HIDDEN), 3, attention_gradient),
}


@pytest.mark.parametrize(
    ("layer", "name"),
    few(
        [(layer, name) for layer in GRADIENTS for name in LAWS],
        *((layer, "normal") for layer in GRADIENTS),
        ("GRU gate r", "orthogonal"),
        ("attention values", "orthogonal"),
    ),
)
def test_a_fan_out_law_keeps_the_second_moment_of_the_gradient(layer, name):
    shape, parts, gradient = GRADIENTS[layer]
    layout, law = Layout.linear(parts=parts), fan_out_law(name)

    def check(sampled: Initializer) -> None:
        draws = [gradient(filled(sampled, shape, layout, s), unit((256, HIDDEN), s)) for s in range(20)]
        tolerance = (parts * weights_noise(law, shape, layout) + 2.0 / draws[0].numel()) / 20
        assert_power(tolerance)
        got = sum(d.square().mean().item() for d in draws) / 20
        assert_ratio(got, 1.0, rel_var=tolerance, what=layer)

    must_see(check, law)


# one law of independent entries and one of dependent ones where sums take seconds; linear maps above see all
@pytest.mark.parametrize("name", few(QUICK, "normal"))
@pytest.mark.parametrize("bag", few([1, 8], 8))
def test_a_fan_out_law_keeps_the_gradient_of_what_a_table_is_weighed_with(bag, name):
    """The input of a table is a choice of rows; its gradient is that of EmbeddingBag's `per_sample_weights`."""
    shape, layout = (128, 512), Layout.embedding(bag=bag)
    # as a map from rows to features it has more outputs than inputs
    law = Orthogonal() if name == "orthogonal" else VarianceScaling(mode="fan_out", law=name)
    assert name == "orthogonal" or fans(shape, layout).fan_out * law.std_for(shape, layout) ** 2 == pytest.approx(1.0)

    rows = torch.arange(128).repeat(128, 1).reshape(-1, bag)

    def gradient(sampled: Initializer, seed: int) -> Tensor:
        table = nn.EmbeddingBag(*shape, mode="sum", _weight=filled(sampled, shape, layout, seed))
        share = torch.ones(rows.shape, dtype=torch.float64, requires_grad=True)
        return torch.autograd.grad(table(rows, per_sample_weights=share), share, unit((len(rows), 512), seed))[0]

    def check(sampled: Initializer) -> None:
        got = sum(gradient(sampled, seed).square().mean().item() for seed in range(6)) / 6
        tolerance = (weights_noise(law, shape, layout) + 2.0 / rows.numel()) / 6
        assert_power(tolerance)
        assert_ratio(got, 1.0, rel_var=tolerance, what="gradient of the choice")

    must_see(check, law)


FORMS = [((24, 32), "normal"), *(((28, 28), name) for name in LAWS)]


@pytest.mark.slow
@pytest.mark.parametrize(("inputs", "name"), FORMS)
def test_a_fan_out_law_keeps_the_gradients_of_a_bilinear_form(inputs, name):
    """Of both inputs where they are alike; where not, the product of the two second moments."""
    shape, layout = (96, *inputs), Layout.bilinear()
    law = Orthogonal(scaled=True) if name == "orthogonal" else VarianceScaling(mode="fan_out", law=name)
    wanted = fans(shape, layout).fan_out * law.std_for(shape, layout) ** 2
    assert name == "orthogonal" or wanted == pytest.approx(1.0)

    def gradients(sampled: Initializer, seed: int) -> list[float]:
        form = nn.Bilinear(*inputs, 96, bias=False).double()
        with torch.no_grad():
            form.weight.copy_(filled(sampled, shape, layout, seed))
        x = [unit((8192, n), 3 * seed + k).requires_grad_() for k, n in enumerate(inputs)]
        found = torch.autograd.grad(form(*x), x, unit((8192, 96), 3 * seed + 2))
        return [g.square().mean().item() for g in found]

    def check(sampled: Initializer) -> None:
        draws = [gradients(sampled, seed) for seed in range(2)]
        for k, (n, other) in enumerate((inputs, inputs[::-1])):
            got = sum(draw[k] for draw in draws) / 2 * math.sqrt(n / other)
            tolerance = (weights_noise(law, shape, layout) + 8.0 / (8192 * n)) / 2
            assert_power(tolerance)
            assert_ratio(got / wanted, 1.0, rel_var=tolerance, what="gradient")

    must_see(check, law)
