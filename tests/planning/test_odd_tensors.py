"""Quantised, sparse, scripted, empty: it works, or one sentence of fanin's own says why not; nothing ends otherwise."""

import warnings

import pytest
import torch
from torch import nn

import fanin
from fanin.errors import FaninError

X = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
IDS = torch.arange(30).reshape(6, 5) % 10
Y = torch.tensor([0, 1, 2, 0, 1, 2])


def mlp():
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


class Empty(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.table = nn.Linear(8, 0), nn.Linear(0, 3), nn.Embedding(0, 4)

    def forward(self, x):
        return self.b(self.a(x))


class Coded(torch.Tensor):
    """A class that keeps its numbers in its own way and knows few operations, as quantised weights do."""

    @staticmethod
    def __new__(cls, data):
        return torch.Tensor._make_wrapper_subclass(cls, data.shape, dtype=data.dtype)

    def __init__(self, data):
        self.data_ = data.to(torch.float16)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.detach.default:
            return Coded(args[0].data_.float())
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.t):
            plain = [a.data_.float() if isinstance(a, Coded) else a for a in args]
            return func(*plain, **(kwargs or {}))
        raise NotImplementedError(f"Coded does not implement {func}")


def with_weight(weight, grad=False):
    model = mlp()
    model[0].weight = nn.Parameter(weight, requires_grad=grad)
    return model


MODELS = {
    "layers of size 0": (Empty, X),
    "quantize_dynamic": (lambda: torch.ao.quantization.quantize_dynamic(mlp(), {nn.Linear}), X),
    "one layer quantised": (lambda: torch.ao.quantization.quantize_dynamic(mlp(), {"0"}), X),
    "sparse gradients": (
        lambda: nn.Sequential(nn.Embedding(10, 16, sparse=True), nn.Flatten(), nn.Linear(80, 3)),
        IDS,
    ),
    "sparse bag": (lambda: nn.Sequential(nn.EmbeddingBag(10, 16, sparse=True, mode="sum"), nn.Linear(16, 3)), IDS),
    "sparse weight": (lambda: with_weight(torch.eye(16, 8).to_sparse(), grad=True), X),
    "a class of its own": (lambda: with_weight(Coded(torch.randn(16, 8))), X),
    "8-bit floats": (lambda: with_weight(torch.randn(16, 8).to(torch.float8_e4m3fn)), X),
    "scripted": (lambda: torch.jit.script(mlp()), X),
    "traced": (lambda: torch.jit.trace(mlp(), X), X),
    "frozen script": (lambda: torch.jit.freeze(torch.jit.script(mlp()).eval()), X),
    "script inside": (lambda: nn.Sequential(mlp(), torch.jit.script(nn.Linear(3, 3))), X),
    "no parameters": (lambda: nn.Sequential(nn.Flatten(), nn.ReLU()), X),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(16), nn.Linear(16, 3)), X),
}
WORKS = ("layers of size 0", "quantize_dynamic", "one layer quantised", "sparse gradients", "sparse bag", "scripted")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("recipe", ["auto", "torch", "keep"])
@pytest.mark.parametrize("name", MODELS)
def test_everything_works_or_says_why_not(name, recipe):
    build, inputs = MODELS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = build()
    steps = {
        "plan": lambda: fanin.plan(model, inputs, recipe=recipe, on_unknown="keep"),
        "init_": lambda: fanin.init_(model, inputs, recipe=recipe, on_unknown="keep"),
        "verify": lambda: fanin.plan(model, inputs, recipe=recipe, on_unknown="keep").verify(model),
        "bits": lambda: fanin.plan(model, inputs, recipe=recipe, on_unknown="keep").verify(model, bits=True),
        "diff": lambda: str(fanin.plan(model, inputs, recipe=recipe, on_unknown="keep").diff(model)),
        "check": lambda: fanin.check(model, inputs, targets=Y),
    }
    said = {}
    for step, run in steps.items():
        try:
            run()
        except FaninError as error:
            said[step] = str(error)
    if name in WORKS:
        assert said == {}
    assert all(said.values())
