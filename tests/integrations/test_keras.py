"""Keras models of two backends: planned by the paths of their variables, started all or nothing, states untouched."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import fanin
from fanin.errors import ArgumentError, FillError, PlanError
from fanin.initializers import Orthogonal, he_normal
from fanin.integrations.keras.names import counted_names
from fanin.layout import Layout

pytest.importorskip("keras")
pytestmark = pytest.mark.filterwarnings("ignore:.*copy keyword:DeprecationWarning")  # Keras' own, as it saves
NAMES = ("dense", "cnn", "transformer", "recurrent", "subclassed")


@functools.cache
def told(backend):
    """What five models of one backend say, each in a process that has no other."""
    words = [sys.executable, "-W", "ignore", "-m", "tests.integrations.keras_models", backend]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONWARNINGS": ""})
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_planned_checked_and_started(backend, name):
    one = told(backend)[name]
    assert list(one["planned"]) == one["trained"]
    assert one["ok"]
    assert one["unchanged"]
    assert one["tried"]
    assert one["verified"]
    assert one["others kept"] == []
    assert one["twice"]
    assert one["loaded"]
    assert one["warnings"] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_both_backends_give_the_same_roles_and_fans(name):
    torch, jax = (told(b)[name]["planned"] for b in ("torch", "jax"))
    assert {n: one[:2] for n, one in torch.items()} == {n: one[:2] for n, one in jax.items()}


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_roles_gates_and_the_depthwise_std_are_right(backend):
    every = told(backend)
    cnn, transformer, recurrent = (every[n]["planned"] for n in ("cnn", "transformer", "recurrent"))
    assert [cnn["norm/gamma"][0], cnn["norm/beta"][0]] == ["norm_scale", "norm_shift"]
    _, fan_in, std = cnn["depthwise/kernel"]
    assert fan_in == 9
    assert std == pytest.approx((2 / 9) ** 0.5, rel=0.02)  # a ReLU of a normed signal: E x^2 = 1/2
    heads = [transformer[f"attention/{n}/bias"][0] for n in ("query", "key", "value")]
    assert heads == ["bias"] * 3
    assert [recurrent[f"lstm/lstm_cell/{n}"][0] for n in ("kernel", "recurrent_kernel", "bias")] == [
        "rnn_ih",
        "rnn_hh",
        "rnn_bias",
    ]
    bias = np.array(every["recurrent"]["forget"])
    assert bias[16:32].tolist() == [1.0] * 16  # Keras' order: input, forget, candidate, output
    assert not bias[:16].any()
    assert not bias[32:].any()


def test_layers_without_a_name_are_counted_within_the_model():
    layers = [("dense_7", "dense"), ("dense_9", "dense"), ("dense_x", "dense"), ("my_dense", "dense")]
    assert counted_names(layers) == {"dense_7": "dense", "dense_9": "dense_1"}
    assert counted_names([("dense_7", "dense"), ("dense", "conv2d")]) == {}


# ---------------------------------------------------------------- in this process, on the backend that is loaded here
@pytest.fixture
def keras():
    import keras

    if keras.config.backend() not in ("torch", "jax"):
        pytest.skip("Keras was imported with another backend")
    return keras


@pytest.fixture
def small(keras):
    def make():
        x = inputs = keras.Input((4,))
        x = keras.layers.Dense(6, activation="relu", name="fc")(x)
        return keras.Model(inputs, keras.layers.Dense(2, name="head")(x))

    return make


X = np.random.default_rng(0).standard_normal((8, 4)).astype("float32")


def array(keras, one):
    return np.array(keras.ops.convert_to_numpy(getattr(one, "value", one)))


def numbers(keras, model):
    return [array(keras, v) for v in model.variables]


def test_the_bits_are_those_of_the_path(keras, small):
    model = small()
    plan = fanin.init_(model, X, seed=5, trial=False)
    law = plan["fc/kernel"].initializer
    wanted = law.sample((4, 6), key=fanin.key(5, "fc/kernel"), layout=plan["fc/kernel"].layout)
    np.testing.assert_array_equal(array(keras, model.get_layer("fc").kernel), wanted)


def test_a_factory_of_a_keras_model_is_checked(keras, small):
    report = fanin.check(lambda: (small(), X), targets=np.arange(8) % 2)
    assert [p.path for p in report.result.measurements.parameters][:2] == ["fc/kernel", "fc/bias"]


@pytest.mark.slow
def test_a_model_with_the_initializer_is_loaded_in_another_process(keras, tmp_path):
    from fanin.integrations.keras import initializer

    made = initializer("he_normal", key=fanin.key(0, "a"))
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, kernel_initializer=made)])
    model.save(tmp_path / "model.keras")
    code = (
        "import sys, keras, fanin\n"
        "from fanin.integrations.keras import initializer\n"
        "one = keras.saving.load_model(sys.argv[1]).layers[0].kernel_initializer\n"
        "print(one.get_config() == initializer('he_normal', fanin.key(0, 'a')).get_config())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model.keras")], capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] == "True"


def test_a_frozen_layer_is_kept_and_named(keras, small):
    model = small()
    model.get_layer("fc").trainable = False
    before = numbers(keras, model)
    plan = fanin.init_(model, X, trial=False)
    after = numbers(keras, model)
    assert plan["fc/kernel"].action == "keep"
    assert [np.array_equal(a, b) for a, b in zip(before, after, strict=True)][:2] == [True, True]
    assert not np.array_equal(before[2], after[2])


def test_an_assignment_that_fails_puts_all_back(keras, small, monkeypatch):
    from fanin.integrations.keras.write import assign_all

    torch = pytest.importorskip("torch")
    model = small()
    before = numbers(keras, model)
    values = {v.path: torch.ones(tuple(v.shape)) for v in model.variables}
    values["head/kernel"] = torch.ones(3, 3)
    with pytest.raises(FillError, match=r"'head/kernel' failed.*as they were"):
        assign_all(model, values)
    for one, other in zip(before, numbers(keras, model), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_cannot_be_planned_is_named(keras, small):
    class Unbuilt(keras.Model):
        pass

    with pytest.raises(ArgumentError, match="'unbuilt' is not built"):
        fanin.plan(Unbuilt(), X)
    one = keras.Sequential([keras.layers.Dense(3, name="same")], name="block")
    two = keras.Sequential([keras.layers.Dense(3, name="same")], name="block")

    class Twice(keras.Model):
        def __init__(self):
            super().__init__()
            self.one, self.two = one, two

        def call(self, x):
            return self.one(x) + self.two(x)

    model = Twice()
    model(X)
    with pytest.raises(PlanError, match="two variables of the model are called"):
        fanin.plan(model, X)


# ---------------------------------------------------------------- the other verbs
def unnamed(keras, width=16):
    dense = keras.layers.Dense
    return keras.Sequential([keras.Input((4,)), dense(width, "relu"), dense(width, "relu"), dense(2)], name="net")


def test_a_model_says_itself_what_it_takes(keras, small):
    from fanin.integrations.keras.given import made_up_inputs

    model = small()
    assert fanin.plan(model) == fanin.plan(model, made_up_inputs(model))

    class Unsaid(keras.Model):
        def __init__(self):
            super().__init__()
            self.head = keras.layers.Dense(2)

        def call(self, x):
            return self.head(x)

    silent = Unsaid()
    silent(X)
    with pytest.raises(ArgumentError, match="does not say what it takes"):
        fanin.plan(silent)


def test_a_plan_is_for_the_model_built_again_under_other_names(keras):
    first, again = unnamed(keras), unnamed(keras)
    plan = fanin.plan(first, X)
    assert [v.path for v in first.variables] != [v.path for v in again.variables]
    plan.apply_(again)
    assert plan.verify(again, bits=True).ok
    fanin.plan(first, X).apply_(first)
    for one, other in zip(numbers(keras, first), numbers(keras, again), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(PlanError, match="does not fit the model"):
        plan.apply_(keras.Sequential([keras.Input((4,)), keras.layers.Dense(16), keras.layers.Dense(2)], name="net"))


def test_weights_that_are_off_are_calibrated(keras):
    model = unnamed(keras)
    plan = fanin.init_(model, X, trial=False)
    kernel = model.layers[1].kernel
    kernel.assign(5.0 * array(keras, kernel))
    before = array(keras, kernel)
    found = fanin.calibrate(model, X, plan)
    assert found.changed == (kernel.path,)
    np.testing.assert_allclose(array(keras, kernel), before * found.plan[kernel.path].factor, rtol=1e-6)
    assert fanin.calibrate(model, X, plan).changed == ()
    with pytest.raises(ArgumentError, match="one batch of arrays"):
        fanin.calibrate(model, iter([X, X]))


@pytest.mark.slow
def test_verbs_that_train_in_torch_take_its_backend_and_say_so_on_others(keras):
    model, base = unnamed(keras), unnamed(keras, 8)
    plan = fanin.plan(model, X)
    if keras.config.backend() != "torch":
        for verb in (
            lambda: fanin.param_groups(model, plan, 0.01, base=base),
            lambda: fanin.watch(model, None),
            lambda: fanin.compare(
                lambda: model, (X, X), inits={"default": None}, seeds=1, lrs=[0.1], batch_size=4, progress=False
            ),
        ):
            with pytest.raises(ArgumentError, match="Keras runs on the jax backend"):
                verb()
        return
    groups = fanin.param_groups(model, plan, 0.01, base=base)
    rates = {name: g["lr"] for g in groups for name in g["names"]}
    assert [rates[v.path] for v in model.variables] == [0.01, 0.01, 0.005, 0.01, 0.005, 0.01]
    assert {id(p) for g in groups for p in g["params"]} == {id(p) for p in model.parameters()}
    import torch

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with fanin.watch(model, optimizer, steps=1, check=False) as watched:
        model(torch.as_tensor(X)).square().mean().backward()
        optimizer.step()
    assert watched.watched.weights == tuple(v.path for v in model.variables if len(v.shape) > 1)
    with pytest.raises(ArgumentError, match="WatchCallback"):
        fanin.watch(model, keras.optimizers.SGD(0.1))


@pytest.mark.slow
def test_a_loss_of_keras_is_called_as_keras_calls_it(keras):
    import torch

    from fanin.integrations.keras.losses import torch_loss

    model, y = unnamed(keras), np.arange(8) % 2
    one_hot, out = np.eye(2, dtype="float32")[y], array(keras, model(X))
    for loss, targets in (
        (keras.losses.SparseCategoricalCrossentropy(from_logits=True), y),
        (keras.losses.CategoricalCrossentropy(from_logits=True), one_hot),
        (keras.losses.mean_absolute_error, one_hot),
        ("huber", one_hot),
    ):
        x = torch.from_numpy(out.copy()).requires_grad_()
        made = torch_loss(model, loss, targets)(x, torch.from_numpy(targets))
        made.backward()
        wanted = np.mean(array(keras, keras.losses.get(loss)(targets, out)))
        assert float(made.detach()) == pytest.approx(float(wanted), rel=1e-5)
        assert float(x.grad.abs().sum()) > 0.0
    assert torch_loss(model, torch.nn.functional.mse_loss, y) is torch.nn.functional.mse_loss
    with pytest.raises(ArgumentError, match="Keras knows no loss 'no_such'"):
        fanin.check(model, X, targets=y, loss="no_such")
    model.compile(loss="mse")
    seen = fanin.check(model, X, targets=one_hot).result.measurements.loss
    assert seen.value == pytest.approx(float(np.mean((out - one_hot) ** 2)), rel=1e-5)


def test_without_targets_the_compiled_loss_is_not_used(keras):
    """Twin: with targets it is, also a function of one's own, which Keras calls with the targets first."""
    model, y = unnamed(keras), np.zeros((8, 2), "float32")
    model.compile("adam", lambda targets, output: keras.ops.mean(3.0 * output - targets))
    assert fanin.check(model, X).result.measurements.loss.source != "given"
    assert fanin.init_(model, X, seed=0).extras["trial"]["ran"]
    seen = fanin.check(model, X, targets=y).result.measurements.loss
    assert seen.value == pytest.approx(3.0 * float(array(keras, model(X)).mean()), rel=1e-4, abs=1e-6)
    with pytest.raises(ArgumentError, match=r"the loss mean_squared_error of Keras .* targets is missing"):
        fanin.check(model, X, loss="mse")


