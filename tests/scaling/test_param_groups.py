"""Groups for the user's own optimizer: what each parameter gets, which plan belongs to them, and what is refused."""

import copy
import json
import pickle
import warnings
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fanin
from fanin.errors import ArgumentError, CoverageError, PlanError, UnknownNameError
from tests.selection import few
from zoo import zoo

ZOO = zoo()
QUICK = ("mlp_relu", "lstm_lm", "weight_normed", "mha_module", "unet", "shared_twice")
MANY = few(ZOO, *QUICK)
X = torch.randn(16, 6, generator=torch.Generator().manual_seed(0))


def build(width, outputs=3):
    return nn.Sequential(
        nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3 * width), nn.ReLU(), nn.Linear(3 * width, outputs)
    )


def groups_of(model, inputs=X, recipe="auto", **settings):
    return fanin.param_groups(model, fanin.plan(model, inputs, recipe=recipe), lr=0.01, **settings)


def rates(groups):
    return {name: group["lr"] / 0.01 for group in groups for name in group["names"]}


# ---------------------------------------------------------------------- multipliers
def test_rates_follow_the_growth_of_each_weight():
    adam = rates(groups_of(build(64), base=build(16)))
    assert adam == {n: 0.25 if n in ("2.weight", "4.weight") else 1.0 for n in adam}
    sgd = rates(groups_of(build(64), base=build(16), optimizer="sgd"))
    assert sgd == {
        "0.weight": 4.0, "0.bias": 4.0, "2.weight": 1.0, "2.bias": 4.0, "4.weight": 0.25, "4.bias": 1.0,
    }  # fmt: skip


def test_rate_times_decay_stays_and_eps_follows_the_gradient():
    groups = groups_of(build(64), base=build(16), weight_decay=0.1, eps=1e-8)
    assert all(g["lr"] * g["weight_decay"] == pytest.approx(0.001) for g in groups)
    eps = {n: g["eps"] for g in groups for n in g["names"]}
    assert eps["0.weight"] == eps["2.bias"] == pytest.approx(2.5e-9)
    assert eps["4.weight"] == eps["4.bias"] == 1e-8
    bare = groups_of(build(64), base=build(16), weight_decay=0.1, decay_vectors=False)
    assert {n for g in bare for n in g["names"] if not g["weight_decay"]} == {"0.bias", "2.bias", "4.bias"}


def test_taps_are_no_width():
    def cnn(channels):
        return nn.Sequential(
            nn.Conv2d(1, channels, 3), nn.ReLU(), nn.Conv2d(channels, channels, 5), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, groups=channels), nn.ReLU(), nn.Flatten(), nn.Linear(channels * 4, 2),
        )  # fmt: skip

    found = rates(groups_of(cnn(32), torch.randn(4, 1, 10, 10), base=cnn(8)))
    assert found["2.weight"] == found["7.weight"] == 0.25
    assert found["0.weight"] == found["4.weight"] == 1.0  # a depthwise kernel sums over its taps alone


def test_grouped_transposed_convolutions_count_the_units_of_one_group():
    def cnn(channels):
        depthwise = nn.ConvTranspose2d(channels, channels, 3, groups=channels)
        return nn.Sequential(nn.Conv2d(1, channels, 3), nn.ReLU(), depthwise, nn.ReLU(), nn.Conv2d(channels, 2, 3))

    found = rates(groups_of(cnn(32), torch.randn(4, 1, 10, 10), base=cnn(8)))
    assert found["2.weight"] == 1.0
    assert found["4.weight"] == 0.25


