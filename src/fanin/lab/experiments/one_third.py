"""The 1/3 of the classic uniform law: a tanh network under U(+-1/sqrt(n)) and under Glorot's law."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from fanin import initializers
from fanin.lab import data, figures
from fanin.lab.experiments.base import Outcome, Settings
from fanin.lab.models import mlp
from fanin.lab.probe import LayerSample, flow
from fanin.lab.starts import draw_weights_

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fanin.initializers.base import Initializer

TITLE = "One third per layer: the classic uniform law against Glorot's"

WIDTH, DEPTH, SAMPLES = 1000, 5, 300


def _laws() -> dict[str, Initializer]:
    return {"U(±1/√n)": initializers.Uniform(bound=WIDTH**-0.5), "Glorot uniform": initializers.glorot_uniform()}


def _second(x: Tensor) -> float:
    return float(x.detach().double().square().mean())


def _ratios(model: nn.Sequential, x: Tensor, y: Tensor) -> list[dict[str, float]]:
    """What each hidden map does to the second moment it is given: of signals going up, of gradients going down.

    forward = E z_out^2 / E h_in^2 (theory: fan_in Var w); backward = E (dL/dh_in)^2 / E (dL/dz_out)^2 (fan_out Var w).
    """
    h, kept = x, []
    for module in model:
        out = module(h)
        out.retain_grad()
        kept.append((module, h, out))
        h = out
    nn.functional.cross_entropy(h, y).backward()  # type: ignore[no-untyped-call]
    hidden = [(a, b) for m, a, b in kept[1:-1] if isinstance(m, nn.Linear)]
    return [
        {
            "layer": i,
            "forward": _second(z) / _second(h_in),
            "backward": _second(_gradient(h_in)) / _second(_gradient(z)),
        }
        for i, (h_in, z) in enumerate(hidden, 2)
    ]


def _gradient(x: Tensor) -> Tensor:
    if x.grad is None:
        raise RuntimeError("the tensor is not on the path of the loss")
    return x.grad


def run(settings: Settings) -> Outcome:
    """One forward and one backward pass of 300 digits through five tanh layers of 1000 units."""
    digits = data.mnist_digits()
    x, y = torch.as_tensor(digits.x[:SAMPLES]), torch.as_tensor(digits.y[:SAMPLES])
    flows: dict[str, list[LayerSample]] = {}
    numbers: dict[str, Any] = {"width": WIDTH, "depth": DEPTH, "samples": SAMPLES, "laws": {}}
    for i, (name, law) in enumerate(_laws().items()):
        settings.progress(name, i / 2)
        model = mlp([784, *[WIDTH] * DEPTH, 10], activation="tanh")
        draw_weights_(model, law, seed=settings.seed)
        tanhs = [n for n, m in model.named_modules() if isinstance(m, nn.Tanh)]
        flows[name] = flow(model, x, y, nn.functional.cross_entropy, tanhs)
        ratios = _ratios(model, x, y)
        numbers["laws"][name] = {
            "ratios": ratios,
            "forward": float(np.mean([r["forward"] for r in ratios])),
            "backward": float(np.mean([r["backward"] for r in ratios])),
            "activation_std": [f.activation_std for f in flows[name]],
            "gradient_std": [f.gradient_std for f in flows[name]],
        }
    return Outcome(name="one-third", title=TITLE, numbers=numbers, figure=_draw(flows), text=_text(numbers))


@figures.drawn
def _draw(flows: dict[str, list[LayerSample]]) -> Figure:
    fig, axes = figures.figure(2, 2, size=(9.0, 6.0))
    for row, (name, found) in enumerate(flows.items()):
        widest = max(float(np.quantile(np.abs(f.gradient), 0.999)) for f in found)
        for i, f in enumerate(found):
            label = f"layer {i + 1}"
            figures.histogram(axes[row][0], i, f.activation, edges=np.linspace(-1, 1, 81), label=label)
            figures.histogram(axes[row][1], i, f.gradient, edges=np.linspace(-widest, widest, 81), label=label)
        for ax, what in zip(axes[row], ("activation", "loss gradient"), strict=True):
            ax.set(yscale="log", xlabel=what, ylabel="density", title=f"{name}: {what}s")
        axes[row][0].locator_params(axis="x", nbins=5)
        axes[row][1].ticklabel_format(axis="x", style="sci", scilimits=(-2, 2))
        axes[row][0].legend(fontsize=8, ncols=1)
    return fig


def _text(numbers: dict[str, Any]) -> str:
    classic, glorot = numbers["laws"].values()

    def fall(law: dict[str, Any], what: str) -> str:
        return f"{law[what][0]:.2g} to {law[what][-1]:.2g}"

    return (
        f"Under U(±1/√n) each map multiplies the second moment of what it reads by {classic['forward']:.3f} forward "
        f"and that of gradients by {classic['backward']:.3f} backward: a third, since n Var(w) = n "
        f"(1/√n)² / 3. Activations fall from std {fall(classic, 'activation_std')} over the layers, and gradients "
        f"grow towards the top from {fall(classic, 'gradient_std')}, so the first layers learn least. Under Glorot's "
        f"law the factors are {glorot['forward']:.3f} and {glorot['backward']:.3f}; gradients keep their size "
        f"({fall(glorot, 'gradient_std')}) and activations fall only by tanh's own squeezing "
        f"({fall(glorot, 'activation_std')})."
    )
