"""The recipes of the table: contract for all, and the published numbers of each."""

import json
import math

import pytest
import torch
from torch import nn

import fanin
from fanin.errors import ArgumentError, PlanError
from fanin.initializers import Identity, PerPart, Zeros, from_dict
from fanin.recipes import RECIPES
from tests.selection import few

WIDTH, LAYERS, HEADS, VOCAB = 32, 3, 4, 50


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, HEADS, d // HEADS).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(b, t, d))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.n1, self.n2, self.attn = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH), Attention()
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))
        self.alpha = nn.Parameter(torch.ones(1))

    def forward(self, x):
        x = x + self.alpha * self.attn(self.n1(x))
        return x + self.alpha * self.mlp(self.n2(x))


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(VOCAB, WIDTH), nn.Embedding(16, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCAB, bias=False)

    def forward(self, ids):
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        return self.head(self.norm(self.blocks(x)))


def decoder(recipe, **options):
    torch.manual_seed(0)
    return fanin.plan(Decoder(), torch.zeros(2, 8, dtype=torch.long), recipe=recipe, on_unknown="keep", **options)


STACKS_ONLY = ("dks", "tat")  # they refuse every other network, see test_shaped.py
ANYWHERE = [name for name in RECIPES if name not in STACKS_ONLY]


@pytest.fixture(scope="module")
def plans():
    return {name: decoder(name) for name in ANYWHERE}


@pytest.mark.parametrize("name", STACKS_ONLY)
def test_recipes_for_plain_stacks_refuse_others(name):
    with pytest.raises(PlanError, match="made for plain stacks"):
        decoder(name)


@pytest.mark.parametrize("name", few(ANYWHERE, every=2))
def test_every_recipe_places_every_parameter_and_says_why(plans, name):
    plan = plans[name]
    torch.manual_seed(0)
    model = Decoder()
    assert list(plan) == [n for n, _ in model.named_parameters()]
    assert all(a.reason and a.role for a in plan.values())
    assert plan.explain("blocks.0.mlp.2.weight")
    plan.apply_(model)
    assert plan.verify(model).ok


@pytest.mark.parametrize("name", ANYWHERE)
def test_every_plan_is_json_and_back(plans, name):
    plan = plans[name]
    assert fanin.Plan.from_dict(json.loads(plan.to_json())) == plan
    for a in plan.values():
        assert a.initializer is None or from_dict(a.initializer.to_dict()) == a.initializer


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_says_what_it_is(name):
    recipe = RECIPES[name]
    assert recipe.name == name
    assert recipe.summary
    assert recipe.options()


def test_gpt2(plans):
    assert plans["gpt2"]["wte.weight"].std == 0.02
    assert plans["gpt2"]["blocks.1.attn.qkv.weight"].std == 0.02
    assert plans["gpt2"]["blocks.1.attn.out.weight"].std == pytest.approx(0.02 / math.sqrt(2 * LAYERS))
    assert plans["gpt2"]["blocks.1.mlp.2.weight"].std == pytest.approx(0.02 / math.sqrt(2 * LAYERS))


@pytest.mark.parametrize(("layers", "want"), [(12, 0.0040825), (24, 0.0028868), (36, 0.0023570), (48, 0.0020412)])
def test_the_four_sizes_of_gpt2(layers, want):
    assert 0.02 / math.sqrt(2 * layers) == pytest.approx(want, rel=1e-4)


def test_small_init(plans):
    assert plans["small_init"]["blocks.0.attn.qkv.weight"].std == pytest.approx(math.sqrt(2 / (5 * WIDTH)))
    assert plans["small_init"]["blocks.0.mlp.2.weight"].std == pytest.approx(2 / (LAYERS * math.sqrt(WIDTH)))


def test_t5(plans):
    law = plans["t5"]["blocks.0.attn.qkv.weight"].initializer
    assert isinstance(law, PerPart)
    head = WIDTH // HEADS
    assert law.laws[0].std == pytest.approx((WIDTH * head) ** -0.5)
    assert law.laws[2].std == pytest.approx(WIDTH**-0.5)
    assert plans["t5"]["blocks.0.mlp.2.weight"].std == pytest.approx((4 * WIDTH) ** -0.5)
    assert plans["t5"]["wte.weight"].std == 1.0


def test_vit(plans):
    assert plans["vit"]["head.weight"].initializer == Zeros()
    assert plans["vit"]["blocks.0.mlp.0.bias"].std == 1e-6
    assert plans["vit"]["blocks.0.attn.qkv.weight"].std == pytest.approx(math.sqrt(1 / WIDTH))


def test_fixup(plans):
    plan = plans["fixup"]
    assert plan["blocks.0.mlp.2.weight"].initializer == Zeros()
    assert plan["head.weight"].initializer == Zeros()
    first = plan["blocks.0.mlp.0.weight"]
    assert first.std == pytest.approx(math.sqrt(2 / (4 * WIDTH)) * (2 * LAYERS) ** -0.5)


def test_fixup_refuses_a_product_of_two_zeros():
    model = Decoder()
    with torch.no_grad():
        model.blocks[1].alpha.zero_()
    with pytest.raises(PlanError, match="product of two zeros"):
        fanin.plan(model, torch.zeros(2, 8, dtype=torch.long), recipe="fixup")


def test_t_fixup(plans):
    factor = 0.67 * LAYERS**-0.25
    up = plans["t_fixup"]["blocks.0.mlp.0.weight"]
    assert up.std == pytest.approx(math.sqrt(2 / (5 * WIDTH)) * factor)
    qkv = plans["t_fixup"]["blocks.0.attn.qkv.weight"].initializer
    assert qkv.laws[2].gain / qkv.laws[0].gain == pytest.approx(factor * math.sqrt(2))


