"""Five ReLU layers on MNIST digits at three weight scales: too small, He, too large."""

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
from fanin.lab.probe import LayerSample, flow
from fanin.lab.starts import draw_weights_
from fanin.lab.training import accuracy, batches, make_optimizer, train

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fanin.initializers.base import Initializer

TITLE = "Too small, right, too large: one network at three scales"

WIDTHS = (784, 256, 256, 256, 256, 256, 10)
# He's std at fan_in 256 is 0.088; the other two are about nine times smaller and three times larger.
SCALES: dict[str, Callable[[], Initializer]] = {
    "too small: N(0, 0.01²)": lambda: initializers.Normal(std=0.01),
    "He: N(0, 2 / fan_in)": lambda: initializers.he_normal(),
    "too large: N(0, 0.25²)": lambda: initializers.Normal(std=0.25),
}
_LR, _BATCH, _PROBE = 0.01, 64, 512


def _model(law: Initializer, seed: int) -> nn.Sequential:
    model = mlp(WIDTHS)
    draw_weights_(model, law, seed=seed)
    return model


def _relu_names(model: nn.Sequential) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, nn.ReLU)]


def _layers(found: list[LayerSample]) -> list[dict[str, float]]:
    return [
        {"layer": i, "activation_std": f.activation_std, "gradient_std": f.gradient_std} for i, f in enumerate(found, 1)
    ]


def run(settings: Settings) -> Outcome:
    """Measure one pass of 512 digits at each scale, then train each network for a few hundred steps with SGD."""
    digits = data.mnist_digits()
    x, y = torch.as_tensor(digits.x[:_PROBE]), torch.as_tensor(digits.y[:_PROBE])
    steps = 1000 if settings.full else 300
    flows: dict[str, list[LayerSample]] = {}
    numbers: dict[str, Any] = {"widths": list(WIDTHS), "steps": steps, "lr": _LR, "scales": {}}
    for i, (name, law) in enumerate(SCALES.items()):
        settings.progress(name, i / len(SCALES))
        model = _model(law(), settings.seed)
        flows[name] = flow(model, x, y, nn.functional.cross_entropy, _relu_names(model))
        stream = batches(digits.x, digits.y, size=_BATCH, seed=settings.seed)
        optimizer = make_optimizer("sgd", model.parameters(), _LR)
        curve = train(model, stream, loss=nn.functional.cross_entropy, optimizer=optimizer, steps=steps)
        held = 0.0 if curve.diverged else accuracy(model, digits.x_held, digits.y_held)
        numbers["scales"][name] = {
            "layers": _layers(flows[name]),
            "first_loss": min(curve.loss[0], 1e30),
            "final_loss": None if curve.diverged else curve.final(),
            "diverged_after": len(curve.loss) if curve.diverged else None,
            "held_out_accuracy": held,
        }
    return Outcome(name="three-scales", title=TITLE, numbers=numbers, figure=_draw(flows, numbers), text=_text(numbers))


@figures.drawn
def _draw(flows: dict[str, list[LayerSample]], numbers: dict[str, Any]) -> Figure:
    fig, axes = figures.figure(3, len(WIDTHS) - 2, size=(9.5, 6.4), sharey="row")
    for row, (name, found) in enumerate(flows.items()):
        # One axis for the whole row: a layer whose activations have shrunk is a spike at zero.
        widest = max(float(np.quantile(f.activation, 0.999)) for f in found)
        for column, f in enumerate(found):
            _panel(axes[row][column], row, f, widest)
            if row == 0:
                axes[row][column].set_title(f"layer {column + 1}")
        kind, law = name.split(": ")
        held = numbers["scales"][name]["held_out_accuracy"]
        axes[row][0].set_ylabel(f"{kind}\n{law}\nheld-out {held:.0%}", fontsize=9)
    fig.supxlabel("activation after ReLU, zeros left out; density on a log axis; one scale per row", fontsize=9)
    return fig


def _panel(ax: Any, row: int, f: LayerSample, widest: float) -> None:
    figures.histogram(ax, row, f.activation[f.activation > 0], edges=np.linspace(0, widest, 41), label="", filled=True)
    ax.set_yscale("log")
    ax.tick_params(axis="y", labelleft=False, length=0, which="both")
    ax.locator_params(axis="x", nbins=2)
    for y, size, text in (
        (0.96, 9, f"std {f.activation_std:.2g}"),
        (0.83, 8, f"gradient {f.gradient_std:.1e}"),
    ):
        box = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1.0}
        ax.text(0.97, y, text, transform=ax.transAxes, ha="right", va="top", fontsize=size, bbox=box)


def _text(numbers: dict[str, Any]) -> str:
    small, he, large = numbers["scales"].values()

    def span(scale: dict[str, Any], what: str) -> str:
        return f"{scale['layers'][0][what]:.2g} to {scale['layers'][-1][what]:.2g}"

    def outcome(scale: dict[str, Any]) -> str:
        if scale["diverged_after"] is not None:
            return f"diverges after {scale['diverged_after']} steps"
        return f"ends at loss {scale['final_loss']:.3g} and {scale['held_out_accuracy']:.0%} held-out accuracy"

    return (
        f"From the first to the fifth layer the std of the activations goes from {span(small, 'activation_std')} with "
        f"weights that are too small, {span(he, 'activation_std')} with He's, {span(large, 'activation_std')} with "
        f"weights that are too large; that of the gradients from {span(small, 'gradient_std')}, "
        f"{span(he, 'gradient_std')} and {span(large, 'gradient_std')}. After {numbers['steps']} steps of SGD the "
        f"first {outcome(small)}, He's {outcome(he)}, the last {outcome(large)}."
    )
