"""Single operations whose moments are known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fanin.graph.recording.capture import capture
from fanin.moments import JointMoments, WeightMoments, propagate
from fanin.moments.hermite import gaussian_image


class Of(nn.Module):
    """A function of the inputs and of the module's own layers."""

    def __init__(self, fn, **layers):
        super().__init__()
        self.fn = fn
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *inputs):
        return self.fn(self, *inputs)


def followed(fn, *inputs, weights=None, var=1.0, **layers):
    """Moments of the output for independent N(0, var) inputs."""
    graph = capture(Of(fn, **layers), inputs)
    given = {v: JointMoments.iid(graph.value(v).shape, var=var) for v in graph.inputs if graph.value(v).is_float}
    moments = propagate(graph, weights or {}, given)
    return moments[graph.outputs[0].value]


# ---------------------------------------------------------------------- tables
@pytest.mark.parametrize(("ids", "second"), [(range(8), 0.25 + 1 / 8), ([3] * 8, 1.25), ([0, 1] * 4, 0.25 + 1 / 2)])
def test_rows_of_a_table_share_its_mean_and_equal_ones_everything(ids, second):
    """The mean over eight rows of N(0.5, 1)."""
    found = followed(
        lambda m, i: m.table(i).mean(1),
        torch.tensor([list(ids)] * 2),
        weights={"table.weight": WeightMoments(mean=0.5, var=1.0)},
        table=nn.Embedding(50, 16),
    )
    assert found.provenance == "theory"
    assert found.moments.second_moment == pytest.approx(second, rel=1e-9)


# ---------------------------------------------------------------------- spreads and lengths
X = torch.zeros(3, 64)


@pytest.mark.parametrize(
    ("fn", "value"),
    [
        (lambda m, x: x.std(-1), 2.0 * math.sqrt(64 / 63)),
        (lambda m, x: x.std(-1, unbiased=False), 2.0),
        (lambda m, x: x.var(-1), 4.0 * 64 / 63),
        (lambda m, x: x.var(-1, unbiased=False), 4.0),
        (lambda m, x: x.norm(dim=-1), 2.0 * 8.0),
    ],
    ids=["std", "std of all", "variance", "variance of all", "norm"],
)
def test_the_spread_of_many_numbers_is_a_constant(fn, value):
    assert followed(fn, X, var=4.0).moments.mean == pytest.approx(value, rel=0.02)


@pytest.mark.parametrize("length", [1.0, 3.0])
def test_a_normed_weight_has_the_length_that_it_is_given(length):
    """Rows of length g: the output of N(0, 1) inputs has variance g²."""
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(64, 32, bias=False))
    weights = {
        "layer.parametrizations.weight.original0": WeightMoments(mean=length),
        "layer.parametrizations.weight.original1": WeightMoments(var=7.0),
    }
    found = followed(lambda m, x: m.layer(x), X, weights=weights, layer=layer)
    assert found.moments.second_moment == pytest.approx(length**2, rel=0.02)


# ---------------------------------------------------------------------- attention
def attention(*shape, causal):
    inputs = (torch.zeros(shape) for _ in range(3))
    return followed(lambda m, q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=causal), *inputs)


def test_attention_without_an_axis_of_heads_is_attention_of_one_head():
    seconds = []
    for causal in (False, True):
        bare, one = attention(3, 16, 4, causal=causal), attention(3, 1, 16, 4, causal=causal)
        assert bare.provenance == one.provenance == "theory"
        assert bare.moments.second_moment == pytest.approx(one.moments.second_moment, rel=0.1)
        seconds.append(bare.moments.second_moment)
    assert seconds[1] > 1.2 * seconds[0]  # the first tokens attend to few others


# ---------------------------------------------------------------------- functions
def test_the_image_under_a_function_without_values_is_unknown_in_the_usual_shape():
    lost, usual = (gaussian_image(f, mean=0.0, var=1.0) for f in (lambda z: z * np.nan, np.tanh))
    assert lost.energies.shape == usual.energies.shape
    assert lost.lost == 1.0
    assert np.isnan(lost.pair(np.array(0.5)))
