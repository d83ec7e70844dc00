"""One parameter or input at fault: the first finding names it, what follows from it is its consequence; twins pass."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import fanin


def he(*widths):
    """ReLU layers of these widths drawn by He, without biases, and no activation behind the last."""
    layers = []
    for n, m in pairwise(widths):
        layers += [nn.Linear(n, m), nn.ReLU()]
        nn.init.kaiming_normal_(layers[-2].weight)
        nn.init.zeros_(layers[-2].bias)
    nn.init.kaiming_normal_(layers[-2].weight, nonlinearity="linear")
    return nn.Sequential(*layers[:-1])


def coder():
    """An autoencoder with a bottleneck of 8, as torch draws it."""
    pairs = [(100, 64), (64, 32), (32, 8), (8, 32), (32, 64), (64, 100)]
    layers = [m for n, k in pairs for m in (nn.Linear(n, k), nn.ReLU())]
    del layers[5]  # behind the bottleneck
    return nn.Sequential(*layers[:-1]), torch.randn(64, 10) @ torch.randn(10, 100) / math.sqrt(10)


class Placed(nn.Module):
    """Tokens with positions, one attention, and a head that reads the first token."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm, self.head = nn.Linear(12, 32), nn.LayerNorm(32), nn.Linear(32, 5)
        self.first, self.pos = nn.Parameter(0.02 * torch.randn(1, 1, 32)), nn.Parameter(0.02 * torch.randn(1, 17, 32))
        self.qkv, self.out = nn.Linear(32, 96, bias=False), nn.Linear(32, 32, bias=False)

    def forward(self, x):
        h = torch.cat([self.first.expand(len(x), -1, -1), self.embed(x)], 1) + self.pos
        q, k, v = self.qkv(self.norm(h)).chunk(3, -1)
        return self.head((h + self.out(F.scaled_dot_product_attention(q, k, v)))[:, 0])


