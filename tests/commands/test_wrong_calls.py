"""Wrong calls: each ends in an exception of fanin that names the cure, and changes and writes nothing."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import fanin
from fanin.errors import FaninError
from fanin.lab.compare import compare
from tests.selection import few


class Ids(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.out = nn.Embedding(10, 8), nn.Linear(8, 4)

    def forward(self, ids):
        return self.out(self.table(ids).mean(1))


class Reads(nn.Module):
    """A model whose forward takes text."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(8, 4)

    def forward(self, text):
        return self.out(torch.tensor([[float(len(t.split()))] * 8 for t in text]))


class Batch(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(8, 4)

    def forward(self, batch):
        return self.out(batch["x"])


class Unfinished(nn.Module):
    """A module whose forward is not written yet."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(8, 4)


class Frame:
    """A table of numbers as pandas and polars hold it."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return self.values

    def to_numpy(self):
        return self.values


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


def watched(**settings):
    model = net()
    return fanin.watch(model, torch.optim.SGD(model.parameters(), 0.1), **settings)


def needs(width):
    return nn.Linear(width, width)


X, Y = torch.randn(6, 8, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 4
ARRAYS = (X.numpy(), Y.numpy())
TINY = {"inits": {"a": None}, "lrs": [0.1], "steps": 1}
PAIR, FLOATS = "a pair (inputs, targets)", "inputs.to(torch.float32)"
LOADER = DataLoader(TensorDataset(X, Y), batch_size=3)
FUNCTIONS = {"plan": fanin.plan, "check": fanin.check, "init_": fanin.init_}

MODELS = {  # what stands in place of a model -> the cure
    "class": (nn.Linear, "model = Linear("),
    "own class": (Ids, "model = Ids("),
    "function": (needs, "model = needs("),
    "state dict": (net().state_dict(), "load_state_dict"),
    "path": ("model.pt", "load its weights"),
    "nothing": (None, "torch.nn.Module"),
    "optimizer": (torch.optim.SGD(net().parameters(), 0.1), "give the model"),
    "parameters": (net().parameters(), "torch.nn.Module"),
    "list": ([nn.Linear(2, 2)], "torch.nn.Module"),
    "tensor": (X, "torch.nn.Module"),
}
INPUTS = {  # what stands in place of inputs -> the cure
    "loader": (net, LOADER, "next(iter(loader))"),
    "iterator": (net, iter(LOADER), "next(iter(loader))"),
    "pair": (net, (X, Y), "inputs=x and targets=y"),
    "pair in a list": (net, [X, Y], "inputs=x and targets=y"),
    "array": (net, X.numpy(), "torch.as_tensor"),
    "arrays": (net, (X.numpy(),), "torch.as_tensor"),
    "numbers": (net, X.tolist(), "torch.tensor"),
    "shape": (net, (6, 8), "torch.randn(6, 8)"),
    "dict": (net, {"x": X}, "forward takes (input)"),
    "dict of a batch": (Batch, {"y": X}, "forward takes (batch)"),
    "text": (net, "6,8", "tokenizer"),
    "doubles": (net, X.double(), "torch.float32"),
    "whole numbers": (net, torch.ones(6, 8, dtype=torch.long), "torch.float32"),
    "floats for ids": (Ids, X, "torch.randint(0, 10"),
    "ids out of range": (Ids, torch.full((2, 3), 99), "from 0 to 9"),
    "numbers for text": (Reads, X, "takes text"),
    "frame": (net, Frame(X.numpy()), "frame.to_numpy()"),
    "wrong width": (net, torch.randn(6, 9), "try model(*inputs)"),
}
VALUES = ("ids out of range",)  # a plan reads shapes and dtypes, to which this does not matter
CALLS = {  # anything else -> the cure
    "no inputs": (lambda: fanin.check(net()), "give a tensor"),
    "empty batch": (lambda: fanin.check(net(), torch.zeros(0, 8)), "two samples"),
    "targets out of range": (lambda: fanin.check(net(), X, targets=Y + 96), "from 0 to 3"),
    "negative targets": (lambda: fanin.check(net(), X, targets=Y - 4), "from 0 to 3"),
    "targets int32": (lambda: fanin.check(net(), X, targets=Y.int()), "targets.long()"),
    "targets bool": (lambda: fanin.check(net(), X, targets=Y.bool()), "targets.long()"),
    "targets float": (lambda: fanin.check(net(), X, targets=Y.float()), "Give loss="),
    "too few targets": (lambda: fanin.check(net(), X, targets=Y[:3]), "one class index per row"),
    "targets array": (lambda: fanin.check(net(), X, targets=Y.numpy()), "torch.as_tensor"),
    "targets list": (lambda: fanin.check(net(), X, targets=Y.tolist()), "torch.as_tensor"),
    "targets text": (lambda: fanin.check(net(), X, targets="y"), "Give loss="),
    "loss class": (lambda: fanin.check(net(), X, Y, nn.CrossEntropyLoss), "CrossEntropyLoss()"),
    "loss text": (lambda: fanin.check(net(), X, Y, "cross_entropy"), "torch.nn.functional.cross_entropy"),
    "loss value": (lambda: fanin.check(net(), X, Y, torch.tensor(1.0)), "give a function"),
    "loss per sample": (lambda: fanin.check(net(), X, Y, nn.CrossEntropyLoss(reduction="none")), ".mean()"),
    "loss number": (lambda: fanin.check(net(), X, Y, lambda out, y: 3.0), "tensor with one element"),
    "loss raises": (lambda: fanin.check(net(), X, Y, lambda out, y: out.foo), "The model itself ran"),
    "loss of three": (lambda: fanin.check(net(), X, Y, lambda a, b, c: a.sum()), "try loss(output, targets)"),
    "optimizer text": (lambda: fanin.check(net(), X, optimizer="adamw"), "torch.optim.Optimizer"),
    "unknown rule": (lambda: fanin.check(net(), X, select=["S999"]), "the nearest of"),
    "unknown severity": (lambda: fanin.check(net(), X, fail_on="fatal"), "'error', 'warning', 'note'"),
    "no seeds": (lambda: fanin.check(net, X, seeds=0), "a whole number >= 1"),
    "recipe": (lambda: fanin.plan(net(), X, recipe="Auto2"), "did you mean 'auto'"),
    "no recipe": (lambda: fanin.plan(net(), X, recipe=None), "auto"),
    "seed below zero": (lambda: fanin.plan(net(), X, seed=-1), "int(seed) % 2**64"),
    "seed of half": (lambda: fanin.plan(net(), X, seed=1.5), "an integer"),
    "option": (lambda: fanin.plan(net(), X, head="nope"), "'unit', 'calm', 'zero'"),
    "name of an option": (lambda: fanin.plan(net(), X, headd="calm"), "it has head"),
    "override of nothing": (lambda: fanin.plan(net(), X, overrides={"head.*": "zeros"}), "matches no parameter"),
    "override law": (lambda: fanin.plan(net(), X, overrides={"*": "zerox"}), "did you mean 'zero'"),
    "override code": (lambda: fanin.plan(net(), X, overrides={"*": "normal(std=x())"}), "normal(std=0.02)"),
    "override argument": (lambda: fanin.plan(net(), X, overrides={"*": "normal(stdd=1)"}), "Its arguments are"),
    "override number": (lambda: fanin.plan(net(), X, overrides={"*": 3}), "an initializer, its name, or None"),
    "overrides list": (lambda: fanin.plan(net(), X, overrides=["*=zeros"]), "give a dict"),
    "on_unknown": (lambda: fanin.plan(net(), X, on_unknown="ignore"), "'raise' or 'keep'"),
    "frozen": (lambda: fanin.plan(net(), X, frozen="yes"), "'keep' or 'draw'"),
    "plan of another": (lambda: fanin.plan(net(), X).apply_(nn.Linear(3, 3)), "Make a new plan"),
    "apply to a class": (lambda: fanin.plan(net(), X).apply_(nn.Linear), "make an instance"),
    "verify a class": (lambda: fanin.plan(net(), X).verify(nn.Linear), "make an instance"),
    "diff with a number": (lambda: fanin.plan(net(), X).diff(3), "torch.nn.Module"),
    "unknown parameter": (lambda: fanin.plan(net(), X).explain("0.wieght"), "did you mean '0.weight'"),
    "no folder": (lambda: fanin.plan(net(), X).save("nowhere/plan.json"), "Make the folder"),
    "a folder": (lambda: fanin.plan(net(), X).save("."), "name of a file"),
    "no such plan": (lambda: fanin.Plan.load("nowhere.json"), "no file"),
    "ending": (lambda: fanin.check(net(), X).save("report.xyz"), ".html"),
    "inits as a list": (lambda: compare(net, ARRAYS, inits=["auto"]), "give a dict"),
    "init without a law": (lambda: compare(net, ARRAYS, inits={"a": "nope"}, steps=1, lrs=[0.1]), "known: "),
    "no learning rate": (lambda: compare(net, ARRAYS, inits={"a": None}, lrs=[], steps=1), "at least one"),
    "init of one tensor": (lambda: compare(net, ARRAYS, inits={"k": nn.init.kaiming_normal_}), "(model, seed)"),
    "init of one argument": (lambda: compare(net, ARRAYS, inits={"k": lambda w: None}), "(model, seed)"),
    "init partly bound": (
        lambda: compare(net, ARRAYS, inits={"k": functools.partial(nn.init.normal_, std=0.1)}),
        "on each weight",
    ),
    "init as a class": (lambda: compare(net, ARRAYS, inits={"k": fanin.initializers.Orthogonal}), "Orthogonal()"),
    "init as a number": (lambda: compare(net, ARRAYS, inits={"a": None, "k": 3}), "a recipe's name"),
    "target for targets": (lambda: fanin.check(net(), X, target=Y), "targets=?"),
    "a model for a builder": (lambda: compare(net(), ARRAYS, inits={"a": None}, lrs=[0.1], steps=1), "lambda"),
    "data without labels": (lambda: compare(net, X, **TINY), PAIR),
    "a data set": (lambda: compare(net, TensorDataset(X, Y), **TINY), "DataLoader(data"),
    "a dict of data": (
        lambda: compare(net, {"x": X}, **TINY),
        PAIR,
    ),
    "data of three": (
        lambda: compare(net, (X, Y, Y), **TINY),
        PAIR,
    ),
    "batches of one": (lambda: compare(net, [X, X], **TINY), "pairs (inputs, targets)"),
    "double cell": (lambda: fanin.plan(nn.GRUCell(8, 4), X.double()), FLOATS),
    "double attention": (
        lambda: fanin.plan(nn.TransformerEncoderLayer(8, 2), X[None].double()),
        FLOATS,
    ),
    "double on meta": (lambda: fanin.plan(net().to("meta"), X.double()), FLOATS),
    "float for bfloat16": (lambda: fanin.plan(net().bfloat16(), X), "inputs.to(torch.bfloat16)"),
    "holdings of a dict": (lambda: fanin.holdings(net().state_dict()), "named_parameters()"),
    "fans of text": (lambda: fanin.fans("3,4"), "as in (256, 784)"),
    "fans of halves": (lambda: fanin.fans((2.5, 4)), "whole numbers"),
    "gain of a class": (lambda: fanin.gain(nn.ReLU), "pass an instance: ReLU()"),
    "calibrate a class": (lambda: fanin.calibrate(nn.Linear, X), "make an instance"),
    "calibrate doubles": (lambda: fanin.calibrate(net(), X.double()), "inputs.to(torch.float32)"),
    "calibrate to text": (lambda: fanin.calibrate(net(), X, target="one"), "'plan', 'unit', a number"),
    "calibrate nothing": (lambda: fanin.calibrate(net(), X, only="head.*"), "Patterns are globs"),
    "fingerprint a path": (lambda: fanin.fingerprint("w.safetensors"), "load its weights"),
    "no certificate": (lambda: fanin.Certificate.load("nowhere.cert"), "looked from"),
    "groups without a plan": (lambda: fanin.param_groups(net(), "adamw", lr=0.1), "plan must be a plan"),
    "watch a word": (lambda: fanin.watch(net(), "adam"), "torch.optim.Optimizer"),
    "float ids of numpy": (lambda: fanin.plan(Ids(), np.ones((2, 3))), "torch.as_tensor"),
    "no forward": (lambda: fanin.check(nn.ModuleList([nn.Linear(8, 4)]), X), "torch.nn.Sequential"),
    "no forward of its own": (lambda: fanin.plan(Unfinished(), X), "has no forward"),
    "inputs on meta": (lambda: fanin.check(net(), X.to("meta")), "has no numbers"),
    "targets on meta": (lambda: fanin.check(net(), X, Y.to("meta")), "has no numbers"),
    "model on meta": (lambda: fanin.check(net().to("meta"), X), "plan.materialize(model)"),
    "no inputs in a dict": (lambda: fanin.check(net(), {}), "an empty dict"),
    "seeds as text": (lambda: fanin.check(net, X, seeds="3"), "a whole number >= 1"),
    "seed as text": (lambda: fanin.check(net(), X, seed="0"), "int(seed) % 2**64"),
    "seed of a check": (lambda: fanin.check(net(), X, seed=2**70), "int(seed) % 2**64"),
    "training as text": (lambda: fanin.check(net(), X, training="yes"), "True, False, None"),
    "predict as text": (lambda: fanin.check(net(), X, predict="no"), "True, False, None"),
    "trial as text": (lambda: fanin.init_(net(), X, trial="no"), "True, False"),
    "an empty code": (lambda: fanin.check(net(), X, select=[""]), "the nearest of"),
    "no such settings": (lambda: fanin.check(net(), X, config="nowhere"), "correct its name"),
    "recipe as a law": (lambda: fanin.plan(net(), X, recipe=fanin.initializers.he_normal()), "overrides="),
    "override by number": (lambda: fanin.plan(net(), X, overrides={0: "zeros"}), "a glob on names"),
    "override as a tensor": (lambda: fanin.plan(net(), X, overrides={"*": X}), "or None to keep"),
    "missing as a number": (lambda: fanin.plan(net(), X, missing=3), "load_state_dict"),
    "targets of init_": (lambda: fanin.init_(net(), X, targets=Y + 50), "from 0 to 3"),
    "loss of init_": (lambda: fanin.init_(net(), X, targets=Y, loss="ce"), "give the function"),
    "plan by number": (lambda: fanin.Plan.load(3), "named by text or a path"),
    "report by number": (lambda: fanin.check(net(), X).save(3), "named by text or a path"),
    "rename by number": (lambda: fanin.plan(net(), X).apply_(net(), rename=3), "a mapping of names"),
    "z below zero": (lambda: fanin.plan(net(), X).verify(net(), z=-1), "a finite number > 0"),
    "part as text": (lambda: fanin.plan(net(), X).write("new", part="1/2"), "as in (0, 4)"),
    "no such device": (lambda: fanin.plan(net(), X).materialize(net().to("meta"), device="gpu"), "such as 'cpu'"),
    "device not here": (lambda: fanin.plan(net(), X).materialize(net().to("meta"), device="xla"), "such as 'cpu'"),
    "calibrate by number": (lambda: fanin.calibrate(net(), X, only=3), "a pattern on names"),
    "calibrate meta": (lambda: fanin.calibrate(net(), X.to("meta")), "has no numbers"),
    "fans of a number": (lambda: fanin.fans(3), "weight.shape"),
    "fans of a tensor": (lambda: fanin.fans(X), "weight.shape"),
    "fans below zero": (lambda: fanin.fans((-3, 4)), "whole numbers >= 0"),
    "widths as text": (lambda: fanin.coordinate_check(needs, "8,16", X), "[64, 128, 256]"),
    "width of none": (lambda: fanin.coordinate_check(net, [8, 16], X), "lambda width:"),
    "width of nothing": (lambda: fanin.coordinate_check(lambda width: net(), [8, 16], X), "use its argument"),
    "a model for widths": (lambda: fanin.coordinate_check(net(), [8, 16], X), "lambda width:"),
    "watch to the end": (lambda: watched(steps="all"), "a whole number >= 1"),
    "watch and fail": (lambda: watched(fail_on="fatal"), "'note', 'warning', 'error'"),
    "watch a loss": (lambda: watched(loss="ce"), "give the function"),
    "grow by a name": (lambda: fanin.grow_(X.clone(), 2, "normal", name="w"), "Normal(std=0.02)"),
    "grow a list": (
        lambda: fanin.grow_([[1]], 0, fanin.initializers.Normal(std=1.0), name="w"),
        "a parameter of torch",
    ),
    "a class that needs sizes": (lambda: compare(nn.Linear, ARRAYS, **TINY), "lambda: MyModel(...)"),
    "rates as one number": (lambda: compare(net, ARRAYS, inits={"a": None}, lrs=0.1, steps=1), "[1e-3, 1e-2]"),
    "seeds of a comparison": (lambda: compare(net, ARRAYS, seeds="a", **TINY), "[0, 1, 2]"),
    "loss of a comparison": (lambda: compare(net, ARRAYS, loss="ce", **TINY), "give the function"),
    "rows without a target": (lambda: compare(net, (X, Y[:3]), **TINY), "one target for each row"),
    "rows of a wrong width": (lambda: compare(net, (X[:, :5], Y), batch_size=6, **TINY), "try model(*inputs)"),
    "labels out of range": (lambda: compare(net, (X, Y + 50), batch_size=6, **TINY), "try loss(output, targets)"),
    "a builder of numbers": (lambda: compare(lambda: 3, ARRAYS, batch_size=6, **TINY), "torch.nn.Module"),
}


def refused(call, cure: str) -> None:
    with pytest.raises(FaninError) as raised:
        call()
    assert cure in str(raised.value)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("name", MODELS)
def test_what_is_no_model_is_named(name, function):
    given, cure = MODELS[name]
    if function == "check" and given is Ids:  # a class that needs no arguments is a factory
        return
    refused(lambda: FUNCTIONS[function](given, X), cure)


@pytest.mark.parametrize("function", few(FUNCTIONS, every=2))
@pytest.mark.parametrize("name", INPUTS)
def test_what_are_no_inputs_is_named_and_the_model_stays(name, function):
    make, given, cure = INPUTS[name]
    if function == "plan" and name in VALUES:
        return
    model = make()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    refused(lambda: FUNCTIONS[function](model, given), cure)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", few(CALLS, every=2))
def test_every_other_wrong_call_names_its_cure_and_writes_nothing(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(*CALLS[name])
    assert list(tmp_path.iterdir()) == []


def test_the_check_for_a_cure_can_fail():
    with pytest.raises(AssertionError):
        refused(lambda: fanin.plan(net(), X, frozen="yes"), "cross-entropy")
    with pytest.raises(pytest.fail.Exception):
        refused(lambda: fanin.plan(net(), X), "")
