"""Roles: one set of names, words for each, and what a plan does with them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fanin
from fanin.errors import PlanError
from fanin.initializers import Constant
from fanin.model.owners import owners
from fanin.model.parameters import slots_of
from fanin.model.roles import ROLES
from fanin.planning.assignment import Assignment
from fanin.text.roles import ROLE_WORDS


def test_every_role_has_words_and_no_words_are_left_over():
    assert set(ROLE_WORDS) == set(ROLES)
    assert len(set(ROLE_WORDS.values())) == len(ROLES)


def test_an_assignment_has_no_other_role():
    with pytest.raises(PlanError, match="'rnn hh', which is none of weight, bias"):
        Assignment(name="w", role="rnn hh", shape=(2, 2), dtype="float32", action="keep")


@pytest.mark.parametrize(
    ("module", "roles"),
    [
        (nn.LSTM(4, 8), {"weight_ih_l0": "rnn_ih", "weight_hh_l0": "rnn_hh", "bias_ih_l0": "rnn_bias"}),
        (nn.BatchNorm2d(4), {"weight": "norm_scale", "bias": "norm_shift"}),
        (nn.PReLU(), {"weight": "act_param"}),
        (nn.Embedding(4, 8), {"weight": "embedding"}),
    ],
)
def test_modules_give_the_roles_of_the_graph(module, roles):
    found = owners(module, {n: s for n, s in slots_of(module).items() if n in roles})
    assert {name: owned.role for name, owned in found.items()} == roles


def model():
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


def test_a_constant_hidden_map_is_warned_of_and_a_constant_head_is_not():
    laws = {"*.weight": Constant(0.1)}
    plan = fanin.plan(model(), torch.randn(4, 8), overrides=laws)
    assert "every unit of this map starts identical" in "".join(plan["0.weight"].warnings)
    assert not plan["2.weight"].warnings
    alone = fanin.plan(model(), recipe="torch", overrides=laws)  # without a graph nobody knows the head
    assert alone["2.weight"].warnings
    assert (plan["2.weight"].role_from, alone["2.weight"].role_from) == ("graph", "module")


def test_a_parameter_that_is_kept_has_the_role_that_the_forward_pass_gives_it():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.places = nn.Embedding(16, 8), nn.Embedding(6, 8)
            self.out = nn.Linear(8, 4)

        def forward(self, x):
            return self.out(self.tokens(x) + self.places(torch.arange(x.shape[1])))

    ids = torch.randint(0, 16, (2, 6))
    kept = fanin.plan(Positions(), ids, overrides={"places.weight": None})
    assert (kept["tokens.weight"].role, kept["places.weight"].role) == ("embedding", "position")


def test_parameters_that_are_not_understood_are_told_by_a_flag():
    class Raw(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(4, 4))

    plan = fanin.plan(Raw(), recipe="torch", on_unknown="keep")
    assert not plan["w"].understood
    assert plan.warnings == ("1 parameter is not understood and kept unchanged: w",)
    assert not fanin.plan(Raw(), recipe="keep").warnings
    assert type(plan).from_dict(plan.to_dict()) == plan
