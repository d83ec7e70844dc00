"""Ctrl-C at any moment of plan and check leaves no trace, and is not lost."""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import pytest
import torch

import fanin
from fanin.model.interrupts import run_then
from tests.model.observer import differences, fakes, observe
from tests.model.stateful_models import case, changing

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
HOSTS = {
    "growing": lambda: changing("growing_cache_with_gradient"),
    "in place": lambda: changing("tensor_two_levels_deep"),
    "weights": lambda: changing("weight_given_other_memory"),
    "array": lambda: changing("array_in_place"),
    "generator": lambda: changing("torch_generator"),
    "memo": lambda: case("lru_cache", "signal"),
    "closure": lambda: case("closure_dict", "table"),
}


def interrupted(run, delay):
    """Run something and send SIGINT after so many seconds; whether KeyboardInterrupt came out of it."""
    timer = threading.Timer(delay, lambda: os.kill(os.getpid(), signal.SIGINT))
    try:
        timer.start()
        run()
        timer.join()
        time.sleep(0.05)
    except KeyboardInterrupt:
        return True
    finally:
        timer.join()
    return False


def trial(seed):
    rng = random.Random(seed)
    space, model = HOSTS[rng.choice(list(HOSTS))]()
    verb = fanin.check if rng.random() < 0.6 else lambda m, x: fanin.plan(m, x, on_unknown="keep")
    begun = time.perf_counter()
    verb(model, X)
    whole = time.perf_counter() - begun
    before, _alive = observe(space, model, X)
    state = rng.getstate(), random.getstate()
    assert interrupted(lambda: verb(model, X), rng.random() * whole), "the interrupt was lost"
    del state
    after, _ = observe(space, model, X)
    assert not differences(before, after), differences(before, after)[:6]
    return model


@pytest.mark.parametrize("seed", range(5))
def test_an_interrupt_at_a_random_time_leaves_no_trace(seed):
    trial(seed)
    assert not fakes()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5, 105))
def test_no_interrupt_of_a_hundred_leaves_a_trace(seed):
    trial(seed)


@pytest.mark.parametrize("place", ["work", "put back"])
def test_what_is_to_be_put_back_is_put_back_before_the_interrupt_is_heard(place):
    done = []

    def work():
        if place == "work":
            signal.raise_signal(signal.SIGINT)
            done.append("never")

    def put_back():
        if place == "put back":
            signal.raise_signal(signal.SIGINT)
        done.append("back")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run_then(work, put_back)
    assert done == ["back"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_handler_that_only_takes_note_is_called_each_time():
    heard = []
    before = signal.signal(signal.SIGINT, lambda *a: heard.append("during" if not back else "after"))
    back = []
    try:
        for _ in range(2):
            run_then(lambda: [signal.raise_signal(signal.SIGINT) for _ in range(2)], lambda: back.append(1))
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(heard) == 4
