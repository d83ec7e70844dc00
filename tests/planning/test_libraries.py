"""Models as PEFT and torchao make them: the base stays, adapters are drawn, coded weights are named; no traceback."""

import warnings

import pytest
import torch
from torch import nn

import fanin
from zoo import make_torchvision_importable

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
X = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
Y = torch.zeros(8, dtype=torch.long)


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Sequential(nn.Linear(32, 32), nn.ReLU()), nn.Linear(32, 4))


def library(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make_torchvision_importable()
        try:
            return __import__(name, fromlist=["*"])
        except (ImportError, RuntimeError) as error:  # absent, or it cannot load what it stands on
            pytest.skip(f"{name}: {error}")


ADAPTERS = {
    "LoRA": ("LoraConfig", {"target_modules": ["0", "2.0"], "r": 4}, ".lora_A."),
    "LoRA and a head": ("LoraConfig", {"target_modules": ["0"], "modules_to_save": ["3"], "r": 4}, ".lora_A."),
    "DoRA": ("LoraConfig", {"target_modules": ["0"], "use_dora": True, "r": 4}, ".lora_A."),
    "IA3": ("IA3Config", {"target_modules": ["0"], "feedforward_modules": ["0"]}, ""),
}


@pytest.mark.parametrize("thawed", [False, True])
@pytest.mark.parametrize("name", ADAPTERS)
def test_the_base_under_real_adapters_is_kept(name, thawed):
    peft = library("peft")
    kind, settings, drawn = ADAPTERS[name]
    model = peft.get_peft_model(mlp(), getattr(peft, kind)(**settings))
    base = {n for n, p in model.named_parameters() if not p.requires_grad}
    if thawed:
        model.requires_grad_(True)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    plan = fanin.init_(model, X)
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert base
    assert not moved & base
    assert bool(moved) is bool(drawn)
    assert any(drawn in n for n in moved) or not drawn
    assert len([w for w in plan.warnings if "frozen or loaded" in w]) == 1
    assert plan.verify(model).ok
    assert fanin.check(model, X, targets=Y).measurements.parameters
    # the twin: asked to, it draws the base
    fanin.init_(model, X, frozen="draw")
    assert base & {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}


@pytest.mark.parametrize("recipe", ["auto", "torch", "keep"])
@pytest.mark.parametrize("kind", ["Int8WeightOnlyConfig", "Int8DynamicActivationInt8WeightConfig"])
def test_coded_weights_are_kept_and_named(kind, recipe):
    quantization = library("torchao.quantization")
    model = mlp()
    quantization.quantize_(model, getattr(quantization, kind)())
    coded = [n for n, p in model.named_parameters() if type(p.data) is not torch.Tensor]
    held, before = {n: id(p) for n, p in model.named_parameters()}, model(X)
    plan = fanin.plan(model, X, recipe=recipe)
    assert coded == ["0.weight", "2.0.weight", "3.weight"]
    assert {plan[n].action for n in coded} == {"keep"}
    assert plan.verify(plan.apply_(model), bits=True).ok
    assert not plan.diff(model)
    assert held == {n: id(p) for n, p in model.named_parameters()}
    assert torch.equal(model(X), before) is (recipe == "keep")
    assert fanin.check(model, X, targets=Y).measurements.sites
