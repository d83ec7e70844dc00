"""Dialects against the frameworks themselves: a million values each, by moments, bounds and Kolmogorov-Smirnov."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import fanin
from fanin.errors import ArgumentError, UnknownNameError
from fanin.initializers import differences, from_dict, get, names
from fanin.initializers.dialects import FRAMEWORKS, dialect_entry
from fanin.initializers.dialects.torch import calculate_gain
from tests.initializers.statistics import WRONG, assert_same_law, assert_variance
from tests.selection import few

SHAPE = (1000, 1000)
RECTANGLE = (400, 2500)
KEY = fanin.key(0, "weight")


def assert_same_as_peer(law, theirs: np.ndarray, *, few_beyond: int = 0) -> None:
    """A peer's sample has the law's mean, variance and bound, and the distribution that the law draws."""
    theirs = np.asarray(theirs, np.float64)
    moments = law.moments(theirs.shape)
    assert_variance(theirs, mean=moments.mean, var=moments.var, kurtosis=moments.kurtosis)
    if moments.bound is not None:
        beyond = int((np.abs(theirs) > moments.bound * (1.0 + 1e-6)).sum())
        if beyond > few_beyond:
            raise AssertionError(f"{beyond} values beyond the bound {moments.bound}")
        if np.abs(theirs).max() < moments.bound * (1.0 - 1e-3):
            raise AssertionError("the bound is never approached")
    assert_same_law(law.sample(theirs.shape, key=KEY), theirs)


def torch_sample(function: str, shape, **arguments) -> np.ndarray:
    generator = torch.Generator().manual_seed(1)
    return getattr(torch.nn.init, function)(torch.empty(shape), generator=generator, **arguments).numpy()


TORCH = [
    ("uniform", {}),
    ("uniform", {"a": -0.2, "b": 0.5}),
    ("normal", {"mean": 0.1, "std": 0.2}),
    ("truncated_normal", {}),
    ("truncated_normal", {"std": 0.02, "a": -0.04, "b": 0.04}),
    ("truncated_normal", {"std": 0.02}),
    ("glorot_normal", {}),
    ("glorot_uniform", {"gain": 2.0}),
    ("he_normal", {}),
    ("he_normal", {"mode": "fan_out", "nonlinearity": "tanh"}),
    ("he_uniform", {"a": 5**0.5}),
]


@pytest.mark.parametrize(("name", "arguments"), few(TORCH, every=2))
def test_torch(name, arguments):
    law = get(name, like="torch", **arguments)
    theirs = torch_sample(dialect_entry(name, "torch").spelling, RECTANGLE, **arguments)
    if name == "truncated_normal" and arguments == {"std": 0.02}:  # the bounds of +-2 are 100 std away
        assert law.std_for(RECTANGLE) == pytest.approx(0.02)
        assert law.bound_for(RECTANGLE) == 2.0
        assert_variance(theirs, mean=0.0, var=0.02**2, kurtosis=3.0)
        return
    assert_same_as_peer(law, theirs)


def test_torchs_layers_start_from_the_classic_uniform_law():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = torch.nn.Linear(2500, 400).weight.detach().numpy()
    for law in (get("classic_uniform"), get("classic_uniform", like="torch")):
        assert_same_as_peer(law, theirs)


def test_torchs_orthogonal_and_sparse():
    theirs = torch.nn.init.orthogonal_(torch.empty(300, 700), gain=1.5, generator=torch.Generator().manual_seed(0))
    law = get("orthogonal", like="torch", gain=1.5)
    assert float(theirs.square().mean()) == pytest.approx(law.std_for((300, 700)) ** 2, rel=1e-5)
    sparse = torch_sample("sparse_", (1000, 1000), sparsity=0.9)
    law = get("sparse", like="torch", sparsity=0.9)
    assert_variance(sparse, mean=0.0, var=law.std_for(SHAPE) ** 2, kurtosis=law.kurtosis_for(SHAPE))


def test_torchs_gains():
    nonlinearities = ("linear", "conv2d", "conv_transpose1d", "sigmoid", "tanh", "relu", "selu", "leaky_relu")
    for name in nonlinearities:
        assert calculate_gain(name) == torch.nn.init.calculate_gain(name)
    assert calculate_gain("leaky_relu", 0.3) == torch.nn.init.calculate_gain("leaky_relu", 0.3)
    with pytest.raises(ArgumentError, match=r"torch has no gain for 'gelu'.*fanin\.gain"):
        calculate_gain("gelu")


KERAS = [
    ("uniform", "RandomUniform", {}),
    ("normal", "RandomNormal", {}),
    ("truncated_normal", "TruncatedNormal", {}),
    ("variance_scaling", "VarianceScaling", {"scale": 3.0, "mode": "fan_avg", "distribution": "normal"}),
    ("variance_scaling", "VarianceScaling", {"distribution": "untruncated_normal"}),
    ("glorot_normal", "GlorotNormal", {}),
    ("glorot_uniform", "GlorotUniform", {}),
    ("he_normal", "HeNormal", {}),
    ("he_uniform", "HeUniform", {}),
    ("lecun_normal", "LecunNormal", {}),
    ("lecun_uniform", "LecunUniform", {}),
]
SLOW = ("glorot_normal", "he_uniform", "lecun_normal", "lecun_uniform")  # the same code of the peer as another one


def briefly(cases):
    return [pytest.param(*c, marks=pytest.mark.slow if c[0] in SLOW else ()) for c in cases]


@pytest.mark.parametrize(("name", "spelling", "arguments"), few(briefly(KERAS), every=4))
def test_keras(keras, name, spelling, arguments):
    theirs = np.asarray(getattr(keras.initializers, spelling)(seed=3, **arguments)(RECTANGLE))
    assert_same_as_peer(get(name, like="keras", **arguments), theirs, few_beyond=40)
    assert dialect_entry(name, "keras").spelling == spelling


@pytest.mark.slow
def test_keras_reads_a_depthwise_kernel_with_its_own_fans(keras):
    shape = (5, 5, 20_000, 2)
    theirs = np.asarray(keras.initializers.HeNormal(seed=3)(shape))
    assert_same_as_peer(get("he_normal", like="keras"), theirs, few_beyond=40)
    right = get("he_normal").std_for(shape, fanin.Layout.keras_depthwise(4, 20_000))
    assert right / get("he_normal", like="keras").std_for(shape) == pytest.approx(math.sqrt(20_000))


@pytest.mark.slow
def test_keras_orthogonal(keras):
    theirs = np.asarray(keras.initializers.Orthogonal(gain=2.0, seed=0)((300, 200)))
    law = get("orthogonal", like="keras", gain=2.0)
    want = law.std_for((300, 200), fanin.Layout.linear_in_out())
    assert float((theirs**2).mean()) == pytest.approx(want**2, rel=1e-5)


JAX = [
    ("uniform", {}),
    ("normal", {}),
    ("truncated_normal", {}),
    ("truncated_normal", {"stddev": 0.3, "lower": -1.0, "upper": 3.0}),
    ("variance_scaling", {"scale": 3.0, "mode": "fan_geo_avg", "distribution": "normal"}),
    ("glorot_normal", {}),
    ("glorot_uniform", {}),
    ("he_normal", {}),
    ("he_uniform", {}),
    ("lecun_normal", {}),
    ("lecun_uniform", {}),
]


@pytest.mark.parametrize(("name", "arguments"), few(briefly(JAX), every=4))
def test_jax_and_flax(name, arguments):
    jax = pytest.importorskip("jax")
    make = getattr(jax.nn.initializers, name)
    theirs = np.asarray(make(**arguments)(jax.random.key(4), RECTANGLE))
    for dialect in ("jax", "flax"):
        law = get(name, like=dialect, **arguments)
    assert_same_as_peer(law, theirs)


def test_flax_re_exports_jax():
    jax = pytest.importorskip("jax")
    flax = pytest.importorskip("flax.linen.initializers")
    for name in ("he_normal", "glorot_uniform", "lecun_normal", "variance_scaling", "orthogonal", "truncated_normal"):
        assert getattr(flax, name) is getattr(jax.nn.initializers, name)


@pytest.mark.slow
def test_jax_orthogonal_and_delta_orthogonal():
    jax = pytest.importorskip("jax")
    key = jax.random.key(0)
    theirs = np.asarray(jax.nn.initializers.orthogonal(2.0)(key, (300, 200)))
    want = get("orthogonal", like="jax", scale=2.0).std_for((300, 200), fanin.Layout.linear_in_out())
    assert float((theirs**2).mean()) == pytest.approx(want**2, rel=1e-5)
    for taps in (3, 4):
        theirs = np.asarray(jax.nn.initializers.delta_orthogonal()(key, (taps, 4, 6)))
        ours = get("delta_orthogonal", like="jax").sample((taps, 4, 6), key=KEY, layout=fanin.Layout.channels_last(3))
        assert [bool(t.any()) for t in theirs] == [bool(t.any()) for t in ours]


@pytest.mark.slow
def test_complex_he_of_jax_has_the_variance_of_the_law():
    jax = pytest.importorskip("jax")
    theirs = np.asarray(jax.nn.initializers.he_normal()(jax.random.key(0), (500, 400), np.complex64))
    want = get("he_normal", like="jax").std_for((500, 400)) ** 2
    assert float((np.abs(theirs) ** 2).mean()) == pytest.approx(want, rel=0.02)


def test_the_comparison_sees_another_law():
    theirs = torch_sample("kaiming_normal_", RECTANGLE)
    with pytest.raises(AssertionError, match="variance"):
        assert_same_as_peer(get("lecun_normal"), theirs)
    with pytest.raises(AssertionError, match="variance"):
        assert_same_as_peer(get("he_normal", like="torch"), WRONG * theirs)
    with pytest.raises(AssertionError, match="beyond the bound"):
        assert_same_as_peer(get("he_normal", like="keras"), torch_sample("kaiming_normal_", SHAPE))
    with pytest.raises(AssertionError, match="different laws"):
        assert_same_law(get("he_uniform", like="torch").sample(RECTANGLE, key=KEY), theirs)


# ---------------------------------------------------------------------- those that are not installed here
READ = [  # name, framework, arguments, std on (in, out) = (400, 100), bound: worked out by hand from their source
    ("he_normal", "lasagne", {}, 1 / 20, None),
    ("he_normal", "lasagne", {"gain": "relu"}, math.sqrt(2 / 400), None),
    ("he_uniform", "lasagne", {}, 1 / 20, math.sqrt(3 / 400)),
    ("glorot_uniform", "lasagne", {}, math.sqrt(2 / 500), math.sqrt(6 / 500)),
    ("uniform", "lasagne", {}, 0.01 / math.sqrt(3), 0.01),
    ("normal", "lasagne", {}, 0.01, None),
    ("orthogonal", "lasagne", {"gain": "relu"}, math.sqrt(2 / 400), math.sqrt(2)),
    ("glorot_normal", "mxnet", {}, math.sqrt(3 / 250), None),
    ("glorot_uniform", "mxnet", {}, math.sqrt(1 / 250), math.sqrt(3 / 250)),
    ("he_normal", "mxnet", {}, math.sqrt(2 / (1 + 0.25**2) / 250), None),
    ("orthogonal", "mxnet", {}, 1.414 / 20, 1.414),
    ("uniform", "mxnet", {}, 0.07 / math.sqrt(3), 0.07),
    ("he_normal", "paddle", {}, math.sqrt(2 / 400), None),
    ("glorot_uniform", "paddle", {}, math.sqrt(2 / 500), math.sqrt(6 / 500)),
    ("uniform", "paddle", {}, 1 / math.sqrt(3), 1.0),
    ("lecun_uniform", "dl4j", {}, math.sqrt(3 / 400), 3 / math.sqrt(400)),
    ("lecun_normal", "dl4j", {}, 1 / 20, None),
    ("uniform", "dl4j", {}, 1 / 20 / math.sqrt(3), 1 / 20),
    ("normal", "dl4j", {}, 1 / 20, None),
    ("glorot_logistic", "dl4j", {}, 4 * math.sqrt(2 / 500), 4 * math.sqrt(6 / 500)),
]


@pytest.mark.parametrize(("name", "framework", "arguments", "std", "bound"), READ)
def test_formulas_read_from_source(name, framework, arguments, std, bound):
    entry = dialect_entry(name, framework)
    shape, layout = ((100, 400), None) if entry.order == "out_in" else ((400, 100), fanin.Layout.linear_in_out())
    moments = get(name, like=framework, **arguments).moments(shape, layout)
    assert moments.std == pytest.approx(std)
    assert moments.bound == (None if bound is None else pytest.approx(bound))


LASAGNE = (
    ("Constant", "constant"),
    ("Normal", "normal"),
    ("Uniform", "uniform"),
    ("GlorotNormal", "glorot_normal"),
    ("GlorotUniform", "glorot_uniform"),
    ("HeNormal", "he_normal"),
    ("HeUniform", "he_uniform"),
    ("Glorot", "glorot"),
    ("He", "he"),
    ("Orthogonal", "orthogonal"),
    ("Sparse", "sparse"),
)


def test_every_lasagne_name_has_its_equivalent():
    assert {(e.spelling, n) for n, e in FRAMEWORKS["lasagne"].items()} == set(LASAGNE)


@pytest.mark.parametrize("name", ["glorot_normal", "glorot_uniform", "he_normal", "he_uniform"])
def test_c01b_kernels(name):
    """Lasagne's c01b=True on (in, height, width, out) is the law on (out, in, height, width)."""
    c01b = get(name, like="lasagne", gain="relu", c01b=True).std_for((8, 5, 3, 16))
    bc01 = get(name, like="lasagne", gain="relu").std_for((16, 8, 5, 3))
    ours = get(name, gain=math.sqrt(2.0)).std_for((8, 5, 3, 16), fanin.Layout.c01b())
    assert c01b == pytest.approx(bc01)
    assert c01b == pytest.approx(ours)


