"""Values that no initializer draws, against obvious twins in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fanin.measure.quantities.values import buffer_record, extremes, rows_apart
from fanin.measure.virtual_step import stepped


def slow(values):
    """Largest, its index, and how many are beyond 1e6 or 1,000 times the rms of those up to 100 medians."""
    sizes = [abs(v) for v in values]
    alive = sorted(s for s in sizes if s > 0)
    near = 100 * float(np.median(alive)) if alive else 0.0
    rest = [s for s in sizes if s <= near and s < max(sizes)]
    rms = math.sqrt(sum(s * s for s in rest) / len(rest)) if rest else 0.0
    far = [s for s in sizes if s > 1e6 or (rms > 0 and len(sizes) >= 8 and s > 1e3 * rms)]
    return max(sizes), sizes.index(max(sizes)), len(far)


@settings(deadline=None)
@given(st.integers(8, 60), st.sampled_from([1.0, 50.0, 1e5, 3e30, -4e8]), st.integers(0, 2**31))
def test_the_largest_element_is_found_and_rated(n, outlier, seed):
    x = torch.randn(n, generator=torch.Generator().manual_seed(seed))
    place = seed % n
    x[place] = outlier
    got = extremes(x)
    largest, index, num = slow(x.tolist())
    assert got.largest == pytest.approx(largest, rel=1e-6)
    assert got.num_beyond == num
    if abs(outlier) > 1e4:
        assert (got.index, index, got.num_beyond) == ((place,), place, 1)


@settings(deadline=None)
@given(st.integers(16, 40), st.integers(16, 24), st.floats(0.01, 100.0), st.integers(1, 4))
def test_rows_are_rated_by_their_rms(num, width, factor, count):
    x = torch.randn(num, width, generator=torch.Generator().manual_seed(num))
    x[2 : 2 + count] *= factor
    rms = [math.sqrt(sum(v * v for v in row) / width) for row in x.tolist()]
    middle = float(np.median(rms))
    apart = [i for i, r in enumerate(rms) if not middle / 5 < r < 5 * middle]
    got = rows_apart(x)
    if any(abs(math.log(r / middle)) - math.log(5) < 1e-4 < math.log(5) - abs(math.log(r / middle)) for r in rms):
        return  # at the limit the last bit decides
    assert (got is None) == (not apart)
    if got is not None:
        assert (got.first, got.last, got.count) == (apart[0], apart[-1], len(apart))


def test_padding_rows_and_narrow_tables_are_no_rows_apart():
    table = torch.randn(50, 32)
    table[0] = 0
    assert rows_apart(table) is None
    assert rows_apart(torch.randn(50, 4) * torch.logspace(-3, 3, 50)[:, None]) is None


def test_a_buffer_is_counted_by_kind():
    found = buffer_record("b", torch.tensor([0.0, -torch.inf, torch.inf, torch.nan, -3.0]))
    assert (found.num_nan, found.num_positive_inf, found.num_negative_inf, found.largest) == (1, 1, 1, 3.0)


def test_float16_has_ordinary_subnormals():
    assert extremes(torch.full((20,), 3e-6, dtype=torch.float16)).subnormal_share == 0
    assert extremes(torch.full((20,), 1e-42)).subnormal_share == 1


@pytest.mark.parametrize(("largest", "at"), [(900.0, ()), (1100.0, (3, 4))])
def test_only_an_element_that_is_far_out_has_a_place(largest, at):
    x = torch.ones(8, 8)
    x[3, 4] = largest
    got = extremes(x)
    assert (got.index, got.num_beyond) == (at, len(at) // 2)
    assert got.largest == largest


@pytest.mark.parametrize("size", [1.0, 1e-30, 1e-44, 1e25])
def test_a_trial_update_moves_a_weight_by_a_hundredth_whatever_the_size_of_its_gradient(size):
    """Squares of 1e-30 and of 1e25 leave the range of float32."""
    generator = torch.Generator().manual_seed(0)
    p, g = torch.randn(16, 8, generator=generator), torch.randint(1, 9, (16, 8), generator=generator).float()
    moved = (stepped(p, size * g) - p).double()
    wanted = -0.01 * float(p.square().mean().sqrt()) * g.double() / float(g.square().mean().sqrt())
    assert torch.allclose(moved, wanted, rtol=1e-3 if size > 1e-40 else 0.3, atol=1e-6)
    assert torch.equal(stepped(p, 0.0 * g), p)


def test_a_weight_of_zeros_is_moved_by_a_hundredth_of_the_usual_std():
    moved = stepped(torch.zeros(4, 25), torch.full((4, 25), 3.0))
    assert torch.allclose(moved, torch.full((4, 25), -0.01 / 5.0))


def test_rows_of_positions_that_are_added_to_a_batch_are_rows():
    torch.manual_seed(0)
    table = 0.02 * torch.randn(24, 16)
    table[20:] *= 40
    assert rows_apart(table[None]) == rows_apart(table) is not None
    assert rows_apart(table.reshape(2, 12, 16)) is None


@pytest.mark.parametrize(("count", "seen"), [(1, True), (2, True), (3, False)])
def test_up_to_a_third_of_few_rows_is_apart(count, seen):
    table = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
    table[:count] *= 20
    assert (rows_apart(table) is not None) == seen
    assert rows_apart(table[:7]) is None
