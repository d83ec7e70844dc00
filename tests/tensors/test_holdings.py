"""Which elements a process holds: our runs against torch's own cut of a tensor of indices."""

import itertools
import random

import numpy as np
import pytest
import torch
from torch.distributed.tensor import Shard
from torch.distributed.tensor.placement_types import _StridedShard

from fanin.tensors.holdings import Cut, Holding, Range, held_runs
from tests.selection import few

CASES = 10_500
MESHES = [(1,), (2,), (3,), (4,), (5,), (8,), (2, 2), (2, 3), (3, 2), (4, 2), (2, 2, 2), (2, 3, 2)]


def random_case(rng):
    shape = tuple(rng.choice((0, 1, 2, 3, 4, 5, 7, 8, 11, 12, 16)) for _ in range(rng.choice((1, 1, 2, 2, 3))))
    mesh = rng.choice(MESHES)
    cuts = []
    for ranks in mesh:
        axis = rng.randrange(len(shape))
        kind = rng.choice(("shard", "shard", "strided", "replicate"))
        if kind != "replicate":
            cuts.append((axis, ranks, rng.choice((2, 3, 4)) if kind == "strided" else 1))
        else:
            cuts.append((None, ranks, 1))
    return shape, cuts


def torch_cut(whole, cuts, where):
    """The part of one rank, cut by torch's own placements."""
    for (axis, ranks, factor), rank in zip(cuts, where, strict=True):
        if axis is None:
            continue
        placement = Shard(axis) if factor == 1 else _StridedShard(axis, split_factor=factor)
        pieces, _ = placement._split_tensor(whole, ranks, with_padding=False)
        whole = pieces[rank]
    return whole


def our_cut(whole, cuts, where, runs_of=held_runs):
    held = [Cut(a, n, r, f) for (a, n, f), r in zip(cuts, where, strict=True) if a is not None]
    return Holding(tuple(whole.shape), runs_of(whole.shape, held))


def taken(whole, part):
    """The local tensor, by the pieces that a fill writes."""
    local = torch.full(part.shape, -1, dtype=torch.long)
    for piece in part.pieces():
        local[piece.here] = torch.from_numpy(piece.box.indices().astype(np.int64)).reshape(piece.box.shape)
    return local


def disagreements(seed, cases, runs_of=held_runs):
    rng, wrong = random.Random(seed), 0
    for _ in range(cases):
        shape, cuts = random_case(rng)
        whole = torch.arange(int(np.prod(shape))).reshape(shape)
        where = tuple(rng.randrange(n) for _, n, _ in cuts)
        ours, theirs = taken(whole, our_cut(whole, cuts, where, runs_of)), torch_cut(whole, cuts, where)
        wrong += not (ours.numel() == theirs.numel() == 0 or torch.equal(ours, theirs))
    return wrong


uneven = pytest.mark.skipif(
    tuple(int(n) for n in torch.__version__.split(".")[:2]) < (2, 7), reason="this torch cuts even sizes alone"
)


@uneven
@pytest.mark.parametrize("count", few([3000, CASES], 3000))
def test_our_runs_are_torchs_own_cut_of_a_tensor_of_indices(count):
    assert disagreements(0, count) == 0


@uneven
def test_cuts_in_another_order_are_seen():
    def backwards(shape, cuts):
        return held_runs(shape, list(reversed(cuts)))

    assert disagreements(0, 1000, backwards) > 20


def test_the_parts_of_all_ranks_are_the_whole_each_element_once_a_replica():
    rng = random.Random(1)
    for _ in range(400):
        shape, cuts = random_case(rng)
        whole = torch.arange(int(np.prod(shape))).reshape(shape)
        copies = int(np.prod([n for axis, n, _ in cuts if axis is None]))
        ranks = itertools.product(*(range(n) for _, n, _ in cuts))
        found = [taken(whole, our_cut(whole, cuts, where)).flatten() for where in ranks]
        assert torch.equal(torch.cat(found).sort().values, torch.arange(whole.numel()).repeat_interleave(copies))


@pytest.mark.parametrize("seed", range(3))
def test_a_box_of_the_whole_is_found_in_the_part(seed):
    rng = random.Random(seed)
    for _ in range(200):
        shape, cuts = random_case(rng)
        whole = torch.arange(int(np.prod(shape))).reshape(shape)
        box = [tuple(sorted(rng.randrange(n + 1) for _ in range(2))) for n in shape]
        wanted = set(whole[tuple(slice(*ends) for ends in box)].flatten().tolist())
        where = tuple(rng.randrange(n) for _, n, _ in cuts)
        first, last = sorted(rng.randrange(whole.numel() + 1) for _ in range(2))
        for part in (our_cut(whole, cuts, where), Range(shape, first, last)):
            local = whole.flatten()[first:last] if isinstance(part, Range) else taken(whole, part)
            held = [i for here in part.inside(box) for i in local[here].flatten().tolist()]
            assert sorted(held) == sorted(wanted & set(local.flatten().tolist()))
