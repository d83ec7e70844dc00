"""``--stats``: how long each part of a command took, as a table on stderr."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from fanin.timing import measured

__all__ = ["shown"]


@contextlib.contextmanager
def shown(wanted: bool) -> Iterator[None]:
    """Print the seconds of each part when the work is done, also after an error; nothing where it is not wanted."""
    if not wanted:
        yield
        return
    started = time.perf_counter()
    with measured() as seconds:
        try:
            yield
        finally:
            _print(dict(seconds), time.perf_counter() - started)


def _print(parts: dict[str, float], total: float) -> None:
    from rich.console import Console

    from fanin.text.columns import Column, columns
    from fanin.text.numbers import seconds, share

    rest = total - sum(parts.values())
    rows = [[name, seconds(took), share(took / total if total else None)] for name, took in parts.items()]
    rows += [["everything else", seconds(rest), share(rest / total if total else None)], ["total", seconds(total), ""]]
    heads = [Column(title="time", side="right"), Column(title="share", side="right")]
    console = Console(stderr=True, highlight=False)
    console.print(columns("part", heads, rows, width=console.width))
