"""Numbers before a factor come back bit for bit from what dividing by it misses, or stay a copy."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fanin.planning.undo import Copied, Divided, Multiplied, packed
from tests.selection import few

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


# ---------------------------------------------------------------------- one bit a number
WIDE = [torch.float32, torch.float64]


def reversible(own, factor):
    return Multiplied(own, factor, lambda piece: piece.mul_(factor))


@pytest.mark.parametrize("dtype", WIDE, ids=str)
@given(factor=st.floats(0.01, 100.0), size=st.sampled_from([1e-30, 1e-3, 1.0, 1e3]), seed=st.integers(0, 99))
def test_one_bit_a_number_brings_all_bits_back_as_often_as_it_is_called(dtype, factor, size, seed):
    own = (torch.randn(1000, generator=torch.Generator().manual_seed(seed)) * size).to(dtype)
    own[:3] = torch.tensor([0.0, -0.0, size])
    before, undo = own.clone(), reversible(own, factor)
    undo.run()
    assert torch.equal(own, before * factor)
    assert undo.nbytes == 125
    for _ in range(2):
        undo()
        assert torch.equal(bits(own), bits(before))


@pytest.mark.parametrize("factor", few([0.50390625, 0.84765625, 1.0078125, 1.9921875, 1.99998], every=2))
def test_every_number_between_two_powers_of_two_comes_back(factor):
    own = (torch.arange(1 << 23, dtype=torch.int32) + 0x3F800000).view(torch.float32).clone()
    before, undo = own.clone(), reversible(own, factor)
    undo.run()
    assert undo.nbytes == 1 << 20
    undo()
    assert torch.equal(own, before)


def test_without_the_bits_some_would_not_come_back():
    own = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    before, undo = own.clone(), reversible(own, 0.3)
    undo.run()
    undo._kept[0][:] = 0
    undo()
    assert 0 < int((own != before).sum()) < 1000


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan, 3e38, 1e-45, -1e-39, 1e-37])
def test_numbers_that_a_bit_does_not_bring_back_are_copied(bad):
    factor = 0.01 if abs(bad) < 1 else 100.0
    own = torch.tensor([1.0, 0.0, bad])
    before, undo = own.clone(), reversible(own, factor)
    undo.run()
    assert undo.nbytes == own.nbytes
    undo()
    assert torch.equal(bits(own), bits(before))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", range(1, 6))  # five pieces
def test_an_interrupt_anywhere_in_a_write_leaves_a_way_back(call, when):
    own = torch.randn(600_000, generator=torch.Generator().manual_seed(0))
    before, calls = own.clone(), []

    def multiply(piece):
        calls.append(0)
        if len(calls) == call and when == "before":
            raise KeyboardInterrupt
        piece.mul_(0.3)
        if len(calls) == call:
            raise KeyboardInterrupt

    undo = Multiplied(own, 0.3, multiply)
    with pytest.raises(KeyboardInterrupt):
        undo.run()
    undo()
    assert torch.equal(own, before)


def test_a_way_back_that_ends_early_is_gone_again():
    own = torch.randn(600_000, generator=torch.Generator().manual_seed(0))
    before, calls = own.clone(), []

    def multiply(piece):
        calls.append(0)
        if len(calls) == 12:  # five to write, five a piece to put back
            raise KeyboardInterrupt
        piece.mul_(0.3)

    undo = Multiplied(own, 0.3, multiply)
    undo.run()
    with pytest.raises(KeyboardInterrupt):
        undo()
    assert 0 < int((own != before).sum()) < len(own)
    undo()
    assert torch.equal(own, before)


ODD = [torch.randn(4, 6).t(), torch.ones(3).half(), torch.ones(3).bfloat16(), torch.ones(3, dtype=torch.int32)]


@pytest.mark.parametrize("own", ODD, ids=["turned", "float16", "bfloat16", "int32"])
def test_what_a_bit_a_number_is_not_for(own):
    assert not Multiplied.fits(own)
    assert Multiplied.fits(torch.randn(4, 6))
