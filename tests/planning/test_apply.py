"""Writing plans: all or nothing, parametrizations, ties, dtypes, meta."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import fanin
from fanin.errors import FillError, PlanError
from fanin.initializers import Normal, Orthogonal


def state(model):
    return {k: v.clone() for k, v in (*model.named_parameters(), *model.named_buffers())}


def assert_same(model, before):
    for name, value in state(model).items():
        if not torch.equal(before[name], value):
            raise AssertionError(f"{name} changed")


def stack():
    return nn.Sequential(*(nn.Linear(8, 8) for _ in range(5)))


def test_the_helper_that_compares_can_fail():
    model = stack()
    before = state(model)
    with torch.no_grad():
        model[0].weight[0, 0] += 1e-6
    with pytest.raises(AssertionError, match=r"0\.weight changed"):
        assert_same(model, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_apply_writes_what_the_plan_says_in_any_dtype(dtype):
    model = stack().to(dtype)
    plan = fanin.init_(model, recipe="torch", seed=5)
    report = plan.verify(model)
    assert report.ok
    assert len(report.bits) == 10
    assert torch.equal(model[0].weight, fanin.plan(model, recipe="torch", seed=5).apply_(stack().to(dtype))[0].weight)


def test_bfloat16_is_the_rounded_float32():
    one, two = stack(), stack().bfloat16()
    fanin.init_(one, recipe="torch")
    fanin.init_(two, recipe="torch")
    assert torch.equal(one[1].weight.bfloat16(), two[1].weight)


class Boom(Exception):
    pass


@pytest.mark.parametrize("error", [Boom, KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("at", [0, 3, 9])
def test_an_exception_while_writing_leaves_every_bit(monkeypatch, error, at):
    model = stack()
    before = state(model)
    plan = fanin.plan(model, recipe="torch", overrides={"*.weight": Normal(std=1.0), "*.bias": Normal(std=1.0)})
    seen = []
    real = Normal.fill_

    def fill(self, tensor, **keywords):
        seen.append(1)
        if len(seen) == at + 1:
            tensor.view(-1)[:3] = 7.0  # half written
            raise error("cut off")
        return real(self, tensor, **keywords)

    monkeypatch.setattr(Normal, "fill_", fill)
    if error is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt, match="cut off"):
            plan.apply_(model)
    else:
        with pytest.raises(FillError, match="bit for bit as it was"):
            plan.apply_(model)
    assert_same(model, before)


def test_copies_that_do_not_fit_into_memory_are_not_kept_and_that_is_said_first(monkeypatch):
    model, other = nn.Linear(40, 50), nn.Linear(40, 50)
    needed = sum(p.numel() * p.element_size() for p in model.parameters())
    plan = fanin.plan(model, recipe="torch")
    plan.apply_(other)
    monkeypatch.setattr("fanin.planning.apply.free_bytes", lambda: needed - 1.0)
    with pytest.warns(fanin.errors.FaninWarning, match="none are kept"):
        plan.apply_(model)
    assert torch.equal(model.weight, other.weight)
    monkeypatch.setattr("fanin.planning.apply.free_bytes", lambda: float(needed))
    plan.apply_(model)  # no warning, which would be an error here
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # another process copies as much
    with pytest.warns(fanin.errors.FaninWarning, match="none are kept"):
        plan.apply_(model)
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    monkeypatch.setattr("fanin.planning.apply.free_bytes", lambda: 0.0)
    plan.apply_(model, rollback=False)  # it was asked for
    with torch.device("meta"):
        fresh = nn.Linear(40, 50)
    plan.materialize(fresh)  # nothing is copied that was just allocated
    normed = parametrizations.weight_norm(nn.Linear(40, 50))
    with pytest.warns(fanin.errors.FaninWarning, match="none are kept"):
        fanin.plan(normed, recipe="torch").apply_(normed)


def test_without_rollback_the_error_names_what_was_written(monkeypatch):
    model = stack()
    plan = fanin.plan(model, recipe="torch", overrides={"2.weight": Normal(std=1.0)})

    def fill(self, tensor, **keywords):
        raise Boom("no")

    monkeypatch.setattr(Normal, "fill_", fill)
    with pytest.raises(FillError, match=r"0\.weight, 0\.bias, 1\.weight, 1\.bias, 2\.weight"):
        plan.apply_(model, rollback=False)


def test_a_plan_that_does_not_fit_writes_nothing():
    plan = fanin.plan(stack(), recipe="torch")
    model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(4)), nn.Linear(8, 9), nn.Linear(9, 1))
    before = state(model)
    with pytest.raises(PlanError, match=r"4\.weight: shape \(9, 8\) in the model, \(8, 8\) in the plan"):
        plan.apply_(model)
    with pytest.raises(PlanError, match=r"5\.weight: the model has it, the plan does not"):
        plan.apply_(model)
    assert_same(model, before)


def test_an_empty_shard_says_what_it_may_be():
    plan = fanin.plan(nn.Linear(4, 4), recipe="torch")
    model = nn.Linear(4, 4)
    model.weight.data = torch.empty(0)
    with pytest.raises(PlanError, match="ZeRO-3"):
        plan.apply_(model)


def test_ties_are_one_parameter_with_one_key():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb, self.head = nn.Embedding(11, 6), nn.Linear(6, 11, bias=False)
            self.head.weight = self.emb.weight

    model = Tied()
    plan = fanin.init_(model, recipe="torch")
    assert list(plan) == ["emb.weight"]
    assert plan["head.weight"] is plan["emb.weight"]
    assert model.head.weight is model.emb.weight
    loose = Tied()
    loose.head.weight = nn.Parameter(torch.zeros(11, 6))
    with pytest.raises(PlanError, match="head"):
        plan.apply_(loose)


def test_parameters_in_the_same_memory_are_refused():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    plan = fanin.plan(model, recipe="torch")
    model[1].weight.data = model[0].weight.data
    with pytest.raises(PlanError, match="same memory"):
        plan.apply_(model)


def test_expanded_parameters_are_refused():
    model = nn.Linear(4, 4, bias=False)
    plan = fanin.plan(model, recipe="torch")
    model.weight.data = torch.zeros(1, 4).expand(4, 4)
    with pytest.raises(PlanError, match="expanded or overlapping view"):
        plan.apply_(model)


def test_weight_norm_gets_direction_and_magnitude():
    model = parametrizations.weight_norm(nn.Linear(16, 32))
    plan = fanin.init_(model, recipe="torch", overrides={"*original1": Normal(std=0.5)})
    plain = Normal(std=0.5).sample((32, 16), key=fanin.key(0, "weight"))
    assert torch.allclose(model.weight, torch.from_numpy(plain), rtol=1e-5)
    assert plan["parametrizations.weight.original0"].action == "derive"
    assert plan.verify(model).ok
    with torch.no_grad():
        model.parametrizations.weight.original0.mul_(2.0)
    assert not plan.verify(model).ok


def test_the_older_weight_norm_hook_too():
    with pytest.warns(FutureWarning, match="weight_norm"):
        model = nn.utils.weight_norm(nn.Linear(16, 32))
    plan = fanin.init_(model, recipe="torch", overrides={"weight_v": Normal(std=0.5)})
    plain = torch.from_numpy(Normal(std=0.5).sample((32, 16), key=fanin.key(0, "weight")))
    assert torch.allclose(model(torch.eye(16)) - model.bias, plain.T, rtol=1e-4, atol=1e-6)
    assert plan.verify(model).ok


def test_spectral_norm_is_written_and_the_reader_is_told():
    model = parametrizations.spectral_norm(nn.Linear(16, 16))
    plan = fanin.init_(model, recipe="torch")
    assert any("largest singular value" in w for w in plan["parametrizations.weight.original"].warnings)
    assert plan.verify(model).ok


def test_a_parametrization_without_inverse_is_refused_and_everything_restored():
    class Square(nn.Module):
        def forward(self, x):
            return x * x

    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    parametrize.register_parametrization(model[1], "weight", Square())
    before = state(model)
    plan = fanin.plan(model, recipe="torch")
    with pytest.raises((FillError, PlanError), match="right_inverse"):
        plan.apply_(model)
    assert_same(model, before)


def test_the_parameters_stay_the_same_objects():
    model = stack()
    ids = [id(p) for p in model.parameters()]
    fanin.init_(model, recipe="torch")
    assert [id(p) for p in model.parameters()] == ids


def test_meta_is_refused_by_apply_and_filled_by_materialize():
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.ReLU())
    plan = fanin.plan(model, recipe="torch")
    with pytest.raises(PlanError, match="materialize"):
        plan.apply_(model)
    done = plan.materialize(model)
    assert set(done.buffers) == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert torch.equal(model[1].running_var, torch.ones(4))
    assert plan.verify(model).ok
    twin = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.ReLU())
    plan.apply_(twin)
    assert torch.equal(twin[0].weight, model[0].weight)


def test_materialize_keeps_ties_and_says_which_buffers_it_cannot_know():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
            self.b.weight = self.a.weight
            self.register_buffer("table", torch.arange(3.0))

    with torch.device("meta"):
        model = Odd()
    plan = fanin.plan(model, recipe="torch")
    with pytest.raises(PlanError, match="table: Odd cannot be built again"):
        plan.materialize(model)
    assert model.a.weight.device.type == "meta"
    plan.materialize(model, buffers={"table": torch.arange(3.0)})
    assert model.b.weight is model.a.weight
    assert plan.verify(model).ok


def test_materialize_that_fails_leaves_the_model_on_meta(monkeypatch):
    with torch.device("meta"):
        model = nn.Linear(4, 4)
    plan = fanin.plan(model, recipe="torch", overrides={"weight": Normal(std=1.0)})
    monkeypatch.setattr(Normal, "fill_", lambda self, tensor, **k: (_ for _ in ()).throw(Boom("disk")))
    with pytest.raises(FillError, match="disk"):
        plan.materialize(model)
    assert model.weight.device.type == "meta"


def test_verify_has_power():
    model = nn.Linear(256, 512)
    plan = fanin.plan(model, recipe="torch", overrides={"weight": Normal(std=0.1)})
    plan.apply_(model)
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(Normal(std=0.1).sample((512, 256), key=fanin.key(9, "weight"))))
    assert plan.verify(model).law == ("weight",)
    with torch.no_grad():
        model.weight.mul_(1.03)
    assert [m.quantity for m in plan.verify(model).mismatches] == ["variance"]
    with torch.no_grad():
        model.weight.div_(1.03).add_(0.003)
    assert [m.quantity for m in plan.verify(model).mismatches] == ["mean"]
    with pytest.raises(PlanError, match="1 departure from"):
        plan.verify(model).raise_for_mismatches()


def test_verify_sees_bounds_and_orthogonality():
    model = nn.Linear(64, 64, bias=False)
    plan = fanin.init_(model, recipe="torch", overrides={"weight": Orthogonal()})
    assert plan.verify(model).ok
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(Normal(std=0.125).sample((64, 64), key=fanin.key(1, "w"))))
    assert "orthogonality" in [m.quantity for m in plan.verify(model).mismatches]
    uniform = fanin.init_(model, recipe="torch")
    with torch.no_grad():
        model.weight[0, 0] = 0.2
    assert [m.quantity for m in uniform.verify(model).mismatches] == ["bound"]
