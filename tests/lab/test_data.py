"""Data sets come from packages, whole and reproducible, and conditioning sees the training part only."""

from __future__ import annotations

import numpy as np
import pytest

from fanin.errors import ArgumentError, UnknownNameError
from fanin.lab.conditioning import CONDITIONINGS, condition
from fanin.lab.data import DATA, character_corpus, load, mnist_digits
from tests.selection import few

OFFLINE = sorted(set(DATA) - {"full-mnist"})


@pytest.mark.parametrize("name", OFFLINE)
def test_a_data_set_is_whole_and_cut_in_two(name):
    data = load(name)
    assert data.x.dtype == np.float32
    assert len(data.x) == len(data.y)
    assert len(data.x_held) == len(data.y_held) > 0
    assert np.isfinite(data.x).all()
    if data.num_classes:
        assert set(np.unique(data.y)) == set(range(data.num_classes))


def test_mnist_has_every_digit_in_both_parts():
    data = mnist_digits()
    assert np.bincount(data.y).min() > 300
    assert np.bincount(data.y_held).min() > 50


def test_the_same_seed_gives_the_same_cut_and_another_seed_another():
    a, b, c = mnist_digits(), mnist_digits(), mnist_digits(seed=1)
    assert (a.y == b.y).all()
    assert (a.y != c.y).any()


@pytest.mark.parametrize("scaling", sorted(CONDITIONINGS))
def test_conditioning_never_looks_at_the_held_out_part(scaling):
    raw = load("digits", scaling="raw")
    other = type(raw)(
        name=raw.name, x=raw.x, y=raw.y, x_held=raw.x_held * 100 + 7, y_held=raw.y_held, num_classes=raw.num_classes
    )
    np.testing.assert_array_equal(condition(raw, scaling).x, condition(other, scaling).x)


def test_standardised_digits_have_mean_0_and_std_1():
    data = mnist_digits()
    assert abs(data.x.mean(dtype=np.float64)) < 1e-5
    assert abs(data.x.std(dtype=np.float64) - 1) < 1e-5


def test_corpus_is_text():
    corpus = character_corpus()
    text = "".join(corpus.characters[i] for i in corpus.train[:20_000])
    assert " the " in text


@pytest.mark.parametrize("held_out", few([0, 5000], every=2))
def test_an_impossible_cut_is_refused(held_out):
    with pytest.raises(ArgumentError, match="held_out must leave something"):
        mnist_digits(held_out=held_out)


def test_unknown_names_are_refused_with_a_suggestion():
    with pytest.raises(UnknownNameError, match="did you mean 'mnist'"):
        load("mnst")
    with pytest.raises(UnknownNameError, match="did you mean 'whitened'"):
        load("digits", scaling="whitend")
