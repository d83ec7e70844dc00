"""All-zero maps before others and in a row, beside zero starts that are meant and open after one step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fanin
from tests.selection import few


def zeroed(model, *names):
    """The model with these parameters at zero."""
    for name in names:
        nn.init.zeros_(model.get_parameter(name))
    return model


def chain(*zeros):
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))
    return zeroed(model, *(f"{place}.weight" for place in zeros))


def convolutions(*zeros):
    layers = [nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.Tanh(), nn.Flatten(), nn.Linear(32, 4)]
    return nn.Sequential(nn.Unflatten(1, (1, 4, 4)), *zeroed(nn.Sequential(*layers), *(f"{z}.weight" for z in zeros)))


class Branch(nn.Module):
    """A stream with a branch of two maps beside it, and a head."""

    def __init__(self, beside=True):
        super().__init__()
        self.enter, self.one, self.two, self.head = (nn.Linear(16, n) for n in (16, 16, 16, 4))
        self.beside = beside

    def forward(self, x):
        h = self.enter(x)
        new = self.two(self.one(h).relu())
        return self.head(h + new if self.beside else new)


class Modulated(nn.Module):
    """A block with adaLN-Zero (Peebles and Xie 2023): shift, scale and gate from a condition that all samples share."""

    def __init__(self):
        super().__init__()
        self.enter, self.condition = nn.Linear(16, 16), nn.Linear(8, 16)
        self.norm = nn.LayerNorm(16, elementwise_affine=False)
        self.first, self.last = nn.Linear(16, 48), nn.Linear(16, 32)
        self.map, self.head = nn.Linear(16, 16), nn.Linear(16, 4)
        zeroed(self, *(f"{n}.{part}" for n in ("first", "last", "head") for part in ("weight", "bias")))

    def forward(self, x):
        h, c = self.enter(x), self.condition(torch.ones(len(x), 8)).tanh()
        shift, scale, gate = self.first(c).chunk(3, -1)
        h = h + gate * self.map(self.norm(h) * (1 + scale) + shift).relu()
        shift, scale = self.last(c).chunk(2, -1)
        return self.head(self.norm(h) * (1 + scale) + shift)


class Controlled(nn.Module):
    """A copied block between zero maps (Zhang et al. 2023), beside the block that it was copied from."""

    def __init__(self):
        super().__init__()
        self.enter, self.block, self.copy, self.head = (nn.Linear(16, n) for n in (16, 16, 16, 4))
        self.before, self.after = nn.Linear(16, 16), nn.Linear(16, 16)
        zeroed(self, "before.weight", "before.bias", "after.weight", "after.bias")

    def forward(self, x):
        h = self.enter(x)
        return self.head(self.block(h).relu() + self.after(self.copy(h + self.before(x)).relu()))


class Adapted(nn.Module):
    """A map with a thin product beside it, its second factor zero (LoRA)."""

    def __init__(self, both=False):
        super().__init__()
        self.map, self.down, self.up, self.head = (nn.Linear(*n) for n in ((16, 16), (16, 2), (2, 16), (16, 4)))
        zeroed(self, "up.weight", *(["down.weight"] if both else []))

    def forward(self, x):
        return self.head((self.map(x) + self.up(self.down(x))).relu())


def found(model):
    torch.manual_seed(0)
    report = fanin.check(model, torch.randn(32, 16), targets=torch.randint(0, 4, (32,)), predict=False, trial=False)
    return {f.code: f for f in (*report.findings, *report.consequences)}


@pytest.mark.parametrize(
    ("make", "names"),
    few(
        [
            (lambda: chain(0, 2, 4), {"0.weight", "2.weight", "4.weight"}),
            (lambda: chain(2, 4), {"2.weight", "4.weight"}),
            (lambda: chain(0, 2), {"0.weight", "2.weight"}),
            (lambda: chain(0, 4), {"0.weight", "4.weight"}),
            (lambda: convolutions(2, 5), {"1.weight", "2.weight"}),
            (lambda: zeroed(Branch(), "one.weight", "two.weight"), {"one.weight", "two.weight"}),
            (lambda: Adapted(both=True), {"down.weight", "up.weight"}),
        ],
        every=2,
    ),
)
def test_two_zero_maps_in_a_row_are_a_warning(make, names):
    torch.manual_seed(1)
    seen = found(make())
    assert seen["G402"].severity in ("warning", "error")
    if "1.weight" not in names:
        assert set(seen["G402"].paths) == names
    assert not names & set(seen["G403"].paths if "G403" in seen else ())


@pytest.mark.parametrize(
    "make",
    [
        lambda: chain(4),
        lambda: zeroed(Branch(), "two.weight"),
        lambda: zeroed(Branch(), "two.weight", "head.weight"),
        Modulated,
        Controlled,
        Adapted,
    ],
)
def test_zero_starts_that_open_after_one_step_hold_nothing(make):
    torch.manual_seed(1)
    assert "G402" not in found(make())


class Sided(nn.Module):
    """Convolutions with a norm each, beside a path that sees the input too."""

    def __init__(self, act=nn.GELU, bias=True):
        super().__init__()
        deep = (nn.Conv2d(1, 8, 3, bias=bias), nn.BatchNorm2d(8), act(), nn.Conv2d(8, 8, 2), nn.Flatten())
        self.deep, self.wide, self.head = nn.Sequential(*deep), nn.Linear(16, 4), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.deep(x.view(-1, 1, 4, 4))) + self.wide(x)


class Told(nn.Module):
    """What a context of ones says, through two maps, is added to a stream."""

    def __init__(self):
        super().__init__()
        self.table, self.map, self.two, self.head = (
            nn.Embedding(3, 16), nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 4),
        )  # fmt: skip

    def forward(self, x):
        told = self.two(self.map(self.table((x[:, 0] > 0).long())).tanh())
        return self.head(x + told)


@pytest.mark.parametrize(
    ("make", "name"),
    few(
        [
            (lambda: chain(0), "0.weight"),
            (lambda: chain(2), "2.weight"),
            (lambda: zeroed(Branch(beside=False), "one.weight"), "one.weight"),
            (lambda: zeroed(Branch(), "one.weight"), "one.weight"),
            (lambda: zeroed(Sided(), "deep.0.weight"), "deep.0.weight"),
            (lambda: zeroed(Sided(bias=False), "deep.0.weight"), "deep.0.weight"),
            (lambda: zeroed(Sided(nn.ReLU), "deep.0.weight"), "deep.0.weight"),
            (lambda: zeroed(Told(), "map.weight"), "map.weight"),
            (lambda: zeroed(Told(), "table.weight"), "table.weight"),
            (lambda: zeroed(Told(), "map.weight", "map.bias"), "map.weight"),
        ],
        every=2,
    ),
)
def test_a_zero_map_that_is_the_only_way_to_others_is_named(make, name):
    torch.manual_seed(1)
    seen = found(make())
    assert seen["G402"].paths == (name,)
    assert not {"N602", "S205"} & seen.keys() or {"N602", "S205"} & seen.keys() <= consequences(make())
    assert name not in (seen["G403"].paths if "G403" in seen else ())


def consequences(model):
    torch.manual_seed(0)
    report = fanin.check(model, torch.randn(32, 16), targets=torch.randint(0, 4, (32,)), predict=False, trial=False)
    return {f.code for f in report.consequences}


class Asked(nn.Module):
    """Attention whose queries start at zero, so that all places are mixed alike (Yang et al. 2021, muP)."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(4, 4) for _ in range(4))
        self.head = nn.Linear(16, 4)
        zeroed(self, "q.weight", "q.bias")

    def forward(self, x):
        x = x.view(-1, 4, 4)
        mixed = (self.q(x) @ self.k(x).transpose(1, 2) / 2).softmax(-1) @ self.v(x)
        return self.head((x + self.out(mixed)).flatten(1))


