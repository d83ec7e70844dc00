"""The CUDA kernel without a GPU: its bits in Triton's interpreter, and the code that the compiler makes of it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.selection import few

pytest.importorskip("torch")
pytest.importorskip("triton", reason="triton has no build for this platform")

INTERPRETED = """
import sys, torch
from fanin.streams import Draw, key
from fanin.streams.boxes import Box
from fanin.streams.geometry import Walk
from fanin.streams.law import prepare
from fanin.streams.sampling import sample
from fanin.streams.triton_engine import can_fill, fill_flat
stream = key(0, "w")
requests = (Draw(kind="uniform", width=0.3, shift=0.1), Draw(kind="normal", width=0.02, shift=0.3),
            Draw(kind="truncated_normal", width=0.02, lower=-2.0, upper=2.0))
boxes = (((5003,), None), ((1 << 20, 1 << 16), (slice(1 << 19, (1 << 19) + 2), slice(5, 1500))),
         ((5003,), (slice(3, 700),)),
         ((9, 7, 11, 5), (slice(1, 9, 2), slice(0, 7), slice(3, 9), slice(0, 5, 2))))
pairs = [(dtype, request) for dtype in ("float32", "bfloat16", "float16") for request in requests]
for n, (dtype, request) in enumerate(pairs):
    if n % int(sys.argv[1]) == 0:
        law = prepare(request, dtype)
        for shape, cut in boxes:
            box = Box.of(shape, cut)
            assert can_fill(law, Walk.of(box))
            made = torch.zeros(box.size, dtype=getattr(torch, dtype))
            fill_flat(made, law, stream, Walk.of(box))
            wanted = sample(request, stream, shape, dtype=dtype, box=cut)
            assert bytes(made.view(torch.uint8).numpy()) == wanted.tobytes(), (dtype, request, shape)
# into memory with gaps
walk = Walk.of(Box.of((6, 5)), (1, 12))
made = torch.zeros(60)
fill_flat(made, prepare(requests[1], "float32"), stream, walk)
assert (made.as_strided((6, 5), (1, 12)).numpy() == sample(requests[1], stream, (6, 5))).all()
assert (made == 0).sum() == 30
assert not can_fill(prepare(Draw(kind="truncated_normal", lower=5.0, upper=6.0), "float32"), walk)
print("interpreted")
"""

COMPILED = """
import re
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from fanin.streams import triton_kernels

def ptx(kernel, out, uniform, fusion):
    fixed = {"uniform": uniform, "brain": out == "*i16", "blocks": 256, "size": 1024}
    reals = ("lower", "upper", "width", "shift")
    kinds = {"out": out, **dict.fromkeys(reals, "fp32"), **dict.fromkeys(fixed, "constexpr")}
    signature = {n: kinds.get(n, "i64") for n in kernel.arg_names}
    source = ASTSource(kernel, signature, {n: v for n, v in fixed.items() if n in signature})
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": fusion}).asm["ptx"]

fused = re.compile(r"fma\\.rn\\.f32|\\.ftz|div\\.(approx|full)")
for kernel in (triton_kernels.fill_dense, triton_kernels.fill_strided):
    for out in ("*fp32", "*i16", "*fp16"):
        assert not fused.search(ptx(kernel, out, False, fusion=False)), (kernel, out)
assert fused.search(ptx(triton_kernels.fill_dense, "*fp32", False, fusion=True)), "the search finds nothing"
print("compiled")
"""


def run(program: str, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([p for p in sys.path if p]), **extra}
    return subprocess.run([sys.executable, "-c", program, *words], env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("every", few([1, 4], 4))
def test_interpreted_kernels_give_the_bits_of_the_reference(every):
    """All pairs of dtype and law; of each four the first, which are all dtypes and all laws, are quick."""
    ran = run(INTERPRETED, str(every), TRITON_INTERPRET="1")
    assert ran.stdout.strip() == "interpreted", ran.stderr[-2000:]


@pytest.mark.slow
def test_compiled_kernels_fuse_nothing(tmp_path):
    """Contracted products would change a tenth of all normal numbers; no GPU is needed to see that none are."""
    ran = run(COMPILED, TRITON_CACHE_DIR=str(tmp_path), TRITON_INTERPRET="0")
    if "ptxas" in ran.stderr and ran.returncode:
        pytest.skip(f"this build of triton brings no ptxas: {ran.stderr[-300:]}")
    assert ran.stdout.strip() == "compiled", ran.stderr[-2000:]
