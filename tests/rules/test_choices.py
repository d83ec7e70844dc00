"""Small choices inside rules, each with a case that comes out differently under the opposite choice."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import fanin
from fanin.measure.quantities.moments import pack, unpack
from fanin.rules.catalogue.buffer_values import BufferValues
from fanin.rules.catalogue.fan_mismatch import FanMismatch
from fanin.rules.catalogue.recurrent_scale import _Loop
from fanin.rules.catalogue.sample_collapse import _before_pooling, _zeros_before
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.biases import _share_beyond
from fanin.rules.shared.depth import Drift
from fanin.rules.shared.drifts import _between_layers
from tests.rules.test_each_rule import case, edited, init, net, x
from tests.selection import few


def codes(given):
    torch.manual_seed(0)
    return {f.code for f in fanin.check(**given, predict=False).findings}


def codes_of_all(given):
    torch.manual_seed(0)
    report = fanin.check(**given, predict=False)
    return {f.code for f in (*report.findings, *report.consequences)}


# ---------------------------------------------------------------------- P502: what a systematic finding becomes
def systematic(severity, *, accounts=()):
    return Finding(
        code="P502",
        name="fan-mismatch",
        severity=severity,
        paths=("0.weight",),
        message="",
        fix=Fix(text=""),
        evidence={"systematic": True, "accounts": accounts},
    )


@pytest.mark.parametrize(
    ("severity", "accounts", "others", "becomes"),
    [
        ("note", (), {}, None),
        ("warning", (), {}, "warning"),
        ("warning", ("L801",), {"S201": "error"}, "note"),
        ("note", ("L801",), {"L801": "warning"}, "warning"),
        ("note", ("L801",), {"L801": "note"}, None),
        ("note", ("S206",), {"L801": "warning"}, None),
        ("note", (), {"L801": "warning"}, None),
    ],
)
def test_weights_that_are_all_off_are_reported_beside_what_they_explain(severity, accounts, others, becomes):
    kept = FanMismatch().beside(systematic(severity, accounts=accounts), others)
    assert (None if kept is None else kept.severity) == becomes


def test_weights_that_stand_out_are_reported_by_themselves():
    finding = replace(systematic("note"), evidence={})
    assert FanMismatch().beside(finding, {}) is finding


# ---------------------------------------------------------------------- P506
def test_a_state_that_vanishes_at_once_has_a_finite_growth():
    """A float64 weight of 1e-200 has a square below the smallest number."""
    weight = SimpleNamespace(rms_read=1e-200, fan_in=4.0)
    growth = _Loop(weight, None, steps=2, reads=1.0).log_growth
    assert math.isfinite(growth)
    assert growth < math.log(1e-200)


# ---------------------------------------------------------------------- P509
class Positions(nn.Module):
    """Sines of a buffer and a second buffer, both added to the input."""

    def __init__(self, angles, added):
        super().__init__()
        self.register_buffer("angles", angles)
        self.register_buffer("added", added)
        self.head = nn.Linear(16, 10)

    def forward(self, h):
        return self.head(h + self.angles.sin() + self.added)


@pytest.mark.parametrize(
    ("angles", "added", "named"),
    [
        (torch.ones(16), torch.zeros(16), []),  # what is added may be zero
        (torch.zeros(16), torch.zeros(16), ["angles"]),
        (torch.tensor([1e7, *[1.0] * 15]), torch.zeros(16), ["angles"]),
        (torch.tensor([math.nan, 1e7, *[1.0] * 14]), torch.zeros(16), []),  # its NaN is what is reported
    ],
)
def test_buffers_are_named_for_what_is_done_with_them(angles, added, named):
    torch.manual_seed(0)
    report = fanin.check(**case(Positions(angles, added), torch.randn(32, 16)), predict=False)
    assert [p for f in report.findings if f.code == BufferValues.code for p in f.paths] == named


@pytest.mark.parametrize(
    ("variance", "scale", "named"),
    few(
        [
            (1.0, 1.0, []),
            (1.0, 1e-3, []),  # a fresh norm in eval mode passes on what it reads, however small
            (1.0, 1e3, []),
            (1e-6, 1.0, ["1.running_var"]),
            (1e6, 1.0, ["1.running_var"]),
            (1e-6, 1e-3, []),  # they belong to this input
            ([1e-6, *[1.0] * 15], 1.0, []),  # one channel that was dead where they were estimated
        ],
        every=2,
    ),
)
def test_running_statistics_of_other_data_are_named(variance, scale, named):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16, eps=1e-9), nn.ReLU(), nn.Linear(16, 10)).eval()
    nn.init.orthogonal_(model[0].weight, scale)
    nn.init.zeros_(model[0].bias)
    model[1].running_var.copy_(torch.as_tensor(variance).expand(16))
    report = fanin.check(**case(model, torch.randn(32, 16)), predict=False)
    found = [p for f in report.findings if f.code == BufferValues.code for p in f.paths]
    assert found == named
    model.train()
    report = fanin.check(**case(model, torch.randn(32, 16)), predict=False)
    assert not [f for f in report.findings if f.code == BufferValues.code]


@pytest.mark.parametrize(("seen", "cancelled"), [(1.0, False), (100.0, True)])
def test_a_norm_in_eval_mode_cancels_the_scale_of_an_input_that_it_knows(seen, cancelled):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))
    for _ in range(60):
        model(seen * torch.randn(64, 16))
    report = fanin.check(**case(model.eval(), 100 * torch.randn(32, 16)), predict=False)
    assert [f.severity == "note" for f in report.findings if f.code == "D101"] == [cancelled]


# ---------------------------------------------------------------------- drifts
class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(8, 8) for _ in range(3))

    def forward(self, x):
        return self.c(self.b(x) * torch.sigmoid(self.a(x)))


def measured(model):
    torch.manual_seed(0)
    return fanin.check(model, torch.randn(16, 8), targets=torch.randint(0, 8, (16,)), predict=False).measurements


def test_a_gate_is_no_activation_between_layers():
    plain = nn.Sequential(nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 8), nn.Tanh())
    assert _between_layers(measured(plain)) == {"sigmoid"}
    assert _between_layers(measured(Gated())) == set()


# ---------------------------------------------------------------------- biases
def test_no_bias_is_beyond_a_limit_that_the_largest_one_does_not_reach():
    """One number of 1 beside 999 small ones is far outside of the histogram, whose unit is their rms."""
    values = torch.full((1000,), 1e-3)
    values[0] = 1.0
    stats = unpack(pack(values))
    assert _share_beyond(stats, 1.5, below_only=False) == 0.0
    assert _share_beyond(stats, 0.5, below_only=False) == pytest.approx(1e-3)
    assert _share_beyond(stats, 0.5, below_only=True) == 0.0
    assert _share_beyond(unpack(pack(-values)), 0.5, below_only=True) == pytest.approx(1e-3)
    assert _share_beyond(unpack(pack(torch.zeros(8))), 0.5, below_only=False) == 0.0


# ---------------------------------------------------------------------- P510
@pytest.mark.parametrize(
    ("trained", "words"),
    [(1, "trained: 0.weight."), (2, "trained: 0.weight, 2.weight."), (4, "trained: 0.weight, 2.weight and 2 more.")],
)
def test_the_maps_that_train_beside_frozen_ones_are_counted(trained, words):
    model = net(depth=7)
    for layer in list(model)[2 * trained :: 2]:
        layer.weight.requires_grad_(False)
    report = fanin.check(**case(model), select=["P510"], predict=False)
    assert words in report.findings[0].message


def test_a_model_of_which_only_a_bias_trains_or_nothing_at_all_is_noted():
    model = net(depth=3).requires_grad_(False)
    (found,) = fanin.check(**case(model), select=["P510"], predict=False).findings
    assert (found.severity, found.message[:4]) == ("note", "noth")
    model[-1].bias.requires_grad_(True)
    (found,) = fanin.check(**case(model), select=["P510"], predict=False).findings
    assert (found.severity, len(found.paths)) == ("note", 4)
    assert found.message.endswith("trained: 6.bias.")


# ---------------------------------------------------------------------- S205
class Pooled(nn.Module):
    """A convolution, then a head on the mean over places or on all of them."""

    def __init__(self, pool):
        super().__init__()
        self.pool, self.conv = pool, nn.Conv2d(1, 4, 3, padding=1)
        self.head = nn.Linear(4 if pool else 4 * 64, 10)

    def forward(self, x):
        x = torch.relu(self.conv(x))
        return self.head(x.mean((2, 3)) if self.pool else x.flatten(1))


@pytest.mark.parametrize("pool", [True, False])
def test_what_an_average_over_places_hides_is_counted_per_place(pool):
    torch.manual_seed(0)
    report = fanin.check(Pooled(pool), torch.randn(16, 1, 8, 8), targets=torch.randint(0, 10, (16,)), predict=False)
    conv, head = report.measurements.weight_sites()
    before = max(conv.sample_cosine.one_minus_mean, conv.sample_cosine.between_share)
    assert _before_pooling(report.measurements, head, 1e-4) == pytest.approx(64e-4 if pool else 1e-4)
    assert _before_pooling(report.measurements, head, 0.1) == pytest.approx(before if pool else 0.1)
    assert _before_pooling(report.measurements, head, 1.5) == 1.5


class FromNothing(nn.Module):
    """Part of its signal comes from a learned vector alone, through a weight that is zero."""

    def __init__(self):
        super().__init__()
        self.start = nn.Parameter(torch.randn(1, 8))
        self.closed, self.head = nn.Linear(8, 8, bias=False), nn.Linear(8, 10)
        nn.init.zeros_(self.closed.weight)

    def forward(self, x):
        return self.head(x + self.closed(self.start))


def test_a_zero_weight_behind_a_learned_start_is_named():
    report = fanin.check(FromNothing(), torch.randn(16, 8), targets=torch.randint(0, 10, (16,)), predict=False)
    head = report.measurements.weight_sites()[-1]
    assert head.path == "head"
    assert _zeros_before(report.measurements, head) == ["closed.weight"]


@pytest.mark.parametrize(("log", "factor"), [(1.0, math.e), (-1e4, math.exp(-700.0)), (1e4, math.exp(700.0))])
def test_the_factor_of_a_trend_is_a_number_above_zero(log, factor):
    assert Drift(log_factor=log, tau=1.0, num_sites=4).factor == pytest.approx(factor, rel=1e-9, abs=0.0)


# ---------------------------------------------------------------------- G402
class Closed(nn.Module):
    """Adds the product of two vectors, both zero: neither gets a gradient."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.zeros(32)), nn.Parameter(torch.zeros(32))
        self.head = nn.Linear(32, 10)

    def forward(self, h):
        return self.head(h + self.a * self.b)


