"""Peers that need a word before they can be imported."""

from __future__ import annotations

import os
import warnings

import pytest


@pytest.fixture(scope="session")
def keras():
    """Keras on JAX: neither of its back-ends that are installed here is its default."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("keras")
