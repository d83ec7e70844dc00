"""What pytest must not collect (a module that needs a library without a build here), and how tests run."""

from __future__ import annotations

import gc
import importlib.util
import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

collect_ignore = [] if importlib.util.find_spec("triton") else ["src/fanin/streams/triton_kernels.py"]

os.environ.setdefault("KERAS_BACKEND", "jax")  # Keras' own default may be absent

# A background job of a shell starts with Ctrl-C ignored, and hands that on to its children: tests of Ctrl-C need it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests make many small objects that are gone soon: the collector looks at ten thousand at a time, not at 700.
gc.set_threshold(10_000, 10, 10)

# How long a machine takes says nothing about a property.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def no_width_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some libraries set COLUMNS when they are imported or run, and text is as wide as COLUMNS says."""
    monkeypatch.delenv("COLUMNS", raising=False)


# Examples of docstrings that take seconds; other tests of the same names are quick.
LONG_EXAMPLES = (
    "rules.catalogue.recurrent_scale.RecurrentScale",
    "rules.catalogue.backward_exploding.BackwardExploding",
    "rules.catalogue.sample_collapse.SampleCollapse",
    "integrations.jax.trees.apply_tree",
    "scaling.coordinates.coordinate_check",
    "theory.shaping.tat",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the long ones before pytest chooses by marks."""
    for item in items:
        if item.name.removeprefix("fanin.") in LONG_EXAMPLES:
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """A million objects of libraries and of tests are there for good: no collection looks at them again."""
    gc.disable()
    result = yield
    gc.enable()
    gc.collect()
    gc.freeze()
    return result
