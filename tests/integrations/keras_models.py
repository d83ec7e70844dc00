"""Five Keras models, and what the tests ask of each: run as ``python -m tests.integrations.keras_models BACKEND``."""

from __future__ import annotations

import json
import os
import sys

import numpy as np


def models():
    import keras
    from keras import layers

    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden, self.head = layers.Dense(32, activation="tanh"), layers.Dense(2)

        def call(self, x):
            return self.head(self.hidden(x))

    def dense():
        x = inputs = keras.Input((20,))
        x = layers.Dense(32, activation="relu", name="fc0")(x)
        return keras.Model(inputs, layers.Dense(3, name="head")(layers.Dense(32, activation="relu")(x)))

    def cnn():
        x = inputs = keras.Input((12, 12, 3))
        x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv")(x)
        x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
        x = layers.DepthwiseConv2D(3, name="depthwise", activation="relu")(x)
        x = layers.GlobalAveragePooling2D()(layers.Dropout(0.1)(layers.MaxPooling2D()(x)))
        return keras.Model(inputs, layers.Dense(5, name="head")(x))

    def transformer():
        x = inputs = keras.Input((7,), dtype="int32")
        x = layers.Embedding(11, 16, name="embed")(x)
        h = layers.LayerNormalization(name="norm")(x)
        x = layers.Add()([x, layers.MultiHeadAttention(2, 8, name="attention")(h, h)])
        h = layers.Dense(64, activation="gelu", name="up")(layers.LayerNormalization()(x))
        return keras.Model(inputs, layers.Add()([x, layers.Dense(16, name="down")(h)]))

    def recurrent():
        x = inputs = keras.Input((6, 4))
        x = layers.GRU(16, name="gru")(layers.LSTM(16, return_sequences=True, name="lstm")(x))
        return keras.Model(inputs, layers.Dense(2, name="head")(x))

    def subclassed():
        model = Subclassed()
        model(np.ones((1, 9), "float32"))
        return model

    return {
        "dense": (dense, (16, 20)),
        "cnn": (cnn, (16, 12, 12, 3)),
        "transformer": (transformer, None),
        "recurrent": (recurrent, (16, 6, 4)),
        "subclassed": (subclassed, (16, 9)),
    }


def told(make, shape):
    """What was planned, found and written, JSON-ready."""
    import keras

    import fanin
    from fanin.integrations.keras import init_

    draw = np.random.default_rng(0)
    x = draw.integers(0, 11, (16, 7)) if shape is None else draw.standard_normal(shape).astype("float32")
    model, again = make(), make()
    before = _numbers(model)
    plan = fanin.plan(model, x)
    report = fanin.check(model, x)
    unchanged = all(np.array_equal(v, before[n]) for n, v in _numbers(model).items())
    written = init_(model, x, seed=3)
    init_(again, x, seed=3, trial=False)
    after = _numbers(model)
    loaded = _round_trip(model, keras)
    return {
        "planned": {a.name: [a.role, a.fan_in, a.std] for a in plan.values()},
        "warnings": list(plan.warnings),
        "trained": [v.path for v in model.trainable_variables],
        "ok": report.ok,
        "unchanged": unchanged,
        "tried": written.extras["trial"]["ran"],
        "verified": written.verify(model, bits=True).ok,
        "others kept": [n for n in after if n not in written and not np.array_equal(after[n], before[n])],
        "twice": all(np.array_equal(a, b) for a, b in zip(after.values(), _numbers(again).values(), strict=True)),
        "loaded": loaded,
        "forget": after["lstm/lstm_cell/bias"].tolist() if "lstm/lstm_cell/bias" in after else [],
    }


def _numbers(model):
    import keras

    kept = [v for v in model.variables if "seed" not in v.path]
    return {v.path: np.array(keras.ops.convert_to_numpy(v.value)) for v in kept}


def _round_trip(model, keras):
    """Whether a saved and loaded model has the same numbers, where it can be saved without its class."""
    import tempfile

    if type(model) is not keras.Model and type(model).__name__ != "Functional":
        return True
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/model.keras")
        other = keras.saving.load_model(f"{folder}/model.keras")
    return all(np.array_equal(a, b) for a, b in zip(_numbers(model).values(), _numbers(other).values(), strict=True))


if __name__ == "__main__":
    os.environ["KERAS_BACKEND"] = sys.argv[1]
    print(json.dumps({name: told(*one) for name, one in models().items()}))
