"""A part of a weight, made by itself, has the bits that the whole has there."""

import dataclasses
import random

import numpy as np
import pytest
import torch

import fanin
from fanin.errors import FaninError
from fanin.initializers import (
    ICNR,
    Bilinear,
    Centred,
    Dirac,
    Hadamard,
    Identity,
    MirroredOrthogonal,
    Normal,
    Orthogonal,
    PerInput,
    PerPart,
    Scaled,
    Sparse,
    Uniform,
    Zeros,
)
from fanin.initializers.parts import part_of, row_sums
from fanin.layout import Layout
from fanin.tensors import cells
from fanin.tensors.fill import fill_
from fanin.tensors.holdings import Holding, Range
from tests.selection import few

NORMAL = Normal(std=0.5)
WHOLE = (MirroredOrthogonal(side="both"), PerPart((Orthogonal(), NORMAL)))
KEY = fanin.key(3, "w")
WEIGHTS = [
    ((12, 10), None),
    ((12, 10), Layout.linear(parts=3)),
    ((10, 12), Layout.linear_in_out(parts=(4, 8))),
    ((12, 3, 3, 2), Layout.conv(2, groups=4)),
    ((12, 6, 3), None),
    ((3, 3, 6, 12), Layout.channels_last(4)),
    ((4, 12, 10), Layout.experts()),
    ((4, 10, 12), Layout.experts(in_out=True, parts=2)),
    ((8, 3, 3), Layout.conv_transposed(1, groups=2)),
    ((8, 2, 6), Layout.heads()),
    ((120,), Layout(view=(12, 10))),
]
LAWS = [
    NORMAL,
    Centred(NORMAL),
    Centred(Uniform(bound=0.3), compensated=False),
    Centred(Orthogonal()),
    Sparse(connections=2),
    Sparse(kept=0.4, per="input"),
    Scaled(Centred(NORMAL), -0.5),
    Scaled(NORMAL, -2.0),
    Scaled(NORMAL, 2.0),
    PerPart((Zeros(), NORMAL, Centred(NORMAL))),
    PerPart((Orthogonal(), NORMAL)),
    PerInput((NORMAL, Centred(NORMAL)), (4, 6)),
    PerInput((Zeros(), Sparse(connections=2)), (4, 6)),
    PerInput((Zeros(), NORMAL), (4, 6)),
    ICNR(Centred(NORMAL), 2),
    ICNR(NORMAL, 2, channels="tensorflow"),
    Identity(gain=2.0),
    Dirac(),
    Bilinear(),
    Hadamard(),
    Orthogonal(),
    MirroredOrthogonal(side="both"),
]


def fitting(law, make):
    """What `make` gives for each weight that the law has a meaning for."""
    for shape, layout in WEIGHTS:
        try:
            made = make(shape, layout)
        except FaninError:
            continue
        yield shape, layout, made


def random_box(rng, shape):
    starts = [rng.randrange(n) for n in shape]
    return [(a, rng.randrange(a + 1, n + 1)) for a, n in zip(starts, shape, strict=True)]


def wrong_boxes(law, dtype, seed=0):
    rng, wrong, local = random.Random(seed), [], 0
    for shape, layout, whole in fitting(law, lambda s, lay: law.sample(s, key=KEY, layout=lay, dtype=dtype)):
        local += law.joint_axes(shape, layout) is not None
        for _ in range(6):
            box = random_box(rng, shape)
            want = whole[tuple(slice(*ends) for ends in box)]
            found = part_of(law, box, shape, layout, KEY, dtype)
            if (found.shape, found.dtype, found.tobytes()) != (want.shape, want.dtype, want.tobytes()):
                wrong.append((shape, layout, box))
    return wrong, local


@pytest.mark.parametrize("law", few(LAWS, every=2), ids=str)
def test_a_box_has_the_bits_of_the_whole(law):
    for dtype in ("float32", "float64", "bfloat16", "complex64"):
        wrong, local = wrong_boxes(law, dtype)
        assert not wrong
        assert local or law in WHOLE  # made by itself for some layout


@dataclasses.dataclass(frozen=True, slots=True)
class CountsFromItsBox(Centred):
    """Draws each box as if it began at the first unit."""

    def part(self, box, shape, layout, key, dtype):
        return Centred.part(self, [(0, b - a) for a, b in box], shape, layout, key, dtype)


def test_a_law_that_counts_units_from_its_box_is_noticed():
    assert wrong_boxes(CountsFromItsBox(NORMAL), "float32")[0]


def random_part(rng, whole):
    """A flat range, or runs along each axis; and what torch cuts there."""
    shape = tuple(whole.shape)
    if rng.random() < 0.5:
        first = rng.randrange(whole.numel())
        last = rng.randrange(first, whole.numel() + 1)
        return Range(shape, first, last), whole.reshape(-1)[first:last]
    runs = []
    for n in shape:
        ends = sorted(rng.sample(range(n + 1), min(2 * rng.choice((1, 1, 2)), (n + 1) // 2 * 2)))
        runs.append(tuple(zip(ends[::2], ends[1::2], strict=True)))
    for axis, held in enumerate(runs):
        whole = torch.cat([whole.narrow(axis, a, b - a) for a, b in held], axis)
    return Holding(shape, tuple(runs)), whole


@pytest.mark.parametrize(
    ("together", "dtype"),
    few(
        [(n, dtype) for n in (30, 1 << 20) for dtype in (torch.float32, torch.bfloat16, torch.float64)],
        (30, torch.float32),
        (1 << 20, torch.bfloat16),
    ),
    ids=str,
)
def test_what_a_process_holds_has_the_bits_of_the_whole_tensor(monkeypatch, together, dtype):
    monkeypatch.setattr(cells, "_TOGETHER", together)
    rng = random.Random(together)
    for law in LAWS:

        def fill(shape, layout, law=law):
            return fill_(torch.empty(shape, dtype=dtype), law, key=KEY, layout=layout)

        for _, layout, whole in fitting(law, fill):
            for _ in range(3):
                part, want = random_part(rng, whole)
                found = fill_(torch.empty(part.shape, dtype=dtype), law, key=KEY, layout=layout, part=part)
                assert torch.equal(found, want), (law, layout, part)


def test_a_row_has_one_sum_whatever_is_summed_beside_it():
    rows = np.random.default_rng(0).normal(size=(7, 1001))
    alone = [row_sums(rows[i : i + 1])[0] for i in range(7)]
    assert row_sums(rows).tolist() == alone
    assert row_sums(np.asfortranarray(rows)).tolist() == alone
    assert np.allclose(alone, rows.sum(axis=1), rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("law", [Centred(NORMAL), Sparse(connections=2), Identity()], ids=str)
def test_a_shard_is_made_without_the_whole_a_few_units_at_a_time(monkeypatch, law):
    asked, whole, part = [], (64, 50), Holding((64, 50), (((8, 24),), ((0, 25),)))
    monkeypatch.setattr(cells, "_TOGETHER", 200)
    monkeypatch.setattr(type(law), "values", None)
    monkeypatch.setattr(type(law), "write_into", lambda *args: False)
    make = type(law).part
    monkeypatch.setattr(type(law), "part", lambda self, box, *rest: asked.append(box) or make(self, box, *rest))
    fill_(torch.empty(part.shape), law, key=KEY, part=part)
    assert all(first >= 8 and last <= 24 for (first, last), _ in asked)
    assert all((last - first) * (b - a) <= 200 for (first, last), (a, b) in asked)
    assert whole[1] in {b for _, (_, b) in asked} or isinstance(law, Identity)
