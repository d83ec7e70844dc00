"""Weights that reach their operation through views, slices and turns: the fans are those of the operation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import fanin
from fanin.graph.recording.capture import capture
from fanin.graph.roles.label import roles
from fanin.initializers import Normal, Orthogonal, PerPart, Zeros
from fanin.layout import Layout, LayoutError, fans, from_blocks, to_blocks


class Viewed(nn.Module):
    """One parameter, used in some way, then a layer of its own."""

    def __init__(self, shape, use):
        super().__init__()
        self.w, self.use, self.out = nn.Parameter(torch.randn(*shape)), use, nn.Linear(4, 2)

    def forward(self, x):
        return self.out(torch.relu(self.use(self.w, x)).flatten(1)[:, :4])


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


ROWS, PICTURES, SERIES = drawn(6, 32), drawn(2, 8, 6, 6), drawn(2, 5, 32)
linear, conv2d = functional.linear, functional.conv2d

# name: shape of the parameter, what is done with it, the data, terms summed into one output
CHAINS = {
    "t": ((32, 16), lambda w, x: linear(x, w.t()), ROWS, 32),
    "mT": ((16, 32), lambda w, x: x @ w.mT.contiguous(), ROWS, 32),
    "swapaxes": ((16, 32), lambda w, x: x @ w.swapaxes(0, 1), ROWS, 32),
    "conv from rows": ((16, 8 * 9), lambda w, x: conv2d(x, w.view(16, 8, 3, 3)), PICTURES, 72),
    "keras depthwise": (
        (3, 3, 8, 2),
        lambda w, x: conv2d(x, w.reshape(3, 3, 1, 16).permute(3, 2, 0, 1), groups=8),
        PICTURES,
        9,
    ),
    "depthwise, turned first": (
        (3, 3, 8, 2),
        lambda w, x: conv2d(x, w.permute(2, 3, 0, 1).reshape(16, 1, 3, 3), groups=8),
        PICTURES,
        9,
    ),
    "depthwise, flat": ((72,), lambda w, x: conv2d(x, w.view(8, 1, 3, 3), groups=8), PICTURES, 9),
    "grouped, flat": ((16 * 4 * 9,), lambda w, x: conv2d(x, w.view(16, 4, 3, 3), groups=2), PICTURES, 36),
    "hwio": ((3, 3, 8, 16), lambda w, x: conv2d(x, w.permute(3, 2, 0, 1)), PICTURES, 72),
    "moved axes": ((3, 3, 8, 16), lambda w, x: conv2d(x, w.moveaxis(-1, 0).moveaxis(-1, 1)), PICTURES, 72),
    "flipped": ((16, 8, 3, 3), lambda w, x: conv2d(x, w.flip(-1)), PICTURES, 72),
    "transposed, from rows": (
        (8, 4 * 4),
        lambda w, x: functional.conv_transpose2d(x, w.view(8, 4, 2, 2), stride=2),
        PICTURES,
        8,
    ),
    "pointwise": ((16, 8), lambda w, x: conv2d(x, w[:, :, None, None]), PICTURES, 8),
    "heads": ((32, 4, 8), lambda w, x: x @ w.reshape(32, 32), ROWS, 32),
    "heads, einsum": ((32, 4, 8), lambda w, x: torch.einsum("bi,ihd->bhd", x, w), ROWS, 32),
    "heads out": ((4, 8, 16), lambda w, x: x @ w.view(32, 16), ROWS, 32),
    "heads first": ((4, 32, 8), lambda w, x: x @ w.permute(1, 0, 2).reshape(32, 32), ROWS, 32),
    "flat": ((512,), lambda w, x: linear(x, w.view(16, 32)), ROWS, 32),
    "flat, strided": ((512,), lambda w, x: linear(x, w.as_strided((16, 32), (32, 1))), ROWS, 32),
    "flat, turned": ((512,), lambda w, x: linear(x, w.view(32, 16).t()), ROWS, 32),
    "flat, scaled": ((512,), lambda w, x: linear(x, (w * 0.5).reshape(16, 32)), ROWS, 32),
    "slices of columns": ((16, 64), lambda w, x: linear(x, w[:, :32]) + linear(x.flip(1), w[:, 32:]), ROWS, 32),
    "slices of experts": ((2, 32, 32), lambda w, x: torch.relu(x @ w[0]) @ w[1], ROWS, 32),
    "expanded": ((32, 16), lambda w, x: torch.bmm(x[:, None], w.expand(6, 32, 16))[:, 0], ROWS, 32),
    "unfolded": ((16, 8, 3, 3), lambda w, x: w.view(16, -1) @ functional.unfold(x, 3), PICTURES, 72),
    "tensordot": ((32, 4, 4), lambda w, x: torch.tensordot(x, w, 1), ROWS, 32),
    "series": ((3, 32, 16), lambda w, x: functional.conv1d(x.transpose(1, 2), w.permute(2, 1, 0)), SERIES, 96),
}


@pytest.mark.parametrize("name", CHAINS)
def test_fans_come_from_the_operation(name):
    shape, use, x, terms = CHAINS[name]
    role = roles(capture(Viewed(shape, use), x))["w"]
    assert (role.role, role.layout_known) == ("weight", True)
    assert role.fan_in == fans(shape, role.layout).fan_in == terms


@pytest.mark.parametrize("name", ["keras depthwise", "flat", "heads out", "moved axes", "slices of columns"])
def test_plan_and_check_agree_and_the_std_is_that_of_a_plain_layer(name):
    shape, use, x, terms = CHAINS[name]
    model = Viewed(shape, use)
    planned = fanin.plan(model, x).assignments["w"]
    measured = next(p for p in fanin.check(model, x).measurements.parameters if p.path == "w")
    assert planned.fan_in == measured.fan_in == terms
    assert planned.std == pytest.approx(1.0 / math.sqrt(terms))


def test_a_repeated_row_is_a_gain_and_no_weight():
    base = nn.Linear(32, 16)
    model = Viewed((16, 1), lambda w, x: linear(x, w.expand(16, 32) * base.weight))
    model.base = base
    assert roles(capture(model, ROWS))["w"].role == "gain"


# ---------------------------------------------------------------------- flat buffers
class Buffer(nn.Module):
    """Two layers whose weights and biases are slices of one vector."""

    def __init__(self, scale=False):
        super().__init__()
        self.flat, self.scale = nn.Parameter(torch.randn(16 * 32 + 16 + 48 + 3)), scale

    def forward(self, x):
        w1, b1, w2, b2 = self.flat.split([16 * 32, 16, 48, 3])
        h = torch.relu(linear(x, w1.view(16, 32))) * b1 if self.scale else torch.relu(linear(x, w1.view(16, 32), b1))
        return torch.addmm(b2, h, w2.view(16, 3))


def test_each_weight_of_a_flat_buffer_has_a_std_of_its_own():
    planned = fanin.plan(Buffer(), ROWS).assignments["flat"]
    first, last = Normal(std=1 / math.sqrt(32)), Normal(std=1 / math.sqrt(16 * 0.5))
    assert planned.initializer == PerPart((first, Zeros(), last, Zeros()))
    model = Buffer()
    fanin.init_(model, ROWS, trial=False)
    assert not model.flat.detach()[512:528].any()
    assert 0.7 < float(model(ROWS).detach().std()) < 1.3


def test_a_buffer_that_holds_a_scale_is_not_drawn_as_weights():
    planned = fanin.plan(Buffer(scale=True), ROWS).assignments.get("flat")
    assert planned is None or not isinstance(planned.initializer, PerPart)


# ---------------------------------------------------------------------- the layout of a view
VIEW = Layout(view=(16, 32))


def test_a_view_counts_its_own_axes():
    assert fans((512,), VIEW) == (32.0, 16.0)
    with pytest.raises(LayoutError, match="does not hold the numbers"):
        fans((500,), VIEW)
    with pytest.raises(LayoutError, match="one size for each"):
        Layout(view=(16, 32, 1))
    assert Layout.from_dict(VIEW.to_dict()) == VIEW


@pytest.mark.parametrize("law", [Normal(std=0.1), Orthogonal(), PerPart((Normal(std=0.1), Orthogonal()))], ids=str)
def test_a_view_is_drawn_as_the_matrix_that_it_is(law):
    parts = 2 if isinstance(law, PerPart) else 1
    key, flat = fanin.key(0, "w"), Layout(view=(16, 32), parts=parts)
    drawn = law.sample((512,), key=key, layout=flat)
    assert drawn.shape == (512,)
    assert (drawn.reshape(16, 32) == law.sample((16, 32), key=key, layout=Layout.linear(parts=parts))).all()
    assert law.std_for((512,), flat) == law.std_for((16, 32), Layout.linear(parts=parts))
    tensor = torch.zeros(512)
    law.fill_(tensor, key=key, layout=flat)
    assert np.allclose(tensor.numpy(), drawn, atol=1e-6)


def test_blocks_of_a_view_come_back():
    w = np.arange(512.0)
    assert (from_blocks(to_blocks(w, VIEW), (512,), VIEW) == w).all()


@pytest.mark.parametrize("recipe", ["classic", "orthogonal", "gpt2", "t5", "vit", "zero", "mup"])
def test_recipes_give_each_weight_of_a_buffer_its_std(recipe):
    found = fanin.plan(Buffer(), ROWS, recipe=recipe).assignments["flat"].initializer
    apart = fanin.plan(nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 3)), ROWS, recipe=recipe).assignments[
        "0.weight"
    ]
    assert isinstance(found, PerPart)
    assert found.laws[0].std_for((512,)) == pytest.approx(apart.std)
    assert found.laws[1] == found.laws[3] == Zeros()
