"""Models of four JAX libraries as torch twins: equal outputs, norms as ones and zeros, a plan that applies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fanin.errors import CaptureError, PlanError, ShapeError
from fanin.initializers import Ones, Zeros

jax = pytest.importorskip("jax")
linen = pytest.importorskip("flax.linen")
nnx = pytest.importorskip("flax.nnx")
jnp = jax.numpy

from fanin.integrations import jax as fj  # noqa: E402
from tests.selection import few  # noqa: E402

IMAGES = np.random.default_rng(0).standard_normal((4, 8, 8, 3)).astype("float32")
ROWS = np.random.default_rng(1).standard_normal((5, 4)).astype("float32")
SERIES = np.random.default_rng(2).standard_normal((4, 5, 3)).astype("float32")
_LONG = ("linen cnn", "linen lstm", "nnx gpt", "equinox mlp", "haiku mlp")  # JAX compiles each of their operations
TOKENS = np.arange(12).reshape(2, 6) % 11


class Block(nnx.Module):
    def __init__(self, width, rngs):
        self.n1, self.n2 = nnx.LayerNorm(width, rngs=rngs), nnx.RMSNorm(width, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, width, decode=False, rngs=rngs)
        self.up, self.down = nnx.Linear(width, 4 * width, rngs=rngs), nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x):
        x = x + self.attention(self.n1(x), mask=nnx.make_causal_mask(x[..., 0]))
        return x + self.down(nnx.gelu(self.up(self.n2(x))))


class GPT(nnx.Module):
    def __init__(self, rngs, width=16):
        self.embed = nnx.Embed(11, width, rngs=rngs)
        self.position = nnx.Param(0.01 * jnp.ones((6, width)))
        self.blocks = nnx.List([Block(width, rngs) for _ in range(2)])
        self.norm, self.head = nnx.LayerNorm(width, rngs=rngs), nnx.Linear(width, 11, use_bias=False, rngs=rngs)

    def __call__(self, ids):
        x = self.embed(ids) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def gpt():
    graph, params, rest = nnx.split(GPT(nnx.Rngs(0)), nnx.Param, ...)
    return lambda p, x: nnx.merge(graph, p, rest)(x), params, TOKENS


class CNN(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.relu(linen.LayerNorm()(linen.Conv(8, (3, 3))(x)))
        x = linen.max_pool(x, (2, 2), (2, 2))
        x = linen.relu(linen.Conv(8, (3, 3), strides=2, feature_group_count=8)(x))
        x = linen.ConvTranspose(6, (4, 4), strides=(2, 2))(x)
        return linen.Dense(5)(linen.relu(x).mean((1, 2)))


class Recurrent(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(3)(linen.RNN(linen.OptimizedLSTMCell(8))(x)[:, -1])


class Remat(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.Dense(16)(x)
        for _ in range(2):
            x = x + linen.remat(linen.Dense)(16)(linen.silu(x))
        return linen.Dense(3)(x)


def flax(module, x):
    return module.apply, module.init(jax.random.key(0), x), x


def equinox():
    eqx = pytest.importorskip("equinox")
    module = eqx.nn.MLP(4, 3, 16, 2, key=jax.random.key(0))
    arrays, static = eqx.partition(module, eqx.is_array)
    return lambda p, x: jax.vmap(eqx.combine(p, static))(x), arrays, ROWS


def haiku():
    hk = pytest.importorskip("haiku")
    net = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([16, 16, 3])(x)))
    return net.apply, net.init(jax.random.key(0), ROWS), ROWS


MODELS = {
    "nnx gpt": gpt,
    "linen cnn": lambda: flax(CNN(), IMAGES),
    "linen lstm": lambda: flax(Recurrent(), SERIES),
    "linen remat": lambda: flax(Remat(), ROWS),
    "equinox mlp": equinox,
    "haiku mlp": haiku,
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", few(MODELS, *(MODELS.keys() - _LONG)))
def test_the_twin_equals_jax_and_its_plan_applies(name):
    fn, params, x = MODELS[name]()
    twin = fj.model(fn, params, x)
    with torch.no_grad():
        np.testing.assert_allclose(twin(torch.as_tensor(x)).numpy(), fn(params, x), atol=1e-5)
    plan = fj.plan(fn, params, x)
    assert not plan.warnings, plan.warnings
    for one in plan.values():
        if "norm" in one.name.lower():
            wanted = Ones() if one.name.endswith("scale") else Zeros()
            assert (one.role, one.initializer) == ("norm_" + ("scale" if wanted == Ones() else "shift"), wanted)
    made = fj.apply_tree(plan, params)
    assert jax.tree.structure(made) == jax.tree.structure(params)
    plan.apply_(twin)
    with torch.no_grad():
        np.testing.assert_allclose(twin(torch.as_tensor(x)).numpy(), fn(made, x), atol=2e-4)


@pytest.mark.slow
def test_a_plan_starts_a_training_in_jax():
    fn, params, x = flax(Remat(), ROWS)
    labels = jnp.arange(5) % 3

    def loss(p):
        return -jnp.mean(jax.nn.log_softmax(fn(p, x))[jnp.arange(5), labels])

    made = fj.apply_tree(fj.plan(fn, params, x), params)
    first, step = loss(made), jax.jit(lambda p: jax.tree.map(lambda w, g: w - 0.1 * g, p, jax.grad(loss)(p)))
    for _ in range(50):
        made = step(made)
    assert loss(made) < 0.5 * first


@pytest.mark.slow
def test_shapes_alone_are_planned():
    module = Remat()
    shapes = jax.eval_shape(module.init, jax.random.key(0), ROWS)
    plan = fj.plan(module.apply, shapes, ROWS)
    assert plan["params.Dense_0.kernel"].fan_in == 4
    real = fj.apply_tree(plan, shapes)
    assert real["params"]["Dense_0"]["kernel"].shape == (4, 16)


def test_seventeen_billion_parameters_are_planned_from_shapes():
    """Were memory for one matrix taken, 64 of them would need 68 GB."""
    width = 16384
    shapes = {f"layer{n}": jax.ShapeDtypeStruct((width, width), "float32") for n in range(64)}

    def net(p, x):
        for w in p.values():
            x = x + jax.nn.relu(x @ w)
        return x

    plan = fj.plan(net, shapes, jax.ShapeDtypeStruct((1, width), "float32"))
    assert sum(np.prod(a.shape) for a in plan.values()) > 17e9


def test_control_flow_is_followed():
    def fn(p, x):
        y = jax.lax.fori_loop(0, 3, lambda n, h: jnp.tanh(h @ p["w"] + n), x)
        y = jax.lax.cond(y.sum() > 0, lambda h: h @ p["w"], lambda h: -h, y)
        return jax.lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, c[1] * 0.5), (0, y))[1]

    params, x = {"w": jnp.asarray(ROWS[:4])}, jnp.asarray(ROWS)
    twin = fj.model(fn, params, x)
    with torch.no_grad():
        np.testing.assert_allclose(twin(torch.as_tensor(ROWS)).numpy(), fn(params, x), atol=1e-5)
    other = twin(torch.as_tensor(-3 * ROWS)).detach().numpy()
    np.testing.assert_allclose(other, fn(params, -3 * x), atol=1e-5)


def test_an_unknown_primitive_is_named_with_its_equation():
    with pytest.raises(CaptureError, match=r"'fft' is not followed: .*fft\["):
        fj.model(lambda p, x: jnp.fft.fft(x * p["w"]).real, {"w": jnp.ones(4)}, jnp.ones((2, 4)))


def test_nothing_in_the_arrays_changes_and_misfits_are_named():
    fn, params, x = flax(Remat(), ROWS)
    before = jax.tree.map(np.array, params)
    twin = fj.model(fn, params, x)
    plan = fj.plan(fn, params, x)
    plan.apply_(twin)
    jax.tree.map(np.testing.assert_array_equal, params, before)
    with pytest.raises(ShapeError, match="traced for inputs of shapes"):
        twin(torch.zeros(2, 4))
    with pytest.raises(PlanError, match=r"params\.Dense_1\.bias: the plan has it"):
        fj.apply_tree(plan, {"params": {"Dense_0": params["params"]["Dense_0"]}})


@pytest.mark.slow
def test_a_start_of_zeros_is_found_and_that_of_flax_is_not():
    """The check follows the weights that JAX holds."""
    fn, params, x = flax(Remat(), ROWS)
    zeros = jax.tree.map(jnp.zeros_like, params)
    broken = fj.check(fn, zeros, jnp.asarray(x), targets=jnp.arange(5) % 3)
    healthy = fj.check(fn, params, jnp.asarray(x), targets=jnp.arange(5) % 3)
    assert not broken.ok
    assert healthy.ok, healthy.findings


def assert_followed(fn, params, x):
    twin = fj.model(fn, params, x)
    with torch.no_grad():
        made = jax.tree.leaves(twin(*(torch.as_tensor(v) for v in jax.tree.leaves(x))))
    wanted = jax.tree.leaves(fn(params, x))
    for one, other in zip(made, wanted, strict=True):
        assert tuple(one.shape) == tuple(other.shape)
        np.testing.assert_allclose(one.numpy(), other, atol=1e-5)


def test_a_sort_by_several_keys_is_followed():
    draw = np.random.default_rng(3)
    keys = draw.integers(0, 3, (5, 8)).astype("int32")

    def fn(p, x):
        return jax.lax.sort((jnp.asarray(keys), x * p["w"], x), dimension=1, num_keys=2)

    assert_followed(fn, {"w": jnp.ones(8)}, draw.integers(0, 2, (5, 8)).astype("float32"))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [0, 1, 3])
def test_scans_of_any_length_are_followed(length, reverse):
    def fn(p, x):
        def step(carry, row):
            carry = jnp.tanh(carry @ p["w"] + row)
            return carry, (carry, row.sum())

        return jax.lax.scan(step, jnp.zeros((2, 3)), x[:length], reverse=reverse)

    assert_followed(fn, {"w": jnp.asarray(ROWS[:3, :3])}, SERIES[:3, :2])


@pytest.mark.slow
def test_a_table_that_is_read_and_multiplied_is_one_parameter():
    def fn(p, ids):
        x = p["table"][ids]
        return (x + jax.nn.gelu(x @ p["w"])) @ p["table"].T

    params = {"table": jnp.zeros((11, 16)), "w": jnp.zeros((16, 16))}
    plan = fj.plan(fn, params, TOKENS)
    assert plan["table"].role == "embedding"
    made = fj.apply_tree(plan, params)
    assert 0.1 < float(fn(made, TOKENS).std()) < 3.0  # logits of order one, as the head asks
