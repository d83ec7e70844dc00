"""The demonstration: the main job on real digits, in under a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fanin.lab.experiments import Settings
from fanin.lab.terminal import watched

__all__ = ["run_demo"]


def _scales_table(numbers: dict[str, Any]) -> Table:
    table = Table(
        title="std of activations and of gradients, layer by layer", title_justify="left", header_style="bold"
    )
    table.add_column("weights")
    table.add_column("what")
    depth = len(numbers["widths"]) - 2
    for layer in range(1, depth + 1):
        table.add_column(f"layer {layer}", justify="right")
    table.add_column(f"{numbers['steps']} steps of SGD", justify="right")
    for name, scale in numbers["scales"].items():
        if scale["diverged_after"] is not None:
            end = f"diverged at step {scale['diverged_after']}"
        else:
            end = f"loss {scale['final_loss']:.3g}, held-out {scale['held_out_accuracy']:.0%}"
        for what, last in (("activation", end), ("gradient", "")):
            row = [f"{layer[f'{what}_std']:.2g}" for layer in scale["layers"]]
            table.add_row(name if what == "activation" else "", what, *row, last)
        table.add_section()
    return table


def run_demo(out: Path) -> None:
    """Show what weight scales do to a real network, and write the figure.

    Args:
        out: folder for the figure and its numbers.
    """
    console = Console()
    console.print(Text("Five ReLU layers on MNIST digits, at three scales", style="bold"))
    outcome = watched("three-scales", Settings(workers=1))
    picture, _ = outcome.save(out)
    console.print(_scales_table(outcome.numbers))
    console.print(Text(f"figure: {picture}"), soft_wrap=True)
