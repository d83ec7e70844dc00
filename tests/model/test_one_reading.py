"""A plan and a check read a model alike: the same arguments, and for every parameter the same role and fans."""

from __future__ import annotations

import dataclasses
import json
from collections import OrderedDict, UserDict, namedtuple
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import fanin
from fanin.errors import FaninError
from fanin.graph.recording.capture import capture
from fanin.graph.roles.label import roles
from fanin.model.trees import named_tensors
from tests.selection import few
from zoo import FAST, zoo

QUICK = ("mlp_relu", "lstm_lm", "unet", "functional_raw_params", "weight_normed", "shared_twice", "einsum_attention",
         "dlrm", "gru_classifier", "spectral_normed", "mha_module")  # fmt: skip


# ---------------------------------------------------------------------- roles and fans
def of_plan(plan) -> dict[str, tuple[Any, ...]]:
    return {name: (a.role, a.fan_in, a.fan_out, a.aliases) for name, a in plan.items()}


def of_check(report) -> dict[str, tuple[Any, ...]]:
    return {p.path: (p.role, p.fan_in, p.fan_out, p.tied) for p in report.measurements.parameters}


def disagreements(plan, report) -> list[str]:
    """What a plan and a check say differently; a check has no record of a parameter that holds no numbers."""
    planned, checked = of_plan(plan), of_check(report)
    extra = [f"{name} is in the check alone" for name in checked.keys() - planned.keys()]
    return extra + [
        f"{n}: plan {planned[n]}, check {c}" for n, c in checked.items() if n in planned and planned[n] != c
    ]


def both(model, inputs):
    return fanin.plan(model, inputs, on_unknown="keep"), fanin.check(model, inputs)


def agree(model, inputs) -> None:
    plan, report = both(model, inputs)
    assert not disagreements(plan, report)
    assert {p.path for p in report.measurements.parameters} == set(plan)


def built(name):
    torch.manual_seed(0)
    return zoo()[name]()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", few(QUICK, "mlp_relu", "gru_classifier", "weight_normed", "einsum_attention"))
def test_plan_and_check_agree_on_the_zoo(name):
    agree(*built(name))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(set(zoo()) - set(QUICK)))
def test_plan_and_check_agree_on_the_whole_zoo(name):
    agree(*built(name))


def test_the_quick_models_are_of_the_zoo():
    assert set(QUICK) <= set(FAST) <= set(zoo())


@pytest.mark.parametrize("change", [{"role": "bias"}, {"fan_in": 288.0}, {"fan_out": 1.0}, {"tied": ("x",)}])
def test_the_comparison_sees_every_difference(change):
    plan, report = both(nn.Linear(4, 3), torch.randn(8, 4))
    assert not disagreements(plan, report)
    first, *rest = report.measurements.parameters
    changed = dataclasses.replace(report.measurements, parameters=(dataclasses.replace(first, **change), *rest))
    report.result = dataclasses.replace(report.result, measurements=changed)
    assert len(disagreements(plan, report)) == 1


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.out = nn.LSTM(8, 16), nn.Linear(16, 2)

    def forward(self, x):
        return self.out(self.cell(x)[0])


CASES = {
    "depthwise": (lambda: nn.Conv2d(32, 32, 3, groups=32), (4, 32, 8, 8), "weight", 9.0, 9.0),
    "transposed": (lambda: nn.ConvTranspose2d(32, 16, 4, stride=2), (4, 32, 8, 8), "weight", 128.0, 256.0),
    "grouped": (lambda: nn.Conv2d(16, 32, 3, groups=4, stride=2), (4, 16, 9, 9), "weight", 36.0, 18.0),
    "lstm": (Recurrent, (5, 4, 8), "cell.weight_ih_l0", 8.0, 16.0),
    "bilinear": (lambda: Twice(nn.Bilinear(6, 6, 5)), (4, 6), "inner.weight", 36.0, 30.0),
    "conv1d": (lambda: nn.Conv1d(4, 6, 5, stride=5), (4, 4, 20), "weight", 20.0, 6.0),
    "weight_norm": (lambda: parametrizations.weight_norm(nn.Conv2d(4, 6, 3)), (4, 4, 8, 8),
                    "parametrizations.weight.original1", 36.0, 54.0),
}  # fmt: skip


