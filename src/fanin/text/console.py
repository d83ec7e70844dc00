"""How wide text is, the console that it is printed on, and drawings as plain text."""

from __future__ import annotations

import io
import os

from rich.console import Console, RenderableType

__all__ = ["WIDEST", "WIDTH", "plain_text", "standard_console"]

WIDTH = 100  # of prose, and of a pipe
WIDEST = 160  # of a table, where the terminal has the room


def standard_console() -> Console:
    """Standard output; 100 columns where it is a pipe or a file, which have no width of their own."""
    console = Console(highlight=False)
    piped = not console.file.isatty() and "COLUMNS" not in os.environ
    return Console(highlight=False, width=WIDTH) if piped else console


def plain_text(drawing: RenderableType, *, width: int = WIDTH) -> str:
    r"""What rich would print, as text: no colour, no control characters, no blanks at the end of a line.

    Args:
        drawing: anything that rich prints.
        width: columns.

    Example:
        >>> from rich.text import Text
        >>> plain_text(Text("red", style="red"))
        'red\n'
    """
    console = Console(
        file=io.StringIO(), width=width, color_system=None, force_terminal=False, legacy_windows=False, _environ={}
    )
    with console.capture() as capture:
        console.print(drawing)
    return "".join(line.rstrip() + "\n" for line in capture.get().splitlines())
