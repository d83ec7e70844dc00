"""`propagate` as its callers use it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fanin.errors import ArgumentError
from fanin.graph.recording.capture import capture
from fanin.moments import JointMoments, WeightMoments, propagate, read_weights
from fanin.moments.algebra import mixed_width_var


class Sorted(nn.Module):
    """Uses an op that no rule knows."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(64, 64), nn.Linear(64, 8)

    def forward(self, x):
        return self.b(torch.sort(self.a(x), dim=-1).values)


def mlp(width=256, depth=4):
    layers = [m for _ in range(depth) for m in (nn.Linear(width, width, bias=False), nn.ReLU())]
    return nn.Sequential(*layers)


def test_he_keeps_the_second_moment_and_the_gradient():
    graph = capture(mlp(), torch.zeros(32, 256))
    moments = propagate(graph, lambda p, op, reads: WeightMoments(var=2.0 / 256), "standard", cotangent="unit")
    for op in graph.ops:
        if op.name == "linear":
            assert moments[op.output].moments.second_moment == pytest.approx(2.0, rel=1e-4)
    assert moments[graph.inputs[0]].gradient.second_moment == pytest.approx(1.0, rel=1e-4)


def test_finite_width_adds_kappa_over_n_a_layer():
    graph = capture(mlp(width=128, depth=8), torch.zeros(1, 128))
    moments = propagate(graph, lambda p, op, reads: WeightMoments(var=2.0 / 128), "standard")
    last = moments[graph.outputs[0].value].moments
    assert last.width_var + last.own_var == pytest.approx(2.0 / 128 + 8 * 5.0 / 128, rel=0.01)


def test_a_rule_chooses_weights_from_what_they_read():
    seen = []

    def unit_output(parameter, op, reads):
        seen.append((parameter.name, op.name, reads.second_moment))
        return WeightMoments(var=1.0 / (parameter.shape[-1] * reads.second_moment))

    graph = capture(mlp(depth=3), torch.zeros(4, 256))
    moments = propagate(graph, unit_output, "standard")
    outputs = [moments[op.output].moments.second_moment for op in graph.ops if op.name == "linear"]
    assert outputs == pytest.approx([1.0, 1.0, 1.0])
    assert [(n, o) for n, o, _ in seen] == [("0.weight", "linear"), ("2.weight", "linear"), ("4.weight", "linear")]
    assert seen[1][2] == pytest.approx(0.5, rel=1e-4)


def test_a_rule_is_asked_once_for_a_shared_weight():
    model = mlp(depth=2)
    model[2].weight = model[0].weight
    asked = []
    graph = capture(model, torch.zeros(4, 256))
    propagate(graph, lambda p, op, reads: asked.append(p.name) or WeightMoments(var=0.01))
    assert asked == ["0.weight"]


def test_a_missing_parameter_is_named():
    graph = capture(mlp(depth=1), torch.zeros(4, 256))
    with pytest.raises(ArgumentError, match=r"'0\.weight'"):
        propagate(graph, {})


def test_ops_without_a_rule_are_sampled_and_say_so():
    graph = capture(Sorted(), torch.zeros(16, 64))
    moments = propagate(graph, lambda p, op, reads: WeightMoments(var=1.0 / 64), "standard")
    kinds = {op.name: moments[op.output].provenance for op in graph.ops}
    assert kinds["linear"] == "empirical"
    assert moments[graph.ops[0].output].provenance == "theory"
    # sorting leaves each row's mean square alone
    assert moments[graph.outputs[0].value].moments.second_moment == pytest.approx(1.0 + 1 / 64, rel=0.1)


def test_what_cannot_be_sampled_is_unknown_and_so_is_what_follows():
    def refuse(*args, **kwargs):
        raise RuntimeError("not now")

    graph = capture(Sorted(), torch.zeros(16, 64))
    ops = tuple(replace(op, func=refuse) if op.name == "sort" else op for op in graph.ops)
    graph = replace(graph, ops=ops)
    moments = propagate(graph, lambda p, op, reads: WeightMoments(var=0.1), "standard")
    last = moments[graph.outputs[0].value]
    assert (last.moments, last.provenance) == (None, "unknown")
    assert any("sort could not be sampled (RuntimeError: not now)" in note for note in moments.notes)


def test_live_weights_and_example_inputs():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 32))
    x = 3.0 * torch.randn(64, 64)
    graph = capture(model, x)
    moments = propagate(graph, read_weights(model))
    assert moments[graph.outputs[0].value].moments.std == pytest.approx(float(model(x).detach().std()), rel=0.1)


def test_nothing_is_allocated_for_a_model_on_meta():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(1 << 15, 1 << 17, bias=False), nn.ReLU(), nn.Linear(1 << 17, 4, bias=False))
    graph = capture(model, torch.zeros(2, 1 << 15))
    moments = propagate(graph, lambda p, op, reads: WeightMoments(var=1.0 / p.shape[1]), "standard", cotangent="unit")
    assert moments[graph.outputs[0].value].moments.second_moment == pytest.approx(0.5, rel=1e-4)
    assert moments[graph.parameters["0.weight"].value].gradient is not None


def test_global_random_state_stays_as_it_is():
    graph = capture(Sorted(), torch.zeros(16, 64))
    before = torch.get_rng_state()
    first = propagate(graph, lambda p, op, reads: WeightMoments(var=0.01), "standard", seed=3)
    assert torch.equal(before, torch.get_rng_state())
    second = propagate(graph, lambda p, op, reads: WeightMoments(var=0.01), "standard", seed=3)
    out = graph.outputs[0].value
    assert first[out].moments.second_moment == second[out].moments.second_moment