def test_a_table_that_is_the_output_layer_takes_the_rate_of_an_output_layer():
    class Tied(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.table, self.inner = nn.Embedding(11, width), nn.Linear(width, width)

        def forward(self, ids):
            return F.linear(torch.relu(self.inner(self.table(ids))), self.table.weight)

    ids = torch.arange(10).reshape(2, 5)
    groups = groups_of(Tied(64), ids, base=Tied(16))
    assert rates(groups)["table.weight"] == 0.25
    assert any("both table and output layer" in note for note in groups.notes)
    assert groups_of(Tied(16), ids, base=Tied(16)).notes == ()


class BothWays(nn.Module):
    def __init__(self, width, untied=False):
        super().__init__()
        self.code = nn.Parameter(torch.randn(6, width))
        self.inner = nn.Linear(width, width)
        self.back = nn.Parameter(torch.randn(6, width)) if untied else self.code

    def forward(self, x):
        return F.linear(torch.relu(self.inner(torch.relu(x @ self.code))), self.back)


def test_a_map_that_is_also_its_transpose_takes_the_smaller_rate_and_is_named():
    for optimizer, untied_rates in (("adamw", (1.0, 0.25)), ("sgd", (4.0, 0.25))):
        tied = groups_of(BothWays(64), base=BothWays(16), optimizer=optimizer)
        assert rates(tied)["code"] == 0.25
        assert [n for n in tied.notes if "both ways" in n] == list(tied.notes) != []
        untied = groups_of(BothWays(64, untied=True), base=BothWays(16, untied=True), optimizer=optimizer)
        assert (rates(untied)["code"], rates(untied)["back"]) == untied_rates
        assert untied.notes == ()
    assert groups_of(BothWays(16), base=BothWays(16)).notes == ()
    mup = fanin.plan(BothWays(64), X, recipe="mup", base_width=16).extras["scaling"]["growth"]
    assert mup["code"] == {"inputs": 4.0, "outputs": 1.0}
    assert mup["inner.weight"] == {"inputs": 4.0, "outputs": 4.0}  # 64 of 16: what reads the inputs is no width
    single = groups_of(nn.Sequential(nn.Linear(6, 64)), base=nn.Sequential(nn.Linear(6, 16)))
    assert rates(single)["0.weight"] == 1.0  # it reads the inputs and gives the outputs, one way


def test_heads_of_fixed_width_need_no_note():
    class Attends(nn.Module):
        def __init__(self, width, heads):
            super().__init__()
            self.first, self.attn = nn.Linear(4, width), nn.MultiheadAttention(width, heads, batch_first=True)
            self.last = nn.Linear(width, 2)

        def forward(self, x):
            h = self.first(x)
            return self.last(h + self.attn(h, h, h, need_weights=False)[0])

    x = torch.randn(2, 5, 4)
    same = fanin.plan(Attends(16, 2), x), fanin.plan(Attends(16, 1), x)
    wide = Attends(64, 8)
    plan = fanin.plan(wide, x)
    assert fanin.param_groups(wide, plan, 0.01, base=same[0]).notes == ()
    assert "divided by d_head" in fanin.param_groups(wide, plan, 0.01, base=same[1]).notes[0]
    mup = fanin.plan(wide, x, recipe="mup", base_width=16)
    assert any("8 wide" in w for w in mup.warnings)
    at_base = fanin.plan(wide, x, recipe="mup", base_width=64)
    assert not any("d_head" in w for w in at_base.warnings)


# ---------------------------------------------------------------------- which parameters
@pytest.mark.parametrize("name", MANY)
def test_at_the_base_every_multiplier_of_every_model_is_one(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, inputs = ZOO[name]()
        auto = fanin.plan(model, inputs, on_unknown="keep")
        width = auto.extras["transfer"]["width"]
        mup = fanin.plan(model, inputs, recipe="mup", on_unknown="keep", base_width=width)
    trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
    for plan, base in ((auto, model), (mup, None)):
        for optimizer in ("adamw", "sgd", "muon"):
            groups = fanin.param_groups(model, plan, 0.01, optimizer=optimizer, base=base, weight_decay=0.1)
            assert all(m == 1.0 for g in groups for m in g["multipliers"].values())
            assert groups.changed == ()
            names = [n for g in groups for n in g["names"]]
            assert sorted(names) == sorted(trainable)
            assert all(t is trainable[n] for g in groups for n, t in zip(g["names"], g["params"], strict=True))
    assert all(g["lr_multiplier"] == g["eps_multiplier"] == 1.0 for g in mup.extras["groups"])


def test_frozen_parameters_are_in_no_group_and_tied_ones_in_one():
    model, small = build(64), build(16)
    model[0].weight.requires_grad_(False)
    model.again = model[2]
    small.again = small[2]
    names = [n for g in groups_of_keep(model, small) for n in g["names"]]
    assert "0.weight" not in names
    assert len(names) == 5


def groups_of_keep(model, small):
    return fanin.param_groups(model, fanin.plan(model, recipe="keep"), 0.01, base=small)


def test_groups_can_be_copied_and_pickled():
    groups = groups_of(build(64), base=build(16))
    for again in (copy.deepcopy(groups), pickle.loads(pickle.dumps(groups))):
        assert json.dumps(again.to_dict()) == json.dumps(groups.to_dict())
        assert again.plan == groups.plan
        assert torch.equal(again[0]["params"][0], groups[0]["params"][0])


def test_wrapped_and_meta_models_get_the_groups_of_the_model():
    wanted = rates(groups_of(build(64), base=build(16)))
    assert rates(groups_of(nn.DataParallel(build(64)), base=build(16))) == wanted
    with torch.device("meta"):
        assert rates(groups_of(build(64), base=build(16))) == wanted


def test_groups_go_to_torch_optimizers_and_learn():
    model = build(64)
    for optimizer, made in (("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD), ("adam", torch.optim.Adam)):
        groups = groups_of(model, base=build(16), optimizer=optimizer)
        trained = made(groups)
        assert trained.param_groups[0]["names"] == groups[0]["names"]
        F.cross_entropy(model(X), torch.zeros(16, dtype=torch.long)).backward()
        trained.step()


def test_muon_trains_matrices_between_inner_layers():
    def four(width):
        layers = [nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, width), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))

    wide = groups_of(four(64), base=four(16), optimizer="muon", adamw_lr=0.001)
    assert [g["names"] for g in wide.of("muon")] == [("6.weight",)]  # both sides grow; 8 units do not
    assert all(g["lr"] <= 0.001 for g in wide.of("adamw"))
    torch.optim.Muon(wide.of("muon"))
    at_base = groups_of(four(16), base=four(16), optimizer="muon", wider=four(64))
    assert [g["names"] for g in at_base.of("muon")] == [("6.weight",)]
    matched = groups_of(four(64), base=four(16), optimizer="muon", adjust_lr="match_rms_adamw")
    assert matched.of("muon")[0]["lr"] == pytest.approx(0.005)  # 1 / sqrt(4)
    with pytest.raises(UnknownNameError, match="no group is for"):
        wide.of("sgd")


# ---------------------------------------------------------------------- the plan that belongs to them
def test_only_output_layers_get_another_law():
    model = build(64)
    plan = fanin.plan(model, X)
    groups = fanin.param_groups(model, plan, 0.01, base=build(16))
    assert groups.changed == ("4.weight",)
    assert groups.plan["4.weight"].std == pytest.approx(plan["4.weight"].std / 2)
    assert plan["4.weight"] == fanin.plan(model, X)["4.weight"]
    groups.plan.apply_(model)
    assert groups.plan.verify(model, bits=True).ok


def test_a_saved_plan_gives_the_groups_again_without_a_base(tmp_path):
    model = build(64)
    first = groups_of(model, base=build(16), weight_decay=0.1)
    first.plan.save(tmp_path / "plan.json")
    again = fanin.param_groups(model, fanin.Plan.load(tmp_path / "plan.json"), 0.01, weight_decay=0.1)
    assert json.dumps(again.to_dict()["groups"]) == json.dumps(first.to_dict()["groups"])
    assert again.changed == ()
    assert again.plan["4.weight"] == first.plan["4.weight"]


def test_the_recipe_mup_and_a_base_model_agree():
    model = build(64)
    for readout in ("zero", "scaled"):
        plan = fanin.plan(model, X, recipe="mup", base_width=16, readout=readout)
        with_base = fanin.param_groups(model, plan, 0.01, base=build(16), optimizer="sgd")
        alone = fanin.param_groups(model, plan, 0.01, optimizer="sgd")
        assert rates(with_base)["4.weight"] < 1.0
        assert rates(with_base)["4.bias"] == rates(alone)["4.bias"] == 1.0
        assert set(rates(with_base)) == set(rates(alone))


def test_nothing_of_the_model_changes():
    model, small = build(64), build(16)
    before = {n: (p.clone(), p.requires_grad, p.grad) for n, p in model.named_parameters()}
    groups_of(model, base=small)
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name][0])
        assert p.requires_grad == before[name][1]
        assert p.grad is before[name][2]


