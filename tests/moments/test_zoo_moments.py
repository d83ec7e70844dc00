"""Predicted against measured standard deviations on whole models at their default initialization."""

from __future__ import annotations

import warnings

import pytest

from benchmarks.accuracy import moments_zoo
from zoo import FAST, zoo

SOON = ("mlp_relu", "unet", "siren", "einsum_attention", "mha_module", "wavenet_gated", "functional_raw_params")


def row(name, seed=1):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the libraries say while they build a model
        return moments_zoo.compare(name, zoo()[name], seed, "live")


@pytest.mark.parametrize("name", SOON)
def test_predictions_meet_measurements(name):
    found = row(name)
    assert found["median"] <= moments_zoo.MEDIAN, found
    assert found["p90"] <= moments_zoo.TAIL, found
    assert found["unknown"] == 0


@pytest.mark.slow
def test_most_of_the_zoo_meets_the_targets():
    rows = [row(name) for name in FAST]
    assert sum(r["median"] <= moments_zoo.MEDIAN for r in rows) >= len(rows) - 2, rows
    assert sum(r["p90"] <= moments_zoo.TAIL for r in rows) >= len(rows) - 3, rows


def test_a_wrong_prediction_is_an_error():
    assert moments_zoo.error(1.12, 1.0) > moments_zoo.MEDIAN
    assert moments_zoo.error(None, 1.0) == float("inf")
    assert moments_zoo.error(1e-9, 1e-9) == 0.0
