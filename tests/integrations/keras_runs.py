"""Runs of `model.fit` with and without callbacks, in a process with one backend; prints what they give as JSON."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

from fanin.errors import ArgumentError, CheckFailedError
from fanin.integrations.keras import CheckCallback, InitCallback, WatchCallback
from fanin.rules.config import Config
from fanin.watching.stored import stored_report

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((256, 16)).astype("float32"), RNG.integers(0, 4, 256)


def net(scale=1.0, rate=1e-3, **more):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((16,)),
            keras.layers.Dense(64, activation="relu", name="fc0"),
            keras.layers.Dropout(0.1),
            keras.layers.BatchNormalization(name="bn"),
            keras.layers.Dense(4, name="head"),
        ]
    )
    for variable in model.trainable_variables:
        variable.assign(variable.value * scale)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss=loss, metrics=["accuracy"], **more)
    return model


def fit(model, *callbacks, epochs=3):
    keras.utils.set_random_seed(2)
    return model.fit(X, Y, batch_size=32, epochs=epochs, verbose=0, shuffle=False, callbacks=list(callbacks)).history


def values(model):
    return [w.tolist() for w in model.get_weights()]


def trained(model):
    return [keras.ops.convert_to_numpy(v.value).tolist() for v in model.trainable_variables]


def seeded():
    model = net()
    fit(model, InitCallback(seed=4), epochs=1)
    return model


def codes(report):
    return sorted(f.code for f in (*report.findings, *report.consequences) if f.severity != "note")


def raised(kind, call):
    try:
        call()
    except kind as error:
        return str(error)
    return ""


def main():
    told = {"backend": keras.config.backend()}
    bare, model = net(), net()
    history = fit(bare)
    with tempfile.TemporaryDirectory() as folder:
        watched = WatchCallback(steps=20, out=Path(folder) / "run.jsonl")
        callbacks = [watched] + ([CheckCallback()] if told["backend"] == "torch" else [])
        told["same history"] = fit(model, *callbacks) == history
        told["same weights"] = values(bare) == values(model)
        told["left on the model"] = "train_step" in vars(model)
        run = watched.watched.watched
        told["weights"] = run.weights
        told["steps"] = [s.step for s in run.steps]
        told["losses"] = [s.loss for s in run.steps]
        told["findings"] = codes(watched.watched.report)
        stored = stored_report(Path(folder) / "run.jsonl", Config())
        told["stored"] = stored.to_dict() == watched.watched.report.to_dict()
    result = watched.watched.report.result
    told["batch hash"] = result.header.batch_hash
    told["missing"] = dict(result.measurements.missing)
    told["rms"] = next((s.forward.rms for s in result.measurements.sites), None)
    if told["backend"] == "torch":
        import torch

        from fanin.watching.first_batch import batch_hash

        told["wanted hash"] = batch_hash(torch.from_numpy(X[:32]))
        told["checked loss"] = callbacks[1].first.report.measurements.loss.value
        told["reason"] = callbacks[1].first.reason
        broken = net(scale=8.0)
        before = values(broken)
        told["stopped"] = raised(CheckFailedError, lambda: fit(broken, CheckCallback(fail_on="error")))
        told["untouched"] = values(broken) == before
        told["left after the stop"] = "train_step" in vars(broken)
    else:
        told["refused"] = raised(ArgumentError, lambda: fit(net(), CheckCallback()))
    fast = WatchCallback()
    fit(net(rate=1.0), fast, epochs=3)
    told["too fast"] = codes(fast.watched.report)
    again = WatchCallback()
    fit(model, again, InitCallback(), epochs=1)
    told["goes on"] = again.watched is None
    one, other = net(3.0), net(2.0)  # starts that init_ keeps nothing of
    fit(one, InitCallback(seed=3), epochs=1)
    fit(other, InitCallback(seed=3), epochs=1)
    told["started"] = trained(one) == trained(other)
    told["started by the seed"] = trained(one) != trained(seeded())
    told["accumulated"] = raised(ArgumentError, lambda: fit(accumulating(), WatchCallback()))
    print(json.dumps(told))


def accumulating():
    model = net()
    model.compile(keras.optimizers.Adam(1e-3, gradient_accumulation_steps=2), loss="sparse_categorical_crossentropy")
    return model


if __name__ == "__main__":
    sys.exit(main())
