"""What only a GPU can show, as one script: bits, speed, memory. Under twelve minutes on one GPU.

    python -m benchmarks.gpu_check              # PASS, FAIL or SKIP and a number for each item
    python -m benchmarks.gpu_check bits speed   # some of them

With a GPU the results go to benchmarks/results/gpu_check.md. Without one, Triton's interpreter and its compiler are
asked what they can answer, torch's operations stand in for the GPU's, and the rest is said to be skipped. The exit
status is 1 where an item fails.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

import fanin
from benchmarks.common import RESULTS, ROOT, header, in_words
from fanin.initializers import Normal, Orthogonal
from fanin.streams import Draw, triton_engine
from fanin.streams.boxes import Box
from fanin.streams.geometry import Walk
from fanin.streams.law import prepare
from fanin.streams.sampling import sample
from fanin.tensors.fill import fill_

__all__ = ["main"]

HAS_GPU = torch.cuda.is_available()
DEVICE = "cuda" if HAS_GPU else "cpu"
KEY = fanin.key(0, "w")
DRAWS = {
    "uniform": Draw(kind="uniform", width=0.3, shift=0.1),
    "normal": Draw(kind="normal", width=0.02, shift=0.3),
    "truncated": Draw(kind="truncated_normal", width=0.02, lower=-2.0, upper=2.0),
}
FAR = (1 << 34) + 12345  # a start beyond 32 bits
Answer = Iterator[tuple[bool, str]]


@dataclass(frozen=True)
class Item:
    """One thing to be shown.

    Attributes:
        title: what.
        run: yields (whether it holds, its number in words).
        needs_gpu: nothing can be said without one.
    """

    title: str
    run: Callable[[], Answer]
    needs_gpu: bool = False


def _bytes(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())


# ---------------------------------------------------------------------- 1, 2: the Triton kernels
def triton_bits() -> Answer:
    """The kernels against NumPy: laws, dtypes, dense and strided boxes, a start beyond 32 bits, odd sizes."""
    if not HAS_GPU and os.environ.get("TRITON_INTERPRET") != "1":
        words = [sys.executable, "-m", "benchmarks.gpu_check", "bits"]
        ran = subprocess.run(
            words, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, cwd=ROOT
        )
        yield ran.returncode == 0, "in the interpreter: " + (ran.stdout.strip().splitlines() or [ran.stderr[-300:]])[-1]
        return
    boxes: list[tuple[tuple[int, ...], tuple[slice, ...] | None]] = [((n,), None) for n in (1, 3, 4, 1023)]
    boxes += [((FAR + 5000,), (slice(FAR, FAR + 3000),)), ((9, 7, 11), (slice(1, 9, 2), slice(0, 7), slice(3, 9)))]
    boxes += [((100_000_000,), None)] if HAS_GPU else []
    wrong, count = [], 0
    for dtype in ("float32", "bfloat16", "float16"):
        for name, request in DRAWS.items():
            law = prepare(request, dtype)
            for shape, cut in boxes:
                box = Box.of(shape, cut)
                made = torch.zeros(box.size, dtype=getattr(torch, dtype), device=DEVICE)
                triton_engine.fill_flat(made, law, KEY, Walk.of(box))
                count += box.size
                if _bytes(made) != sample(request, KEY, shape, dtype=dtype, box=cut).tobytes():
                    wrong.append(f"{dtype} {name} {shape}")
    yield not wrong, f"{count:,} numbers equal" if not wrong else "; ".join(wrong[:5])
    if HAS_GPU:
        n = (1 << 31) + 5
        made = torch.zeros(n, dtype=torch.bfloat16, device=DEVICE)
        triton_engine.fill_flat(made, prepare(DRAWS["normal"], "bfloat16"), KEY, Walk.of(Box.of((n,))))
        tail = sample(DRAWS["normal"], KEY, (n,), dtype="bfloat16", box=(slice(n - 5000, n),))
        yield _bytes(made[-5000:]) == tail.tobytes(), f"the last 5,000 of {n:,} numbers equal"


def ptx() -> Answer:
    """No fused multiply-add, no approximate division, no flush of denormals in the compiled kernels."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from fanin.streams import triton_kernels

    def code(kernel: Any, out: str, fusion: bool) -> str:
        fixed = {"uniform": False, "brain": out == "*i16", "blocks": 256, "size": 1024}
        kinds = {"out": out, **dict.fromkeys(("lower", "upper", "width", "shift"), "fp32")}
        kinds |= dict.fromkeys(fixed, "constexpr")
        signature = {n: kinds.get(n, "i64") for n in kernel.arg_names}
        source = ASTSource(kernel, signature, {n: v for n, v in fixed.items() if n in signature})
        made: Any = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": fusion})
        return str(made.asm["ptx"])

    bad = re.compile(r"fma\.rn\.f32|\.ftz|div\.(approx|full)")
    kernels = (triton_kernels.fill_dense, triton_kernels.fill_strided)
    found = [o for kernel in kernels for o in ("*fp32", "*i16", "*fp16") if bad.search(code(kernel, o, False))]
    yield not found, f"{len(found)} of 6 kernels hold one"
    yield bool(bad.search(code(kernels[0], "*fp32", True))), "the search finds them where fusion is allowed"


