"""How fast, and in how much memory, weights are drawn: fanin beside torch.nn.init, JAX, Keras, NumPy and a plain fill_.

Contenders run interleaved in one process, and medians are compared: on a machine that others use too, ratios of
interleaved medians hold where absolute times do not. The CPU time of the process is given as well, which other
processes disturb less.

    python -m benchmarks.speed.fill                 # everything; about ten minutes
    python -m benchmarks.speed.fill --quick         # every suite on small sizes; about a minute
    python -m benchmarks.speed.fill elementwise --rounds 9
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("KERAS_BACKEND", "torch")

# The libraries read those variables when they are imported.
import numpy as np  # noqa: E402
import torch  # noqa: E402

import fanin  # noqa: E402
from benchmarks.common import RESULTS, header, in_words, program_process  # noqa: E402
from fanin.initializers import Orthogonal, Sparse, sparse_torch  # noqa: E402
from fanin.streams import Draw  # noqa: E402
from fanin.tensors.fill import fill_  # noqa: E402

KEY = fanin.key(0, "layers.0.weight")
STD = 0.02
DRAWS = {
    "uniform": Draw(kind="uniform", width=STD),
    "normal": Draw(kind="normal", width=STD),
    "truncated (2 sigma)": Draw(kind="truncated_normal", width=STD, lower=-2.0, upper=2.0),
}
SIZES = {"1M": (1 << 20,), "16M": (1 << 24,), "64M": (1 << 26,), "4096 x 4096": (4096, 4096)}
Run = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Seconds of one contender: wall clock and CPU time of the process, median and best."""

    wall: float
    wall_best: float
    cpu: float
    rounds: int


