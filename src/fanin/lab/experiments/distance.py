"""How far weights travel from init to trained, by init scale."""

from __future__ import annotations

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

TITLE = "How far weights travel, by the scale they start from"

_WIDTHS = (784, 256, 256, 10)


def _weights(model: nn.Module) -> list[torch.Tensor]:
    return [m.weight.detach().clone() for m in model.modules() if isinstance(m, nn.Linear)]


def run(settings: Settings) -> Outcome:
    """Two hidden layers of 256 ReLU units; every weight is He's times a common factor; SGD with momentum at 0.01."""
    digits = data.mnist_digits()
    factors = [float(f) for f in 2.0 ** np.arange(-5, 3.5, 0.5 if settings.full else 1.0)]
    steps = 3000 if settings.full else 500
    rows = []
    for i, factor in enumerate(factors):
        settings.progress(f"He x {factor:g}", i / len(factors))
        model = mlp(_WIDTHS)
        draw_weights_(model, initializers.he_normal(gain=factor * 2**0.5), seed=settings.seed)
        before = _weights(model)
        stream = batches(digits.x, digits.y, size=64, seed=settings.seed)
        optimizer = make_optimizer("sgd", model.parameters(), 0.01)
        curve = train(model, stream, loss=nn.functional.cross_entropy, optimizer=optimizer, steps=steps)
        after = _weights(model)
        ok = not curve.diverged
        rows.append(
            {
                "factor": factor,
                "distance": [float((a - b).norm()) for a, b in zip(after, before, strict=True)] if ok else None,
                "relative": [float((a - b).norm() / b.norm()) for a, b in zip(after, before, strict=True)]
                if ok
                else None,
                "final_loss": curve.final() if ok else None,
                "held_out_accuracy": accuracy(model, digits.x_held, digits.y_held) if ok else None,
            }
        )
    numbers = {"widths": list(_WIDTHS), "steps": steps, "runs": rows}
    return Outcome(name="distance", title=TITLE, numbers=numbers, figure=_draw(numbers), text=_text(numbers))


@figures.drawn
def _draw(numbers: dict[str, Any]) -> Figure:
    fig, axes = figures.figure(1, 3, size=(11.0, 3.7))
    rows = [r for r in numbers["runs"] if r["distance"] is not None]
    factors = [r["factor"] for r in rows]
    for ax, what, label in (
        (axes[0][0], "distance", "distance ‖W − W₀‖"),
        (axes[0][1], "relative", "relative distance ‖W − W₀‖ / ‖W₀‖"),
    ):
        for layer in range(len(_WIDTHS) - 1):
            figures.series(ax, layer, factors, [r[what][layer] for r in rows], f"layer {layer + 1}")
        ax.set(yscale="log", title=label)
        ax.legend()
    figures.series(axes[0][2], 0, factors, [r["held_out_accuracy"] for r in rows], "held-out accuracy")
    axes[0][2].set(ylabel="held-out accuracy", title="what was learnt", ylim=(0, 1))
    for ax in axes[0]:
        ax.set_xscale("log", base=2)
        ax.set_xlabel("factor on He's std")
    return fig


def _text(numbers: dict[str, Any]) -> str:
    rows = [r for r in numbers["runs"] if r["distance"] is not None]
    small, he, large = rows[0], min(rows, key=lambda r: abs(r["factor"] - 1)), rows[-1]

    def said(r: dict[str, Any]) -> str:
        return f"{r['factor']:g} times He: {r['relative'][1]:.0%} of its norm, {r['held_out_accuracy']:.0%} held out"

    least = min(rows, key=lambda r: r["relative"][1])
    return (
        f"How far the second layer has travelled after {numbers['steps']} steps: {said(small)}; {said(he)}; "
        f"{said(large)}. From small weights a network must build its features and travels many times its first norm; "
        f"around He's scale ({least['factor']:g} times it here) it changes least of what was drawn; from larger ones "
        "the first gradients are so large that the weights are thrown far, and accuracy falls."
    )
