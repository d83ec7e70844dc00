"""Sparse connections: every set of inputs equally likely, the same whichever engine places them."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np
import pytest
from scipy import stats

import fanin
from fanin.errors import ShapeError
from fanin.streams import Draw, sparse
from fanin.streams.sampling import sample
from fanin.streams.sparse import choose, scatter_into

KEY = fanin.key(4, "fc1.weight")


def test_every_set_is_equally_likely():
    sets = dict.fromkeys(itertools.combinations(range(7), 3), 0)
    for row in np.sort(choose(KEY, 70_000, 7, 3), axis=1).tolist():
        sets[tuple(row)] += 1
    assert stats.chisquare(list(sets.values())).pvalue > 1e-6


def test_choices_are_distinct_and_belong_to_their_unit():
    chosen = choose(KEY, 300, 50, 20)
    assert all(len(set(row)) == 20 for row in chosen.tolist())
    assert (choose(KEY, 300, 50, 20, first=100, last=130) == chosen[100:130]).all()
    assert (choose(KEY, 200, 50, 20) == chosen[:200]).all()
    assert (np.sort(choose(KEY, 5, 6, 6), axis=1) == np.arange(6)).all()
    assert choose(KEY, 5, 6, 0).shape == (5, 0)
    with pytest.raises(ShapeError, match="kept <= inputs"):
        choose(KEY, 5, 6, 7)


@pytest.mark.parametrize(
    "dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16], ids=lambda d: np.dtype(d).name
)
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
def test_numbers_land_where_they_were_chosen(dtype, turned, compiled, monkeypatch):
    monkeypatch.setattr(sparse, "_WORTH_COMPILING", 0 if compiled else 1 << 60)
    draw, (units, inputs, kept) = Draw(kind="normal", width=0.1), (700, 300, 40)
    wanted = np.zeros((units, inputs), np.float32)
    np.put_along_axis(wanted, choose(KEY, units, inputs, kept), sample(draw, KEY, (units, kept)), axis=1)
    out = np.full((inputs, units) if turned else (units, inputs), 7.0, dtype)
    scatter_into(out.T if turned else out, draw, KEY, kept)
    assert ((out.T if turned else out) == wanted.astype(dtype)).all()
