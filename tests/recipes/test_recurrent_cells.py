"""Recurrent cells that a model writes out: the laws of nn.LSTM, nn.GRU and nn.RNN, with gates read off their use."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import fanin
from fanin.graph.recording.capture import capture
from fanin.graph.roles.label import roles
from fanin.initializers import ForgetBias, Ones, Orthogonal, PerInput, PerPart, VarianceScaling, Zeros
from tests.selection import few

WIDE, GIVEN = 8, 4
GLOROT = VarianceScaling(gain=1.0, mode="fan_avg", law="normal")


class Recurrent(nn.Module):
    """A loop over time around `step`."""

    pair = False

    def __init__(self):
        super().__init__()
        self.make(GIVEN, WIDE)
        self.out = nn.Linear(WIDE, 3)

    def forward(self, x):
        h = x.new_zeros(len(x), WIDE)
        state = (h, h) if self.pair else h
        for t in range(x.shape[1]):
            state = self.step(x[:, t], state)
        return self.out(state[0] if self.pair else state)


def gated(c, i, f, g, o):
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


class Lstm(Recurrent):
    pair, order = True, "ifgo"

    def make(self, i, h):
        self.wx, self.wh = nn.Linear(i, 4 * h), nn.Linear(h, 4 * h, bias=False)

    def step(self, x, state):
        h, c = state
        parts = dict(zip(self.order, (self.wx(x) + self.wh(h)).chunk(4, -1), strict=True))
        return gated(c, **parts)


class OtherOrder(Lstm):
    order = "ogfi"


class Sliced(Lstm):
    order = "ifog"

    def step(self, x, state):
        h, c = state
        z, n = self.wx(x) + self.wh(h), WIDE
        s = torch.sigmoid(z[:, : 3 * n])
        c = s[:, n : 2 * n] * c + s[:, :n] * torch.tanh(z[:, 3 * n :])
        return s[:, 2 * n :] * torch.tanh(c), c


class Packed(Lstm):
    def make(self, i, h):
        self.w = nn.Linear(i + h, 4 * h)

    def step(self, x, state):
        h, c = state
        i, f, g, o = self.w(torch.cat([x, h], -1)).chunk(4, -1)
        return gated(c, i, f, g, o)


class Apart(Lstm):
    def make(self, i, h):
        self.xs = nn.ModuleDict({n: nn.Linear(i, h) for n in "ifgo"})
        self.hs = nn.ModuleDict({n: nn.Linear(h, h, bias=False) for n in "ifgo"})

    def step(self, x, state):
        h, c = state
        return gated(c, *(self.xs[n](x) + self.hs[n](h) for n in "ifgo"))


class Peephole(Lstm):
    def make(self, i, h):
        super().make(i, h)
        self.p = nn.Parameter(torch.zeros(2, h))

    def step(self, x, state):
        h, c = state
        i, f, g, o = (self.wx(x) + self.wh(h)).chunk(4, -1)
        return gated(c, i + self.p[0] * c, f + self.p[1] * c, g, o)


class Normed(Lstm):
    def make(self, i, h):
        super().make(i, h)
        self.nx, self.nh = nn.LayerNorm(4 * h), nn.LayerNorm(4 * h)

    def step(self, x, state):
        h, c = state
        return gated(c, *(self.nx(self.wx(x)) + self.nh(self.wh(h))).chunk(4, -1))


class Keras(Lstm):
    def make(self, i, h):
        self.kernel, self.recurrent = nn.Parameter(torch.randn(i, 4 * h)), nn.Parameter(torch.randn(h, 4 * h))
        self.bias = nn.Parameter(torch.zeros(4 * h))

    def step(self, x, state):
        h, c = state
        z = torch.add(torch.matmul(x, self.kernel) + torch.matmul(h, self.recurrent), self.bias)
        return gated(c, *torch.split(z, WIDE, 1))


class Added(Lstm):
    """The model adds 1 to its forget gate itself, as TensorFlow's old cells do."""

    def step(self, x, state):
        h, c = state
        i, f, g, o = (self.wx(x) + self.wh(h)).chunk(4, -1)
        return gated(c, i, f + 1.0, g, o)


class Coupled(Recurrent):
    """An LSTM without output gate, whose first part erases: c (1 - e) + i g."""

    pair = True

    def make(self, i, h):
        self.wx, self.wh = nn.Linear(i, 3 * h), nn.Linear(h, 3 * h, bias=False)

    def step(self, x, state):
        h, c = state
        e, i, g = (self.wx(x) + self.wh(h)).chunk(3, -1)
        c = (1 - torch.sigmoid(e)) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.tanh(c), c


