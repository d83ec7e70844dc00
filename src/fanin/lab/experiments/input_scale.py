"""The same network on raw, standardised and whitened digits."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from torch import nn

from fanin import initializers
from fanin.lab import data, figures
from fanin.lab.compare import Task, compare
from fanin.lab.experiments.base import Outcome, Settings
from fanin.lab.models import mlp
from fanin.lab.split import Split
from fanin.lab.training import accuracy, batches

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fanin.lab.comparison import Comparison

TITLE = "Inputs: raw, standardised, whitened"

SCALINGS = ("raw", "standardised", "whitened")


def _model(features: int) -> nn.Module:
    return mlp([features, 128, 128, 10])


def _batches(digits: Split, seed: int) -> Any:
    return batches(digits.x, digits.y, size=64, seed=seed)


def _task(scaling: str) -> Task:
    digits = data.mnist_digits(scaling=scaling)  # type: ignore[arg-type]
    return Task(
        name=scaling,
        model=functools.partial(_model, digits.x.shape[1]),
        batches=functools.partial(_batches, digits),
        score=functools.partial(accuracy, x=digits.x_held, y=digits.y_held),
    )


def run(settings: Settings) -> Outcome:
    """Two hidden layers of 128 ReLU units, He's law, SGD with momentum; each input at its own best learning rate."""
    result = compare(
        tasks=[_task(s) for s in SCALINGS],
        inits={"He": initializers.he_normal()},
        seeds=[settings.seed + i for i in range(3)],
        lrs=(1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0),
        steps=1000 if settings.full else 200,
        optimizer="sgd",
        target=0.5,
        on=settings.on,
        workers=settings.workers,
        progress=settings.progress,
    )
    return Outcome(name="input-scale", title=TITLE, numbers=result.to_dict(), figure=_draw(result), text=_text(result))


@figures.drawn
def _draw(result: Comparison) -> Figure:
    fig, axes = figures.figure(1, 2, size=(9.0, 3.8))
    left, right = axes[0]
    for i, task in enumerate(result.tasks):
        best = result.best_lr("He", task)
        runs = list(result.seeds_at("He", best, task).values())
        curve = sum(figures.smooth(r.losses, 10) for r in runs) / len(runs)
        figures.series(left, i, range(len(curve)), curve, f"{task} (lr {best:g})")
        rates = sorted({s.lr for s in result.runs})
        scores = [sum((r.score or 0.1) for r in result.seeds_at("He", lr, task).values()) / len(runs) for lr in rates]
        figures.series(right, i, rates, scores, task)
    left.set(xlabel="update", ylabel="training loss (mean of 10)", title="at each input's best rate", ylim=(0, 3.5))
    right.set(xscale="log", xlabel="learning rate", ylabel="held-out accuracy", title="which rates work", ylim=(0, 1))
    left.legend()
    right.legend()
    return fig


def _text(result: Comparison) -> str:
    found = {t: result.best("He", t) for t in result.tasks}

    def said(task: str) -> str:
        v = found[task]
        steps = v.steps_to_target
        reach = "never reaches" if steps is None or steps == float("inf") else f"takes {steps:.0f} updates to reach"
        ends = f"ends at {v.score or 0.0:.0%} held out (best rate {v.lr:g}, first loss {v.initial_loss:.3g})"
        return f"{task} {reach} loss 0.5 and {ends}"

    return (
        "The first layer's gradient carries the input's scale and offset. At its own best learning rate each: "
        + "; ".join(said(t) for t in result.tasks)
        + ". Raw pixels need a rate orders of magnitude smaller for the first layer's sake, and all other layers "
        "then learn at that pace; whitening gives every direction of the input the same speed, the rare and noisy "
        "ones too."
    )
