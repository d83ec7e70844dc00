"""``fanin playground``: write the interactive page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fanin.errors import ArgumentError

__all__ = ["playground"]


def playground(
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("playground.html"),
    show: Annotated[bool, typer.Option("--open", help="Also open the page in the default browser.")] = False,
) -> None:
    """Write a page that shows what a start does, to play with.

    Depth, width, law, activation, norm and skips; signal, gradient and likeness layer by layer beside the theory; and
    training on real digits. It works offline; the weights are those of Python.
    """
    from rich.console import Console
    from rich.text import Text

    from fanin.report.playground import playground_page
    from fanin.text.files import assert_place, write_text
    from fanin.text.names import clean

    if out.suffix.lower() not in (".html", ".htm"):
        raise ArgumentError(
            f"the page is HTML, and a browser opens it by its ending: --out NAME.html; got '{clean(out)}'"
        )
    assert_place(out)
    write_text(out, playground_page())
    console = Console()
    console.print(Text(f"page: {clean(out)}"), soft_wrap=True)
    if show and not _opened(out):
        console.print(Text("No browser could be started here; open the file in one."), soft_wrap=True)


def _opened(page: Path) -> bool:
    """Whether a browser took the page."""
    import webbrowser

    return webbrowser.open(page.resolve().as_uri())
