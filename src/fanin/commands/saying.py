"""Sentences that commands print: folded between words to the width of a terminal, whole lines in a pipe or a file."""

from __future__ import annotations

from typing import Any

import typer

__all__ = ["fold_shown", "say", "tell"]


def say(text: str) -> None:
    """Print a message to stderr.

    Args:
        text: one or more lines; what a terminal folds keeps the indentation of its line.
    """
    from fanin.text.console import error_width  # loads rich, which --help does not need

    typer.echo(_fitted(text, error_width()), err=True)


def tell(text: str) -> None:
    """Print sentences to standard output, folded as those of `say`."""
    from fanin.text.console import output_width

    typer.echo(_fitted(text, output_width()))


def fold_shown(error: Any) -> None:
    """Let an error of the command line's parser be shown as `say` shows messages.

    Args:
        error: as typer raises it; its ``format_message`` gives what is printed behind "Error: ".
    """
    from fanin.text.console import error_width

    said = error.format_message()
    error.format_message = lambda: _fitted(f"Error: {said}", error_width()).removeprefix("Error: ")


def _fitted(text: str, width: int | None) -> str:
    """The text in lines of this width; as it is where there is none."""
    if width is None:
        return text
    return "\n".join(line for whole in text.split("\n") for line in _folded(whole, width))


def _folded(line: str, width: int) -> list[str]:
    """Lines of whole words; a path that is longer than a line stays whole, so that it can be copied."""
    from rich.cells import cell_len

    if cell_len(line) <= width:
        return [line]
    words = line.split()
    before = line[: len(line) - len(line.lstrip())]
    later = before and f"{before}  "
    lines = [before + words[0]]
    for word in words[1:]:
        if cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(later + word)
    return lines
