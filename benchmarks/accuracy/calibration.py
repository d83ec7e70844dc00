"""How far measured values are from predicted ones, in the standard errors that predictions claim for themselves.

Stock models (transformers and timm, `zoo.stock`) and models of other kinds (the plain and odd ones of the zoo) are
checked once at their own initialization and once as `fanin.init_` starts them; plain stacks of independent weights are
drawn eight times each. An honest standard error leaves few values beyond five of them, a median |z| near .67, and a
standard deviation of z near 1.

    OMP_NUM_THREADS=1 PYTHONPATH=src:. python -m benchmarks.accuracy.calibration --out FILE.md
"""

from __future__ import annotations

import argparse
import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

import fanin
from benchmarks.common import header, in_words
from zoo import zoo
from zoo.stock import stock

FAR = 5.0
DRAWS = 8
TARGETS = "Targets: far at most 2 % forward and 3 % backward, median |z| .3 to 1.2, sd of z of plain stacks .7 to 1.4."
HEAD = (
    "| group | start | models | forward: with | far | median z | backward: with | none | far | median z |\n"
    "| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: |"
)


def distances(report):
    """z of every operation that has a prediction, forward and backward; how many gradients have none."""
    sites = [s for s in report.measurements.sites if s.kind != "loss"]
    forward = [s.predicted.z for s in sites if s.predicted]
    backward = [s.predicted_backward.z for s in sites if s.predicted_backward]
    none = sum(s.backward is not None and s.backward.rms > 0 and not s.predicted_backward for s in sites)
    return forward, backward, none


def checked(build, start, seed):
    """Distances of one model."""
    torch.manual_seed(seed)
    model, inputs = build()
    model.train()
    if start == "auto":
        fanin.init_(model, inputs, on_unknown="keep")
    return distances(fanin.check(model, inputs, predict=True))


def plain(width, depth, act):
    """A stack whose weights are independent Gaussians of the activation's gain."""
    layers = []
    for _ in range(depth):
        layer = nn.Linear(width, width)
        nn.init.normal_(layer.weight, std=fanin.gain(act) / width**0.5)
        nn.init.zeros_(layer.bias)
        layers += [layer, {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}[act]()]
    return nn.Sequential(*layers), {"input": torch.randn(32, width)}


def groups():
    """Builders by group, stock first."""
    others = {n: b for n, b in zoo().items() if not n.startswith(("hf_", "timm_"))}
    ours = {n: b for n, b in zoo().items() if n not in others}
    return {"stock": {**stock(), **ours}, "unseen": others}


def row(group, start, found):
    """One line of the table; `found` holds the distances of each model."""
    forward = np.abs(np.concatenate([np.array(f) for f, _, _ in found]))
    backward = np.abs(np.concatenate([np.array(b) for _, b, _ in found]))
    cells = [group, start, str(len(found)), str(forward.size), f"{(forward > FAR).mean():.1%}"]
    cells += [f"{np.median(forward):.2f}", str(backward.size), str(sum(n for _, _, n in found))]
    return f"| {' | '.join([*cells, f'{(backward > FAR).mean():.1%}', f'{np.median(backward):.2f}'])} |"


def stacks():
    """Lines on plain stacks: standard deviation of z over draws and layers."""
    lines = []
    for act in ("relu", "tanh", "gelu"):
        found = [checked(lambda act=act: plain(64, 8, act), "own", seed) for seed in range(DRAWS)]
        forward, backward = ([z for f in found for z in f[way]] for way in (0, 1))
        lines.append(f"- {act}, 8 layers of 64, {DRAWS} draws: {np.std(forward):.2f} and {np.std(backward):.2f}")
    return lines


def main():
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="names of models; all by default")
    parser.add_argument("--start", action="append", choices=["own", "auto"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    rows, far, left_out = [], [], []
    for start in args.start or ["own", "auto"]:
        for group, builders in groups().items():
            found = []
            for name, build in builders.items():
                if args.models and name not in args.models:
                    continue
                try:
                    found.append(checked(build, start, args.seed))
                except Exception as error:  # a model that this machine cannot build or run is listed
                    left_out.append(f"- {name}, {start}: {type(error).__name__}")
                    continue
                forward, backward, _ = found[-1]
                shares = [np.mean(np.abs(z) > FAR) if z else 0.0 for z in (forward, backward)]
                print(name, start, *(f"{s:.0%}" for s in shares), flush=True)
                if max(shares) > 0.05:
                    far.append(f"- {name}, {start}: {shares[0]:.0%} forward, {shares[1]:.0%} backward")
            if found:
                rows.append(row(group, start, found))
                print(rows[-1], flush=True)
    made = f"{in_words(header())} Seed {args.seed}."
    parts = [f"# Calibration of predictions\n\n{__doc__.strip()}\n", made, "", TARGETS, "", HEAD, *rows, ""]
    parts += ["Standard deviation of z on plain stacks, forward and backward:", "", *stacks(), ""]
    parts += ["Models with more than 5 % of their operations far off:", "", *(far or ["- none"]), ""]
    parts += ["Left out:", "", *(left_out or ["- none"]), ""]
    text = "\n".join(parts)
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
