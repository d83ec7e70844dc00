"""Every rule fires on a minimal broken model and keeps quiet on a near miss."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

import fanin
from fanin.rules.table import RULES
from tests.rules import watched_cases as runs
from tests.selection import few
from tools.rule_pages import pages


def net(act=nn.ReLU, depth=1, width=64, norm=None, bias=True):
    layers = [nn.Linear(32, width, bias=bias)]
    for _ in range(depth - 1):
        layers += [norm(width)] if norm else []
        layers += [act(), nn.Linear(width, width, bias=bias)]
    return nn.Sequential(*layers, act(), nn.Linear(width, 10))


def init(model, std=None, bias=0.0, gain=None):
    for m in model:
        if isinstance(m, nn.Linear):
            nn.init.normal_(m.weight, std=std if std is not None else gain * m.in_features**-0.5)
            if m.bias is not None:
                nn.init.constant_(m.bias, bias)
    return model


def edited(model, edit):
    with torch.no_grad():
        edit(model)
    return model


def x(n=64):
    return torch.randn(n, 32)


def y(n=64):
    return torch.randint(0, 10, (n,))


def turned(sign):
    """A loss with this sign."""
    targets = y()
    return {"model": net(), "inputs": x(), "loss": lambda out: sign * nn.functional.cross_entropy(out, targets)}


def meeting(shape):
    """One output a sample, and targets of this shape."""
    targets = torch.randn(shape)
    model = nn.Sequential(nn.Linear(32, 1))
    return {"model": model, "inputs": x(), "loss": lambda out: nn.functional.smooth_l1_loss(*pair(out, targets))}


def pair(out, targets):
    """Without the warning of torch about shapes."""
    warnings.simplefilter("ignore", UserWarning)
    return out, targets


def left_out(model):
    """The first layer is left out of the optimizer, and says so."""
    model[0].requires_grad_(False)
    return model


def dropping(p=0.1):
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Dropout(p), nn.Linear(64, 10))


def decayed(decay):
    return runs.Trained(lambda model: torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=decay))


def case(model, inputs=None, targets=None, **more):
    inputs = x() if inputs is None else inputs
    return {"model": model, "inputs": inputs, "targets": y(len(inputs)) if targets is None else targets, **more}


class Last(nn.Module):
    """The last output of a recurrent layer."""

    def forward(self, out):
        return out[0][:, -1]


def recurrence(kind, std, **more):
    rnn = kind(16, 64, batch_first=True, **more)
    model = nn.Sequential(rnn, Last(), nn.Linear(64, 10))
    return case(edited(model, lambda m: nn.init.normal_(rnn.weight_hh_l0, std=std)), torch.randn(32, 50, 16))


def attention(factor):
    layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
    return case(
        edited(layer, lambda m: m.self_attn.in_proj_weight[:64].mul_(factor)),
        torch.randn(8, 16, 32),
        torch.randn(8, 16, 32),
    )


class Tokens(nn.Module):
    def __init__(self, skip):
        super().__init__()
        self.skip, self.value = skip, nn.ModuleList(nn.Linear(32, 32, bias=False) for _ in range(4))

    def forward(self, h):
        for value in self.value:
            new = torch.softmax(h @ h.transpose(1, 2) / 32, -1) @ value(h)
            h = h + new if self.skip else new
        return h


class Cut(nn.Module):
    def __init__(self, cut):
        super().__init__()
        self.cut, self.a, self.b = cut, nn.Linear(32, 64), nn.Linear(64, 10)

    def forward(self, h):
        h = self.a(h).relu()
        return self.b(h.detach() if self.cut else h)


class Gated(nn.Module):
    """y = x + a b relu(W x): a alone zero opens, a and b both zero is a deadlock."""

    def __init__(self, a, b):
        super().__init__()
        self.inner, self.head = nn.Linear(32, 32), nn.Linear(32, 10)
        self.a, self.b = nn.Parameter(torch.full((32,), a)), nn.Parameter(torch.full((32,), b))

    def forward(self, h):
        return self.head(h + self.a * (self.b * self.inner(h).relu()))


class Logged(nn.Module):
    def __init__(self, floor):
        super().__init__()
        self.layer, self.floor = nn.Linear(32, 10), floor

    def forward(self, h):
        return (self.layer(h).relu() + self.floor).log()


def softmaxed(end):
    return nn.Sequential(*net(), *end)


def cloned(share):
    first = nn.Linear(32, 32)
    second = copy.deepcopy(first) if share else nn.Linear(32, 32)
    return nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), nn.Linear(32, 10))


def adam(lr):
    model = net()
    return case(model, optimizer=torch.optim.Adam(model.parameters(), lr=lr))


def nan_at(index):
    inputs = x()
    if index is not None:
        inputs[index] = float("nan")
    return inputs


def tokens(factor):
    """A table whose last rows were drawn at another scale."""
    model = nn.Sequential(nn.Embedding(120, 32), nn.Flatten(), nn.Linear(8 * 32, 10))
    edited(model, lambda m: (nn.init.normal_(m[0].weight, std=0.02), m[0].weight[110:].mul_(factor)))
    return case(model, torch.randint(0, 120, (64, 8)))


class Angles(nn.Module):
    def __init__(self, frequency):
        super().__init__()
        self.register_buffer("frequencies", torch.full((32,), frequency))
        self.head = nn.Linear(64, 10)

    def forward(self, h):
        angles = h * self.frequencies
        return self.head(torch.cat([angles.sin(), angles.cos()], -1))


class Stacked(nn.Module):
    def __init__(self, container):
        super().__init__()
        self.layers = container([nn.Linear(32, 32) for _ in range(2)])
        self.head = nn.Linear(32, 10)

    def forward(self, h):
        for layer in self.layers:
            h = torch.tanh(layer(h))
        return self.head(h)


def frozen(model, places):
    for place in places:
        model[place].requires_grad_(False)
    return model


def shared(tie):
    model = net(depth=3)
    if tie:
        model[4].weight = model[2].weight
    return model


# code -> (what must fire, what is close and must not)
CASES = {
    "D101": (lambda: case(net(), 20 * x()), lambda: case(net(), 3 * x())),
    "D102": (lambda: case(net(), 5 + 0.1 * x()), lambda: case(net(), 2 + x())),
    "D103": (lambda: case(net(), nan_at((3, 7))), lambda: case(net(), nan_at(None))),
    "D104": (
        lambda: case(net(), targets=1e4 * torch.randn(64, 10)),
        lambda: case(net(), targets=10 * torch.randn(64, 10)),
    ),
    "P501": (
        lambda: case(edited(net(), lambda m: m[0].weight.fill_(0.1))),
        lambda: case(edited(net(), lambda m: m[0].weight[:8].fill_(0.0))),  # closed, not copied
    ),
    "P502": (lambda: case(init(net(depth=8), std=0.01)), lambda: case(init(net(depth=8), gain=2**0.5))),
    "P503": (
        lambda: case(edited(net(), lambda m: m[0].bias.fill_(-6.0))),
        lambda: case(edited(net(), lambda m: m[0].bias.fill_(-0.5))),
    ),
    "P504": (lambda: case(edited(net(), lambda m: m[0].weight[0, :1].fill_(torch.nan))), lambda: case(net())),
    "P507": (
        lambda: case(edited(net(), lambda m: m[0].bias[3:4].fill_(3e30))),
        lambda: case(edited(net(), lambda m: m[0].bias[3:4].fill_(3.0))),
    ),
    "P508": (lambda: tokens(50.0), lambda: tokens(3.0)),
    "P509": (lambda: case(Angles(0.0)), lambda: case(Angles(1.0))),
    "P510": (lambda: case(frozen(net(depth=3), [2])), lambda: case(net(depth=3))),
    "P511": (lambda: case(shared(True)), lambda: case(shared(False))),
    "P512": (lambda: case(Stacked(list)), lambda: case(Stacked(nn.ModuleList))),
    "P506": (lambda: recurrence(nn.LSTM, 3.0), lambda: recurrence(nn.LSTM, 0.15)),
    "P505": (lambda: case(cloned(True)), lambda: case(cloned(False))),
    "N601": (
        lambda: case(net(norm=nn.BatchNorm1d, depth=2), x(4)),
        lambda: case(net(norm=nn.BatchNorm1d, depth=2), x(16)),
    ),
    "N602": (
        lambda: case(nn.Sequential(nn.Linear(32, 64), nn.LayerNorm(64, eps=10.0), nn.ReLU(), nn.Linear(64, 10))),
        lambda: case(nn.Sequential(nn.Linear(32, 64), nn.LayerNorm(64, eps=1e-3), nn.ReLU(), nn.Linear(64, 10))),
    ),
    "S207": (lambda: case(Logged(0.0)), lambda: case(Logged(0.1))),
    "S201": (lambda: case(init(net(depth=8), gain=0.5)), lambda: case(init(net(depth=8), gain=1.3))),
    "S202": (lambda: case(init(net(depth=8), gain=4.0)), lambda: case(init(net(depth=8), gain=1.6))),
    "S203": (
        lambda: case(init(net(nn.Sigmoid, depth=8), gain=1.0)),
        lambda: case(init(net(nn.Tanh, depth=8), gain=1.2)),
    ),
    "S204": (
        lambda: case(init(net(nn.Tanh, depth=16), gain=3.0)),
        lambda: case(init(net(nn.Tanh, depth=16), gain=1.3)),
    ),
    "S205": (lambda: case(net(depth=12)), lambda: case(init(net(depth=12), gain=2**0.5))),
    "S206": (lambda: case(init(net(depth=4), gain=200.0)), lambda: case(init(net(depth=4), gain=2**0.5))),
    "A301": (
        lambda: case(edited(net(depth=2), lambda m: m[2].bias.fill_(-1.5))),
        lambda: case(init(net(depth=2), gain=2**0.5)),
    ),
    "A302": (lambda: case(init(net(nn.Tanh), std=2.0)), lambda: case(init(net(nn.Tanh), gain=1.0))),
    "A303": (
        lambda: case(edited(net(), lambda m: m[0].weight[:32].zero_())),
        lambda: case(edited(net(), lambda m: m[0].weight[:4].zero_())),
    ),
    "G401": (lambda: case(Cut(True)), lambda: case(Cut(False))),
    "G402": (lambda: case(Gated(0.0, 0.0)), lambda: case(Gated(0.0, 1.0))),
    "G403": (lambda: case(Gated(0.0, 1.0)), lambda: case(Gated(0.5, 1.0))),
    "G404": (lambda: case(net(nn.Sigmoid, depth=8)), lambda: case(net(depth=2))),
    "T701": (lambda: attention(10.0), lambda: attention(1.0)),
    "T702": (
        lambda: {"model": Tokens(False), "inputs": torch.randn(8, 16, 32)},
        lambda: {"model": Tokens(True), "inputs": torch.randn(8, 16, 32)},
    ),
    "L801": (
        lambda: case(edited(net(), lambda m: m[2].weight.mul_(60))),
        lambda: case(edited(net(), lambda m: m[2].weight.mul_(2))),
    ),
    "L802": (lambda: case(softmaxed([nn.Softmax(-1)])), lambda: case(softmaxed([]))),
    "O901": (lambda: adam(1.0), lambda: adam(1e-3)),
    "O902": (
        lambda: {"model": init(nn.Sequential(nn.Linear(32, 64)), std=1e4).half(), "inputs": x(16).half()},
        lambda: {"model": nn.Linear(32, 64).half(), "inputs": x(16).half()},
    ),
    "W901": (lambda: runs.adam(0.3), lambda: runs.adam(1e-3)),
    "W902": (lambda: runs.sgd(1e-6), lambda: runs.sgd(0.1)),
    "W903": (lambda: runs.adam(5e-3, noise=True), lambda: runs.adam(1e-3, noise=True)),
    "W904": (lambda: runs.sgd(30.0), lambda: runs.sgd(0.3)),
    "W905": (lambda: runs.sgd(1e30), lambda: runs.sgd(0.3)),
    "W906": (lambda: runs.sgd(0.1, falls=100.0), lambda: runs.sgd(1e-3, falls=1.0)),
    "W907": (lambda: runs.adam(1e-3, clears=False), lambda: runs.adam(1e-3)),
    "W908": (
        lambda: runs.sgd(0.1, schedule=lambda o: torch.optim.lr_scheduler.StepLR(o, 1, 0.1)),
        lambda: runs.sgd(0.1, schedule=lambda o: torch.optim.lr_scheduler.LinearLR(o, 1e-3, total_iters=1000)),
    ),
    "W909": (
        lambda: runs.adam(1e-3, after=lambda m: m[2].reset_parameters()),
        lambda: runs.adam(1e-3, after=lambda m: m[2].weight.data.mul_(0.999)),
    ),
    "D105": (lambda: case(net(), targets=torch.full((64,), 3)), lambda: case(net())),
    "L803": (lambda: turned(-1.0), lambda: turned(1.0)),
    "L804": (lambda: meeting((64,)), lambda: meeting((64, 1))),
    "W910": (
        lambda: runs.Trained(lambda model: torch.optim.SGD(model[2].parameters(), lr=0.1)),
        lambda: runs.sgd(0.1, model=lambda: left_out(runs.small_net())),
    ),
    "W911": (lambda: runs.sgd(0.1, model=lambda: dropping().eval()), lambda: runs.sgd(0.1, model=dropping)),
    "W912": (lambda: runs.sgd(0.1, doubled=True), lambda: runs.sgd(0.1)),
    "W913": (lambda: decayed(1.0), lambda: decayed(5e-4)),
    "W914": (lambda: runs.sgd(0.1, model=lambda: dropping(0.99)), lambda: runs.sgd(0.1, model=dropping)),
}


def checked(given, select):
    """The report of a model to check, or of a run to watch."""
    return given.report(select) if isinstance(given, runs.Trained) else fanin.check(**given, select=select)


def codes(report):
    return [f.code for f in (*report.findings, *report.consequences)]


def test_every_rule_has_a_case():
    assert sorted(CASES) == sorted(r.code for r in RULES)


@pytest.mark.parametrize("code", sorted(CASES))
def test_fires_on_the_broken_model(code):
    torch.manual_seed(0)
    company = ["S2"] if code == "P502" else []  # weights that are all off are told only beside a drift
    assert code in codes(checked(CASES[code][0](), [code, *company]))


@pytest.mark.parametrize("code", sorted(CASES))
def test_keeps_quiet_on_the_near_miss(code):
    torch.manual_seed(0)
    company = ["S2"] if code == "P502" else []
    assert code not in codes(checked(CASES[code][1](), [code, *company]))


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.code)
def test_a_page_has_all_headings(rule):
    page = rule.page()
    for heading in ("What it does:", "Why:", "What is measured:", "Example:", "Fix:", "References:"):
        assert heading in page
    assert ">>> " in page
    assert rule.source


def test_codes_and_names_are_unique():
    assert len({r.code for r in RULES}) == len({r.name for r in RULES}) == len(RULES)


def test_every_finding_says_number_limit_and_fix():
    torch.manual_seed(0)
    for report in (fanin.check(**CASES[c][0]()) for c in ("D101", "S201", "T701", "L801")):
        for f in report.findings:
            assert f.value is not None
            assert f.fix.text
            assert f.message.endswith(".")
            assert f.severity == "note" or f.threshold is not None


def test_the_pages_in_the_docs_are_those_of_the_rules():
    folder = Path(__file__).parents[2] / "docs" / "rules"
    made = pages()
    assert {p.name for p in folder.glob("*.md")} == set(made), "run: python -m tools.rule_pages docs/rules"
    for name, text in made.items():
        assert (folder / name).read_text(encoding="utf-8") == text, f"{name}: run python -m tools.rule_pages docs/rules"
        assert "## Why" in text or name == "index.md"


@pytest.mark.parametrize("code", few(["S201", "S202", "S205", "P501", "P505", "P506"], "S201", "P501", "P505"))
def test_the_suggested_start_cures_what_it_is_suggested_for(code):
    torch.manual_seed(0)
    case = CASES[code][0]()
    found = [f for f in everything(fanin.check(**case)) if f.code == code]
    assert found[0].fix.code.startswith("fanin.init_(model, inputs)")
    fanin.init_(case["model"], case["inputs"])
    assert code not in [f.code for f in everything(fanin.check(**case))]


def test_the_suggested_start_cures_zero_weights():
    torch.manual_seed(0)
    broken = case(edited(net(), lambda m: [p.zero_() for p in m.parameters()]))
    assert "G402" in [f.code for f in everything(fanin.check(**broken))]
    fanin.init_(broken["model"], broken["inputs"])
    assert fanin.check(**broken).ok


def everything(report):
    return (*report.findings, *report.consequences)


def test_one_check_is_one_check():
    torch.manual_seed(0)
    report = fanin.check(torch.nn.Linear(8, 4), torch.randn(8, 8), select=["G401"])
    assert report.verdict == "healthy: 1 check"


class LastToken(nn.Module):
    """The reverse direction has seen one token when its last output is read."""

    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.GRU(32, 64, batch_first=True, bidirectional=True), nn.Linear(128, 10)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


def test_a_recurrence_that_is_never_entered_is_a_note():
    torch.manual_seed(0)
    report = fanin.check(LastToken(), torch.randn(16, 8, 32), targets=torch.randint(0, 10, (16,)))
    assert report.ok
    (found,) = [f for f in report.findings if f.code == "G402"]
    assert found.severity == "note"
    assert found.paths == ("rnn.weight_hh_l0_reverse",)


def pooled(depth, std=None):
    layers, n = [], 3
    for _ in range(depth):
        layers += [nn.Conv2d(n, 32, 3, padding=1), nn.ReLU()]
        n = 32
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    if std is not None:
        for layer in model[:-1:2]:
            nn.init.normal_(layer.weight, std=std)
    return {"model": model, "inputs": torch.randn(16, 3, 16, 16), "targets": torch.randint(0, 10, (16,))}


@pytest.mark.slow
def test_noise_that_averages_out_over_a_picture_is_no_collapse():
    torch.manual_seed(0)
    assert fanin.check(**pooled(4)).ok
    torch.manual_seed(0)
    assert "S205" in [f.code for f in everything(fanin.check(**pooled(12)))]


def closed(place, act):
    """A plain chain, one weight of which is all zeros."""
    torch.manual_seed(0)
    model = init(net(act=act, depth=4), gain=1.5)
    return edited(model, lambda m: m[place].weight.zero_())


@pytest.mark.parametrize(("act", "bias"), [(nn.Tanh, 0.0), (nn.Tanh, 0.1), (nn.ReLU, 0.1)])
def test_zeros_in_the_middle_of_a_chain_are_named(act, bias):
    model = closed(4, act)
    nn.init.constant_(model[4].bias, bias)
    report = fanin.check(**case(model))
    (found,) = (f for f in report.findings if f.severity != "note")
    assert (found.code, found.paths) == ("G402", ("4.weight",))
    assert "at random" in found.fix.text
    (equal,) = (f for f in report.consequences if f.code == "S205")
    assert equal.paths == ("4", "8")
    assert "from 4 on; 4.weight is all zeros" in equal.message


def test_a_zero_head_is_no_collapse():
    assert fanin.check(**case(closed(8, nn.Tanh))).ok


def test_a_dead_network_names_its_zeros():
    found = fanin.check(**case(closed(4, nn.ReLU))).findings[0]
    assert (found.code, "; 4.weight is all zeros" in found.message) == ("G402", True)


@pytest.mark.parametrize(
    ("kind", "more", "good", "bad"),
    few(
        [
            (nn.RNN, {}, 0.15, 1.0),
            (nn.RNN, {"nonlinearity": "relu"}, 0.17, 0.25),  # (std^2 64 / 2)^25: 0.5 and 1.1e7
            (nn.GRU, {}, 0.15, 2.0),
        ],
        every=2,
    ),
)
def test_recurrences_of_each_kind(kind, more, good, bad):
    torch.manual_seed(0)
    assert "P506" not in [f.code for f in everything(fanin.check(**recurrence(kind, good, **more)))]
    found = fanin.check(**recurrence(kind, bad, **more)).findings[0]
    assert (found.code, found.paths) == ("P506", ("0.weight_hh_l0",))


@pytest.mark.slow
def test_the_growth_of_a_recurrence_is_that_of_its_cell_looped_by_hand():
    torch.manual_seed(0)
    cell = nn.RNNCell(16, 64, nonlinearity="relu")
    nn.init.normal_(cell.weight_hh, std=0.25)

    class Looped(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.head = cell, nn.Linear(64, 10)

        def forward(self, x):
            h = torch.zeros(len(x), 64)
            for t in range(x.shape[1]):
                h = self.cell(x[:, t], h)
            return self.head(h)

    (found,) = (f for f in fanin.check(**case(Looped(), torch.randn(32, 50, 16))).findings if f.code == "P506")
    rms = cell.weight_hh.square().mean().item()
    assert found.value == pytest.approx((64 * rms / 2) ** 25, rel=1e-3)


def test_tiny_weights_are_at_fault_and_not_the_ordinary_biases_beside_them():
    """A residual network, where no drift says so."""

    class Block(nn.Module):
        def __init__(self, std):
            super().__init__()
            self.f = nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 32))
            nn.init.normal_(self.f[1].weight, std=std)

        def forward(self, h):
            return h + self.f(h)

    def check(std):
        torch.manual_seed(0)
        return fanin.check(**case(nn.Sequential(*[Block(std) for _ in range(3)], nn.Linear(32, 10))))

    (found,) = (f for f in check(1e-3).findings if f.severity == "warning")
    assert (found.code, found.paths[0]) == ("P502", "0.f.1.weight")
    assert "little but their biases" in found.message
    assert check(0.05).ok


@pytest.mark.parametrize(("gain", "bias", "flat"), [(60.0, 0.0, True), (1.0, 0.0, False), (1.0, -4.6, False)])
def test_an_output_at_both_ends_is_saturated_and_a_prior_is_not(gain, bias, flat):
    torch.manual_seed(0)
    model = edited(net(), lambda m: (m[-1].weight.mul_(gain), m[-1].bias.fill_(bias)))
    found = everything(fanin.check(model.append(nn.Sigmoid()), x(), targets=torch.rand(64, 10)))
    assert ("A302" in [f.code for f in found]) == flat


def test_a_norm_without_scale_is_named():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64), nn.LayerNorm(64), nn.Linear(64, 10))
    nn.init.zeros_(model[1].weight)
    found = fanin.check(**case(model)).findings[0]
    assert (found.code, "1.weight is all zeros" in found.message) == ("S205", True)
    assert found.fix.text.startswith("set 1.weight to ones")


@pytest.mark.parametrize(("factor", "found"), [(1e4, True), (10.0, False)])
def test_predictions_far_above_the_targets(factor, found):
    torch.manual_seed(0)
    model = edited(nn.Sequential(*net()[:-1], nn.Linear(64, 1)), lambda m: m[-1].weight.mul_(factor))
    report = fanin.check(model, x(), targets=torch.randn(64, 1))
    assert ("L801" in [f.code for f in (*report.findings, *report.consequences)]) == found


@pytest.mark.parametrize("layer", ["weight_ih_l0", "weight_ih_l1"])
def test_input_weights_that_saturate_a_recurrence(layer):
    torch.manual_seed(0)
    given = recurrence(nn.LSTM, 0.1, num_layers=2)
    nn.init.normal_(getattr(given["model"][0], layer), std=8.0)
    found = fanin.check(**given).findings[0]
    assert (found.code, found.paths, "the input adds" in found.message) == ("P506", (f"0.{layer}",), True)


def test_input_weights_of_a_cell_read_what_comes_before_it():
    torch.manual_seed(0)

    class Model(nn.Module):
        def __init__(self, scale):
            super().__init__()
            self.table, self.cell, self.head = nn.Embedding(50, 16), nn.GRUCell(16, 64), nn.Linear(64, 10)
            nn.init.normal_(self.table.weight, std=scale)

        def forward(self, tokens):
            h = torch.zeros(len(tokens), 64)
            for t in range(tokens.shape[1]):
                h = self.cell(self.table(tokens[:, t]), h)
            return self.head(h)

    tokens = torch.randint(0, 50, (32, 5))
    assert "P506" not in [f.code for f in everything(fanin.check(**case(Model(1.0), tokens)))]
    (found,) = (f for f in fanin.check(**case(Model(100.0), tokens)).findings if f.code == "P506")
    assert found.paths == ("cell.weight_ih",)


def test_a_relu_state_with_zero_weights_does_not_grow():
    torch.manual_seed(0)
    assert "P506" not in [f.code for f in everything(fanin.check(**recurrence(nn.RNN, 0.0, nonlinearity="relu")))]


def test_the_first_copy_is_named_with_what_it_copies():
    torch.manual_seed(0)
    model = net(depth=4)
    edited(model, lambda m: [m[i].weight.copy_(m[2].weight) for i in (4, 6)])
    (found,) = (f for f in everything(fanin.check(**case(model))) if f.code == "P505")
    assert "first 4.weight of 2.weight" in found.message
    assert found.value == 2


@pytest.mark.parametrize(("factor", "found"), [(1 / 8.5, True), (1 / 7.5, False)])
def test_one_weight_stands_apart_from_a_factor_of_eight_on(factor, found):
    """Among equal ones, all of them a little small, so that a tenth of the right size is reached first."""
    torch.manual_seed(0)
    model = nn.Sequential(*[m for _ in range(5) for m in (nn.Linear(64, 64, bias=False), nn.ReLU())], nn.Linear(64, 10))
    for layer in model[:-1:2]:
        nn.init.orthogonal_(layer.weight, 0.7 * 2**0.5)
    edited(model, lambda m: m[4].weight.mul_(factor))
    said = [f for f in everything(fanin.check(**case(model, torch.randn(64, 64)))) if f.code == "P502"]
    assert any(f.paths == ("4.weight",) and "other weights are near it" in f.message for f in said) == found


class Counted(nn.Module):
    """A model that is told how many items the batch holds, as trainers do."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(32, 10)

    def forward(self, x, count):
        return self.layer(x) / count * len(x)


def test_a_single_number_among_the_inputs_is_no_data():
    torch.manual_seed(0)
    report = fanin.check(Counted(), (x(), torch.tensor(128.0)), targets=y())
    assert not {"D101", "D102"} & {f.code for f in everything(report)}
    report = fanin.check(Counted(), (100 * x(), torch.tensor(64.0)), targets=y())
    assert "D101" in {f.code for f in everything(report)}