@pytest.mark.parametrize(
    ("model", "severity"), [(Closed, "warning"), (lambda: edited(net(), lambda m: m[2].weight.zero_()), None)]
)
def test_vectors_alone_without_a_gradient_are_a_warning(model, severity):
    torch.manual_seed(0)
    found = fanin.check(**case(model()), select=["G402"], predict=False).findings
    assert [f.severity for f in found] == ([severity] if severity else [])


class Compared(nn.Module):
    """The distance of two outputs of one network, whose last bias cancels."""

    def __init__(self, closed):
        super().__init__()
        self.tower = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
        self.closed = closed
        if closed:
            nn.init.constant_(self.tower[0].bias, -1e3)

    def forward(self, h):
        return self.tower(h) - self.tower(h.flip(0))


@pytest.mark.parametrize(("closed", "severity"), [(False, "note"), (True, "error")])
def test_a_bias_that_cancels_is_a_note(closed, severity):
    torch.manual_seed(0)
    given = {**case(Compared(closed)), "targets": None, "loss": lambda z: z.square().mean()}
    found = fanin.check(**given, select=["G402"], predict=False).findings
    assert [f.severity for f in found] == [severity]
    assert ("cancels" in found[0].message) is not closed
    assert found[0].fix.recommends_start is closed


# ---------------------------------------------------------------------- S206
@pytest.mark.parametrize(("small", "flagged"), [(1.0, False), (1e-3, True)])
@pytest.mark.parametrize("size", [1.0, 1e5])
def test_a_small_change_is_one_of_what_the_weights_read(size, small, flagged):
    class Divided(nn.Sequential):
        def forward(self, x):
            return super().forward(x / x.std())

    torch.manual_seed(0)
    model = Divided(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    with torch.no_grad():
        for layer in model[::2]:
            layer.weight.mul_(small)
    report = fanin.check(model, size * torch.randn(64, 32), select=["S206"], predict=False)
    assert any(f.severity != "note" for f in report.findings) is flagged


def test_matrices_without_a_gradient_are_an_error():
    torch.manual_seed(0)
    broken = edited(net(), lambda m: [p.zero_() for p in m.parameters()])
    found = fanin.check(**case(broken), select=["G402"], predict=False).findings
    assert [f.severity for f in found] == ["error"]


def test_a_small_healthy_net_has_none_of_these():
    assert codes(case(init(net(depth=2), gain=2**0.5), x())) == set()


# ---------------------------------------------------------------------- D105
class Contrastive(nn.Module):
    """The right answer first, then others, as contrastive losses have it; or classes of a head."""

    def __init__(self, joined):
        super().__init__()
        self.joined, self.one, self.other, self.head = joined, nn.Linear(32, 1), nn.Linear(32, 9), nn.Linear(32, 10)

    def forward(self, x):
        return torch.cat([self.one(x), self.other(x)], -1) if self.joined else self.head(x)


@pytest.mark.parametrize(("joined", "found"), [(True, []), (False, ["D105"])])
def test_classes_that_were_joined_may_have_the_right_one_first(joined, found):
    torch.manual_seed(0)
    given = {"targets": torch.zeros(64, dtype=torch.long), "select": ["D105"], "predict": False}
    assert [f.code for f in fanin.check(Contrastive(joined), torch.randn(64, 32), **given).findings] == found


# ---------------------------------------------------------------------- inputs whose scale no weight reads
class Timed(nn.Module):
    """A map of a signal, and of the sine, the logarithm, the row or the plain value of a time."""

    def __init__(self, of):
        super().__init__()
        self.x, self.t, self.of = nn.Linear(8, 16), nn.Linear(16, 16), of
        self.rows, self.out = nn.Embedding(1000, 16), nn.Linear(16, 3)

    def forward(self, signal, t):
        times = self.of(self, t[:, None] * torch.logspace(0, -3, 16))
        return self.out(torch.relu(self.x(signal) + self.t(times)))


@pytest.mark.parametrize(
    ("of", "flagged"),
    few(
        [
            (lambda m, t: t.sin(), False),
            (lambda m, t: torch.log1p(t) / 4, False),
            (lambda m, t: m.rows(t[:, 0].long()), False),
            (lambda m, t: (t > 5).float(), False),
            (lambda m, t: t, True),
            (lambda m, t: t.sin() + t, True),
            (lambda m, t: t * t.cos(), True),
        ],
        every=2,
    ),
    ids=["sine", "logarithm", "rows", "comparison", "itself", "sine and itself", "itself times its cosine"],
)
def test_a_time_that_gives_angles_or_rows_alone_has_no_scale(of, flagged):
    torch.manual_seed(0)
    given = (torch.randn(32, 8), torch.randint(0, 1000, (32,)).float())
    assert ("D101" in codes({"model": Timed(of), "inputs": given})) is flagged


# ---------------------------------------------------------------------- heads that start near zero
class Policy(nn.Module):
    """Two heads side by side, as of a Gaussian policy; one of them squashed."""

    def __init__(self, small="mu"):
        super().__init__()
        self.first, self.second = nn.Linear(17, 64), nn.Linear(64, 64)
        self.mu, self.log_std = nn.Linear(64, 6), nn.Linear(64, 6)
        for layer in (self.first, self.second):
            nn.init.kaiming_normal_(layer.weight)
        for name in ("mu", "log_std") if small == "mu" else (small,):
            getattr(self, name).weight.data.mul_(0.01)

    def forward(self, given):
        h = torch.relu(self.second(torch.relu(self.first(given))))
        return torch.cat([torch.tanh(self.mu(h)), self.log_std(h).clamp(-20, 2)], -1)


@pytest.mark.parametrize(("small", "flagged"), [("mu", False), ("second", True)])
def test_small_heads_are_a_choice_and_a_small_map_between_is_not(small, flagged):
    torch.manual_seed(0)
    report = fanin.check(Policy(small), torch.randn(64, 17), predict=False)
    assert ({f.code for f in report.findings if f.severity != "note"} == {"P502"}) is flagged
    assert report.ok is not flagged


def test_a_weight_that_is_not_finite_is_the_cause_whatever_scale_the_input_has():
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    model[0].weight.data[3, 2] = math.inf
    report = fanin.check(model, 300 * torch.randn(32, 8), targets=torch.randint(0, 3, (32,)), predict=False)
    found = {f.code: f for f in (*report.findings, *report.consequences)}
    assert report.findings[0].code == "P504"
    assert found["S207"].because_of == ("P504",)
    assert found["D101"].severity == "warning"


# ---------------------------------------------------------------------- which parameter is named
class Upsampler(nn.Module):
    """Convolutions with one between that no activation follows."""

    def __init__(self, small=1.0):
        super().__init__()
        self.read, self.out = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3)
        self.wide = nn.Conv2d(8, 32, 3, padding=1, bias=False)
        self.inner = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(3))
        self.wide.weight.data.mul_(small)

    def forward(self, x):
        x = self.read(x)
        for layer in self.inner:
            x = layer(torch.relu(x))
        return self.out(nn.functional.pixel_shuffle(self.wide(x), 2))