class Gru(Recurrent):
    def make(self, i, h):
        self.wx, self.wh = nn.Linear(i, 3 * h), nn.Linear(h, 3 * h)

    def step(self, x, h):
        a, b = self.wx(x).chunk(3, -1), self.wh(h).chunk(3, -1)
        r, z = torch.sigmoid(a[0] + b[0]), torch.sigmoid(a[1] + b[1])
        return self.mixed(h, torch.tanh(a[2] + r * b[2]), z)

    def mixed(self, h, n, z):
        return (1 - z) * n + z * h


class GruByLerp(Gru):
    def mixed(self, h, n, z):
        return torch.lerp(n, h, z)


class GruTheOtherWay(Gru):
    def mixed(self, h, n, z):
        return h + z * (n - h)


class GruResetBefore(Recurrent):
    def make(self, i, h):
        self.z, self.r, self.n = (nn.Linear(i + h, h) for _ in range(3))

    def step(self, x, h):
        joined = torch.cat([h, x], -1)
        z, r = torch.sigmoid(self.z(joined)), torch.sigmoid(self.r(joined))
        return z * h + (1 - z) * torch.tanh(self.n(torch.cat([r * h, x], -1)))


class Tanh(Recurrent):
    def make(self, i, h):
        self.wx, self.wh = nn.Linear(i, h), nn.Linear(h, h, bias=False)

    def step(self, x, h):
        return torch.tanh(self.wx(x) + self.wh(h))


class Leaky(Tanh):
    def step(self, x, h):
        return h + 0.2 * (torch.tanh(self.wx(x) + self.wh(h)) - h)


class Equilibrium(Tanh):
    def forward(self, x):
        z = x.new_zeros(len(x), WIDE)
        for _ in range(6):
            z = torch.tanh(self.wh(z) + self.wx(x[:, 0]))
        return self.out(z)


class ConvLstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.out = nn.Conv2d(1 + WIDE, 4 * WIDE, 3, padding=1), nn.Linear(WIDE, 3)

    def forward(self, x):
        x = x.reshape(len(x), -1, 1, 2, 2)
        h = c = x.new_zeros(len(x), WIDE, 2, 2)
        for t in range(x.shape[1]):
            i, f, o, g = torch.split(self.conv(torch.cat([x[:, t], h], 1)), WIDE, 1)
            h, c = gated(c, i, f, g, o)
        return self.out(h.mean((2, 3)))


