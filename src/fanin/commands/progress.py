"""What a command is doing, on stderr, while somebody watches; nothing where stderr is a pipe or a file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from fanin.text.names import clean
from fanin.timing import following

__all__ = ["bytes_shown", "working"]


@contextlib.contextmanager
def working(words: str) -> Iterator[None]:
    """A line with the part that runs and the seconds since the start, gone when the work is done.

    Args:
        words: what is done to what, such as "checking model.py:build".
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as line:
        row = line.add_task(clean(words), total=None)
        with following(lambda part: line.update(row, description=f"{clean(words)}: {part}")):
            yield


@contextlib.contextmanager
def bytes_shown(words: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of bytes for work that says how many are done, of how many."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        row = bar.add_task(clean(words), total=None)
        yield lambda done, total: bar.update(row, completed=done, total=total)
