"""Healthy stock models pass and broken ones are caught, the right root cause first: tuning set and models held out."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import fanin
from fanin.planning.rows import law_words
from tests.selection import few
from zoo.health.broken_held_out import BROKEN_HELD_OUT
from zoo.health.healthy_held_out import HEALTHY_HELD_OUT
from zoo.health.public import BROKEN, HEALTHY

pytestmark = pytest.mark.filterwarnings("ignore")  # third-party models warn about themselves

# Each is a true finding about the stock initialization.
ARGUED = {
    "alexnet(tv)": "eight layers of torch's default std without normalisation: the gradient shrinks to 1/160",
    "mobilenetv2_100": "U(+-1 / sqrt(fan_out)) in the head: with 10 classes 1.6 to 3.2 ln K, by seed",
    # held out
    "timm dla34": "the head is a 1 x 1 convolution with He's fan_out std: 2.5 ln K",
    "timm spnasnet_100": "U(+-1 / sqrt(fan_out)) in the head: 3.4 ln K",
    "timm mobilenetv4_conv_small": "U(+-1 / sqrt(fan_out)) in the head: 2.7 ln K",
    "timm efficientnet_lite0": "U(+-1 / sqrt(fan_out)) in the head: 2.6 ln K",
    "tv mnasnet0_5": "He's fan_out std in the head: 3.7 ln K",
    "tv mnasnet1_0": "He's fan_out std in the head: 3.5 ln K",
    "mlp6 gelu default": "torch's default std before GELU: the gradient shrinks to 1/500 over six layers",
}
# code of the first finding; several where two of one cause are equally right
ROOTS = {
    "mlp10 relu N(0,.01)": {"S201"},
    "mlp10 relu N(0,1)": {"S202"},
    "mlp10 relu PyTorch default": {"S203", "S205"},
    "mlp20 relu PyTorch default": {"S203", "S205"},
    "mlp6 relu const": {"P501"},
    "mlp6 relu zero": {"G402"},
    "mlp6 relu bias -6": {"P503"},
    "mlp10 sigmoid default": {"S203", "S205"},
    "mlp6 tanh N(0,1)": {"A302"},
    "mlp3 He input 0..255": {"D101"},
    "mlp3 He input mean5 std.1": {"D102"},
    "resnet18 input 0..255": {"D101"},
    "vgg11 N(0,.01) no BN": {"S201"},
    "resnet18 head x100": {"L801"},
    "mlp3 softmax+CE": {"L802"},
    "mlp detach": {"G401"},
    "mlp unused layer": {"G401"},
    "TransformerEncoder QKx10": {"T701"},
    "plain BN-MLP depth50": {"S204"},
}
QUICK = ("mlp3 relu He", "LSTM", "nn.TransformerEncoder preLN", "HF gpt2", "DCGAN G", "regression mlp")
QUICK_BROKEN = [n for n in BROKEN if n.startswith("mlp")]
# one of each kind: scale, dead units, equal units, saturation, input, a path that is cut
KINDS = (
    "mlp10 relu N(0,.01)", "mlp6 relu bias -6", "mlp6 relu const", "mlp6 tanh N(0,1)", "mlp3 He input mean5 std.1",
    "mlp detach",
)  # fmt: skip
HELD_OUT_KINDS = (
    "tanh stack std 0.01", "conv dead by bias -5", "zero weights", "input offset 20", "nll without log_softmax",
    "tiny signal into LayerNorm", "inf in the input", "targets x1e4",
)  # fmt: skip


def report_of(case):
    torch.manual_seed(0)
    model, inputs, loss, _ = case()
    return fanin.check(model, inputs, loss=loss)


def assert_healthy(name, case):
    report = report_of(case)
    assert report.ok or name in ARGUED, str(report)


def assert_caught(name, case):
    report = report_of(case)
    assert not report.ok
    assert report.findings[0].code in ROOTS[name], str(report)


def test_every_broken_model_has_a_root():
    assert set(ROOTS) == set(BROKEN)
    assert sum(name in HEALTHY for name in ARGUED) <= 3


@pytest.mark.parametrize("name", few(QUICK, *(n for n in QUICK if n != "HF gpt2")))
def test_a_few_healthy_models_pass(name):
    assert_healthy(name, HEALTHY[name])


@pytest.mark.parametrize("name", few(QUICK_BROKEN, *KINDS))
def test_small_broken_models_are_caught(name):
    assert_caught(name, BROKEN[name])


@pytest.mark.parametrize("name", few(BROKEN_HELD_OUT, *HELD_OUT_KINDS))
def test_held_out_faults_are_caught(name):
    torch.manual_seed(0)
    make, roots = BROKEN_HELD_OUT[name]
    case = make()
    report = fanin.check(**case)
    assert not report.ok
    assert report.findings[0].code in roots, str(report)
    if any(f.fix.starts for f in (*report.findings, *report.consequences)):
        assert contradictions(report, fanin.init_(case["model"], case.get("inputs"))) == []


def contradictions(report, plan):
    """Numbers of recommended starts that differ from the plan that init_ writes, or that precede it in the sentence."""
    found = []
    for f in (*report.findings, *report.consequences):
        if not f.fix.recommends_start:
            continue
        found += [s for s in f.fix.starts if (s.law, s.std) != (law_words(plan[s.name]), plan[s.name].std)]
        found += NUMBER.findall(f.fix.text.partition(". fanin.init_: ")[0]) if f.fix.starts else []
    return found


NUMBER = re.compile(r"(?<![\w.])\d*\.\d+(?![\w.])|std (?:of |= )\S*\d")  # "0.125", not the "1" of a name or of 1 / sqrt


def test_advice_that_differs_from_the_plan_is_seen():
    torch.manual_seed(0)
    model = nn.Sequential(*[m for _ in range(10) for m in (nn.Linear(32, 32), nn.Tanh())], nn.Linear(32, 4))
    for layer in model[::2]:
        nn.init.normal_(layer.weight, std=0.01)
    x = torch.randn(32, 32)
    report, plan = fanin.check(model, x), fanin.plan(model, x)
    assert any(f.fix.starts for f in report.findings)
    assert contradictions(report, plan) == []
    assert contradictions(report, fanin.plan(model, x, recipe="torch")) != []
    (first, *_) = report.findings
    wrong = replace(first, fix=replace(first.fix, text=f"std of 0.3 for 2.weight. fanin.init_: {first.fix.text}"))
    assert contradictions(SimpleNamespace(findings=(wrong,), consequences=()), plan) != []


def test_the_start_that_was_tried_is_the_one_that_init_writes():
    """Also where init_ departs from the plan: here it draws the output layer smaller."""
    torch.manual_seed(0)
    layers = [m for _ in range(12) for m in (nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    case = {"inputs": torch.randn(64, 8, 12, 12), "targets": torch.randint(0, 10, (64,)), "predict": False}
    report, plan = fanin.check(model, **case), fanin.plan(model, case["inputs"])
    written = fanin.init_(model, case["inputs"])
    assert written["26.weight"].std < 0.9 * plan["26.weight"].std
    assert report.result.trial.loss_after == pytest.approx(fanin.check(model, **case).measurements.loss.value)
    assert any(f.fix.starts for f in report.findings)
    assert contradictions(report, written) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in HEALTHY if n not in QUICK])
def test_healthy_models_pass(name):
    assert_healthy(name, HEALTHY[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in BROKEN if n not in QUICK_BROKEN])
def test_broken_models_are_caught(name):
    assert_caught(name, BROKEN[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", HEALTHY_HELD_OUT)
def test_held_out_healthy_models_pass(name):
    assert_healthy(name, HEALTHY_HELD_OUT[name])