@pytest.mark.parametrize(("small", "named"), [(1.0, False), (1 / 40, True)])
def test_a_small_map_that_no_activation_follows_is_named(small, named):
    torch.manual_seed(0)
    report = fanin.check(Upsampler(small), torch.randn(4, 3, 12, 12), predict=False)
    found = [f for f in report.findings if f.code == "P502" and f.severity == "warning"]
    assert [f.paths for f in found] == ([("wide.weight",)] if named else [])


class Cell(nn.Module):
    """A recurrent cell of one packed map, whose state starts at zero."""

    def __init__(self, times=1.0):
        super().__init__()
        self.gates, self.out = nn.Linear(1 + 32, 4 * 32), nn.Linear(32, 1)
        self.gates.weight.data.mul_(times)

    def forward(self, x):
        h = c = x.new_zeros(len(x), 32)
        for t in range(x.shape[1]):
            i, f, o, g = self.gates(torch.cat([x[:, t], h], 1)).chunk(4, 1)
            c = (f + 1).sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return self.out(h)


@pytest.mark.parametrize(("times", "named"), [(1.0, False), (40.0, True)])
def test_the_packed_map_of_a_loop_is_named_though_the_first_state_is_zero(times, named):
    torch.manual_seed(0)
    report = fanin.check(Cell(times), torch.rand(16, 6, 1), predict=False)
    assert any("gates.weight" in f.paths for f in report.findings if f.severity != "note") is named


