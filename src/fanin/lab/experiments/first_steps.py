"""Six training runs, healthy and broken: how far the weights are from where they started, step by step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fanin import initializers
from fanin.lab import data, figures
from fanin.lab.experiments.base import Outcome, Settings
from fanin.lab.models import mlp
from fanin.lab.split import Split
from fanin.lab.starts import draw_weights_
from fanin.lab.training import accuracy, batches, train
from fanin.report.steps import scalars
from fanin.rules.catalogue.weights_replaced import WeightsReplaced
from fanin.watching.watcher import watch

if TYPE_CHECKING:
    from matplotlib.figure import Figure


TITLE = "The first hundred steps: how far from the start is too far"

_WIDTHS = (784, 128, 128, 128, 128, 10)
_STEPS = 100
_WARM_UP = 20
_HE = initializers.he_normal


@dataclass(frozen=True, slots=True)
class _Run:
    """One run: what trains it."""

    name: str
    healthy: bool
    rate: float = 1e-3
    warm_up: int = 0


_RUNS = (
    _Run("He, AdamW at 1e-3", True),
    _Run("He, AdamW at 3e-4", True, rate=3e-4),
    _Run("He, AdamW at 3e-3, warm-up of 20", True, rate=3e-3, warm_up=_WARM_UP),
    _Run("rate 100 times too high", False, rate=0.1),
    _Run("rate 10,000 times too low", False, rate=1e-7),
    _Run("rate 50 times too high", False, rate=0.05),
)


def run(settings: Settings) -> Outcome:
    """Four hidden layers of 128 ReLU units on digits; the first 100 steps are watched, then training goes on."""
    digits = data.mnist_digits()
    total = 2000 if settings.full else 400
    rows = []
    for i, one in enumerate(_RUNS):
        settings.progress(one.name, i / len(_RUNS))
        rows.append(_trained(one, digits, total, settings.seed))
    numbers = {"widths": list(_WIDTHS), "watched": _STEPS, "steps": total, "limit": _limit(), "runs": rows}
    return Outcome(name="first-steps", title=TITLE, numbers=numbers, figure=_draw(numbers), text=_text(numbers))


def _limit() -> float:
    return WeightsReplaced.thresholds["warning"]


def _trained(one: _Run, digits: Split, total: int, seed: int) -> dict[str, Any]:
    model = mlp(_WIDTHS)
    draw_weights_(model, _HE(), seed=seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=one.rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: min((n + 1) / (one.warm_up or 1), 1.0))
    with watch(model, optimizer, steps=_STEPS, check=False) as watched:

        def tell(step: int, loss: float) -> None:
            watched.step(loss)
            schedule.step()

        stream = batches(digits.x, digits.y, size=64, seed=seed)
        curve = train(model, stream, loss=nn.functional.cross_entropy, optimizer=optimizer, steps=total, on_step=tell)
    report = watched.report
    found = sorted({f.code for f in (*report.findings, *report.consequences) if f.severity != "note"})
    return {
        "name": one.name,
        "healthy": one.healthy,
        "steps": [s.step for s in watched.watched.steps],
        "distance": [scalars(s).get("distance") for s in watched.watched.steps],
        "loss": [scalars(s).get("loss") for s in watched.watched.steps],
        "found": found,
        "final_loss": None if curve.diverged else curve.final(),
        "held_out_accuracy": None if curve.diverged else accuracy(model, digits.x_held, digits.y_held),
    }


@figures.drawn
def _draw(numbers: dict[str, Any]) -> Figure:
    fig, axes = figures.figure(1, 2, size=(11.0, 4.2))
    for ax, what, label in (
        (axes[0][0], "distance", "distance from init / initial weight"),
        (axes[0][1], "loss", "loss"),
    ):
        for i, row in enumerate(numbers["runs"]):
            values = [math.nan if v is None else v for v in row[what]]
            figures.series(ax, i, row["steps"], values, f"{'✓' if row['healthy'] else '✗'} {row['name']}")
        ax.set(xlabel="step", ylabel=label, yscale="log")
    left, right = axes[0]
    left.plot([1, 20], [numbers["limit"]] * 2, color="#555555", linewidth=1.2, linestyle=":")
    left.annotate(
        "W901: limit within 20 steps", (20, numbers["limit"]), xytext=(8, -3), textcoords="offset points", fontsize=8
    )
    left.set_title("how far the weights have moved (median over layers)")
    right.set_title("loss")
    fig.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return fig


def _text(numbers: dict[str, Any]) -> str:
    rows = numbers["runs"]

    def at_20(row: dict[str, Any]) -> float:
        return float(row["distance"][row["steps"].index(20)])

    def said(row: dict[str, Any]) -> str:
        found = ", ".join(row["found"]) or "nothing"
        held = "diverged" if row["held_out_accuracy"] is None else f"{row['held_out_accuracy']:.0%} held out"
        return f"{row['name']}: {at_20(row):.2g} ({found}; {held})"

    healthy, broken = ([said(r) for r in rows if r["healthy"] == kind] for kind in (True, False))
    return (
        "Distance from init after 20 steps, what the rules on steps found within 100, and accuracy after "
        f"{numbers['steps']}. Healthy: {'; '.join(healthy)}. Broken: {'; '.join(broken)}. Weights that have moved by "
        "more than their initial size hold nothing of the start any more; weights that do not move learn nothing. The "
        "loss alone tells neither from a slow start."
    )
