"""The start of large models: sharded starts beside torch's own ways, files beside dd, certificates beside fills.

    python -m benchmarks.speed.scale                      # everything; about fifteen minutes on two cores
    python -m benchmarks.speed.scale certificate write    # some of it: the other parts stay as they were measured
    python -m benchmarks.speed.scale --small              # an eighth of every size; nothing is saved

The results go to benchmarks/results/scale.md. Contenders take turns; a ratio is of medians, of CPU seconds where a
contender keeps one core busy, since other processes disturb those less.
On a machine that others use, `chrt -r 20 python -m ...` keeps them from the cores (the saved page was measured so).

* shards: two processes of gloo, FSDP2 from the meta device, bfloat16. The plan is made before, and what a library loads
  at its first use is loaded before; peak is what the process needed above what it had then.
* write: a checkpoint drawn block by block: to memory on one core, and to the disk beside dd of as many bytes with
  fsync (a new file each time) and beside its own parts, drawing alone and writing alone; extra peak memory at two
  sizes, and with one tensor that is the whole file.
* certificate: the sums of one tensor beside the fill that draws it, one thread.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import torch  # noqa: E402
from torch import nn  # noqa: E402

import fanin  # noqa: E402
from benchmarks.common import RESULTS, ROOT, header, in_words  # noqa: E402
from fanin.certificates.lanes import lane_key  # noqa: E402
from fanin.certificates.sums import lanes_of_tensor  # noqa: E402
from fanin.initializers import Normal  # noqa: E402
from fanin.planning.slices import DrawnBytes  # noqa: E402
from fanin.streams.cpu import default_threads  # noqa: E402
from fanin.tensors.fill import fill_  # noqa: E402
from fanin.tensors.holdings import holdings  # noqa: E402
from fanin.text.block_file import BLOCK, write_blocks  # noqa: E402

__all__ = ["main"]

LAW = Normal(std=0.02)
MIB = 1 << 20


class Layers(nn.Module):
    """Square maps, one after the other."""

    def __init__(self, count: int, width: int = 4096, rows: int | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(width, rows or width, bias=False) for _ in range(count)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The last map's output."""
        for layer in self.layers:
            x = layer(x)
        return x


def on_meta(*size: int) -> Layers:
    """The model without memory, in bfloat16."""
    with torch.device("meta"):
        return Layers(*size).to(torch.bfloat16)


def planned(model: nn.Module) -> fanin.Plan:
    """One normal law for every map."""
    return fanin.plan(model, recipe="torch", overrides={"*": LAW})


# ---------------------------------------------------------------------- peak memory of this process
def peak_reset() -> float:
    """Forget the peak so far; what the process holds now, in MiB."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _status("VmRSS")


def _status(name: str) -> float:
    line = next(x for x in Path("/proc/self/status").read_text(encoding="ascii").splitlines() if x.startswith(name))
    return int(line.split()[1]) / 1024


# ---------------------------------------------------------------------- shards
def fanin_shards(model: Any, plan: fanin.Plan, count: int) -> None:
    """Each process draws what it holds."""
    plan.materialize(model)


def torch_shards(model: Any, plan: fanin.Plan, count: int) -> None:
    """`to_empty`, then torch's `normal_` of each shard: on the CPU every process draws the same numbers."""
    model.to_empty(device="cpu")
    for p in model.parameters():
        nn.init.normal_(p, std=0.02)


