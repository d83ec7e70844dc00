"""Models that were not thought of: each is calibrated to its targets or named, and keeps what is not its weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune

import fanin
from fanin.errors import FaninError
from tests.calibration.helpers import Fn, batch
from tests.selection import few

X = batch(32, 16)


@dataclass
class Result:
    logits: torch.Tensor
    hidden: tuple


def two(first=None):
    return nn.Sequential(first or nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))


def hooked():
    model = two()
    model[0].register_forward_hook(lambda module, inputs, output: 3.0 * output)
    model[2].register_forward_pre_hook(lambda module, inputs: (5.0 * inputs[0],))
    return model, X


def pruned():
    model = two()
    prune.l1_unstructured(model[0], "weight", 0.5)
    return model, X


def turned():
    model = two()
    model[0].weight = nn.Parameter(torch.randn(16, 32).t())
    return model, X


def masked():
    def forward(self, x):
        return self.head(F.linear(x, self.w * self.mask).relu())

    model = Fn(forward, w=nn.Parameter(torch.randn(32, 16)), head=nn.Linear(32, 4))
    model.register_buffer("mask", (torch.rand(32, 16) > 0.5).float())
    return model, X


def routed():
    def forward(self, x):
        gate = self.gate(x).softmax(-1)
        chosen, out = gate.argmax(-1), x.new_zeros(len(x), 4)
        for e, expert in enumerate(self.experts):
            rows = (chosen == e).nonzero().flatten()
            if len(rows):
                out = out.index_copy(0, rows, expert(x[rows]) * gate[rows, e : e + 1])
        return out

    return Fn(forward, gate=nn.Linear(16, 3), experts=nn.ModuleList(nn.Linear(16, 4) for _ in range(3))), X


def counting():
    def forward(self, x):
        self.calls += 1
        return self.b(self.a(x).relu()) if self.calls % 2 else self.c(x)

    model = Fn(forward, a=nn.Linear(16, 32), b=nn.Linear(32, 4), c=nn.Linear(16, 4))
    model.calls = 0
    return model, X


def caching():
    def forward(self, x):
        if self.cache is None:
            self.cache = self.a(x)
        return self.b(self.cache.relu())

    model = Fn(forward, a=nn.Linear(16, 32), b=nn.Linear(32, 4))
    model.cache = None
    return model, X


def sliced(step):
    def forward(self, x):
        first, second = (self.w[:16], self.w[16:]) if step == 1 else (self.w[::2], self.w[1::2])
        return self.head(F.linear(x, first).relu() + F.linear(x, second))

    return Fn(forward, w=nn.Parameter(torch.randn(32, 16)), head=nn.Linear(16, 4)), X


def checkpointed():
    from torch.utils.checkpoint import checkpoint

    def forward(self, x):
        return self.b(checkpoint(self.a, x, use_reentrant=False).relu())

    return Fn(forward, a=nn.Linear(16, 32), b=nn.Linear(32, 4)), X


def low_rank():
    def forward(self, x):
        return self.base(x) + F.linear(F.linear(x, self.down), self.up)

    model = Fn(
        forward, base=nn.Linear(16, 8), down=nn.Parameter(torch.randn(4, 16)), up=nn.Parameter(torch.zeros(8, 4))
    )
    model.base.requires_grad_(False)
    return model, X


def map_of(function, **parts):
    return lambda: (Fn(function, **{n: make() for n, make in parts.items()}), X)


def w(*shape):
    return lambda: nn.Parameter(torch.randn(*shape))


def linear(n, m):
    return lambda: nn.Linear(n, m)


MODELS = {
    "hooks": (hooked, {}),
    "pruned": (pruned, {}),
    "transposed memory": (turned, {}),
    "masked": (masked, {}),
    "routed": (routed, {}),
    "counts": (counting, {"c.weight": "never used"}),
    "caches": (caching, {}),
    "slices": (lambda: sliced(1), {}),
    "strided slices": (lambda: sliced(2), {"w": "not followed"}),
    "checkpoint": (checkpointed, {}),
    "lora": (low_rank, {"base.weight": "frozen", "up": "zero by plan"}),
    "data parallel": (lambda: (nn.DataParallel(two()), X), {}),
    "fx": (lambda: (torch.fx.symbolic_trace(two()), X), {}),
    "in place": (lambda: (nn.Sequential(nn.Linear(16, 8), nn.ReLU(inplace=True), nn.Dropout(inplace=True)), X), {}),
    "odd outputs": (
        map_of(lambda s, x: {"z": Result(s.a(x), (s.b(x), None, "t"))}, a=linear(16, 4), b=linear(16, 8)),
        {},
    ),
    "a number": (map_of(lambda s, x: float(s.a(x).sum()), a=linear(16, 4)), {}),
    "dict inputs": (
        lambda: (
            Fn(lambda s, *, x, mask: s.b((s.a(x["q"]) * mask).relu()), a=nn.Linear(16, 32), b=nn.Linear(32, 4)),
            {"x": {"q": X}, "mask": torch.ones(32, 1)},
        ),
        {},
    ),
    "unbatched": (lambda: (two(), batch(16)), {}),
    "one row": (lambda: (two(), batch(1, 16)), {}),
    "sum of two": (map_of(lambda s, x: s.h(s.a(x) + s.a(3 * x)), a=linear(16, 16), h=linear(16, 4)), {}),
    "plus a constant": (map_of(lambda s, x: s.h(x @ (s.w + 1)), w=w(16, 16), h=linear(16, 4)), {"w": "not followed"}),
    "exponential": (map_of(lambda s, x: s.h(x @ s.w.exp()), w=w(16, 16), h=linear(16, 4)), {"w": "not followed"}),
    "two weights": (
        map_of(lambda s, x: s.h(x @ (s.u @ s.v)), u=w(16, 4), v=w(4, 16), h=linear(16, 4)),
        {"u": "not followed", "v": "not followed"},
    ),
    "addmm": (map_of(lambda s, x: s.h(torch.addmm(s.c, x, s.w, alpha=2.0)), w=w(16, 8), c=w(8), h=linear(8, 4)), {}),
    "vmap": (map_of(lambda s, x: torch.vmap(s.a)(x), a=linear(16, 4)), {"a.weight": "not followed"}),
    "sparse table": (lambda: (nn.Embedding(20, 16, sparse=True, padding_idx=0), torch.arange(1, 17)), {}),
    "no weights": (lambda: (nn.Sequential(nn.LayerNorm(16), nn.Softmax(-1)), X), {}),
}


def kept(model):
    """All that is none of the weights: flags, attributes, buffers, the generator."""
    return (
        [m.training for m in model.modules()],
        [{k: v for k, v in vars(m).items() if isinstance(v, int | str | type(None))} for m in model.modules()],
        {n: b.clone() for n, b in model.named_buffers()},
        torch.get_rng_state(),
    )


def same(one, two):
    return one[:2] == two[:2] and all(torch.equal(one[2][n], two[2][n]) for n in one[2]) and torch.equal(one[3], two[3])


@pytest.mark.parametrize("name", few(MODELS, every=2))
def test_what_is_reached_is_at_its_target_and_the_rest_is_named(name):
    make, named = MODELS[name]
    torch.manual_seed(0)
    model, inputs = make()
    before = kept(model)
    found = fanin.calibrate(model, inputs, tolerance=0.0)
    assert same(before, kept(model))
    assert {r.parameter: r.status for r in found.rows if r.status != "corrected"} == named
    logs: dict[str, list[float]] = {}
    for row in found.rows:
        if row.status == "corrected":
            logs.setdefault(row.name, []).append(math.log(row.after / row.target))
    assert all(abs(sum(x) / len(x)) < 2e-4 for x in logs.values())
    assert not any("second pass" in w for w in found.warnings)


def raising():
    def forward(self, x):
        x = self.a(x)
        if type(x) is torch.Tensor:  # numbers, not a stand-in
            raise ZeroDivisionError("midway")
        return self.b(x)

    return Fn(forward, a=nn.Linear(16, 4), b=nn.Linear(4, 4)), X


REFUSED = {
    "raises": (
        map_of(lambda s, x: s.h(s.a(x)) if type(x) is not torch.Tensor else 1 / 0, a=linear(16, 4), h=linear(4, 4)),
        X,
    ),
    "no rows": (lambda: (two(), X), torch.zeros(0, 16)),
    "infinite inputs": (lambda: (two(), X), torch.full((4, 16), math.inf)),
    "lazy": (lambda: (nn.Sequential(nn.LazyLinear(4)), X), X),
    "meta": (lambda: (nn.Linear(16, 4, device="meta"), X), X),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_calibrated_keeps_every_bit(name):
    make, inputs = REFUSED[name]
    torch.manual_seed(0)
    model, _ = make()
    held = [p for p in model.parameters() if type(p) is nn.Parameter and not p.is_meta]
    before = [p.detach().clone() for p in held]
    with pytest.raises(FaninError):
        fanin.calibrate(model, inputs)
    assert all(torch.equal(a, b) for a, b in zip(before, held, strict=True))


@pytest.mark.filterwarnings("ignore")
def test_these_tests_see_weights_that_are_not_written(monkeypatch):
    monkeypatch.setattr("fanin.calibration.write.scale_", lambda tensor, change: None)
    with pytest.raises(AssertionError):
        test_what_is_reached_is_at_its_target_and_the_rest_is_named("masked")
