"""Which rule starts a plain stack best: at which depths, widths and activations the automatic recipe changes its rule.

    python -m benchmarks.training.study                # all questions, results in benchmarks/results/study.{json,md}
    python -m benchmarks.training.study crossover      # one question

MNIST digits at 14 x 14, hidden width 64 unless the question says otherwise, batch 32, Adam, each start at its own best
rate of a common grid, mean training loss of the last 20 of 300 steps.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import fanin
from benchmarks.common import RESULTS, header, in_words
from fanin import initializers, theory
from fanin.graph.analysis.activations import FoundActivation
from fanin.lab import data
from fanin.lab.compare import Task, compare
from fanin.lab.models import mlp
from fanin.lab.training import accuracy, batches
from fanin.recipes.auto.critical import critical_q

RATES = (1e-4, 3e-4, 1e-3, 3e-3)
STEPS = 300


@functools.cache
def digits() -> tuple[Any, Any]:
    found = data.mnist_digits()
    small = [
        x.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4), dtype=np.float32).reshape(len(x), 196)
        for x in (found.x, found.x_held)
    ]
    mean, std = small[0].mean(), small[0].std()
    return tuple((x - mean) / std for x in small)


def digit_batches(seed: int):
    return batches(digits()[0], data.mnist_digits().y, size=32, seed=seed)


def score(model: nn.Module) -> float:
    return accuracy(model, digits()[1], data.mnist_digits().y_held)


# ------------------------------------------------------------------ starts: (model, seed) -> None
def draw(model: nn.Module, seed: int, *, first: Any, hidden: Any, head: Any) -> None:
    linears = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear)]
    for i, (name, module) in enumerate(linears):
        law = first if i == 0 else head if i == len(linears) - 1 else hidden
        law.fill_(module.weight, key=fanin.key(seed, f"{name}.weight"))
        with torch.no_grad():
            module.bias.zero_()


LECUN = initializers.VarianceScaling(gain=1.0, mode="fan_in", law="normal")


def normal(gain: float) -> Any:
    law = initializers.VarianceScaling(gain=gain, mode="fan_in", law="normal")
    return functools.partial(draw, first=LECUN, hidden=law, head=law)


def orthogonal(gain: float) -> Any:
    law = initializers.Orthogonal(gain=gain)
    head = initializers.VarianceScaling(gain=gain, mode="fan_in", law="normal")
    return functools.partial(draw, first=LECUN, hidden=law, head=head)


def mirrored(gain: float = 1.0) -> Any:
    sides = {
        place: initializers.MirroredOrthogonal(side=side, gain=gain)
        for place, side in (("first", "output"), ("hidden", "both"), ("head", "input"))
    }
    return functools.partial(draw, **sides)


def critical_orthogonal(phi: str, q: float, *, unit_head: bool = False) -> Any:
    first = initializers.VarianceScaling(gain=math.sqrt(q), mode="fan_in", law="normal")
    hidden = initializers.Orthogonal(gain=theory.gain(phi, direction="backward", q=q))
    second = theory.gaussian_moments(phi, q=q).second
    head = initializers.VarianceScaling(gain=second**-0.5, mode="fan_in", law="normal") if unit_head else LECUN
    return functools.partial(draw, first=first, hidden=hidden, head=head)


def tanh_q(depth: int) -> float:
    return critical_q(FoundActivation("tanh", fn=np.tanh), depth - 1)


def forward(phi: str) -> float:
    return theory.gain(phi)


def backward(phi: str) -> float:
    return theory.gain(phi, direction="backward")


# question -> (activation, depth, width) -> starts
QUESTIONS: dict[str, list[tuple[str, int, int, dict[str, Any]]]] = {
    "crossover": [
        ("relu", depth, 64, {"mirrored": mirrored(), "orthogonal √2": orthogonal(2**0.5), "He": normal(2**0.5)})
        for depth in (3, 5, 7, 9)
    ],
    "width": [("relu", 20, 256, {"mirrored": mirrored(), "orthogonal √2": orthogonal(2**0.5), "He": normal(2**0.5)})],
    "not-mirrorable": [
        (
            phi,
            20,
            64,
            {
                "mirrored": mirrored(),
                "orthogonal √2": orthogonal(2**0.5),
                "orthogonal backward": orthogonal(backward(phi)),
                "normal forward": normal(forward(phi)),
            },
        )
        for phi in ("mish", "elu", "selu")
    ],
    "gelu50": [
        (
            "gelu",
            50,
            64,
            {
                "mirrored": mirrored(),
                "orthogonal √2": orthogonal(2**0.5),
                "orthogonal backward": orthogonal(backward("gelu")),
                "normal √2": normal(2**0.5),
                "normal backward": normal(backward("gelu")),
                "normal forward": normal(forward("gelu")),
            },
        )
    ],
    "tanh": [
        (
            "tanh",
            depth,
            64,
            {
                "orthogonal, singular values spread by their mean, unit outputs": critical_orthogonal(
                    "tanh", tanh_q(depth), unit_head=True
                ),
                "orthogonal at q = 1/depth": critical_orthogonal("tanh", 1.0 / depth),
                "normal forward": normal(forward("tanh")),
            },
        )
        for depth in (5, 10, 20, 50)
    ],
}


def answer(phi: str, depth: int, width: int, inits: dict[str, Any], *, seeds: int, workers: int) -> dict[str, Any]:
    name = f"{phi}, {depth} layers of {width}"
    model = functools.partial(mlp, [196, *[width] * (depth - 1), 10], activation=phi)
    result = compare(
        tasks=[Task(name=name, model=model, batches=digit_batches, score=score)],
        inits=inits,
        seeds=seeds,
        lrs=RATES,
        steps=STEPS,
        optimizer="adam",
        on="joblib" if workers > 1 else "process",
        workers=workers,
        progress=False,
    )
    return {"name": name, "verdicts": result.to_dict()["verdicts"]}


def markdown(results: dict[str, Any]) -> str:
    lines = [
        "# Which rule starts a plain stack best",
        "",
        in_words(results["made_with"]),
        "",
        f"{results['seeds']} seeds. Mean final training loss ± std over seeds, held-out accuracy in brackets.",
        "",
        "| network | start | best rate | loss | held-out |",
        "| --- | --- | --- | --- | --- |",
    ]
    for cells in results["questions"].values():
        for cell in cells:
            for v in cell["verdicts"]:
                loss = (
                    "diverged" if v["final_loss"] is None else f"{v['final_loss']:.3f} ± {v['final_loss_std'] or 0:.3f}"
                )
                held = "-" if v["score"] is None else f"{v['score']:.3f}"
                lines.append(f"| {cell['name']} | {v['init']} | {v['lr']:g} | {loss} | {held} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", nargs="*", default=[], help=f"of {', '.join(QUESTIONS)}")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS / "study.json")
    given = parser.parse_args()
    results = {
        "made_with": header(),
        "seeds": given.seeds,
        "questions": json.loads(given.out.read_text())["questions"] if given.out.exists() else {},
    }
    for question in given.questions or QUESTIONS:
        cells = [answer(*cell, seeds=given.seeds, workers=given.workers) for cell in QUESTIONS[question]]
        results["questions"][question] = cells
        print(question, "done", file=sys.stderr, flush=True)
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(results, indent=1) + "\n")
        given.out.with_suffix(".md").write_text(markdown(results))
    print(markdown(results))


if __name__ == "__main__":
    main()
