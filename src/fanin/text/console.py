"""How wide text is, and the console that it is printed on."""

from __future__ import annotations

import os

from rich.console import Console

__all__ = ["WIDTH", "standard_console"]

WIDTH = 100


def standard_console() -> Console:
    """Standard output; 100 columns where it is a pipe or a file, which have no width of their own."""
    console = Console(highlight=False)
    piped = not console.file.isatty() and "COLUMNS" not in os.environ
    return Console(highlight=False, width=WIDTH) if piped else console
