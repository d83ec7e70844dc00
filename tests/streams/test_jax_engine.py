"""JAX: the reference's bits under jit, for any sharding, without communication."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import fanin
from fanin.errors import ArgumentError, MissingDependencyError
from fanin.initializers import Normal, Orthogonal, TruncatedNormal, Uniform, he_normal
from fanin.layout import Layout
from fanin.streams import Draw
from fanin.streams.law import prepare
from fanin.streams.sampling import sample

jax = pytest.importorskip("jax")
jnp = jax.numpy

from fanin.integrations.jax import initializer  # noqa: E402
from fanin.streams import jax_engine  # noqa: E402
from tests.selection import few  # noqa: E402

KEY = fanin.key(0, "model.layers.0.self_attn.q_proj.weight")
LAWS = {
    "uniform": Draw(kind="uniform", width=0.3, shift=0.1),
    "normal": Draw(kind="normal", width=0.02, shift=0.3),
    "truncated": Draw(kind="truncated_normal", width=0.02, lower=-2.0, upper=2.0),
}


def bits(x) -> np.ndarray:
    a = np.asarray(x)
    return a.view({2: np.uint16, 4: np.uint32, 8: np.uint64}[a.dtype.itemsize])


@pytest.mark.parametrize("dtype", few(["float32", "bfloat16", "float16"], "float32", "bfloat16"))
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("shape", [pytest.param((64, 1024), marks=pytest.mark.slow), (57, 91), (5,)], ids=str)
def test_jit_gives_the_bits_of_the_reference(law, dtype, shape):
    made = jax.jit(lambda: jax_engine.draw(prepare(LAWS[law], dtype), jax_engine.key_words(KEY), None, shape))()
    np.testing.assert_array_equal(bits(made), bits(sample(LAWS[law], KEY, shape, dtype=dtype)))


def test_an_unguarded_product_would_be_contracted(monkeypatch):
    """The guard is needed: without it XLA changes about a tenth of all normal numbers."""
    monkeypatch.setattr(jax_engine, "_guarded", lambda word, real, bits: lambda a, b: a * b)
    law = prepare(LAWS["normal"], "float32")
    made = jax.jit(lambda: jax_engine.draw(law, jax_engine.key_words(KEY), None, (64, 1024)))()
    differing = (bits(made) != bits(sample(LAWS["normal"], KEY, (64, 1024)))).mean()
    assert differing > 0.01, "XLA no longer contracts: the guard can go"


def test_sixteen_bit_halves_multiply_right():
    a = np.random.default_rng(0).integers(0, 2**32, (2, 4096), dtype=np.uint32)
    made = jax_engine._multiply_high_by_halves(jnp.asarray(a[0]), jnp.asarray(a[1]))
    np.testing.assert_array_equal(np.asarray(made), (a[0].astype(np.uint64) * a[1]) >> 32)


def test_index_beyond_32_bits():
    shape = (1 << 20, 1 << 14, 3)  # only its index arithmetic is evaluated, on a slice

    def last_rows():
        high, low = jax_engine._index(shape)
        return high[-1, -2:], low[-1, -2:]

    high, low = jax.jit(last_rows)()
    wanted = np.arange(3 * (1 << 34) - 6, 3 * (1 << 34), dtype=np.uint64).reshape(2, 3)
    np.testing.assert_array_equal((np.asarray(high).astype(np.uint64) << 32) | np.asarray(low), wanted)


def test_initializers_with_a_key_are_the_laws_of_numpy():
    init = initializer(he_normal(), key=KEY)
    made = jax.jit(init, static_argnums=(1, 2))(jax.random.key(5), (72, 96), "bfloat16")
    wanted = he_normal().sample((72, 96), key=KEY, layout=Layout.channels_last(2), dtype="bfloat16")
    np.testing.assert_array_equal(bits(made), bits(wanted))
    made = initializer(Orthogonal(), key=KEY)(jax.random.key(0), (8, 8))
    np.testing.assert_allclose(made.T @ made, np.eye(8), atol=1e-5)


@pytest.mark.parametrize(
    "law", few([Uniform(bound=0.5), Normal(std=2.0), TruncatedNormal(std=1.0)], TruncatedNormal(std=1.0)), ids=str
)
def test_initializers_without_a_key_follow_the_rng(law):
    init = jax.jit(initializer(law), static_argnums=1)
    first, again, other = (np.asarray(init(jax.random.key(n), (200, 200))) for n in (0, 0, 1))
    assert (first == again).all()
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 5 / 200
    std = law.std_for((200, 200))
    assert abs(first.std() / std - 1.0) < 5 * np.sqrt(2 / 40000)


def test_what_cannot_be_drawn_is_said():
    with pytest.raises(ArgumentError, match="neither was given"):
        initializer(he_normal())(None, (4, 4))
    narrow = prepare(Draw(kind="truncated_normal", lower=5.0, upper=6.0), "float32")
    with pytest.raises(MissingDependencyError, match="jax_enable_x64"):
        jax_engine.draw(narrow, (0, 0, 0, 0), (0, 0, 0, 0), (4,))


def test_flax_layers_take_them():
    nn = pytest.importorskip("flax.linen")
    layer = nn.Dense(32, kernel_init=initializer(he_normal(), key=KEY))
    kernel = jax.jit(layer.init)(jax.random.key(0), jnp.ones((1, 16)))["params"]["kernel"]
    wanted = he_normal().sample((16, 32), key=KEY, layout=Layout.linear_in_out())
    np.testing.assert_array_equal(np.asarray(kernel), wanted)


SHARDED = """
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from fanin.streams import Draw, key
from fanin.streams.jax_engine import draw, key_words
from fanin.streams.law import prepare
from fanin.streams.sampling import sample
assert jax.device_count() == 8
mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("data", "model"))
request, stream = Draw(kind="normal", width=0.02), key(0, "w")
for dtype in ("float32", "bfloat16"):
    for shape, spec in [((48, 1024), P("data", "model")), ((48, 24), P("data", "model")), ((32, 40), P(None, "data")),
                        ((24, 3, 16), P(("data", "model"))), ((512,), P("model"))]:
        law = prepare(request, dtype)
        f = jax.jit(lambda: draw(law, key_words(stream), None, shape), out_shardings=NamedSharding(mesh, spec))
        text = f.lower().compile().as_text()
        for word in ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter"):
            assert word not in text, (shape, spec, word)
        made, wanted = f(), sample(request, stream, shape, dtype=dtype)
        for shard in made.addressable_shards:
            assert np.asarray(shard.data).tobytes() == wanted[shard.index].tobytes(), (shape, spec)
