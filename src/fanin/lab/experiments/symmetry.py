"""Symmetry: units that start equal stay equal; one random matrix breaks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from fanin import initializers
from fanin.lab import data, figures
from fanin.lab.experiments.base import Outcome, Settings
from fanin.lab.models import mlp
from fanin.lab.starts import draw_weights_
from fanin.lab.training import accuracy, batches, make_optimizer, train

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Units that start equal stay equal"

HIDDEN = 64
_TOLERANCE = 1e-5  # of the largest weight: far above float32's rounding, far below any real difference


def _zeros(model: nn.Sequential, seed: int) -> None:
    for parameter in model.parameters():
        nn.init.zeros_(parameter)


def _constant(model: nn.Sequential, seed: int) -> None:
    draw_weights_(model, initializers.Constant(value=0.05), seed=seed)


def _random(model: nn.Sequential, seed: int) -> None:
    draw_weights_(model, initializers.glorot_uniform(), seed=seed)


def _random_zero_head(model: nn.Sequential, seed: int) -> None:
    _random(model, seed)
    nn.init.zeros_(model[-1].weight)  # type: ignore[arg-type]


STARTS: dict[str, Callable[[nn.Sequential, int], None]] = {
    "all zeros": _zeros,
    "all 0.05": _constant,
    "random, zero biases": _random,
    "random, zero biases and output": _random_zero_head,
}


def distinct_units(model: nn.Sequential) -> int:
    """Number of hidden units that differ in what they read or in what reads them.

    Example:
        >>> model = mlp([4, 8, 2], activation="tanh")
        >>> _zeros(model, 0)
        >>> distinct_units(model)
        1
    """
    first, last = model[0], model[-1]
    units = torch.cat([first.weight, first.bias[:, None], last.weight.T], dim=1).detach().double().numpy()  # type: ignore
    size = max(float(np.abs(units).max()), 1e-30)
    return len(np.unique(np.round(units / (size * _TOLERANCE)), axis=0))


def run(settings: Settings) -> Outcome:
    """Train one hidden layer of 64 tanh units on MNIST digits from four starts."""
    digits = data.mnist_digits()
    steps = 2000 if settings.full else 400
    numbers: dict[str, Any] = {"hidden_units": HIDDEN, "steps": steps, "starts": {}}
    weights: dict[str, tuple[Any, Any]] = {}
    for i, (name, start) in enumerate(STARTS.items()):
        settings.progress(name, i / len(STARTS))
        model = mlp([784, HIDDEN, 10], activation="tanh")
        start(model, settings.seed)
        before, begin = distinct_units(model), model[0].weight.detach().clone()  # type: ignore[operator]
        stream = batches(digits.x, digits.y, size=64, seed=settings.seed)
        optimizer = make_optimizer("sgd", model.parameters(), 0.03)
        curve = train(model, stream, loss=nn.functional.cross_entropy, optimizer=optimizer, steps=steps)
        weights[name] = (begin.numpy(), model[0].weight.detach().numpy())  # type: ignore[operator]
        numbers["starts"][name] = {
            "distinct_before": before,
            "distinct_after": distinct_units(model),
            "final_loss": curve.final(),
            "held_out_accuracy": accuracy(model, digits.x_held, digits.y_held),
        }
    return Outcome(name="symmetry", title=TITLE, numbers=numbers, figure=_draw(weights, numbers), text=_text(numbers))


def _tiles(weight: Any, side: int = 4) -> Any:
    """The first 16 units' incoming weights as 28 x 28 pictures in one square."""
    w = weight[: side * side].reshape(side, side, 28, 28)
    return w.transpose(0, 2, 1, 3).reshape(side * 28, side * 28)


@figures.drawn
def _draw(weights: dict[str, tuple[Any, Any]], numbers: dict[str, Any]) -> Figure:
    fig, axes = figures.figure(2, len(weights), size=(9.5, 5.4))
    for column, (name, pair) in enumerate(weights.items()):
        entry = numbers["starts"][name]
        for row, (weight, when) in enumerate(zip(pair, ("before", "after"), strict=True)):
            ax, tiles = axes[row][column], _tiles(weight)
            limit = max(float(np.quantile(np.abs(tiles), 0.995)), 1e-3)
            ax.imshow(tiles, cmap="PuOr", vmin=-limit, vmax=limit)
            ax.set_xticks(np.arange(-0.5, 112, 28), labels=[])
            ax.set_yticks(np.arange(-0.5, 112, 28), labels=[])
            ax.tick_params(length=0)
            title = f"{name}\n" if row == 0 else ""
            ax.set_title(f"{title}{when}: {entry[f'distinct_{when}']} distinct of {HIDDEN}", fontsize=9)
        axes[1][column].set_xlabel(f"held-out {entry['held_out_accuracy']:.0%}")
    fig.supylabel("weights into 16 of 64 hidden units", fontsize=10)
    return fig


def _text(numbers: dict[str, Any]) -> str:
    zeros, constant, plain, zero_head = numbers["starts"].values()
    return (
        f"With all zeros, or all weights equal, the {HIDDEN} hidden units are one unit: {zeros['distinct_before']} "
        f"and {constant['distinct_before']} distinct before, {zeros['distinct_after']} and "
        f"{constant['distinct_after']} after {numbers['steps']} steps, since equal units get equal gradients; "
        f"accuracy {zeros['held_out_accuracy']:.0%} and {constant['held_out_accuracy']:.0%}. One random matrix is "
        f"enough: {plain['distinct_after']} distinct units and {plain['held_out_accuracy']:.0%}. Zero biases cost "
        f"nothing, and zero output weights neither ({zero_head['distinct_after']} distinct, "
        f"{zero_head['held_out_accuracy']:.0%})."
    )