class Mixture(nn.Module):
    """A mixture density network: its loss is a function of its own, which no rule knows."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
        self.share, self.mean, self.size = (nn.Linear(64, 5) for _ in range(3))

    def forward(self, x):
        h = self.body(x)
        return self.share(h), self.mean(h), self.size(h)


def density(out, y):
    share, mean, size = out
    terms = F.log_softmax(share, -1) - 0.5 * ((y - mean) / size.exp()) ** 2 - size
    return -torch.logsumexp(terms, -1).mean()


class Graphs(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.out = nn.Linear(16, 64), nn.Linear(64, 64), nn.Linear(64, 5)

    def forward(self, x, a):
        return self.out(F.relu(self.second(a @ F.relu(self.first(a @ x)))))


class Recurrent(nn.Module):
    def __init__(self, kind, **more):
        super().__init__()
        self.rnn = kind(8, 32, batch_first=True, **more)
        self.head = nn.Linear(32 * (2 if more.get("bidirectional") else 1), 4)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


class Cells(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.LSTMCell(8, 32), nn.Linear(32, 4)

    def forward(self, x):
        state = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.head(state[0])


class Block(nn.Module):
    """A diagonal state space, as a causal convolution with a kernel of its decays."""

    def __init__(self, width=32, states=8):
        super().__init__()
        self.rate = nn.Parameter(torch.log(torch.arange(1.0, states + 1)).repeat(width, 1))
        self.read = nn.Parameter(torch.randn(width, states) / states)
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, x):
        n = x.shape[1]
        kernel = (self.read[..., None] * torch.exp(-0.05 * self.rate.exp()[..., None] * torch.arange(n))).sum(1)
        h = self.norm(x).transpose(1, 2)
        y = torch.fft.irfft(torch.fft.rfft(h, 2 * n) * torch.fft.rfft(kernel, 2 * n), 2 * n)[..., :n]
        return x + self.out(F.gelu(y.transpose(1, 2)))


class States(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.blocks, self.head = (
            nn.Linear(3, 32),
            nn.Sequential(*[Block() for _ in range(4)]),
            nn.Linear(32, 5),
        )

    def forward(self, x):
        return self.head(self.blocks(self.first(x)).mean(1))


def labels(n, classes):
    return torch.arange(n) % classes


def bottleneck(k):
    model, x = coder()
    model[4].weight.data.div_(k)
    return {"model": model, "inputs": x, "targets": x}


def shifted(name):
    def build(k):
        model, x = coder()
        if k > 1:
            nn.init.constant_(model.get_parameter(name), k)
        return {"model": model, "inputs": x, "targets": x}

    return build


def positions(k):
    model = Placed()
    model.pos.data.mul_(k)
    return {"model": model, "inputs": torch.randn(32, 16, 12), "targets": labels(32, 5)}


def output_map(name):
    def build(k):
        model, y = Mixture(), torch.randn(128, 1)
        model.get_parameter(name).data.mul_(k)
        return {"model": model, "inputs": torch.randn(128, 6), "loss": lambda out: density(out, y)}

    return build


def all_larger(k):
    model = he(64, *[128] * 8, 10)
    for p in model.parameters():
        p.data.mul_(k)
    return {"model": model, "inputs": torch.randn(64, 64), "targets": labels(64, 10)}


def one_class(k):
    model = he(64, 128, 10)
    model[-1].bias.data[3] = k - 1
    return {"model": model, "inputs": torch.randn(64, 64), "targets": labels(64, 10)}


def always_on(k):
    model = he(64, 128, 128, 128, 10)
    nn.init.constant_(model[2].bias, k - 1)
    return {"model": model, "inputs": torch.randn(64, 64), "targets": labels(64, 10)}


def normed(k):
    model = nn.Sequential(
        nn.Linear(20, 64), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 7)
    )
    nn.init.constant_(model[1].weight, k)
    return {"model": model, "inputs": torch.randn(64, 20), "targets": labels(64, 7)}


def adjacency(k):
    a = torch.eye(80) + (torch.rand(80, 80) < 0.06).float()
    a = k * a / a.sum(1, keepdim=True)
    return {"model": Graphs(), "inputs": (torch.randn(80, 16), a), "targets": labels(80, 5)}


def feature(k):
    given = adjacency(1.0)
    given["inputs"][0][:, 3] *= k
    return given


def gate(model, names, rows):
    def build(k):
        built = model()
        for name in names if k > 1 else ():
            built.get_parameter(name).data[rows] = -k
        return {"model": built, "inputs": torch.randn(32, 12, 8), "targets": labels(32, 4)}

    return build


def state_space(k):
    model = States()
    model.blocks[1].read.data.mul_(k)
    return {"model": model, "inputs": torch.randn(32, 24, 3), "targets": labels(32, 5)}


FORGET, UPDATE = slice(32, 64), slice(32, 64)
CASES = {
    "a bottleneck": (bottleneck, 30, "P502", ("4.weight",), "S205"),
    "biases of a rectified layer": (shifted("2.bias"), 5, "P503", ("2.bias",), "S205"),
    "biases of a linear layer": (shifted("4.bias"), 5, "P503", ("4.bias",), "S205"),
    "units that are always on": (always_on, 8, "P503", ("2.bias",), "L801"),
    "positions": (positions, 300, "P502", ("pos",), "S205"),
    "spreads of a density": (output_map("size.weight"), 60, "P502", ("size.weight",), ""),
    "means of a density": (output_map("mean.weight"), 60, "P502", ("mean.weight",), ""),
    "shares of a density": (output_map("share.weight"), 60, "P502", ("share.weight",), ""),
    "one matrix of a state space": (state_space, 100, "P502", ("blocks.1.read",), "L801"),
    "one class": (one_class, 11, "L801", ("2.bias",), ""),
    "an adjacency": (adjacency, 100, "D101", ("inputs[1]",), "L801"),
    "one feature": (feature, 1e3, "D101", ("inputs[0]",), "L801"),
    "a forget gate": (gate(lambda: Recurrent(nn.LSTM), ["rnn.bias_ih_l0"], FORGET), 5, "P506", ("rnn.bias_ih_l0",), ""),
    "two biases that add up": (
        gate(lambda: Recurrent(nn.LSTM), ["rnn.bias_ih_l0", "rnn.bias_hh_l0"], FORGET),
        2.5,
        "P506",
        ("rnn.bias_ih_l0",),
        "",
    ),
    "the way back": (
        gate(lambda: Recurrent(nn.LSTM, bidirectional=True), ["rnn.bias_hh_l0_reverse"], FORGET),
        5,
        "P506",
        ("rnn.bias_hh_l0_reverse",),
        "",
    ),
    "an update gate": (
        gate(lambda: Recurrent(nn.GRU, num_layers=2), ["rnn.bias_hh_l1"], UPDATE),
        5,
        "P506",
        ("rnn.bias_hh_l1",),
        "",
    ),
    "the gate of a cell": (gate(Cells, ["cell.bias_ih"], FORGET), 5, "P506", ("cell.bias_ih",), ""),
}


def checked(build, k):
    torch.manual_seed(0)
    return fanin.check(**build(k), trial=False)


@pytest.mark.parametrize("name", CASES)
def test_the_one_at_fault_is_named_first_and_the_twin_passes(name):
    build, factor, code, paths, consequence = CASES[name]
    report = checked(build, factor)
    first = report.findings[0]
    assert (first.code, first.paths[: len(paths)]) == (code, paths)
    assert first.severity != "note"
    assert not consequence or consequence in {f.code for f in report.consequences}
    assert code not in {f.code for f in checked(build, 1).findings}


def test_a_little_too_much_in_every_layer_is_named_with_what_it_makes_together():
    report = checked(all_larger, 1.6)
    first = report.findings[0]
    assert first.code == "P502"
    assert "8 weights before relu have 1.6 times" in first.message
    assert len(first.paths) == 8
    assert "L801" in {f.code for f in report.consequences}
    assert checked(all_larger, 1.0).ok


def test_a_scale_of_a_norm_is_named_where_the_loss_shows_it():
    report = checked(normed, 50.0)
    assert (report.findings[0].code, report.findings[0].paths) == ("P502", ("1.weight",))
    assert checked(normed, 1.0).ok


def test_a_loss_names_the_operation_at_which_the_signal_grows():
    def all_read(k):
        given = state_space(1.0)
        for block in given["model"].blocks:
            block.read.data.mul_(k)
        return given

    report = checked(all_read, 200.0)
    (found,) = (f for f in report.findings if f.code == "L801")
    where, head = found.paths
    assert (where in {"blocks.0", "blocks.1"}, head) == (True, "head")
    assert found.fix.text.startswith(f"{where} makes the signal")
    assert checked(all_read, 1.0).ok


def test_a_zero_scale_of_a_norm_is_named_through_the_activation_behind_it():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 128), nn.LayerNorm(128), nn.GELU(), nn.Linear(128, 7))
    nn.init.zeros_(model[1].weight)
    report = fanin.check(model, torch.randn(64, 40), targets=labels(64, 7), trial=False)
    (found,) = (f for f in report.findings if f.code == "S205")
    assert "1.weight is all zeros" in found.message
    assert found.fix.text.startswith("set 1.weight to ones")


@pytest.mark.parametrize(("factor", "flagged"), [(1, False), (20, True)])
def test_few_labels_do_not_hide_the_spread_of_logits(factor, flagged):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 96), nn.LayerNorm(96), nn.Linear(96, 10))
    nn.init.normal_(model[-1].weight, std=0.025 * factor)
    for seed in range(5):
        y = torch.randint(0, 10, (16,), generator=torch.Generator().manual_seed(seed))
        report = fanin.check(model, torch.randn(16, 32), targets=y, trial=False)
        severities = {f.severity for f in (*report.findings, *report.consequences) if f.code == "L801"}
        assert bool(severities & {"warning", "error"}) is flagged


def test_rows_of_packed_maps_are_compared_within_their_own_map():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True)
    layer.self_attn.in_proj_weight.data[:128].mul_(6)
    report = fanin.check(layer, torch.randn(8, 16, 64), targets=torch.randn(8, 16, 64), trial=False)
    assert "P508" not in {f.code for f in (*report.findings, *report.consequences)}
    layer.self_attn.in_proj_weight.data[190].mul_(30)
    report = fanin.check(layer, torch.randn(8, 16, 64), targets=torch.randn(8, 16, 64), trial=False)
    (rows,) = (f for f in (*report.findings, *report.consequences) if f.code == "P508")
    assert rows.message.startswith("row 190 of self_attn.in_proj_weight")


def test_the_reason_for_a_growth_is_no_weight_that_makes_things_fall():
    class Sine(nn.Module):
        def __init__(self, n, m):
            super().__init__()
            self.map = nn.Linear(n, m)

        def forward(self, x):
            return torch.sin(30 * self.map(x))

    torch.manual_seed(0)
    model = nn.Sequential(Sine(2, 128), *[Sine(128, 128) for _ in range(3)], nn.Linear(128, 1))
    x = 2 * torch.rand(512, 2) - 1
    report = fanin.check(model, x, targets=torch.sin(5 * x[:, :1]), trial=False)
    (found,) = (f for f in (*report.findings, *report.consequences) if f.code == "S204")
    assert "weights before sin have 11" in found.message


class Codes(nn.Module):
    """Two losses inside the model: one takes a codebook for targets, the other the data."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(16, 8), nn.Linear(8, 16)
        self.codes = nn.Parameter((2 * torch.rand(32, 8) - 1) / 128)

    def forward(self, x):
        z = self.first(x)
        code = self.codes[torch.cdist(z, self.codes).argmin(1)]
        return F.mse_loss(z, code.detach()) + F.mse_loss(self.last(z + (code - z).detach()), x)


