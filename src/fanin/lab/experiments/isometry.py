"""Dynamical isometry: deep tanh networks, orthogonal against Gaussian weights, both at criticality."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from fanin import initializers
from fanin.lab import data, figures
from fanin.lab.compare import Task, compare
from fanin.lab.experiments.base import Outcome, Settings
from fanin.lab.models import mlp
from fanin.lab.split import Split
from fanin.lab.training import accuracy, batches
from fanin.layout import Layout
from fanin.streams.keys import key
from fanin.theory import gain as gain_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fanin.lab.comparison import Comparison

TITLE = "Dynamical isometry: orthogonal against Gaussian weights, both critical"

_WIDTH = 100


def _law(kind: str, sigma_w: float) -> Any:
    if kind == "orthogonal":
        return initializers.Orthogonal(gain=sigma_w)
    return initializers.VarianceScaling(gain=sigma_w, mode="fan_in", law="normal")


def _start_(model: nn.Module, seed: int, *, kind: str, depth: int) -> None:
    """First layer to q* = 1/depth, hidden layers critical there, head of std 1/sqrt(fan_in)."""
    q_star = 1.0 / depth
    critical = gain_of("tanh", direction="backward", q=q_star)  # chi_1 = sigma_w^2 E phi'^2 = 1 at q*
    linears = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear)]
    with torch.no_grad():
        for i, (name, module) in enumerate(linears):
            gain = q_star**0.5 if i == 0 else 1.0 if i == len(linears) - 1 else critical
            law = _law(kind if 0 < i < len(linears) - 1 else "gaussian", gain)
            law.fill_(module.weight, key=key(seed, f"{name}.weight"), layout=Layout.linear())
            module.bias.zero_()


def jacobian_singular_values(kind: str, depth: int, seed: int) -> Any:
    """Singular values of the Jacobian of `depth` critical tanh layers of 100 units at one random input, in float64."""
    law = _law(kind, gain_of("tanh", direction="backward", q=1.0 / depth))
    h = np.random.default_rng(seed).standard_normal(_WIDTH) * depth**-0.5
    jacobian = np.eye(_WIDTH)
    for layer in range(depth):
        weight = law.sample((_WIDTH, _WIDTH), key=key(seed, f"layer{layer}"), layout=Layout.linear(), dtype="float64")
        slope = 1.0 - np.tanh(h) ** 2
        jacobian = weight @ (slope[:, None] * jacobian)
        h = weight @ np.tanh(h)
    return np.linalg.svd(jacobian, compute_uv=False)


def _model(depth: int) -> nn.Module:
    return mlp([784, *[_WIDTH] * depth, 10], activation="tanh")


def _batches(digits: Split, seed: int) -> Any:
    return batches(digits.x, digits.y, size=64, seed=seed)


def run(settings: Settings) -> Outcome:
    """Jacobian spectra at three depths, and learning curves with SGD at the smallest."""
    digits = data.mnist_digits()
    depths = (100, 300, 1000)
    trained = depths if settings.full else depths[:1]
    tasks = [
        Task(
            name=f"{depth} tanh layers",
            model=functools.partial(_model, depth),
            batches=functools.partial(_batches, digits),
            score=functools.partial(accuracy, x=digits.x_held, y=digits.y_held),
        )
        for depth in trained
    ]
    spectra = {
        d: {k: jacobian_singular_values(k, d, settings.seed) for k in ("orthogonal", "gaussian")} for d in depths
    }
    results = [
        compare(
            tasks=[task],
            inits={k: functools.partial(_start_, kind=k, depth=d) for k in ("orthogonal", "gaussian")},
            seeds=[settings.seed + i for i in range(3 if settings.full else 1)],
            lrs=(1e-3, 3e-3, 1e-2) if settings.full else (1e-3, 3e-3),
            steps=1000 if settings.full else 200,
            optimizer="sgd",
            on=settings.on,
            workers=settings.workers,
            progress=settings.progress,
        )
        for task, d in zip(tasks, trained, strict=True)
    ]
    numbers = {
        "width": _WIDTH,
        "spectra": {str(d): {k: _spectrum(s) for k, s in kinds.items()} for d, kinds in spectra.items()},
        "training": [r.to_dict() for r in results],
    }
    return Outcome(
        name="isometry", title=TITLE, numbers=numbers, figure=_draw(spectra, results), text=_text(numbers, results)
    )


def _spectrum(s: Any) -> dict[str, float]:
    square = s**2
    return {
        "mean_square": float(square.mean()),
        "relative_variance": float(square.var() / square.mean() ** 2),
        "largest": float(s.max()),
        "median": float(np.median(s)),
        "smallest": float(s.min()),
    }


@figures.drawn
def _draw(spectra: Any, results: list[Comparison]) -> Figure:
    fig, axes = figures.figure(1, 3, size=(11.0, 3.9))
    for ax, kind in zip(axes[0], ("orthogonal", "gaussian"), strict=False):
        for i, (depth, kinds) in enumerate(spectra.items()):
            values = np.maximum(np.sort(kinds[kind])[::-1], 1e-30)
            figures.series(ax, i, np.arange(1, len(values) + 1), values, f"{depth} layers", marks=6)
        ax.set(yscale="log", xlabel="index", title=f"{kind}: singular values", ylim=(1e-20, 1e3))
        ax.legend()
    axes[0][0].set_ylabel("of the input-output Jacobian")
    figures.curves(axes[0][2], results[0], results[0].tasks[0])
    return fig


def _text(numbers: dict[str, Any], results: list[Comparison]) -> str:
    deep = numbers["spectra"]["100"]
    result = results[0]
    task = result.tasks[0]
    scores = " and ".join(f"{i} {result.best(i, task).score or 0.0:.0%}" for i in result.inits)
    return (
        "Both starts are critical: the mean squared singular value of the input-output Jacobian is 1 by design "
        f"({deep['orthogonal']['mean_square']:.2f} and {deep['gaussian']['mean_square']:.2f} at 100 layers). But the "
        f"values of the orthogonal stack lie between {deep['orthogonal']['smallest']:.2g} and "
        f"{deep['orthogonal']['largest']:.2g}, those of the Gaussian one between {deep['gaussian']['smallest']:.1g} "
        f"and {deep['gaussian']['largest']:.2g}: nearly all directions are lost. After the same number of steps, each "
        f"at its own best rate, held-out accuracy is {scores}."
    )
