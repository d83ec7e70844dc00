"""A law as a Keras initializer, which a model saves and loads with its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fanin.errors import ArgumentError
from fanin.initializers import Initializer, from_dict, get
from fanin.integrations.base import base_of
from fanin.layout import Layout
from fanin.streams.keys import Key
from fanin.streams.keys import key as stream_key

__all__ = ["KerasInitializer", "initializer"]


def initializer(law: Initializer | str, key: Key | None = None, layout: Layout | None = None) -> KerasInitializer:
    """A law as a Keras initializer: ``Dense(64, kernel_initializer=initializer("he_normal"))``.

    Keras never says to an initializer which variable it is called for, so no name is guessed. For weights by the name
    of their variable use `init_`, after the model is built.

    Args:
        law: an initializer or its name.
        key: the stream to draw from: one variable, one key. Without it the initializer draws a seed from Keras
            (``keras.utils.set_random_seed`` decides), and each copy that Keras makes of it draws its own.
        layout: what the axes mean; Keras' (*taps, in, out) where none is given.

    Returns:
        The initializer, on every backend. Its configuration holds the law, the key and the layout, so models with it
        are saved, loaded and cloned. A program that only loads such a model imports `initializer` first, as Keras asks
        for every class that is not its own.

    Raises:
        ArgumentError: law, key or layout is none.
        ShapeError: when it is called with a key for a second shape.

    Example:
        >>> import fanin
        >>> made = initializer("he_normal", key=fanin.key(0, "fc/kernel"))
        >>> tuple(made((64, 32)).shape)
        (64, 32)
    """
    return KerasInitializer(get(law) if isinstance(law, str) else law, key, layout)


_Base = base_of("keras.initializers", "Initializer", "keras")


class KerasInitializer(_Base):  # type: ignore[misc, valid-type]
    """See `initializer`."""

    def __init__(self, law: Any, key: Any = None, layout: Any = None) -> None:
        self.law = _law(law)
        self.key = _key(key)
        self.layout = _layout(layout)
        self._seed = None if self.key is not None else _drawn_seed()
        self._shape: tuple[int, ...] | None = None

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        """The values for a variable of this shape."""
        import keras

        sizes = tuple(int(n) for n in shape)
        self._assert_one(sizes)
        name = keras.backend.standardize_dtype(dtype or keras.config.floatx())
        where = self.layout or (Layout.channels_last(len(sizes)) if len(sizes) >= 2 else Layout.vector())
        own = self.key if self.key is not None else stream_key(self._seed or 0, "keras")
        return keras.ops.convert_to_tensor(self.law.sample(sizes, key=own, layout=where, dtype=name), dtype=name)

    def _assert_one(self, shape: tuple[int, ...]) -> None:
        if self.key is None:
            return
        if self._shape not in (None, shape):
            raise ArgumentError(
                f"this initializer has the key {self.key.name!r} and made values of shape {self._shape}; for shape "
                f"{shape} give that variable an initializer with a key of its own"
            )
        self._shape = shape

    def get_config(self) -> dict[str, Any]:
        """The law, the key and the layout as plain values."""
        return {
            "law": self.law.to_dict(),
            "key": self.key and {"seed": self.key.seed, "name": self.key.name, "purpose": self.key.purpose},
            "layout": self.layout and self.layout.to_dict(),
        }


if _Base.__module__.partition(".")[0] == "keras":
    base_of("keras.saving", "register_keras_serializable", "keras")("fanin", "Initializer")(KerasInitializer)


def _drawn_seed() -> int:
    """A seed as Keras gives it to an initializer that has none."""
    from keras.src.random.seed_generator import make_default_seed

    return int(make_default_seed())


def _law(law: Any) -> Initializer:
    made = from_dict(law) if isinstance(law, Mapping) else law
    if not isinstance(made, Initializer):
        raise ArgumentError(f"law is an initializer of fanin, or the name of one; got {law!r}")
    return made


def _key(given: Any) -> Key | None:
    made = stream_key(given["seed"], given["name"], purpose=given["purpose"]) if isinstance(given, Mapping) else given
    if made is not None and not isinstance(made, Key):
        raise ArgumentError(f"key is what fanin.key(seed, name) gives; got {given!r}")
    return made


def _layout(given: Any) -> Layout | None:
    made = Layout.from_dict(given) if isinstance(given, Mapping) else given
    if made is not None and not isinstance(made, Layout):
        raise ArgumentError(f"layout is a fanin.Layout; got {given!r}")
    return made
