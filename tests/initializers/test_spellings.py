"""Every name that an installed framework knows is understood, with that framework's own arguments."""

from __future__ import annotations

import importlib
import inspect
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import fanin
from fanin.errors import ArgumentError, FaninError, LayoutError, ShapeError, UnknownNameError
from fanin.initializers import STFT, from_dict, get, names
from fanin.initializers.dialects import FRAMEWORKS
from fanin.initializers.dialects.spelling import plain
from fanin.initializers.registry import canonical
from tests.initializers.statistics import assert_variance
from tests.selection import few

KEY = fanin.key(0, "weight")


def _torch_names() -> set[str]:
    made = {n for n, f in vars(torch.nn.init).items() if inspect.isfunction(f) and not n.startswith("_")}
    return {n for n in made if n != "calculate_gain" and f"{n.rstrip('_')}_" in made}


def _keras_names() -> set[str]:
    initializers = importlib.import_module("keras.src.initializers")
    return {n for n in initializers.ALL_OBJECTS_DICT if n.lower() != "initializer"}


def _jax_names() -> set[str]:
    import jax

    return {n for n in dir(jax.nn.initializers) if not n.startswith("_") and n != "Initializer"}


def _flax_names() -> set[str]:
    import flax.linen

    return {n for n in dir(flax.linen.initializers) if not n.startswith("_") and n != "Initializer"}


# Not installed: as their sources list them.
LASAGNE = {"Constant", "Normal", "Uniform", "Glorot", "GlorotNormal", "GlorotUniform", "He", "HeNormal", "HeUniform"}
LASAGNE |= {"Orthogonal", "Sparse"}
MXNET = {"Zero", "zeros", "One", "ones", "Constant", "Uniform", "Normal", "Orthogonal", "Xavier", "MSRAPrelu"}
MXNET |= {"Bilinear", "LSTMBias", "xavier", "msraprelu", "lstmbias"}
PADDLE = {"Constant", "Normal", "TruncatedNormal", "Uniform", "XavierNormal", "XavierUniform", "KaimingNormal"}
PADDLE |= {"KaimingUniform", "Assign", "Dirac", "Orthogonal", "Bilinear"}
DL4J = {"ZERO", "ONES", "SIGMOID_UNIFORM", "NORMAL", "LECUN_NORMAL", "LECUN_UNIFORM", "UNIFORM", "XAVIER"}
DL4J |= {"XAVIER_UNIFORM", "XAVIER_FAN_IN", "XAVIER_LEGACY", "RELU", "RELU_UNIFORM", "IDENTITY"}
DL4J |= {f"VAR_SCALING_{law}_FAN_{fan}" for law in ("NORMAL", "UNIFORM") for fan in ("IN", "OUT", "AVG")}

KNOWN = {
    "torch": _torch_names,
    "keras": _keras_names,
    "jax": _jax_names,
    "flax": _flax_names,
    "lasagne": lambda: LASAGNE,
    "mxnet": lambda: MXNET,
    "paddle": lambda: PADDLE,
    "dl4j": lambda: DL4J,
}
EXAMPLES = {
    "constant": {"torch": {"val": 0.5}, "jax": {"value": 0.5}, "flax": {"value": 0.5}, "mxnet": {"value": 0.5}},
    "sparse": {"torch": {"sparsity": 0.9}},
    "variance_scaling": {f: {"scale": 1.0, "mode": "fan_in", "distribution": "normal"} for f in ("jax", "flax")},
    "glorot": {"lasagne": {"initializer": "Normal"}},
    "he": {"lasagne": {"initializer": "Uniform"}},
    "assign": {"paddle": {"value": [1.0, 2.0]}},
}


@pytest.mark.parametrize("framework", KNOWN)
def test_every_spelling_of_a_framework_is_understood(keras, framework):
    spellings = KNOWN[framework]()
    assert len(spellings) >= 10
    for name in sorted(spellings):
        law = get(name, like=framework, **EXAMPLES.get(plain(name), {}).get(framework, {}))
        assert from_dict(law.to_dict()) == law


@pytest.mark.parametrize("framework", ["torch", "keras", "jax", "flax"])
def test_and_without_saying_which_framework(keras, framework):
    for name in sorted(KNOWN[framework]()):
        assert canonical(name) in names()


def test_a_spelling_that_two_frameworks_read_differently_is_refused_with_both():
    with pytest.raises(UnknownNameError, match="glorot_uniform in mxnet, glorot_normal in dl4j"):
        get("xavier")
    assert get("xavier", like="mxnet") != get("xavier", like="dl4j")


@given(st.sampled_from(sorted(names())), st.sampled_from(["", "_", "Initializer", "_init"]), st.booleans())
def test_case_underscores_and_endings_do_not_matter(name, ending, camel):
    spelt = "".join(w.title() for w in name.split("_")) if camel else name
    assert plain(spelt + ending) == plain(name)


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("shape", "inputs", "outputs"),
    few(
        [
            ((64, 4, 16), (0,), (1, 2)),
            ((4, 16, 64), (0, 1), (2,)),
            ((3, 3, 8, 32), (-2,), (-1,)),
            ((8, 5, 32), (0,), (2,)),
        ],
        every=2,
    ),
)
@pytest.mark.parametrize("name", few(["glorot_uniform", "he_normal", "lecun_normal"], "he_normal"))
def test_the_axes_of_keras(keras, name, shape, inputs, outputs):
    arguments = {"input_axes": list(inputs), "output_axes": list(outputs)}
    law = get(name, like="keras", **arguments)
    many = (*shape[:1], *shape[1:])
    theirs = np.concatenate(
        [np.asarray(getattr(keras.initializers, name)(seed=s, **arguments)(many)).ravel() for s in range(16)]
    )
    moments = law.moments(shape)
    assert_variance(theirs, mean=0.0, var=moments.var, kurtosis=moments.kurtosis)
    without = get(name, like="keras").moments(shape)
    if shape in ((64, 4, 16), (8, 5, 32)):  # the twin: the fans of the bare shape are others
        assert abs(without.std / moments.std - 1) > 0.05


