"""The demonstration: the main job on real digits, in under a minute."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.rule import Rule
from rich.text import Text
from torch import nn

import fanin
from fanin.lab import data, figures
from fanin.lab.experiments import Settings
from fanin.lab.models import mlp
from fanin.lab.probe import LayerSample, flow
from fanin.lab.progress import run_shown
from fanin.lab.split import Split
from fanin.lab.training import Curve, accuracy, batches, make_optimizer, one_thread, train
from fanin.planning.view import PlanView
from fanin.text.columns import Column, ColumnTable
from fanin.text.console import standard_console
from fanin.text.files import make_folder, write_figure
from fanin.text.numbers import figures as figures_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["run_demo"]

_DEPTH, _WIDTH, _BATCH, _STEPS, _LR = 20, 128, 64, 300, 3e-3
_LOSS = nn.functional.cross_entropy


def run_demo(out: Path) -> None:
    """Show what weight scales do, then the main job: check, plan, apply, check again, train.

    Args:
        out: folder for the figures, their numbers and the report page.
    """
    console = standard_console()
    make_folder(out)  # what fails here fails before the work
    with one_thread():
        _show_scales(console, out)
        _show_tour(console, out)


# ------------------------------------------------------------------ part one: three scales
def _show_scales(console: Console, out: Path) -> None:
    console.print(Rule("1. What a scale does: five ReLU layers on MNIST digits, three starts", align="left"))
    outcome = run_shown("three-scales", Settings(workers=1))
    picture, _ = outcome.save(out)
    console.print(_scales_table(outcome.numbers))
    for name, scale in outcome.numbers["scales"].items():
        console.print(Text(f"  {name:<24} after {outcome.numbers['steps']} steps of SGD: {_ending(scale)}"))
    console.print(Text(f"\nfigure: {picture}\n"), soft_wrap=True)


def _ending(scale: dict[str, Any]) -> str:
    if scale["diverged_after"] is not None:
        return f"diverged at step {scale['diverged_after']}"
    return f"loss {scale['final_loss']:.3g}, held-out {scale['held_out_accuracy']:.0%}"


def _scales_table(numbers: dict[str, Any]) -> ColumnTable:
    layers = range(1, len(numbers["widths"]) - 1)
    kinds = {"activations": "activation_std", "gradients": "gradient_std"}
    rows = (
        (f"{name}: {kind}", *(figures_of(layer[what], 2) for layer in scale["layers"]))
        for name, scale in numbers["scales"].items()
        for kind, what in kinds.items()
    )
    others = tuple(Column(title=f"layer {layer}", side="right") for layer in layers)
    return ColumnTable("std of", others, tuple(rows), prose=True)


# ------------------------------------------------------------------ part two: the tour
def _show_tour(console: Console, out: Path) -> None:
    digits = data.mnist_digits()
    x, y = torch.tensor(digits.x[:_BATCH]), torch.tensor(digits.y[:_BATCH])
    torch.manual_seed(0)
    model = mlp([784, *[_WIDTH] * (_DEPTH - 1), 10])
    default = copy.deepcopy(model)

    console.print(Rule(f"2. Your model: {_DEPTH} ReLU layers with the framework's default start", align="left"))
    before = fanin.check(model, x, targets=y)
    before.show()

    console.print(Rule("3. The plan: what to do, and why", align="left"))
    plan = fanin.plan(model, x)
    console.print(PlanView(plan))
    console.print(Text(f"\n{plan.explain('2.weight')}\n"), soft_wrap=True)

    console.print(Rule("4. Applied, and checked again", align="left"))
    plan.apply_(model)
    after = fanin.check(model, x, targets=y)
    after.show()

    console.print(Rule(f"5. Both trained: {_STEPS} steps of SGD, the same batches", align="left"))
    names = [name for name, module in model.named_modules() if isinstance(module, nn.ReLU)]
    models = {"framework's default": default, "fanin": model}
    flows = {name: flow(m, x, y, _LOSS, names) for name, m in models.items()}
    curves = {name: _trained(m, digits) for name, m in models.items()}
    for name, m in models.items():
        held = accuracy(m, digits.x_held, digits.y_held)
        console.print(Text(f"  {name:<20} loss {curves[name].final():.3f}   held-out accuracy {held:.1%}"))
    write_figure(out / "tour.png", _draw(flows, curves))
    page = before.save(out / "report.html")
    console.print(Text(f"\nfigure: {out / 'tour.png'}\npage:   {page}"), soft_wrap=True)


def _trained(model: nn.Module, digits: Split) -> Curve:
    stream = batches(digits.x, digits.y, size=_BATCH, seed=0)
    optimizer = make_optimizer("sgd", model.parameters(), _LR)
    return train(model, stream, loss=_LOSS, optimizer=optimizer, steps=_STEPS)


@figures.drawn
def _draw(flows: dict[str, list[LayerSample]], curves: dict[str, Curve]) -> Figure:
    fig, axes = figures.figure(1, 3, size=(11.0, 3.7))
    up, down, learnt = axes[0]
    for i, (name, found) in enumerate(flows.items()):
        layers = range(1, len(found) + 1)
        figures.series(up, i, layers, [f.activation_rms for f in found], name)
        figures.series(down, i, layers, [f.gradient_rms for f in found], name)
        figures.series(learnt, i, range(len(curves[name].loss)), figures.smooth(curves[name].loss, 10), name)
    up.set(yscale="log", xlabel="layer", ylabel="rms", title="signal, forward")
    down.set(yscale="log", xlabel="layer", ylabel="rms", title="gradient, backward")
    learnt.set(xlabel="update", ylabel="training loss (mean of 10)", title="training loss")
    learnt.legend()
    return fig
