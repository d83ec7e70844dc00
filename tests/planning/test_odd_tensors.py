"""Quantised, sparse, scripted, empty: it works, or one sentence of fanin's own says why not; nothing ends otherwise."""

import warnings

import pytest
import torch
from torch import nn

import fanin
from fanin.errors import FaninError
from tests.selection import few

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


DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_check_reads_tables_of_every_floating_dtype(dtype):
    model, x = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 32)).to(dtype), torch.randn(6, 16).to(dtype)
    report = fanin.check(model, x)
    assert {p.dtype for p in report.measurements.parameters} == {str(dtype).removeprefix("torch.")}
    assert all(0 < p.weight.rms < 1 for p in report.measurements.parameters)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
def test_floats_of_8_bits_are_measured_and_their_nan_is_seen(dtype):
    class Narrow(nn.Module):
        def __init__(self):
            super().__init__()
            self.w, self.out = nn.Parameter(torch.randn(32, 16).to(dtype), requires_grad=False), nn.Linear(32, 3)
            self.register_buffer("shift", torch.ones(32).to(dtype))

        def forward(self, x):
            return self.out(x @ self.w.float().t() + self.shift.to(x.dtype).to(dtype).float())

    model, x = Narrow(), torch.randn(6, 16)
    report = fanin.check(model, x, targets=Y)
    measured = {p.path: p.weight.rms for p in report.measurements.parameters}
    assert measured["w"] == pytest.approx(float(model.w.float().square().mean().sqrt()), rel=1e-3)
    assert fanin.init_(model, x).verify(model).ok
    with torch.no_grad():
        model.w[0, 0] = float("nan")
    assert [m.name for m in fanin.plan(model, x, recipe="keep").verify(model).mismatches] == ["w"]


def outcome(run):
    """What fanin says, "" where it works; everything but its own errors comes through."""
    try:
        run()
    except FaninError as error:
        return str(error) or "an error without a word"
    return ""


def test_an_error_of_another_family_is_seen():
    def fails():
        raise NotImplementedError("aten::mm")

    with pytest.raises(NotImplementedError):
        outcome(fails)
    assert outcome(lambda: fanin.plan(mlp(), X)) == ""
    assert outcome(lambda: fanin.plan(mlp(), X, overrides={"nothing": None})) != ""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("recipe", few(["auto", "torch", "keep"], "auto"))
@pytest.mark.parametrize("name", few(MODELS, every=2))
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
    said = {step: outcome(run) for step, run in steps.items()}
    if name in WORKS:
        assert not any(said.values())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("verb", ["plan", "check", "calibrate"])
def test_modules_inside_a_script_keep_their_flags_and_buffers(verb, inside):
    net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 3))
    model = torch.jit.script(net)
    whole = nn.Sequential(model, nn.ReLU()) if inside else model
    model[2].eval()
    before = [m.training for m in whole.modules()]
    running = {n: b.clone() for n, b in whole.named_buffers()}
    settings = {"on_unknown": "keep"} if verb == "plan" else {}
    getattr(fanin, verb)(whole, X, **settings)
    assert [m.training for m in whole.modules()] == before
    assert all(torch.equal(b, running[n]) for n, b in whole.named_buffers())


def test_a_complex_weight_is_planned_without_a_warning_of_torch():
    class Waves(nn.Module):
        def __init__(self):
            super().__init__()
            self.w, self.out = nn.Parameter(torch.randn(8, 4, dtype=torch.complex64)), nn.Linear(8, 3)

        def forward(self, x):
            return self.out(torch.view_as_real(x.to(torch.complex64) @ self.w).flatten(1))

    assert set(fanin.plan(Waves(), X, on_unknown="keep")) == {"w", "out.weight", "out.bias"}
    assert fanin.calibrate(Waves(), X).rows
    fanin.calibrate(Waves(), X, fanin.plan(Waves(), X, recipe="keep"))
