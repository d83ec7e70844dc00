"""Plans as data: mapping, JSON, overrides, coverage, differences."""

import json
import warnings

import pytest
import torch
from torch import nn

import fanin
from fanin.errors import ArgumentError, CoverageError, PlanError, UnknownNameError
from fanin.initializers import Normal, TruncatedNormal, Zeros
from fanin.planning.build import plan_and_live, with_overrides
from fanin.planning.overrides import match_all
from fanin.planning.plan import Plan


def small():
    return nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 4))


def test_a_plan_is_a_mapping_in_the_order_of_the_model():
    model = small()
    plan = fanin.plan(model, recipe="torch")
    assert list(plan) == [n for n, _ in model.named_parameters()]
    assert len(plan) == 6
    assert "0.weight" in plan
    assert "nothing" not in plan
    with pytest.raises(UnknownNameError, match=r"did you mean '0\.weight'"):
        plan["0.weigth"]


def test_planning_changes_nothing():
    model = small()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.get_rng_state()
    fanin.plan(model, recipe="torch")
    fanin.plan(model, recipe="keep")
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_two_runs_give_the_same_bytes_and_json_round_trips(tmp_path):
    torch.manual_seed(0)
    model = small()
    one, two = (fanin.plan(model, recipe=r, seed=3, overrides={"0.bias": Normal(std=0.1)}) for r in ("torch", "torch"))
    assert one.to_json() == two.to_json()
    one.save(tmp_path / "plan.json")
    back = Plan.load(tmp_path / "plan.json")
    assert back == one
    assert back.to_json() == one.to_json()
    assert json.loads(one.to_json())["schema"] == "fanin-plan/2"


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    plan = fanin.plan(small(), recipe="torch")
    target = tmp_path / "plan.json"
    plan.save(target)
    old = target.read_text()
    monkeypatch.setattr(Plan, "to_json", lambda self: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        plan.save(target)
    assert target.read_text() == old
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]


@pytest.mark.parametrize("text", ["no json", "[1, 2]", '{"schema": "other/9"}'])
def test_what_is_no_plan_is_refused(tmp_path, text):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(PlanError, match="plan"):
        Plan.load(path)


def test_the_first_matching_override_wins_and_unused_ones_are_errors():
    plan = fanin.plan(small(), recipe="torch", overrides={"0.*": Zeros(), "*.weight": Normal(std=0.5)})
    assert plan["0.weight"].initializer == Zeros()
    assert plan["3.weight"].std == 0.5
    assert plan["3.weight"].rule == "override"
    with pytest.raises(PlanError, match="matches no parameter"):
        fanin.plan(small(), recipe="torch", overrides={"head.weight": Zeros()})
    with pytest.raises(PlanError, match="an earlier pattern takes everything"):
        fanin.plan(small(), recipe="torch", overrides={"*": Zeros(), "0.weight": Normal(std=1.0)})


def test_overrides_by_name_and_to_keep():
    plan = fanin.plan(small(), recipe="torch", overrides={"0.weight": "he_normal", "3.weight": None})
    assert plan["0.weight"].std == pytest.approx((2 / 8) ** 0.5)
    assert plan["3.weight"].action == "keep"
    with pytest.raises(ArgumentError, match="must be an initializer"):
        fanin.plan(small(), recipe="torch", overrides={"0.weight": 3})


def test_a_tied_parameter_is_matched_under_every_name():
    assert match_all([("a", "b")], {"b": 1}) == {"a": ("b", 1)}


def test_a_parameter_without_a_place_stops_the_plan_and_is_named():
    class Raw(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.gate = nn.Linear(4, 4), nn.Parameter(torch.randn(4, 4))

    with pytest.raises(CoverageError, match=r"gate: Raw is not a torch module"):
        fanin.plan(Raw(), recipe="torch")
    plan = fanin.plan(Raw(), recipe="torch", on_unknown="keep")
    assert plan["gate"].action == "keep"
    assert "not understood" in plan.warnings[0]


def test_wrong_arguments_say_what_is_allowed():
    with pytest.raises(UnknownNameError, match="did you mean 'torch'"):
        fanin.plan(small(), recipe="troch")
    with pytest.raises(ArgumentError, match="has no option 'head'"):
        fanin.plan(small(), recipe="torch", head="calm")
    with pytest.raises(ArgumentError, match=r"0 <= seed < 2\*\*64"):
        fanin.plan(small(), recipe="torch", seed=-1)
    with pytest.raises(ArgumentError, match="on_unknown"):
        fanin.plan(small(), recipe="torch", on_unknown="skip")


def test_adding_a_layer_changes_no_other_key():
    one = fanin.plan(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), recipe="torch")
    two = fanin.plan(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), recipe="torch")
    assert all(two[n] == one[n] for n in one)


