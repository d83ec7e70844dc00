"""The graph's grammar: `verify` accepts what `capture` makes and names what is broken; the docs print it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from fanin.errors import CaptureError
from fanin.graph.ir import Ref
from fanin.graph.recording.capture import capture
from fanin.graph.verify import GRAMMAR, verify
from fanin.model.operations import canonical_name, is_inplace


@pytest.fixture(scope="module")
def graph():
    return capture(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.zeros(3, 4))


def with_op(graph, index, **changes):
    ops = list(graph.ops)
    ops[index] = replace(ops[index], **changes)
    return replace(graph, ops=tuple(ops))


def test_a_captured_graph_keeps_its_grammar(graph):
    assert verify(graph) is graph


BROKEN = {
    "indices": lambda g: replace(g, values=(g.values[1], g.values[0], *g.values[2:])),
    "single assignment": lambda g: with_op(g, 1, outputs=g.ops[0].outputs),
    "topological": lambda g: with_op(
        g, 0, args=(Ref(g.ops[2].output), *g.ops[0].args[1:]), inputs=(g.ops[2].output, *g.ops[0].inputs[1:])
    ),
    "references": lambda g: with_op(g, 1, inputs=()),
    "leaves": lambda g: replace(g, values=tuple(replace(v, name="") if v.kind == "parameter" else v for v in g.values)),
    "parameters": lambda g: replace(g, parameters={n: replace(p, shape=(1,)) for n, p in g.parameters.items()}),
    "names": lambda g: replace(g, parameters={n: replace(p, aliases=("0.weight",)) for n, p in g.parameters.items()}),
    "scopes": lambda g: with_op(g, 0, scope=(("elsewhere", 0),)),
    "outputs": lambda g: replace(g, outputs=(replace(g.outputs[0], value=10_000),)),
    "in place": lambda g: with_op(g, 0, inplace=True),
    "contractions": lambda g: with_op(g, 2, args=g.ops[0].args, inputs=g.ops[0].inputs),
}


@pytest.mark.parametrize("rule", [r.name for r in GRAMMAR])
def test_every_rule_catches_its_breach(graph, rule):
    broken = BROKEN[rule](graph)
    (checked,) = (r for r in GRAMMAR if r.name == rule)
    assert not list(checked.breaches(graph))
    assert list(checked.breaches(broken))


def test_a_broken_graph_is_refused_with_the_rule(graph):
    with pytest.raises(CaptureError, match="breaks its grammar in 1 place: references: op 1"):
        verify(BROKEN["references"](graph))


def test_the_docs_print_the_grammar():
    page = Path(__file__).parents[2].joinpath("docs/science/graph.md").read_text()
    assert all(f"| {r.name} | {r.says} |" in page for r in GRAMMAR)


def test_the_graph_is_frozen(graph):
    with pytest.raises(AttributeError, match="cannot assign"):
        graph.ops = ()


@pytest.mark.parametrize(
    ("func", "name", "inplace"),
    [
        (torch.Tensor.__iadd__, "add", True),
        (torch.Tensor.add_, "add", True),
        (torch.add, "add", False),
        (torch.Tensor.__truediv__, "div", False),
        (torch.Tensor.__setitem__, "setitem", True),
        (torch.Tensor.T.__get__, "T", False),
        (torch.ops.aten._softmax.default, "softmax", False),
        (torch.concat, "cat", False),
    ],
)
def test_spellings_of_one_operation_share_a_name(func, name, inplace):
    assert (canonical_name(func), is_inplace(func)) == (name, inplace)
