"""A plan for models written in ways that none of the well-known architectures is."""

import warnings

import pytest
import torch

import fanin
from fanin.model.wrappers import named_parameters
from tests.selection import few
from zoo.odd_models import ODD


@pytest.mark.parametrize("name", few(sorted(ODD), every=2))
def test_auto_places_every_parameter_and_says_why(name):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        warnings.filterwarnings("ignore", "Casting complex values", UserWarning)  # torch's own, once a process
        model, inputs = ODD[name]()
        plan = fanin.plan(model, inputs)
        assert {n for a in plan.values() for n in a.names} == {n for n, _ in named_parameters(model)}
        assert all(plan[n].reason for n in plan)
        plan.apply_(model)
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())
