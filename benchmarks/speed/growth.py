"""Growth of the main verbs with the number of layers: `python -m benchmarks.speed.growth [KIND ...]`.

Capture, plan (recipe auto), check and apply of five kinds of network, 100 to 5,000 layers. Each model has a process of
its own. CPU seconds are those of one call, after the verb has run once on a small model; memory is the peak of the
process during the call, above what it held before. A slope is that of a straight line through the logarithms, over all
sizes; 1 is work in proportion to operations.

The operations of dense concatenation grow themselves: layer i reads i times as many numbers. So what a bare step
(forward and backward) costs stands beside, and for this kind the slope to look at is that of the ratio to it.

Measured rows are kept in benchmarks/results/growth.json as they come, so a run that was cut goes on; results/growth.md
and growth.svg are drawn from it (`--draw` draws alone, `--again` measures again).
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import nn

import fanin
from benchmarks.common import RESULTS, ROOT, header, in_words

__all__ = ["main"]

WIDTH, ROWS, GROWTH = 8, 16, 2
SIZES = (100, 300, 1000, 2500, 5000)
VERBS = ("capture", "plan", "check", "apply")
KEPT, PAGE, PLOT = RESULTS / "growth.json", RESULTS / "growth.md", RESULTS / "growth.svg"


class Residual(nn.Module):
    """x + relu(W x), `count` times."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(count)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The stream after the last block."""
        for layer in self.layers:
            x = x + torch.relu(layer(x))
        return x


class Dense(nn.Module):
    """Every layer reads the outputs of all layers before it, side by side, and adds a few numbers."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(WIDTH + GROWTH * i, GROWTH) for i in range(count)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The last layer's output."""
        for layer in self.layers:
            last = torch.relu(layer(x))
            x = torch.cat([x, last], -1)
        return last


class WideSum(nn.Module):
    """A sum of `count` maps of one input, term by term."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(count)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The sum."""
        return sum((torch.relu(layer(x)) for layer in self.layers), torch.zeros_like(x))


class Shared(nn.Module):
    """One map, used `count` times."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count, self.layer = count, nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The state after the last use."""
        for _ in range(self.count):
            x = torch.tanh(self.layer(x))
        return x


class Experts(nn.Module):
    """Blocks of four experts and the router that weighs them; a fifth as many blocks as maps."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.routers = nn.ModuleList([nn.Linear(WIDTH, 4) for _ in range(count // 5)])
        self.experts = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(count // 5 * 4)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The stream after the last block."""
        for n, router in enumerate(self.routers):
            weights = torch.softmax(router(x), -1)
            for i, expert in enumerate(self.experts[4 * n : 4 * n + 4]):
                x = x + weights[:, i : i + 1] * expert(x)
        return x


KINDS: dict[str, Callable[[int], nn.Module]] = {
    "residual": Residual,
    "dense concatenation": Dense,
    "wide sum": WideSum,
    "one weight shared": Shared,
    "mixture of experts": Experts,
}


# ---------------------------------------------------------------------- one model, in a process of its own
def runs_of(model: nn.Module, x: torch.Tensor) -> dict[str, Callable[[], object]]:
    """What is measured."""
    from fanin.graph.recording.capture import capture

    plan = fanin.plan(model, recipe="torch", on_unknown="keep")
    return {
        "step": lambda: model(x).square().mean().backward(),
        "capture": lambda: capture(model, x),
        "plan": lambda: fanin.plan(model, x, on_unknown="keep"),
        "check": lambda: fanin.check(model, x, trial=False),
        "apply": lambda: plan.apply_(model),
    }


def measure(kind: str, count: int) -> dict[str, Any]:
    """CPU seconds and MiB of each verb on one model."""
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    x = torch.randn(ROWS, WIDTH)
    for run in runs_of(KINDS[kind](10), x).values():
        run()
    model = KINDS[kind](count)
    found: dict[str, Any] = {"kind": kind, "layers": count, "operations": operations(model, x)}
    for name, run in runs_of(model, x).items():
        model.zero_grad(set_to_none=True)
        gc.collect()
        before, started = _reset(), time.process_time()
        made = run()
        found[name] = {"cpu": time.process_time() - started, "mib": _status("VmHWM") - before}
        del made
    return found


def operations(model: nn.Module, x: torch.Tensor) -> int:
    """Operations of the captured graph."""
    from fanin.graph.recording.capture import capture

    return len(capture(model, x).ops)


def _reset() -> float:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _status("VmRSS")


def _status(name: str) -> float:
    line = next(x for x in Path("/proc/self/status").read_text(encoding="ascii").splitlines() if x.startswith(name))
    return int(line.split()[1]) / 1024


