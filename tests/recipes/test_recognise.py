"""Reading laws off numbers: what is there is named, what is not is not."""

import numpy as np
import pytest

import fanin
from fanin import initializers as laws
from fanin.recipes.reading.departures import departures
from fanin.recipes.reading.recognise import named_std, recognise

KEYS = [fanin.key(s, "w") for s in (0, 1, 2)]


def sampled(law, shape, key):
    return law.sample(shape, key=key).astype(np.float64)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "law",
    [
        laws.Uniform(bound=0.3),
        laws.Normal(std=0.02),
        laws.Normal(std=1.0, mean=0.5),
        laws.TruncatedNormal(std=0.02),
        laws.Zeros(),
        laws.Ones(),
        laws.Constant(0.25),
        laws.Orthogonal(gain=1.5),
        laws.Identity(gain=2.0),
    ],
    ids=str,
)
def test_every_law_is_named_with_its_numbers(law, key):
    got = recognise(sampled(law, (160, 120), key))
    assert type(got.law) is type(law)
    want = law.moments((160, 120))
    assert got.law.moments((160, 120)).std == pytest.approx(want.std, rel=0.03)
    assert got.law.moments((160, 120)).mean == pytest.approx(want.mean, abs=0.05 * want.std + 1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_values_overflow_nowhere(dtype):
    values = sampled(laws.Uniform(bound=1.0), (64, 32), KEYS[0]).astype(dtype) * dtype(1e30)
    with np.errstate(all="raise"):
        assert isinstance(recognise(values).law, laws.Uniform)


def test_a_law_that_is_none_of_them_is_not_named():
    rng = np.random.default_rng(0)
    assert recognise(rng.standard_t(2, size=(99, 99))).law is None
    assert recognise(np.log(np.arange(1.0, 17.0))).law is None
    assert "evenly spaced" in recognise(np.arange(64.0)).words
    assert "every row is the same" in recognise(np.tile(np.arange(5.0), (8, 1))).words
    assert "NaN" in recognise(np.array([1.0, np.nan])).words
    assert "too few" in recognise(np.array([0.1, -0.2, 0.3])).words
    assert recognise(np.zeros((0, 3))).law is None


def test_a_padding_row_does_not_hide_the_law():
    table = sampled(laws.Normal(std=1.0), (200, 32), KEYS[0])
    table[3] = 0.0
    assert "row 3 is zero" in recognise(table).words


@pytest.mark.parametrize(
    ("law", "name"),
    [
        (laws.he_normal(), "He"),
        (laws.lecun_uniform(), "LeCun"),
        (laws.Uniform(bound=300**-0.5), "torch"),
        (laws.glorot_normal(), "Glorot"),
        (laws.Normal(std=0.02), "0.02"),
    ],
    ids=str,
)
def test_a_std_is_called_by_its_scheme(law, name):
    w = sampled(law, (700, 300), KEYS[0])
    assert name in named_std(float(w.std()), w.size, 300.0, 700.0)
    assert named_std(1.03 * float(w.std()), w.size, 300.0, 700.0) == ""


def test_the_scheme_of_a_std_is_data_and_not_a_piece_of_a_sentence():
    import torch

    from fanin.layout import Layout
    from fanin.model.roles import Seen
    from fanin.recipes.catalogue.keep import kept

    w = torch.from_numpy(laws.he_normal().sample((400, 300), key=KEYS[0]))
    choice = kept(w, Seen(role="weight", layout=Layout.default(2), source="module"))
    assert choice.reason.endswith("its std is He's sqrt(2 / fan_in)")
    assert {s.quantity: s.formula for s in choice.steps}["gain"] == "std * sqrt(fan_in); He's sqrt(2 / fan_in)"
    odd = kept(1.2 * w, Seen(role="weight", layout=Layout.default(2), source="module"))
    assert "its std is" not in odd.reason


def test_an_empty_tensor_has_no_law_and_does_not_vary():
    got = recognise(np.zeros((0, 3)))
    assert (got.law, got.mean, got.std) == (None, 0.0, 0.0)


@pytest.mark.parametrize(("errors", "found"), [(5.3, True), (4.7, False)])
def test_the_variance_of_a_law_without_tails_is_held_to_its_own_standard_error(errors, found):
    """Of uniform numbers the square varies less than of normal ones: sqrt(0.8 / n), not sqrt(2 / n)."""
    n = 10_000
    grid = np.linspace(-1.0, 1.0, n)
    law = laws.Uniform(bound=1.0)
    var = law.moments((100, 100)).var * (1.0 - errors * np.sqrt(0.8 / n))
    values = np.random.default_rng(0).permutation(grid * np.sqrt(var / np.square(grid).mean())).reshape(100, 100)
    said = [m.quantity for m in departures("w", values, law, None, "float32", 5.0)]
    assert ("variance" in said) == found


@pytest.mark.parametrize(("dtype", "digits"), [("float64", 52), ("float32", 23), ("bfloat16", 8), ("float16", 10)])
@pytest.mark.parametrize(("roundings", "wrong"), [(0.0, False), (0.9, False), (2.0, True)])
def test_a_constant_may_differ_by_one_rounding_of_its_dtype(dtype, digits, roundings, wrong):
    values = np.full((4, 4), 0.5 * (1.0 + roundings * 2.0**-digits))
    found = list(departures("w", values, laws.Constant(0.5), None, dtype, 5.0))
    assert [m.quantity for m in found] == ["values"] * wrong


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_numbers_are_in_order_only_if_every_line_is(sign):
    values = sampled(laws.Normal(std=0.02), (64, 8), KEYS[0])
    values[:, 0] = sign * np.sort(values[:, 0])
    assert isinstance(recognise(values).law, laws.Normal)
    assert "in order" in recognise(sign * np.sort(values, axis=0)).words


@pytest.mark.parametrize(("count", "named"), [(23, False), (24, True)])
def test_a_law_is_named_from_24_numbers_on(count, named):
    values = sampled(laws.Normal(std=0.02), (count,), KEYS[0])
    got = recognise(values)
    assert (got.law is not None) == named
    assert ("too few" in got.words) == (not named)