def test_rezero_and_what_it_needs(plans):
    assert plans["rezero"]["blocks.0.alpha"].initializer == Zeros()
    assert plans["skipinit"]["blocks.0.alpha"].initializer == Zeros()
    with pytest.raises(PlanError, match="no such parameter"):
        fanin.plan(nn.Linear(4, 4), torch.zeros(1, 4), recipe="rezero")


def test_deepnorm(plans):
    beta = (8 * LAYERS) ** -0.25
    down = plans["deepnorm"]["blocks.0.mlp.2.weight"]
    assert down.std == pytest.approx(math.sqrt(2 / (5 * WIDTH)) * beta)
    assert "alpha" in plans["deepnorm"].warnings[0]


def test_irnn():
    rnn = nn.RNN(8, 16, nonlinearity="relu")
    plan = fanin.plan(rnn, torch.zeros(3, 2, 8), recipe="irnn")
    assert plan["weight_hh_l0"].initializer == Identity()
    assert plan["weight_ih_l0"].std == 0.001
    fanin.init_(rnn, torch.zeros(3, 2, 8), recipe="irnn")
    assert torch.equal(rnn.weight_hh_l0, torch.eye(16))


def test_siren():
    class Sine(nn.Module):
        def forward(self, x):
            return torch.sin(30 * x)

    model = nn.Sequential(nn.Linear(2, 64), Sine(), nn.Linear(64, 3))
    plan = fanin.plan(model, torch.zeros(4, 2), recipe="siren")
    assert plan["0.weight"].initializer.bound_for((64, 2)) == 0.5
    assert plan["2.weight"].std == pytest.approx(math.sqrt(2 / 64) / 30)


def test_classic_by_activation():
    def std(activation):
        model = nn.Sequential(nn.Linear(64, 64), activation, nn.Linear(64, 8))
        return fanin.plan(model, torch.zeros(2, 64), recipe="classic")["0.weight"].std * 8

    assert std(nn.ReLU()) == pytest.approx(math.sqrt(2))
    assert std(nn.LeakyReLU(0.5)) == pytest.approx(math.sqrt(2 / 1.25))
    assert std(nn.Tanh()) == pytest.approx(1.0)
    assert std(nn.Sigmoid()) == pytest.approx(4.0)
    assert std(nn.SELU()) == pytest.approx(1.0)


def test_orthogonal_is_critical_for_the_depth():
    tanh = nn.Sequential(*(m for _ in range(64) for m in (nn.Linear(8, 8), nn.Tanh())), nn.Linear(8, 2))
    plan = fanin.plan(tanh, torch.zeros(2, 8), recipe="orthogonal")
    assert plan["4.weight"].initializer.gain == pytest.approx(math.sqrt(1.0306), rel=1e-3)


def test_mup_gives_its_learning_rate_groups(plans):
    plan = decoder("mup", base_width=16)
    groups = {
        g["kind"]: g
        for g in plan.extras["groups"]
        if "blocks.0.attn.qkv.weight" in g["parameters"] or g["kind"] != "matrix"
    }
    assert groups["matrix"]["lr_multiplier"] == pytest.approx(16 / WIDTH)
    assert groups["vector"]["lr_multiplier"] == 1.0
    assert groups["input"]["lr_multiplier"] == 1.0
    named = [n for g in plan.extras["groups"] for n in g["parameters"]]
    assert sorted(named) == sorted(plan)
    assert plan["head.weight"].initializer == Zeros()
    assert any("learning-rate groups" in w for w in plan.warnings)
    with pytest.raises(ArgumentError, match="base_width"):
        decoder("mup", base_width=0)


def test_keep_leaves_every_byte_and_knows_what_is_there():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 256), nn.LayerNorm(256))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    plan = fanin.init_(model, recipe="keep")
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert "torch's default" in plan["0.weight"].reason
    assert plan.verify(model).ok
    twin = nn.Sequential(nn.Linear(256, 256), nn.LayerNorm(256))
    plan.redrawn().apply_(twin)
    assert float(twin[0].weight.detach().std()) == pytest.approx(float(model[0].weight.detach().std()), rel=0.02)
    assert not torch.equal(twin[0].weight, model[0].weight)


def test_torch_is_what_torch_does():
    torch.manual_seed(0)
    modules = [
        nn.Linear(64, 99),
        nn.Conv2d(8, 16, 3),
        nn.Embedding(1000, 64),
        nn.LSTM(96, 96),
        nn.MultiheadAttention(64, 4),
    ]
    for module in modules:
        plan = fanin.plan(module, recipe="torch")
        assert plan.verify(module).ok, type(module).__name__
        with torch.no_grad():
            next(p for p in module.parameters() if p.dim() > 1).mul_(1.03)
        assert not plan.verify(module).ok, type(module).__name__


@pytest.mark.parametrize("width", [8, 32])
def test_the_torch_recipe_starts_the_extra_key_and_value_of_attention_at_their_glorot_law(width):
    plan = fanin.plan(nn.MultiheadAttention(width, 2, add_bias_kv=True), recipe="torch")
    assert plan["bias_k"].std == pytest.approx(math.sqrt(2.0 / (width + width)))
    assert plan["bias_v"].std == pytest.approx(math.sqrt(2.0 / (width + width)))
    assert plan["in_proj_weight"].std == pytest.approx(math.sqrt(2.0 / (4 * width)))
    assert plan["out_proj.weight"].std == pytest.approx(1.0 / math.sqrt(3.0 * width))
