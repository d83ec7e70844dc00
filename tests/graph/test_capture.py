"""Capture: what is recorded, that nothing is left behind, and what is said when a model cannot be read."""

import pytest
import torch
from torch import nn

from fanin.errors import CaptureError
from fanin.graph.recording.capture import capture
from fanin.graph.recording.replay import run_all
from fanin.graph.verify import verify


def names(graph):
    return [op.name for op in graph.ops]


def replayed(model, x):
    """The graph, and what it gives when it is run again."""
    g = verify(capture(model, x))
    held = dict(model.named_parameters())
    (got,) = run_all(g, {p.value: held[p.name].detach() for p in g.parameters.values()}).values()
    return g, got


def test_ops_in_order_with_modules_and_shapes():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    g = verify(capture(model, torch.zeros(3, 4)))
    assert [(op.name, op.module) for op in g.ops] == [("linear", "0"), ("relu", "1"), ("linear", "2")]
    assert [g.value(op.output).shape for op in g.ops] == [(3, 8), (3, 8), (3, 2)]
    assert g.producer(g.ops[1].inputs[0]) is g.ops[0]
    assert g.consumers(g.ops[0].output) == (g.ops[1],)
    assert g.uses("2.bias") == (g.ops[2],)


def test_repeated_calls_are_numbered():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Linear(4, 4)

        def forward(self, x):
            return self.f(self.f(x))

    g = verify(capture(Twice(), torch.zeros(2, 4)))
    assert [(op.module, op.call) for op in g.ops] == [("f", 0), ("f", 1)]


def test_attention_is_seen_inside():
    mha = nn.MultiheadAttention(16, 4, batch_first=True)
    x = torch.randn(2, 5, 16)
    g = verify(capture(mha, (x, x, x)))
    assert {"linear", "softmax", "bmm"} <= set(names(g)) or "scaled_dot_product_attention" in names(g)


def test_a_write_through_a_view_is_seen():
    class Writes(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Linear(4, 4)

        def forward(self, x):
            y = torch.zeros(2, 4)
            half = y[:, :2]
            half.copy_(self.f(x)[:, :2])
            return y

    torch.manual_seed(0)
    model, x = Writes(), torch.randn(2, 4)
    g, got = replayed(model, x)
    assert any(op.name == "linear" for op in g.live_ops())
    torch.testing.assert_close(got, model(x).detach())


class Applied(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.f, self.function = nn.Linear(4, 4), function

    def forward(self, x):
        return self.function(self.f, x)


def into_a_larger_one(f, x):
    y = torch.zeros(3, 8)
    torch.mm(x, f.weight, out=y[:, 2:6])
    return 2 * y


def into_none_of_its_size(f, x):
    y = torch.empty(0)
    torch.mm(x, f.weight, out=y)
    return y.relu()


def into_two(f, x):
    y, places = torch.empty(3), torch.empty(3, dtype=torch.long)
    torch.max(f(x), 1, out=(y, places))
    return y + places


def into_its_operand(f, x):
    y = f(x)
    seen = y.view(-1)
    torch.clamp(y, min=0, out=y)
    return 3 * seen


def twice_into_one(f, x):
    y = torch.empty(3, 4)
    z = torch.mm(x, f.weight, out=y).relu()
    torch.ops.aten.mm.out(z, f.weight, out=y)
    return y + z


def before_a_map(f, x):
    y = torch.empty(3, 4)
    torch.mul(x, 3, out=y)
    return f(y)


@pytest.mark.parametrize(
    "function",
    [
        into_a_larger_one,
        into_none_of_its_size,
        into_two,
        into_its_operand,
        twice_into_one,
        before_a_map,
    ],
)
def test_results_that_are_put_into_tensors_of_the_caller_are_followed(function):
    torch.manual_seed(0)
    model, x = Applied(function).requires_grad_(False), torch.randn(3, 4)  # torch asks this of maps that do
    g, got = replayed(model, x)
    torch.testing.assert_close(got, model(x))
    assert any(op.name in ("mm", "linear") for op in g.live_ops())


def test_replay_gives_the_outputs():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 2))
    x = torch.randn(3, 4)
    torch.testing.assert_close(replayed(model, x)[1], model(x).detach())


def test_a_failing_forward_names_its_module():
    model = nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.Linear(9, 2)))
    with pytest.raises(CaptureError, match=r"in module '1\.0' \(Linear\)"):
        capture(model, torch.zeros(3, 4))


def test_lazy_modules_are_refused_with_advice():
    with pytest.raises(CaptureError, match=r"lazy modules.*run model"):
        capture(nn.Sequential(nn.LazyLinear(3)), torch.zeros(3, 4))
