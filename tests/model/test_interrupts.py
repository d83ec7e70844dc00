"""Ctrl-C at any moment of plan and check leaves no trace, and is not lost."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import threading
import time
import weakref

import pytest
import torch

import fanin
from fanin.model.interrupts import run_then
from tests.model.observer import differences, fakes, observe
from tests.model.stateful_models import case, changing
from tests.selection import few

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


@contextlib.contextmanager
def dropped_exceptions():
    """Kinds of the exceptions that Python drops: in a destructor, in the callback of a weak reference."""
    kinds, before = [], sys.unraisablehook
    sys.unraisablehook = lambda unraisable: kinds.append(unraisable.exc_type)
    try:
        yield kinds
    finally:
        sys.unraisablehook = before


def interrupted(run, delay):
    """Run something and send SIGINT after so many seconds; whether it was heard.

    What fanin guards lets no interrupt get lost. Around it, Python may drop one in a callback, as in any program.
    """
    timer = threading.Timer(delay, lambda: os.kill(os.getpid(), signal.SIGINT))
    with dropped_exceptions() as dropped:
        try:
            timer.start()
            run()
            timer.join()
            time.sleep(0.05)
        except KeyboardInterrupt:
            return True
        finally:
            timer.join()
    return KeyboardInterrupt in dropped


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


@pytest.mark.parametrize("seed", few(range(2), every=2))
def test_an_interrupt_at_a_random_time_leaves_no_trace(seed):
    trial(seed)
    assert not fakes()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 102))
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


class Thing:
    """Something that a weak reference can point to, and that may run code when it goes."""

    def __init__(self, when_gone=None):
        self.when_gone = when_gone

    def __del__(self):
        if self.when_gone is not None:
            self.when_gone()


def press(number=signal.SIGINT):
    signal.raise_signal(number)


def in_a_destructor():
    Thing(press)


def in_a_callback():
    thing = Thing()
    reference = weakref.ref(thing, lambda r: press())
    del thing
    assert reference() is None


def in_code_that_swallows_everything():
    with contextlib.suppress(BaseException):
        press()


def in_code_that_says_something_else():
    try:
        press()
    except BaseException as error:
        raise ValueError("no") from error


@pytest.mark.parametrize(
    "work",
    [in_a_destructor, in_a_callback, in_code_that_swallows_everything, in_code_that_says_something_else],
)
def test_an_interrupt_that_the_work_loses_is_raised_when_everything_is_back(work):
    before, done = (signal.getsignal(signal.SIGINT), sys.unraisablehook), []
    with dropped_exceptions() as dropped:
        hook = sys.unraisablehook
        with pytest.raises(KeyboardInterrupt):
            run_then(work, lambda: done.append("back"))
        assert sys.unraisablehook is hook
    assert done == ["back"]
    assert not dropped
    assert (signal.getsignal(signal.SIGINT), sys.unraisablehook) == before


def test_python_alone_loses_it():
    with dropped_exceptions() as dropped:
        in_a_destructor()
        in_a_callback()
    assert dropped == [KeyboardInterrupt] * 2


def test_after_a_dropped_interrupt_the_next_is_heard_at_once():
    def work():
        in_a_destructor()
        press()
        pytest.fail("the second interrupt was not heard")

    with pytest.raises(KeyboardInterrupt):
        run_then(work, lambda: None)


def test_other_exceptions_that_python_drops_are_told_as_ever():
    with dropped_exceptions() as dropped:
        run_then(lambda: Thing(lambda: 1 / 0) and None, lambda: None)
    assert dropped == [ZeroDivisionError]


@pytest.fixture
def time_limit():
    """A handler of SIGALRM that raises TimeoutError."""
    if not hasattr(signal, "SIGALRM"):
        pytest.skip("a signal of POSIX")

    def handler(number, frame):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, handler)
    yield handler
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("time_limit")
def test_a_time_limit_that_the_work_catches_is_caught():
    def work():
        with contextlib.suppress(TimeoutError):
            press(signal.SIGALRM)
        return 3

    assert run_then(work, lambda: None) == 3
    with pytest.raises(TimeoutError):
        run_then(lambda: Thing(lambda: press(signal.SIGALRM)) and None, lambda: None)


def test_every_signal_that_waited_is_heard(time_limit):
    def put_back():
        press()
        press(signal.SIGALRM)

    with pytest.raises(TimeoutError) as caught:
        run_then(lambda: None, put_back)
    assert isinstance(caught.value.__context__, KeyboardInterrupt)
    assert signal.getsignal(signal.SIGALRM) is time_limit


def test_an_interrupt_while_handlers_are_put_back_leaves_none_of_ours(monkeypatch, time_limit):
    before, set_handler = signal.getsignal(signal.SIGINT), signal.signal

    def and_press(number, handler):
        was = set_handler(number, handler)
        if (number, handler) == (signal.SIGINT, before):
            press()
        return was

    monkeypatch.setattr(signal, "signal", and_press)
    with pytest.raises(KeyboardInterrupt):
        run_then(lambda: None, lambda: None)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGALRM)) == (before, time_limit)


@pytest.mark.parametrize("error", [MemoryError, SystemExit])
def test_what_is_put_back_goes_on_after_an_error_in_it(error):
    done = []

    def put_back():
        done.append("first")
        if len(done) == 1:
            raise error("in the middle")
        done.append("second")

    with pytest.raises(error, match="in the middle"):
        run_then(lambda: None, put_back)
    assert done == ["first", "first", "second"]
