"""Twelve JAX models beside their PyTorch ports: equal outputs of the twin, equal roles, a start that trains."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import fanin

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")
for library in ("flax", "equinox", "haiku"):
    pytest.importorskip(library)

from fanin.integrations import jax as fj  # noqa: E402
from tests.integrations.jax_twins import TWINS  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


# Each leaf has a parameter of its own in the port, and the same function: so the same std.
ONE_TO_ONE = (
    "nnx gpt",
    "linen cnn",
    "linen residual",
    "nnx cnn",
    "equinox mlp",
    "equinox cnn",
    "haiku mlp",
    "haiku cnn",
)


@pytest.mark.parametrize("name", TWINS)
def test_a_model_equals_its_twin_and_has_the_roles_of_its_port(name):
    one = TWINS[name]
    fn, params, x = one.make()
    twin, port = fj.model(fn, params, x), one.port()
    with torch.no_grad():
        np.testing.assert_allclose(twin(torch.as_tensor(x)).numpy(), jax.jit(fn)(params, x), atol=1e-5)
    plan, ported = fj.plan(fn, params, x), fanin.plan(port, torch.as_tensor(x))
    assert plan.warnings == ()
    assert {n: a.role for n, a in plan.items()} == {n: ported[one.name(n)].role for n in plan}
    for a in plan.values():
        assert a.role not in ("norm_scale", "norm_shift") or a.std == 0.0
    if name in ONE_TO_ONE:
        stds = {n: (a.std or 0.0, ported[one.name(n)].std or 0.0) for n, a in plan.items()}
        assert {n: a for n, (a, _) in stds.items()} == pytest.approx({n: b for n, (_, b) in stds.items()}, rel=0.01)


@pytest.mark.parametrize("name", TWINS)
def test_a_planned_start_trains_in_jax(name):
    fn, params, x = TWINS[name].make()
    params = fj.apply_tree(fj.plan(fn, params, x), params)
    wanted = np.random.default_rng(5).standard_normal(fn(params, x).shape).astype("float32")
    adam = optax.adam(1e-2)

    def loss(p):
        return ((fn(p, x) - wanted) ** 2).mean()

    @jax.jit
    def step(p, state):
        updates, state = adam.update(jax.grad(loss)(p), state, p)
        return optax.apply_updates(p, updates), state

    first, state = float(loss(params)), adam.init(params)
    for _ in range(50):
        params, state = step(params, state)
    assert float(loss(params)) < 0.7 * first