class Twice(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x, x)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("predict", [None, False], ids=["by the graph", "by the module"])
def test_fans_are_those_of_the_sum(name, predict):
    build, shape, path, fan_in, fan_out = CASES[name]
    model, x = build(), torch.randn(shape)
    record = next(p for p in fanin.check(model, x, predict=predict).measurements.parameters if p.path == path)
    assert (record.fan_in, record.fan_out) == (fan_in, fan_out)
    assert record.role_from == ("graph" if predict is None else "module")
    planned = fanin.plan(model, x)[path]
    assert (planned.fan_in, planned.fan_out) == (fan_in, fan_out)


@pytest.mark.parametrize(
    ("name", "role"),
    few(
        [("weight_ih_l0", "rnn_ih"), ("weight_hh_l0", "rnn_hh"), ("bias_hh_l0", "rnn_bias")], ("weight_hh_l0", "rnn_hh")
    ),
)
def test_a_recurrent_weight_has_one_role_string_everywhere(name, role):
    model, x, path = Recurrent(), torch.randn(5, 4, 8), f"cell.{name}"
    plans = [fanin.plan(model, x, recipe=recipe) for recipe in ("auto", "torch", "keep", "classic")]
    report = fanin.check(model, x)
    record = next(p for p in report.measurements.parameters if p.path == path)
    saved = next(a for a in json.loads(plans[0].to_json())["assignments"] if a["name"] == path)
    reported = next(p for p in report.to_dict()["measurements"]["parameters"] if p["path"] == path)
    graph = roles(capture(model, x))[path].role
    assert {graph, record.role, saved["role"], reported["role"], *(p[path].role for p in plans)} == {role}


@pytest.mark.slow
def test_the_next_draws_of_a_model_have_the_roles_of_the_first():
    report = fanin.check(lambda: (Recurrent(), torch.randn(5, 4, 8)), seeds=2)
    assert {p.role_from for p in report.measurements.parameters} == {"graph"}


def test_a_generator_of_transposed_convolutions_is_told_its_own_scale():
    torch.manual_seed(0)
    layers = [nn.ConvTranspose2d(c, d, 4, stride=2, padding=1) for c, d in ((64, 64), (64, 64), (64, 64))]
    model = nn.Sequential(*(m for layer in layers for m in (layer, nn.ReLU())), nn.Conv2d(64, 3, 1))
    report = fanin.check(model, torch.randn(8, 64, 4, 4))
    from fanin.rules.shared.gains import weight_words

    # torch's bound is 1 / sqrt(16 * 64), an output sums 4 of the 16 taps: sqrt(4 * 64 / (3 * 16 * 64)) / sqrt(2)
    assert weight_words(report.measurements) == "weights before relu have 0.204 times the std that keeps the signal"


# ---------------------------------------------------------------------- arguments
Pair = namedtuple("Pair", "left right")


@dataclasses.dataclass
class Batch:
    left: torch.Tensor
    right: torch.Tensor


@dataclasses.dataclass(frozen=True)
class Frozen:
    left: torch.Tensor
    right: Any
    twice: Any = dataclasses.field(init=False, default=None)

    def __post_init__(self):
        object.__setattr__(self, "twice", self.left * 2)


class Heard(nn.Module):
    """Adds all floating tensors that it is given and notes how it was called."""

    def __init__(self, forward=None):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def note(self, *args, **kwargs):
        hear(described((args, kwargs)))
        found = [t for _, t in named_tensors((args, kwargs)) if t.is_floating_point()]
        return self.layer(sum(found))


HEARD: list[Any] = []
hear = HEARD.append  # the list itself would be as before after every verb


class One(Heard):
    def forward(self, batch):
        return self.note(batch)


class Two(Heard):
    def forward(self, left, right):
        return self.note(left, right)


class Optional(Heard):
    def forward(self, batch, mask=None):
        return self.note(batch, mask)


class Keywords(Heard):
    def forward(self, **batch):
        return self.note(**batch)


class Mixed(Heard):
    def forward(self, batch, **more):
        return self.note(batch, **more)


class Starred(Heard):
    def forward(self, *batch):
        return self.note(*batch)


