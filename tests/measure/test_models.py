"""Models of every kind are measured right, or refused with a clear sentence."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fanin
from fanin.errors import ArgumentError, CaptureError


def rms(t):
    return t.detach().double().square().mean().sqrt().item()


class TwoLayers(nn.Module):
    def __init__(self, inplace=True):
        super().__init__()
        self.a, self.act, self.b = nn.Linear(16, 32), nn.ReLU(inplace=inplace), nn.Linear(32, 4)

    def forward(self, x):
        return self.b(self.act(self.a(x)))


def targets(n=8):
    return torch.randint(0, 4, (n,))


def site(report, name):
    return next(s for s in report.measurements.sites if s.name == name)


def test_in_place_activations_do_not_spoil_what_was_before_them():
    model, x, y = TwoLayers(), torch.randn(8, 16), targets()
    report = fanin.check(model, x, targets=y)
    z = model.a(x)
    assert site(report, "a:linear").forward.rms == pytest.approx(rms(z), rel=1e-5)
    z.retain_grad()
    F.cross_entropy(model.b(F.relu(z)), y).backward()
    assert site(report, "a:linear").backward.norm == pytest.approx(z.grad.norm().item(), rel=1e-4)
    model.zero_grad(set_to_none=True)


def test_parameter_gradients_are_autograds():
    model, x, y = TwoLayers(), torch.randn(8, 16), targets()
    found = {p.path: p for p in fanin.check(model, x, targets=y).measurements.parameters}
    F.cross_entropy(model(x), y).backward()
    for name, p in model.named_parameters():
        assert found[name].gradient.norm == pytest.approx(p.grad.norm().item(), rel=1e-4)
        assert found[name].weight.rms == pytest.approx(rms(p), rel=1e-5)


@dataclass
class Output:
    logits: torch.Tensor
    hidden: tuple


class Structured(TwoLayers):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, x):
        h = self.act(self.a(x))
        y = self.b(h)
        return {"dataclass": Output(y, (h,)), "dict": {"logits": y, "h": h}, "tuple": (y, h), "list": [y, [h]]}[
            self.kind
        ]


@pytest.mark.parametrize("kind", ["dataclass", "dict", "tuple", "list"])
def test_any_output_structure(kind):
    report = fanin.check(Structured(kind), torch.randn(8, 16), targets=targets())
    assert report.measurements.loss.op == "cross_entropy"
    assert report.measurements.loss.num_classes == 4


def test_a_loss_inside_the_output_is_used():
    class WithLoss(TwoLayers):
        def forward(self, x, labels):
            y = super().forward(x)
            return {"loss": F.cross_entropy(y, labels), "logits": y}

    report = fanin.check(WithLoss(), {"x": torch.randn(8, 16), "labels": targets()})
    assert report.measurements.loss.source == "model"
    assert report.measurements.loss.op == "cross_entropy"


def test_without_loss_and_targets_a_random_cotangent_goes_back():
    report = fanin.check(TwoLayers(), torch.randn(8, 16))
    assert report.measurements.loss.source == "cotangent"
    assert site(report, "b:linear").backward.norm == pytest.approx(1.0, rel=1e-4)


def test_frozen_parameters_say_so_and_gradients_pass_them():
    model = TwoLayers()
    model.a.requires_grad_(False)
    found = {p.path: p.state for p in fanin.check(model, torch.randn(8, 16), targets=targets()).measurements.parameters}
    assert found == {"a.weight": "frozen", "a.bias": "frozen", "b.weight": "nonzero", "b.bias": "nonzero"}


def test_all_frozen_is_no_error():
    model = TwoLayers().requires_grad_(False)
    report = fanin.check(model, torch.randn(8, 16), targets=targets())
    assert {p.state for p in report.measurements.parameters} == {"frozen"}


def test_shared_modules_are_seen_at_every_call_and_counted_once():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 4)
            self.again = self.a

        def forward(self, x):
            return self.b(self.again(self.a(x).relu()).relu())

    report = fanin.check(Shared(), torch.randn(8, 16), targets=targets())
    assert [s.name for s in report.measurements.weight_sites()] == ["a:linear", "a:linear#1", "b:linear"]
    assert next((p.path, p.tied) for p in report.measurements.parameters) == ("a.weight", ("again.weight",))


def test_autocast_bfloat16():
    class Cast(TwoLayers):
        def forward(self, x):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return super().forward(x)

    report = fanin.check(Cast(), torch.randn(8, 16), loss=lambda o: F.cross_entropy(o.float(), torch.zeros(8).long()))
    assert site(report, "a:linear").dtype == "bfloat16"
    assert all(p.state == "nonzero" for p in report.measurements.parameters)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fanin.check(TwoLayers(), torch.randn(8, 16), targets=targets())
        assert torch.is_autocast_enabled("cpu")


def test_a_compiled_model_is_checked_through_its_original():
    model = TwoLayers()
    compiled = torch.compile(model, backend="eager")
    report = fanin.check(compiled, torch.randn(8, 16), targets=targets())
    assert report.result.header.model_class == "TwoLayers"
    assert [s.path for s in report.measurements.weight_sites()] == ["a", "b"]
    outer = nn.Sequential(torch.compile(nn.Linear(16, 16), backend="eager"), nn.ReLU(), nn.Linear(16, 4))
    found = fanin.check(outer, torch.randn(8, 16), targets=targets()).measurements
    assert [s.path for s in found.weight_sites()] == ["0", "2"]
    assert [p.path for p in found.parameters][:2] == ["0.weight", "0.bias"]


def test_data_dependent_control_flow():
    class Branchy(TwoLayers):
        def forward(self, x):
            for _ in range(int(x.abs().sum()) % 3 + 1):
                x = x + 0.1 * torch.tanh(x) if x.mean() > 0 else x - 0.1
            return super().forward(x)

    assert fanin.check(Branchy(), torch.randn(8, 16), targets=targets()).measurements.weight_sites()


def test_attention_is_measured_inside_nn_multihead_attention():
    layer = nn.MultiheadAttention(32, 4, batch_first=True)

    class Wrapped(nn.Module):
        def __init__(self, need):
            super().__init__()
            self.layer, self.need = layer, need

        def forward(self, x):
            return self.layer(x, x, x, need_weights=self.need)[0]

    x = torch.randn(4, 16, 32)
    fused, written = (
        next(s.attention for s in fanin.check(Wrapped(n), x).measurements.sites if s.attention) for n in (False, True)
    )
    q, k = (x @ w.T for w in layer.in_proj_weight.detach().split(32)[:2])
    logits = (q.view(4, 16, 4, 8).transpose(1, 2) @ k.view(4, 16, 4, 8).permute(0, 2, 3, 1)) / 8**0.5
    want = logits[:2].double().var(-1, unbiased=False).mean((0, 2)).sqrt()
    assert fused.logit_std == pytest.approx(want.tolist(), rel=1e-4)
    assert fused.num_keys == written.num_keys == 16


def test_a_causal_mask_hides_keys():
    q = torch.randn(2, 1, 32, 8)

    class Causal(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Linear(8, 8)

        def forward(self, x):
            return F.scaled_dot_product_attention(self.w(x), x, x, is_causal=True)

    found = next(s.attention for s in fanin.check(Causal(), q).measurements.sites if s.attention)
    assert found.num_keys in (19, 20, 21)  # median of 8..32


def test_written_out_norms_become_one_site():
    class RMSNorm(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.eps = nn.Parameter(torch.ones(16)), 1e-6

        def forward(self, x):
            return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)

    report = fanin.check(nn.Sequential(RMSNorm(), nn.Linear(16, 4)), torch.randn(8, 16), targets=targets())
    assert [s.op for s in report.measurements.sites] == ["rms_norm", "linear"]


@pytest.mark.parametrize("made", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers(made):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.r, self.o = made(16, 32, batch_first=True), nn.Linear(32, 4)

        def forward(self, x):
            return self.o(self.r(x)[0][:, -1])

    report = fanin.check(Net(), torch.randn(8, 5, 16), targets=targets())
    assert [s.kind for s in report.measurements.weight_sites()] == ["weight", "weight"]
    assert all(p.used for p in report.measurements.parameters)


def test_what_cannot_be_checked_is_said():
    x = torch.randn(8, 16)
    with pytest.raises(ArgumentError, match="model is of type int"):
        fanin.check(3, x)
    with pytest.raises(ArgumentError, match="inputs is missing"):
        fanin.check(TwoLayers())
    with pytest.raises(ArgumentError, match="is lazy"):
        fanin.check(nn.LazyLinear(3), x)
    with pytest.raises(ArgumentError, match="meta device"):
        fanin.check(nn.Linear(16, 4, device="meta"), x)
    with pytest.raises(ArgumentError, match="the batch is empty"):
        fanin.check(TwoLayers(), x[:0])
    with pytest.raises(ArgumentError, match="one element"):
        fanin.check(TwoLayers(), x, loss=lambda o: o)
    with pytest.raises(ArgumentError, match="fit neither"):
        fanin.check(TwoLayers(), x, targets=torch.randn(8, 5))
    with pytest.raises(CaptureError, match=r"in a \(Linear\)"):
        fanin.check(TwoLayers(), torch.randn(8, 15))
    with pytest.raises(ArgumentError, match="no floating tensor"):
        fanin.check(nn.Identity(), torch.arange(8))


@pytest.mark.parametrize(("shape", "units"), [((16, 5, 6, 7), 5), ((16, 5, 6), 6), ((16, 5), 5)])
def test_units_of_a_rectifier_right_at_the_input_are_channels_of_pictures_and_features_of_all_else(shape, units):
    model = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    model(torch.randn(shape))
    found = fanin.check(model, torch.randn(shape), targets=torch.randint(0, 3, (16,)), predict=False).measurements
    assert found.sites[0].op == "relu"
    assert found.sites[0].activity.num_units == units
