"""Twelve ReLU layers on MNIST digits from torch's default start and from ``auto``, each as it is and calibrated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

import fanin
from fanin.lab import data, figures
from fanin.lab.experiments.base import Outcome, Settings
from fanin.lab.models import mlp
from fanin.lab.probe import flow
from fanin.lab.training import batches, make_optimizer, train

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fanin.lab.split import Split

TITLE = "Calibrate: a dead default start comes alive, and auto stays as it is"

WIDTHS = (784, *(64,) * 11, 10)
_LR, _BATCH, _PROBE = 0.01, 64, 256


def _as_it_is(model: nn.Module, x: torch.Tensor, seed: int) -> None:
    """Keep what torch drew."""


def _auto(model: nn.Module, x: torch.Tensor, seed: int) -> None:
    fanin.init_(model, x, seed=seed)


@dataclass(frozen=True, slots=True)
class _Start:
    """A way to start: what draws the weights, and whether they are calibrated then."""

    draw: Callable[[nn.Module, torch.Tensor, int], None]
    calibrated: bool


STARTS = {
    "torch's default": _Start(_as_it_is, False),
    "default, calibrated": _Start(_as_it_is, True),
    "auto": _Start(_auto, False),
    "auto, calibrated": _Start(_auto, True),
}


@dataclass(frozen=True, slots=True)
class _Run:
    """One network: the size of each map's output at the start, how many weights changed, and its training."""

    sizes: list[float]
    changed: int
    losses: tuple[float, ...]
    final: float


def _trained(start: _Start, digits: Split, seed: int, steps: int) -> _Run:
    torch.manual_seed(seed)
    model = mlp(WIDTHS)
    x, y = torch.as_tensor(digits.x[:_PROBE]), torch.as_tensor(digits.y[:_PROBE])
    start.draw(model, x, seed)
    changed = len(fanin.calibrate(model, x, seed=seed).changed) if start.calibrated else 0
    maps = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    sizes = [f.activation_rms for f in flow(model, x, y, nn.functional.cross_entropy, maps)]
    stream = batches(digits.x, digits.y, size=_BATCH, seed=seed)
    optimizer = make_optimizer("sgd", model.parameters(), _LR)
    curve = train(model, stream, loss=nn.functional.cross_entropy, optimizer=optimizer, steps=steps)
    return _Run(sizes, changed, curve.loss, curve.final())


def run(settings: Settings) -> Outcome:
    """Train each network with SGD at one rate; three seeds, or ten in the full version."""
    digits = data.mnist_digits()
    seeds = [settings.seed + i for i in range(10 if settings.full else 3)]
    steps = 1000 if settings.full else 200
    found: dict[str, list[_Run]] = {name: [] for name in STARTS}
    for i, seed in enumerate(seeds):
        for j, (name, start) in enumerate(STARTS.items()):
            settings.progress(f"{name}, seed {seed}", (i * len(STARTS) + j) / (len(STARTS) * len(seeds)))
            found[name].append(_trained(start, digits, seed, steps))
    numbers: dict[str, Any] = {
        "widths": list(WIDTHS),
        "steps": steps,
        "lr": _LR,
        "seeds": seeds,
        "starts": {name: _summary(runs) for name, runs in found.items()},
    }
    return Outcome(name="calibrate", title=TITLE, numbers=numbers, figure=_draw(found), text=_text(numbers))


def _summary(runs: list[_Run]) -> dict[str, Any]:
    finals = [r.final for r in runs]
    return {
        "rms": [mean(sizes) for sizes in zip(*(r.sizes for r in runs), strict=True)],
        "changed": [r.changed for r in runs],
        "final_losses": finals,
        "final_loss": mean(finals),
        "spread": stdev(finals),
    }


@figures.drawn
def _draw(found: dict[str, list[_Run]]) -> Figure:
    fig, axes = figures.figure(1, 2, size=(9.0, 3.8))
    left, right = axes[0]
    for i, (name, runs) in enumerate(found.items()):
        sizes = [mean(s) for s in zip(*(r.sizes for r in runs), strict=True)]
        figures.series(left, i, range(1, len(sizes) + 1), sizes, name)
        curve = sum(figures.smooth(r.losses, 10) for r in runs) / len(runs)
        figures.series(right, i, range(len(curve)), curve, f"{name}: {mean(r.final for r in runs):.2f}")
    left.set(yscale="log", xlabel="map", ylabel="rms of its output", title="before training")
    right.set(xlabel="update", ylabel="training loss (mean of 10)", title=f"SGD, rate {_LR:g}", ylim=(0, 2.6))
    left.legend()
    right.legend(title="mean of the last 20")
    return fig


def _text(numbers: dict[str, Any]) -> str:
    default, repaired, auto, again = numbers["starts"].values()
    seeds = len(numbers["seeds"])

    def ends(start: dict[str, Any]) -> str:
        return f"{start['final_loss']:.3g} ± {start['spread']:.2g}"

    untouched = sum(n == 0 for n in again["changed"])
    return (
        f"With torch's default start the rms falls from {default['rms'][0]:.2g} at the first map to "
        f"{default['rms'][-2]:.2g} at the one before the output, where little but the biases is left, and "
        f"{numbers['steps']} steps of SGD end at loss {ends(default)}. One forward pass finds a factor for each of the "
        f"{len(numbers['widths']) - 1} weights; the same values times these factors end at {ends(repaired)}. The "
        f"recipe auto ends at {ends(auto)}. Calibrated, it is the same start: no weight changes in {untouched} of "
        f"{seeds} draws, and it ends at {ends(again)}. So calibration repairs a start that is kept; it adds nothing to "
        "one that is planned."
    )