def test_a_codebook_is_no_data():
    torch.manual_seed(0)
    report = fanin.check(Codes(), torch.randn(64, 16), trial=False)
    assert "D104" not in {f.code for f in (*report.findings, *report.consequences)}


@pytest.mark.parametrize(("size", "flagged"), [(1.0, False), (5.0, True)])
def test_small_predictions_are_no_fault_of_targets_of_unit_scale(size, flagged):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1))
    for p in model[2].parameters():
        p.data.mul_(0.01)
    report = fanin.check(model, torch.randn(64, 16), targets=size * torch.randn(64, 1), trial=False)
    assert ("D104" in {f.code for f in (*report.findings, *report.consequences)}) is flagged


def test_a_hinge_of_a_loss_is_no_layer_of_dead_units():
    def hinge(out, y):
        lengths = torch.sigmoid(out)
        return (F.relu(lengths - 0.95) ** 2).mean() + (F.relu(0.05 - lengths) ** 2).mean() + F.cross_entropy(out, y)

    class Margins(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = he(16, 32, 5)

        def forward(self, x, y):
            return hinge(self.body(x), y)

    torch.manual_seed(0)
    report = fanin.check(Margins(), (torch.randn(32, 16), labels(32, 5)), trial=False)
    assert "A301" not in {f.code for f in (*report.findings, *report.consequences)}


def test_a_bias_of_one_class_is_named_beside_weights_that_are_a_little_small():
    torch.manual_seed(0)
    layers = [m for _ in range(6) for m in (nn.Linear(64, 64), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(64, 6))
    model[-1].bias.data[2] = 15
    first = fanin.check(model, torch.randn(64, 64), targets=labels(64, 6), trial=False).findings[0]
    assert (first.code, first.paths) == ("L801", ("12.bias",))


@pytest.mark.parametrize("k", [1, 1000])
def test_a_signal_that_is_too_small_for_its_positions_is_named_itself(k):
    torch.manual_seed(0)
    model = Placed()
    for p in model.embed.parameters():
        p.data.div_(k)
    report = fanin.check(model, torch.randn(32, 16, 12), targets=labels(32, 5), trial=False)
    named = [f for f in report.findings if f.code == "P502"]
    assert bool(named) is (k > 1)
    assert k == 1 or named[0].paths[0] == "embed"


def quantiles(out, y):
    """The pinball loss of three quantiles, which no rule knows."""
    away = y - out
    return sum((torch.maximum(q * e, (q - 1) * e)).mean() for q, e in zip((0.1, 0.5, 0.9), away.unbind(1), strict=True))


@pytest.mark.parametrize(
    ("bias", "targets", "named"), [(200, 0, True), (200, 200, False), (0, 0, False), (0, 200, False)]
)
def test_a_bias_of_the_outputs_is_named_under_a_loss_of_ones_own(bias, targets, named):
    torch.manual_seed(0)
    model, y = he(16, 64, 3), targets + torch.randn(64, 1)
    model[-1].bias.data += bias
    report = fanin.check(model, torch.randn(64, 16), loss=lambda out: quantiles(out, y), trial=False)
    found = [f for f in report.findings if f.code == "P503"]
    assert bool(found) is named
    assert not found or (report.findings[0].code, found[0].paths) == ("P503", ("2.bias",))


@pytest.mark.parametrize(("k", "named"), [(1.0, False), (2.2, True)])
def test_weights_that_are_all_too_large_are_named_without_a_loss_that_is_known(k, named):
    torch.manual_seed(0)
    model, y = he(16, *[64] * 5, 3), torch.randn(64, 1)
    for p in model.parameters():
        p.data.mul_(k)
    report = fanin.check(model, torch.randn(64, 16), loss=lambda out: quantiles(out, y), trial=False)
    assert (bool(report.findings) and report.findings[0].code == "P502") is named


class Normed(nn.Module):
    """Rows and positions that a norm reads, and no other weight whose scale reaches the signal."""

    def __init__(self):
        super().__init__()
        self.rows, self.pos, self.head = nn.Embedding(50, 16), nn.Parameter(0.1 * torch.randn(9, 16)), nn.Linear(16, 4)

    def forward(self, ids):
        return self.head(F.layer_norm(self.rows(ids) + self.pos, (16,)).mean(1))


@pytest.mark.parametrize(("k", "named"), [(1, False), (1000, True)])
def test_rows_too_small_for_their_positions_are_named_where_no_other_weight_is_rated(k, named):
    torch.manual_seed(0)
    model = Normed()
    model.rows.weight.data.div_(k)
    report = fanin.check(model, torch.randint(0, 50, (64, 9)), targets=labels(64, 4), trial=False)
    found = [f for f in report.findings if f.code == "P502"]
    assert bool(found) is named
    assert not found or (found[0].paths[0], found[0].fix.text.split(" (")[0]) == ("rows", "draw rows larger")


# ---------------------------------------------------------------------- biases of norms, and those a model adds itself
class Added(nn.Module):
    """Two maps by hand, each with a bias that is added to it."""

    def __init__(self):
        super().__init__()
        self.first, self.last = (nn.Parameter(torch.randn(16, n) / 4) for n in (16, 5))
        self.b, self.c = nn.Parameter(torch.zeros(16)), nn.Parameter(torch.zeros(5))

    def forward(self, x):
        return F.relu(x @ self.first * 1.4 + self.b) @ self.last + self.c


def behind_a_norm(kind):
    return nn.Sequential(nn.Linear(16, 64), kind(64), nn.ReLU(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 5))


@pytest.mark.parametrize(
    ("make", "path", "value", "named"),
    [
        (lambda: behind_a_norm(nn.BatchNorm1d), "1.bias", -6.0, True),
        (lambda: behind_a_norm(nn.LayerNorm), "1.bias", -6.0, True),
        (lambda: behind_a_norm(nn.LayerNorm), "1.bias", 30.0, True),
        (lambda: behind_a_norm(nn.BatchNorm1d), "1.bias", -0.5, False),
        (lambda: behind_a_norm(nn.BatchNorm1d), "0.bias", 30.0, False),  # the norm takes it off
        (Added, "b", -8.0, True),
        (Added, "b", -0.3, False),
    ],
)
def test_a_bias_of_a_norm_or_of_the_forward_itself_is_named(make, path, value, named):
    torch.manual_seed(0)
    model = make()
    nn.init.constant_(model.get_parameter(path), value)
    report = fanin.check(model, torch.randn(64, 16), targets=labels(64, 5), trial=False)
    assert report.ok is not named
    assert not named or (report.findings[0].code, report.findings[0].paths) == ("P503", (path,))


@pytest.mark.parametrize("k", [0.1, 15.0])
def test_a_bias_that_the_forward_adds_to_logits_is_named(k):
    torch.manual_seed(0)
    model = Added()
    model.c.data[2] = k
    report = fanin.check(model, torch.randn(64, 16), targets=labels(64, 5), trial=False)
    assert [(f.code, f.paths) for f in report.findings[:1]] == ([("L801", ("c",))] if k > 1 else [])


@pytest.mark.parametrize("value", [0.0, 20.0])
def test_a_bias_of_one_logit_is_named(value):
    torch.manual_seed(0)
    model = he(16, 64, 1)
    nn.init.constant_(model[2].bias, value)
    y = torch.randint(0, 2, (64, 1)).float()
    report = fanin.check(model, torch.randn(64, 16), targets=y, loss=F.binary_cross_entropy_with_logits, trial=False)
    assert [(f.code, f.paths) for f in report.findings[:1]] == ([("L801", ("2.bias",))] if value else [])


# ---------------------------------------------------------------------- cells that a model writes out
class Written(nn.Module):
    """An LSTM step by step, whose gates lie in the order i f g o."""

    def __init__(self, size=32):
        super().__init__()
        self.w, self.u = nn.Linear(6, 4 * size, bias=False), nn.Linear(size, 4 * size, bias=False)
        self.b, self.head, self.size = nn.Parameter(torch.zeros(4 * size)), nn.Linear(size, 4), size
        nn.init.orthogonal_(self.u.weight)
        self.b.data[size : 2 * size] = 1.0

    def forward(self, x):
        h = c = x.new_zeros(len(x), self.size)
        for t in range(x.shape[1]):
            i, f, g, o = (self.w(x[:, t]) + self.u(h) + self.b).chunk(4, -1)
            c = c * f.sigmoid() + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return self.head(h)


def gate(number, value):
    def change(model):
        model.b.data[number * model.size : (number + 1) * model.size] = value

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (gate(0, -6.0), "b"),
        (gate(1, -5.0), "b"),
        (gate(3, -6.0), "b"),
        (lambda m: m.w.weight.data.mul_(30), "w.weight"),
        (gate(1, 2.0), ""),
        (lambda m: (gate(0, -2.0)(m), gate(1, 2.0)(m)), ""),  # a long memory by design
        (lambda m: None, ""),
    ],
)
def test_gates_and_matrices_of_a_cell_that_is_written_out_are_named(change, named):
    torch.manual_seed(0)
    model = Written()
    change(model)
    report = fanin.check(model, torch.randn(32, 20, 6), targets=labels(32, 4), trial=False)
    found = [(f.code, f.paths) for f in report.findings if f.code == "P506"]
    assert found == ([("P506", (named,))] if named else [])
    assert not named or report.findings[0].code == "P506"


