"""Laws as JAX and Flax initializers: ``init(rng, shape, dtype)``, under ``jit``, sharded without communication."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fanin.errors import ArgumentError
from fanin.layout import Layout
from fanin.streams.dtypes import fill_dtype
from fanin.streams.keys import Key
from fanin.streams.law import Law, parts, prepare
from fanin.streams.reference64 import LOW_PURPOSE

if TYPE_CHECKING:
    import jax

    from fanin.initializers.base import Initializer

__all__ = ["initializer", "values"]

Init = Callable[..., "jax.Array"]


def initializer(law: Initializer, *, key: Key | None = None, layout: Layout | None = None) -> Init:
    """A law as a function (rng, shape, dtype="float32") -> array, as ``jax.nn.initializers`` and Flax expect it.

    Args:
        law: any initializer.
        key: where given, the values are those of ``law.sample(shape, key=key)`` to the bit, whatever the rng: the
            weights of the PyTorch or NumPy model with that name. One parameter, one key: do not share the function
            between layers. Where not given, the stream is derived from the rng, so each parameter gets its own, as
            always in JAX; a law whose entries depend on each other (orthogonal) is then made by NumPy at run time.
        layout: what the axes mean; Flax's (*taps, in, out) where none is given.

    Returns:
        The function. It can be traced; under ``jit`` with an output sharding every device makes its own part.

    Raises:
        ArgumentError: when called without a key and without a rng.

    Example:
        >>> import fanin, jax
        >>> from fanin.initializers import he_normal
        >>> init = initializer(he_normal(), key=fanin.key(0, "dense.kernel"))
        >>> jax.jit(init, static_argnums=1)(jax.random.key(0), (64, 32)).shape
        (64, 32)
    """

    def init(rng: jax.Array, shape: Sequence[int], dtype: Any = "float32", out_sharding: Any = None) -> jax.Array:
        import jax

        sizes = tuple(int(n) for n in shape)
        where = layout or (Layout.channels_last(len(sizes)) if len(sizes) >= 2 else Layout.vector())
        made = values(law, key, rng, sizes, fill_dtype(dtype).name, where)
        if out_sharding is None:
            return made
        placed: jax.Array = jax.lax.with_sharding_constraint(made, out_sharding)  # type: ignore[no-untyped-call]
        return placed

    return init


def values(
    law: Initializer, key: Key | None, rng: jax.Array | None, shape: tuple[int, ...], dtype: str, layout: Layout
) -> jax.Array:
    """The array of a law: of a stream where there is a key, else of a JAX rng; traceable.

    Raises:
        ArgumentError: a law that neither a rng draws nor NumPy makes without a key.
    """
    import jax
    import jax.numpy as jnp

    from fanin.streams import jax_engine

    law.check(shape, layout)
    if (number := law.only_value) is not None:
        return jnp.full(shape, number, dtype)
    request = law.draw(shape, layout)
    if request is None:
        return jnp.asarray(_structured(law, key, rng, shape, dtype, layout))
    if layout.view:
        shape = layout.viewed(own := shape)
    else:
        own = shape
    prepared = prepare(request, dtype)
    lanes = _of_key(prepared, key) if key is not None else _of_rng(prepared, _given(rng))
    drawn = [jax_engine.draw(part, words, low, shape) for part, words, low in lanes]
    return (drawn[0] if len(drawn) == 1 else jax.lax.complex(*drawn)).reshape(own)


def _given(rng: jax.Array | None) -> jax.Array:
    if rng is None:
        raise ArgumentError("a law is drawn from a stream or from a JAX rng; neither was given. Pass jax.random.key(0)")
    return rng


Lanes = list[tuple[Law, Sequence[Any], Sequence[Any]]]


def _of_key(law: Law, key: Key) -> Lanes:
    from fanin.streams.jax_engine import key_words

    return [(part, key_words(k), key_words(k.for_purpose(LOW_PURPOSE))) for part, k in parts(law, key)]


def _of_rng(law: Law, rng: jax.Array) -> Lanes:
    """The laws of the real and imaginary part with streams made of 16 words of the rng, traced or not."""
    import jax
    import jax.numpy as jnp

    bits = jax.random.bits(rng, (16,), jnp.uint32)
    words = [[bits[4 * lane + n] for n in range(4)] for lane in range(4)]
    nobody = Key(0, "", "", 0, 0, 0)
    return [(part, words[2 * n], words[2 * n + 1]) for n, (part, _) in enumerate(parts(law, nobody))]


def _structured(
    law: Initializer, key: Key | None, rng: jax.Array | None, shape: tuple[int, ...], dtype: str, layout: Layout
) -> Any:
    """A law whose entries depend on each other: NumPy makes it from a stream, at run time where the rng is traced."""
    if key is not None:
        return law.sample(shape, key=key, layout=layout, dtype=dtype)
    import jax
    import jax.numpy as jnp

    words = jax.random.bits(_given(rng), (4,), jnp.uint32)

    def make(four: Any) -> Any:
        low, high, *other = (int(n) for n in four)
        own = Key(0, "", "", low | high << 32, *other)
        return law.sample(shape, key=own, layout=layout, dtype=dtype)

    wanted: Any = jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]
    return jax.pure_callback(make, wanted, words, vmap_method="sequential")
