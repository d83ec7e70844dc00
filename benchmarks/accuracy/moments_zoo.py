"""Predicted against measured standard deviation of every weight op's output and every residual add, over the zoo.

Each architecture is built at its default initialization, captured (norms as in training, dropout off) and run once on
one batch; the same graph is followed by `fanin.moments.propagate`. The error of an op is
|log2(predicted std / measured std)|.

    python -m benchmarks.accuracy.moments_zoo --seeds 1 2 3 --out benchmarks/results/moments_zoo.json

"live": propagation reads the kernels of the live weights (and may use small known ones as numbers); "laws": it is
told the mean and variance of each parameter and nothing else.

The zoo's float inputs are drawn from seed 0, so the models are built from other seeds: with the same one, the first
weights of a model repeat its inputs number for number.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import time
import warnings
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import header
from fanin.graph.analysis.analyse import analyse
from fanin.graph.recording.capture import capture
from fanin.graph.recording.replay import run_all
from fanin.model.operations import RECURRENT
from fanin.moments import WeightMoments, propagate, read_weights
from zoo import zoo

MEDIAN, TAIL = 0.15, 0.6
WANTED = {"median": 50, "p90": 45}


def weights_of(model, mode):
    """What propagation is told: the kernels of the live weights, or only their mean and variance."""
    live = read_weights(model)
    if mode == "live":
        return live
    return {n: WeightMoments(mean=w.mean, var=w.var) for n, w in live.items()}


def ops_of_interest(graph):
    """Weight ops (recurrent ones included) and residual adds that the outputs depend on."""
    analysis = analyse(graph)
    chosen = set(analysis.contractions) | set(analysis.residuals)
    chosen |= {op.index for op in graph.ops if op.name in RECURRENT}
    return [op for op in graph.live_ops() if op.index in chosen]


def measured(model, graph):
    """Every tensor of one real forward pass over the captured graph."""
    live = dict(model.named_parameters(remove_duplicate=False))
    tensors = {}
    with torch.no_grad():
        run_all(graph, {p.value: live[n].detach() for n, p in graph.parameters.items()}, keep=tensors)
    return tensors


def error(predicted, got):
    """|log2| of the ratio; both as good as zero agree."""
    if predicted is None or not math.isfinite(predicted):
        return math.inf
    if max(predicted, got) < 1e-6:
        return 0.0
    return abs(math.log2(predicted / got)) if min(predicted, got) > 0.0 else math.inf


def compare(name, build, seed, mode):
    """One row of the table, and the worst op."""
    torch.manual_seed(seed)
    model, inputs = build()
    model.eval()
    graph = capture(model, inputs)
    tensors = measured(model, graph)
    weights = weights_of(model, mode)
    start = time.perf_counter()
    moments = propagate(graph, weights)
    seconds = time.perf_counter() - start
    rows = []
    for op in ops_of_interest(graph):
        got = tensors[op.output]
        if got.numel() < 2 or not got.is_floating_point():
            continue
        m = moments[op.output]
        std = None if m.moments is None else m.moments.std
        rows.append((error(std, float(got.double().std(unbiased=False))), op.name, op.module, m.provenance))
    errors = np.array([r[0] for r in rows])
    worst = rows[int(errors.argmax())]
    return {
        "model": name,
        "seed": seed,
        "weights": mode,
        "ops": len(rows),
        "median": round(float(np.median(errors)), 4),
        "p90": round(float(np.quantile(errors, 0.9, method="higher")), 4),
        "worst": f"{worst[1]} in {worst[2] or 'the model'}: {worst[0]:.2f}",
        "empirical": sum(r[3] == "empirical" for r in rows),
        "unknown": sum(r[3] == "unknown" for r in rows),
        "seconds": round(seconds, 2),
    }


def summary(rows):
    """How many of the models meet each target, for each seed and kind of weights."""
    out = {}
    for key in sorted({(r["weights"], r["seed"]) for r in rows}):
        own = [r for r in rows if (r["weights"], r["seed"]) == key]
        out[f"{key[0]}, seed {key[1]}"] = {
            "models": len(own),
            f"median <= {MEDIAN}": sum(r["median"] <= MEDIAN for r in own),
            f"p90 <= {TAIL}": sum(r["p90"] <= TAIL for r in own),
        }
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="names of the zoo; all by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--weights", nargs="+", default=["live", "laws"], choices=["live", "laws"])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    builders = {n: b for n, b in zoo().items() if not args.models or n in args.models}
    rows = []
    for mode in args.weights:
        for seed in args.seeds:
            for name, build in builders.items():
                rows.append(compare(name, build, seed, mode))
                r = rows[-1]
                flag = "" if r["median"] <= MEDIAN and r["p90"] <= TAIL else f"  <- {r['worst']}"
                print(
                    f"{mode} {seed} {name:24s} {r['ops']:4d} ops  median {r['median']:.3f}  p90 {r['p90']:.3f}{flag}",
                    flush=True,
                )
    result = {"wanted": WANTED, "summary": summary(rows), "made_with": header(), "rows": rows}
    print(json.dumps(result["summary"], indent=1))
    if args.out:
        head = {k: v for k, v in result.items() if k != "rows"}
        lines = ",\n  ".join(json.dumps(r) for r in rows)
        args.out.write_text(json.dumps(head, indent=1)[:-2] + ',\n "rows": [\n  ' + lines + "\n ]\n}\n")


if __name__ == "__main__":
    main()