@pytest.mark.parametrize(("value", "named"), [(8.0, True), (2.0, False)])
def test_an_update_gate_that_never_lets_the_input_in_is_named(value, named):
    torch.manual_seed(0)
    model = Recurrent(nn.GRU)
    model.rnn.bias_ih_l0.data[32:64] = value
    report = fanin.check(model, torch.randn(32, 20, 8), targets=labels(32, 4), trial=False)
    found = [f.paths for f in report.findings if f.code == "P506"]
    assert found == ([("rnn.bias_ih_l0",)] if named else [])


# ---------------------------------------------------------------------- losses written by hand, and what they are given
def entropy_by_hand(out, y):
    return (out.logsumexp(1) - out.gather(1, y[:, None])[:, 0]).mean()


@pytest.mark.parametrize("k", [1, 40])
def test_a_cross_entropy_by_hand_is_judged_by_its_gradient(k):
    torch.manual_seed(0)
    model, y = he(16, 64, 64, 5), labels(64, 5)
    model[-1].weight.data.mul_(k)
    report = fanin.check(model, torch.randn(64, 16), loss=lambda out: entropy_by_hand(out, y), trial=False)
    everything = {f.code for f in report.findings + report.consequences}
    assert ("L801" in everything) is (k > 1)
    assert report.measurements.loss.op == "cross_entropy"
    assert not everything or report.findings[0].paths == ("4.weight",)


