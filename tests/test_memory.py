"""Arrays on a tensor's memory, and what they leave of the tensor."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
from torch import nn

import fanin
from fanin.errors import ArgumentError
from fanin.memory import as_array, free_bytes

TENSORS = {
    "plain": torch.randn(3, 4),
    "turned": torch.randn(3, 4).t(),
    "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "every other": torch.arange(20)[3::2],
    "expanded": torch.randn(3).expand(2, 3),
    "number": torch.tensor(2.5, dtype=torch.float64),
    "empty": torch.zeros(0, 3),
    "bool": torch.tensor([True, False]),
    "half": torch.randn(5).half(),
    "conjugate": torch.randn(4, dtype=torch.complex64).conj(),
}


@pytest.mark.parametrize("name", TENSORS)
def test_the_array_is_that_of_torch(name):
    tensor = TENSORS[name]
    array = as_array(tensor)
    wanted = tensor.resolve_conj().numpy()
    assert (array.shape, array.dtype) == (wanted.shape, wanted.dtype)
    assert np.array_equal(array, wanted)


def test_the_memory_is_shared_and_lives_as_long_as_the_array():
    tensor = torch.zeros(1000)
    array = as_array(tensor)
    array[7] = 1.0
    assert tensor[7] == 1.0
    del tensor
    gc.collect()
    others = [torch.full((1000,), 3.0) for _ in range(100)]
    assert array.sum() == 1.0
    assert len(others) == 100


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
def test_a_dtype_that_numpy_lacks_is_refused(dtype):
    """Also where ml_dtypes was imported, and NumPy knows the name."""
    import ml_dtypes  # noqa: F401

    with pytest.raises(ArgumentError, match="NumPy has no dtype"):
        as_array(torch.zeros(2, dtype=dtype))


def test_planned_filled_and_checked_memory_can_be_freed():
    """`Tensor.numpy` would forbid it, as the twin shows."""
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    x, y = torch.randn(16, 8), torch.randint(0, 4, (16,))
    plan = fanin.plan(model, x)
    plan.apply_(model)
    plan.verify(model)
    assert fanin.check(model, x, targets=y).ok
    for tensor in (*model.parameters(), x, y):
        assert tensor.untyped_storage().resizable()
    twin = model[0].weight
    twin.detach().numpy()
    assert not twin.untyped_storage().resizable()


def test_memory_that_is_compared_or_hashed_can_be_freed_too():
    from fanin.lab.identity import digest

    values = torch.randn(64, dtype=torch.float64)
    digest(values)
    assert values.untyped_storage().resizable()
    values.numpy()
    assert not values.untyped_storage().resizable()


def test_copies_of_files_in_memory_count_as_free(monkeypatch):
    files = {
        "/proc/meminfo": ["MemAvailable: 9000 kB"],
        "/sys/fs/cgroup/memory.max": ["1000"],
        "/sys/fs/cgroup/memory.current": ["900"],
        "/sys/fs/cgroup/memory.stat": ["anon 300", "inactive_file 400", "active_file 200"],
    }
    monkeypatch.setattr("fanin.memory._lines", lambda path: files.get(path, []))
    assert free_bytes() == 700
    files["/sys/fs/cgroup/memory.max"] = ["max"]
    assert free_bytes() == 9000 * 1024
    files.clear()
    assert free_bytes() == float("inf")
