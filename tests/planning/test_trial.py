"""The trial of a plan: no trace, sabotaged plans refused or repaired at their place, starts never worse than found."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import fanin
import fanin.planning.trial  # tests below change it
from fanin.errors import CaptureError, CoverageError, FaninWarning, PlanError, WorseStartError
from fanin.initializers import Normal
from fanin.planning.initialise import tried_plan
from fanin.planning.parting import Parting
from fanin.planning.trial_table import trial_text
from tests.selection import few


class Do(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def stack(function, depth=3, width=64, classes=10):
    layers = [layer for _ in range(depth) for layer in (nn.Linear(width, width), Do(function))]
    return nn.Sequential(*layers, nn.Linear(width, classes))


class Residual(nn.Module):
    def __init__(self, depth=4, width=32):
        super().__init__()
        self.entry = nn.Linear(16, width)
        blocks = [nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 64), nn.GELU()) for _ in range(depth)]
        self.blocks = nn.ModuleList(blocks)
        self.outs = nn.ModuleList(nn.Linear(64, width) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x):
        x = self.entry(x)
        for block, out in zip(self.blocks, self.outs, strict=True):
            x = x + out(block(x))
        return self.head(self.norm(x))


class Everything(nn.Module):
    """State of every kind that a trial could touch: norms, dropout, a cache, a tie, a parametrization, a generator."""

    def __init__(self):
        super().__init__()
        self.first = nn.utils.parametrizations.orthogonal(nn.Linear(16, 16))
        self.second, self.third = nn.Linear(16, 16), nn.Linear(16, 16)
        self.third.weight = self.second.weight
        self.norm, self.drop, self.head = nn.BatchNorm1d(16), nn.Dropout(0.3), nn.Linear(16, 4)
        self.cache, self.fail_at, self.calls = [], None, 0

    def forward(self, x):
        self.calls += 1
        self.cache.append(float(x.detach().sum()))
        h = torch.relu(self.second(self.norm(self.first(x))))
        if self.fail_at is not None and self.norm.num_batches_tracked >= 0 and self.is_planned():
            raise self.fail_at
        return self.head(self.drop(torch.relu(self.third(h))))

    def is_planned(self):
        return not bool(self.head.bias.detach().any())


def snapshot(model, x):
    tensors = [*model.parameters(), *model.buffers(), x]
    return {
        "bits": [t.detach().clone() for t in tensors],
        "grads": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "identity": [(id(t), t.data_ptr(), t._version) for t in tensors],
        "flags": [(m.training, len(m._forward_hooks)) for m in model.modules()],
        "cache": list(model.cache),
        "calls": model.calls,
        "generators": (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()),  # noqa: NPY002
    }


def assert_same(one, two):
    for key in ("bits", "grads"):
        for a, b in zip(one[key], two[key], strict=True):
            assert (a is None and b is None) or torch.equal(a, b), key
    for key in ("identity", "flags", "cache", "calls"):
        assert one[key] == two[key], key
    assert torch.equal(one["generators"][0], two["generators"][0])
    assert one["generators"][1:] == two["generators"][1:]


# ---------------------------------------------------------------------- no trace
@pytest.mark.parametrize("error", [None, ValueError("no"), KeyboardInterrupt()], ids=["ends", "raises", "interrupted"])
def test_a_trial_leaves_no_trace(error):
    torch.manual_seed(0)
    model, x = Everything(), torch.randn(32, 16)
    with torch.no_grad():
        model.head.bias.fill_(0.1)
    plan = fanin.plan(model, x, on_unknown="keep")
    earlier = model(x).square().mean()
    model(x).sum().backward()
    model.fail_at = error
    before = snapshot(model, x)
    if isinstance(error, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            plan.trial(model, x)
    else:
        done = plan.trial(model, x)
        assert done.ok is (error is None)
        assert (done.planned is None) is (error is not None)
    assert_same(before, snapshot(model, x))
    model.fail_at = None
    earlier.backward()  # a graph recorded before the trial can still be differentiated


class Turns(nn.Linear):
    """Each forward takes the next number of a generator, which nobody can give back."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.turns = (1.0 for _ in range(1000))

    def forward(self, x):
        return super().forward(x) * next(self.turns)