@pytest.mark.parametrize(
    ("shape", "axes"),
    few(
        [
            ((64, 4, 16), {"in_axis": 0, "out_axis": (1, 2)}),
            ((4, 16, 64), {"in_axis": (0, 1), "out_axis": 2}),
            ((6, 32, 48), {"in_axis": 1, "out_axis": 2, "batch_axis": 0}),
            ((32, 48), {"in_axis": 1, "out_axis": 0}),
        ],
        every=2,
    ),
)
@pytest.mark.parametrize("name", few(["glorot_uniform", "he_normal", "lecun_normal"], "he_normal"))
def test_the_axes_of_jax(name, shape, axes):
    jax = pytest.importorskip("jax")

    law = get(name, like="jax", **axes)
    make = getattr(jax.nn.initializers, name)(**axes)
    theirs = np.concatenate([np.asarray(make(jax.random.key(s), shape)).ravel() for s in range(16)])
    moments = law.moments(shape)
    assert_variance(theirs, mean=0.0, var=moments.var, kurtosis=moments.kurtosis)


def test_keras_ignores_one_of_the_axes_without_the_other():
    assert get("he_normal", like="keras", input_axes=[0]) == get("he_normal", like="keras")


@pytest.mark.parametrize("side", ["real", "imag"])
@pytest.mark.parametrize("options", [{}, {"window": None}, {"window": "hamming", "scaling": "spectrum"}])
def test_the_fourier_kernel_is_that_of_keras(keras, side, options):
    theirs = np.asarray(keras.initializers.STFT(side, **options)((16, 1, 9)))
    ours = STFT(side=side, **options).sample((16, 1, 9), key=KEY)
    assert np.abs(ours - theirs).max() < 4e-6  # their angles, up to 47, are float32
    other = STFT(side=side, **{**options, "periodic": True}).sample((16, 1, 9), key=KEY)
    assert (options.get("window", "hann") is None) == bool(np.array_equal(ours, other))


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("he_uniform", {"like": "torch", "a": [1]}, "a must be a finite number"),
        ("he_normal", {"like": "torch", "nonlinearity": "gelu"}, "torch has no gain"),
        ("he_normal", {"like": "torch", "mode": "in"}, "mode"),
        ("xavier_normal_", {"like": "torch", "gain": -1.0}, "gain"),
        ("variance_scaling", {"like": "keras", "scale": 0}, "above 0"),
        ("variance_scaling", {"like": "keras", "scale": "2"}, "scale"),
        ("variance_scaling", {"like": "jax", "scale": -1, "mode": "fan_in", "distribution": "normal"}, "scale"),
        ("he_normal", {"like": "jax", "in_axis": [0, 0]}, "different axes"),
        ("he_normal", {"like": "keras", "input_axes": "x", "output_axes": [1]}, "input_axes"),
        ("he_normal", {"like": "keras", "seed": 3}, "fanin.key"),
        ("normal_", {"like": "torch", "generator": None}, "fanin.key"),
        ("he_normal", {"like": "jax", "dtype": "float32"}, "dtype"),
        ("orthogonal", {"like": "jax", "column_axis": 0}, "layout"),
        ("dirac_", {"like": "torch", "groups": 2}, "layout"),
        ("GlorotNormal", {"like": "lasagne", "gain": "tanh"}, "gain"),
        ("Glorot", {"like": "lasagne", "initializer": "Sparse"}, "initializer"),
        ("Xavier", {"like": "mxnet", "rnd_type": "normal"}, "rnd_type"),
        ("Xavier", {"like": "mxnet", "factor_type": "mean"}, "mode"),
        ("XavierNormal", {"like": "paddle", "fan_in": 3}, "fan_out"),
        ("RELU", {"like": "dl4j", "gain": 2.0}, "arguments"),
        ("stft", {"side": "both"}, "side"),
        ("stft", {"window": "no such window"}, "window"),
        ("he_normal", {"like": "tensorflow"}, "dialect"),
        (None, {}, "text"),
        ("", {}, "text"),
        (3, {}, "text"),
    ],
)
def test_what_cannot_be_is_one_of_our_errors_with_what_is_wrong(name, arguments, words):
    with pytest.raises(FaninError, match=words):
        get(name, **arguments)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(),
    st.text(max_size=3),
    st.lists(st.integers(-2, 2), max_size=2),
    st.just(object()),
)


@given(st.sampled_from([(f, n) for f, table in FRAMEWORKS.items() for n in table]), st.data())
def test_any_value_of_any_argument_gives_a_law_or_one_of_our_errors(which, data):
    framework, name = which
    takes = list(inspect.signature(FRAMEWORKS[framework][name].make).parameters)
    chosen = data.draw(st.lists(st.sampled_from(takes), unique=True)) if takes else []
    arguments = {argument: data.draw(VALUES) for argument in chosen}
    try:
        law = get(name, like=framework, **arguments)
        assert math.isfinite(law.std_for((6, 4)))
    except (ArgumentError, ShapeError, LayoutError):
        pass
