"""What a plan leaves alone and why: frozen, loaded, padded, holding nothing."""

import sys
import types

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import fanin
from fanin.errors import ArgumentError, CoverageError
from fanin.initializers import Normal, Ones, Zeros, from_array
from tests.selection import few

X = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
IDS = torch.arange(21).reshape(3, 7)
NAN, INF = float("nan"), float("inf")


def mlp(width=16):
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4))


def bits(model):
    return {n: p.detach().clone() for n, p in model.named_parameters()}


# ---------------------------------------------------------------------- frozen and loaded
NAMES = [n for n, _ in mlp().named_parameters()]
RECIPES = st.sampled_from(["auto", "torch", "classic", "orthogonal"])


@settings(max_examples=6, deadline=None)
@given(recipe=RECIPES, frozen=st.sets(st.sampled_from(NAMES), min_size=1), loaded=st.sets(st.sampled_from(NAMES)))
def test_frozen_and_loaded_parameters_keep_their_bits_and_are_counted_once(recipe, frozen, loaded):
    model = mlp()
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)
    for name in loaded:
        model.get_parameter(name)._is_hf_initialized = True
    before = bits(model)
    plan = fanin.init_(model, X, recipe=recipe)
    stay = frozen | loaded
    assert {n for n in NAMES if torch.equal(before[n], model.get_parameter(n))} == stay
    assert {n for n in NAMES if plan[n].action == "keep"} == stay
    said = [w for w in plan.warnings if "frozen or loaded" in w]
    assert len(said) == 1
    assert f"{len(stay)} of {len(NAMES)} parameters" in said[0]
    assert f"{sum(before[n].numel() for n in stay):,} numbers" in said[0]
    assert all("frozen" in plan[n].reason for n in frozen)
    assert all("loaded" in plan[n].reason for n in loaded - frozen)
    assert plan.verify(model).ok
    # the twin: asked to, it draws them
    assert not [w for w in fanin.init_(model, X, recipe=recipe, frozen="draw", trial=False).warnings if "frozen" in w]
    assert not any(torch.equal(before[n], model.get_parameter(n)) for n in stay)


@pytest.mark.parametrize("part", ["original0", "original1"])
def test_a_tensor_with_a_frozen_part_is_kept_whole(part):
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(8, 16)), nn.Linear(16, 4))
    model[0].get_parameter(f"parametrizations.weight.{part}").requires_grad_(False)
    before = bits(model)
    plan = fanin.init_(model, X)
    moved = {n for n, p in model.named_parameters() if not torch.equal(before[n], p)}
    assert moved == {"0.bias", "1.weight"} | ({"1.bias"} & moved)
    assert "it is frozen (requires_grad=False)" in plan["0.weight"].reason
    assert "frozen or loaded" in plan.warnings[0]
    fanin.init_(model, X, frozen="draw")  # the twin
    assert not torch.equal(before["0.parametrizations.weight.original1"], model[0].parametrizations.weight.original1)


@pytest.mark.parametrize("how", [{"only_uninitialised": True}, {"missing": ["*.original0"]}], ids=str)
def test_a_part_that_holds_nothing_makes_the_whole_be_drawn(how):
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(8, 16)), nn.Linear(16, 4))
    with torch.no_grad():
        model[0].parametrizations.weight.original0[3] = NAN
    before = bits(model)
    plan = fanin.init_(model, X, **how)
    assert model[0].weight.isfinite().all()
    assert torch.equal(before["1.weight"], model[1].weight)
    assert plan.verify(model).ok


def test_an_override_draws_a_frozen_parameter():
    model = mlp().requires_grad_(False)
    before = bits(model)
    plan = fanin.init_(model, X, overrides={"0.*": Normal(std=0.1)})
    assert [n for n in NAMES if not torch.equal(before[n], model.get_parameter(n))] == ["0.weight", "0.bias"]
    assert "4 of 6 parameters" in plan.warnings[0]