def turned(text):
    return text.startswith("this forward changes Turns.turns")


def test_a_trial_names_what_it_cannot_put_back():
    x = torch.randn(4, 8)
    plan = fanin.plan(Turns(8, 4), recipe="torch")  # without a forward
    done = plan.trial(Turns(8, 4), x)
    assert [s for s in done.changed if turned(s)] == done.to_dict()["changed"]
    assert any(map(turned, str(done).splitlines()))
    for made in (fanin.init_(Turns(8, 4), x), fanin.init_(Turns(8, 4), x, recipe="torch")):
        assert len([w for w in made.warnings if turned(w)]) == 1
    clean = plan.trial(nn.Linear(8, 4), x)
    assert not clean.changed
    assert "changed" not in clean.to_dict()


def test_the_trace_test_can_fail():
    model, x = Everything(), torch.randn(32, 16)
    before = snapshot(model, x)
    with torch.no_grad():
        model.head.bias.mul_(1.0)
    with pytest.raises(AssertionError, match="identity"):
        assert_same(before, snapshot(model, x))


def test_a_model_that_raises_as_found_is_named_and_init_goes_on():
    class Refuses(nn.Linear):
        def forward(self, x):
            if self.bias.detach().any():
                raise ValueError("not yet")
            return super().forward(x)

    model, x = Refuses(8, 4), torch.randn(4, 8)
    plan = fanin.plan(model, x, recipe="torch")
    with pytest.raises(CaptureError, match="not yet"):
        plan.trial(model, x)
    made = fanin.init_(model, x, recipe="torch")
    assert made.extras["trial"]["ran"] is False
    assert "not yet" in made.extras["trial"]["why"]


def test_a_plan_of_another_model_is_refused_before_anything_runs():
    plan = fanin.plan(nn.Linear(8, 4), recipe="torch")
    with pytest.raises(PlanError, match="does not fit"):
        plan.trial(nn.Linear(8, 5), torch.randn(4, 8))


# ---------------------------------------------------------------------- where none runs
def test_without_numbers_the_plan_says_that_no_trial_ran():
    model = stack(torch.relu)
    assert fanin.init_(model, recipe="torch").extras["trial"] == {"ran": False, "why": "no inputs were given"}
    untried = fanin.init_(model, torch.randn(8, 64), trial=False)
    assert untried.extras["trial"]["why"] == "not asked for (trial=False)"
    with torch.device("meta"):
        empty = stack(torch.relu)
    made = tried_plan(empty, torch.randn(8, 64))
    assert made.extras["trial"]["ran"] is False
    assert "on the meta device" in made.extras["trial"]["why"]
    assert "trial not run: the model has tensors without numbers" in str(made)


def test_a_plan_that_was_tried_shows_both_starts_and_is_saved_with_them(tmp_path):
    model, x = stack(torch.relu, 8), torch.randn(64, 64)
    made = fanin.init_(model, x, targets=torch.randint(0, 10, (64,)))
    data = made.extras["trial"]
    assert data["ran"]
    assert data["worse"] == []
    assert data["found"]["loss_from"] == "targets"
    assert "S203" in data["found"]["findings"]
    assert data["planned"]["findings"] == []
    assert " ".join(trial_text(data).split()) in " ".join(str(made).split())
    made.save(tmp_path / "plan.json")
    assert fanin.Plan.load(tmp_path / "plan.json") == made


# ---------------------------------------------------------------------- sabotage
def sabotaged(plan, name, factor):
    """The plan with one law made `factor` times as large."""
    a = plan[name]
    law = Normal(std=a.std * factor)
    return replace(plan, assignments={**plan.assignments, a.name: replace(a, initializer=law, std=law.std)})


MODELS = {
    "relu": (lambda: stack(torch.relu, 6), 64),
    "tanh": (lambda: stack(torch.tanh, 6), 64),
    "gelu": (lambda: stack(nn.functional.gelu, 4), 64),
    "residual": (Residual, 16),
}
PLACES = [
    *(("relu", f"{i}.weight", f) for i in (0, 4, 8, 12) for f in (30.0, 1 / 30)),
    *(("tanh", f"{i}.weight", f) for i in (2, 6, 10) for f in (30.0, 1 / 30)),
    *(("gelu", f"{i}.weight", 30.0) for i in (0, 2, 4, 6, 8)),
    *(("residual", n, 30.0) for n in ("outs.1.weight", "outs.2.weight", "head.weight", "entry.weight")),
]