def broadcast(model: Any, plan: fanin.Plan, count: int) -> None:
    """The first process draws the whole model, and the others get their shards of it."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    whole = {}
    if torch.distributed.get_rank() == 0:
        full = on_meta(count, model.layers[0].in_features).to_empty(device="cpu")
        for p in full.parameters():
            nn.init.normal_(p, std=0.02)
        whole = full.state_dict()
    model.to_empty(device="cpu")
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_model_state_dict(model, whole, options=options)


WAYS: dict[str, Callable[[Any, fanin.Plan, int], None]] = {
    "fanin: each fills its shard": fanin_shards,
    "to_empty + normal_": torch_shards,
    "rank 0 + broadcast": broadcast,
}


def shard_worker(rank: int, world: int, store: str, way: str, count: int) -> None:
    """One process of a sharded start; prints seconds and extra peak."""
    import torch.distributed as dist
    from torch.distributed.fsdp import fully_shard

    dist.init_process_group("gloo", rank=rank, world_size=world, store=dist.FileStore(store, world))  # type: ignore[attr-defined]
    warm: Any = fully_shard(on_meta(1, 1024))
    WAYS[way](warm, planned(on_meta(1, 1024)), 1)
    plan, model = planned(on_meta(count)), on_meta(count)
    for layer in model.layers:
        fully_shard(layer)
    fully_shard(model)
    dist.barrier()
    before, start, cpu = peak_reset(), time.perf_counter(), time.process_time()
    WAYS[way](model, plan, count)
    mine, spent = time.perf_counter() - start, time.process_time() - cpu
    peak = _status("VmHWM") - before
    held = sum(p.to_local().numel() * p.element_size() for p in model.parameters()) / MIB  # type: ignore[attr-defined]
    print(json.dumps({"seconds": mine, "cpu": spent, "peak": peak, "shard": held}))
    dist.barrier()
    dist.destroy_process_group()


def start_shards(way: str, count: int, world: int = 2) -> list[dict[str, float]]:
    """What each process measured."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "benchmarks.speed.scale", "--worker"]
        env = os.environ | {"LOCAL_WORLD_SIZE": str(world)}
        running = [
            subprocess.Popen(
                [*words, str(rank), str(world), f"{folder}/store", way, str(count)],
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                env=env,
            )
            for rank in range(world)
        ]
        said = [p.communicate(timeout=900)[0] for p in running]
    return [json.loads(text.splitlines()[-1]) for text in said]


