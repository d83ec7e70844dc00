"""Pre-training without labels against random starts, at equal cost, where labels are many and where they are few."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from torch import nn

from fanin import initializers
from fanin.lab import data, figures
from fanin.lab.compare import Task, compare
from fanin.lab.experiments.base import Outcome, Settings
from fanin.lab.models import mlp
from fanin.lab.pretraining import autoencoder_pretrain_, rbm_pretrain_
from fanin.lab.split import Split
from fanin.lab.training import accuracy, batches

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fanin.lab.comparison import Comparison

TITLE = "Pre-training without labels against a good random start, at equal cost"

_WIDTHS = (784, 200, 200, 200, 10)
_FEW = 200


def _model() -> nn.Module:
    return mlp(_WIDTHS, activation="sigmoid")


def _batches(x: Any, y: Any, seed: int) -> Any:
    return batches(x, y, size=64, seed=seed)


def _task(name: str, digits: Split, labels: int) -> Task:
    return Task(
        name=name,
        model=_model,
        batches=functools.partial(_batches, digits.x[:labels], digits.y[:labels]),
        score=functools.partial(accuracy, x=digits.x_held, y=digits.y_held),
    )


def run(settings: Settings) -> Outcome:
    """Three hidden layers of 200 logistic units; all starts spend the same number of updates, pre-training included."""
    digits = data.mnist_digits(scaling="unit")
    per_layer = 500 if settings.full else 150
    result = compare(
        tasks=[_task("4,000 labels", digits, len(digits.y)), _task(f"{_FEW} labels", digits, _FEW)],
        inits={
            "Glorot": initializers.glorot_uniform(),
            "4 x Glorot": initializers.glorot_uniform(gain=4.0),
            "RBM": functools.partial(rbm_pretrain_, x=digits.x, steps_per_layer=per_layer),
            "denoising autoencoder": functools.partial(autoencoder_pretrain_, x=digits.x, steps_per_layer=per_layer),
        },
        seeds=[settings.seed + i for i in range(5 if settings.full else 2)],
        lrs=(3e-4, 1e-3, 3e-3),
        steps=6 * per_layer,
        optimizer="adam",
        on=settings.on,
        workers=settings.workers,
        progress=settings.progress,
    )
    numbers = {"updates_in_all": 6 * per_layer, "updates_of_pretraining": 3 * per_layer, **result.to_dict()}
    return Outcome(name="pretraining", title=TITLE, numbers=numbers, figure=_draw(result), text=_text(result, numbers))


@figures.drawn
def _draw(result: Comparison) -> Figure:
    fig, axes = figures.figure(1, 2, size=(9.5, 4.0))
    for ax, task in zip(axes[0], result.tasks, strict=True):
        figures.curves(ax, result, task)
        ax.set(ylim=(0, 2.5), xlabel="update (pre-training counted)")
        for line, name in zip(ax.get_lines(), result.inits, strict=True):
            line.set_label(f"{name}: {result.best(name, task).score or 0.0:.1%} held out")
        ax.legend(fontsize=8, loc="upper right")
    return fig


def _text(result: Comparison, numbers: dict[str, Any]) -> str:
    def scores(task: str) -> str:
        return ", ".join(f"{i} {result.best(i, task).score or 0.0:.1%}" for i in result.inits)

    def gain(task: str) -> str:
        best_random = max(result.best(i, task).score or 0.0 for i in list(result.inits)[:2])
        best_trained = max(result.best(i, task).score or 0.0 for i in list(result.inits)[2:])
        return f"{100 * (best_trained - best_random):+.1f} points"

    many, few = result.tasks
    return (
        f"Every start has {numbers['updates_in_all']} updates; pre-training spends "
        f"{numbers['updates_of_pretraining']} of them before it sees a label. Held-out accuracy with {many}: "
        f"{scores(many)}. With {few} (all digits, without their labels, still serve pre-training): {scores(few)}. The "
        f"better pre-training against the better random start: {gain(many)} with {many}, {gain(few)} with {few}. What "
        "pre-training gave in 2006 was a scale at which deep logistic networks learn at all; a random start at the "
        "right scale gives that for nothing."
    )
