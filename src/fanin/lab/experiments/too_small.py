"""Weights from N(0, 0.01^2), the folklore start, against depth."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fanin import initializers
from fanin.lab import data, figures
from fanin.lab.experiments.base import Outcome, Settings
from fanin.lab.models import mlp
from fanin.lab.split import Split
from fanin.lab.starts import draw_weights_
from fanin.lab.training import batches, make_optimizer, train

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fanin.initializers.base import Initializer

TITLE = "N(0, 0.01²): fine for two layers, dead for ten"

DEPTHS = (2, 4, 6, 8, 10)
_WIDTH = 128
_MOVED = 0.01  # the first layer counts as moved when its weights have changed by 1 % of their norm


def _linears(model: nn.Module) -> list[nn.Linear]:
    return [m for m in model.modules() if isinstance(m, nn.Linear)]


def _gradients(model: nn.Module, x: Any, y: Any) -> list[float]:
    """Norm of the gradient of each layer's weight over the norm of the weight."""
    weights = [m.weight for m in _linears(model)]
    loss = nn.functional.cross_entropy(model(torch.as_tensor(x)), torch.as_tensor(y))
    found = torch.autograd.grad(loss, weights)
    return [float(g.norm() / w.detach().norm()) for g, w in zip(found, weights, strict=True)]


class _Moved(Exception):  # noqa: N818 - a signal, not an error
    """Raised inside the training loop at the first step that moved the first layer."""


def _steps_until_moved(model: nn.Module, digits: Split, *, limit: int, seed: int) -> int | None:
    first = _linears(model)[0].weight
    begin = first.detach().clone()
    goal = _MOVED * float(begin.norm())
    reached: list[int] = []

    def watch(step: int, loss: float) -> None:
        if float((first.detach() - begin).norm()) >= goal:
            reached.append(step + 1)
            raise _Moved

    with suppress(_Moved):
        train(
            model,
            batches(digits.x, digits.y, size=64, seed=seed),
            loss=nn.functional.cross_entropy,
            optimizer=make_optimizer("sgd", model.parameters(), 0.01),
            steps=limit,
            on_step=watch,
        )
    return reached[0] if reached else None


def run(settings: Settings) -> Outcome:
    """Gradients by layer and the steps until the first layer moves: 2 to 10 layers of 128 ReLU units, SGD at 0.01."""
    digits = data.mnist_digits()
    limit = 5000 if settings.full else 600
    laws: dict[str, Initializer] = {
        "N(0, 0.01²)": initializers.Normal(std=0.01),
        "He": initializers.he_normal(),
    }
    numbers: dict[str, Any] = {"width": _WIDTH, "limit": limit, "moved": _MOVED, "laws": {}}
    for i, (name, law) in enumerate(laws.items()):
        rows = []
        for j, depth in enumerate(DEPTHS):
            settings.progress(f"{name}, {depth} layers", (i * len(DEPTHS) + j) / (len(laws) * len(DEPTHS)))
            model = mlp([784, *[_WIDTH] * (depth - 1), 10])
            draw_weights_(model, law, seed=settings.seed)
            gradients = _gradients(model, digits.x[:256], digits.y[:256])
            steps = _steps_until_moved(model, digits, limit=limit, seed=settings.seed)
            rows.append({"depth": depth, "gradient_over_weight": gradients, "steps_until_moved": steps})
        numbers["laws"][name] = rows
    return Outcome(name="too-small", title=TITLE, numbers=numbers, figure=_draw(numbers), text=_text(numbers))


@figures.drawn
def _draw(numbers: dict[str, Any]) -> Figure:
    fig, axes = figures.figure(1, 3, size=(11.0, 3.8))
    for ax, (name, rows) in zip(axes[0], numbers["laws"].items(), strict=False):
        for i, row in enumerate(rows):
            values = row["gradient_over_weight"]
            figures.series(ax, i, range(1, len(values) + 1), values, f"{row['depth']} layers", marks=20)
        ax.set(yscale="log", xlabel="layer", ylabel="|gradient| / |weight|", title=name, ylim=(1e-12, 1e1))
        ax.legend(fontsize=8)
    right = axes[0][2]
    for i, (name, rows) in enumerate(numbers["laws"].items()):
        steps = [r["steps_until_moved"] or numbers["limit"] for r in rows]
        figures.series(right, i, [r["depth"] for r in rows], steps, name)
        for row, step in zip(rows, steps, strict=True):
            if row["steps_until_moved"] is None:
                place = {"xytext": (0, 5), "textcoords": "offset points", "ha": "center", "fontsize": 8}
                right.annotate("never", (row["depth"], step), **place)
    right.set(yscale="log", xlabel="layers", ylabel="steps", title="until the first layer has moved 1 %")
    right.set_ylim(0.7, 2e4)
    right.legend(loc="center right")
    return fig


def _text(numbers: dict[str, Any]) -> str:
    small, he = numbers["laws"].values()

    def moved(row: dict[str, Any]) -> str:
        steps = row["steps_until_moved"]
        return f"{steps} steps" if steps else f"more than {numbers['limit']} steps"

    return (
        "Each layer of 128 ReLU units drawn from N(0, 0.01²) multiplies the signal, and the gradient, by about "
        f"0.01·√(128/2) = 0.08. With {small[0]['depth']} layers the first one gets a gradient of "
        f"{small[0]['gradient_over_weight'][0]:.1e} of its weights' norm, with {small[-1]['depth']} layers "
        f"{small[-1]['gradient_over_weight'][0]:.1e} (He: {he[-1]['gradient_over_weight'][0]:.1e}). Until the first "
        f"layer has moved by 1 %, SGD takes {moved(small[0])} with {small[0]['depth']} layers and {moved(small[-1])} "
        f"with {small[-1]['depth']} (He: {moved(he[-1])})."
    )