class Reads(nn.Module):
    """A cell that reads what its head, which starts at zero, said last; at first it reads the input."""

    def __init__(self):
        super().__init__()
        self.into, self.cell, self.head = nn.Linear(4, 16), nn.Linear(16, 16), nn.Linear(16, 4)
        zeroed(self, "head.weight", "head.bias")

    def forward(self, x):
        y = x[:, :4]
        for _ in range(3):
            y = self.head(self.cell(self.into(y)).tanh())
        return y


class Moved(nn.Module):
    """A map of zeros says where the input is read: a spatial transformer in one dimension."""

    def __init__(self):
        super().__init__()
        self.where, self.map = nn.Linear(16, 16), nn.Linear(16, 4)
        zeroed(self, "where.weight", "where.bias")

    def forward(self, x):
        return self.map((x + torch.arange(16) * self.where(x)) * (1 + self.where(x)).sigmoid())


class Worded(nn.Module):
    """A table with a thin product beside it, of which the looked up factor is zero (LoRA of an embedding)."""

    def __init__(self):
        super().__init__()
        self.table, self.a, self.b, self.head = (
            nn.Embedding(3, 16), nn.Embedding(3, 2), nn.Linear(2, 16, bias=False), nn.Linear(16, 4),
        )  # fmt: skip
        zeroed(self, "a.weight")

    def forward(self, x):
        ids = (x[:, 0] > 0).long()
        return self.head(x + (self.table(ids) + self.b(self.a(ids)) * 2).relu())


