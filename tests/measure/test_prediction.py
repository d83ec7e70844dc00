"""Predicted beside measured, in standard errors; and the sentence where an assumption fails."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
from torch import nn

import fanin
from fanin.measure import run
from fanin.moments.frame import measured


def he_net(width=256, depth=6):
    layers, n = [], 64
    for _ in range(depth):
        layer = nn.Linear(n, width)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.ReLU()]
        n = width
    return nn.Sequential(*layers, nn.Linear(n, 10))


def sites(model, x, **options):
    report = fanin.check(model, x, **{"trial": False, **options})
    assert "prediction" not in report.measurements.missing
    return report.measurements.sites


def test_a_random_network_lies_where_theory_says():
    torch.manual_seed(0)
    found = sites(he_net(), torch.randn(64, 64))
    assert all(s.predicted is not None for s in found)
    assert max(abs(s.predicted.z) for s in found) < 5
    assert all(s.predicted.assumption == "" for s in found)


def test_gradients_lie_where_theory_says():
    torch.manual_seed(0)
    found = sites(he_net(), torch.randn(64, 64), targets=torch.randint(0, 10, (64,)))
    assert all(s.predicted_backward is not None for s in found if s.kind != "loss")
    assert max(abs(s.predicted_backward.z) for s in found if s.predicted_backward) < 5


class Leak(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return 0.5 * g


def test_a_gradient_that_is_tampered_with_is_noticed():
    torch.manual_seed(0)
    model = he_net()
    model[4].register_forward_hook(lambda module, inputs, output: Leak.apply(output))
    first = sites(model, torch.randn(64, 64))[0]
    assert first.predicted_backward.z < -5
    assert "gradients are independent" in first.predicted_backward.assumption
    assert first.predicted.assumption == ""


def test_standard_errors_are_about_right():
    torch.manual_seed(1)
    found = [s for _ in range(8) for s in sites(he_net(64), torch.randn(32, 64)) if s.kind == "weight"]
    assert 0.1 < statistics.pstdev(s.predicted.z for s in found) < 2.0
    back = [s.predicted_backward.z for s in found if s.path != "12"]
    assert 0.3 < statistics.pstdev(back) < 2.0
    assert abs(statistics.mean(back)) < 1.0


def test_standard_errors_of_gradients_grow_on_the_way_back():
    torch.manual_seed(2)
    errors = [s.predicted_backward.log_rms_std for s in sites(he_net(64), torch.randn(8, 64)) if s.kind == "weight"]
    assert errors == sorted(errors, reverse=True)
    # Hanin and Rolnick 2018: 5 / n a ReLU layer in the log second moment of one sample's gradient.
    one = [s.predicted_backward.log_rms_std for s in sites(he_net(64), torch.randn(1, 64)) if s.kind == "weight"]
    assert 4 * (one[0] ** 2 - one[4] ** 2) == pytest.approx(4 * 5 / 64, rel=0.05)


def test_what_a_branch_without_a_rule_hides_is_not_claimed():
    class Fourier(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(32, 64), nn.Linear(64, 64)

        def forward(self, x):
            h = self.first(x)
            return self.last(h + torch.fft.fft(h).real)

    torch.manual_seed(0)
    found = {s.path: s for s in sites(Fourier(), torch.randn(32, 32))}
    assert found["last"].predicted_backward is not None
    assert found["first"].predicted_backward is None


def test_theory_is_asked_by_default_up_to_a_number_of_operations(monkeypatch):
    assert all(s.predicted for s in sites(he_net(depth=2), torch.randn(8, 64)))
    monkeypatch.setattr(run, "PREDICTED_OPERATIONS", 3)
    report = fanin.check(he_net(depth=2), torch.randn(8, 64))
    assert not any(s.predicted for s in report.measurements.sites)
    assert "theory follows 3 calls unless asked to" in report.measurements.missing["prediction"]
    assert all(s.predicted for s in sites(he_net(depth=2), torch.randn(8, 64), predict=True))


def test_predictions_can_be_left_out():
    report = fanin.check(he_net(depth=2), torch.randn(8, 64), predict=False)
    assert not any(s.predicted or s.predicted_backward for s in report.measurements.sites)
    assert "prediction" not in report.measurements.missing
    assert math.isfinite(report.result.header.seconds["total"])


def test_weights_that_depend_on_the_data_are_noticed():
    torch.manual_seed(0)
    model, x = he_net(), torch.randn(64, 64)
    x[:, :] = x[:1] + 0.01 * torch.randn(64, 64)
    with torch.no_grad():
        model[0].weight += 0.1 * x[:1] / x[:1].norm() * torch.randn(256, 1).abs() * 10
    found = sites(model, x)
    assert abs(found[0].predicted.z) > 5
    assert found[0].predicted.assumption


def encoder():
    return nn.TransformerEncoder(
        nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True, norm_first=True),
        6,
        enable_nested_tensor=False,
    )


@pytest.mark.slow
def test_layers_that_are_copies_of_one_draw_have_wider_errors():
    torch.manual_seed(0)
    copied, fresh = encoder(), encoder()
    for p in fresh.parameters():
        if p.dim() > 1:
            nn.init.xavier_uniform_(p)
    x = torch.randn(16, 20, 64)
    one, two = ([s for s in sites(m, x) if s.kind == "merge"] for m in (copied, fresh))
    assert all(abs(s.predicted.z) < 5 for s in (*one, *two))
    assert one[-1].predicted.log_rms_std > 3 * two[-1].predicted.log_rms_std
    assert abs(math.log(one[-1].forward.rms / one[-1].predicted.rms)) > 5 * two[-1].predicted.log_rms_std


def test_what_theory_cannot_follow_is_said():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 4)

        def forward(self, x):
            if type(x) is not torch.Tensor:
                raise RuntimeError("only the real thing")
            return self.layer(x)

    report = fanin.check(Odd(), torch.randn(8, 8), predict=True)
    assert report.ok
    assert all(s.predicted is None for s in report.measurements.sites) or report.measurements.missing == {}


@pytest.mark.parametrize(("batch", "expected"), [(4, False), (64, True)])
def test_no_gradient_is_predicted_through_a_batch_norm_of_few_values(batch, expected):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 64))
    report = fanin.check(model, torch.randn(batch, 32), predict=True)
    first, *_, last = report.measurements.sites
    assert (first.predicted_backward is not None) == expected
    assert last.predicted_backward is not None
    assert ("prediction of gradients" in report.measurements.missing) != expected


class ReadTwice(nn.Module):
    """Tokens of which the first is far smaller than the others; it is given out a second time."""

    def __init__(self):
        super().__init__()
        self.first, self.mix = nn.Parameter(0.05 * torch.randn(64)), nn.Linear(64, 64, bias=False)
        self.norm = nn.LayerNorm(64)
        nn.init.normal_(self.mix.weight, std=1 / 8)

    def forward(self, x):
        x = self.norm(self.mix(torch.cat([self.first.expand(len(x), 1, -1), x], 1)))
        return x, x[:, 0]


@pytest.mark.parametrize("by_place", [True, False])
def test_the_gradient_of_a_token_that_is_read_twice_is_not_that_of_the_others(monkeypatch, by_place):
    """The norm divides the first token by a small number, and the first token receives twice the energy."""
    if not by_place:
        monkeypatch.setattr("fanin.moments.frame.measured_by_place", measured)
    torch.manual_seed(0)
    report = fanin.check(ReadTwice(), torch.randn(32, 16, 64), predict=True, trial=False)
    (site,) = report.measurements.weight_sites()
    ratio = site.backward.rms / site.predicted_backward.rms
    assert ratio == pytest.approx(1.0 if by_place else 1.37, abs=0.05)  # sqrt(2 * 17 / 18): nearly all is the first's


class Centred(nn.Module):
    """Attention over places that a batch norm centred: their mean, which even attention gives, is what is left over."""

    def __init__(self):
        super().__init__()
        self.places, self.norm = nn.Parameter(0.1 * torch.randn(24, 32)), nn.BatchNorm1d(32)
        self.maps = nn.Linear(32, 96, bias=False)
        nn.init.normal_(self.maps.weight, std=0.02)

    def forward(self, x):
        x = self.norm((x + self.places).transpose(1, 2)).transpose(1, 2)
        q, k, v = self.maps(x).chunk(3, -1)
        return nn.functional.scaled_dot_product_attention(q, k, v)


@pytest.mark.parametrize("widened", [True, False])
def test_what_is_left_of_values_that_cancel_is_not_claimed_to_a_percent(monkeypatch, widened):
    if not widened:
        monkeypatch.setattr("fanin.moments.forward.attention._COVARIANCE_SE", 0.0)
    far = []
    for seed in range(6):
        torch.manual_seed(seed)
        report = fanin.check(Centred(), 0.03 * torch.randn(8, 24, 32), predict=True, trial=False)
        (site,) = (s for s in report.measurements.sites if s.kind == "attention")
        far.append(abs(site.predicted.z) > 3)
    assert any(far) is not widened


class Decays(nn.Module):
    """What is left of each place at the end: exp of the last of a running sum less each of them (Mamba-2)."""

    def __init__(self):
        super().__init__()
        self.steps, self.out = nn.Linear(32, 32), nn.Linear(32, 32, bias=False)

    def forward(self, x):
        sums = (-nn.functional.softplus(self.steps(x)) / 4).cumsum(1)
        return self.out((sums[:, -1:] - sums).exp() * x)


@pytest.mark.parametrize("together", [True, False])
def test_a_running_sum_and_its_last_place_are_drawn_together(monkeypatch, together):
    if not together:
        monkeypatch.setattr("fanin.moments.forward.arithmetic._part_of_running_sum", lambda frame, values: False)
    torch.manual_seed(0)
    site = fanin.check(Decays(), torch.randn(16, 12, 32), predict=True, trial=False).measurements.weight_sites()[-1]
    assert (abs(math.log(site.forward.rms / site.predicted.rms)) < 0.3) is together