class Reference(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.rnn, self.out = kind(GIVEN, WIDE, batch_first=True), nn.Linear(WIDE, 3)

    def forward(self, x):
        return self.out(self.rnn(x)[0][:, -1])


def series():
    return torch.randn(2, 4, GIVEN, generator=torch.Generator().manual_seed(0))


def planned(model):
    return fanin.plan(model, series()).assignments


def gates(model, name):
    return "".join(p.tag for p in roles(capture(model, series()))[name].loop.gates)


# ---------------------------------------------------------------------- gates, read off what they do
@pytest.mark.parametrize(
    ("cell", "weight", "order"),
    few(
        [
            (Lstm, "wh.weight", "ifgo"),
            (OtherOrder, "wh.weight", "ogfi"),
            (Sliced, "wx.weight", "ifog"),
            (Packed, "w.weight", "ifgo"),
            (Peephole, "wh.weight", "ifgo"),
            (Normed, "wx.weight", "ifgo"),
            (Keras, "recurrent", "ifgo"),
            (Added, "wh.weight", "ifgo"),
            (Coupled, "wh.weight", "eig"),
            (Gru, "wh.weight", "rzn"),
            (GruByLerp, "wx.weight", "rzn"),
            (GruTheOtherWay, "wh.weight", "run"),
            (ConvLstm, "conv.weight", "ifog"),
            (Tanh, "wh.weight", "h"),
            (Leaky, "wh.weight", "h"),
            (Equilibrium, "wh.weight", "h"),
        ],
        every=2,
    ),
)
def test_gates_are_known_by_what_they_do(cell, weight, order):
    assert gates(cell(), weight) == order


def test_separate_maps_are_each_one_gate():
    found = roles(capture(Apart(), series()))
    assert {n: found[f"hs.{n}.weight"].loop.gates[0].tag for n in "ifgo"} == dict(zip("ifgo", "ifgo", strict=True))
    reset = roles(capture(GruResetBefore(), series()))
    assert [reset[f"{n}.weight"].loop.gates[0].tag for n in "zrn"] == ["z", "r", "n"]


CUTS = {
    "chunk": lambda z: z.chunk(4, -1),
    "slices": lambda z: [z[:, k * WIDE : (k + 1) * WIDE] for k in range(4)],
    "rows": lambda z: z.view(-1, 4, WIDE).unbind(1),
    "narrow": lambda z: [z.narrow(1, k * WIDE, WIDE) for k in range(4)],
    "in turn": lambda z: z.view(-1, WIDE, 4).unbind(-1),
    "every fourth": lambda z: [z[:, k::4] for k in range(4)],
}


@settings(max_examples=12, deadline=None)
@given(st.permutations("ifgo"), st.sampled_from(sorted(CUTS)), st.booleans())
def test_no_order_of_the_gates_and_no_way_to_cut_them_matters(order, cut, joined):
    class Cell(Packed if joined else Lstm):
        def step(self, x, state):
            h, c = state
            z = self.w(torch.cat([x, h], -1)) if joined else self.wx(x) + self.wh(h)
            return gated(c, **dict(zip(order, CUTS[cut](z), strict=True)))

    assert gates(Cell(), "w.weight" if joined else "wh.weight") == "".join(order)


# ---------------------------------------------------------------------- laws
@pytest.mark.parametrize(
    ("cell", "kind", "bias"),
    [
        (Lstm, nn.LSTM, "wx.bias"),
        (Gru, nn.GRU, "wx.bias"),
        (GruByLerp, nn.GRU, "wx.bias"),
        (Tanh, nn.RNN, "wx.bias"),
        (Equilibrium, nn.RNN, "wx.bias"),
    ],
)
def test_a_cell_written_out_has_the_laws_of_torchs_own(cell, kind, bias):
    ours, theirs = planned(cell()), planned(Reference(kind))
    pairs = {"wx.weight": "weight_ih_l0", "wh.weight": "weight_hh_l0", bias: "bias_ih_l0"}
    for name, other in pairs.items():
        assert (ours[name].initializer, ours[name].role) == (
            theirs[f"rnn.{other}"].initializer,
            theirs[f"rnn.{other}"].role,
        )
        assert ours[name].std == theirs[f"rnn.{other}"].std
    assert ours["out.weight"].initializer == theirs["out.weight"].initializer


@pytest.mark.parametrize(
    ("cell", "name", "law"),
    few(
        [
            (OtherOrder, "wx.bias", ForgetBias(order="ogfi")),
            (Sliced, "wx.bias", ForgetBias(order="ifog")),
            (Keras, "bias", ForgetBias()),
            (Keras, "kernel", GLOROT),
            (Keras, "recurrent", Orthogonal()),
            (Packed, "w.weight", PerInput((GLOROT, Orthogonal()), (GIVEN, WIDE))),
            (Packed, "w.bias", ForgetBias()),
            (GruResetBefore, "n.weight", PerInput((Orthogonal(), GLOROT), (WIDE, GIVEN))),
            (GruResetBefore, "z.bias", Zeros()),
            (Apart, "xs.f.bias", Ones()),
            (Apart, "xs.i.bias", Zeros()),
            (Normed, "nx.bias", ForgetBias()),
            (Normed, "nh.bias", Zeros()),
            (Normed, "wx.bias", Zeros()),
            (Added, "wx.bias", Zeros()),
            (ConvLstm, "conv.bias", ForgetBias(order="ifog")),
            (Leaky, "wh.weight", Orthogonal()),
        ],
        every=2,
    ),
)
def test_laws_of_other_forms(cell, name, law):
    assert planned(cell())[name].initializer == law


class InTurn(Lstm):
    order = "ogfi"

    def step(self, x, state):
        parts = zip(self.order, CUTS["in turn"](self.wx(x) + self.wh(state[0])), strict=True)
        return gated(state[1], **dict(parts))


class InTurnPacked(InTurn):
    def make(self, i, h):
        self.w = nn.Linear(i + h, 4 * h)
        self.wx, self.wh = (lambda x: x), (lambda h: h)

    def step(self, x, state):
        parts = zip(self.order, CUTS["in turn"](self.w(torch.cat([x, state[0]], -1))), strict=True)
        return gated(state[1], **dict(parts))


@pytest.mark.parametrize(
    ("cell", "state", "bias"), [(InTurn, "wh.weight", "wx.bias"), (InTurnPacked, "w.weight", "w.bias")]
)
def test_gates_that_take_turns_each_start_as_their_own(cell, state, bias):
    model = cell()
    fanin.plan(model, series()).apply_(model)
    drawn = dict(model.named_parameters())
    each = drawn[state].detach()[:, -WIDE:].reshape(WIDE, 4, WIDE)
    for n in range(4):
        assert torch.allclose(each[:, n] @ each[:, n].T, torch.eye(WIDE), atol=1e-5)
    assert drawn[bias].reshape(WIDE, 4).unique(dim=0).tolist() == [[0.0, 0.0, 1.0, 0.0]]
    beside = OtherOrder()
    fanin.plan(beside, series()).apply_(beside)
    rows = beside.wh.weight.detach()
    assert not torch.allclose(
        rows.reshape(WIDE, 4, WIDE)[:, 0] @ rows.reshape(WIDE, 4, WIDE)[:, 0].T, torch.eye(WIDE), atol=0.1
    )


def test_a_gate_that_erases_starts_at_minus_one():
    law = planned(Coupled())["wx.bias"].initializer
    assert isinstance(law, PerPart)
    drawn = law.sample((3 * WIDE,), key=fanin.key(0, "b"), layout=fanin.Layout.vector(parts=3))
    assert drawn[:WIDE].tolist() == [-1.0] * WIDE
    assert not drawn[WIDE:].any()


def test_a_recurrent_map_is_orthogonal_in_the_columns_that_read_the_state():
    model = Packed()
    fanin.init_(model, series(), trial=False)
    for gate in model.w.weight.detach()[:, GIVEN:].split(WIDE):
        assert torch.allclose(gate @ gate.T, torch.eye(WIDE), atol=1e-5)
    assert not torch.allclose(
        model.w.weight[:WIDE, :GIVEN].T @ model.w.weight[:WIDE, :GIVEN], torch.eye(GIVEN), atol=0.1
    )


# ---------------------------------------------------------------------- what is no cell
class Shared(nn.Module):
    """Layers that share their weight: plain, on a stream, with a norm, or with two maps."""

    def __init__(self, step):
        super().__init__()
        self.first, self.w, self.w2 = nn.Linear(GIVEN, WIDE), nn.Linear(WIDE, WIDE), nn.Linear(WIDE, WIDE)
        self.norm, self.out, self.step = nn.LayerNorm(WIDE), nn.Linear(WIDE, 3), step

    def forward(self, x):
        h = x0 = self.first(x[:, 0])
        for _ in range(4):
            h = self.step(self, h, x0)
        return self.out(h)


@pytest.mark.parametrize(
    "step",
    [
        lambda m, h, x: torch.relu(m.w(h)),
        lambda m, h, x: h + torch.relu(m.w(h)),
        lambda m, h, x: h + torch.tanh(m.w(h) + m.w2(x)),
        lambda m, h, x: m.norm(h + torch.relu(m.w(h) + x)),
        lambda m, h, x: h + 0.1 * m.w2(torch.tanh(m.w(h))),
        lambda m, h, x: m.w2(functional.gelu(m.w(h))),
    ],
    ids=["plain", "stream", "stream with input", "normed stream", "ode", "two maps"],
)
def test_shared_layers_are_no_cell(step):
    found = roles(capture(Shared(step), series()))
    assert {found[n].role for n in ("w.weight", "w2.weight")} <= {"weight", "unused"}


def test_a_plain_weight_has_no_loop():
    found = roles(capture(nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)), torch.randn(2, 4)))
    assert all(role.loop is None for role in found.values())


