"""Cost of a calibration over one bare forward pass, in time and peak memory; write the table.

Run from the repository's root: ``OMP_NUM_THREADS=1 python -m benchmarks.speed.calibrate_cost``. A network of 20 maps
of 512 and ReLUs. Times are CPU seconds of one thread, the least of several in turns: forward passes with their
measurements, the reading of the graph and all that is kept to be put back. Memory is the peak resident size of a fresh
process over that of one which only builds the model and the batch; every process has calibrated a small model before,
so that no import counts. There malloc returns what is freed.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import resource
import time
from typing import Any

import torch
from torch import nn

import fanin
from benchmarks.common import RESULTS, header, in_words, module_process

TURNS = 9
WIDTH, DEPTH = 512, 20
BATCHES = (256, 512, 1024, 2048, 4096)
MODES = ("none", "bare", "dry", "calibrate")
RETURNING = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def net() -> nn.Sequential:
    """The network."""
    torch.manual_seed(0)
    return nn.Sequential(*(part for _ in range(DEPTH) for part in (nn.Linear(WIDTH, WIDTH), nn.ReLU())))


def step(mode: str, model: nn.Module, x: torch.Tensor, plan: Any) -> None:
    """One bare forward pass, a calibration of a planned start, a dry run of torch's default, or a whole calibration."""
    if mode == "bare":
        with torch.no_grad():
            model(x)
    elif mode != "none":
        fanin.calibrate(model, x, plan, dry_run=mode == "dry")


def seconds(batch: int) -> dict[str, float]:
    """CPU seconds of each, the least of several."""
    torch.set_num_threads(1)
    model, x = net(), torch.randn(batch, WIDTH)
    plan = fanin.plan(model, x)
    planned = copy.deepcopy(model)
    plan.apply_(planned)
    best = dict.fromkeys(("bare", "planned", "dry", "calibrate"), float("inf"))
    for _ in range(TURNS):
        for mode in best:
            own = copy.deepcopy(planned if mode == "planned" else model)
            gc.collect()
            begun = time.process_time()
            step(mode, own, x, plan)
            best[mode] = min(best[mode], time.process_time() - begun)
    return best


def peak_mb(batch: int, mode: str) -> float:
    """Peak resident megabytes of this process."""
    torch.set_num_threads(1)
    fanin.calibrate(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU()), torch.randn(16, WIDTH))
    model, x = net(), torch.randn(batch, WIDTH)
    plan = fanin.plan(model, x[:8])
    step(mode, model, x, plan)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def fresh(*arguments: str, **environment: str) -> Any:
    """`seconds` or `peak_mb` in a process of its own."""
    printed = module_process("benchmarks.speed.calibrate_cost", "--one", *arguments, **environment)
    return json.loads(printed.splitlines()[-1])


def table() -> str:
    """The table in Markdown."""
    rows = [
        "| batch | bare s | planned start | one pass | whole | bare MB | one pass MB | whole MB | asked MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for batch in BATCHES:
        took = fresh(str(batch))
        none, *peaks = (fresh(str(batch), mode, **RETURNING) for mode in MODES)
        memory = " | ".join(f"{p - none:.1f}" for p in peaks)
        asked = peaks[0] - none + (2 * batch + WIDTH) * WIDTH * 4 / 2**20
        ratio = {mode: took[mode] / took["bare"] for mode in took}
        rows.append(
            f"| {batch} | {took['bare']:.4f} | x{ratio['planned']:.2f} "
            f"| x{ratio['dry']:.2f} | x{ratio['calibrate']:.2f} | {memory} | {asked:.1f} |"
        )
    return "\n".join(rows)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        batch, *mode = arguments.one
        print(json.dumps(peak_mb(int(batch), *mode) if mode else seconds(int(batch))))
        return
    head = (
        f"# Cost of a calibration\n\n{DEPTH} maps of {WIDTH} and ReLUs, one thread, CPU time, least of {TURNS}. Of a "
        "planned start nothing is corrected, and one pass is\nall; of torch's default one pass is a dry run, and the "
        "whole is two passes, the writes of all weights "
        f"({DEPTH * WIDTH * WIDTH * 4 / 2**20:.0f} MB) and what is kept until they are done. Asked: x3; the bare pass, "
        f"two outputs and the largest weight.\n{in_words(header())}\n\n"
    )
    out = RESULTS / "calibrate_cost.md"
    out.write_text(head + table() + "\n", encoding="utf-8")
    print(out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
