"""Capturing leaves no trace: parameters, buffers, flags, attributes, hooks and generators are bit for bit as before."""

import random
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from fanin.errors import CaptureError
from fanin.graph.recording.capture import capture
from fanin.model.untouched import kept_once, untouched


class Awkward(nn.Module):
    """Writes wherever a forward pass can write."""

    def __init__(self, fails=False):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.sn = nn.utils.spectral_norm(nn.Linear(4, 4))
        self.register_buffer("seen", torch.zeros(()))
        self.cache, self.calls, self.last = {}, [], None
        self.fails = fails

    def forward(self, x):
        self.seen.add_(1)
        self.seen = self.seen + 1
        self.calls.append("called")
        self.cache["x"] = x
        self.last = x
        random.random()
        np.random.rand()  # noqa: NPY002
        torch.rand(3)
        h = self.drop(torch.relu(self.norm(self.conv(x)))).mean((2, 3))
        h = self.sn(h)
        with torch.no_grad():
            self.conv.weight.mul_(0.9)
        self.extra = h
        if self.fails:
            raise RuntimeError("no further")
        return h


def snapshot(model):
    return {
        "state": {k: v.clone() for k, v in model.state_dict().items()},
        "identity": {k: id(v) for k, v in model.state_dict(keep_vars=True).items()},
        "versions": {k: v._version for k, v in model.state_dict(keep_vars=True).items()},
        "grads": {k: p.grad for k, p in model.named_parameters()},
        "training": [m.training for m in model.modules()],
        "attributes": [sorted(vars(m)) for m in model.modules()],
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in model.modules()],
        "plain": (dict(model.cache), list(model.calls), model.last),
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1].copy(),  # noqa: NPY002
        "python": random.getstate(),
        "global hooks": (
            len(nn.modules.module._global_forward_hooks),
            len(nn.modules.module._global_forward_pre_hooks),
        ),
        "switches": (
            torch.backends.mha.get_fastpath_enabled(),
            torch.is_grad_enabled(),
            nn.functional.has_torch_function,
        ),
    }


def same(a, b):
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return a == b


def assert_untouched(before, after):
    changed = [k for k in before if not same(before[k], after[k])]
    assert not changed, f"capture changed {changed}"


@pytest.mark.filterwarnings("ignore::fanin.errors.FaninWarning")
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("mode", ["fake", "real", "auto"])
@pytest.mark.parametrize("fails", [False, True])
def test_nothing_changes(mode, train, fails):
    torch.manual_seed(0)
    model = Awkward(fails).train(train)
    x = torch.randn(2, 3, 8, 8)
    kept = x.clone()
    before = snapshot(model)
    if fails:
        with pytest.raises(CaptureError, match="no further"):
            capture(model, x, mode=mode)
    else:
        capture(model, x, mode=mode)
    assert_untouched(before, snapshot(model))
    assert torch.equal(x, kept)


def test_outputs_are_the_same_before_and_after():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))
    x = torch.randn(2, 3, 8, 8)
    torch.manual_seed(1)
    before = model(x)
    model[1].reset_running_stats()
    capture(model, x)
    torch.manual_seed(1)
    assert torch.equal(model(x), before)


def test_the_comparison_can_fail():
    torch.manual_seed(0)
    model = Awkward()
    before = snapshot(model)
    model.norm.num_batches_tracked.add_(1)
    with pytest.raises(AssertionError, match="state"):
        assert_untouched(before, snapshot(model))


class Tables(nn.Module):
    """Puts a tensor into ordered dictionaries and beside their elements."""

    def __init__(self):
        super().__init__()
        self.empty, self.full = OrderedDict(), OrderedDict(a=1)

    def forward(self, x):
        for table in (self.empty, self.full):
            table["b"] = table.seen = x
        return x


def test_attributes_of_ordered_dictionaries_are_taken_off_again():
    model = Tables()
    capture(model, torch.zeros(1))
    assert (dict(model.empty), dict(model.full)) == ({}, {"a": 1})
    assert not hasattr(model.empty, "seen")
    assert not hasattr(model.full, "seen")
    model(torch.zeros(1))  # the forward does set them
    assert hasattr(model.empty, "seen")


def test_what_is_kept_once_is_put_back_each_time():
    """The second work sees the model as it was when the block began; outside the block all is kept anew."""
    model, x = nn.Sequential(nn.Linear(2, 2), nn.Dropout()), torch.ones(1, 2)
    other, seen = nn.Linear(2, 2), []

    def work():
        seen.append((model.training, len(model), float(x.sum())))
        model.eval()
        model.append(nn.ReLU())
        x.zero_()
        untouched(other, other.eval, values=True)  # kept by itself, although it runs inside

    with kept_once(model, values=True, others=(x,), spare=model.parameters()):
        for _ in range(2):
            untouched(model, work, values=True, others=((x,), {}), spare=model.parameters())
            assert (model.training, len(model), float(x.sum()), other.training) == (True, 2, 2.0, True)
    model.eval()
    untouched(model, work, values=True, others=(x,))
    assert seen == [(True, 2, 2.0), (True, 2, 2.0), (False, 2, 2.0)]
    assert not model.training
