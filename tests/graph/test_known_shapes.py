"""Results that a capture makes without torch's fake kernels are those that the kernels make, or are left to them."""

import contextlib

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from fanin.graph.recording.known_shapes import known_result

LINEAR = torch._C._nn.linear
SHAPES = {"x": (2, 5, 8), "row": (8,), "map": (4, 8), "bias": (4,), "plane": (5, 8)}


def operands(mode, dtype=torch.float32):
    with mode:
        return {name: torch.empty(shape, dtype=dtype) for name, shape in SHAPES.items()}


CALLS = {
    "linear": lambda t: (LINEAR, (t["x"], t["map"], t["bias"]), {}),
    "linear without bias": lambda t: (LINEAR, (t["x"], t["map"]), {}),
    "linear of a row": lambda t: (LINEAR, (t["row"], t["map"], None), {}),
    "relu": lambda t: (torch.relu, (t["x"],), {}),
    "a method": lambda t: (torch.Tensor.tanh, (t["x"],), {}),
    "gelu": lambda t: (torch._C._nn.gelu, (t["x"],), {"approximate": "tanh"}),
    "silu": lambda t: (torch._C._nn.silu, (t["x"],), {}),
    "sum": lambda t: (torch.Tensor.add, (t["x"], t["x"]), {}),
    "layer norm": lambda t: (torch.layer_norm, (t["x"], (8,), t["row"], t["row"], 1e-5, False), {}),
    "layer norm of planes": lambda t: (torch.layer_norm, (t["x"], [5, 8], t["plane"], None), {}),
    "no dropout": lambda t: (torch.dropout, (t["x"], 0.0, True), {}),
    "dropout off": lambda t: (torch.dropout, (t["x"], 0.5, False), {}),
}
LEFT = {
    "another operation": lambda t: (torch.exp, (t["x"],), {}),
    "memory with gaps": lambda t: (torch.relu, (t["x"][..., ::2],), {}),
    "turned": lambda t: (torch.relu, (t["x"].transpose(0, 1),), {}),
    "a turned map": lambda t: (LINEAR, (t["x"], t["map"].t().contiguous().t()), {}),
    "a map of another width": lambda t: (LINEAR, (t["x"][..., :4].contiguous(), t["map"]), {}),
    "a bias of another width": lambda t: (LINEAR, (t["x"], t["map"], t["row"]), {}),
    "two dtypes": lambda t: (LINEAR, (t["x"], t["map"].double()), {}),
    "whole numbers": lambda t: (torch.relu, (t["x"].long(),), {}),
    "broadcast": lambda t: (torch.Tensor.add, (t["x"], t["row"]), {}),
    "a number": lambda t: (torch.Tensor.add, (t["x"], 1.0), {}),
    "a multiple": lambda t: (torch.add, (t["x"], t["x"]), {"alpha": 2}),
    "a target": lambda t: (torch.add, (t["x"], t["x"]), {"out": t["x"].clone()}),
    "a norm of another width": lambda t: (torch.layer_norm, (t["x"], (5,), None, None), {}),
    "dropout": lambda t: (torch.dropout, (t["x"], 0.5, True), {}),
    "nothing": lambda t: (torch.relu, (t["x"][:0],), {}),
    "a list": lambda t: (torch.relu, ([t["x"]],), {}),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_known_result_is_what_the_kernel_makes(call, dtype):
    mode = FakeTensorMode()
    func, args, kwargs = call(operands(mode, dtype))
    with torch.no_grad(), mode:
        made, want = known_result(mode, func, args, kwargs), func(*args, **kwargs)
    assert made is not None
    for fact in ("shape", "dtype", "device", "requires_grad", "fake_mode"):
        assert getattr(made, fact) == getattr(want, fact)
    assert made.stride() == want.stride()
    assert (made is args[0]) == (want is args[0])
    shares = made.untyped_storage()._cdata == args[0].untyped_storage()._cdata
    assert shares == (want is args[0])


@pytest.mark.parametrize("call", LEFT.values(), ids=LEFT)
def test_what_is_not_plain_is_left_to_torch(call):
    mode = FakeTensorMode()
    with torch.no_grad(), mode:
        func, args, kwargs = call(operands(mode))
        assert known_result(mode, func, args, kwargs) is None


class Function(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


class Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "watch",
    [torch.enable_grad, Function, Dispatch, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)],
    ids=["gradients", "a function mode", "a dispatch mode", "inference", "autocast"],
)
def test_where_others_look_at_operations_they_are_left_to_torch(watch):
    mode = FakeTensorMode()
    func, args, kwargs = CALLS["linear"](operands(mode))
    with torch.no_grad(), mode:
        assert known_result(mode, func, args, kwargs) is not None
        with watch():
            assert known_result(mode, func, args, kwargs) is None


def test_tensors_of_another_mode_or_of_none_are_left_to_torch():
    mode, other = FakeTensorMode(), FakeTensorMode()
    func, args, kwargs = CALLS["linear"](operands(other))
    with torch.no_grad():
        assert known_result(mode, func, args, kwargs) is None
        assert known_result(mode, torch.relu, (torch.zeros(3),), {}) is None
        assert known_result(mode, torch.relu, (), {}) is None


def test_a_capture_under_autocast_sees_the_dtypes_of_autocast():
    from fanin.graph.recording.capture import capture

    class Mixed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.map = torch.nn.Linear(8, 8)

        def forward(self, x, on):
            with torch.autocast("cpu", torch.bfloat16) if on else contextlib.nullcontext():
                return F.relu(self.map(x))

    for on, dtype in ((True, "bfloat16"), (False, "float32")):
        graph = capture(Mixed(), (torch.zeros(2, 8), on))
        assert {graph.values[op.output].dtype for op in graph.ops if op.name in ("linear", "relu")} == {dtype}
