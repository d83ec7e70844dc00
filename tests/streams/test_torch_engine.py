"""The engine for torch devices, run on the CPU: the reference's bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import fanin
from fanin.streams import Draw, reference, torch_engine
from fanin.streams.drawing import draw_at
from fanin.streams.law import prepare
from fanin.streams.orthogonal import _block

KEY = fanin.key(0, "model.layers.0.self_attn.q_proj.weight")
LAWS = {
    "uniform": Draw(kind="uniform", width=0.3, shift=0.1),
    "normal": Draw(kind="normal", width=0.02, shift=0.3),
    "truncated": Draw(kind="truncated_normal", width=0.02, lower=-2.0, upper=2.0),
}
INDEX = np.concatenate((np.arange(5000), np.random.default_rng(0).integers(0, 2**62, 5000))).astype(np.uint64)


def bits(x):
    size = x.dtype.itemsize
    return x.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[size])


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
@pytest.mark.parametrize("law", LAWS)
def test_every_law_has_the_bits_of_the_reference(law, dtype):
    made = prepare(LAWS[law], dtype)
    got = torch_engine.draw_at(made, KEY, torch.from_numpy(INDEX.astype(np.int64)))
    want = draw_at(made, KEY, INDEX).astype(np.float64 if dtype == "float64" else np.float32)
    assert torch.equal(bits(got), bits(torch.from_numpy(want).to(getattr(torch, dtype))))


def test_words_are_those_of_the_reference():
    got = torch_engine.words_at(KEY, torch.from_numpy(INDEX.astype(np.int64)))
    assert np.array_equal(got.numpy(), reference.words_at(KEY, INDEX).astype(np.int64))


def test_the_square_root_of_every_logarithm_that_occurs_is_settled():
    """Between the smallest and the largest -ln of a 64-bit number a further step of Newton's changes nothing."""
    x = torch.logspace(-20, 1.7, 20000, base=10.0, dtype=torch.float64)
    r = torch_engine._sqrt(x)
    assert torch.allclose(r, x.sqrt(), rtol=3e-16, atol=0.0)


def test_blocks_of_reflectors_grow_with_the_matrix_and_stay_a_twelfth_of_it():
    sizes = [_block(m) for m in range(16, 3000)]
    assert sizes == sorted(sizes)
    assert all(size <= max(48, m / 12) for m, size in zip(range(16, 3000), sizes, strict=True))
    assert sizes[-1] == 128