class Contrast(nn.Module):
    """Cosines of two towers, times the exponential of one number."""

    def __init__(self, log_scale):
        super().__init__()
        self.a, self.b = nn.Linear(16, 32), nn.Linear(16, 32)
        self.log_scale = nn.Parameter(torch.tensor(log_scale))

    def forward(self, x, y):
        a, b = (nn.functional.normalize(t, dim=-1) for t in (self.a(x), self.b(y)))
        return nn.functional.cross_entropy(self.log_scale.exp() * a @ b.T, torch.arange(len(x)))


@pytest.mark.parametrize(("log_scale", "named"), [(math.log(1 / 0.07), False), (9.0, True)])
def test_the_number_that_makes_logits_too_large_is_named_first(log_scale, named):
    torch.manual_seed(0)
    report = fanin.check(Contrast(log_scale), (torch.randn(32, 16), torch.randn(32, 16)), predict=False)
    found = [f for f in report.findings if f.code == "L801" and f.severity != "note"]
    assert [f.paths[0] for f in found] == (["log_scale"] if named else [])


@pytest.mark.parametrize(("gain", "named"), [(1.0, False), (40.0, True)])
def test_the_gain_of_a_norm_that_condenses_attention_is_named_first(gain, named):
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
    nn.init.constant_(model.norm1.weight, gain)
    found = [f for f in fanin.check(model, torch.randn(8, 16, 32), predict=False).findings if f.code == "T701"]
    assert [f.paths[0] for f in found] == (["norm1.weight"] if named else [])