def described(tree: Any) -> Any:
    """A nest with its types, and the shape in place of each tensor."""
    if isinstance(tree, torch.Tensor):
        return tuple(tree.shape)
    if isinstance(tree, (dict, UserDict)):
        return type(tree).__name__, {k: described(v) for k, v in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree).__name__, [described(v) for v in tree]
    if hasattr(tree, "__dict__"):
        return type(tree).__name__, {k: described(v) for k, v in vars(tree).items()}
    return tree


def x(rows=6):
    return torch.randn(rows, 4)


FORMS = {
    "a tensor": (One, x),
    "a tuple": (Two, lambda: (x(), x())),
    "keywords": (Two, lambda: {"left": x(), "right": x()}),
    "keywords of a forward that takes any": (Keywords, lambda: {"a": x(), "b": x()}),
    "one of two keywords": (Optional, lambda: {"batch": x()}),
    "a dict, the one argument": (One, lambda: {"left": x(), "right": x()}),
    "a dict, the one argument beside any keywords": (Mixed, lambda: {"left": x(), "right": x()}),
    "a dict by numbers": (One, lambda: {0: x(), 1: x()}),
    "an ordered dict, the one argument": (One, lambda: OrderedDict(left=x(), right=x())),
    "a mapping of another type": (One, lambda: UserDict(left=x(), right=x())),
    "a dict in a tuple": (One, lambda: ({"left": x(), "right": [x()]},)),
    "a list, the one argument": (One, lambda: [x(), x()]),
    "a list for two arguments": (Two, lambda: [x(), x()]),
    "a list for one argument of two": (Optional, lambda: [x(), x()]),
    "a list for any number": (Starred, lambda: [x(), x()]),
    "a named tuple": (One, lambda: Pair(x(), x())),
    "a dataclass": (One, lambda: Batch(x(), x())),
    "a frozen dataclass with a derived field": (One, lambda: Frozen(x(), {"deep": (x(), 3)})),
    "a namespace": (One, lambda: SimpleNamespace(left=x(), count=2)),
    "torch's own named tuple": (One, lambda: torch.max(torch.randn(6, 4, 3), dim=2)),
}  # fmt: skip


def calls(kind, build) -> tuple[Any, Any]:
    """How a plan and how a check called the model; equal numbers of calls are not asked for."""
    torch.manual_seed(0)
    model, inputs = kind(), build()
    seen = []
    for run in (fanin.plan, fanin.check):
        HEARD.clear()
        run(model, inputs)
        seen.append(HEARD[0])
    return seen[0], seen[1]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", FORMS)
def test_plan_and_check_call_the_model_alike(form):
    planned, checked = calls(*FORMS[form])
    assert planned == checked


@pytest.mark.parametrize("form", few(FORMS, every=4))
def test_plan_and_check_agree_on_every_form_of_inputs(form):
    kind, build = FORMS[form]
    agree(kind(), build())


def test_the_notes_tell_calls_apart():
    one, two = x(), x()
    notes = [described(((one, two), {})), described((([one, two],), {})), described(((), {"left": one, "right": two}))]
    assert len({repr(n) for n in notes}) == 3


def test_inputs_that_fit_nothing_are_refused_by_both():
    for inputs in ({"wrong": x()}, (x(),)):
        for run in (fanin.plan, fanin.check):
            with pytest.raises(FaninError):
                run(Two(), inputs)


@pytest.mark.parametrize("wrap", [Pair, Batch, lambda a, b: {"left": a, "right": b}, lambda a, b: [a, (b,)]])
def test_outputs_are_read_from_any_container(wrap):
    class Answer(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(4, 3), nn.Linear(4, 2)

        def forward(self, batch):
            return wrap(self.one(batch), self.two(batch))

    model, inputs = Answer(), x()
    agree(model, inputs)
    report = fanin.check(model, inputs)
    assert all(p.state == "nonzero" for p in report.measurements.parameters)


def test_inputs_keep_their_numbers_and_their_containers():
    inputs = Frozen(x(), {"deep": (x(), 3)})
    before = (inputs.left.clone(), inputs.right, inputs.right["deep"][0].clone())

    class Greedy(One):
        def forward(self, batch):
            batch.left.zero_()
            deep = batch.right.pop("deep")
            return self.layer(batch.twice + deep[0])

    for run in (fanin.plan, fanin.check):
        run(Greedy(), inputs)
    assert inputs.right is before[1]
    assert torch.equal(inputs.left, before[0])
    assert torch.equal(inputs.right["deep"][0], before[2])