@pytest.mark.parametrize("apart", [False, True])
def test_targets_that_broadcast_in_a_loss_by_hand_are_named(apart):
    torch.manual_seed(0)
    model, y = he(16, 64, 1), torch.randn(64)
    loss = (lambda out: (out[:, 0] - y).square().mean()) if apart else (lambda out: (out - y).square().mean())
    report = fanin.check(model, torch.randn(64, 16), loss=loss, trial=False)
    assert [f.code for f in report.findings if f.severity == "error"] == ([] if apart else ["L804"])


@pytest.mark.parametrize(
    ("last", "targets", "named"),
    [
        (nn.Tanh(), lambda: 3 * torch.randn(64, 2), True),
        (nn.Tanh(), lambda: torch.rand(64, 2) * 2 - 1, False),
        (nn.ReLU(), lambda: torch.randn(64, 2), True),
        (nn.Softplus(), lambda: torch.rand(64, 2), False),
        (nn.Sigmoid(), lambda: 200 * torch.rand(64, 2), True),
        (nn.Identity(), lambda: 3 * torch.randn(64, 2), False),
    ],
)
def test_targets_that_the_last_function_cannot_give_are_named(last, targets, named):
    torch.manual_seed(0)
    model = nn.Sequential(*he(16, 64, 2), last)
    report = fanin.check(model, torch.randn(64, 16), targets=targets(), trial=False)
    assert ("D104" in {f.code for f in report.findings}) is named