class Placed(nn.Module):
    """Patches with fixed positions, and attention under a mask that is kept as a buffer."""

    def __init__(self, times=1.0):
        super().__init__()
        self.read, self.norm, self.qkv = nn.Linear(12, 32), nn.LayerNorm(32), nn.Linear(32, 96)
        self.out = nn.Linear(32, 3)
        angles = torch.arange(16)[:, None] * torch.logspace(0, -3, 16)
        self.register_buffer("places", times * torch.cat([angles.sin(), angles.cos()], -1))
        self.register_buffer("mask", torch.full((16, 16), -1e9).triu(1))

    def forward(self, x):
        x = self.read(x) + self.places
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        return self.out((x + (q @ k.mT / 32**0.5 + self.mask).softmax(-1) @ v).mean(1))


@pytest.mark.parametrize(("times", "named"), [(1.0, False), (60.0, True)])
def test_fixed_positions_that_outweigh_the_signal_are_named_and_masks_are_not(times, named):
    torch.manual_seed(0)
    report = fanin.check(Placed(times), torch.randn(16, 16, 12), predict=False)
    found = [f for f in report.findings if f.code == "P502" and f.severity != "note"]
    assert [f.paths for f in found] == ([("places",)] if named else [])


class Latent(nn.Module):
    """An encoder whose second head goes through an exponential."""

    def __init__(self, bias=0.0):
        super().__init__()
        self.mean, self.log_var, self.out = nn.Linear(16, 8), nn.Linear(16, 8), nn.Linear(8, 3)
        nn.init.constant_(self.log_var.bias, bias)

    def forward(self, x):
        mean, log_var = self.mean(x), self.log_var(x)
        return self.out(mean + torch.randn_like(mean) * (log_var / 2).exp())


@pytest.mark.parametrize(("bias", "named"), [(0.0, False), (-4.0, False), (30.0, True)])
def test_biases_that_overwhelm_a_map_are_named_whatever_follows_it(bias, named):
    torch.manual_seed(0)
    report = fanin.check(Latent(bias), torch.randn(32, 16), targets=torch.randint(0, 3, (32,)), predict=False)
    assert [f.paths for f in report.findings if f.code == "P503"] == ([("log_var.bias",)] if named else [])


@pytest.mark.parametrize(
    ("values", "said"),
    [(torch.arange(64) % 2 * -9.0, "32 of the 64"), (torch.full((64,), -9.0), "64 of the 64"), (torch.zeros(64), None)],
)
def test_biases_are_counted_as_they_are(values, said):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 3))
    model[0].bias.data.copy_(values)
    report = fanin.check(model, torch.randn(64, 16), targets=torch.randint(0, 3, (64,)), predict=False)
    found = [f for f in report.findings if f.code == "P503"]
    assert [f.message.split(" biases")[0] for f in found] == ([said] if said else [])
    assert [f.value for f in found] == ([int(said[:2]) / 64] if said else [])


@pytest.mark.parametrize(("number", "share"), [(4, 0.5), (8, 1.0)])
@pytest.mark.parametrize("size", [40.0, 1000.0])
def test_biases_that_overwhelm_a_map_are_not_all_counted(size, number, share):
    torch.manual_seed(0)
    model = Latent()
    model.log_var.bias.data[:number] = size
    report = fanin.check(model, torch.randn(32, 16), targets=torch.randint(0, 3, (32,)), predict=False)
    assert [f.value for f in report.findings if f.code == "P503"] == [share]


