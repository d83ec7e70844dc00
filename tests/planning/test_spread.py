"""A plan applied to a model that real processes hold between them gives the bits that NumPy draws for the whole."""

import pytest
import torch.distributed as dist

from tests.planning.spread import OTHERS, WAYS, has_deepspeed, start

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch without distributed")
FEW = ("FSDP2 + TP", "refusals", "certificates")


def assert_nothing_differs(found):
    wrong = {(rank, case): names for rank, one in enumerate(found) for case, names in one.items() if names}
    assert not wrong, wrong


def test_two_processes_hold_the_bits_of_the_whole_model(tmp_path):
    found = start(tmp_path, 2, FEW)
    assert_nothing_differs(found)
    assert len(found[0]) == len(FEW) + 1  # the first from memory and from meta


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_every_way_to_spread_a_model_holds_the_bits_of_the_whole(tmp_path, world):
    found = start(tmp_path, world, (*WAYS, *OTHERS), timeout=580)
    assert_nothing_differs(found)
    assert len(found[0]) >= 2 * len(WAYS) + len(OTHERS) - 3


@pytest.mark.slow
@pytest.mark.skipif(not has_deepspeed(), reason="DeepSpeed is not installed")
@pytest.mark.parametrize("world", [1, 2, 3])
def test_zero3_parts_hold_the_bits_of_the_whole(tmp_path, world):
    found = start(tmp_path, world, ("ZeRO-3",), timeout=580)
    assert_nothing_differs(found)
    assert all("ZeRO-3" in one for one in found)
