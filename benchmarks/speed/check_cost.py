"""Cost of a check over the bare forward and backward, in time and peak memory; write the table.

Run from the repository's root: ``OMP_NUM_THREADS=1 python -m benchmarks.speed.check_cost``. Times are CPU
seconds of one thread, the least of three in turns, each after a bare step; memory is the peak resident size of a fresh
process over that of one which only builds the model. There malloc returns what is freed (by glibc's variables): as it
is, it keeps some, and processes that do the same differ by 10 %.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import fanin
from benchmarks.common import RESULTS, header, in_words, module_process
from zoo import make_torchvision_importable

BATCH = 32
TURNS = 3  # others on the machine only ever add time


def tiny() -> tuple[nn.Module, torch.Tensor]:
    """A two-layer network: the floor."""
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)), torch.randn(BATCH, 64)


def image(name: str, **options: Any) -> tuple[nn.Module, torch.Tensor]:
    """A timm model and a batch of 224 px images."""
    make_torchvision_importable()  # timm imports it
    import timm

    return timm.create_model(name, num_classes=1000, **options), torch.randn(BATCH, 3, 224, 224)


CASES: dict[str, Any] = {
    "ViT-tiny": lambda: image("vit_tiny_patch16_224"),
    "ResNet-18": lambda: image("resnet18", zero_init_last=False),
    "ResNet-18, zero-init": lambda: image("resnet18", zero_init_last=True),  # which asks for a virtual step
    "MLP 64-128-10": tiny,
}
MODES = ("none", "bare", "check")


def step(mode: str, model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:
    """One forward and backward, or one check."""
    if mode == "bare":
        F.cross_entropy(model(x), y).backward()
        for p in model.parameters():
            p.grad = None
    elif mode in ("check", "measured"):
        fanin.check(model, x, loss=lambda o: F.cross_entropy(o, y), predict=None if mode == "check" else False)


def seconds(case: str) -> dict[str, float]:
    """CPU seconds of a bare step, of a check without predictions and of a check, the least of several, in turns."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model, x = CASES[case]()
    y = torch.randint(0, 10, (BATCH,))
    best = dict.fromkeys(("bare", "measured", "check"), float("inf"))
    for _ in range(TURNS):
        for mode in best:
            step("bare", model, x, y)  # all find the heap as it leaves it: page faults cost up to a second otherwise
            gc.collect()
            start = time.process_time()
            step(mode, model, x, y)
            best[mode] = min(best[mode], time.process_time() - start)
    return best


def peak_mb(case: str, mode: str) -> float:
    """Peak resident megabytes of this process after one step."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model, x = CASES[case]()
    step(mode, model, x, torch.randint(0, 10, (BATCH,)))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


RETURNING = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def fresh(*arguments: str, **environment: str) -> Any:
    """`seconds` or `peak_mb` in a process of its own."""
    printed = module_process("benchmarks.speed.check_cost", "--one", *arguments, **environment)
    return json.loads(printed.splitlines()[-1])


def table(cases: Iterable[str]) -> str:
    """The table in Markdown."""
    rows = [
        "| model | bare s | without predictions | check s | time | bare MB | check MB | memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        took = fresh(case)
        none, bare, check = (fresh(case, mode, **RETURNING) for mode in MODES)
        ratio = {mode: took[mode] / took["bare"] for mode in took}
        memory = (check - none) / max(bare - none, 1e-9)
        rows.append(
            f"| {case} | {took['bare']:.4f} | x{ratio['measured']:.2f} | {took['check']:.4f} | x{ratio['check']:.2f} "
            f"| {bare - none:.0f} | {check - none:.0f} | x{memory:.2f} |"
        )
    return "\n".join(rows)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--case", action="append", choices=list(CASES), help="model to measure; may be repeated")
    parser.add_argument("--out", type=Path, default=RESULTS / "check_cost.md")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps((peak_mb if len(arguments.one) == 2 else seconds)(*arguments.one)))
        return
    head = (
        f"# Cost of a check\n\nBatch {BATCH}, 224 px, one thread, CPU time, least of {TURNS} in turns, each after a "
        "bare step;\nmemory over a process that only builds the model, where malloc returns what is freed.\n"
        f"{in_words(header())}\n\n"
    )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(head + table(arguments.case or CASES) + "\n", encoding="utf-8")
    print(arguments.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
