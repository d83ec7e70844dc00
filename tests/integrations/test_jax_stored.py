"""The same network in PyTorch and JAX: weights drawn in torch's layout and moved to the same connections."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import fanin
from fanin.errors import ArgumentError, LayoutError, PlanError
from fanin.initializers import Normal, Orthogonal, he_normal
from fanin.layout import Layout, fans

jax = pytest.importorskip("jax")
nnx = pytest.importorskip("flax.nnx")

from fanin.integrations import jax as fj  # noqa: E402
from fanin.integrations.jax.stored import as_torch, moved  # noqa: E402
from tests.integrations.test_jax_models import gpt  # noqa: E402
from tests.selection import few  # noqa: E402


class TorchBlock(nn.Module):
    def __init__(self, width, heads=2):
        super().__init__()
        self.heads = heads
        self.n1, self.n2 = nn.LayerNorm(width, eps=1e-6), nn.RMSNorm(width, eps=1e-6)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        q, k, v = self.qkv(self.n1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return x + self.down(nn.functional.gelu(self.up(self.n2(x)), approximate="tanh"))


class TorchGPT(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.embed, self.position = nn.Embedding(11, width), nn.Parameter(torch.zeros(6, width))
        self.blocks = nn.ModuleList([TorchBlock(width) for _ in range(2)])
        self.norm, self.head = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, 11, bias=False)

    def forward(self, ids):
        x = self.embed(ids) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def names(paths):
    """Path of each leaf of the Flax GPT -> name in the PyTorch GPT; q, k and v are slices of one weight there."""
    ends = {"kernel": "weight", "scale": "weight", "embedding": "weight", "bias": "bias"}
    third = {"query": 0, "key": 1, "value": 2}
    found = {}
    for path in paths:
        *steps, last = path.split(".")
        if steps[-1:] and steps[-1] in third:
            at = 16 * third[steps[-1]]
            found[path] = (f"blocks.{steps[1]}.qkv.{ends[last]}", slice(at, at + 16))
        elif "attention" in steps:
            found[path] = f"blocks.{steps[1]}.out.{ends[last]}"
        else:
            found[path] = ".".join([*steps, ends.get(last, last)])
    return found


def paths_of(tree):
    return [fj.leaf_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_pytorch_and_a_flax_gpt_from_one_plan_are_the_same_function():
    fn, params, x = gpt()
    model = TorchGPT()
    plan = fanin.plan(model, torch.as_tensor(x))
    made = fj.apply_tree(plan, params, rename=names(paths_of(params)))
    plan.apply_(model)
    with torch.no_grad():
        wanted = model(torch.as_tensor(x)).numpy()
    np.testing.assert_allclose(fn(made, x), wanted, atol=1e-5)
    # The twin: the same bits without moving them are another network.
    square = {n: one for n, one in names(paths_of(params)).items() if n.endswith("out.kernel")}
    turned = jax.tree_util.tree_map_with_path(
        lambda p, w: w.reshape(16, 16).T.reshape(w.shape) if fj.leaf_name(p) in square else w, made
    )
    assert np.abs(fn(turned, x) - wanted).max() > 1e-2


@pytest.mark.parametrize("groups", few([1, 2, 8], 2))
def test_a_stream_fills_linear_and_convolution_of_both_alike(groups):
    linen = pytest.importorskip("flax.linen")
    images = np.random.default_rng(0).standard_normal((2, 9, 9, 8)).astype("float32")
    conv = nn.Conv2d(8, 16, 3, groups=groups, bias=False)
    he_normal().fill_(conv.weight, key=fanin.key(1, "kernel"), layout=Layout.conv(2, groups=groups))
    module = linen.Conv(16, (3, 3), padding="VALID", feature_group_count=groups, use_bias=False)
    shapes = jax.eval_shape(module.init, jax.random.key(0), images)["params"]
    layouts = {"kernel": Layout.channels_last(4, groups=groups)}
    made = fj.init(shapes, {"*": he_normal()}, seed=1, stored_as="torch", layouts=layouts)
    with torch.no_grad():
        wanted = conv(torch.as_tensor(images).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(module.apply({"params": made}, images), wanted, atol=1e-5)
    own = fj.init(shapes, {"*": he_normal()}, seed=1, layouts=layouts)
    assert np.abs(module.apply({"params": own}, images) - wanted).max() > 0.1


LAYOUTS = {
    "linear": ((6, 4), Layout.linear_in_out(), (4, 6)),
    "heads": ((6, 2, 3), Layout.heads(), (6, 6)),
    "heads out": ((2, 3, 5), Layout.heads(output=True), (5, 6)),
    "conv": ((3, 2, 4, 8), Layout.channels_last(4), (8, 4, 3, 2)),
    "depthwise of Keras": ((3, 3, 4, 2), Layout.keras_depthwise(4, 4), (8, 1, 3, 3)),
    "embedding": ((7, 3), Layout.embedding(), (7, 3)),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_both_layouts_have_the_same_fans_and_the_same_connections(name):
    shape, layout, wanted = LAYOUTS[name]
    there = as_torch(shape, layout)
    assert there.shape == wanted
    assert fans(there.shape, there.layout) == fans(shape, layout)
    numbers = np.arange(np.prod(shape)).reshape(there.shape)
    here = moved(numbers, shape, layout)
    assert here.shape == shape
    assert sorted(here.ravel()) == list(range(here.size))
    if name == "depthwise of Keras":  # channel c, multiplier m, tap t: torch's output channel 2 c + m
        np.testing.assert_array_equal(here[1, 2], numbers.reshape(4, 2, 3, 3)[:, :, 1, 2])


def test_a_plan_in_jax_can_be_drawn_as_torch_stores_it():
    params = {"w": np.zeros((4, 6), "float32")}
    plan = fj.plan(lambda p, x: x @ p["w"], params, np.ones((2, 4), "float32"), overrides={"w": Orthogonal()})
    made = fj.apply_tree(plan, params, stored_as="torch")
    np.testing.assert_array_equal(made["w"].T, Orthogonal().sample((6, 4), key=fanin.key(0, "w")))


@pytest.mark.slow
def test_what_does_not_fit_is_named():
    plan = fanin.plan(nn.Linear(3, 2), recipe="torch")
    shapes = {"kernel": jax.ShapeDtypeStruct((3, 4), "float32"), "bias": jax.ShapeDtypeStruct((2,), "float32")}
    with pytest.raises(PlanError, match=r"kernel: holds 12 numbers, and the weight of the plan 6"):
        fj.apply_tree(plan, shapes, rename={"kernel": "weight", "bias": "bias"})
    with pytest.raises(PlanError, match=r"kernel: rename gives no name.*\n.*\n.*bias: no leaf takes it"):
        fj.apply_tree(plan, {"kernel": shapes["kernel"]}, rename={})
    with pytest.raises(ArgumentError, match="'own' or 'torch'; got 'keras'"):
        fj.init(shapes, {"*": Normal(std=1.0)}, stored_as="keras")
    with pytest.raises(LayoutError, match="more than another order"):
        as_torch((4, 4, 2, 3), Layout.channels_last(4, transposed=True))


@pytest.mark.slow
def test_equinox_stores_as_torch_does():
    eqx = pytest.importorskip("equinox")
    key = jax.random.key(0)
    tree = {"fc": eqx.nn.Linear(64, 8, key=key), "conv": eqx.nn.Conv2d(4, 16, 3, key=key)}
    made = fj.init(tree, {"*.weight": he_normal(), "*.bias": "zeros"}, seed=2)
    np.testing.assert_array_equal(made["fc"].weight, he_normal().sample((8, 64), key=fanin.key(2, "fc.weight")))
    wanted = he_normal().sample((16, 4, 3, 3), key=fanin.key(2, "conv.weight"), layout=Layout.conv(2))
    np.testing.assert_array_equal(made["conv"].weight, wanted)
    np.testing.assert_array_equal(made["conv"].bias, np.zeros((16, 1, 1)))
    moved_too = fj.init(tree, {"*.weight": he_normal(), "*.bias": "zeros"}, seed=2, stored_as="torch")
    np.testing.assert_array_equal(moved_too["conv"].weight, wanted)
