"""The algebra of kernels against brute force over all pairs of entries."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanin.errors import ShapeError
from fanin.moments import JointMoments
from fanin.moments import kernel as kn
from fanin.moments.algebra import concatenated, contraction, normalised, product, summed_up
from fanin.moments.moments import aligned


def brute_kernel(x):
    """Means of products over all ordered pairs, by the axes they share."""
    sums, counts = np.zeros((2,) * x.ndim), np.zeros((2,) * x.ndim)
    places = list(itertools.product(*map(range, x.shape)))
    for i, j in itertools.product(places, places):
        kind = tuple(int(a == b) for a, b in zip(i, j, strict=True))
        sums[kind] += x[i] * x[j]
        counts[kind] += 1
    return sums / counts


def random_array(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape) + 0.4


def test_measuring_averages_over_all_pairs():
    x = random_array(3, 4, 2)
    np.testing.assert_allclose(kn.measure(x), brute_kernel(x), atol=1e-12)


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 2)])
def test_means_and_sums_act_on_kernels(axes):
    x = random_array(3, 4, 2)
    np.testing.assert_allclose(kn.average(kn.measure(x), x.shape, axes), kn.measure(x.mean(axes)), atol=1e-12)
    np.testing.assert_allclose(kn.total(kn.measure(x), x.shape, axes), kn.measure(x.sum(axes)), atol=1e-12)
    centred = x - x.mean(axes, keepdims=True)
    np.testing.assert_allclose(kn.centred(kn.measure(x), x.shape, axes), kn.measure(centred), atol=1e-12)


def test_merging_axes_is_exact():
    x = random_array(3, 4, 2)
    np.testing.assert_allclose(kn.merge_axes(kn.measure(x), x.shape, 0), kn.measure(x.reshape(12, 2)), atol=1e-12)


def test_samples_have_the_kernel():
    x = random_array(3, 4)
    kernel = kn.measure(x - x.mean(axis=0))  # centred: with negative covariances
    rng = np.random.default_rng(1)
    draws = np.stack([kn.measure(kn.sample(kernel, x.shape, rng)) for _ in range(4000)])
    error = draws.std(0) / math.sqrt(len(draws))
    assert (np.abs(draws.mean(0) - kernel) < 5 * error + 1e-12).all()
    assert not (np.abs(draws.mean(0) - 1.06 * kernel) < 5 * error).all()


shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


@given(shapes, st.data())
@settings(max_examples=40, deadline=None)
def test_views_and_permutations_keep_what_is_measured(shape, data):
    x = random_array(*shape)
    m = JointMoments.measured(x)
    order = data.draw(st.permutations(range(len(shape))))
    np.testing.assert_allclose(m.permuted(order).kernel, JointMoments.measured(x.transpose(order)).kernel, atol=1e-12)
    flat = m.reshaped((x.size,))
    assert flat.second_moment == pytest.approx((x**2).mean())
    np.testing.assert_allclose(flat.reshaped(shape).kernel, m.kernel, atol=1e-12)  # the way back loses nothing
    assert flat.var == pytest.approx(x.var(), abs=1e-12)


@given(shapes, st.data())
@settings(max_examples=40, deadline=None)
def test_broadcasting_follows_numpy(shape, data):
    small = tuple(n if data.draw(st.booleans()) else 1 for n in shape)
    x = random_array(*small)
    wide = np.broadcast_to(x, shape)
    np.testing.assert_allclose(
        JointMoments.measured(x).expanded(shape).kernel, JointMoments.measured(wide).kernel, atol=1e-12
    )


def test_shapes_that_do_not_broadcast_are_refused():
    with pytest.raises(ShapeError, match="do not broadcast"):
        aligned([JointMoments.iid((3,)), JointMoments.iid((4,))])


def test_a_kernel_must_fit_its_shape():
    with pytest.raises(ShapeError, match="does not describe"):
        JointMoments(shape=(4,), sizes=(3,), mean=0.0, kernel=np.zeros(2))


def test_joining_parts_of_other_sizes():
    a, b = JointMoments.iid((3, 5), var=2.0, mean=1.0), JointMoments.iid((3, 7), var=1.0, mean=-1.0)
    rng = np.random.default_rng(0)
    x = np.stack([
        kn.measure(np.concatenate([1 + 2**0.5 * rng.standard_normal((3, 5)), rng.standard_normal((3, 7)) - 1], 1))
        for _ in range(4000)
    ])  # fmt: skip
    error = x.std(0) / math.sqrt(len(x))
    joined = concatenated([a, b], 1)
    assert joined.shape == (3, 12)
    assert (np.abs(joined.kernel - x.mean(0)) < 5 * error).all()


def test_sums_and_products_of_independent_tensors():
    a, b = JointMoments.iid((3, 5), var=2.0, mean=1.0), JointMoments.iid((5,), var=1.0, mean=-1.0)
    assert summed_up(a, b).second_moment == pytest.approx(3.0)
    assert summed_up(a, b).pair(0) == pytest.approx(1.0)  # the row that all share
    assert product(a, b).second_moment == pytest.approx(6.0)


def test_a_contraction_feels_the_mean_of_its_weights():
    x, w = JointMoments.iid((8, 16), mean=0.5), JointMoments.iid((4, 16), var=0.1, mean=0.2)
    y = contraction("bi,oi->bo", [x, w], (8, 4))
    second = 16 * 1.25 * 0.14 + 16 * 15 * 0.25 * 0.04
    assert y.second_moment == pytest.approx(second)
    assert y.mean == pytest.approx(16 * 0.1)


def test_centred_weights_do_not_see_the_mean():
    from fanin.moments import WeightMoments

    w = WeightMoments(var=0.1, centred=(1,)).to_moments((4, 16))
    y = contraction("bi,oi->bo", [JointMoments.constant((8, 16), 3.0), w], (8, 4))
    assert y.second_moment == pytest.approx(0.0, abs=1e-12)


def test_normalised_tensors_have_unit_mean_square():
    x = JointMoments.iid((4, 8, 64), var=3.0, mean=2.0)
    assert normalised(x, [2], eps=0.0, centre=True).second_moment == pytest.approx(1.0)
    assert normalised(x, [2], eps=1.0, centre=False).second_moment == pytest.approx(7.0 / 8.0)


def test_spread_of_a_gaussian_mean_square():
    assert JointMoments.iid((10, 20)).own_var == pytest.approx(2.0 / 200)
    assert JointMoments.iid((10, 20)).log_rms_se == pytest.approx(0.5 * math.sqrt(0.01))