class Queried(nn.Module):
    """Attention whose queries are a table of learned codes that start at zero, looked up at every place."""

    def __init__(self):
        super().__init__()
        self.codes, self.q, self.k, self.head = nn.Embedding(3, 4), nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(12, 4)
        zeroed(self, "codes.weight")

    def forward(self, x):
        x = x.view(-1, 4, 4)
        return self.head(((self.q(self.codes(torch.arange(3))) @ self.k(x).mT).softmax(-1) @ x).flatten(1))


class Sampled(nn.Module):
    """A variational autoencoder whose posterior starts at the prior."""

    def __init__(self):
        super().__init__()
        self.enter, self.mean, self.log, self.back = (nn.Linear(*n) for n in ((16, 16), (16, 4), (16, 4), (4, 16)))
        self.head = nn.Linear(16, 4)
        zeroed(self, *(f"{n}.{part}" for n in ("mean", "log") for part in ("weight", "bias")))

    def forward(self, x):
        h = self.enter(x).relu()
        code = self.mean(h) + self.log(h).exp() * torch.randn(len(x), 4)
        return self.head(self.back(code).relu())


@pytest.mark.parametrize(
    "make", [Asked, Reads, Moved, Worded, Queried, Sampled, lambda: zeroed(Sided(), "head.weight")]
)
def test_zero_maps_that_mix_move_or_end_are_no_fault(make):
    torch.manual_seed(1)
    assert "G402" not in found(make())


def trained(model, steps=60):
    torch.manual_seed(0)
    x = torch.randn(64, 16)
    y, optimizer = x[:, :4].argmax(1), torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


@pytest.mark.parametrize(("zeros", "severity"), [((0,), "warning"), ((2,), "warning"), ((0, 2), "error")])
def test_equal_outputs_are_an_error_only_where_the_first_step_leaves_them(zeros, severity):
    torch.manual_seed(1)
    assert found(chain(*zeros))["S205"].severity == severity


def test_what_is_called_locked_does_not_learn_and_the_rest_does():
    torch.manual_seed(1)
    start = float(torch.tensor(4.0).log())
    assert trained(chain(2, 4)) > 0.95 * start
    assert trained(chain(0, 4)) > 0.95 * start
    assert trained(chain(4)) < 0.95 * start
    assert trained(chain(0)) < 0.95 * start