def shards(small: bool) -> list[str]:
    """The sharded start: seconds and peaks, three rounds of all ways; then the peak at a second size."""
    count = 8 if small else 64
    rounds: dict[str, list[list[dict[str, float]]]] = {way: [] for way in WAYS}
    for _ in range(3):
        for way, found in rounds.items():
            found.append(start_shards(way, count))
    lines = [
        f"## Sharded start: {count * 4096**2 / 1e9:.2f} G parameters in bfloat16, FSDP2 on 2 processes, from meta",
        "",
        "| way | seconds (median of 3) | CPU seconds of both | extra peak, MiB, rank 0 / 1 | shard, MiB |",
        "| --- | --- | --- | --- | --- |",
    ]
    cpu: dict[str, float] = {}
    wall: dict[str, float] = {}
    for way, found in rounds.items():
        wall[way] = statistics.median(max(r["seconds"] for r in one) for one in found)
        cpu[way] = statistics.median(sum(r["cpu"] for r in one) for one in found)
        peaks = " / ".join(f"{statistics.median(one[rank]['peak'] for one in found):.0f}" for rank in (0, 1))
        lines.append(f"| {way} | {wall[way]:.1f} | {cpu[way]:.1f} | {peaks} | {found[0][0]['shard']:.0f} |")
    ours, *others = WAYS
    said = [f"{other} takes {wall[other] / wall[ours]:.1f} times as long as fanin" for other in others]
    lines += ["", "; ".join(said) + ".", "", "| layers | shard, MiB | extra peak, MiB | 1.15 x shard + 64 MiB |"]
    lines += ["| --- | --- | --- | --- |"]
    for layers in (max(2, count // 4), count):
        once = start_shards(ours, layers)
        peak, shard = max(r["peak"] for r in once), once[0]["shard"]
        lines.append(f"| {layers} | {shard:.0f} | {peak:.0f} | {1.15 * shard + 64:.0f} |")
    return lines


# ---------------------------------------------------------------------- files
def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    start, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - start, time.process_time() - cpu


def write(small: bool) -> list[str]:
    """Files: to memory on one thread, to the disk beside dd, and peaks."""
    scale = 1 if small else 8
    lines = ["## Files, drawn block by block", "", "| what | MB/s | MB for each CPU second |", "| --- | --- | --- |"]
    plan, size = planned(on_meta(4 * scale)), 4 * scale * 4096**2 * 2 / 1e6
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # one core, so that no second thread helps
    os.environ["LOCAL_WORLD_SIZE"] = str(os.cpu_count())  # one thread
    for dtype, factor in (("bfloat16", 1), ("float32", 2)):
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            planned(on_meta(1, 1024)).write(f"{folder}/warm", dtype=dtype)  # kernels are compiled, or loaded
            wall, cpu = timed(partial(plan.write, f"{folder}/out", dtype=dtype))
        lines.append(f"| to memory, {dtype}, one core | {factor * size / wall:.0f} | {factor * size / cpu:.0f} |")
    os.environ.pop("LOCAL_WORLD_SIZE")
    os.sched_setaffinity(0, cores)
    rates = beside_dd(plan, int(size * 1e6))
    lines += [f"| {name} | {statistics.median(found):.0f} | |" for name, found in rates.items()]
    ours, *others = rates
    lines += ["", f"Of {ROUNDS} rounds in turns, ours over the other in the same round: median (least to most).", ""]
    lines += ["| beside | ratio |", "| --- | --- |"]
    for other in others:
        paired = sorted(a / b for a, b in zip(rates[ours], rates[other], strict=True))
        lines.append(f"| {other} | {statistics.median(paired):.2f} ({paired[0]:.2f} to {paired[-1]:.2f}) |")
    lines += ["", "| file | extra peak, MiB |", "| --- | --- |"]
    shapes = {"1 GB": (4 * scale, 4096), "8 GB": (32 * scale, 4096), "one tensor of 4 GB": (1, 4096, 65536 * scale)}
    for name, shape in shapes.items():
        lines.append(f"| {name}{' / 8' if small else ''} | {peak_of_write(shape):.0f} |")
    return lines


ROUNDS = 7


def beside_dd(plan: fanin.Plan, size: int) -> dict[str, list[float]]:
    """MB/s of each round, to a new file on the disk: of a plan, its parts by themselves, and dd of as many bytes."""
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(dir=ROOT.parent) as folder, tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        Path(f"{memory}/random").write_bytes(os.urandom(size))
        runs = {
            "to the disk, bfloat16": partial(plan.write, f"{folder}/ours"),
            "its blocks drawn, not written": partial(drawn, plan),
            "its blocks written, not drawn": partial(written, f"{folder}/blocks", size),
            **dd_runs(f"{folder}/dd", f"{memory}/random", size >> 22),
        }
        for _ in range(ROUNDS):
            for name, run in runs.items():
                os.sync()  # what was removed before is no part of the next time
                rates.setdefault(name, []).append(size / 1e6 / timed(run)[0])
                shutil.rmtree(f"{folder}/ours", ignore_errors=True)
                for file in ("blocks", "dd"):
                    Path(f"{folder}/{file}").unlink(missing_ok=True)
    return rates


def dd_runs(out: str, random: str, blocks: int) -> dict[str, Callable[[], object]]:
    """dd of so many blocks of 4 MiB, which ends when all is on the disk."""
    kinds = {
        "dd of zeros, conv=fsync": ("/dev/zero",),
        "dd of random bytes, conv=fsync": (random,),
        "dd of zeros, oflag=direct conv=fsync": ("/dev/zero", "oflag=direct"),
    }
    common = [f"of={out}", "bs=4M", f"count={blocks}", "conv=fsync"]
    return {
        name: partial(subprocess.run, ["dd", f"if={source}", *common, *more], check=True, capture_output=True)
        for name, (source, *more) in kinds.items()
    }


def drawn(plan: fanin.Plan) -> None:
    """Draw what a file would hold, block by block, in as many threads as a file has."""
    source = DrawnBytes(plan)
    places = [(a, at) for a in plan.values() for at in range(0, a.numel * 2, BLOCK)]
    memory = threading.local()

    def draw(place: tuple[fanin.Assignment, int]) -> None:
        a, at = place
        if not hasattr(memory, "block"):
            memory.block = mmap.mmap(-1, BLOCK)
        source.fill(memoryview(memory.block)[: min(BLOCK, a.numel * 2 - at)], a, "bfloat16", at)

    with ThreadPoolExecutor(default_threads()) as pool:
        list(pool.map(draw, places))


def written(path: str, size: int) -> None:
    """Write blocks that hold whatever is in them."""
    for _ in write_blocks(path, size, lambda at, memory: None, threads=default_threads()):
        pass


def peak_of_write(shape: Sequence[int]) -> float:
    """Extra peak of a process that writes a model of this size to memory, in MiB; the files are not its memory."""
    words = [sys.executable, "-m", "benchmarks.speed.scale", "--peak", *map(str, shape)]
    said = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return float(said.split()[-1])


def peak_worker(shape: Sequence[int]) -> None:
    """Print it."""
    with tempfile.TemporaryDirectory(dir=ROOT.parent) as folder:
        planned(on_meta(1, 1024)).write(f"{folder}/warm")
        plan = planned(on_meta(*shape))
        before = peak_reset()
        plan.write(f"{folder}/out", dtype="bfloat16", shard_size="20GB")
        print(_status("VmHWM") - before)


# ---------------------------------------------------------------------- certificates
def certificate(small: bool) -> list[str]:
    """Elements a second of the sums beside the fill, one thread, interleaved."""
    count = (1 << 25) >> (3 if small else 0)
    os.environ["LOCAL_WORLD_SIZE"] = str(os.cpu_count())  # one thread
    lines = [
        f"## Certificate of {count / 1e6:.0f} M elements, one thread",
        "",
        "| dtype | fill, normal, Melem/s | certificate, Melem/s | ratio |",
        "| --- | --- | --- | --- |",
    ]
    for dtype in (torch.bfloat16, torch.float32):
        memory, law_key = torch.empty(count, dtype=dtype), fanin.key(0, "w")
        part, key = holdings(memory), lane_key("w", str(dtype), memory.shape)
        runs: dict[str, Callable[[], object]] = {
            "fill": partial(fill_, memory, LAW, key=law_key, threads=1),
            "sums": partial(lanes_of_tensor, memory, part, key),
        }
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for turn in range(9):
            for name, run in runs.items():
                spent = timed(run)[1]
                if turn:
                    seconds[name].append(spent)
        fill, sums = (count / statistics.median(seconds[name]) / 1e6 for name in runs)
        name = str(dtype).removeprefix("torch.")
        lines.append(f"| {name} | {fill:.0f} | {sums:.0f} | {sums / fill:.2f} |")
    os.environ.pop("LOCAL_WORLD_SIZE")
    return lines


SUITES = {"shards": shards, "write": write, "certificate": certificate}


def main() -> None:
    """Run the suites and write their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", help=f"of {', '.join(SUITES)}; all where none is named")
    parser.add_argument("--small", action="store_true", help="an eighth of every size; nothing is saved")
    parser.add_argument("--worker", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--peak", nargs="+", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        rank, world, store, way, count = given.worker
        shard_worker(int(rank), int(world), store, way, int(count))
        return
    if given.peak:
        peak_worker(given.peak)
        return
    if unknown := set(given.suites) - set(SUITES):
        parser.error(f"no suite {min(unknown)!r}; there are {', '.join(SUITES)}")
    for name in given.suites or SUITES:
        lines = [*SUITES[name](given.small), "", in_words(header())]
        print("\n".join(lines), flush=True)
        if not given.small:
            save(name, lines)


def save(name: str, lines: list[str]) -> None:
    """Put one part beside the parts that were measured before, and write the page of all of them."""
    kept = RESULTS / "scale.json"
    parts = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    parts[name] = lines
    kept.write_text(json.dumps(parts, indent=1) + "\n", encoding="utf-8")
    page = ["# The start of large models", *(line for s in SUITES if s in parts for line in ("", *parts[s]))]
    (RESULTS / "scale.md").write_text("\n".join([*page, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