@pytest.mark.parametrize("logs", [False, True])
def test_ctc_and_divergence_want_logarithms(logs):
    torch.manual_seed(0)
    model, y = he(16, 64, 5), torch.randint(1, 5, (8, 3))
    shares = torch.rand(8, 6, 5).softmax(-1)

    def ctc(out):
        out = out.log_softmax(-1) if logs else out
        return F.ctc_loss(out.transpose(0, 1), y, torch.full((8,), 6), torch.full((8,), 3))

    def divergence(out):
        return F.kl_div(out.log_softmax(-1) if logs else out.softmax(-1), shares, reduction="batchmean")

    for loss in (ctc, divergence):
        report = fanin.check(model, torch.randn(8, 6, 16), loss=loss, trial=False)
        assert ("L802" in {f.code for f in report.findings}) is not logs


class Latents(nn.Module):
    """Learned vectors that read the input by attention, whose mean is classified."""

    def __init__(self, rows):
        super().__init__()
        self.rows = nn.Parameter(rows)
        self.q, self.k, self.v, self.head = (nn.Linear(16, n) for n in (16, 16, 16, 4))

    def forward(self, x):
        rows = self.rows.expand(len(x), -1, -1)
        h = rows + F.scaled_dot_product_attention(self.q(rows), self.k(x), self.v(x))
        return self.head(F.gelu(h).mean(1))