@pytest.mark.parametrize("limit", [0.5, 1.9, 2.0, 3.3])
def test_the_share_beyond_a_limit_is_right_to_half_a_bin(limit):
    stats = unpack(pack(torch.linspace(-4, 4, 8001)))  # bins of 0.58, so a step of 0.29 / 8
    assert _share_beyond(stats, limit, below_only=True) == pytest.approx((4 - limit) / 8, abs=0.04)
    assert _share_beyond(stats, limit, below_only=False) == pytest.approx((4 - limit) / 4, abs=0.08)


def test_an_output_bias_of_any_size_is_a_choice():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
    nn.init.constant_(model[2].bias, 500.0)
    assert "P503" not in codes({"model": model, "inputs": torch.randn(32, 8)})


# ---------------------------------------------------------------------- P501
class Turned(nn.Module):
    """Weights whose outputs are on the second axis: x @ W, and a transposed convolution."""

    def __init__(self, change):
        super().__init__()
        self.map = nn.Parameter(torch.randn(16, 32) / 4)
        self.up, self.out = nn.ConvTranspose1d(2, 12, 4, stride=2), nn.Linear(12, 3)
        with torch.no_grad():
            change(self)

    def forward(self, x):
        return self.out(torch.relu(self.up(torch.relu(x @ self.map).view(-1, 2, 16))).mean(2))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda m: None, []),
        (lambda m: m.map.copy_(m.map[:, :1].clone().expand(-1, 32)), ["map"]),
        (lambda m: m.up.weight.copy_(m.up.weight[:, :1].clone().expand(-1, 12, -1)), ["up.weight"]),
        (lambda m: m.map.copy_(m.map[:1].clone().expand(16, -1)), []),  # equal inputs, unlike units
    ],
)
def test_units_are_compared_on_the_axis_of_outputs(change, named):
    torch.manual_seed(0)
    report = fanin.check(Turned(change), torch.randn(32, 16), targets=torch.randint(0, 3, (32,)), select=["P501"])
    assert [p for f in report.findings for p in f.paths] == named


# ---------------------------------------------------------------------- one of many alike
def blocks(times, *, others=1.0):
    """Pre-norm branches of equal shape; the norm hides the scale of what it reads."""
    model = nn.ModuleList(nn.Sequential(nn.Linear(32, 32, bias=False), nn.LayerNorm(32), nn.GELU()) for _ in range(5))
    for i, block in enumerate(model):
        block[0].weight.data.mul_(times if i == 2 else others**i)
    return nn.Sequential(*model, nn.Linear(32, 3))


@pytest.mark.parametrize(
    ("times", "others", "named"), [(1, 1, False), (60, 1, True), (1 / 60, 1, True), (60, 2, False)]
)
def test_a_weight_unlike_its_like_is_named_though_a_norm_hides_it(times, others, named):
    torch.manual_seed(0)
    report = fanin.check(blocks(times, others=others), torch.randn(32, 32), predict=False)
    found = [f for f in report.findings if f.code == "P502" and f.severity != "note"]
    assert [f.paths for f in found] == ([("2.0.weight",)] if named else [])


class Gate(nn.Module):
    """Half of the channels, times a map over places of the other half, which starts near 1 by its bias."""

    def __init__(self, places):
        super().__init__()
        self.norm, self.weight = nn.LayerNorm(32), nn.Parameter(1e-6 * torch.randn(places, places))
        self.bias = nn.Parameter(torch.ones(places, 1))

    def forward(self, x):
        u, v = x.chunk(2, -1)
        return u * (torch.einsum("bnd,mn->bmd", self.norm(v), self.weight) + self.bias)


def gated_blocks(change=None):
    """gMLP (Liu et al. 2021), whose maps over places have the shape of those over channels."""
    model = nn.Sequential(
        nn.Linear(12, 32),
        *(nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 64), nn.GELU(), Gate(16), nn.Linear(32, 32)) for _ in range(4)),
        nn.Linear(32, 3),
    )
    if change is not None:
        with torch.no_grad():
            change(model)
    return model


@pytest.mark.parametrize(
    ("change", "named"),
    few(
        [
            (None, []),
            (lambda m: m[2][1].weight.mul_(60), ["2.1.weight"]),
            (lambda m: m[3][3].weight.normal_(std=0.25), ["3.3.weight"]),
        ],
        every=2,
    ),
)
def test_what_is_small_by_one_factor_in_every_block_is_meant(change, named):
    torch.manual_seed(0)
    report = fanin.check(gated_blocks(change), torch.randn(16, 16, 12), predict=False)
    assert [p for f in report.findings if f.code == "P502" and f.severity != "note" for p in f.paths] == named