SHOWN = {("relu", "4.weight", 30.0), ("relu", "12.weight", 1 / 30), ("tanh", "6.weight", 1 / 30)}
CASES = few(PLACES, *SHOWN)


@pytest.mark.parametrize(("model", "name", "factor"), few(CASES, every=2))
def test_a_sabotaged_plan_is_worse_at_its_place(model, name, factor):
    torch.manual_seed(1)
    build, width = MODELS[model]
    net, x = build(), torch.randn(64, width)
    y = torch.randint(0, 10, (64,))
    plan = fanin.plan(net, x)
    assert plan.trial(net, x, y).ok
    done = sabotaged(plan, name, factor).trial(net, x, y)
    assert not done.ok
    assert done.where is not None
    assert name in done.where.parameters[:2]


def test_init_keeps_the_found_values_where_a_law_is_wrong_and_says_so():
    torch.manual_seed(1)
    net, x = Residual(), torch.randn(64, 16)
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    made = fanin.init_(net, x, overrides={"head.weight": Normal(std=30.0)}, targets=torch.randint(0, 10, (64,)))
    assert torch.equal(net.head.weight, before["head.weight"])
    assert not torch.equal(net.entry.weight, before["entry.weight"])
    assert "the values found in head.weight, head.bias stay" in made.warnings[0]
    assert "first loss" in made.warnings[0]
    assert made["head.weight"].action == "keep"
    assert made["head.weight"].reason.startswith("kept as found")
    assert not any("override" in a.reason for a in made.assignments.values())  # the one given was not used
    data = made.extras["trial"]
    assert data["planned"]["loss"] <= data["found"]["loss"] + math.log(2.0)


@pytest.mark.parametrize(("overrides", "checks"), [({}, 2), ({"head.weight": Normal(std=30.0)}, 3)])
def test_a_trial_costs_two_checks_and_a_repair_one_more(monkeypatch, overrides, checks):
    calls = []
    measured = fanin.planning.trial.measure_start
    monkeypatch.setattr("fanin.planning.trial.measure_start", lambda *a, **k: calls.append(1) or measured(*a, **k))
    torch.manual_seed(1)
    fanin.init_(Residual(), torch.randn(64, 16), overrides=overrides, targets=torch.randint(0, 10, (64,)))
    assert len(calls) == checks


def test_where_no_repair_helps_nothing_is_written_and_the_error_names_the_place(monkeypatch):
    torch.manual_seed(1)
    net, x = Residual(), torch.randn(64, 16)
    before = [p.detach().clone() for p in net.parameters()]
    elsewhere = Parting(operation="entry:linear", parameters=("entry.weight",), factor=2.0)
    monkeypatch.setattr("fanin.planning.trial.parting", lambda *args, **rest: elsewhere)
    with pytest.raises(WorseStartError) as error:
        fanin.init_(net, x, overrides={"head.weight": Normal(std=30.0)})
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    message = str(error.value)
    assert "nothing was written" in message
    assert "With the values found in entry.weight it is still worse: the first loss" in message
    assert "overrides={'entry.weight': None}" in message
    assert "trial=False" in message
    assert "recipe='keep'" in message
    assert "could not put it back" not in message


def test_also_a_refusal_names_what_it_cannot_put_back(monkeypatch):
    monkeypatch.setattr("fanin.planning.trial.parting", lambda *args, **rest: None)
    with pytest.raises(WorseStartError, match=r"(?m)^  this forward changes Turns\.turns"):
        fanin.init_(Turns(8, 4), torch.randn(64, 8), overrides={"weight": Normal(std=1e25)})