@pytest.mark.parametrize(("rows", "named"), [("zeros", True), ("ones", True), ("randn", False)])
def test_learned_vectors_that_cannot_become_different_are_named(rows, named):
    torch.manual_seed(0)
    model = Latents(getattr(torch, rows)(8, 16))
    report = fanin.check(model, torch.randn(32, 12, 16), targets=labels(32, 4), trial=False)
    assert [f.paths for f in report.findings if f.code == "P501"] == ([("rows",)] if named else [])


def test_positions_of_zero_become_different():
    torch.manual_seed(0)
    model = Placed()
    nn.init.zeros_(model.pos)
    report = fanin.check(model, torch.randn(32, 16, 12), targets=labels(32, 5), trial=False)
    assert "P501" not in {f.code for f in report.findings}


@pytest.mark.parametrize("size", [0.01, 1.0])
def test_a_margin_loss_of_small_outputs_is_no_loss_of_labels(size):
    """(m - z_y)^2 + max(0, |z| - m')^2 of small outputs has the gradient of an nll_loss, and not its value."""
    torch.manual_seed(0)
    model, y = he(16, 64, 10), F.one_hot(labels(64, 10), 10)
    model[2].weight.data.mul_(size)

    def margin(out):
        small, large = (0.9 - out.abs()).clamp_min(0), (out.abs() - 0.1).clamp_min(0)
        return (y * small**2 + 0.5 * (1 - y) * large**2).sum(1).mean()

    report = fanin.check(model, torch.randn(64, 16), loss=margin, trial=False)
    assert not {"L801", "L802", "L803", "L804"} & {f.code for f in report.findings}
    assert report.measurements.loss.op in ("", "mse_loss")