class CutKernels(ConvLstm):
    """A convolutional LSTM as Keras writes it: kernels and biases are cut by gate, channels come last."""

    def __init__(self):
        super().__init__()
        self.conv = None
        self.kernel, self.recurrent = nn.Parameter(torch.randn(3, 3, 1, 32)), nn.Parameter(torch.randn(3, 3, 8, 32))
        self.bias = nn.Parameter(torch.zeros(32))

    def forward(self, x):
        x = x.reshape(len(x), -1, 2, 2, 1)
        h = c = x.new_zeros(len(x), 2, 2, WIDE)
        for t in range(x.shape[1]):
            kernels, maps, biases = self.kernel.split(8, -1), self.recurrent.split(8, -1), self.bias.split(8)
            i, f, g, o = (
                self.mapped(x[:, t], k) + b + self.mapped(h, r) for k, r, b in zip(kernels, maps, biases, strict=True)
            )
            h, c = gated(c, i, f, g, o)
        return self.out(h.mean((1, 2)))

    def mapped(self, x, kernel):
        made = functional.conv2d(x.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), padding=1)
        return made.permute(0, 2, 3, 1)


def test_kernels_that_are_cut_by_gate_are_one_cell():
    found = planned(CutKernels())
    assert [found[n].initializer for n in ("kernel", "recurrent", "bias")] == [GLOROT, Orthogonal(), ForgetBias()]
    assert gates(CutKernels(), "recurrent") == "ifgo"


@pytest.mark.parametrize(("given", "law"), [(0.45, ForgetBias), (0.55, Zeros), (1.0, Zeros)])
def test_a_forget_gate_that_the_model_opens_by_more_than_a_half_gets_no_bias(given, law):
    class Opened(Lstm):
        def step(self, x, state):
            h, c = state
            i, f, g, o = (self.wx(x) + self.wh(h)).chunk(4, -1)
            return gated(c, i, f + given, g, o)

    assert type(fanin.plan(Opened(), series())["wx.bias"].initializer) is law
