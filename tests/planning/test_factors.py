"""Factors in a plan: drawn, verified, compared, explained, stored, and read from the schema that had none."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch import nn

import fanin
from fanin.errors import PlanError
from fanin.planning.assignment import PartFactor


def net(dtype=torch.float32):
    return nn.Sequential(nn.Linear(48, 64), nn.ReLU(), nn.Linear(64, 10)).to(dtype)


def changed(plan, name, **fields):
    made = dataclasses.replace(plan[name], **fields)
    return dataclasses.replace(plan, assignments={**plan.assignments, name: made})


PARTS = (
    PartFactor(name="top", box=((0, 16), (0, 48)), factor=2.0),
    PartFactor(name="corner", box=((32, 64), (8, 20)), factor=0.5),
)


def scaled(plan):
    plan = changed(plan, "0.weight", factor=0.75, part_factors=PARTS)
    return changed(plan, "0.weight", std=plan["0.weight"].std * plan["0.weight"].scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("law", ["he_normal", "orthogonal", "he_uniform"])
def test_a_drawn_tensor_is_the_law_times_the_factors_rounded_once(dtype, law):
    model, wide = net(dtype), net(torch.float64 if dtype is torch.float64 else torch.float32)
    plan = fanin.plan(model, torch.randn(8, 48).to(dtype), overrides={"0.weight": law})
    fanin.plan(wide, torch.randn(8, 48).to(wide[0].weight.dtype), overrides={"0.weight": law}).apply_(wide)
    scaled(plan).apply_(model)
    want = wide[0].weight.detach().clone() * 0.75
    want[:16] *= 2.0
    want[32:, 8:20] *= 0.5
    assert torch.equal(model[0].weight.detach(), want.to(dtype))


def test_verify_wants_the_factors_bit_for_bit_and_by_law():
    model, x = net(), torch.randn(8, 48)
    plan = fanin.plan(model, x)
    plan.apply_(model)
    assert not scaled(plan).verify(model).ok
    scaled(plan).apply_(model)
    assert scaled(plan).verify(model, bits=True).ok
    assert not plan.verify(model, bits=True).ok
    assert not changed(scaled(plan), "0.weight", factor=1.0).verify(model).ok
    other = dataclasses.replace(scaled(plan), seed=5)
    assert other.verify(model).ok, "another draw of the same law, times the same factors"


def test_a_meta_model_gets_the_same_bits():
    model, x = net(), torch.randn(8, 48)
    plan = scaled(fanin.plan(model, x))
    plan.apply_(model)
    with torch.device("meta"):
        fresh = net()
    plan.materialize(fresh)
    assert torch.equal(fresh[0].weight, model[0].weight)


def test_padding_rows_stay_zero():
    model = nn.Sequential(nn.Embedding(10, 8, padding_idx=0), nn.Linear(8, 2))
    plan = changed(fanin.plan(model, torch.zeros(2, 3, dtype=torch.long)), "0.weight", factor=3.0)
    plan.apply_(model)
    assert not model[0].weight[0].any()
    assert model[0].weight[1:].any()


def test_two_plans_that_differ_in_a_factor_differ():
    plan = fanin.plan(net(), torch.randn(8, 48))
    difference = plan.diff(changed(plan, "0.weight", factor=0.5))
    assert [(d.name, d.field, d.left, d.right) for d in difference.differences] == [("0.weight", "factor", 1.0, 0.5)]
    assert [d.field for d in plan.diff(changed(plan, "0.weight", part_factors=PARTS)).differences] == ["part_factors"]


def test_explain_and_the_table_show_factors():
    plan = scaled(fanin.plan(net(), torch.randn(8, 48)))
    assert " x 0.75 (top x 2, corner x 0.5)" in plan.explain("0.weight")
    assert f"× {plan['0.weight'].scale:.3g}" in str(plan)


def test_predictions_of_moments_know_the_factors():
    from fanin.graph.recording.capture import capture
    from fanin.moments import propagate

    model, x = net(), torch.randn(64, 48)
    plan = fanin.plan(model, x)
    graph = capture(model, x)
    first = next(op for op in graph.ops if op.name == "linear").output
    one, two = (propagate(graph, p)[first].moments.rms for p in (plan, changed(plan, "0.weight", factor=0.5)))
    assert two == pytest.approx(one / 2)


def test_factors_come_back_from_a_file(tmp_path):
    plan = scaled(fanin.plan(net(), torch.randn(8, 48)))
    plan.save(tmp_path / "p.json")
    assert fanin.Plan.load(tmp_path / "p.json") == plan


def test_the_first_schema_is_read():
    plan = fanin.plan(net(), torch.randn(8, 48))
    old = plan.to_dict() | {"schema": "fanin-plan/1"}
    for a in old["assignments"]:
        a.pop("predicted_se", None)
        assert "factor" not in a
    read = fanin.Plan.from_dict(copy.deepcopy(old))
    assert read["0.weight"].factor == 1.0
    assert read["0.weight"].predicted_se == ()
    model = net()
    read.apply_(model)
    assert plan.verify(model, bits=True).ok


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("factor", -1.0, "field 'factor' must not be negative"),
        ("factor", "x", "field 'factor' must be a finite number"),
        ("part_factors", [{"box": [[0, 99], [0, 48]], "factor": 1.0}], "a part with a factor lies outside it"),
        ("part_factors", [{"box": [[0, 9]], "factor": 1.0}], "a part with a factor lies outside it"),
        ("part_factors", [{"box": [[3, 2], [0, 48]], "factor": 1.0}], "field 'box' must hold"),
        ("part_factors", [{"box": [[0, 2], [0, 48]], "factor": -1.0}], "field 'factor' must not be negative"),
        ("part_factors", [{"factor": 1.0}], "needs"),
    ],
)
def test_a_file_with_a_factor_that_cannot_be_is_refused(field, value, words):
    data = fanin.plan(net(), torch.randn(8, 48)).to_dict()
    data["assignments"][0][field] = value
    with pytest.raises(PlanError, match=words):
        fanin.Plan.from_dict(data)


def test_a_shard_gets_its_part_of_the_scaled_tensor():
    from torch.distributed import destroy_process_group, init_process_group
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, empty
    from torch.testing._internal.distributed.fake_pg import FakeStore

    from fanin.planning.apply import drawn

    plan = scaled(fanin.plan(net(), torch.randn(8, 48)))
    whole = drawn(plan, plan["0.weight"], torch.empty(64, 48))
    init_process_group("fake", rank=1, world_size=3, store=FakeStore())
    try:
        mesh = init_device_mesh("cpu", (3,))
        shards = [empty(64, 48, device_mesh=mesh, placements=[Shard(axis)]) for axis in (0, 1)]
        got = [drawn(plan, plan["0.weight"], shard).to_local() for shard in shards]
    finally:
        destroy_process_group()
    for axis in (0, 1):
        assert torch.equal(got[axis], whole.chunk(3, axis)[1])
