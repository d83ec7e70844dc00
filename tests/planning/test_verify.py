"""What `verify` proves: whole tensors, their rows and ties by default, and the very bits where they are asked for."""

import copy
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import fanin
from fanin.errors import PlanError
from fanin.initializers import Centred, Normal, Orthogonal
from fanin.planning import slices
from fanin.planning.materialize import Materialized
from fanin.planning.verify import Mismatch, Verification
from zoo import zoo
from zoo.stock import stock

SHAPE = (96, 96)


def drawn(seed=0):
    model = nn.Sequential(nn.Linear(96, 96, bias=False))
    plan = fanin.init_(model, recipe="torch", seed=seed, overrides={"0.weight": Normal(std=0.05)})
    return model, plan


def another_seed(w):
    return drawn(seed=1)[0][0].weight.detach()


def flipped(w):
    bits = w.clone().view(torch.int32)
    bits[7, 7] ^= 1
    return bits.view(torch.float32)


def with_row(w, row, value):
    w = w.clone()
    w[row] = value
    return w


def minus_zero(w):
    return torch.where(w.abs() == w.abs().min(), -0.0, w)


CHANGES = {
    "a zero row": (lambda w: with_row(w, 3, 0.0), True),
    "two equal rows": (lambda w: with_row(w, 5, w[9]), True),
    "twice the numbers": (lambda w: 2 * w, True),
    "a shift": (lambda w: w + 0.01, True),
    "one NaN": (lambda w: with_row(w, (0, 0), float("nan")), True),
    "rows in another order": (lambda w: w.flip(0), False),
    "transposed": (lambda w: w.t().contiguous(), False),
    "all signs": (lambda w: -w, False),
    "another seed": (another_seed, False),
    "one bit": (flipped, False),
    "the smallest number": (minus_zero, False),
}


@pytest.mark.parametrize("name", CHANGES)
def test_bits_find_every_change_and_the_default_finds_what_no_draw_of_the_law_is(name):
    change, by_law = CHANGES[name]
    model, plan = drawn()
    assert plan.verify(model, bits=True).bits == plan.verify(model).bits == ("0.weight",)
    with torch.no_grad():
        model[0].weight.copy_(change(model[0].weight.detach()))
    assert [m.name for m in plan.verify(model, bits=True).mismatches][:1] == ["0.weight"]
    assert plan.verify(model).ok is not by_law
    assert bool(plan.diff(model)) is by_law
    if not by_law:
        assert plan.verify(model).law == ("0.weight",)
        assert "verify(model, bits=True) sees those" in str(plan.verify(model))
        with pytest.raises(PlanError, match=r"0\.weight: bits"):
            plan.verify(model, bits=True).raise_for_mismatches()


# ---------------------------------------------------------------------- ties
class Tied(nn.Module):
    def __init__(self, heads):
        super().__init__()
        self.table = nn.Embedding(21, 16)
        self.heads = nn.ModuleList(nn.Linear(16, 21, bias=False) for _ in range(heads))
        for head in self.heads:
            head.weight = self.table.weight

    def forward(self, ids):
        return sum(head(self.table(ids)) for head in self.heads)


@settings(max_examples=8, deadline=None)
@given(heads=st.integers(1, 3), data=st.data(), same=st.booleans())
def test_a_lost_tie_is_a_departure_also_while_the_values_agree(heads, data, same):
    model, ids = Tied(heads), torch.arange(6)
    plan = fanin.init_(model, ids, trial=False)
    assert plan.verify(model).ok
    lost = data.draw(st.sets(st.integers(0, heads - 1), min_size=1))
    for i in lost:
        weight = model.table.weight.detach().clone() if same else torch.randn(21, 16) * 7
        model.heads[i].weight = nn.Parameter(weight)
    found = plan.verify(model, bits=True)
    ties = {m.name for m in found.mismatches if m.quantity == "tie"}
    assert ties == {f"heads.{i}.weight" for i in lost}
    assert {m.name for m in found.mismatches if m.quantity != "tie"} == (set() if same else ties)
    assert {d.name for d in plan.diff(model).differences} == ties
    with pytest.raises(PlanError, match="tied to"):
        plan.apply_(model)


def test_a_tie_that_the_plan_does_not_know_is_a_departure():
    model, ids = Tied(2), torch.arange(6)
    model.heads[1].weight = nn.Parameter(torch.randn(21, 16))
    plan = fanin.init_(model, ids)
    model.heads[1].weight = model.table.weight
    assert ("heads.1.weight", "tie") in {(m.name, m.quantity) for m in plan.verify(model).mismatches}