def test_dropout_counts_when_training():
    model = nn.Sequential(nn.ReLU(), nn.Dropout(0.5))
    graph = capture(model, torch.zeros(4, 64))
    still = propagate(graph, {}, "standard")[graph.outputs[0].value].moments
    assert still.second_moment == pytest.approx(0.5, rel=1e-4)


def test_repeated_tokens_share_their_embedding():
    model = nn.Embedding(50, 32)
    ids = torch.tensor([[1, 2, 3, 1], [1, 2, 3, 1]])
    moments = propagate(capture(model, ids), {"weight": WeightMoments(var=1.0)})
    out = moments[capture(model, ids).outputs[0].value].moments
    assert out.second_moment == pytest.approx(1.0)
    assert out.cosine(0) == pytest.approx(1.0)  # the same sentence twice
    assert out.cosine(1) == pytest.approx(2.0 / 12.0)  # one pair of places out of six holds the same word


def test_given_input_moments_are_used():
    graph = capture(nn.Linear(64, 64, bias=False), torch.zeros(8, 64))
    x = JointMoments.iid((8, 64), var=4.0)
    moments = propagate(graph, {"weight": WeightMoments(var=1 / 64)}, {graph.inputs[0]: x})
    assert moments[graph.outputs[0].value].moments.second_moment == pytest.approx(4.0)


class Late(nn.Module):
    """Many layers, and at their end an op without a rule."""

    def __init__(self, depth):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(16, 16, bias=False) for _ in range(depth))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return torch.sort(x, dim=-1).values


def test_an_op_without_a_rule_is_sampled_however_deep_it_is():
    graph = capture(Late(400), torch.zeros(8, 16))
    moments = propagate(graph, lambda p, op, reads: WeightMoments(var=1.0 / 16), "standard")
    last = moments[graph.outputs[0].value]
    assert last.provenance == "empirical", moments.notes
    assert last.moments.second_moment == pytest.approx(1.0, rel=0.3)


@pytest.mark.parametrize("shares", [(1.0,), (0.5, 0.5), (0.25, 0.75)])
def test_terms_that_width_moves_together_move_their_sum_as_far(shares):
    """Parts of one signal: their sum is that signal, and so is how far finite width moves it."""
    whole = replace(JointMoments.iid((4, 8), var=2.0), width_var=0.09)
    kernel = np.asarray(whole.kernel)
    parts = [replace(whole, kernel=kernel * share) for share in shares]
    assert mixed_width_var(parts, kernel) == pytest.approx(0.09)


class Flipped(nn.Module):
    """Many operations that keep the moments, then one without a rule."""

    def __init__(self, times):
        super().__init__()
        self.times = times

    def forward(self, x):
        for _ in range(self.times):
            x = x.flip(-1)
        return torch.sort(x, dim=-1).values


def test_a_sampled_operation_behind_a_long_chain_is_drawn_from_near_by():
    """Its operand is drawn again from the first one only over so many steps; a thousand would exhaust the stack."""
    graph = capture(Flipped(1100), torch.zeros(2, 4))
    moments = propagate(graph, {}, "standard")
    assert moments.notes == ()
    assert moments[graph.outputs[0].value].moments.second_moment == pytest.approx(1.0, rel=0.5)


class Limited(nn.Module):
    """At most a number that the model holds."""

    def __init__(self, limit):
        super().__init__()
        self.register_buffer("limit", torch.tensor(limit))

    def forward(self, x):
        return torch.minimum(x, self.limit)


@pytest.mark.parametrize(("limit", "second"), [(float("inf"), 1.0), (0.0, 0.5), ([0.0], 0.5), (0, 0.5)])
def test_one_number_is_a_constant_of_a_function_also_if_it_is_infinite(limit, second):
    graph = capture(Limited(limit), torch.zeros(2, 4))
    found = propagate(graph, {}, "standard")[graph.outputs[0].value]
    assert found.provenance == "theory"
    assert found.moments.second_moment == pytest.approx(second, rel=1e-9)


class Numbers(nn.Module):
    """What it computes from known numbers: places, and a scaled table."""

    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.tensor([1.0, -3.0]))

    def forward(self, x):
        places = torch.arange(2) + 1
        scaled = self.table * 2.0
        return x * scaled[0] + places.sum()


def test_known_numbers_have_moments_where_they_are_no_places():
    graph = capture(Numbers(), torch.zeros(2, 4))
    moments = propagate(graph, {}, "standard")
    made = {op.name: moments[op.output].moments for op in graph.ops[:3]}
    assert made["mul"].mean == -2.0
    assert made["mul"].second_moment == 20.0
    assert made["add"] is None


class Residual(nn.Module):
    """x + relu(W x), `count` times; the last sum reads the first layer's output again."""

    def __init__(self, count):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8, 8, bias=False) for _ in range(count)])

    def forward(self, x):
        first = x = torch.relu(self.layers[0](x))
        for layer in self.layers[1:]:
            x = x + torch.relu(layer(x))
        return x + first


def test_a_term_that_a_stream_holds_already_is_added_before_it_is_squared():
    graph = capture(Residual(12), torch.zeros(32, 8))
    moments = propagate(graph, lambda p, op, reads: WeightMoments(var=1.0 / 8), "standard")
    stream, last = (moments[op.output].moments for op in (graph.ops[-2], graph.ops[-1]))
    first = moments[next(op for op in graph.ops if op.name == "relu").output].moments
    means = 2.0 * stream.mean * first.mean
    assert last.entry_var > stream.entry_var + 2.9 * first.entry_var  # (1 + 1)^2 - 1 times that of the term
    assert last.second_moment > stream.second_moment + first.second_moment + means
