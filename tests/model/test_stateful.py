"""Whatever a forward keeps or changes, plan, check, init_, verify and diff leave it bit for bit as it was."""

from __future__ import annotations

import builtins
import logging
import math
import signal
import threading

import numpy as np
import pytest
import torch

import fanin
from fanin.model.settings import kept_generators, kept_settings
from fanin.model.versions import set_version
from tests.model.observer import differences, fakes, observe
from tests.model.stateful_models import CASES, CHANGES, LIBRARY_PLACES, case, changing, library_case
from tests.selection import few

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", autouse=True)
def _everything_imported():
    """What the first call imports adds warning filters and hooks of its own."""
    fanin.check(torch.nn.Linear(6, 3), X)
    str(fanin.plan(torch.nn.Linear(6, 3), X).diff(torch.nn.Linear(6, 3)))  # rich draws a random number for itself


@pytest.fixture(autouse=True)
def _process_as_before():
    """The models here change the process when they are run as usual."""
    kept = [(name, put_back) for name, put_back in (*kept_settings(), *kept_generators())]
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    yield
    for _, put_back in kept:
        put_back()
    for number, handler in handlers.items():
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def every_verb(model, x):
    """Each verb with its name; init_ writes weights, so it comes on its own."""
    plan = fanin.plan(model, x, on_unknown="keep")
    yield "plan", plan.warnings
    report = fanin.check(model, x)
    yield "check", [report.measurements.missing.get("untouched", "")]
    report = fanin.check(model, x, predict=False)
    yield "check without predictions", [report.measurements.missing.get("untouched", "")]
    plan.verify(model)
    yield "verify", ()
    plan.diff(model)
    yield "diff", ()


def weights(model):
    return [(p, p.detach().clone()) for p in model.parameters()]


def assert_no_trace(space, model, x=X, warm=False):
    if warm:
        model(x)
    before, alive = observe(space, model, x)
    for verb, said in every_verb(model, x):
        after, _ = observe(space, model, x)
        assert not differences(before, after), f"{verb}: {differences(before, after)[:6]}"
        assert not [s for s in said if "forward" in s], said
    kept = weights(model)
    fanin.init_(model, x, on_unknown="keep")
    with torch.no_grad():
        for parameter, value in kept:
            set_version(parameter, parameter._version)
            parameter.data.copy_(value)
    after, _ = observe(space, model, x)
    changed = [d for d in differences(before, after) if not d.endswith(".version")]
    assert not changed, f"init_: {changed[:6]}"
    assert not fakes()
    assert type(model(x)) is torch.Tensor
    return alive


# one of each value, in places of three kinds
FAST = [("lru_cache", "table"), ("function_attribute", "signal"), ("weak_values", "buffer")]


@pytest.mark.parametrize(("place", "value"), FAST)
def test_what_a_forward_keeps_is_as_before(place, value):
    assert_no_trace(*case(place, value))


@pytest.mark.slow
@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize(("place", "value"), CASES)
def test_whatever_a_forward_keeps_is_as_before(place, value, warm):
    assert_no_trace(*case(place, value), warm=warm)


@pytest.fixture
def libraries_as_before():
    """Take away what the models here set on libraries."""
    yield
    holders = (torch, torch.nn.functional, torch.nn.Linear, torch.nn.Module, torch.Tensor, torch.nn.functional.softmax)
    for holder in (*holders, math, builtins, np, logging.getLogger("torch"), threading.current_thread()):
        for name in [n for n in vars(holder) if n.startswith("memo_")]:
            delattr(holder, name)


@pytest.mark.usefixtures("libraries_as_before")
@pytest.mark.parametrize("place", ["torch"])
def test_what_a_forward_keeps_in_a_library_is_as_before(place):
    assert_no_trace(*library_case(place, "signal"))


@pytest.mark.slow
@pytest.mark.usefixtures("libraries_as_before")
@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("value", ["table", "signal"])
@pytest.mark.parametrize("place", LIBRARY_PLACES)
def test_whatever_a_forward_keeps_in_a_library_is_as_before(place, value, warm):
    if place == "deleted" and warm:
        pytest.skip("a second forward finds nothing to delete")
    assert_no_trace(*library_case(place, value), warm=warm)


@pytest.mark.usefixtures("libraries_as_before")
@pytest.mark.parametrize("place", few(LIBRARY_PLACES, every=4))
def test_the_comparison_of_libraries_can_fail(place):
    space, model = library_case(place, "signal")
    before, _alive = observe(space, model)
    model(X)
    assert differences(before, observe(space, model)[0])


ALWAYS = (
    "collector_thresholds",
    "profile_function",
    "running_statistics_beside_a_branch",
    "rows_scaled_to_a_norm",
    "signal_handlers",
)


@pytest.mark.parametrize("name", [n for i, n in enumerate(CHANGES) if i % 40 == 0 or n in ALWAYS])
def test_what_a_forward_changes_is_as_before(name):
    assert_no_trace(*changing(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_whatever_a_forward_changes_is_as_before(name):
    assert_no_trace(*changing(name))


@pytest.mark.parametrize(("place", "value"), [("lru_cache", "table"), ("module_dict", "signal"), ("slots", "buffer")])
def test_the_comparison_can_fail(place, value):
    space, model = case(place, value)
    before, _alive = observe(space, model)
    model(X)
    assert differences(before, observe(space, model)[0])


@pytest.mark.parametrize("name", ["array_in_place", "torch_generator", "threads", "tensor_in_autograd", "counter"])
def test_the_comparison_of_changes_can_fail(name):
    space, model = changing(name)
    before, _alive = observe(space, model)
    threads = torch.get_num_threads()
    model(X)
    changed = differences(before, observe(space, model)[0])
    torch.set_num_threads(threads)
    assert changed
