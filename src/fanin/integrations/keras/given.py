"""Inputs for a Keras model that says what it takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from fanin.errors import ArgumentError
from fanin.model.made_up import array_source

__all__ = ["made_up_inputs"]

_SAMPLES = 16  # with two, batch normalisation makes every value plus or minus one


def made_up_inputs(model: Any) -> Any:
    """Sixteen samples of noise for each of a model's inputs; zeros where they are integers.

    Raises:
        ArgumentError: the model does not say what it takes.
    """
    import keras

    try:
        specs = model.inputs
    except (AttributeError, ValueError):  # a model that was not called yet
        specs = None
    if not specs:
        raise ArgumentError(f"{model.name!r} does not say what it takes; give a batch of inputs, such as x[:32]")
    rng = array_source()
    made = []
    for spec in specs:
        shape = [_SAMPLES if n is None else int(n) for n in spec.shape]
        real = keras.backend.is_float_dtype(spec.dtype)
        made.append(rng.standard_normal(shape).astype("float32") if real else np.zeros(shape, dtype=spec.dtype))
    return made[0] if len(made) == 1 else tuple(made)
