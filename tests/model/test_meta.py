"""Models built without memory: buffers that are kept, methods that reset them, attributes, and poison."""

import threading

import pytest
import torch
from torch import nn

import fanin
from fanin.errors import FillError, PlanError
from fanin.initializers import Normal


class Rotary(nn.Module):
    """A buffer that only its constructor computes."""

    def __init__(self, width=8):
        super().__init__()
        self.map = nn.Linear(width, width)
        self.register_buffer("inv_freq", 1 / 100 ** (torch.arange(0, width, 2) / width), persistent=False)
        self.register_buffer("low", torch.ones(2, dtype=torch.bfloat16))

    def forward(self, x):
        return self.map(x) * self.inv_freq.repeat(2)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight
        self.embed.weight.tag = "mine"
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        self.empty = nn.LazyLinear(2)


@pytest.mark.parametrize("outer", [True, False])
def test_buffers_keep_value_and_dtype_and_parameters_have_no_memory(outer):
    with torch.device("meta" if outer else "cpu"), fanin.keep_buffers():
        model = Rotary()
    real = Rotary()
    assert all(p.is_meta for p in model.parameters())
    assert torch.equal(model.inv_freq, real.inv_freq)
    assert model.low.dtype == torch.bfloat16
    plan = fanin.plan(model, torch.zeros(2, 8), recipe="torch", seed=1)
    plan.materialize(model)
    plan.apply_(real)
    x = torch.randn(3, 8)
    assert torch.equal(model(x), real(x))
    with torch.device("meta"):
        lost = Rotary()
    with pytest.raises(PlanError, match="inv_freq"):  # without the context the values are lost
        fanin.plan(lost, torch.zeros(2, 8, device="meta"), recipe="torch").materialize(lost)


def test_ties_attributes_and_flags_survive():
    with fanin.keep_buffers():
        model = Tied()
    assert model.head.weight is model.embed.weight
    assert model.embed.weight.tag == "mine"
    assert model.frozen.is_meta
    assert not model.frozen.requires_grad


class OneUnderTwoNames(nn.Module):
    def __init__(self):
        super().__init__()
        own, weight = nn.Parameter(torch.randn(3)), nn.Parameter(torch.randn(4, 4))
        self.a, self.b, self.listed = own, own, nn.ParameterList([own, own])
        self.one, self.two = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.one.weight, self.two.weight = weight, weight


def test_a_parameter_that_is_registered_twice_stays_one():
    with fanin.keep_buffers():
        model = OneUnderTwoNames()
    assert model.a is model.b is model.listed[0] is model.listed[1]
    assert model.one.weight is model.two.weight
    assert len(list(model.parameters())) == len(list(OneUnderTwoNames().parameters())) == 2


def test_the_context_ends_also_after_an_exception():
    with pytest.raises(ZeroDivisionError), fanin.keep_buffers():
        raise ZeroDivisionError
    assert not nn.Linear(2, 2).weight.is_meta
    assert torch.empty(2).device.type == "cpu"
    made = []
    thread = threading.Thread(target=lambda: made.append(nn.Linear(2, 2)))
    thread.start()
    thread.join()
    assert not made[0].weight.is_meta


# ---------------------------------------------------------------------- the module's own method, plain attributes
class Resets(nn.Module):
    def __init__(self):
        super().__init__()
        self.map = nn.Linear(4, 4)
        self.register_buffer("table", torch.empty(4))
        self.frequencies = torch.arange(4.0)
        self.reset_parameters()

    def reset_parameters(self):
        self.table.copy_(torch.arange(4.0) / 3)
        self.frequencies = torch.arange(4.0)

    def forward(self, x):
        return self.map(x) * self.table * self.frequencies


class ResetsAtRandom(Resets):
    def reset_parameters(self):
        self.table.normal_()


class ResetsNothing(Resets):
    def reset_parameters(self):
        self.map.reset_parameters()


class Raises(Resets):
    calls = 0

    def reset_parameters(self):
        Raises.calls += 1
        if Raises.calls > 2:  # the two models of a test
            raise OSError("no table here")


def planned(kind):
    real = kind()
    with torch.device("meta"):
        model = kind()
    return real, model, fanin.plan(model, torch.zeros(2, 4, device="meta"), overrides={"*": Normal(std=0.3)})


