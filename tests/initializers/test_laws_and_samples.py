"""What a law says of itself against what it draws, for every case of the registry."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fanin
from fanin.initializers import Constant, Normal, Ones, PerPart, Uniform, Zeros, get, he_normal
from fanin.initializers.catalogue.constant import Constant as ConstantClass
from fanin.layout import Layout
from tests.initializers.statistics import WRONG, assert_same_law, assert_variance
from tests.initializers.test_initializer_contract import ALL
from tests.selection import few

KEYS = [fanin.key(seed, "layer.weight") for seed in range(40)]
ELEMENTWISE = [p for p in ALL if get(p.values[0], **p.values[1].arguments).draw(p.values[1].shape, p.values[1].layout)]


@pytest.mark.parametrize(("name", "case"), ELEMENTWISE)
def test_elementwise_laws_have_the_moments_they_state(name, case):
    law = get(name, **case.arguments)
    moments = law.moments(case.shape, case.layout)
    w = np.stack([law.sample(case.shape, key=k, layout=case.layout, dtype="float64") for k in KEYS])
    assert_variance(w, mean=moments.mean, var=moments.var, kurtosis=moments.kurtosis)
    fourth = float(((w - moments.mean) ** 4).mean()) / moments.var**2
    assert fourth == pytest.approx(moments.kurtosis, rel=0.05)  # within 5 standard errors for all of them at n = 6e4
    with pytest.raises(AssertionError, match="variance"):
        assert_variance(
            moments.mean + WRONG * (w - moments.mean), mean=moments.mean, var=moments.var, kurtosis=moments.kurtosis
        )


@pytest.mark.parametrize(
    ("name", "case"), few([p for p in ALL if p not in ELEMENTWISE and p.values[0] != "poison"], every=2)
)
def test_structured_laws_have_the_moments_they_state(name, case):
    """Their entries depend on each other, so the standard error comes from independent draws of the whole array."""
    law = get(name, **case.arguments)
    moments = law.moments(case.shape, case.layout)
    draws = np.stack([law.sample(case.shape, key=k, layout=case.layout, dtype="float64").reshape(-1) for k in KEYS])
    for what, values, want in (
        ("mean", draws.mean(axis=1), moments.mean),
        ("variance", ((draws - moments.mean) ** 2).mean(axis=1), moments.var),
    ):
        error = values.std(ddof=1) / math.sqrt(len(KEYS)) + 1e-12 * (abs(want) + moments.std)
        assert abs(values.mean() - want) <= 6.0 * error, (what, values.mean(), want, error)
    if not math.isnan(moments.kurtosis):
        kurtosis = float(((draws - moments.mean) ** 4).mean()) / moments.var**2
        assert kurtosis == pytest.approx(moments.kurtosis, rel=0.15)


def test_zero_and_one_are_constants():
    assert str(Constant(2.0)) == "Constant(value=2)"
    for law, value in ((Zeros(), 0.0), (Ones(), 1.0), (Constant(-2.5), -2.5)):
        assert (law.sample((3, 2), key=KEYS[0]) == value).all()
        assert law.std_for((3, 2)) == 0.0
        assert law.mean_for((3, 2)) == value
        assert not law.breaks_symmetry
    assert isinstance(Constant(1), ConstantClass)


def test_uniform_and_normal_of_one_key_have_the_same_ranks():
    a = Uniform(std=1.0).sample((1000,), key=KEYS[0])
    b = Normal(std=1.0).sample((1000,), key=KEYS[0])
    np.testing.assert_array_equal(np.argsort(a), np.argsort(b))


def test_laws_agree_with_scipy():
    from scipy import stats

    k, n = fanin.key(5, "w"), (400, 500)
    rng = np.random.default_rng(0)
    pairs = (
        (Uniform(bound=0.1), stats.uniform(-0.1, 0.2)),
        (Normal(std=0.3, mean=1.0), stats.norm(1.0, 0.3)),
        (
            get("truncated_normal", std=0.3, lower=-1.0, upper=2.5, compensated=False),
            stats.truncnorm(-1.0, 2.5, 0, 0.3),
        ),
    )
    for law, theirs in pairs:
        assert_same_law(law.sample(n, key=k), theirs.rvs(200_000, random_state=rng))
        with pytest.raises(AssertionError, match="different laws"):
            assert_same_law(WRONG * law.sample(n, key=k), theirs.rvs(200_000, random_state=rng))


@pytest.mark.parametrize("law", [Normal(std=1.0), Uniform(std=1.0), get("truncated_normal"), get("orthogonal")])
def test_complex_weights_have_the_variance_of_the_law_in_the_absolute_value(law):
    shape = (300, 400)
    w = law.sample(shape, key=KEYS[0], dtype="complex64")
    second = float((np.abs(w.astype(np.complex128)) ** 2).mean())
    assert second == pytest.approx(law.std_for(shape) ** 2, rel=5.0 * math.sqrt(2.0 / w.size))
    assert abs(float(w.real.astype(np.float64).var() / w.imag.astype(np.float64).var()) - 1.0) < 0.03
    assert abs(np.corrcoef(w.real.ravel(), w.imag.ravel())[0, 1]) < 5.0 / math.sqrt(w.size)


def test_parts_keep_the_stream_of_the_whole():
    layout, key = Layout.linear(parts=3), KEYS[0]
    whole = Normal(std=0.02).sample((12, 5), key=key)
    mixed = PerPart((Normal(std=0.02), Zeros(), Normal(std=0.02))).sample((12, 5), key=key, layout=layout)
    np.testing.assert_array_equal(mixed[:4], whole[:4])
    np.testing.assert_array_equal(mixed[8:], whole[8:])
    assert not mixed[4:8].any()


def test_each_part_sees_its_own_fan_out():
    law, layout = PerPart((get("glorot_normal"), get("glorot_normal"))), Layout.linear(parts=(30, 10))
    w = law.sample((40, 5000), key=KEYS[0], layout=layout).astype(np.float64)
    for rows, fan_out in ((w[:30], 30), (w[30:], 10)):
        var = 2.0 / (5000 + fan_out)
        assert_variance(rows, mean=0.0, var=var, kurtosis=3.0)


def test_halving_a_law_halves_every_value():
    key, law = KEYS[0], get("orthogonal")
    np.testing.assert_allclose(
        get("scaled", law=law, factor=0.5).sample((8, 8), key=key), 0.5 * law.sample((8, 8), key=key), rtol=1e-7
    )
    np.testing.assert_array_equal(
        get("scaled", law=he_normal(), factor=-1.0).sample((8, 8), key=key), -he_normal().sample((8, 8), key=key)
    )
