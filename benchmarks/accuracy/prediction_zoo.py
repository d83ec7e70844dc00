"""Predicted against measured size of every weighted output and every sum, forward and backward, over the zoo.

Each architecture is built at its default initialization and checked once in training mode on the zoo's batch, with a
random cotangent. Predictions are compared with the measurements beside which a report shows them. The error of an
operation is |log2(predicted rms / measured rms)|; "far" are predictions more than five standard errors away.

    OMP_NUM_THREADS=1 python -m benchmarks.accuracy.prediction_zoo --out FILE.md
"""

from __future__ import annotations

import argparse
import logging
import math
import warnings
from pathlib import Path

import numpy as np
import torch

import fanin
from benchmarks.common import header, in_words
from zoo import zoo

HEAD = (
    "| model | operations | forward: with | median | p90 | far | backward: with | median | p90 | far |\n"
    "| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |"
)


def errors(pairs):
    """Errors and distances in standard errors of (prediction, measured rms)."""
    known = [(p, rms) for p, rms in pairs if p is not None]
    return [abs(math.log2(p.rms / rms)) for p, rms in known], [abs(p.z) for p, _ in known]


def compare(build, seed):
    """Number of operations, errors forward and backward."""
    torch.manual_seed(seed)
    model, inputs = build()
    model.train()
    report = fanin.check(model, inputs, predict=True)
    sites = [s for s in report.measurements.sites if s.kind in ("weight", "merge")]
    forward = errors([(s.predicted, s.forward.rms) for s in sites])
    backward = errors([(s.predicted_backward, s.backward.rms) for s in sites if s.backward and s.backward.rms > 0])
    return len(sites), forward, backward


def cells(found):
    """Number of predictions, median and 90th percentile of the error, share beyond five standard errors."""
    error, z = found
    if not error:
        return ["0", "-", "-", "-"]
    far = np.mean(np.array(z) > 5)
    return [str(len(error)), f"{np.median(error):.3f}", f"{np.quantile(error, 0.9):.3f}", f"{far:.0%}"]


def main():
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="names of the zoo; all by default")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    rows, medians = [], {"forward": [], "backward": []}
    for name, build in zoo().items():
        if args.models and name not in args.models:
            continue
        num, forward, backward = compare(build, args.seed)
        for way, found in (("forward", forward), ("backward", backward)):
            medians[way].append(float(np.median(found[0])) if found[0] else math.inf)
        rows.append(f"| {' | '.join([name, str(num), *cells(forward), *cells(backward)])} |")
        print(rows[-1], flush=True)
    lines = [
        f"Median error {way}: {np.median(m):.3f} over the models; at most 0.15 in {sum(e <= 0.15 for e in m)}, at most "
        f"0.5 in {sum(e <= 0.5 for e in m)} of {len(m)}."
        for way, m in medians.items()
    ]
    text = "\n".join(
        [
            f"# Predicted beside measured\n\n{__doc__.strip()}\n",
            f"{in_words(header())} Seed {args.seed}.",
            "",
            *(f"- {x}" for x in lines),
            "",
            HEAD,
            *rows,
            "",
        ]
    )
    print("\n".join(lines))
    if args.out:
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