# ---------------------------------------------------------------------- all of them
def rows() -> list[dict[str, Any]]:
    """What was measured so far."""
    return json.loads(KEPT.read_text(encoding="utf-8"))["rows"] if KEPT.exists() else []


def run(kinds: list[str], most: int, again: bool) -> None:
    """Measure what is missing, a row at a time, the small models first."""
    for count in (n for n in SIZES if n <= most):
        for kind in kinds:
            there = [r for r in rows() if (r["kind"], r["layers"]) != (kind, count)]
            if len(there) < len(rows()) and not again:
                continue
            words = [sys.executable, "-m", "benchmarks.speed.growth", "--one", kind, str(count)]
            said = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT).stdout
            kept = {"made": header(), "rows": [*there, json.loads(said.splitlines()[-1])]}
            KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
            print(said.splitlines()[-1], flush=True)


def slope(points: list[tuple[float, float]]) -> float:
    """Of a straight line through the logarithms, by least squares.

    Example:
        >>> round(slope([(1, 2), (10, 200), (100, 20000)]), 6)
        2.0
    """
    xs, ys = ([math.log(max(p[n], 1e-9)) for p in points] for n in (0, 1))
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread


def page() -> str:
    """The tables."""
    lines = ["# Growth with the number of layers", "", "![CPU seconds by operations](growth.svg)", ""]
    for what, unit in (("cpu", "CPU seconds"), ("mib", "extra peak memory, MiB")):
        lines += [f"## {unit}", "", "| kind | verb | " + " | ".join(f"{n:,}" for n in SIZES) + " | slope |"]
        lines += ["| --- | --- |" + " --- |" * (len(SIZES) + 1)]
        for kind in KINDS:
            held = {r["layers"]: r for r in rows() if r["kind"] == kind}
            lines += [table_row(kind, verb, what, held) for verb in ("step", *VERBS) if held]
        lines.append("")
    made = json.loads(KEPT.read_text(encoding="utf-8"))["made"]
    words = (
        "Slopes are against operations of the graph; of memory over the sizes that take more than 16 MiB. An empty "
        "cell was not measured. In dense concatenation each of n layers reads the outputs of all before it: n^2 / 2 "
        "pairs, and a bare step grows with a slope above 1 itself, as do the parameters that `apply` fills and the "
        "data that a check measures. A check of more than 2,000 operations makes no predictions unless it is asked "
        "to, so its slope over all sizes is too small; see the sizes from 1,000 layers on. A plan follows a value to "
        "at most 64 readers. A process first uses again what it has freed, some 15 MiB here, so memory of small models "
        "reads low."
    )
    return "\n".join([*lines, words, "", in_words(made), ""])


def table_row(kind: str, verb: str, what: str, held: dict[int, dict[str, Any]]) -> str:
    """One verb of one kind, over all sizes."""
    points = [(r["operations"], r[verb][what]) for _, r in sorted(held.items()) if what == "cpu" or r[verb][what] > 16]
    shown = [f"{held[n][verb][what]:.2f}" if n in held else "" for n in SIZES]
    fitted = f"{slope(points):.2f}" if len(points) > 2 else ""
    return f"| {kind} | {verb} | " + " | ".join(shown) + f" | {fitted} |"


def plot() -> None:
    """One panel a verb: CPU seconds by operations, both logarithmic, beside a line of slope 1."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "growth"
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(VERBS), figsize=(14, 3.6), sharey=True)
    for verb, panel in zip(VERBS, panels, strict=True):
        for kind in KINDS:
            points = sorted((r["operations"], r[verb]["cpu"]) for r in rows() if r["kind"] == kind)
            panel.loglog(*zip(*points, strict=True), marker="o", markersize=3, label=kind) if points else None
        panel.loglog([300, 30000], [0.1, 10], color="grey", linestyle=":", label="slope 1")
        panel.set(title=verb, xlabel="operations")
    panels[0].set_ylabel("CPU seconds")
    panels[-1].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(PLOT, metadata={"Date": None})


def main() -> None:
    """Measure what is missing, then draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join(KINDS)}; all where none is named")
    parser.add_argument("--most", type=int, default=SIZES[-1], help="layers at most (default %(default)s)")
    parser.add_argument("--draw", action="store_true", help="measure nothing")
    parser.add_argument("--again", action="store_true", help="measure again what was measured")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one[0], int(given.one[1]))))
        return
    if unknown := set(given.kinds) - set(KINDS):
        parser.error(f"no kind {min(unknown)!r}; there are {', '.join(KINDS)}")
    if not given.draw:
        run(given.kinds or list(KINDS), given.most, given.again)
    PAGE.write_text(page(), encoding="utf-8")
    plot()


if __name__ == "__main__":
    main()