@pytest.mark.parametrize(("blocks_off", "named"), [((0, 1, 2, 3), []), ((2,), ["2.2.weight"])])
@pytest.mark.parametrize("times", [1 / 60, 60])
def test_a_weight_unlike_its_like_in_every_block_is_meant(blocks_off, named, times):
    torch.manual_seed(0)
    parts = [[nn.Linear(32, 32, bias=False), nn.LayerNorm(32), nn.Linear(32, 32, bias=False)] for _ in range(4)]
    for i in blocks_off:
        parts[i][2].weight.data.mul_(times)
    model = nn.Sequential(*(nn.Sequential(*p, nn.LayerNorm(32), nn.GELU()) for p in parts), nn.Linear(32, 3))
    report = fanin.check(model, torch.randn(32, 32), predict=False)
    assert [p for f in report.findings if f.code == "P502" and f.severity != "note" for p in f.paths] == named


class Margins(nn.Module):
    """Cosines with classes, less a margin at the label."""

    def __init__(self, margin=0.0, head=1.0):
        super().__init__()
        self.inner, self.classes = nn.Linear(16, 32), nn.Parameter(torch.randn(20, 32))
        self.margin, self.head = margin, head

    def forward(self, x, y):
        cosine = nn.functional.normalize(self.inner(x), dim=-1) @ nn.functional.normalize(self.classes, dim=-1).T
        logits = 16 * self.head * (cosine - self.margin * nn.functional.one_hot(y, 20))
        return nn.functional.cross_entropy(logits, y)


@pytest.mark.parametrize(
    ("margin", "head", "flagged"), [(0, 1, False), (0.35, 1, False), (0, 5, True), (0.05, 5, True)]
)
def test_a_margin_at_the_label_belongs_to_the_objective(margin, head, flagged):
    torch.manual_seed(0)
    report = fanin.check(Margins(margin, head), (torch.randn(64, 16), torch.randint(0, 20, (64,))), predict=False)
    assert any(f.code == "L801" and f.severity != "note" for f in report.findings) is flagged


@pytest.mark.parametrize(("margin", "flagged"), [(30.0, False), (500.0, True), (1e5, True)])
def test_a_margin_beyond_any_objective_is_a_fault(margin, flagged):
    def loss(z, y):
        return nn.functional.cross_entropy(z - margin * nn.functional.one_hot(y, 10), y)

    torch.manual_seed(0)
    given = {"inputs": torch.randn(64, 32), "targets": torch.randint(0, 10, (64,)), "loss": loss}
    assert ("L801" in codes({"model": net(), **given})) is flagged


@pytest.mark.parametrize(("head", "flagged"), [(1, False), (30, True)])
def test_few_labels_that_count_and_a_margin_are_judged_together(head, flagged):
    def loss(z, y):
        return nn.functional.cross_entropy(z - 20 * nn.functional.one_hot(y.clamp_min(0), 10), y)

    torch.manual_seed(0)
    model, labels = net(), torch.randint(0, 10, (64,)).masked_fill(torch.arange(64) >= 40, -100)
    model[-1].weight.data.mul_(head**2)
    given = {"inputs": torch.randn(64, 32), "targets": labels, "loss": loss}
    assert ("L801" in codes_of_all({"model": model, **given})) is flagged


@pytest.mark.parametrize(("scale", "flagged"), [(1.0, False), (50.0, True)])
@pytest.mark.parametrize("mask", [-math.inf, -1e9])
def test_classes_that_are_masked_out_hide_no_loss(scale, flagged, mask):
    def loss(z, y):
        return nn.functional.cross_entropy(z.masked_fill(torch.arange(10) >= 6, mask), y)

    torch.manual_seed(0)
    model = net()
    model[-1].weight.data.mul_(scale)
    given = {"inputs": torch.randn(32, 32), "targets": torch.randint(0, 6, (32,)), "loss": loss}
    assert ("L801" in codes_of_all({"model": model, **given})) is flagged


def test_a_zero_gain_that_locks_a_network_is_named_first():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))
    nn.init.zeros_(model[1].weight)
    (found,) = (f for f in fanin.check(**case(model), predict=False).findings if f.code == "G402")
    assert found.paths[0] == "1.weight"
    assert found.message.endswith("1.weight is all zeros.")


def test_all_that_one_rule_finds_is_shown():
    torch.manual_seed(0)
    layers = [layer for _ in range(4) for layer in (nn.Linear(32, 32), nn.ReLU())]
    model = nn.Sequential(nn.Embedding(50, 32), *layers, nn.Linear(32, 3))
    nn.init.normal_(model[0].weight, std=40.0)
    model[3].weight.data.mul_(60)
    found = fanin.check(model, torch.randint(0, 50, (64,)), predict=False).findings
    assert sorted(f.paths for f in found if f.code == "P502" and f.severity != "note") == [("0.weight",), ("3.weight",)]