print("sharded")
"""

X64 = """
import jax, numpy as np
jax.config.update("jax_enable_x64", True)
from fanin.streams import Draw, key
from fanin.streams.jax_engine import draw, key_words
from fanin.streams.law import prepare
from fanin.streams.reference64 import LOW_PURPOSE
from fanin.streams.sampling import sample
stream, cut = key(0, "w"), dict(lower=3.5, upper=5.0)
for dtype in DTYPES:
    for request in (Draw(kind="uniform"), Draw(kind="normal", shift=0.3), Draw(kind="truncated_normal", **cut)):
        law = prepare(request, dtype)
        f = jax.jit(lambda: draw(law, key_words(stream), key_words(stream.for_purpose(LOW_PURPOSE)), (61, 37)))
        assert np.asarray(f()).tobytes() == sample(request, stream, (61, 37), dtype=dtype).tobytes(), (dtype, request)
print("float64")
"""


@pytest.mark.parametrize(
    ("program", "answer"),
    few(
        [
            ("DTYPES = ['float64']" + X64, "float64"),
            ("DTYPES = ['float32', 'bfloat16']" + X64, "float64"),
            (SHARDED, "sharded"),
        ],
        every=3,
    ),
    ids=["x64", "x64 in short dtypes", "sharded"],
)
def test_in_a_process_of_its_own(program, answer):
    env = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    env["PYTHONPATH"] = os.pathsep.join([p for p in sys.path if p])
    ran = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)
    assert ran.stdout.strip() == answer, ran.stderr[-2000:]
