"""Cost of the trials that `init_` runs, over one check of the same model on the same batch; write the table.

Run from the repository's root: ``OMP_NUM_THREADS=1 python -m benchmarks.speed.trial_cost``. The networks that are in no
zoo, 64 digits each. A trial measures the model as found and as planned; each repair that is tried adds a measurement.
CPU seconds of one thread, the second of two turns of each network, so that no import and no compilation counts.
All garbage is collected before each.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import gc
import statistics
import time
from pathlib import Path
from typing import Any
from unittest import mock

import torch

import fanin
from benchmarks.common import RESULTS, header, in_words
from benchmarks.training.unseen import MODELS, digits
from fanin.errors import FaninError
from fanin.planning import trial as trials

BATCH = 64


def seconds(name: str, x: torch.Tensor, y: torch.Tensor) -> tuple[float, list[float]]:
    """CPU seconds of one check, and of each trial that `init_` runs."""
    torch.manual_seed(0)
    model = MODELS[name]()
    gc.collect()
    begun = time.process_time()
    fanin.check(copy.deepcopy(model), x, targets=y, trial=False)
    check = time.process_time() - begun
    each: list[float] = []
    once = trials.trial

    def timed(*given: Any, **named: Any) -> Any:
        gc.collect()
        start = time.process_time()
        done = once(*given, **named)
        each.append(time.process_time() - start)
        return done

    with mock.patch.object(trials, "trial", timed), contextlib.suppress(FaninError):  # those of a refusal count, too
        fanin.init_(model, x, targets=y, on_unknown="keep")
    return check, each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=list(MODELS))
    parser.add_argument("--out", type=Path, default=RESULTS / "trial_cost.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    x, y = (torch.as_tensor(part[:BATCH]) for part in digits())
    made, rows, ratios = header(), [], []
    for name in options.only or MODELS:
        _, (check, each) = seconds(name, x, y), seconds(name, x, y)
        ratios.append(sum(each) / check)
        rows.append(f"| {name.replace('|', chr(92) + '|')} | {check:.3f} | {len(each)} | x{ratios[-1]:.2f} |")
        print(rows[-1], flush=True)
    words = (
        f"{len(ratios)} networks: median x{statistics.median(ratios):.2f}, most x{max(ratios):.2f}; more than two "
        f"checks on {sum(r > 2.0 for r in ratios)}."
    )
    table = ["| network | check s | trials | all trials |", "|---|---|---|---|", *rows]
    parts = ("# Cost of a trial", f"CPU time, one thread. {in_words(made)}", words, "\n".join(table))
    options.out.write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
