"""Messages on stderr: folded between words to the width of a terminal, and whole where stderr is a pipe or a file."""

from __future__ import annotations

from typing import Any

import typer

__all__ = ["fold_shown", "say"]


def say(text: str) -> None:
    """Print a message to stderr.

    Args:
        text: one or more lines; what a terminal folds keeps the indentation of its line.
    """
    typer.echo(_fitted(text), err=True)


def fold_shown(error: Any) -> None:
    """Let an error of the command line's parser be shown as `say` shows messages.

    Args:
        error: as typer raises it; its ``format_message`` gives what is printed behind "Error: ".
    """
    said = error.format_message()
    error.format_message = lambda: _fitted(f"Error: {said}").removeprefix("Error: ")


def _fitted(text: str) -> str:
    from fanin.text.console import error_width  # loads rich, which --help does not need

    width = error_width()
    if width is None:
        return text
    return "\n".join(line for whole in text.split("\n") for line in _folded(whole, width))


def _folded(line: str, width: int) -> list[str]:
    from rich.cells import cell_len

    from fanin.text.folding import fold_words

    if cell_len(line) <= width:
        return [line]
    words = line.lstrip()
    before = line[: len(line) - len(words)]
    return [before + part for part in fold_words(words, max(width - len(before), 1))]
