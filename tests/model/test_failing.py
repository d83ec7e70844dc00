"""A forward or a backward that raises at any of its operations leaves everything as it was."""

from __future__ import annotations

import pytest
import torch
from torch.overrides import TorchFunctionMode

import fanin
from fanin.errors import FaninError
from tests.model.observer import differences, fakes, observe
from tests.model.stateful_models import build
from tests.selection import few

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
STATE = """
KEPT = []
FAIL = lambda: None
ARRAY = np.zeros(2)
RANDOM = random.Random(3)
GENERATOR = torch.Generator().manual_seed(3)
@functools.lru_cache
def table(n):
    return torch.arange(8.0) * n
"""
FORWARD = """FAIL()
KEPT.append(h)
self.frequencies.mul_(2)
ARRAY[0] += RANDOM.random()
x.data.add_(1)
t = table(2) + torch.rand(8, generator=GENERATOR)
KEPT.append(t * h)
self.last = torch.relu(KEPT[-1])
self.frequencies = self.frequencies + 1
t = t + torch.rand(8)
torch.set_num_threads(2)
"""


class Stop(Exception):
    """Raised by the model."""


class FailsAt(TorchFunctionMode):
    """Raises at one call of torch, before it runs, or in the backward of its result."""

    followed = set()  # calls whose result a gradient goes through

    def __init__(self, at, backward):
        super().__init__()
        self.at, self.number, self.backward = at, 0, backward

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.number += 1
        if self.number == self.at and not self.backward:
            raise Stop
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.requires_grad:
            self.followed.add(self.number)
        if self.number == self.at and isinstance(result, torch.Tensor) and result.requires_grad:
            result.register_hook(self.stop)
        return result

    @staticmethod
    def stop(gradient):
        raise Stop


def failing(at, backward):
    """A model that keeps and changes what it can; its whole forward raises at one call."""
    space, model = build("failing", STATE, "", FORWARD)
    plain = type(model).forward

    def forward(self, x):
        with FailsAt(at, backward):
            return plain(self, x)

    type(model).forward = forward
    return space, model


def changed_by(space, model, verb, x):
    """Paths that differ after a verb, and whether it raised."""
    before, _alive = observe(space, model, x)
    raised = False
    try:
        verb(model, x)
    except (FaninError, Stop):
        raised = True
    return differences(before, observe(space, model, x)[0]), raised


@pytest.mark.parametrize("verb", few([fanin.plan, fanin.check, fanin.init_], fanin.check))
def test_a_forward_that_raises_at_any_call_leaves_no_trace(verb):
    at, raised = 1, True
    while raised:
        space, model = failing(at, backward=False)
        changed, raised = changed_by(space, model, verb, X.clone())
        assert not (raised and changed), f"call {at}: {changed[:6]}"
        at += 1
    assert at > 10
    assert not fakes()


def test_a_backward_that_raises_at_any_call_leaves_no_trace():
    FailsAt.followed.clear()
    failing(0, backward=True)[1](X.clone().requires_grad_())  # a check would put the set back
    failures = 0
    for at in sorted(FailsAt.followed):
        space, model = failing(at, backward=True)
        changed, raised = changed_by(space, model, fanin.check, X.clone())
        assert not changed, f"call {at}: {changed[:6]}"
        failures += raised
    assert failures > 3


def test_the_model_alone_leaves_traces_when_it_raises():
    threads = torch.get_num_threads()
    space, model = failing(11, backward=False)
    changed, raised = changed_by(space, model, lambda m, x: m(x), X.clone())
    torch.set_num_threads(threads)
    assert raised
    assert changed
