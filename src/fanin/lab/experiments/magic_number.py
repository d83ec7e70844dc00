"""Is there a magic number? Final loss against a common factor on every weight's std, for several architectures."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from fanin.lab import data, figures
from fanin.lab.compare import Task, compare
from fanin.lab.experiments.base import Outcome, Settings
from fanin.lab.models import SmallResNet, mlp, plain_cnn
from fanin.lab.split import Split
from fanin.lab.training import accuracy, batches

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fanin.lab.comparison import Comparison

TITLE = "One factor on every weight: where is the best, and how wide is the basin?"

_IN_BASIN = 0.1  # a factor is in the basin where its loss is within 10 % of the way from the best to chance


def _images(digits: Split) -> tuple[Any, Any]:
    """Digits as 14 x 14 pictures (means of 2 x 2 pixels)."""

    def small(x: Any) -> Any:
        return x.reshape(-1, 1, 14, 2, 14, 2).mean(axis=(3, 5), dtype=np.float32)

    return small(digits.x), small(digits.x_held)


def _resnet() -> nn.Module:
    return SmallResNet(8, batch_norm=False)


MODELS: dict[str, tuple[Any, bool]] = {  # name -> (builder, reads images)
    "MLP, 3 ReLU layers": (functools.partial(mlp, [784, 128, 128, 128, 10]), False),
    "MLP, 10 tanh layers": (functools.partial(mlp, [784, *[128] * 10, 10], activation="tanh"), False),
    "MLP, 10 GELU layers": (functools.partial(mlp, [784, *[128] * 10, 10], activation="gelu"), False),
    "CNN, 6 ReLU layers": (functools.partial(plain_cnn, 6), True),
    "ResNet, 8 blocks, no norm": (_resnet, True),
}


def _batches(x: Any, y: Any, seed: int) -> Any:
    return batches(x, y, size=64, seed=seed)


def _scaled_(model: nn.Module, seed: int, *, factor: float, example: Any) -> None:
    """The automatic recipe, then every matrix and kernel times one factor."""
    import fanin

    fanin.init_(model, example, recipe="auto", seed=seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(factor)


def _compare(name: str, digits: Split, factors: list[float], settings: Settings) -> Comparison:
    build, images = MODELS[name]
    x, held = _images(digits) if images else (digits.x, digits.x_held)
    example = torch.as_tensor(x[:8])
    task = Task(
        name=name,
        model=build,
        batches=functools.partial(_batches, x, digits.y),
        score=functools.partial(accuracy, x=held, y=digits.y_held),
    )
    return compare(
        tasks=[task],
        inits={f"{f:g}": functools.partial(_scaled_, factor=f, example=example) for f in factors},
        seeds=[settings.seed + i for i in range(3 if settings.full else 1)],
        lrs=(3e-4, 1e-3, 3e-3) if settings.full else (1e-3,),
        steps=600 if settings.full else 120,
        optimizer="adam",
        on=settings.on,
        workers=settings.workers,
        progress=False,
    )


def run(settings: Settings) -> Outcome:
    """Adam on MNIST digits; the factor multiplies every std that fanin's automatic recipe chose, so its choice is 1."""
    digits = data.mnist_digits()
    factors = [float(f) for f in 2.0 ** np.arange(-5, 5.1, 0.5 if settings.full else 1.0)]
    numbers: dict[str, Any] = {"factors": factors, "in_basin": _IN_BASIN, "models": {}}
    for i, name in enumerate(MODELS):
        settings.progress(name, i / len(MODELS))
        result = _compare(name, digits, factors, settings)
        losses = [result.best(f"{f:g}").final_loss for f in factors]
        numbers["models"][name] = _basin(factors, losses)
    return Outcome(name="magic-number", title=TITLE, numbers=numbers, figure=_draw(numbers), text=_text(numbers))


def _basin(factors: list[float], losses: list[float]) -> dict[str, Any]:
    """Best factor, the contiguous basin around it, and where 1 lies."""
    best = int(np.argmin(losses))
    edge = losses[best] + _IN_BASIN * (float(np.log(10)) - losses[best])
    low = high = best
    while low > 0 and losses[low - 1] <= edge:
        low -= 1
    while high < len(losses) - 1 and losses[high + 1] <= edge:
        high += 1
    return {
        "final_loss": [x if np.isfinite(x) else None for x in losses],
        "best": factors[best],
        "basin": [factors[low], factors[high]],
        "one_is_inside": factors[low] <= 1.0 <= factors[high],
        "excess_at_one": losses[factors.index(1.0)] - losses[best],
    }


@figures.drawn
def _draw(numbers: dict[str, Any]) -> Figure:
    fig, axes = figures.figure(1, 1, size=(8.0, 4.8))
    ax = axes[0][0]
    for i, (name, found) in enumerate(numbers["models"].items()):
        losses = [np.nan if x is None else min(x, 5.0) for x in found["final_loss"]]
        figures.series(ax, i, numbers["factors"], losses, name, marks=20)
        ax.plot(
            found["best"],
            min(x for x in losses if np.isfinite(x)),
            "o",
            markersize=11,
            fillstyle="none",
            color=figures.COLOURS[i],
        )
    ax.axvline(1.0, color="#555555", linestyle=":", linewidth=1.2)
    ax.text(1.04, 4.6, "fanin's choice", fontsize=9, va="top")
    ax.axhline(float(np.log(10)), color="#999999", linewidth=1)
    ax.text(numbers["factors"][0], float(np.log(10)) * 1.01, "chance: ln 10", fontsize=9, va="bottom")
    ax.set_xscale("log", base=2)
    ax.set(
        xlabel="factor on every weight's std",
        ylabel="final training loss (capped at 5)",
        title="rings: the best factor",
    )
    ax.legend(fontsize=9)
    return fig


def _text(numbers: dict[str, Any]) -> str:
    said = "; ".join(
        f"{name}: best at {m['best']:g}, basin {m['basin'][0]:g} to "
        f"{m['basin'][1]:g}{'' if m['one_is_inside'] else ' (1 lies outside)'}"
        for name, m in numbers["models"].items()
    )
    return (
        "There is no number that fits all networks, but measured in units of what theory asks for, the basins lie over "
        f"each other: {said}. A shallow network forgives a factor of several; a deep one does not, since a factor on "
        "each layer is raised to the power of the depth."
    )