def test_diff_of_plans_says_what_differs_and_nothing_else():
    one = fanin.plan(small(), recipe="torch")
    assert not one.diff(one)
    two = fanin.plan(small(), recipe="torch", overrides={"0.weight": Normal(std=0.3)})
    found = one.diff(two)
    assert {d.name for d in found.differences} == {"0.weight"}
    assert {d.field for d in found.differences} == {"initializer", "std"}
    assert "0.weight" in str(found)
    assert json.dumps(found.to_dict())
    assert [d.field for d in one.diff(fanin.plan(small(), recipe="torch", seed=1)).differences] == ["seed"]
    larger = fanin.plan(nn.Sequential(*small(), nn.Linear(4, 2)), recipe="torch")
    assert {(d.name, d.left) for d in one.diff(larger).differences} == {("4.weight", None), ("4.bias", None)}


def test_only_uninitialised_plans_what_is_empty_and_keeps_the_rest():
    model = small()
    with torch.no_grad():
        model[3].weight[2, 3] = float("nan")
    plan = fanin.plan(model, recipe="torch", only_uninitialised=True, missing=["0.b*"])
    assert plan.extras["uninitialised"] == {"0.bias": "named as missing", "3.weight": "holds NaN"}
    assert {n for n, a in plan.items() if a.action == "draw"} == {"0.bias", "3.weight"}
    kept = model[0].weight.clone()
    plan.apply_(model)
    assert torch.equal(kept, model[0].weight)
    assert not model[3].weight.isnan().any()
    with pytest.raises(PlanError, match="matches no parameter"):
        fanin.plan(model, recipe="torch", missing=["tail.*"])


def test_bounds_that_cut_nothing_and_symmetric_units_are_said():
    absolute = TruncatedNormal(std=0.02, lower=-2, upper=2, bounds="absolute")
    plan = fanin.plan(small(), recipe="torch", overrides={"0.weight": absolute, "3.weight": "ones"})
    assert "never apply" in plan["0.weight"].warnings[0]
    assert "identical" in plan["3.weight"].warnings[0]


def test_the_table_is_at_most_100_columns_and_groups_blocks():
    blocks = nn.ModuleDict({"a_rather_long_name_of_a_module": nn.ModuleList(small() for _ in range(12))})
    text = str(fanin.plan(blocks, recipe="torch"))
    assert max(map(len, text.splitlines())) <= 100
    assert "{0..11}" in text
    reasons = text.count("torch.nn")
    assert reasons == len(small().state_dict())  # one row for the twelve of a kind, with its reason once


def test_names_that_act_on_a_terminal_are_shown_as_text():
    model = nn.Module()
    model.add_module("\x1b[31mred", nn.Linear(2, 2))
    plan = fanin.plan(model, recipe="torch")
    name = next(iter(plan))
    assert "\x1b" not in str(plan) + plan.explain(name)


def test_a_lazy_module_is_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns once per process that lazy modules are new
        model = nn.LazyLinear(3)
    with pytest.raises(PlanError, match="no shape yet"):
        fanin.plan(model, recipe="torch")


class Tied(nn.Module):
    """A table that is also the output layer, with padding; a gate, a norm, a weight that is computed."""

    def __init__(self):
        super().__init__()
        self.table, self.norm = nn.Embedding(12, 16, padding_idx=0), nn.LayerNorm(16)
        self.up, self.down = nn.Linear(16, 64), nn.utils.parametrizations.weight_norm(nn.Linear(32, 16))

    def forward(self, ids):
        h = self.table(ids)
        a, b = self.up(self.norm(h)).chunk(2, -1)
        return (h + self.down(torch.sigmoid(a) * b)) @ self.table.weight.t()


@pytest.mark.parametrize(
    ("build", "x", "globs"),
    [
        (small, torch.randn(32, 8), ("0.*", "3.weight", "1.bias")),
        (Tied, torch.randint(0, 12, (8, 5)), ("table.weight", "up.*", "down.bias", "down.weight", "norm.*")),
    ],
)
def test_overrides_of_a_plan_that_is_made_give_the_plan_that_is_made_with_them(build, x, globs):
    torch.manual_seed(0)
    model = build()
    made, live = plan_and_live(model, x, recipe="auto", seed=3)
    laws = (None, Normal(std=0.3), Zeros())
    for overrides in ({g: law} for g in globs for law in laws):
        other = with_overrides(made, live, overrides)
        assert other == fanin.plan(model, x, seed=3, overrides=overrides)
        assert other != made
    before, live = plan_and_live(model, x, recipe="auto", seed=3, overrides={globs[0]: None})
    both = {globs[1]: Normal(std=0.3), globs[0]: None}
    assert with_overrides(before, live, both) == fanin.plan(model, x, seed=3, overrides=both)