class Cubes(nn.Module):
    """Three maps, each followed by a function that the model writes out, and a head."""

    def __init__(self, function):
        super().__init__()
        self.function, self.maps = function, nn.ModuleList(nn.Linear(32, 32, bias=False) for _ in range(4))
        self.head = nn.Linear(32, 5)
        for layer in self.maps:
            nn.init.normal_(layer.weight, std=32**-0.5)
        self.maps[2].weight.data.mul_(0.03)

    def forward(self, x):
        for layer in self.maps:
            x = self.function(layer(x))
        return self.head(x)


@pytest.mark.parametrize(("function", "named"), [(lambda x: 40 * x**3, False), (lambda x: 1.0 * x, True)])
def test_a_small_map_before_a_power_may_have_the_size_that_the_power_wants(function, named):
    torch.manual_seed(0)
    report = fanin.check(Cubes(function), torch.randn(64, 32), targets=labels(64, 5), trial=False)
    assert ("maps.2.weight" in [p for f in report.findings if f.code == "P502" for p in f.paths]) is named


class Gated(nn.Module):
    """A GRU step by step, each gate a layer with a bias of its own."""

    def __init__(self):
        super().__init__()
        self.z, self.r, self.n = (nn.Linear(6 + 32, 32) for _ in range(3))
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        h = x.new_zeros(len(x), 32)
        for t in range(x.shape[1]):
            read = torch.cat([x[:, t], h], -1)
            z, r = self.z(read).sigmoid(), self.r(read).sigmoid()
            h = (1 - z) * self.n(torch.cat([x[:, t], r * h], -1)).tanh() + z * h
        return self.head(h)


@pytest.mark.parametrize("value", [7.0, -6.0, 0.0])
def test_a_bias_of_a_gate_is_not_laid_to_its_weights(value):
    torch.manual_seed(0)
    model = Gated()
    nn.init.constant_(model.z.bias, value)
    report = fanin.check(model, torch.randn(32, 12, 6), targets=labels(32, 4), trial=False)
    assert [f.paths for f in report.findings if f.code == "P506"] == ([("z.bias",)] if value else [])


class WrittenNorm(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.first, self.last = nn.Linear(16, 64), nn.Linear(64, 5)
        self.scale, self.shift = nn.Parameter(torch.ones(64)), nn.Parameter(torch.full((64,), value))

    def forward(self, x):
        h = self.first(x)
        return self.last(F.gelu(h * h.square().mean(-1, keepdim=True).rsqrt() * self.scale + self.shift))


@pytest.mark.parametrize("value", [-9.0, -0.5])
def test_a_bias_of_a_norm_that_is_written_out_is_named(value):
    torch.manual_seed(0)
    report = fanin.check(WrittenNorm(value), torch.randn(64, 16), targets=labels(64, 5), trial=False)
    assert [(f.code, f.paths) for f in report.findings[:1]] == ([("P503", ("shift",))] if value < -1 else [])


def test_bounds_that_are_given_are_not_those_of_the_function():
    torch.manual_seed(0)
    model = nn.Sequential(*he(16, 64, 2), nn.Hardtanh(-5.0, 5.0))
    report = fanin.check(model, torch.randn(64, 16), targets=2 * torch.randn(64, 2), trial=False)
    assert "D104" not in {f.code for f in report.findings}


@pytest.mark.parametrize("scale", [1.0, 256.0])
def test_a_loss_by_hand_that_lacks_a_logarithm_is_named_also_where_it_is_scaled(scale):
    torch.manual_seed(0)
    model, y = he(16, 64, 5), labels(64, 5)
    x = torch.randn(64, 16)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    with fanin.watch(model, optimizer) as watched:
        for _ in range(2):
            loss = -model(x).gather(1, y[:, None]).mean()
            optimizer.zero_grad()
            (scale * loss).backward()
            optimizer.step()
            watched.step(loss=loss)
    assert "L802" in {f.code for f in (*watched.report.findings, *watched.report.consequences)}
