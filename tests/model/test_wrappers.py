"""Names belong to the user: what a wrapper adds is no part of keys, patterns or comparisons."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

import fanin
from fanin.errors import PlanError
from fanin.initializers import Constant
from fanin.model.parameters import slots_of


def compiled(model):
    return torch.compile(model, backend="eager")


WRAPPERS = {
    "compile": compiled,
    "data parallel": nn.DataParallel,
    "checkpoint": checkpoint_wrapper,
    "averaged": torch.optim.swa_utils.AveragedModel,
    "compile in parallel": lambda m: nn.DataParallel(compiled(m)),
}
wrap = st.sampled_from(sorted(WRAPPERS))
X = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))


def mlp():
    return nn.Sequential(nn.Linear(8, 16), nn.Sequential(nn.ReLU(), nn.Linear(16, 16)), nn.ReLU(), nn.Linear(16, 4))


@settings(max_examples=8, deadline=None)
@given(outer=st.none() | wrap, inner=st.none() | wrap, first=st.none() | wrap)
def test_the_same_model_behind_any_wrapper_gets_the_same_plan_and_the_same_bits(outer, inner, first):
    plain, wrapped = mlp(), mlp()
    plan = fanin.init_(plain, X, trial=False)  # a trial tells what the two were found with
    for place, name in ((wrapped, first), (wrapped[1], inner)):
        if name is not None:
            place[-1] = WRAPPERS[name](place[-1])
    model = wrapped if outer is None else WRAPPERS[outer](wrapped)
    assert fanin.init_(model, X, trial=False).to_json() == plan.to_json()
    assert plan.verify(model, bits=True).ok
    assert not plan.diff(model)
    with torch.no_grad():
        next(iter(model.parameters())).mul_(1.01)
    assert [m.name for m in plan.verify(model, bits=True).mismatches] == ["0.weight"]


class Own(nn.Module):
    """A user's own attributes that are spelled like the prefixes of wrappers."""

    def __init__(self):
        super().__init__()
        self.module, self._orig_mod = nn.Linear(8, 4), nn.Linear(4, 4)
        self._fsdp_wrapped_module = nn.Linear(4, 4)
        self._orig_mod_weight = nn.Parameter(torch.randn(4))

    def forward(self, x):
        return self._fsdp_wrapped_module(self._orig_mod(self.module(x))) + self._orig_mod_weight


def test_names_that_are_only_spelled_so_stay():
    names = [
        "_orig_mod_weight",
        *(f"{m}.{p}" for m in ("module", "_orig_mod", "_fsdp_wrapped_module") for p in ("weight", "bias")),
    ]
    assert list(slots_of(Own())) == names
    assert list(slots_of(nn.DataParallel(Own()))) == names
    plan = fanin.plan(compiled(Own()), X, overrides={"module.*": Constant(2.0)})
    assert [n for n in plan if plan[n].rule == "override"] == ["module.weight", "module.bias"]


def test_two_parameters_of_one_name_are_an_error():
    class Clash(nn.DataParallel):
        def __init__(self, module):
            super().__init__(module)
            self.weight = nn.Parameter(torch.zeros(3))

    with pytest.raises(PlanError, match="two tensors of the model are called 'weight'"):
        fanin.plan(Clash(nn.Linear(8, 4)), X)
    with pytest.raises(PlanError, match="two tensors"):
        slots_of(Clash(nn.Linear(8, 4)))


def test_a_check_names_parameters_as_the_user_does_and_leaves_the_wrappers():
    model = nn.DataParallel(mlp())
    model.module[0] = compiled(model.module[0])
    report = fanin.check(model, X, targets=torch.zeros(8, dtype=torch.long))
    assert [p.path for p in report.measurements.parameters] == list(slots_of(mlp()))
    assert type(model.module[0]).__name__ == "OptimizedModule"


def test_a_module_that_holds_its_holder_is_read_once():
    model = mlp()
    model[0].above = model  # a cycle, as some libraries make them
    assert len(slots_of(model)) == 6
