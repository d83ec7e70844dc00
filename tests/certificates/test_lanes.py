"""The sums: three engines give the same, any cut adds up, and each of many random changes is seen."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fanin.certificates.lanes import add, lane_key, lanes_at, lanes_of_words
from fanin.certificates.sums import lanes_of_tensor, lanes_on_device
from fanin.tensors.holdings import Cut, Holding, held_runs, holdings

KEY = lane_key("layer.weight", "float32", (40, 25))
STARTS = np.array([0, (1 << 32) - 300, (1 << 40) + 5, 7, (1 << 33) - 1], np.int64)


def twin(words, starts, length, key):
    """The same sums from Python's own integers, a word at a time."""
    mask = (1 << 32) - 1

    def murmur(x):
        x = (x ^ (x >> 16)) * 0x85EBCA6B & mask
        x = (x ^ (x >> 13)) * 0xC2B2AE35 & mask
        return x ^ (x >> 16)

    def lowbias(x):
        x = (x ^ (x >> 16)) * 0x7FEB352D & mask
        x = (x ^ (x >> 15)) * 0x846CA68B & mask
        return x ^ (x >> 16)

    one = two = 0
    k0, k1, k2, k3 = map(int, key)
    for place, word in enumerate(map(int, words)):
        index = int(starts[place // length]) + place % length
        x = murmur((index & mask) ^ k0 ^ murmur((index >> 32) ^ k1))
        y = lowbias(((x ^ k2) + k3) & mask)
        one, two = one + (x | 1) * (word + 1), two + (y | 1) * (word + 1)
    return one % (1 << 64), two % (1 << 64)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_every_engine_gives_the_sums_of_the_definition(dtype):
    from fanin.certificates import numba_lanes

    words = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, 500, dtype=dtype, endpoint=True)
    place = np.arange(500)
    index = STARTS[place // 100] + place % 100
    want = twin(words, STARTS, 100, KEY)
    wide = torch.from_numpy(words.astype(np.int64))
    assert tuple(map(int, numba_lanes.lanes(words, STARTS, 100, KEY))) == want
    assert lanes_at(words.astype(np.int64), index, KEY) == want
    assert lanes_at(wide, torch.from_numpy(index), KEY) == want
    flat = torch.from_numpy(words.view(f"i{words.itemsize}"))
    assert lanes_on_device(flat, STARTS, 100, words.itemsize, KEY) == want


def test_without_the_kernels_the_sums_are_the_same(monkeypatch):
    words = np.random.default_rng(1).integers(0, 1 << 32, 200_000, dtype=np.uint32)
    start = np.zeros(1, np.int64)
    compiled = lanes_of_words(words, start, words.size, KEY)
    monkeypatch.setattr("fanin.certificates.lanes._kernel", lambda size: None)
    assert lanes_of_words(words, start, words.size, KEY) == compiled


@pytest.mark.parametrize(
    "dtype", ["float32", "bfloat16", "float16", "float64", "complex64", "complex128", "float8_e4m3fn", "int64", "bool"]
)
def test_parts_of_any_dtype_add_up_to_the_whole(dtype):
    generator = torch.Generator().manual_seed(3)
    whole = torch.randn(9, 10, 4, generator=generator).to(getattr(torch, dtype))
    key = lane_key("w", dtype, whole.shape)
    rows = [whole[:4], whole[4:]]
    cuts = [held_runs(whole.shape, [Cut(axis=1, ranks=3, rank=r, factor=2)]) for r in range(3)]
    columns = [
        lanes_of_tensor(torch.cat([whole[:, a:b] for a, b in runs[1]], 1), Holding(tuple(whole.shape), runs), key)
        for runs in cuts
    ]
    by_rows = [
        lanes_of_tensor(t, Holding(tuple(whole.shape), (((a, a + len(t)),), ((0, 10),), ((0, 4),))), key)
        for t, a in zip(rows, (0, 4), strict=True)
    ]
    want = lanes_of_tensor(whole, holdings(whole), key)
    assert add(columns) == want == add(by_rows)
    assert add(columns[:2]) != want
    assert lanes_of_tensor(whole.flip(0), holdings(whole), key) != want or dtype == "bool"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 7), max_size=4), st.data())
def test_strides_decide_nothing(shape, data):
    order = data.draw(st.permutations(range(len(shape))))
    x = torch.arange(int(np.prod(shape)), dtype=torch.float32).reshape(shape)
    back = np.argsort(order).tolist()
    moved = x.permute(*order).contiguous().permute(*back) if shape else x
    key = lane_key("w", "float32", shape)
    assert lanes_of_tensor(moved, holdings(x), key) == lanes_of_tensor(x, holdings(x), key)


def test_large_tensors_are_cut_and_not_copied_whole():
    x = torch.randn(3, 1 << 19).t()  # not contiguous, above one task
    key = lane_key("w", "float32", x.shape)
    assert lanes_of_tensor(x, holdings(x), key) == lanes_of_tensor(x.contiguous(), holdings(x), key)


def test_ten_thousand_random_changes_are_all_seen():
    """Flipped bits, two exchanged elements, two exchanged rows, shifted and negated elements; the twin is no change."""
    rng = np.random.default_rng(7)
    words = rng.integers(0, 1 << 32, 1000, dtype=np.uint32)
    start, seen, made = np.zeros(1, np.int64), 0, 0
    want = lanes_of_words(words, start, 1000, KEY)
    for kind in range(10_000):
        changed = words.copy()
        i, j = rng.choice(1000, 2, replace=False)
        match kind % 5:
            case 0:
                changed[i] ^= np.uint32(1) << np.uint32(rng.integers(32))
            case 1:
                changed[[i, j]] = changed[[j, i]]
            case 2:
                a, b = rng.choice(40, 2, replace=False) * 25
                changed[a : a + 25], changed[b : b + 25] = words[b : b + 25], words[a : a + 25]
            case 3:
                changed[min(i, j) : max(i, j) + 1] = np.roll(changed[min(i, j) : max(i, j) + 1], 1)
            case 4:
                changed[rng.choice(1000, 10)] ^= np.uint32(1 << 31)
        if np.array_equal(changed, words):
            continue
        made += 1
        seen += lanes_of_words(changed, start, 1000, KEY) != want
    assert made > 9_900
    assert seen == made
    assert lanes_of_words(words.copy(), start, 1000, KEY) == want