def interleaved(runs: dict[str, Run], rounds: int) -> dict[str, Timing]:
    """Every contender once in each round, after one round that is not counted."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            if turn:
                seconds[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {
        name: Timing(
            statistics.median(w for w, _ in s), min(w for w, _ in s), statistics.median(c for _, c in s), rounds
        )
        for name, s in seconds.items()
    }


# ---------------------------------------------------------------------- contenders
def torch_init(law: str, w: torch.Tensor) -> Run:
    init = torch.nn.init
    return {
        "uniform": lambda: init.uniform_(w, -STD, STD),
        "normal": lambda: init.normal_(w, std=STD),
        "truncated (2 sigma)": lambda: init.trunc_normal_(w, std=STD, a=-2 * STD, b=2 * STD),
    }[law]


def numpy_fill(law: str, w: torch.Tensor) -> Run | None:
    if w.dtype != torch.float32 or law.startswith("truncated"):
        return None
    rng, out = np.random.Generator(np.random.SFC64(0)), w.numpy()
    if law == "uniform":
        return lambda: rng.random(out=out, dtype=np.float32)
    return lambda: rng.standard_normal(out=out, dtype=np.float32)


def jax_init(law: str, w: torch.Tensor) -> Run | None:
    try:
        import jax
    except ImportError:
        return None
    make = {
        "uniform": jax.nn.initializers.uniform(STD),
        "normal": jax.nn.initializers.normal(STD),
        "truncated (2 sigma)": jax.nn.initializers.truncated_normal(STD),
    }[law]
    dtype, rng = str(w.dtype).removeprefix("torch."), jax.random.key(0)
    drawn = jax.jit(lambda k: make(k, tuple(w.shape), dtype))
    return lambda: drawn(rng).block_until_ready()


def keras_init(law: str, w: torch.Tensor) -> Run | None:
    try:
        import keras
    except ImportError:
        return None
    make = {
        "uniform": keras.initializers.RandomUniform(-STD, STD, seed=0),
        "normal": keras.initializers.RandomNormal(stddev=STD, seed=0),
        "truncated (2 sigma)": keras.initializers.TruncatedNormal(stddev=STD, seed=0),
    }[law]
    dtype = str(w.dtype).removeprefix("torch.")
    return lambda: make(tuple(w.shape), dtype=dtype)


def contenders(law: str, w: torch.Tensor, threads: int, others: bool) -> dict[str, Run]:
    found: dict[str, Run | None] = {
        "fanin": lambda: fill_(w, DRAWS[law], key=KEY, threads=threads),
        "torch.nn.init": torch_init(law, w),
        "fill_": lambda: w.fill_(1.0),
    }
    if others:
        found |= {"numpy": numpy_fill(law, w), "jax (jit)": jax_init(law, w), "keras (torch)": keras_init(law, w)}
    return {name: run for name, run in found.items() if run is not None}


# ---------------------------------------------------------------------- suites
def rows(case: dict[str, Any], elements: int, found: dict[str, Timing]) -> dict[str, Any]:
    ours = found["fanin"]
    return {
        **case,
        "elements": elements,
        "rounds": ours.rounds,
        "melem_per_s": {n: round(elements / t.wall / 1e6, 1) for n, t in found.items()},
        "fanin_is_faster_by": {n: round(t.wall / ours.wall, 2) for n, t in found.items() if n != "fanin"},
        "fanin_is_faster_by_best": {
            n: round(t.wall_best / ours.wall_best, 2) for n, t in found.items() if n != "fanin"
        },
        "fanin_is_faster_by_cpu": {n: round(t.cpu / ours.cpu, 2) for n, t in found.items() if n != "fanin"},
    }


def elementwise(rounds: int, quick: bool) -> Iterator[dict[str, Any]]:
    """Uniform, normal and truncated normal, at every size, dtype and thread count."""
    for size, shape in list(SIZES.items())[: 1 if quick else None]:
        for dtype in (torch.float32, torch.bfloat16):
            w = torch.empty(shape, dtype=dtype)
            for law in DRAWS:
                for threads in (1, 2):
                    slow = law.startswith("truncated") and math.prod(shape) > 1 << 22
                    if slow and threads == 2:
                        continue
                    torch.set_num_threads(threads)
                    turns = max(1, rounds // 4) if slow else rounds
                    runs = contenders(law, w, threads, others=size == "4096 x 4096" and threads == 1)
                    case = {"law": law, "size": size, "dtype": str(w.dtype)[6:], "threads": threads}
                    yield rows(case, w.numel(), interleaved(runs, turns))
    torch.set_num_threads(1)


def threads(rounds: int, quick: bool) -> Iterator[dict[str, Any]]:
    """One thread against two, fanin alone, in memory that was written before."""
    size = "1M" if quick else "64M"
    for dtype in (torch.float32, torch.bfloat16):
        w = torch.empty(SIZES[size], dtype=dtype).fill_(0)
        for law in ("uniform", "normal"):
            one, two = (lambda n=n, law=law, w=w: fill_(w, DRAWS[law], key=KEY, threads=n) for n in (1, 2))
            found = interleaved({"fanin": two, "one thread": one}, rounds)
            yield rows({"law": law, "size": size, "dtype": str(dtype)[6:], "threads": 2}, w.numel(), found)


def structured(rounds: int, quick: bool) -> Iterator[dict[str, Any]]:
    """Orthogonal and sparse matrices."""
    torch.set_num_threads(1)
    for shape in ((1024, 1024), (2048, 2048), (4096, 1024), (4096, 4096))[: 1 if quick else None]:
        w = torch.empty(shape)
        runs: dict[str, Run] = {
            "fanin": lambda w=w: fill_(w, Orthogonal(), key=KEY),
            "torch.nn.init": lambda w=w: torch.nn.init.orthogonal_(w),
        }
        turns = max(2, rounds // 3) if shape == (4096, 4096) else rounds
        yield rows(
            {"law": "orthogonal", "size": f"{shape[0]} x {shape[1]}", "dtype": "float32", "threads": 1},
            w.numel(),
            interleaved(runs, turns),
        )
    for n in (1024,) if quick else (1024, 4096):
        w = torch.empty(n, n)
        for law, name in (
            (Sparse(kept=0.1, std=STD), "sparse, per unit"),
            (sparse_torch(sparsity=0.9), "sparse, per input"),
        ):
            runs = {
                "fanin": lambda law=law, w=w: fill_(w, law, key=KEY),
                "torch.nn.init": lambda w=w: torch.nn.init.sparse_(w, 0.9),
                "fill_": lambda w=w: w.fill_(1.0),
            }
            yield rows(
                {"law": name, "size": f"{n} x {n}", "dtype": "float32", "threads": 1},
                w.numel(),
                interleaved(runs, rounds),
            )


def llama_shapes() -> list[tuple[int, ...]]:
    """1.46 billion parameters: 16 blocks of width 2048, 118,784 tokens, embedding and head not tied."""
    d, kv, ff, tokens = 2048, 512, 8192, 118_784
    block = [(d, d), (kv, d), (kv, d), (d, d), (ff, d), (ff, d), (d, ff)]
    return [(tokens, d), *(shape for _ in range(16) for shape in block), (tokens, d)]


def model(rounds: int, quick: bool) -> Iterator[dict[str, Any]]:
    """A whole model in bfloat16, memory allocated tensor by tensor (page faults included), one and two threads."""
    shapes = llama_shapes()[1:8] if quick else llama_shapes()
    elements = sum(math.prod(s) for s in shapes)

    def build(write: Callable[[torch.Tensor, int], object]) -> Run:
        def run() -> None:
            kept = []
            for n, shape in enumerate(shapes):
                kept.append(torch.empty(shape, dtype=torch.bfloat16))
                write(kept[-1], n)

        return run

    keys = [fanin.key(0, f"weight.{n}") for n in range(len(shapes))]
    normal = DRAWS["normal"]
    runs = {
        "fanin": build(lambda w, n: fill_(w, normal, key=keys[n], threads=1)),
        "fanin, two threads": build(lambda w, n: fill_(w, normal, key=keys[n], threads=2)),
        "torch.nn.init": build(lambda w, n: torch.nn.init.normal_(w, std=STD)),
        "fill_": build(lambda w, n: w.fill_(1.0)),
    }
    found = interleaved(runs, max(1, rounds // 3))
    case = {"law": "normal", "size": "Llama-shaped model", "dtype": "bfloat16", "threads": 1}
    yield {**rows(case, elements, found), "seconds": {n: round(t.wall, 2) for n, t in found.items()}}


MEMORY_RUNS = {
    "fanin normal, 1 thread": "fill_(w, DRAWS['normal'], key=KEY, threads=1)",
    "fanin truncated, 2 threads": "fill_(w, DRAWS['truncated (2 sigma)'], key=KEY, threads=2)",
    "fanin normal, turned": "fill_(w.t(), DRAWS['normal'], key=KEY, threads=2)",
    "fanin orthogonal": "fill_(v, Orthogonal(), key=KEY)",
    "fanin sparse": "fill_(v, Sparse(kept=0.1), key=KEY)",
    "torch normal_": "torch.nn.init.normal_(w, std=STD)",
    "torch trunc_normal_ (2 sigma)": "torch.nn.init.trunc_normal_(w, std=STD, a=-2 * STD, b=2 * STD)",
    "torch orthogonal_": "torch.nn.init.orthogonal_(v)",
}
MEMORY_PROGRAM = """
from benchmarks.speed.fill import DRAWS, KEY, STD, Orthogonal, Sparse, fill_, torch
def peak():  # not ru_maxrss, which a process begins with its parent's of
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
w, v = torch.empty({side}, {side}, dtype=torch.{dtype}).fill_(0), torch.empty({side} // 2, {side} // 2).fill_(0)
fill_(torch.empty(1 << 19, dtype=w.dtype), DRAWS["normal"], key=KEY, threads=2)
fill_(torch.empty(64, 64), Orthogonal(), key=KEY), fill_(torch.empty(600, 600), Sparse(kept=0.1), key=KEY)
torch.nn.init.orthogonal_(torch.empty(64, 64))
before = peak()
{run}
print(peak() - before)
"""


def memory(rounds: int, quick: bool) -> Iterator[dict[str, Any]]:
    """Growth of the resident set while 8192 x 8192 (structured laws: 4096 x 4096) is written, in a fresh process."""
    side = 2048 if quick else 8192
    for dtype in ("float32", "bfloat16"):
        for name, run in MEMORY_RUNS.items():
            if dtype == "bfloat16" and ("orthogonal" in name or "sparse" in name):
                continue
            program = MEMORY_PROGRAM.format(side=side, dtype=dtype, run=run)
            yield {"run": name, "dtype": dtype, "extra_mib": round(int(program_process(program)) / 1024, 1)}


FIRST_PROGRAM = """
import time
t0 = time.perf_counter()
import torch
t1 = time.perf_counter()
import fanin
from fanin.tensors.fill import fill_
from fanin.streams import Draw
fill_(torch.empty(1 << 20, dtype=torch.{dtype}), Draw(kind="normal", width=0.02), key=fanin.key(0, "w"))
print(t1 - t0, time.perf_counter() - t1)
"""


def first(rounds: int, quick: bool) -> Iterator[dict[str, Any]]:
    """Import and first fill of a million numbers in a fresh process, the compiled kernels in the cache."""
    for dtype in ("float32", "bfloat16"):
        program = FIRST_PROGRAM.format(dtype=dtype)
        answers = [program_process(program).split() for _ in range(max(3, rounds // 2))]
        ran = [[float(x) for x in answer] for answer in answers]
        torch_s, ours_s = (statistics.median(r[k] for r in ran) for k in (0, 1))
        yield {"dtype": dtype, "import_torch_s": round(torch_s, 2), "fanin_import_and_first_fill_s": round(ours_s, 2)}


SUITES = {f.__name__: f for f in (elementwise, threads, structured, model, memory, first)}


# ---------------------------------------------------------------------- report
def markdown(found: dict[str, dict[str, Any]]) -> str:
    """The tables that people read."""
    lines = ["# Filling weights", "", "x: how many times faster fanin is, from interleaved medians of wall time "
             "(in brackets: of CPU time).", ""]  # fmt: skip
    for suite, part in found.items():
        lines += [f"## {suite}", "", " ".join((SUITES[suite].__doc__ or "").split()), ""]
        lines += table(part["rows"])
        lines += [in_words(part["about"]), ""]
    return "\n".join(lines)


def table(entries: list[dict[str, Any]]) -> list[str]:
    if not entries or "melem_per_s" not in entries[0]:
        heads = list(entries[0]) if entries else []
        return ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads),
                *("| " + " | ".join(str(e[h]) for h in heads) + " |" for e in entries), ""]  # fmt: skip
    others = list(dict.fromkeys(n for e in entries for n in e["fanin_is_faster_by"]))
    heads = ["law", "size", "dtype", "threads", "fanin Melem/s", *(f"x {n}" for n in others), "seconds"]
    heads = heads if "seconds" in entries[0] else heads[:-1]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for e in entries:
        cells = [e["law"], e["size"], e["dtype"], str(e["threads"]), f"{e['melem_per_s']['fanin']:.0f}"]
        for n in others:
            wall, cpu = e["fanin_is_faster_by"].get(n), e["fanin_is_faster_by_cpu"].get(n)
            cells.append("" if wall is None else f"{wall:.2f} ({cpu:.2f})")
        if "seconds" in e:
            cells.append(", ".join(f"{n}: {s}" for n, s in e["seconds"].items()))
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", choices=[*SUITES, []], help="which; all where none is named")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="small sizes, without JAX and Keras")
    parser.add_argument(
        "--out",
        type=Path,
        default=RESULTS / "fill",
        help="stem of the JSON and Markdown files; suites not run again are kept",
    )
    args = parser.parse_args()
    stem = args.out
    known = stem.with_suffix(".json")
    found = json.loads(known.read_text()) if known.exists() else {}
    for name in args.suites or SUITES:
        about, entries = header(), []
        for entry in SUITES[name](args.rounds, args.quick):
            entries.append(entry)
            print(json.dumps(entry), file=sys.stderr, flush=True)
        found[name] = {
            "about": {**about, "load_after": round(os.getloadavg()[0], 1)},
            "rows": entries,
        }
    found = {name: found[name] for name in SUITES if name in found}
    stem.parent.mkdir(parents=True, exist_ok=True)
    known.write_text(json.dumps(found, indent=1) + "\n")
    stem.with_suffix(".md").write_text(markdown(found) + "\n")


if __name__ == "__main__":
    main()
