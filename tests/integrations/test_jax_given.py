"""Models of JAX libraries given for a function, for parameters or for a torch model: the error says how to go on."""

from __future__ import annotations

import re

import numpy as np
import pytest

import fanin
from fanin.errors import ArgumentError, CaptureError
from fanin.model.jax_models import as_function, kind_of

jax = pytest.importorskip("jax")
linen = pytest.importorskip("flax.linen")
nnx = pytest.importorskip("flax.nnx")

from fanin.integrations import jax as fj  # noqa: E402

X = np.random.default_rng(0).standard_normal((8, 4)).astype("float32")
W = {"w": np.ones((4, 3), "float32")}


class Own(nnx.Module):
    def __init__(self):
        self.layer = nnx.Linear(4, 3, rngs=nnx.Rngs(0))

    def __call__(self, *inputs):
        return self.layer(*inputs)


class OwnLinen(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(3)(x)


def equinox():
    return pytest.importorskip("equinox").nn.Linear(4, 3, key=jax.random.key(0))


def haiku():
    hk = pytest.importorskip("haiku")
    return hk.transform(lambda x: hk.Linear(3)(x))


def haiku_with_state():
    hk = pytest.importorskip("haiku")
    return hk.transform_with_state(lambda x: hk.Linear(3)(x))


MODELS = {
    Own: "nnx.merge",
    OwnLinen: "model.apply",
    equinox: "eqx.combine",
    haiku: "net.apply, params",
    haiku_with_state: "net.apply(p, state",
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("make", MODELS)
def test_a_model_object_is_named_with_the_call_that_takes_it(make):
    model, told = make(), re.escape(MODELS[make])
    for call in (
        lambda: fj.plan(model, X),
        lambda: fj.check(model, W, X),
        lambda: fanin.check(model, X),
        lambda: fanin.check(lambda: model, X),
        lambda: fanin.plan(model, X),
        lambda: fanin.init_(model, X),
    ):
        with pytest.raises(ArgumentError, match=told) as raised:
            call()
        assert "fanin.integrations.jax" in str(raised.value)
        assert kind_of(model) in str(raised.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("make", MODELS)
def test_the_call_that_is_told_runs(make):
    """Twin of the errors: the lines of the message, as they are written there, give a plan of both parameters."""
    model, key, x = make(), jax.random.key(0), X
    lines, _, rest = as_function(model).partition(": ")[2].partition(", then ")
    names = {"model": model, "key": key, "x": x, "jax": jax, "nnx": nnx, "fj": fj}
    for library, name in (("hk", "haiku"), ("eqx", "equinox")):
        if name in kind_of(model).lower():
            names[library] = pytest.importorskip(name)
    for line in lines.split(" and "):
        exec(line, names)
    assert len(eval(rest.partition(". fj.check")[0], names)) == 2


def test_a_model_without_arrays_in_the_place_of_parameters_is_refused_and_a_tree_of_arrays_is_not():
    with pytest.raises(
        ArgumentError, match=r"params is the Flax linen module OwnLinen, which holds no arrays.*model\.apply"
    ):
        fj.plan(lambda p, x: x, OwnLinen(), X)
    assert list(fj.plan(lambda model, x: model(x), Own(), X)) == ["layer.bias", "layer.kernel"]
    assert len(fj.plan(lambda model, x: jax.vmap(model)(x), equinox(), X)) == 2


def test_arguments_in_another_order_or_too_few_are_told():
    def net(p, x):
        return x @ p["w"]

    assert list(fj.plan(net, W, X)) == ["w"]
    with pytest.raises(ArgumentError, match=r"fn is of type dict; .* the function comes first"):
        fj.check(W, net, X)
    with pytest.raises(ArgumentError, match="missing a required argument: 'x'"):
        fj.check(net, W)
    with pytest.raises(
        CaptureError, match=r"the function raised TypeError for the inputs 0 float32\[8, 3\]: dot_general"
    ):
        fj.check(net, W, X[:, :3])


def test_functions_of_jax_and_equinox_are_no_models():
    eqx = pytest.importorskip("equinox")
    for fn in (jax.jit(lambda p, x: x @ p["w"]), eqx.filter_jit(lambda p, x: x @ p["w"])):
        assert not kind_of(fn)
        assert list(fj.plan(fn, W, X)) == ["w"]