# ---------------------------------------------------------------------- untouched models
LAYERS = {
    "linear": lambda n: nn.Linear(n, n),
    "conv": lambda n: nn.Conv2d(n // 8, n // 8, 3),
    "norm": nn.LayerNorm,
    "lstm": lambda n: nn.LSTM(n // 8, n // 8),
    "padded": lambda n: nn.Embedding(n, 32, padding_idx=0),
    "half": lambda n: nn.Linear(n, n).bfloat16(),
}


def held(layer, size, seed):
    torch.manual_seed(seed)
    model = nn.Sequential(LAYERS[layer](size))
    return model, fanin.plan(model, recipe="keep")


@pytest.mark.parametrize("layer", LAYERS)
def test_keep_holds_for_an_untouched_model_and_not_for_another(layer):
    model, plan = held(layer, 128, seed=0)
    assert plan.verify(model).ok
    with torch.no_grad():
        next(model.parameters()).mul_(1.5).add_(0.01)
    assert not plan.verify(model).ok


@pytest.mark.slow
@pytest.mark.parametrize("size", [512, 2048, 4096])
def test_keep_holds_for_large_untouched_layers_of_every_seed(size):
    for seed in range(5):
        for layer in ("linear", "conv"):
            model, plan = held(layer, size, seed)
            assert plan.verify(model).ok, (layer, size, seed)


@pytest.mark.parametrize("rising", [True, False])
def test_keep_reads_a_monotone_vector_as_designed(rising):
    class Decay(nn.Module):
        def __init__(self):
            super().__init__()
            steps = torch.linspace(-6.0, -1.0, 96) + 0.02 * torch.rand(96).sort().values
            self.decay = nn.Parameter(steps if rising else steps.flip(0))

    model = Decay()
    plan = fanin.plan(model, recipe="keep")
    assert plan["decay"].initializer is None or not plan["decay"].initializer.breaks_symmetry
    assert plan.verify(model).ok
    with torch.no_grad():
        model.decay.copy_(torch.rand(96))
    assert fanin.plan(model, recipe="keep")["decay"].initializer is not None  # the twin: random numbers have a law


@pytest.mark.slow
@pytest.mark.parametrize("name", [*(f"zoo {n}" for n in zoo()), *(f"stock {n}" for n in stock())])
def test_keep_holds_for_every_untouched_model_of_the_zoo_and_of_the_stock(name):
    where, _, which = name.partition(" ")
    torch.manual_seed(0)
    with warnings.catch_warnings():  # of the libraries, about sizes as small as these
        warnings.simplefilter("ignore")
        model = {"zoo": zoo, "stock": stock}[where]()[which]()[0]
        plan = fanin.plan(model, recipe="keep")
    verdict = plan.verify(model)
    assert verdict.ok, str(verdict)[:400]
    assert len(verdict.bits) + len(verdict.law) + len(verdict.not_checked) == len(plan)
    _assert_a_change_is_seen(plan, model, verdict)


def _assert_a_change_is_seen(plan, model, verdict):
    """The twin: one of the tensors that have a law, doubled, is a departure."""
    named = dict(model.named_parameters())
    plain = (n for n in verdict.law if n in named and "parametrizations" not in n)  # others are divided by their norm
    name = next((n for n in plain if named[n].numel() > 1000), None)
    if name is not None and bool(named[name].detach().any()):
        with torch.no_grad():
            named[name].mul_(2)
        assert not plan.verify(model).ok


# ---------------------------------------------------------------------- words
def test_names_reach_a_terminal_as_text():
    hostile = "a\x1b[31m\nb"
    found = Verification(
        bits=(),
        law=(),
        not_checked=(),
        mismatches=(Mismatch(name=hostile, quantity="mean", expected=0.0, measured=1.0),),
        z=5.0,
    )
    for text in (str(found), str(Materialized(parameters=(hostile,), buffers={hostile: "given by the caller"}))):
        assert "\x1b" not in text
        assert text.count("\n") == 1
    with pytest.raises(PlanError) as error:
        found.raise_for_mismatches()
    assert "\x1b" not in str(error.value)


# ---------------------------------------------------------------------- block by block
BLOCKED = {
    "rows": (nn.Linear(30, 40, bias=False), Normal(std=0.05)),
    "a vector": (nn.LayerNorm(300), Normal(std=1.0)),
    "units": (nn.Linear(30, 40, bias=False), Centred(Normal(std=0.05))),
    "whole": (nn.Linear(30, 40, bias=False), Orthogonal()),
    "kernels": (nn.Conv2d(4, 30, 3, bias=False).to(memory_format=torch.channels_last), Normal(std=0.05)),
}


@pytest.mark.parametrize("kind", BLOCKED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_large_tensor_is_compared_block_by_block_with_the_same_answer(monkeypatch, kind, dtype):
    layer, law = BLOCKED[kind]
    model = nn.Sequential(copy.deepcopy(layer).to(dtype))
    plan = fanin.plan(model, recipe="torch", overrides={"0.weight": law})
    plan.apply_(model)
    monkeypatch.setattr("fanin.planning.slices.SLICE", 77)
    assert plan.verify(model, bits=True).ok
    last = tuple(n - 1 for n in model[0].weight.shape)
    with torch.no_grad():
        model[0].weight[last] += 1.0
    found = plan.verify(model, bits=True).mismatches
    assert [m.measured for m in found] == [f"1 of {model[0].weight.numel()} numbers differ, first at {last}"]


def test_blocks_take_little_memory(monkeypatch):
    sizes = []

    def drawn_into(tensor, *more, whole=slices.draw_into):
        sizes.append(tensor.numel())
        whole(tensor, *more)

    monkeypatch.setattr(slices, "draw_into", drawn_into)
    monkeypatch.setattr(slices, "SLICE", 960)
    model, plan = drawn()
    assert plan.verify(model, bits=True).ok
    assert (len(sizes), max(sizes), sum(sizes)) == (10, 960, 96 * 96)