def test_base_may_be_on_meta_or_a_plan():
    with torch.device("meta"):
        small = build(16)
    model = build(64)
    assert rates(groups_of(model, base=small)) == rates(groups_of(model, base=fanin.plan(build(16), X)))


# ---------------------------------------------------------------------- refused
def test_what_is_refused_says_what_to_do():
    model, plan = build(64), fanin.plan(build(64), X)

    def asked(match, error=ArgumentError, **settings):
        with pytest.raises(error, match=match):
            fanin.param_groups(model, plan, **{"lr": 0.01, "base": build(16), **settings})

    asked("no groups are known for the optimizer 'lion'", UnknownNameError, optimizer="lion")
    asked("lr is a finite number > 0; got 0", lr=0)
    asked("weight_decay must be 0 for 'adam'", optimizer="adam", weight_decay=0.1)
    asked("base is missing", base=None)
    asked("cannot be compared with the base model", base=nn.Linear(3, 3))
    asked("base is a model of the base width", base=3)
    asked("no residual branches", depth_base=4)
    asked("there is no adjust_lr 'other'", UnknownNameError, optimizer="muon", adjust_lr="other")
    with pytest.raises(PlanError, match="not of this model"):
        fanin.param_groups(build(32), plan, 0.01, base=build(16))
    for p in model.parameters():
        p.requires_grad_(False)
    asked("no trainable parameter")


def test_a_parameter_whose_axes_are_not_known_is_named():
    model, plan = build(64), fanin.plan(build(64), X)
    vague = replace(plan, assignments={**plan.assignments, "2.weight": replace(plan["2.weight"], role="unknown")})
    with pytest.raises(CoverageError, match=r"2.weight: which of its axes are summed is not known"):
        fanin.param_groups(model, vague, 0.01, base=build(16))
    kept = fanin.param_groups(model, vague, 0.01, base=build(16), on_unknown="keep")
    assert rates(kept)["2.weight"] == 1.0
    assert any("2.weight" in note for note in kept.notes)


def test_a_bottleneck_keeps_its_law_and_takes_the_rate_of_its_inputs():
    def neck(width):
        inner = [nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, width), nn.ReLU()]
        return nn.Sequential(*inner, nn.Linear(width, 2))

    groups = groups_of(neck(64), base=neck(16))
    assert groups.changed == ("6.weight",)
    assert rates(groups)["2.weight"] == rates(groups)["6.weight"] == 0.25
    assert rates(groups)["4.weight"] == 1.0