def test_running_statistics_that_the_pass_spoiled_are_not_named_beside_the_weight():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    model[0].weight.data[3, 2] = math.nan
    found = fanin.check(model, torch.randn(32, 8), targets=torch.randint(0, 3, (32,)), predict=False).findings
    assert [f.paths for f in found if f.code == "P504"] == [("0.weight",)]
    model[1].running_mean[3] = math.nan
    found = fanin.check(model, torch.randn(32, 8), targets=torch.randint(0, 3, (32,)), predict=False).findings
    assert [f.paths for f in found if f.code == "P504"] == [("0.weight",), ("1.running_mean",)]


def test_a_rectifier_of_constants_has_no_silent_units():
    """Lateral inhibition starts from a state of zeros (Rozell et al. 2008): no sample decides what fires there."""

    class Lateral(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.d, self.out = nn.Parameter(torch.randn(16, 64) / 4), nn.Linear(64, 4)

        def forward(self, x):
            drive = x @ self.d
            state = torch.zeros_like(drive)
            for _ in range(3):
                state = state + 0.3 * (drive - state - torch.relu(state - 0.05) @ (self.d.T @ self.d) / 4)
            return self.out(state)

    report = fanin.check(Lateral(), torch.randn(64, 16), targets=torch.arange(64) % 4)
    assert "A301" not in {f.code for f in report.findings + report.consequences}
    dead = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
    nn.init.constant_(dead[0].bias, -20.0)
    report = fanin.check(dead, torch.randn(64, 16), targets=torch.arange(64) % 4)
    assert "A301" in {f.code for f in report.findings + report.consequences}


@pytest.mark.parametrize("alone", [False, True])
def test_the_size_of_a_noise_on_a_weight_is_no_symmetry(alone):
    """NoisyNet (Fortunato et al. 2017, arXiv 1706.10295): mean + size * noise, with one size everywhere."""

    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.mean, self.size = nn.Parameter(torch.randn(48, 16) / 4), nn.Parameter(torch.full((48, 16), 0.1))
            self.out = nn.Linear(48, 4)

        def forward(self, x):
            weight = self.size if alone else self.mean + self.size * torch.randn(48, 16)
            return self.out(torch.relu(x @ weight.T))

    report = fanin.check(Noisy(), torch.randn(64, 16), targets=torch.arange(64) % 4)
    assert ("P501" in {f.code for f in report.findings}) is alone


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.trunk, self.a, self.z = nn.Sequential(nn.Linear(40, 64), nn.ReLU()), nn.Linear(64, 7), nn.Linear(64, 7)

    def forward(self, x):
        h = self.trunk(x)
        return self.a(h), self.z(h)


@pytest.mark.parametrize("name", ["a", "z"])
@pytest.mark.parametrize("turn", [1, -1])
def test_the_head_whose_loss_is_too_high_is_named(name, turn):
    model, y = TwoHeads(), torch.arange(64) % 7
    getattr(model, name).weight.data.mul_(30)
    losses = lambda out: [nn.functional.cross_entropy(o, y) for o in out][::turn]  # noqa: E731
    report = fanin.check(model, torch.randn(64, 40), loss=lambda out: sum(losses(out)))
    assert [(f.code, f.paths) for f in report.findings] == [("P502", (f"{name}.weight",))]
    assert [f.paths for f in report.consequences if f.code == "L801"] == [(name,)]


@pytest.mark.parametrize(("first", "found"), [(nn.BatchNorm1d(9), False), (nn.Identity(), True)])
def test_a_batch_norm_on_the_input_takes_the_spread_of_its_features_off(first, found):
    x = torch.randn(64, 9)
    x[:, 3] *= 2000
    model = nn.Sequential(first, nn.Linear(9, 64), nn.ReLU(), nn.Linear(64, 4))
    report = fanin.check(model, x, targets=torch.arange(64) % 4)
    assert ("D102" in {f.code for f in report.findings + report.consequences}) is found


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.out = nn.Embedding(50, 32), nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, ids):
        return self.out(self.table(ids).mean(1))


class Pictures(nn.Module):
    def __init__(self):
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 10))

    def forward(self, x):
        return self.maps(x)


@pytest.mark.parametrize("build", [Words, Pictures])
def test_one_sample_that_is_repeated_is_the_cause(build):
    torch.manual_seed(0)
    x = torch.randint(0, 50, (32, 12)) if build is Words else torch.randn(32, 3, 8, 8)
    model, y = build(), torch.arange(32) % 10
    assert not fanin.check(model, x, targets=y).findings
    report = fanin.check(model, x[:1].expand_as(x).clone(), targets=y)
    assert report.findings[0].code == "D102"
    assert "all 32 samples of the batch are the same one" in report.findings[0].message