# ---------------------------------------------------------------------- the table
@pytest.mark.parametrize("name", names())
def test_differences_has_a_row_for_every_framework_that_knows_the_name(name):
    table = differences(name)
    frameworks = [row.framework for row in table]
    assert [f for f in frameworks if f != "fanin"] == [f for f in FRAMEWORKS if name in FRAMEWORKS[f]]
    assert len(table) == len(frameworks)
    text = str(table)
    for row in table:
        assert row.framework in text
        assert from_dict(row.law.to_dict()) == row.law
    assert all(len(line) <= 150 for line in text.splitlines())


def test_differences_of_he_normal():
    ratio = {row.framework: row.std_ratio for row in differences("kaiming_normal_")}
    assert ratio["lasagne"] == pytest.approx(1 / math.sqrt(2))
    assert ratio["mxnet"] == pytest.approx(math.sqrt(400 / 250 / (1 + 0.25**2)))
    assert [ratio[f] for f in ("torch", "paddle", "dl4j")] == pytest.approx([1.0] * 3)
    assert differences("he_normal").to_dict()["rows"][0]["framework"] == "fanin"


def test_unknown_dialects_and_names_in_them():
    with pytest.raises(UnknownNameError, match="did you mean 'keras'"):
        get("he_normal", like="kears")
    with pytest.raises(UnknownNameError, match="torch has no 'lecun_normal'"):
        get("lecun_normal", like="torch")
    with pytest.raises(ArgumentError, match=r"he_normal of torch: .*Its arguments are \(a, mode, nonlinearity\)"):
        get("he_normal", like="torch", gain=2.0)
    with pytest.raises(ArgumentError, match="gain must be a number or 'relu'"):
        get("he_normal", like="lasagne", gain="tanh")