def test_predictions_are_those_of_the_weights_that_stay():
    model = mlp(256)
    with torch.no_grad():
        model[0].weight.normal_(std=3.0)
    model[0].weight.requires_grad_(False)
    plan = fanin.init_(model, torch.randn(256, 8))
    measured = model[0](torch.randn(4096, 8)).detach().square().mean().sqrt()
    assert plan["0.weight"].predicted_rms[0] == pytest.approx(float(measured), rel=0.1)


def test_a_stack_with_a_frozen_layer_is_not_mirrored():
    model = nn.Sequential(*(m for _ in range(12) for m in (nn.Linear(16, 16), nn.ReLU())), nn.Linear(16, 4))
    x = torch.randn(8, 16)
    assert fanin.plan(model, x)["4.weight"].rule.startswith("mirrored")
    model[6].requires_grad_(False)
    plan = fanin.plan(model, x)
    assert not any(a.rule.startswith("mirrored") for a in plan.values())
    assert any("6.weight stays as it is" in w for w in plan.warnings)


def test_frozen_takes_two_words():
    with pytest.raises(ArgumentError, match="'keep' or 'draw'; got 'thaw'"):
        fanin.plan(mlp(), X, frozen="thaw")


def test_a_frozen_parameter_that_holds_nothing_is_drawn():
    model = mlp().requires_grad_(False)
    with torch.no_grad():
        model[2].weight.fill_(NAN)
    plan = fanin.init_(model, X)
    assert [n for n in NAMES if plan[n].action == "draw"] == ["2.weight"]
    assert plan.verify(model).ok


