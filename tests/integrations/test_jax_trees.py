"""Laws for the leaves of trees: the streams of NumPy, without a key where a law needs none, traced and sharded."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import fanin
from fanin.errors import PlanError
from fanin.initializers import Normal, Ones, Orthogonal, Zeros, he_normal
from fanin.layout import Layout

jax = pytest.importorskip("jax")

from fanin.integrations.jax import init, initializer  # noqa: E402

SHAPES = {
    "dense": [{"kernel": jax.ShapeDtypeStruct((6, 4), "float32"), "bias": jax.ShapeDtypeStruct((4,), "float32")}],
    "name": "not an array",
}
LAWS = {"*.kernel": he_normal(), "*.bias": "zeros"}


@pytest.mark.parametrize(("law", "number"), [(Zeros(), 0.0), (Ones(), 1.0)])
def test_constant_laws_need_no_key(law, number):
    made = jax.jit(initializer(law), static_argnums=1)(jax.random.key(0), (3, 2))
    np.testing.assert_array_equal(made, np.full((3, 2), number))


def test_orthogonal_laws_are_drawn_from_the_rng():
    make = jax.jit(initializer(Orthogonal()), static_argnums=1)
    first, again, other = (make(jax.random.key(n), (6, 6)) for n in (0, 0, 1))
    np.testing.assert_allclose(first.T @ first, np.eye(6), atol=1e-5)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


def test_every_leaf_gets_the_stream_of_its_path():
    made = init(SHAPES, LAWS, seed=3)
    kernel = he_normal().sample((6, 4), key=fanin.key(3, "dense.0.kernel"), layout=Layout.channels_last(2))
    np.testing.assert_array_equal(made["dense"][0]["kernel"], kernel)
    np.testing.assert_array_equal(made["dense"][0]["bias"], np.zeros(4))
    assert made["name"] == "not an array"


def test_it_is_traced_and_placed_where_it_is_asked():
    arrays = {"w": jax.ShapeDtypeStruct((8, 4), "float32")}
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("d",))
    where = {"w": jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("d"))}
    made = jax.jit(lambda: init(arrays, {"*": Normal(std=0.02)}, 5), out_shardings=where)()
    assert made["w"].sharding.is_equivalent_to(where["w"], 2)
    np.testing.assert_array_equal(made["w"], Normal(std=0.02).sample((8, 4), key=fanin.key(5, "w")))


@pytest.mark.slow
def test_a_leaf_without_a_law_is_named():
    with pytest.raises(PlanError, match=r"no pattern matches dense\.0\.bias"):
        init(SHAPES, {"*.kernel": he_normal()})
    kept = init(SHAPES, {"*.kernel": he_normal(), "*": None})
    assert kept["dense"][0]["bias"] is SHAPES["dense"][0]["bias"]


@pytest.mark.slow
def test_laws_need_no_torch_and_plans_name_the_extra():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import jax, fanin.integrations.jax as fj\n"
        "print(fj.init({'w': jax.ShapeDtypeStruct((2, 2), 'float32')}, {'*': 'he_normal'})['w'].shape)\n"
        "try:\n    fj.plan\nexcept ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "(2, 2)" in done.stdout
    assert "fanin[torch]" in done.stdout