def test_also_where_there_is_no_plan_a_warning_names_what_it_cannot_put_back():
    class Unknown(Turns):
        def __init__(self, *sizes):
            super().__init__(*sizes)
            self.odd = nn.Parameter(torch.full((3,), float("nan")))

    with pytest.raises(CoverageError), pytest.warns(FaninWarning, match=r"^this forward changes Unknown\.turns"):
        fanin.plan(Unknown(8, 4), torch.randn(4, 8))


# ---------------------------------------------------------------------- a finding that says where
class Keys(nn.Module):
    """Attention over tokens of very different sizes: with keys and queries of rms 1 it looks at one key."""

    def __init__(self):
        super().__init__()
        self.qkv, self.out, self.head = nn.Linear(32, 96), nn.Linear(32, 32), nn.Linear(32, 10)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        h = x + torch.tanh(self.out((q @ k.transpose(1, 2) / 32**0.5).softmax(-1) @ v))
        return self.head(h.mean(1))


def test_a_new_finding_is_mended_at_the_place_it_names():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 8, 32, generator=generator) * torch.exp(0.6 * torch.randn(64, 8, 1, generator=generator))
    x = x / x.square().mean().sqrt()
    torch.manual_seed(0)
    model = Keys()
    before = model.qkv.weight.detach().clone()
    done = fanin.plan(model, x).trial(model, x, torch.arange(64) % 10)
    assert [w.kind for w in done.worse] == ["finding"]
    assert set(done.where.parameters) == {"qkv.weight", "qkv.bias"}
    plan = fanin.init_(model, x, targets=torch.arange(64) % 10)
    assert set(plan.extras["trial"]["kept"]) == {"qkv.weight", "qkv.bias"}
    assert torch.equal(model.qkv.weight, before)
    assert plan["out.weight"].action == "draw"


class Bound(nn.Module):
    """Products of spectra, which no formula follows, before a bounded function that no module names."""

    def __init__(self):
        super().__init__()
        self.keys, self.ask = nn.Parameter(0.04 * torch.randn(8, 64)), nn.Parameter(torch.randn(4, 64) / 2)
        self.values, self.head = nn.Linear(8, 64), nn.Linear(256, 10)

    def forward(self, x):
        bound = (torch.fft.rfft(self.values(x.view(-1, 8, 8))) * torch.fft.rfft(self.keys)).sum(1)
        read = torch.fft.irfft(bound[:, None] * torch.fft.rfft(self.ask).conj(), n=64)
        return self.head(torch.tanh(read).flatten(1))


def test_what_is_found_at_an_operation_is_mended_in_the_maps_before_it():
    torch.manual_seed(0)
    model, x = Bound(), torch.randn(64, 64)
    done = fanin.plan(model, x).trial(model, x, torch.arange(64) % 10)
    assert [w.kind for w in done.worse] == ["finding"]
    assert set(done.where.parameters) == {"values.weight", "values.bias"}
    plan = fanin.init_(model, x, targets=torch.arange(64) % 10)
    assert set(plan.extras["trial"]["kept"]) == {"values.weight", "values.bias"}
    assert plan["head.weight"].action == "draw"


def test_weights_that_make_up_for_a_chain_are_a_worse_start():
    """A chain of 30 maps at ten times their std, and a head of 1e-30: the sizes fit, and no step can train that."""

    class Chain(nn.Module):
        def __init__(self):
            super().__init__()
            self.maps = nn.ModuleList(nn.Linear(16, 16, bias=False) for _ in range(12))
            self.head = nn.Linear(16, 4)

        def forward(self, x):
            for layer in self.maps:
                x = layer(x)
            return self.head(x)

    torch.manual_seed(0)
    model, x, y = Chain(), torch.randn(64, 16), torch.arange(64) % 4
    for layer in model.maps:
        nn.init.orthogonal_(layer.weight)
    laws = {"maps.*.weight": Normal(std=2.5), "head.weight": Normal(std=1e-22)}
    worse = fanin.plan(model, x, overrides=laws).trial(model, x, y).worse
    assert any("hardly follow the input" in w.text for w in worse)
    calm = fanin.plan(model, x, overrides={"head.weight": Normal(std=1e-3)}).trial(model, x, y)
    zero = fanin.plan(model, x, head="zero").trial(model, x, y)
    assert not any("hardly follow" in w.text for w in (*calm.worse, *zero.worse))
