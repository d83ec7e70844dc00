"""Filling torch tensors: the bits of `sample`, wherever the elements lie, and refusals that change nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fanin
from fanin.errors import DtypeError, FillError, ShapeError
from fanin.initializers import Constant, Identity, Ones, Orthogonal, Sparse, sparse_torch
from fanin.layout import Layout
from fanin.model.parametrized import fill_parameter_
from fanin.streams import Draw
from fanin.streams.boxes import Box
from fanin.streams.geometry import Walk
from fanin.streams.law import prepare
from fanin.streams.sampling import sample
from fanin.streams.torch_engine import fill_flat
from fanin.tensors.fill import fill_

KEY = fanin.key(3, "block.weight")
LAWS = {
    "uniform": Draw(kind="uniform", width=0.3, shift=0.1),
    "normal": Draw(kind="normal", width=0.02, shift=-0.01),
    "truncated": Draw(kind="truncated_normal", width=0.02, lower=-2.0, upper=2.0),
    "narrow": Draw(kind="truncated_normal", width=0.02, lower=3.5, upper=5.0),
}
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64, torch.complex128)


def expected(draw, shape, dtype, box=None) -> torch.Tensor:
    values = sample(draw, KEY, shape, dtype=dtype, box=box)
    if dtype == torch.bfloat16:
        return torch.from_numpy(values.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(values)


def assert_same(actual: torch.Tensor, wanted: torch.Tensor) -> None:
    assert actual.dtype == wanted.dtype
    assert torch.equal(actual, wanted), f"{int((actual != wanted).sum())} of {wanted.numel()} elements differ"


def test_assert_same_can_fail():
    with pytest.raises(AssertionError, match="1 of 3 elements differ"):
        assert_same(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.5, 3.0]))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("law", LAWS)
def test_fill_gives_the_bits_of_sample(law, dtype):
    tensor = torch.empty(7, 5, 3, dtype=dtype)
    assert fill_(tensor, LAWS[law], key=KEY) is tensor
    assert_same(tensor, expected(LAWS[law], (7, 5, 3), dtype))


LAYOUTS = {
    "transposed": lambda dtype: torch.empty(40, 60, dtype=dtype).t(),
    "permuted": lambda dtype: torch.empty(4, 5, 6, 7, dtype=dtype).permute(2, 0, 3, 1),
    "channels_last": lambda dtype: torch.empty(8, 5, 3, 3, dtype=dtype).to(memory_format=torch.channels_last),
    "channels_last_3d": lambda dtype: torch.empty(4, 5, 2, 3, 3, dtype=dtype).to(memory_format=torch.channels_last_3d),
    "every other row": lambda dtype: torch.empty(20, 6, dtype=dtype)[::2],
    "every third column": lambda dtype: torch.empty(20, 21, dtype=dtype)[:, 1::3],
    "inside a larger one": lambda dtype: torch.empty(9, 9, 9, dtype=dtype)[2:5, 1:8, 3:7],
    "scalar": lambda dtype: torch.empty((), dtype=dtype),
    "one row": lambda dtype: torch.empty(5, 7, dtype=dtype)[3:4],
    "empty": lambda dtype: torch.empty(0, 4, dtype=dtype),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_memory_format_and_nothing_beside_it(layout, dtype):
    tensor = LAYOUTS[layout](dtype)
    base = tensor if tensor._base is None else tensor._base
    base.fill_(-77.0)
    fill_(tensor, LAWS["normal"], key=KEY)
    assert_same(tensor, expected(LAWS["normal"], tensor.shape, dtype))
    assert int((base == -77.0).sum()) == base.numel() - tensor.numel()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_strided_view_of_any_box(data):
    rank = data.draw(st.integers(1, 4))
    shape = tuple(data.draw(st.lists(st.integers(1, 12), min_size=rank, max_size=rank)))
    box = []
    for n in shape:
        first = data.draw(st.integers(0, n - 1))
        box.append(slice(first, data.draw(st.integers(first + 1, n)), data.draw(st.integers(1, 3))))
    local = Box.of(shape, box).shape
    order = data.draw(st.permutations(range(rank)))
    tensor = torch.empty([local[k] for k in order]).permute([order.index(k) for k in range(rank)])
    fill_(tensor, LAWS["normal"], key=KEY, shape=shape, box=box)
    assert_same(tensor, expected(LAWS["normal"], shape, torch.float32)[tuple(box)])


def test_parameters_that_require_grad_and_saved_tensors():
    weight = torch.nn.Parameter(torch.zeros(4, 4))
    loss = (weight * weight).sum()
    fill_(weight, LAWS["normal"], key=KEY)
    assert weight.requires_grad
    assert weight.grad_fn is None
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_inference_tensors_are_filled_too():
    with torch.inference_mode():
        tensor = torch.empty(5, 5)
    fill_(tensor, LAWS["normal"], key=KEY)
    assert_same(tensor.clone(), expected(LAWS["normal"], (5, 5), torch.float32))


def refused():
    expanded = torch.empty(3, 1).expand(3, 4)
    partitioned = torch.nn.Parameter(torch.empty(0))
    partitioned.ds_shape = (4, 4)
    return {
        "expanded": (expanded, FillError, "share one place"),
        "overlapping": (torch.zeros(10).as_strided((4, 4), (2, 1)), FillError, "share one place"),
        "meta": (torch.empty(3, 3, device="meta"), FillError, "to_empty"),
        "zero3": (partitioned, FillError, "GatheredParameters"),
        "lazy": (torch.nn.LazyLinear(3).weight, FillError, "one forward pass"),
        "sparse": (torch.eye(3).to_sparse(), FillError, "sparse"),
        "conjugated": (torch.zeros(3, 3, dtype=torch.complex64).conj(), FillError, "conjugated"),
        "integers": (torch.zeros(3, 3, dtype=torch.int32), DtypeError, "int32"),
        "float8": (torch.zeros(3, 3, dtype=torch.float8_e4m3fn), DtypeError, "float8_e4m3fn"),
        "array": (np.zeros(3), FillError, "ndarray"),
    }


@pytest.mark.parametrize("case", refused())
def test_refusals_say_what_to_do_and_change_nothing(case):
    tensor, error, match = refused()[case]
    with pytest.raises(error, match=match):
        fill_(tensor, LAWS["normal"], key=KEY)


def test_sums_that_do_not_fit_are_refused():
    tensor = torch.zeros(4, 4)
    with pytest.raises(ShapeError, match="they must be equal"):
        fill_(tensor, LAWS["normal"], key=KEY, shape=(8, 8), box=[slice(0, 3)])
    with pytest.raises(ShapeError, match="needs shape="):
        fill_(tensor, LAWS["normal"], key=KEY, box=[slice(0, 4)])
    with pytest.raises(DtypeError, match="largest float16"):
        fill_(torch.zeros(4, 4, dtype=torch.float16), Draw(kind="normal", width=2e4), key=KEY)
    assert not tensor.any()


def test_progress_counts_and_can_stop_the_fill():
    tensor = torch.zeros(3 * (1 << 20) + 5)
    for threads in (1, 2):
        seen: list[int] = []
        fill_(tensor, LAWS["normal"], key=KEY, threads=threads, progress=seen.append)
        assert seen == sorted(seen)
        assert seen[-1] == tensor.numel()
        assert threads == 2 or len(seen) > 3

    def stop(done: int) -> None:
        raise KeyboardInterrupt

    for threads in (1, 2):
        tensor.zero_()
        with pytest.raises(KeyboardInterrupt):
            fill_(tensor, LAWS["normal"], key=KEY, threads=threads, progress=stop)
        assert not tensor[-5:].any() or threads == 2


class Halved(torch.nn.Module):
    def forward(self, x):
        return x / 2

    def right_inverse(self, x):
        return x * 2


class OneWay(torch.nn.Module):
    def forward(self, x):
        return x.abs()


def test_parametrized_tensors_go_through_right_inverse_or_are_refused():
    layer = torch.nn.Linear(5, 4)
    torch.nn.utils.parametrize.register_parametrization(layer, "weight", Halved())
    fill_parameter_(layer, "weight", LAWS["normal"], key=KEY)
    assert_same(layer.weight.detach(), expected(LAWS["normal"], (4, 5), torch.float32))
    fill_parameter_(layer, "bias", LAWS["uniform"], key=KEY)
    assert_same(layer.bias.detach(), expected(LAWS["uniform"], (4,), torch.float32))

    other = torch.nn.Linear(5, 4)
    torch.nn.utils.parametrize.register_parametrization(other, "weight", OneWay())
    before = other.parametrizations.weight.original.clone()
    with pytest.raises(FillError, match="OneWay"):
        fill_parameter_(other, "weight", LAWS["normal"], key=KEY)
    assert torch.equal(other.parametrizations.weight.original, before)


def test_old_style_reparametrizations_are_written_through():
    with pytest.warns(FutureWarning):
        layer = torch.nn.utils.weight_norm(torch.nn.Linear(5, 4))
    fill_parameter_(layer, "weight", LAWS["normal"], key=KEY)
    want = expected(LAWS["normal"], (4, 5), torch.float32)
    assert torch.allclose(layer(torch.eye(5)) - layer.bias, want.T, rtol=1e-5)
    assert torch.allclose(layer.weight, want, rtol=1e-5)


def test_what_is_no_tensor_or_is_computed_in_an_unknown_way_is_refused():
    layer = torch.nn.Linear(5, 4)
    layer.half = layer.weight / 2
    with pytest.raises(FillError, match="computed from other tensors"):
        fill_parameter_(layer, "half", LAWS["normal"], key=KEY)
    with pytest.raises(FillError, match="is no tensor"):
        fill_parameter_(layer, "in_features", LAWS["normal"], key=KEY)


# ------------------------------------------------------------------ laws whose entries depend on each other
STRUCTURED = {
    "orthogonal": (Orthogonal(gain=1.5), Layout.linear()),
    "orthogonal parts": (Orthogonal(), Layout.linear(parts=3)),
    "orthogonal turned": (Orthogonal(), Layout.linear_in_out()),
    "sparse": (Sparse(connections=4), Layout.linear()),
    "sparse by input": (sparse_torch(sparsity=0.9), Layout.linear()),
    "sparse parts": (Sparse(kept=0.2), Layout.linear(parts=3)),
    "ones": (Ones(), Layout.linear()),
    "constant": (Constant(0.3), Layout.linear()),
    "identity": (Identity(), Layout.linear()),
}


@pytest.mark.parametrize("dtype", DTYPES[:4], ids=str)
@pytest.mark.parametrize("turned", [False, True], ids=["contiguous", "turned"])
@pytest.mark.parametrize("case", STRUCTURED)
def test_structured_laws_are_written_in_place_as_they_are_sampled(case, turned, dtype):
    law, layout = STRUCTURED[case]
    shape = (48, 48) if case == "identity" else (48, 30)
    tensor = torch.full(shape[::-1] if turned else shape, -7.0, dtype=dtype)
    tensor = tensor.t() if turned else tensor
    fill_(tensor, law, key=KEY, layout=layout)
    wanted = law.sample(shape, key=KEY, layout=layout, dtype=str(dtype).removeprefix("torch.")).astype(np.float64)
    if "orthogonal" in case:
        np.testing.assert_allclose(tensor.double().numpy(), wanted, atol=0.006 if tensor.element_size() == 2 else 1e-6)
    else:
        np.testing.assert_array_equal(tensor.double().numpy(), wanted)


def test_grouped_kernels_are_orthogonal_group_by_group():
    tensor = torch.empty(12, 4, 1, 1)
    fill_(tensor, Orthogonal(), key=KEY, layout=Layout.conv(2, groups=3))
    for group in tensor.reshape(3, 4, 4):
        torch.testing.assert_close(group @ group.T, torch.eye(4), atol=1e-5, rtol=0)


def test_a_shard_of_a_structured_law_is_the_slice_of_the_whole():
    law, box = Orthogonal(), [slice(3, 9), slice(0, 20, 2)]
    whole, part = torch.empty(16, 20, dtype=torch.float64), torch.empty(6, 10, dtype=torch.float64)
    fill_(whole, law, key=KEY)
    fill_(part, law, key=KEY, shape=(16, 20), box=box)
    assert torch.equal(part, whole[tuple(box)])


# ------------------------------------------------------------------ torch operations: the form for other devices
@pytest.mark.parametrize("dtype", DTYPES[:4], ids=str)
@pytest.mark.parametrize("law", LAWS)
def test_torch_operations_give_the_same_bits(law, dtype):
    flat, prepared = torch.empty(70_001, dtype=dtype), prepare(LAWS[law], dtype)
    fill_flat(flat, prepared, KEY, Walk.of(Box.of((70_001,))))
    assert_same(flat, expected(LAWS[law], (70_001,), dtype))
    beyond = Box.of((1 << 20, 1 << 16), [slice(1 << 19, (1 << 19) + 3), slice(5, 1 << 16, 999)])
    flat = torch.empty(beyond.size, dtype=dtype)
    fill_flat(flat, prepared, KEY, Walk.of(beyond))
    box = [slice(1 << 19, (1 << 19) + 3), slice(5, 1 << 16, 999)]
    assert_same(flat, expected(LAWS[law], (1 << 20, 1 << 16), dtype, box).reshape(-1))


# ------------------------------------------------------------------ shards
@pytest.fixture
def fake_ranks():
    from torch.distributed import destroy_process_group, init_process_group
    from torch.testing._internal.distributed.fake_pg import FakeStore

    def start(rank: int, ranks: int) -> None:
        init_process_group("fake", store=FakeStore(), rank=rank, world_size=ranks)

    yield start
    destroy_process_group()


@pytest.mark.skipif(
    tuple(int(n) for n in torch.__version__.split(".")[:2]) < (2, 7),
    reason="distribute_tensor of this torch talks to other ranks",
)
@pytest.mark.parametrize("rank", [0, 3, 5])
def test_each_rank_fills_its_shard_of_a_dtensor(fake_ranks, rank):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor, empty

    fake_ranks(rank, 6)
    mesh = init_device_mesh("cpu", (3, 2), mesh_dim_names=("dp", "tp"))
    whole = expected(LAWS["normal"], (11, 7), torch.float32)
    for placements in ([Shard(0), Shard(1)], [Shard(1), Replicate()], [Shard(0), Shard(0)]):
        tensor = empty(11, 7, device_mesh=mesh, placements=placements)
        fill_(tensor, LAWS["normal"], key=KEY)
        assert_same(tensor.to_local(), distribute_tensor(whole, mesh, placements, src_data_rank=None).to_local())
        assert tensor.to_local().numel() > 0 or rank == 5
    with pytest.raises(ShapeError, match="knows its own shape"):
        fill_(tensor, LAWS["normal"], key=KEY, shape=(11, 7))