def test_a_copy_is_reset_by_its_own_method():
    real, model, plan = planned(Resets)
    generator = torch.random.get_rng_state()
    done = plan.materialize(model)
    assert torch.equal(torch.random.get_rng_state(), generator)
    assert "reset_parameters() on a copy" in done.buffers["table"]
    plan.apply_(real)
    x = torch.randn(2, 4)
    assert torch.equal(model(x), real(x))


@pytest.mark.parametrize("kind", [ResetsAtRandom, ResetsNothing, Raises])
def test_what_no_method_tells_is_named_and_nothing_changes(kind):
    Raises.calls = 0
    _, model, plan = planned(kind)
    with pytest.raises(PlanError, match="frequencies: a plain attribute") as caught:
        plan.materialize(model)
    assert "table" in str(caught.value)
    assert all(t.is_meta for t in (*model.parameters(), model.table, model.frequencies))
    plan.materialize(model, buffers={"table": torch.ones(4), "frequencies": torch.ones(4)})
    assert not any(t.is_meta for t in (*model.parameters(), model.table, model.frequencies))


class Own(nn.Module):
    """A module that keeps its config, beside a table that conversion does not change."""

    def __init__(self, config):
        super().__init__()
        self.config, self.map = config, nn.Linear(config, config)
        self.register_buffer("ids", torch.arange(config))


class Inner(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.map = nn.Linear(config, config)
        self.register_buffer("ids", torch.arange(config) + 1)


class Outer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config, self.inner = config, Inner(config)


@pytest.mark.parametrize("kind", [Own, Outer])
def test_a_converted_model_knows_its_integer_tables_from_its_config(kind):
    with torch.device("meta"):
        model = kind(4).to(torch.bfloat16)
    fanin.plan(model, overrides={"*": Normal(std=0.3)}, recipe="torch").materialize(model)
    (found,) = model.buffers()
    (real,) = kind(4).buffers()
    assert torch.equal(found, real)


# ---------------------------------------------------------------------- poison
def test_poison_shows_what_nobody_wrote():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    names = fanin.poison_(model)
    assert names == ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var")
    assert all(t.isnan().all() for n, t in model.state_dict().items() if n in names)
    assert int(model[1].num_batches_tracked) == 0
    plan = fanin.plan(model, recipe="torch", only_uninitialised=True)
    assert {a.action for a in plan.values()} == {"draw"}
    assert not fanin.plan(model, recipe="torch").verify(model).ok


def test_poison_can_leave_buffers_and_refuses_meta_whole():
    model = nn.BatchNorm1d(4)
    assert fanin.poison_(model, buffers=False) == ("weight", "bias")
    assert torch.equal(model.running_var, torch.ones(4))
    half = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, device="meta"))
    with pytest.raises(FillError, match=r"1\.weight is on the meta device"):
        fanin.poison_(half)
    assert half[0].weight.isfinite().all()


# ---------------------------------------------------------------------- what a load has left
def test_what_load_state_dict_gave_says_what_is_missing():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    saved = {n: t for n, t in model.state_dict().items() if not n.startswith("2.") and n != "1.running_var"}
    found = model.load_state_dict(saved, strict=False)
    plan = fanin.plan(model, recipe="torch", missing=found)
    assert {n for n, a in plan.items() if a.action == "draw"} == {"2.weight", "2.bias"}
    nothing = fanin.plan(model, recipe="torch", missing=model.load_state_dict(model.state_dict()))
    assert {a.action for a in nothing.values()} == {"keep"}


def test_loading_info_says_what_is_missing_and_what_had_another_shape():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2))
    info = {"missing_keys": {"2.weight"}, "unexpected_keys": {"x"}, "mismatched_keys": {("1.bias", (3,), (4,))}}
    plan = fanin.plan(model, recipe="torch", missing=info)
    assert {n for n, a in plan.items() if a.action == "draw"} == {"2.weight", "1.bias"}


def test_marks_of_transformers_say_what_was_not_loaded():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    plain = fanin.plan(model, recipe="torch", only_uninitialised=True)
    assert {a.action for a in plain.values()} == {"keep"}  # without a mark nothing is known
    for p in model[0].parameters():
        p._is_hf_initialized = True
    plan = fanin.plan(model, recipe="torch", only_uninitialised=True)
    assert {n for n, a in plan.items() if a.action == "draw"} == {"1.weight", "1.bias"}


def test_one_text_is_not_a_list_of_names():
    with pytest.raises(fanin.errors.ArgumentError, match=r"missing=\['0.weight'\]"):
        fanin.plan(nn.Sequential(nn.Linear(2, 2)), recipe="torch", missing="0.weight")
