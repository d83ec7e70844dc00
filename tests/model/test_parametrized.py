"""Reading a parametrized tensor changes nothing, and writing through it is put back whole."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import fanin
from fanin.errors import CoverageError, FillError, PlanError
from fanin.initializers import Constant, Normal, Zeros
from fanin.model import parametrized
from fanin.model.parametrized import Kept, parametrized_tensors
from tests.selection import few

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))


class Rebinding(nn.Module):
    """Its right_inverse puts new tensors and numbers where old ones were, and so does its forward."""

    def __init__(self):
        super().__init__()
        self.register_buffer("base", None)
        self.plain, self.count, self.seen = torch.zeros(1), 0, []

    def forward(self, x):
        self.count += 1
        self.seen.append(self.count)
        self.plain = self.plain + 1
        return x if self.base is None else x + self.base

    def right_inverse(self, w):
        self.base = w.detach() * 0.5
        self.plain.add_(1)
        return w - self.base


def rebinding(layer):
    parametrize.register_parametrization(layer, "weight", Rebinding())
    return layer


def old(function):
    def wrap(layer):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return function(layer)

    return wrap


def pruned(layer):
    return prune.random_unstructured(layer, "weight", 0.3)


WAYS = {
    "orthogonal": parametrizations.orthogonal,
    "orthogonal, householder": lambda m: parametrizations.orthogonal(
        m, orthogonal_map="householder", use_trivialization=False
    ),
    "spectral norm": parametrizations.spectral_norm,
    "weight norm": parametrizations.weight_norm,
    "old spectral norm": old(nn.utils.spectral_norm),
    "old weight norm": old(nn.utils.weight_norm),
    "rebinding": rebinding,
    "two on one": lambda m: rebinding(parametrizations.weight_norm(m)),
}
ways = st.sampled_from(sorted(WAYS))


def everything(model):
    """All that a parametrization may change: tensors by identity and by their bits, tables, and the generator."""
    found = {"rng": torch.get_rng_state().tolist()}
    for path, module in model.named_modules():
        for table in (module.__dict__, module._parameters, module._buffers):
            for name, value in table.items():
                key = f"{path}.{name}"
                if isinstance(value, torch.Tensor):
                    found[key] = (id(value), value.detach().clone().flatten().tolist())
                elif isinstance(value, (int, float, list)):
                    found[key] = str(value)
    return found


def two_layers(first, second, training):
    model = nn.Sequential(WAYS[first](nn.Linear(6, 6)), nn.ReLU(), WAYS[second](nn.Linear(6, 3)), nn.Linear(3, 3))
    return model.train(training)


@settings(max_examples=10, deadline=None)
@given(first=ways, second=ways, training=st.booleans())
def test_reading_changes_nothing(first, second, training):
    model = two_layers(first, second, training)
    before = everything(model)
    plan = fanin.plan(model, recipe="torch", on_unknown="keep")
    plan.verify(model)
    plan.verify(model, bits=True)
    plan.diff(model)
    fanin.plan(model, recipe="keep").verify(model)
    assert everything(model) == before
    model[0].weight  # noqa: B018 (what fanin must not do: reading the attribute runs the parametrization)
    if first in ("rebinding", "two on one") or (first == "spectral norm" and training):
        assert everything(model) != before


@settings(max_examples=10, deadline=None)
@given(first=ways, second=ways, training=st.booleans())
def test_a_failed_apply_puts_everything_back(first, second, training):
    model = two_layers(first, second, training)
    plan = fanin.plan(model, recipe="torch", on_unknown="keep", overrides={"3.bias": Normal(std=1.0)})
    before = everything(model)

    def fill(self, tensor, **keywords):
        raise OSError("disk")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Normal, "fill_", fill)
        with pytest.raises(FillError, match="bit for bit as it was"):
            plan.apply_(model)
    assert everything(model) == before
    plan.apply_(model)
    assert everything(model) != before
    assert everything(model)["rng"] == before["rng"]


@settings(max_examples=10, deadline=None)
@given(way=ways, training=st.booleans(), seed=st.integers(0, 3))
def test_what_was_written_through_is_verified_and_nothing_else_is(way, training, seed):
    model = two_layers(way, way, training)
    plan = fanin.init_(model, recipe="torch", on_unknown="keep", seed=seed)
    assert plan.verify(model, bits=True).ok
    model(X)
    assert plan.verify(model).ok
    other = fanin.plan(model, recipe="torch", on_unknown="keep", seed=seed + 1)
    assert {plan["0.weight"].name, plan["2.weight"].name} <= {m.name for m in other.verify(model).mismatches}


@pytest.mark.parametrize(("rounds", "settled"), [(parametrized._ROUNDS, True), (1, False)])
def test_vectors_of_spectral_norm_settle_where_the_largest_singular_values_are_close(monkeypatch, rounds, settled):
    monkeypatch.setattr(parametrized, "_ROUNDS", rounds)
    torch.manual_seed(142)
    model = two_layers("old spectral norm", "old spectral norm", training=True)
    plan = fanin.init_(model, recipe="torch", on_unknown="keep", seed=142)
    assert plan.verify(model, bits=True).ok is settled


@pytest.mark.parametrize("way", [w for w in WAYS if w not in ("orthogonal", "orthogonal, householder")])
def test_patterns_reach_the_parametrized_tensor(way):
    torch.manual_seed(0)
    model = nn.Sequential(WAYS[way](nn.Linear(6, 32)), nn.ReLU(), nn.Linear(32, 3))
    plan = fanin.plan(model, recipe="torch", overrides={"*.weight": Normal(std=0.5)})
    assert plan["0.weight"].rule == "override" == plan["2.weight"].rule
    assert plan["0.weight"].initializer == Normal(std=0.5)
    plan.apply_(model)
    assert plan.verify(model).ok
    alone = fanin.plan(model, recipe="torch", overrides={"0.weight": Normal(std=0.5)})
    assert alone["2.weight"].rule != "override"


def test_the_law_is_that_of_the_effective_tensor():
    model = parametrizations.weight_norm(nn.Linear(16, 32))
    fanin.init_(model, recipe="torch", overrides={"weight": Normal(std=0.5)})
    plain = torch.from_numpy(Normal(std=0.5).sample((32, 16), key=fanin.key(0, "weight")))
    assert torch.allclose(model.weight, plain, rtol=1e-5)


@pytest.mark.parametrize("way", ["weight norm", "old weight norm"])
def test_zero_through_weight_norm_is_zero_and_not_nan(way):
    model = nn.Sequential(WAYS[way](nn.Linear(6, 4)))
    plan = fanin.init_(model, recipe="torch", overrides={"*.weight": Zeros(), "*.bias": Zeros()})
    assert torch.equal(model(X), torch.zeros(8, 4))
    assert plan.verify(model).ok


def test_a_lost_vector_of_old_spectral_norm_is_named_with_its_cure():
    model = nn.Sequential(WAYS["old spectral norm"](nn.Linear(6, 6)))
    with torch.no_grad():
        model[0].weight_u.fill_(float("nan"))
        model[0].bias.fill_(float("nan"))  # not what the weight is computed from
    (said,) = [w for w in fanin.plan(model, recipe="torch").warnings if "0.weight_u" in w]
    assert "0.weight_u holds NaN" in said
    assert "Compute it again" in said
    before = {n: t.clone() for n, t in model.state_dict().items()}
    with pytest.raises(FillError, match=r"is computed from 0\.weight_u, which holds NaN.* Give 0\.weight_u finite"):
        fanin.plan(model, recipe="torch").apply_(model)
    assert all(torch.equal(t.nan_to_num(), before[n].nan_to_num()) for n, t in model.state_dict().items())
    model[0].weight_u.normal_()
    fanin.plan(model, recipe="torch").apply_(model)
    assert model(torch.randn(2, 6)).isfinite().all()


@pytest.mark.parametrize("way", ["spectral norm", "old spectral norm"])
def test_zero_through_spectral_norm_is_refused(way):
    model = nn.Sequential(WAYS[way](nn.Linear(6, 4)))
    before = everything(model)
    plan = fanin.plan(model, recipe="torch", overrides={"*.weight": Zeros()})
    with pytest.raises(FillError, match=r"0\.weight is computed to be NaN"):
        plan.apply_(model)
    assert everything(model) == before


def test_a_pruned_weight_is_written_under_its_mask():
    model = nn.Sequential(pruned(nn.Linear(6, 32)))
    plan = fanin.init_(model, recipe="torch", overrides={"*.weight": Normal(std=0.5)})
    assert torch.equal(model[0].weight == 0, model[0].weight_mask == 0)
    assert plan.verify(model).ok


def test_a_way_without_inverse_is_refused_before_anything_is_written():
    class Square(nn.Module):
        def forward(self, x):
            return x * x

    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    parametrize.register_parametrization(model[1], "weight", Square())
    before = everything(model)
    with pytest.raises(PlanError, match="Square has no right_inverse"):
        fanin.init_(model, recipe="torch")
    assert everything(model) == before


def test_an_inverse_that_cannot_be_used_is_a_sentence():
    model = nn.Sequential(parametrizations.orthogonal(nn.Linear(6, 6), use_trivialization=False))
    before = everything(model)
    plan = fanin.plan(model, recipe="torch")
    with pytest.raises(PlanError, match=r"no value can be written through the parametrization of 0\.weight"):
        plan.apply_(model)
    assert [m.quantity for m in plan.verify(model).mismatches][:1] == ["values"]
    assert everything(model) == before


@pytest.mark.parametrize("law", [Zeros(), Constant(1.0)], ids=str)
def test_values_that_no_orthogonal_map_comes_out_of_are_refused(law):
    model = nn.Sequential(parametrizations.orthogonal(nn.Linear(6, 6)), nn.Linear(6, 3))
    before = everything(model)
    plan = fanin.plan(model, recipe="torch", overrides={"0.weight": law})
    with pytest.raises(FillError, match=r"0\.weight is parametrized to be orthogonal, and cannot be that"):
        plan.apply_(model)
    assert everything(model) == before
    fanin.init_(model, recipe="torch", overrides={"0.weight": Normal(std=0.1)})  # the twin: a random law
    assert torch.allclose(model[0].weight @ model[0].weight.T, torch.eye(6), atol=1e-5)


class Scaled(nn.Module):
    """A parametrization with a parameter of its own, which no value of the tensor changes."""

    def __init__(self):
        super().__init__()
        self.k = nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        return x * self.k

    def right_inverse(self, w):
        return w / self.k


def scaled(layer):
    parametrize.register_parametrization(layer, "weight", Scaled())
    return layer


def test_a_parameter_of_the_parametrization_stays_and_says_so():
    model = nn.Sequential(scaled(nn.Linear(6, 32)), nn.Linear(32, 3))
    plan = fanin.init_(model, recipe="torch", overrides={"0.weight": Normal(std=0.5)})
    own = plan["0.parametrizations.weight.0.k"]
    assert (own.action, own.reason) == ("keep", "stays as it is: it belongs to what computes 0.weight")
    assert model[0].parametrizations.weight[0].k.item() == 2.0
    assert plan["0.weight"].initializer == Normal(std=0.5)
    assert 0.4 < model[0].weight.std().item() < 0.6
    assert plan.verify(model).ok
    with torch.no_grad():
        model[0].parametrizations.weight[0].k.fill_(float("nan"))
    with pytest.raises(CoverageError, match=r"k: it belongs to what computes 0\.weight and holds NaN"):
        fanin.plan(model, recipe="torch")


@pytest.mark.parametrize("pattern", ["*.original0", "0.parametrizations.weight.0.k"])
def test_a_pattern_for_a_part_alone_says_which_name_to_take(pattern):
    first = scaled if pattern.endswith("k") else parametrizations.weight_norm
    model = nn.Sequential(first(nn.Linear(6, 4)), nn.Linear(4, 3))
    with pytest.raises(PlanError, match=r"a part of what computes 0\.weight.*overrides=\{'0\.weight': law\}"):
        fanin.plan(model, recipe="torch", overrides={pattern: Normal(std=0.5)})
    fanin.plan(model, recipe="torch", overrides={"0.parametrizations*": Normal(std=0.5)})


def test_a_module_of_the_users_that_is_called_parametrizations_is_a_module():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.parametrizations = nn.ModuleDict({"weight": nn.Linear(6, 4)})

        def forward(self, x):
            return self.parametrizations["weight"](x)

    plan = fanin.init_(Net(), X)
    assert list(plan) == ["parametrizations.weight.weight", "parametrizations.weight.bias"]
    assert not any(a.through for a in plan.values())


def test_names_that_are_only_spelled_like_parts_are_parameters_of_their_own():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight_v, self.weight_orig = nn.Parameter(torch.randn(4, 6)), nn.Parameter(torch.randn(3, 4))

        def forward(self, x):
            return torch.relu(x @ self.weight_v.t()) @ self.weight_orig.t()

    plan = fanin.init_(Net(), X)
    assert {a.action for a in plan.values()} == {"draw"}
    assert not any(w for a in plan.values() for w in a.warnings if "parametrization" in w)


@pytest.mark.parametrize("recipe", ["auto", "orthogonal"])
@pytest.mark.parametrize("way", few(["weight norm", "old weight norm", "orthogonal"], "orthogonal"))
def test_a_recurrent_weight_behind_a_parametrization_is_seen_as_its_module_has_it(way, recipe):
    class Net(nn.Module):
        def __init__(self, wrap):
            super().__init__()
            self.cell, self.out = nn.LSTM(6, 8), nn.Linear(8, 3)
            wrap(self.cell)

        def forward(self, x):
            return self.out(self.cell(x)[0])

    function = {
        "weight norm": parametrizations.weight_norm,
        "old weight norm": old(lambda m: nn.utils.weight_norm(m, "weight_hh_l0")),
        "orthogonal": parametrizations.orthogonal,
    }[way]
    wrap = function if way.startswith("old") else lambda m: function(m, "weight_hh_l0")
    model = Net(wrap)
    plan, plain = fanin.init_(model, X, recipe=recipe), fanin.plan(Net(lambda m: m), X, recipe=recipe)
    mine, theirs = plan["cell.weight_hh_l0"], plain["cell.weight_hh_l0"]
    assert (mine.role, mine.layout, mine.initializer) == (theirs.role, theirs.layout, theirs.initializer)
    assert plan.verify(model).ok


def test_a_tensor_that_cannot_be_computed_is_a_sentence():
    model = nn.Sequential(parametrizations.spectral_norm(nn.Linear(6, 6)))
    parametrizations.orthogonal(model[0])  # torch accepts it, and its forward pass fails
    for recipe in ("auto", "torch", "keep"):
        with pytest.raises(PlanError, match=r"0\.weight cannot be computed: its parametrization raises TypeError"):
            fanin.plan(model, X, recipe=recipe)


def test_kept_tables_can_fail():
    layer = nn.BatchNorm1d(2)
    before = everything(layer)
    kept = Kept([layer])
    layer.running_mean = torch.ones(2)
    layer.running_var.add_(1)
    layer.extra = 3
    assert everything(layer) != before
    kept.put_back()
    assert everything(layer) == before


def test_each_tensor_is_found_once_with_the_part_that_holds_its_values_first():
    shared = parametrizations.weight_norm(nn.Linear(6, 6))
    found = parametrized_tensors(
        nn.Sequential(shared, shared, nn.Sequential(WAYS["old spectral norm"](nn.Linear(6, 6))))
    )
    assert {n: p.parts[0] for n, p in found.items()} == {
        "0.weight": "0.parametrizations.weight.original1",
        "2.0.weight": "2.0.weight_orig",
    }