def test_whole_numbers_are_never_drawn():
    class Coded(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(8, 4)
            self.code = nn.Parameter(torch.arange(4, dtype=torch.int8), requires_grad=False)

        def forward(self, x):
            return self.fc(x) + self.code

    for choice in ("keep", "draw"):
        model = Coded()
        plan = fanin.init_(model, X, frozen=choice)
        assert plan["code"].action == "keep"
        assert "int8 is never drawn" in plan["code"].reason
        assert torch.equal(model.code, torch.arange(4, dtype=torch.int8))
        assert plan.verify(model).ok


@pytest.fixture
def peft(monkeypatch):
    """PEFT's classes by name, with the structure of its models: a base, and layers that hold adapters beside it."""

    class BaseTunerLayer:
        adapter_layer_names = ("lora_A", "lora_B")

    class PeftModel(nn.Module):
        def __init__(self, base_model):
            super().__init__()
            self.base_model = base_model

        def forward(self, x):
            return self.base_model(x)

    for kind, place in ((BaseTunerLayer, "peft.tuners.tuners_utils"), (PeftModel, "peft.peft_model")):
        kind.__module__, kind.__qualname__ = place, kind.__name__
        monkeypatch.setitem(sys.modules, place, types.ModuleType(place))

    class LoraLinear(nn.Module, BaseTunerLayer):
        def __init__(self, layer):
            super().__init__()
            self.base_layer = layer
            self.lora_A = nn.ModuleDict({"default": nn.Linear(layer.in_features, 4, bias=False)})
            self.lora_B = nn.ModuleDict({"default": nn.Linear(4, layer.out_features, bias=False)})

        def forward(self, x):
            return self.base_layer(x) + self.lora_B["default"](self.lora_A["default"](x))

    def make():
        base = mlp()
        base[0] = LoraLinear(base[0])
        return PeftModel(base)

    return make


@pytest.mark.parametrize("thawed", [False, True])
def test_the_base_under_adapters_is_kept_also_when_it_trains(peft, thawed):
    model = peft()
    for name, p in model.named_parameters():
        p.requires_grad_(thawed or "lora" in name)
    before = bits(model)
    plan = fanin.init_(model, X)
    drawn = {n for n in before if plan[n].action == "draw"}
    assert drawn == {n for n in before if "lora" in n}
    assert all(torch.equal(before[n], model.get_parameter(n)) for n in before.keys() - drawn)
    assert len([w for w in plan.warnings if "frozen or loaded" in w]) == 1


# ---------------------------------------------------------------------- padding
class Tied(nn.Module):
    def __init__(self, **table):
        super().__init__()
        self.table, self.head = nn.Embedding(21, 16, **table), nn.Linear(16, 21, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids):
        return self.head(self.table(ids))


TABLES = {
    "embedding": lambda **k: nn.Sequential(nn.Embedding(21, 16, **k), nn.Linear(16, 4)),
    "bag": lambda **k: nn.Sequential(nn.EmbeddingBag(21, 16, **k), nn.Linear(16, 4)),
    "tied head": lambda **k: Tied(**k),
    "half precision": lambda **k: nn.Sequential(nn.Embedding(21, 16, **k), nn.Linear(16, 4)).bfloat16(),
}


@settings(max_examples=8, deadline=None)
@given(recipe=RECIPES, table=st.sampled_from(sorted(TABLES)), row=st.integers(-21, 20), override=st.booleans())
def test_the_padding_row_is_zero_and_no_other_bit_differs(recipe, table, row, override):
    padded, plain = TABLES[table](padding_idx=row), TABLES[table]()
    more = {"trial": False, **({"overrides": {"*": Normal(std=0.3)}} if override else {})}
    plan = fanin.init_(padded, IDS, recipe=recipe, **more)
    fanin.init_(plain, IDS, recipe=recipe, **more)
    mine, other = (next(m.parameters()) for m in (padded, plain))
    others = [i for i in range(21) if i != row % 21]
    assert not mine[row].any()
    assert other[row].any()
    assert torch.equal(mine[others], other[others])
    first = next(iter(plan.values()))
    assert first.zero_rows == (row % 21,)
    assert f"row {row % 21} is zero (padding)" in first.reason
    assert plan.verify(padded, bits=True).ok
    assert type(plan).from_dict(plan.to_dict()) == plan
    with torch.no_grad():
        mine[row, 3] = 0.1
    assert [m.quantity for m in plan.verify(padded, bits=True).mismatches] == ["bits"]
    assert "rows" in [m.quantity for m in plan.verify(padded).mismatches]


class Functional(nn.Module):
    """A table of the user's own that is read by torch's functions."""

    def __init__(self, read, row):
        super().__init__()
        self.table, self.out = nn.Parameter(torch.randn(21, 16)), nn.Linear(16, 4)
        self.read, self.row = read, row

    def forward(self, ids):
        return self.out(self.read(ids, self.table, padding_idx=self.row))


@pytest.mark.parametrize("row", few([0, 5, -1, None], -1, None))
@pytest.mark.parametrize("read", [nn.functional.embedding, nn.functional.embedding_bag])
def test_the_padding_of_a_functional_lookup_is_seen(read, row):
    model = Functional(read, row)
    plan = fanin.init_(model, IDS)
    assert plan["table"].zero_rows == (() if row is None else (row % 21,))
    assert [i for i in range(21) if not model.table[i].any()] == list(plan["table"].zero_rows)
    assert plan.verify(model, bits=True).ok


def test_a_given_array_is_written_as_it_is():
    model = nn.Sequential(nn.Embedding(5, 2, padding_idx=0))
    plan = fanin.init_(model, recipe="torch", overrides={"*": from_array(torch.ones(5, 2).numpy())})
    assert torch.equal(model[0].weight, torch.ones(5, 2))
    assert plan.verify(model, bits=True).ok


def test_keep_reads_the_law_of_the_other_rows():
    model = nn.Sequential(nn.Embedding(300, 64, padding_idx=7))
    plan = fanin.plan(model, recipe="keep")
    assert plan["0.weight"].initializer.std == pytest.approx(1.0, abs=0.03)
    assert "row 7 is zero (padding)" in plan["0.weight"].reason
    assert plan.verify(model).ok
    redrawn = plan.redrawn().apply_(nn.Sequential(nn.Embedding(300, 64, padding_idx=7)))
    assert not redrawn[0].weight[7].any()
    with torch.no_grad():
        model[0].weight[7] = 1.0
    assert not plan.verify(model).ok


# ---------------------------------------------------------------------- nothing to keep
class Elements(nn.Module):
    """A shift and a scale that multiply and add directly, a scale behind a gate, a single number."""

    def __init__(self):
        super().__init__()
        self.lin, self.out = nn.Linear(8, 32), nn.Linear(32, 4)
        self.shift, self.scale = nn.Parameter(torch.zeros(32)), nn.Parameter(torch.ones(32))
        self.gate, self.mix = nn.Parameter(torch.zeros(32)), nn.Parameter(torch.ones(()))

    def forward(self, x):
        h = torch.relu(self.lin(x)) + self.shift
        return self.out(torch.tanh(h * self.scale) * torch.sigmoid(self.gate) * self.mix)


def spoiled(names, value):
    model = Elements()
    with torch.no_grad():
        for name in names:
            model.get_parameter(name).view(-1)[0] = value
    return model


SAFE, UNSAFE = {"shift", "scale"}, {"gate", "mix"}


@settings(max_examples=10, deadline=None)
@given(
    safe=st.sets(st.sampled_from(sorted(SAFE))),
    unsafe=st.sets(st.sampled_from(sorted(UNSAFE))),
    value=st.sampled_from([NAN, INF, -INF]),
    only=st.booleans(),
)
def test_nothing_non_finite_survives_in_silence(safe, unsafe, value, only):
    model = spoiled(safe | unsafe, value)
    before = bits(model)
    if unsafe:
        with pytest.raises(CoverageError) as error:
            fanin.init_(model, X, only_uninitialised=only)
        assert all(name in str(error.value) for name in unsafe)
        assert "overrides={" in str(error.value)
        assert all(torch.equal(before[n], p) for n, p in model.named_parameters() if n not in safe | unsafe)
    overrides = dict.fromkeys(sorted(unsafe), Ones())
    plan = fanin.init_(model, X, only_uninitialised=only, overrides=overrides, trial=False)
    assert plan.verify(model).ok
    assert all(p.isfinite().all() for p in model.parameters())
    wanted = {"shift": Zeros(), "scale": Ones()}
    assert {n: plan[n].initializer for n in safe} == {n: wanted[n] for n in safe}
    said = " ".join(plan.warnings)
    assert all(name in said for name in safe)
    if not safe:
        assert "nothing was there to keep" not in said


@pytest.mark.parametrize("way", [{"overrides": {"mix": None}}, {"on_unknown": "keep"}, {"recipe": "keep"}], ids=str)
def test_what_is_kept_on_purpose_is_named_and_stays_a_departure(way):
    model = spoiled(["mix"], NAN)
    plan = fanin.init_(model, X, **way)
    assert any("NaN" in w and "mix" in w for w in plan.warnings)
    assert [(m.name, m.expected) for m in plan.verify(model).mismatches] == [("mix", "finite")]
    assert [d.name for d in plan.diff(model).differences] == ["mix"]


def test_a_model_on_meta_is_asked_the_same():
    with torch.device("meta"):
        model = Elements()
    with pytest.raises(CoverageError, match=r"gate.*nothing to keep \(on the meta device\)"):
        fanin.plan(model, X)
    plan = fanin.plan(model, X, overrides={"gate": Zeros(), "mix": Ones()})
    assert plan["scale"].initializer == Ones()


# ---------------------------------------------------------------------- buffers
@settings(max_examples=20, deadline=None)
@given(value=st.sampled_from([NAN, INF, -INF, 0.5]), where=st.sampled_from(["one", "all"]))
def test_a_buffer_without_numbers_is_named_with_its_cure_before_all_else(value, where):
    class Rotary(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.out = nn.Linear(8, 8), nn.Linear(8, 4)
            self.register_buffer("inv_freq", torch.rand(8), persistent=False)

        def forward(self, x):
            return self.out(self.fc(x) * self.inv_freq)

    model = Rotary()
    model.inv_freq[: 1 if where == "one" else 8] = value
    plan = fanin.plan(model, X)
    bad = value != 0.5 and not (value == -INF and where == "one")
    assert [w.startswith("the buffer inv_freq holds") for w in plan.warnings[:1]] == [True] * bad
    if bad:
        assert "plan.materialize(model, buffers=" in plan.warnings[0]
        plan.materialize(model, buffers={"inv_freq": torch.ones(8)})
        assert not [w for w in fanin.plan(model, X).warnings if "buffer" in w]
