"""Every stock family gets expected values in both directions; a fault of fanin's own in one of them is named."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import fanin
from fanin.measure import prediction
from fanin.moments import backward_sweep, forward_sweep
from tests.selection import few
from zoo import zoo
from zoo.stock import stock

SOON = ("gpt2", "lora", "mha_module")
# recurrences and state spaces, whose ops are sampled one at a time: most of their operations have no formula
NO_FORMULA = {"mamba2", "xlnet", "longformer", "hf_rwkv", "hf_xlstm", "hf_mamba", "hf_fnet", "hf_resnet"}
LATER = {
    **{n: b for n, b in stock().items() if n not in SOON},
    **{n: b for n, b in zoo().items() if n.startswith(("hf_", "timm_"))},
}


def measured(build):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the libraries say while they build a model
        torch.manual_seed(0)
        model, inputs = build()
        return fanin.check(model, inputs, predict=True).measurements


def holes(found):
    """What is missing of the predictions, and the weight operations that have none forward."""
    missing = {k: v for k, v in found.missing.items() if k in ("prediction", "prediction of some operations")}
    weights = [
        s for s in found.sites if s.kind == "weight" and s.forward and s.forward.rms > 0 and not s.forward.any_nonfinite
    ]
    forward = [s for s in weights if s.predicted is None]
    return missing, len(forward) / max(len(weights), 1)


@pytest.mark.parametrize("name", few(SOON, "mha_module"))
def test_families_that_people_use_have_no_holes(name):
    found = measured((stock() | zoo())[name])
    missing, forward = holes(found)
    assert missing == {}
    assert forward <= 0.1
    assert sum(s.predicted_backward is not None for s in found.sites) >= 0.6 * len(found.sites)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(LATER))
def test_no_family_has_holes(name):
    missing, forward = holes(measured(LATER[name]))
    assert missing == {}
    assert forward <= (1.0 if name in NO_FORMULA else 0.2)


class ByHand(nn.Module):
    """Adds more often in the graph than is measured: a sum of a parameter alone is no output of the model's."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(16, 32), nn.Linear(32, 4)
        self.second = nn.Linear(16, 32)
        self.offset = nn.Parameter(0.1 * torch.randn(32))

    def forward(self, x):
        h = self.first(x) * (self.offset + 1.0)
        return self.last(torch.relu(h + self.second(x)))


def unpredicted_sums():
    found = fanin.check(ByHand(), torch.randn(8, 16), predict=True).measurements
    return sum(s.predicted is None for s in found.sites if s.op == "add")


def test_calls_of_one_shape_are_matched_where_their_number_differs(monkeypatch):
    assert unpredicted_sums() == 0
    monkeypatch.setattr(prediction, "_matched", lambda graph, seen, outputs: {})
    assert unpredicted_sums() == 1


class Joined(nn.Module):
    """Joins an empty cache of another rank to what it has."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(16, 32), nn.Linear(32, 4)

    def forward(self, x):
        return self.last(torch.cat([x.new_tensor([]), torch.relu(self.first(x))], dim=-1))


def test_an_empty_cache_hides_nothing():
    found = fanin.check(Joined(), torch.randn(8, 16)).measurements
    assert all(s.predicted and s.predicted_backward for s in found.sites if s.kind == "weight")


class Penalised(nn.Module):
    """Returns a term made of a parameter that nothing else reads, as a penalty on weights is."""

    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(20, 16), nn.Linear(16, 4)
        self.scale = nn.Parameter(torch.ones(8))

    def forward(self, ids):
        return self.head(self.table(ids)), (2.0 * self.scale).square().sum()


def test_a_penalty_on_weights_is_no_hole():
    found = fanin.check(Penalised(), torch.randint(0, 20, (8, 5))).measurements
    assert "prediction" not in found.missing
    assert [s.path for s in found.sites if s.predicted and s.predicted_backward] == ["table", "head"]


@pytest.mark.parametrize(
    ("table", "direction"), [(forward_sweep.FORWARD, "forward"), (backward_sweep.BACKWARD, "backward")]
)
def test_an_error_of_our_own_is_named_with_its_operation(monkeypatch, table, direction):
    def broken(*_):
        raise IndexError("tuple index out of range")

    monkeypatch.setitem(table, "linear", broken)
    report = fanin.check(nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)), torch.randn(8, 16))
    said = report.measurements.missing["prediction of some operations"]
    assert f"the {direction} formula for linear in 0 raised IndexError: tuple index out of range" in said
    assert "an error in fanin" in " ".join(str(report).split())
    assert all(s.predicted for s in report.measurements.sites)  # sampled instead


class Recurrent(nn.Module):
    """A recurrent layer and a head on its last step; the first state is the layer's own, or given."""

    def __init__(self, kind, state=None, **options):
        super().__init__()
        self.cells, self.state = kind(8, 16, batch_first=True, **options), state
        self.head = nn.Linear(16 * (1 + self.cells.bidirectional), 4)

    def forward(self, x):
        if self.state is None:
            return self.head(self.cells(x)[0][:, -1])
        h = torch.full((self.cells.num_layers * (1 + self.cells.bidirectional), len(x), 16), self.state)
        return self.head(self.cells(x, (h, h) if isinstance(self.cells, nn.LSTM) else h)[0][:, -1])


@pytest.mark.parametrize(
    "options", few([{}, {"bidirectional": True}, {"num_layers": 2}, {"state": 0.0}, {"state": 1.0}], every=2)
)
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_recurrent_layer_raises_no_error_of_our_own(kind, options):
    found = fanin.check(Recurrent(kind, **options), torch.randn(16, 2, 8), trial=False).measurements
    assert not any("prediction" in key for key in found.missing), found.missing
    assert [s.path for s in found.sites if s.predicted_backward][-1] == "head"


def test_a_rule_is_not_asked_for_a_tensor_that_was_made_of_nothing(monkeypatch):
    asked = []
    monkeypatch.setattr(backward_sweep, "_step", lambda frame, op, tape, kind=None: asked.append(op))
    fanin.check(Recurrent(nn.GRU), torch.randn(8, 2, 8))
    assert asked
    assert all(op.inputs for op in asked)
