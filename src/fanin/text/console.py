"""How wide text is, the console that it is printed on, and drawings as plain text."""

from __future__ import annotations

import io
import os
from typing import IO

from rich.console import Console, RenderableType

__all__ = ["WIDEST", "WIDTH", "error_width", "output_width", "plain_text", "prose_width", "standard_console"]

WIDTH = 100  # of prose, and of a pipe
WIDEST = 160  # of a table, where the terminal has the room
_NARROWEST = 20  # below, words would be broken


def standard_console() -> Console:
    """Standard output; 100 columns where it is a pipe or a file, which have no width of their own."""
    console = Console(highlight=False)
    piped = not _is_terminal(console.file) and "COLUMNS" not in os.environ
    return Console(highlight=False, width=WIDTH) if piped else console


def prose_width() -> int:
    """Columns of text for standard output: those of the terminal or of COLUMNS, at most 100; 100 through a pipe.

    Example:
        >>> from unittest import mock
        >>> with mock.patch.dict("os.environ", COLUMNS="80"):
        ...     prose_width()
        80
    """
    return max(min(standard_console().width, WIDTH), _NARROWEST)


def output_width() -> int | None:
    """Columns of sentences on standard output, where a terminal shows it: at most 100; None for a pipe or a file."""
    return prose_width() if _is_terminal(Console().file) else None


def error_width() -> int | None:
    """Columns of a message on stderr, where a terminal shows it: at most 100; None for a pipe or a file.

    A message in a log or in a pipe is one line, so that it can be searched for and counted.

    Example:
        >>> import contextlib
        >>> with contextlib.redirect_stderr(io.StringIO()):
        ...     print(error_width())
        None
    """
    console = Console(stderr=True)
    return max(min(console.width, WIDTH), _NARROWEST) if _is_terminal(console.file) else None


def _is_terminal(file: IO[str]) -> bool:
    """Whether a terminal shows the file; a closed one, or an object that only has `write`, is none."""
    try:
        return file.isatty()
    except (AttributeError, OSError, ValueError):
        return False


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
