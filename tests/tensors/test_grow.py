"""Grown tables: old rows stay, new rows are those of a table that had the size from the start."""

import numpy as np
import pytest
import torch

import fanin
from fanin.errors import ArgumentError, FillError, ShapeError
from fanin.initializers import Normal, Orthogonal, Uniform
from fanin.streams.boxes import Box
from fanin.tensors.grow import _from_row
from fanin.tensors.holdings import Cut, Holding, held_runs

LAW = Normal(std=0.02)


def whole(rows, law=LAW):
    return torch.from_numpy(law.sample((rows, 6), key=fanin.key(3, "embed.weight")))


def test_new_rows_do_not_depend_on_how_often_the_table_grew():
    at_once, by_steps = torch.zeros(9, 6), torch.zeros(9, 6)
    fanin.grow_(at_once, 4, LAW, name="embed.weight", seed=3)
    step = torch.zeros(7, 6)
    fanin.grow_(step, 4, LAW, name="embed.weight", seed=3)
    by_steps[:7] = step
    fanin.grow_(by_steps, 7, LAW, name="embed.weight", seed=3)
    assert torch.equal(at_once, by_steps)
    assert torch.equal(at_once[4:], whole(9)[4:])
    assert not at_once[:4].any()


def test_new_rows_differ_from_each_other_and_have_the_std_of_the_law():
    """Of 500 rows of 64 numbers the std is within z = 5; a table that grew around one mean would fail both."""
    table = torch.nn.Parameter(torch.zeros(600, 64))
    version = table._version
    fanin.grow_(table, 100, LAW, name="embed.weight")
    new = table.detach()[100:]
    assert abs(float(new.std()) / 0.02 - 1) < 5 / np.sqrt(2 * new.numel())
    assert float(torch.pdist(new).min()) > 0.05
    assert table._version > version
    assert table.grad_fn is None


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("factor", [1, 2])
def test_shards_hold_what_the_whole_table_would(world, axis, factor):
    for old in (0, 4, 8, 9):
        for rank in range(world):
            part = Holding((9, 6), held_runs((9, 6), [Cut(axis, world, rank, factor)]))
            index = torch.arange(54).reshape(9, 6)
            local = torch.cat([index.narrow(axis, a, b - a) for a, b in part.runs[axis]] or [index[:0]], axis)
            seen = torch.zeros_like(local, dtype=torch.bool)
            for piece in _from_row(old, part.pieces(), (9, 6)):
                assert local[piece.here].flatten().tolist() == piece.box.indices().tolist()
                seen[piece.here] = True
            assert torch.equal(seen, local >= old * 6)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: fanin.grow_(torch.zeros(4, 2), 5, LAW, name="w"), ArgumentError, "between 0 and 4; got 5"),
        (lambda: fanin.grow_(torch.zeros(4, 2), True, LAW, name="w"), ArgumentError, "True"),
        (lambda: fanin.grow_(torch.tensor(1.0), 0, LAW, name="w"), ShapeError, "no rows"),
        (lambda: fanin.grow_(torch.zeros(4, 2), 2, Orthogonal(), name="w"), FillError, "elementwise"),
    ],
)
def test_wrong_calls_say_what_to_give(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_a_head_with_a_law_of_its_fans():
    head = torch.zeros(12, 6)
    fanin.grow_(head, 10, Uniform(bound=0.3), name="embed.weight", seed=3)
    assert torch.equal(head[10:], whole(12, Uniform(bound=0.3))[10:])
    assert Box.of((12, 6)).size == head.numel()
