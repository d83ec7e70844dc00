"""Nested tensors: where no forward pass reads them they are kept, elsewhere one sentence says what to do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fanin
from fanin.errors import CaptureError, PlanError

pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
X = torch.randn(4, 8)
VERBS = {"plan": fanin.plan, "check": fanin.check, "init_": fanin.init_}
LAYOUTS = (torch.strided, torch.jagged)


def nested(layout=torch.strided):
    return torch.nested.nested_tensor([torch.randn(2, 8), torch.randn(3, 8)], layout=layout)


class Holds(nn.Module):
    """Has nested tensors; what is done with them is up to `use`."""

    def __init__(self, use=lambda self, x: x):
        super().__init__()
        self.layer, self.use = nn.Linear(8, 3), use
        self.strided, self.jagged = map(nested, LAYOUTS)
        self.register_buffer("table", nested())

    def forward(self, x):
        return self.layer(self.use(self, x))


@pytest.mark.parametrize("verb", VERBS)
def test_nested_tensors_that_no_forward_reads_are_no_matter(verb):
    VERBS[verb](Holds(), X)


USES = {
    "strided attribute": lambda self, x: x + self.strided.unbind()[0].sum(),
    "jagged attribute": lambda self, x: x + self.jagged.unbind()[0].sum(),
    "buffer": lambda self, x: x + self.table.unbind()[0].sum(),
    "made on the way": lambda self, x: torch.nested.to_padded_tensor(
        torch.nested.nested_tensor([x[:2], x[1:4]]) * 2.0, 0.0
    ),
}


@pytest.mark.parametrize("use", USES)
def test_one_that_the_forward_reads_is_named_in_a_sentence(use):
    model = Holds(USES[use])
    model(X)
    with pytest.raises(CaptureError, match=r"^a tensor that the forward pass reads or makes is a nested tensor"):
        fanin.plan(model, X)
    fanin.plan(model, recipe="torch")  # the cure that the sentence names


def test_a_check_names_a_nested_signal_and_measures_beside_a_nested_constant():
    with pytest.raises(CaptureError, match="is a nested tensor"):
        fanin.check(Holds(lambda self, x: torch.nested.as_nested_tensor([x[:2], x[1:4]])), X)
    assert fanin.check(Holds(USES["strided attribute"]), X).measurements.sites


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("verb", VERBS)
def test_a_nested_input_is_named(verb, layout):
    with pytest.raises(CaptureError, match=r"^an input is a nested tensor"):
        VERBS[verb](nn.Linear(8, 3), nested(layout))


@pytest.mark.parametrize("verb", VERBS)
def test_a_nested_parameter_is_named(verb):
    model = nn.Linear(8, 3)
    model.words = nn.Parameter(nested())
    with pytest.raises(PlanError, match=r"^the parameter 'words' is a nested tensor"):
        VERBS[verb](model, X)