@pytest.mark.slow
def test_what_is_put_back_after_a_pass_of_a_twin_is_not_looked_for_in_keras(keras):
    """Twin: the Keras model itself leads to all of Keras and to what that imports."""
    from fanin.model.foreign import as_module
    from fanin.model.reachable import Reachable

    if keras.config.backend() != "jax":
        pytest.skip("on torch the model runs code of Keras")
    model = unnamed(keras)
    assert len(Reachable(as_module(model, X)).things) < 500
    assert len(Reachable([model]).things) > 5000


# ---------------------------------------------------------------- laws as initializers
def test_an_initializer_with_a_key_draws_that_stream(keras):
    from fanin.integrations.keras import initializer

    key = fanin.key(0, "fc/kernel")
    made = initializer(he_normal(), key=key)
    wanted = he_normal().sample((4, 6), key=key, layout=Layout.channels_last(2))
    np.testing.assert_array_equal(array(keras, made((4, 6))), wanted)
    with pytest.raises(ArgumentError, match="a key of its own"):
        made((6, 6))


def test_an_initializer_without_a_key_follows_the_seed_of_keras(keras):
    from fanin.integrations.keras import initializer

    drawn = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        drawn.append(array(keras, initializer("he_normal")((4, 6))))
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    one = initializer("he_normal")
    assert not np.array_equal(*(array(keras, i((4, 6))) for i in (one, one.clone())))


@pytest.mark.parametrize("layout", [None, Layout.channels_last(2, groups=2)])
def test_an_initializer_survives_saving_loading_and_cloning(keras, tmp_path, layout):
    from fanin.integrations.keras import initializer

    made = initializer(Orthogonal(gain=2.0), key=fanin.key(2**64 - 1, "a", purpose="b"), layout=layout)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, kernel_initializer=made)])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    cloned = keras.models.clone_model(model)
    for other in (loaded, cloned):
        assert other.layers[0].kernel_initializer.get_config() == made.get_config()
    np.testing.assert_array_equal(*(array(keras, m.layers[0].kernel) for m in (model, cloned)))
    with pytest.raises(ArgumentError, match="law is an initializer"):
        type(made)(3)
