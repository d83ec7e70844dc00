"""Numbers before a factor come back bit for bit from what dividing by it misses, or stay a copy."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fanin.planning.undo import Copied, Divided, packed

KINDS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def multiplied(own, factor):
    """As a calibration multiplies: in float32 or wider, rounded once."""
    wide = own if own.dtype.itemsize >= 4 else own.float()
    own.copy_(wide.mul_(factor))


def bits(x):
    return x.contiguous().view(torch.uint8)


@pytest.mark.parametrize("dtype", KINDS, ids=str)
@given(factor=st.floats(0.01, 100.0), size=st.sampled_from([1e-30, 1e-3, 1.0, 1e3]), seed=st.integers(0, 99))
def test_all_bits_come_back_as_often_as_it_is_called(dtype, factor, size, seed):
    own = (torch.randn(1000, generator=torch.Generator().manual_seed(seed)) * size).to(dtype)
    own[:3] = torch.tensor([0.0, -0.0, size])
    before, copy = own.clone(), Copied(own, own.clone())
    multiplied(own, factor)
    undo = packed(copy, factor)
    for _ in range(2):
        undo()
        assert torch.equal(bits(own), bits(before))


@pytest.mark.parametrize("shape", [(300, 400), ()])
def test_it_takes_one_byte_a_number(shape):
    own = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    before, copy = own.clone(), Copied(own, own.clone())
    multiplied(own, 0.3)
    undo = packed(copy, 0.3)
    assert isinstance(undo, Divided)
    assert undo.misses.nbytes == own.numel()
    undo()
    assert torch.equal(own, before)


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan, 3e38, 1e-45])
def test_numbers_that_a_factor_destroys_are_kept_whole(bad):
    own = torch.tensor([1.0, bad])
    before, copy = own.clone(), Copied(own, own.clone())
    multiplied(own, 0.01 if bad == 1e-45 else 100.0)
    undo = packed(copy, 0.01 if bad == 1e-45 else 100.0)
    undo()
    assert torch.equal(bits(own), bits(before))
    assert isinstance(undo, Copied) == (abs(bad) == 3e38)


def test_a_tensor_that_is_not_contiguous_is_kept_whole():
    own = torch.randn(4, 6).t()
    copy = Copied(own, own.clone())
    multiplied(own, 0.3)
    assert packed(copy, 0.3) is copy