# ---------------------------------------------------------------------- 3: torch's operations, shards
def fallback() -> Answer:
    """float64, complex, channels last, a shard: the bits of NumPy, on the device's own operations."""
    from fanin.streams import torch_engine

    wrong = []
    for dtype in ("float64", "complex64", "float32", "bfloat16"):
        made = torch.zeros(4001, dtype=getattr(torch, dtype), device=DEVICE)
        fill_(made, Normal(std=0.02), key=KEY)
        want = Normal(std=0.02).sample((4001,), key=KEY, dtype=dtype)
        wrong += [] if _bytes(made) == np.ascontiguousarray(want).tobytes() else [dtype]
    law, flat = prepare(DRAWS["normal"], "float32"), torch.zeros(4001, device=DEVICE)
    torch_engine.fill_flat(flat, law, KEY, Walk.of(Box.of((4001,))))
    wrong += [] if _bytes(flat) == sample(DRAWS["normal"], KEY, (4001,)).tobytes() else ["torch's operations"]
    last = torch.zeros(8, 3, 5, 5, device=DEVICE).to(memory_format=torch.channels_last)
    fill_(last, Normal(std=0.1), key=KEY)
    wrong += [] if _bytes(last) == Normal(std=0.1).sample(last.shape, key=KEY).tobytes() else ["channels last"]
    yield not wrong, "all equal" if not wrong else ", ".join(wrong)


# ---------------------------------------------------------------------- 4: speed
def speed() -> Answer:
    """10^9 numbers beside torch's own; medians of 20."""
    for dtype in (torch.float32, torch.bfloat16):
        memory = torch.empty(10**9, dtype=dtype, device=DEVICE)
        runs: dict[str, Callable[[], object]] = {
            "fanin normal": lambda m=memory: fill_(m, DRAWS["normal"], key=KEY),  # type: ignore[misc]
            "torch normal_": lambda m=memory: m.normal_(0, 0.02),  # type: ignore[misc]
            "fanin truncated": lambda m=memory: fill_(m, DRAWS["truncated"], key=KEY),  # type: ignore[misc]
            "torch trunc_normal_": lambda m=memory: nn.init.trunc_normal_(m, std=0.02),  # type: ignore[misc]
            "fill_": lambda m=memory: m.fill_(0.0),  # type: ignore[misc]
        }
        said = {name: _milliseconds(run) for name, run in runs.items()}
        ok = said["fanin normal"] <= 1.5 * said["torch normal_"]
        yield ok, f"{dtype}: " + ", ".join(f"{name} {ms:.1f} ms" for name, ms in said.items())


