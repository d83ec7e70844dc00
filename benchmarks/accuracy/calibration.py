"""How far measured values are from predicted ones, in the standard errors that predictions claim for themselves.

Stock models (transformers, timm and torchvision), models of other kinds (the plain and odd ones of the zoo, and those
written for verdicts) and models that meet a weight again (`zoo.again`) are checked once at their own initialization and
once as `fanin.init_` starts them; plain stacks of independent weights are drawn eight times each. An honest standard
error leaves few values beyond five of them, a median |z| near .67, and a standard deviation of z near 1.

The output of a norm has its size by definition, unless eps has a part in it, and the gradient of what the loss reads is
given to theory as it was measured: there measured and expected differ by rounding, whatever error is claimed. Both are
counted among those that may be far off, and left out of the medians, which ask whether errors are claimed too large.
The medians over all outputs and gradients stand beside them.

    OMP_NUM_THREADS=1 PYTHONPATH=src:. python -m benchmarks.accuracy.calibration --out FILE.md

With `--keep FILE.jsonl` each model's distances are written down as they are found, and not measured again: a run goes
on after a kill, and files of several runs can be joined.
"""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

import fanin
from benchmarks.common import header, in_words
from zoo import zoo
from zoo.again import again
from zoo.health.healthy_held_out import HEALTHY_HELD_OUT
from zoo.odd_models import ODD
from zoo.stock import stock

FAR = 5.0
DRAWS = 8
TARGETS = "Targets: far at most 2 % forward and 3 % backward, median |z| .3 to 1.2, sd of z of plain stacks .7 to 1.4."
BY_DEFINITION = 1.1e-3  # standard error of a norm's output up to which its size is its definition
HEAD = (
    "| group | start | models | forward: with | far | median z | of all outputs "
    "| backward: with | none | far | median z | of all gradients |\n"
    "| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |"
)


@dataclass(frozen=True)
class Distances:
    """z of every operation that has a prediction, and how many gradients have none.

    Attributes:
        forward: z of each output, and whether its size is a norm's by definition.
        backward: z of each gradient, and whether theory was given it.
        none: gradients without a prediction.
    """

    forward: list[tuple[float, bool]]
    backward: list[tuple[float, bool]]
    none: int


def distances(report):
    """Distances of one check."""
    sites = [s for s in report.measurements.sites if s.kind != "loss"]
    lost = [s for s in sites if s.backward is not None and s.backward.rms > 0 and not s.predicted_backward]
    read = {index for s in sites for index in s.inputs}
    return Distances(
        forward=[(s.predicted.z, is_by_definition(s)) for s in sites if s.predicted],
        backward=[(s.predicted_backward.z, s.index not in read) for s in sites if s.predicted_backward],
        none=len(lost),
    )


def is_by_definition(site):
    """Whether a norm, with no part of eps in it, gave a size that is none of theory's."""
    return site.kind == "norm" and site.predicted.log_rms_std <= BY_DEFINITION


def checked(build, start, seed):
    """Distances of one model; builders give (model, inputs), some of them a loss of the output too."""
    torch.manual_seed(seed)
    model, inputs, *rest = build()
    model.train()
    loss = rest[0] if rest and callable(rest[0]) else None
    if start == "auto":
        fanin.init_(model, inputs, on_unknown="keep")
    return distances(fanin.check(model, inputs, None, loss, predict=True))


def kept(path):
    """Distances that an earlier run wrote down, by model and start."""
    lines = path.read_text(encoding="utf-8").splitlines() if path and path.exists() else []
    read = [json.loads(line) for line in lines]
    return {(d["model"], d["start"]): Distances(d["forward"], d["backward"], d["none"]) for d in read}


def keep(path, name, start, found):
    """Write the distances of one model down."""
    if path:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"model": name, "start": start, **asdict(found)}) + "\n")


def plain(width, depth, act):
    """A stack whose weights are independent Gaussians of the activation's gain."""
    layers = []
    for _ in range(depth):
        layer = nn.Linear(width, width)
        nn.init.normal_(layer.weight, std=fanin.gain(act) / width**0.5)
        nn.init.zeros_(layer.bias)
        layers += [layer, {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}[act]()]
    return nn.Sequential(*layers), {"input": torch.randn(32, width)}


LIBRARIES = ("hf", "timm", "tv")


def groups():
    """Builders by group, stock first."""
    held = {name.replace(" ", "_"): build for name, build in HEALTHY_HELD_OUT.items()}
    every = {**stock(), **zoo(), **ODD, **held}
    libraries = {**stock(), **{n: b for n, b in every.items() if n.startswith(LIBRARIES)}}
    return {"stock": libraries, "unseen": {n: b for n, b in every.items() if n not in libraries}, "met again": again()}


def row(group, start, found):
    """One line of the table; `found` holds the distances of each model."""
    forward, free = _sizes(pair for d in found for pair in d.forward)
    backward, carried = _sizes(pair for d in found for pair in d.backward)
    none = str(sum(d.none for d in found))
    cells = [group, start, str(len(found)), str(forward.size), f"{(forward > FAR).mean():.1%}"]
    cells += [f"{np.median(free):.2f}", f"{np.median(forward):.2f}", str(backward.size), none]
    cells += [f"{(backward > FAR).mean():.1%}", f"{np.median(carried):.2f}", f"{np.median(backward):.2f}"]
    return f"| {' | '.join(cells)} |"


def _sizes(pairs):
    """|z| of all of them, and of those whose size is none by definition."""
    pairs = list(pairs)
    return np.abs([z for z, _ in pairs]), np.abs([z for z, known in pairs if not known])


def stacks():
    """Lines on plain stacks: standard deviation of z over draws and layers."""
    lines = []
    for act in ("relu", "tanh", "gelu"):
        found = [checked(lambda act=act: plain(64, 8, act), "own", seed) for seed in range(DRAWS)]
        forward = [z for d in found for z, _ in d.forward]
        backward = [z for d in found for z, given in d.backward if not given]
        lines.append(f"- {act}, 8 layers of 64, {DRAWS} draws: {np.std(forward):.2f} and {np.std(backward):.2f}")
    return lines


def main():
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="names of models; all by default")
    parser.add_argument("--start", action="append", choices=["own", "auto"])
    parser.add_argument("--leave-out", action="append", default=[], help="names that are left out")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="distances of models that are done, read and added to")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    rows, far, left_out = [], [], []
    done = kept(args.keep)
    for start in args.start or ["own", "auto"]:
        for group, builders in groups().items():
            found = []
            for name, build in builders.items():
                if (args.models and name not in args.models) or name in args.leave_out:
                    continue
                try:
                    if (name, start) not in done:
                        done[name, start] = checked(build, start, args.seed)
                        keep(args.keep, name, start, done[name, start])
                    found.append(done[name, start])
                except Exception as error:  # a model that this machine cannot build or run is listed
                    left_out.append(f"- {name}, {start}: {type(error).__name__}: {str(error).splitlines()[0][:100]}")
                    continue
                both = [[z for z, _ in side] for side in (found[-1].forward, found[-1].backward)]
                shares = [np.mean(np.abs(z) > FAR) if z else 0.0 for z in both]
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
