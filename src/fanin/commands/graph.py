"""``fanin graph``: draw a model as fanin reads it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fanin.commands.options import InputShape, Recipe, Target
from fanin.commands.saying import say
from fanin.errors import ArgumentError
from fanin.text.names import clean

if TYPE_CHECKING:
    from fanin.commands.targets import Target as Loaded

__all__ = ["graph", "picture_format"]


def graph(
    target: Target,
    input_shape: InputShape = None,
    form: Annotated[
        Literal["svg", "html", "mermaid", "dot"] | None,
        typer.Option("--format", help="How to draw; by default as the ending of --out says, else svg."),
    ] = None,
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

    if out is not None:
        assert_place(out)
    how = form or picture_format(out)
    loaded = load_target(target, input_shape=input_shape)
    starts = _starts(loaded, recipe) if plan else None
    text = draw(capture(loaded.model, loaded.inputs), how, fold=not unfold, starts=starts)
    if out is None:
        typer.echo(text)
    else:
        write_text(out, text)
        say(f"wrote {clean(out)}")


_ENDINGS = {".svg": "svg", ".html": "html", ".htm": "html", ".mmd": "mermaid", ".dot": "dot", ".gv": "dot"}


def picture_format(out: Path | None) -> str:
    """How to draw for a file of this name; SVG without one.

    Raises:
        ArgumentError: the ending says no format.

    Example:
        >>> picture_format(None), picture_format(Path("model.gv"))
        ('svg', 'dot')
    """
    if out is None:
        return "svg"
    ending = out.suffix.lower()
    if ending not in _ENDINGS:
        raise ArgumentError(
            f"the ending of '{clean(out)}' names no format of pictures; use one of {', '.join(_ENDINGS)}, or give "
            "--format"
        )
    return _ENDINGS[ending]


def _starts(loaded: Loaded, recipe: str) -> dict[str, str]:
    """How each parameter starts under a recipe, in a few words, by each of its names."""
    from fanin.planning.build import plan
    from fanin.planning.rows import start_words

    made = plan(loaded.model, loaded.inputs, recipe=recipe, on_unknown="keep")
    return {name: start_words(a) for a in made.assignments.values() for name in a.names}