def _milliseconds(run: Callable[[], object]) -> float:
    run()
    found: list[float] = []
    events: Any = torch.cuda.Event
    for _ in range(20):
        start, end = events(enable_timing=True), events(enable_timing=True)
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        found.append(float(start.elapsed_time(end)))
    return statistics.median(found)


# ---------------------------------------------------------------------- 5: a large model, its certificate
def large() -> Answer:
    """8 G parameters from meta: seconds, peak, and the certificate on the GPU against that of the CPU."""
    with torch.device("meta"):
        model = nn.Sequential(*(nn.Linear(8192, 8192, bias=False) for _ in range(119))).to(torch.bfloat16)
    plan = fanin.plan(model, recipe="torch", overrides={"*": Normal(std=0.02)})
    torch.cuda.reset_peak_memory_stats()
    begun = time.perf_counter()
    plan.materialize(model, device=DEVICE)
    torch.cuda.synchronize()
    seconds, own = time.perf_counter() - begun, sum(p.numel() for p in model.parameters()) * 2
    peak = torch.cuda.max_memory_allocated() / own
    yield peak <= 1.15, f"{own / 2e9:.1f} G parameters in {seconds:.1f} s, peak {peak:.3f} of the model"
    begun = time.perf_counter()
    here = fanin.fingerprint(model[:4])
    yield here == fanin.fingerprint(model[:4].cpu()), f"certificates equal; {time.perf_counter() - begun:.1f} s"


def certificate() -> Answer:
    """The sums by the device's operations against the compiled ones of the CPU."""
    from fanin.certificates.lanes import lane_key
    from fanin.certificates.sums import lanes_of_tensor, lanes_on_device
    from fanin.tensors.holdings import holdings

    wrong = []
    for dtype, width in ((torch.float32, 4), (torch.bfloat16, 2), (torch.float64, 4)):
        x = torch.randn(70_001).to(dtype)
        key = lane_key("w", str(dtype), x.shape)
        words = x.element_size() // width
        there = lanes_on_device(x.to(DEVICE), np.zeros(1, np.int64), x.numel() * words, width, key)
        wrong += [] if there == lanes_of_tensor(x, holdings(x), key) else [str(dtype)]
    yield not wrong, "equal" if not wrong else ", ".join(wrong)


# ---------------------------------------------------------------------- 6: orthogonal matrices
def orthogonal() -> Answer:
    """Seconds, distance from orthogonal, distance from the CPU's."""
    for n in (4096, 8192) if HAS_GPU else (512,):
        memory = torch.empty(n, n, device=DEVICE)
        begun = time.perf_counter()
        fill_(memory, Orthogonal(), key=KEY)
        seconds = time.perf_counter() - begun
        off = float((memory.double() @ memory.double().T - torch.eye(n, device=DEVICE)).abs().max())
        apart = float((memory.cpu() - fill_(torch.empty(n, n), Orthogonal(), key=KEY)).abs().max())
        yield off < 1e-5 and apart < 2e-6, f"{n}: {seconds:.1f} s, |QQ' - I| {off:.1e}, from the CPU's {apart:.1e}"


# ---------------------------------------------------------------------- 7, 8: with torch's machinery
def machinery() -> Answer:
    """FSDP2 with CPU offload in one process, torch.compile, and a CUDA graph."""
    import torch.distributed as dist
    from torch.distributed.fsdp import CPUOffloadPolicy, fully_shard

    plan = fanin.plan(nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64)), recipe="torch")
    want = plan.apply_(nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64)))
    dist.init_process_group("nccl", rank=0, world_size=1, store=dist.HashStore())  # type: ignore[attr-defined]
    try:
        with torch.device("meta"):
            model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
        spread: Any = fully_shard(model, offload_policy=CPUOffloadPolicy())
        plan.materialize(spread, device="cpu")
        alike = fanin.fingerprint(spread) == fanin.fingerprint(want)
    finally:
        dist.destroy_process_group()
    yield alike, "FSDP2 with CPUOffloadPolicy holds the plan's bits"
    compiled: Any = torch.compile(nn.Linear(64, 64).to(DEVICE))
    one = fanin.plan(nn.Linear(64, 64), recipe="torch")
    one.apply_(compiled)
    yield (
        one.verify(compiled, bits=True).ok and bool(compiled(torch.ones(2, 64, device=DEVICE)).isfinite().all()),
        "compiled",
    )
    memory, graph = torch.zeros(1 << 16, device=DEVICE), torch.cuda.CUDAGraph()
    fill_(memory, DRAWS["normal"], key=KEY)
    want_bits = _bytes(memory)
    memory.zero_()
    try:
        with torch.cuda.graph(graph):
            fill_(memory, DRAWS["normal"], key=KEY)
        graph.replay()
        torch.cuda.synchronize()
        yield _bytes(memory) == want_bits, "a fill in a CUDA graph replays its bits"
    except Exception as error:
        yield isinstance(error, RuntimeError), f"a fill in a CUDA graph raises {type(error).__name__}"


