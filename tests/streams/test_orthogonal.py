"""Haar orthogonal matrices: not only Q'Q = I, which a missing sign does not disturb, but traces and determinants."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

import fanin
from fanin.errors import ShapeError
from fanin.streams import orthogonal
from fanin.streams.orthogonal import haar, haar_into, reflect

KEY = fanin.key(0, "attn.heads")
SHAPES = [(1, 1), (2, 2), (5, 1), (1, 5), (65, 65), (300, 130), (130, 300), (257, 256)]


def deviation(q: np.ndarray) -> float:
    """Largest entry of Q'Q - I (QQ' - I for wide ones)."""
    wide = q.astype(np.result_type(q, np.float64))
    adjoint = wide.conj().swapaxes(-1, -2)
    gram = adjoint @ wide if q.shape[-2] >= q.shape[-1] else wide @ adjoint
    return float(np.abs(gram - np.eye(gram.shape[-1])).max())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    ("dtype", "limit"), [("float64", 1e-14), ("float32", 5e-7), ("complex128", 1e-14), ("bfloat16", 0.02)]
)
def test_orthonormal(shape, dtype, limit):
    assert deviation(haar(KEY, 2, *shape, dtype=dtype)) < limit


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("turned", [False, True], ids=["contiguous", "turned"])
def test_single_precision_in_place(shape, turned):
    out = np.empty((2, *shape), np.float32)
    out = np.empty((2, *shape[::-1]), np.float32).swapaxes(1, 2) if turned else out
    haar_into(out, KEY, gain=2.0)
    assert deviation(out / 2.0) < 1e-6
    np.testing.assert_allclose(out, 2.0 * haar(KEY, 2, *shape), atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1024, 1024), (2048, 2048), (4096, 1024)], ids=str)
def test_single_precision_stays_orthogonal_when_large(shape):
    out = np.empty((1, *shape), np.float32)
    haar_into(out, KEY)
    assert deviation(out) < 1e-6


def assert_haar(q: np.ndarray) -> None:
    """Trace moments E tr = 0, E tr^2 = 1, E tr^4 = 3, E tr Q^2 = 1 (n >= 4), and as many reflections as rotations."""
    count = len(q)
    trace = np.trace(q, axis1=1, axis2=2)
    checks = {  # value, expectation, variance of one
        "tr": (trace.mean(), 0.0, 1.0),
        "tr^2": ((trace**2).mean(), 1.0, 2.0),
        "tr^4": ((trace**4).mean(), 3.0, 96.0),
        "tr Q^2": (np.trace(q @ q, axis1=1, axis2=2).mean(), 1.0, 2.0),
        "det": (np.sign(np.linalg.det(q)).mean(), 0.0, 1.0),
    }
    for name, (found, wanted, var) in checks.items():
        if not abs(found - wanted) < 5.0 * math.sqrt(var / count):
            raise AssertionError(f"{name} is {found:.3f}, for Haar matrices {wanted}")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_square_matrices_are_haar(seed):
    assert_haar(haar(fanin.key(seed, "haar"), 20_000, 10, 10, dtype="float64"))


def test_the_check_sees_missing_signs(monkeypatch):
    def without_signs(g):
        v, signs = real(g)
        return v, np.abs(signs)

    real = orthogonal._reflectors
    monkeypatch.setattr(orthogonal, "_reflectors", without_signs)
    q = haar(fanin.key(1, "haar"), 4000, 10, 10, dtype="float64")
    assert deviation(q) < 1e-14
    with pytest.raises(AssertionError, match="tr is "):
        assert_haar(q)


def test_unitary_matrices_are_haar():
    """E tr = 0, E |tr|^2 = 1, E |tr|^4 = 2, E det = 0."""
    q = haar(fanin.key(1, "haar"), 20_000, 4, 4, dtype="complex128")
    trace = np.trace(q, axis1=1, axis2=2)
    assert abs(trace.mean()) < 5 / math.sqrt(20_000)
    assert abs((np.abs(trace) ** 2).mean() - 1.0) < 5 / math.sqrt(20_000)
    assert abs((np.abs(trace) ** 4).mean() - 2.0) < 5 * math.sqrt(20 / 20_000)
    assert abs(np.linalg.det(q).mean()) < 5 / math.sqrt(20_000)


@pytest.mark.parametrize("shape", [(7, 3), (3, 7)], ids=str)
def test_entries_of_rectangular_ones_follow_beta(shape):
    """The square of an entry is Beta(1/2, (n - 1)/2), n the longer side."""
    q = haar(fanin.key(2, "haar"), 20_000, *shape, dtype="float64")
    assert stats.kstest(q[:, 0, 0] ** 2, stats.beta(0.5, 3.0).cdf).pvalue > 1e-6
    assert stats.kstest(q[:, -1, -1] ** 2, stats.beta(0.5, 3.0).cdf).pvalue > 1e-6
    assert abs((q[:, 0, 0] * q[:, 1, 1]).mean()) < 5 / math.sqrt(20_000) / 7


def test_blocks_do_not_matter_and_batches_can_be_cut():
    g = np.random.default_rng(0).standard_normal((200, 150))
    one, many = g.copy(), g.copy()
    reflect(one, block=1)
    reflect(many)
    np.testing.assert_allclose(one, many, atol=1e-14)
    whole = haar(KEY, 5, 6, 4, dtype="float64")
    assert (haar(KEY, 3, 6, 4, dtype="float64") == whole[:3]).all()
    with pytest.raises(ShapeError, match="rows >= 1"):
        haar(KEY, 1, 0, 3)
