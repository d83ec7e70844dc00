"""What `fanin.calibrate` takes, gives and says."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import fanin
from fanin.errors import ArgumentError, PlanError
from tests.calibration.helpers import batch, close, mlp, rms


def net(depth=4):
    return mlp(depth=depth), batch(256, 64)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"target": "one"}, "target must be 'plan', 'unit', a number above 0"),
        ({"target": 0.0}, "target must be"),
        ({"target": {}}, "target must be"),
        ({"target": {"*": -1.0}}, "target must be"),
        ({"statistic": "median"}, "statistic must be 'robust' or 'rms'; got 'median'"),
        ({"tolerance": -1.0}, "tolerance counts standard errors"),
        ({"tolerance": math.nan}, "tolerance counts standard errors"),
        ({"passes": 0}, "passes must be 'auto' or a whole number"),
        ({"plan": "p.json"}, "plan must be a plan"),
    ],
)
def test_an_argument_that_cannot_be_used_is_named(settings, words):
    model, x = net()
    with pytest.raises(ArgumentError, match=words):
        fanin.calibrate(model, x, **settings)


def test_a_glob_that_matches_nothing_and_a_plan_of_another_model_are_refused():
    model, x = net()
    for settings in ({"only": ["fc*"]}, {"target": {"fc*": 1.0}}):
        with pytest.raises(PlanError, match=r"the pattern 'fc\*' matches no parameter"):
            fanin.calibrate(model, x, **settings)
    other = fanin.plan(mlp(depth=3), x)
    with pytest.raises(PlanError, match="does not fit the model"):
        fanin.calibrate(model, x, other)


def test_no_inputs_or_no_batches_are_refused():
    model, _ = net()
    with pytest.raises(ArgumentError, match="inputs is missing"):
        fanin.calibrate(model, None)
    with pytest.raises(ArgumentError, match="gave no batch"):
        fanin.calibrate(model, iter([]))
    with pytest.raises(ArgumentError, match="cannot be joined"):
        fanin.calibrate(model, iter([batch(4, 64), batch(4, 32)]))


def test_only_corrects_what_it_names_and_measures_the_rest():
    model, x = net()
    found = fanin.calibrate(model, x, only="2.*")
    assert found.changed == ("2.weight",)
    assert {r.status for r in found.rows if r.parameter != "2.weight"} == {"not asked"}
    assert all(r.before for r in found.rows)


@pytest.mark.parametrize("target", ["unit", 0.5])
def test_one_size_everywhere(target):
    model, x = net()
    fanin.calibrate(model, x, target=target, tolerance=0.0, statistic="rms")
    wanted = 1.0 if target == "unit" else target
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, nn.Linear):
                assert close(rms(x @ layer.weight.T), wanted)
            x = layer(x)


@pytest.mark.parametrize("settings", [{"recipe": "torch"}, {"overrides": {"0.weight": "he_normal"}}])
def test_a_plan_that_follows_no_signal_gets_its_predictions_from_its_laws(settings):
    model, x = net()
    plan = fanin.plan(model, x, **settings)
    assert any(not a.predicted_rms for a in plan.values() if a.role == "weight")
    plan.apply_(model)
    found = fanin.calibrate(model, x, plan)
    assert {r.status for r in found.rows} == {"in tolerance"}
    assert max(abs(r.z) for r in found.rows) < 3.0


def test_sizes_by_name_also_where_a_norm_reads_the_output():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(32, 32), nn.LayerNorm(32), nn.Linear(32, 4)), batch(64, 32)
    found = fanin.calibrate(model, x, target={"0.weight": 2.0}, tolerance=0.0, statistic="rms")
    assert found.changed == ("0.weight",)
    assert close(rms(x @ model[0].weight.T), 2.0)


def test_targets_that_a_loader_gives_are_left_out():
    x = batch(256, 64)
    pairs = DataLoader(TensorDataset(x, torch.zeros(256)), batch_size=64)
    one, two = (net()[0] for _ in range(2))
    fanin.calibrate(one, pairs)
    fanin.calibrate(two, x)
    assert torch.equal(one[0].weight, two[0].weight)


def test_a_list_that_may_be_inputs_or_inputs_and_targets_is_refused():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Linear(8, 4)

        def forward(self, x, mask=None):
            return self.map(x if mask is None else x * mask)

    pairs = DataLoader(TensorDataset(batch(16, 8), torch.zeros(16)), batch_size=8)
    with pytest.raises(ArgumentError, match=r"lists of 2, and forward takes 1 to 2"):
        fanin.calibrate(Masked(), pairs)
    assert fanin.calibrate(Masked(), (tuple(pair[:1]) for pair in pairs)).rows


def test_an_output_next_to_zero_is_not_called_zero():
    model, x = net()
    with torch.no_grad():
        model[0].weight.mul_(1e-30)
    first = fanin.calibrate(model, x).rows[0]
    assert first.status == "constant"
    assert "below 1e-12 of what it reads" in first.reason
    with torch.no_grad():
        model[0].weight.zero_()
    assert fanin.calibrate(model, x).rows[0].reason == "its output is zero, and no factor changes that"


def test_inputs_of_zeros_say_nothing():
    with pytest.raises(ArgumentError, match="all inputs are zero"):
        fanin.calibrate(net()[0], torch.zeros(16, 64))


def test_weights_in_the_same_memory_stay():
    class Two(nn.Module):
        def __init__(self, first, second):
            super().__init__()
            self.first, self.second = nn.Parameter(first), nn.Parameter(second)

        def forward(self, x):
            return x @ self.first.T + x @ self.second.T

    memory = torch.randn(24, 32, generator=torch.Generator().manual_seed(0))
    apart = Two(memory[:, :16], memory[:, 16:])  # in one storage, element by element apart
    assert set(fanin.calibrate(apart, batch(64, 16), tolerance=0.0).changed) == {"first", "second"}
    met = Two(memory[:16, :16], memory[8:, :16])
    found = fanin.calibrate(met, batch(64, 16), tolerance=0.0)
    assert not found.changed
    assert {(r.parameter, r.status) for r in found.rows} == {("first", "not followed"), ("second", "not followed")}
    assert "shares memory with second" in found.rows[0].reason


def test_what_comes_after_a_spectral_norm_has_a_target():
    torch.manual_seed(0)
    normed = nn.utils.parametrizations.spectral_norm(nn.Linear(64, 64))
    model = nn.Sequential(normed, nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    found = fanin.calibrate(model, batch(128, 64), tolerance=0.0)
    assert [r.status for r in found.rows] == ["parametrized", "corrected", "corrected"]
    assert all(close(r.after, r.target) for r in found.rows[1:])


def test_batches_of_a_loader_are_joined():
    x = batch(256, 64)
    one, two, three = (net()[0] for _ in range(3))
    fanin.calibrate(one, DataLoader(x, batch_size=64))
    fanin.calibrate(two, x)
    fanin.calibrate(three, iter(x.split(64)), passes=1)
    assert torch.equal(one[0].weight, two[0].weight)
    assert not torch.equal(three[0].weight, two[0].weight)


def test_a_healthy_start_is_ok_and_a_repaired_one_is_not():
    model, x = net()
    first, second = fanin.calibrate(model, x), fanin.calibrate(model, x)
    assert (first.ok, second.ok) == (False, True)
    assert first.coverage == second.coverage == 1.0
    frozen, x = net()
    frozen.requires_grad_(False)
    stuck = fanin.calibrate(frozen, x, target="unit")
    assert not stuck.ok
    assert stuck.coverage == 0.0
    assert not stuck.changed


def test_a_factor_beyond_the_limit_is_clipped_and_told():
    model, x = net()
    with torch.no_grad():
        model[0].weight.mul_(1e-4)
    found = fanin.calibrate(model, x)
    row = found.rows[0]
    assert (row.status, row.factor) == ("clipped", 100.0)
    assert any(w.startswith("0.weight: a factor of") for w in found.warnings)


def test_weights_that_an_auto_plan_drew_are_clipped_at_four_and_the_assumption_is_named():
    model, x = net()
    plan = fanin.init_(model, x)
    row = fanin.calibrate(model, 10.0 * x, plan).rows[0]
    assert (row.status, row.factor) == ("clipped", 0.25)
    assert "an assumption of the plan fails here: weights are independent" in row.reason


def test_channels_that_are_zero_are_left_out_where_they_are_half_or_more():
    model, x = net()
    with torch.no_grad():
        model[0].weight[:48] = 0.0
    found = fanin.calibrate(model, x, target="unit", tolerance=0.0, statistic="rms")
    assert close(rms((x @ model[0].weight.T)[:, 48:]), 1.0)
    assert "75 % of its channels are zero; measured on the others" in found.rows[0].reason


def test_the_report_is_data_and_a_file(tmp_path):
    model, x = net()
    found = fanin.calibrate(model, x)
    found.save(tmp_path / "c.json")
    data = json.loads((tmp_path / "c.json").read_text())
    assert data == json.loads(json.dumps(found.to_dict()))
    assert data["schema"] == "fanin-calibration/1"
    assert [r["parameter"] for r in data["rows"]] == [r.parameter for r in found.rows]
    assert data["rows"][0]["samples"] == 256


def test_the_table_fits_eighty_columns_and_names_are_harmless(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    model = nn.Sequential()
    model.add_module("a\x1b[31mvery_long_name_of_a_layer_that_goes_on_and_on", nn.Linear(64, 64))
    fanin.calibrate(model, batch(64, 64)).show()
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "corrected" in shown


def test_rows_of_equal_blocks_are_one_line():
    found = fanin.calibrate(mlp(depth=6), batch(256, 64), only="0.*")
    assert str(found).count("not asked") >= 1
    assert "factor" in str(found)


def test_a_large_healthy_model_is_told_in_a_few_lines():
    model, x = mlp(depth=30), batch(256, 64)
    fanin.init_(model, x)
    text = str(fanin.calibrate(model, x))
    assert "not shown: 30 in tolerance" in text
    assert len(text.splitlines()) < 8
    with torch.no_grad():
        model[10].weight.mul_(5.0)
    text = str(fanin.calibrate(model, x))
    assert "10.weight" in text
    assert "not shown: 29 in tolerance" in text


def test_explain_says_what_was_measured():
    model, x = net()
    text = fanin.calibrate(model, x).plan.explain("0.weight")
    assert "times this: measured 0.5" in text
    assert "on 256 samples, target 1" in text
    assert ") x 1." in text