def check() -> Answer:
    """A check of a model on the device finds nothing, and the same model at 30 times its std is named."""
    torch.manual_seed(0)
    model = nn.Sequential(*(m for _ in range(6) for m in (nn.Linear(64, 64), nn.ReLU())), nn.Linear(64, 10)).to(DEVICE)
    x, y = torch.randn(128, 64, device=DEVICE), torch.randint(0, 10, (128,), device=DEVICE)
    fanin.init_(model, x, trial=False)
    good = fanin.check(model, x, targets=y)
    with torch.no_grad():
        model[4].weight.mul_(30)  # type: ignore[operator]
    bad = fanin.check(model, x, targets=y)
    yield not good.findings, f"{len(good.findings)} findings on the planned start"
    yield any("4.weight" in str(f) for f in bad.findings), "one map at 30 times its std is named"


ITEMS = {
    "bits": Item("Triton kernels equal NumPy", triton_bits),
    "ptx": Item("the compiled code rounds as NumPy does", ptx),
    "fallback": Item("torch's operations equal NumPy", fallback),
    "certificate": Item("certificates of the device equal the CPU's", certificate),
    "orthogonal": Item("orthogonal matrices", orthogonal),
    "check": Item("a check of a model on the device", check),
    "speed": Item("fills beside torch's", speed, needs_gpu=True),
    "large": Item("8 G parameters from meta", large, needs_gpu=True),
    "machinery": Item("FSDP2 with offload, compile, CUDA graph", machinery, needs_gpu=True),
}


def rows(names: list[str]) -> Iterator[tuple[str, str, str]]:
    """(PASS, FAIL or SKIP, title, number) of each answer."""
    for name in names:
        item = ITEMS[name]
        if item.needs_gpu and not HAS_GPU:
            yield "SKIP", item.title, "needs a GPU"
            continue
        try:
            for holds, said in item.run():
                yield "PASS" if holds else "FAIL", item.title, said
        except Exception as error:  # one item must not hide the others
            yield "FAIL", item.title, f"{type(error).__name__}: {str(error)[:200]}"


def main() -> None:
    """Ask every item, print its answers, and keep them where a GPU gave them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("items", nargs="*", help=f"of {', '.join(ITEMS)}; all where none is named")
    given = parser.parse_args()
    if unknown := set(given.items) - set(ITEMS):
        parser.error(f"no item {min(unknown)!r}; there are {', '.join(ITEMS)}")
    found = []
    for row in rows(given.items or list(ITEMS)):
        found.append(row)
        print("  ".join(row), flush=True)
    if HAS_GPU and not given.items:
        lines = ["# What a GPU shows", "", in_words(header()) + f" {torch.cuda.get_device_name()}.", ""]
        lines += ["| | what | number |", "| --- | --- | --- |", *(f"| {a} | {b} | {c} |" for a, b, c in found), ""]
        (RESULTS / "gpu_check.md").write_text("\n".join(lines), encoding="utf-8")
    sys.exit(any(verdict == "FAIL" for verdict, _, _ in found))


if __name__ == "__main__":
    main()
