"""``fanin graph``: draw a model as fanin reads it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fanin.commands.options import InputShape, Recipe, Target

if TYPE_CHECKING:
    from fanin.commands.targets import Target as Loaded

__all__ = ["graph"]


def graph(
    target: Target,
    input_shape: InputShape = None,
    form: Annotated[Literal["svg", "html", "mermaid", "dot"], typer.Option("--format", help="How to draw.")] = "svg",
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of printing.")] = None,
    unfold: Annotated[bool, typer.Option("--unfold", help="Draw every block, also those that repeat.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Write into each node how its weights start.")] = False,
    recipe: Recipe = "auto",
) -> None:
    """Draw a model: its modules, maps, norms and activations."""
    from fanin.commands.targets import load_target
    from fanin.drawing.picture import draw
    from fanin.graph.recording.capture import capture
    from fanin.text.files import assert_place, write_text
    from fanin.text.names import clean

    if out is not None:
        assert_place(out)
    loaded = load_target(target, input_shape=input_shape)
    starts = _starts(loaded, recipe) if plan else None
    text = draw(capture(loaded.model, loaded.inputs), form, fold=not unfold, starts=starts)
    if out is None:
        typer.echo(text)
    else:
        write_text(out, text)
        typer.echo(f"wrote {clean(out)}", err=True)


def _starts(loaded: Loaded, recipe: str) -> dict[str, str]:
    """How each parameter starts under a recipe, in a few words, by each of its names."""
    from fanin.planning.build import plan
    from fanin.planning.rows import start_words

    made = plan(loaded.model, loaded.inputs, recipe=recipe, on_unknown="keep")
    return {name: start_words(a) for a in made.assignments.values() for name in a.names}
