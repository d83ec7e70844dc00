"""The playground in the site."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tools.reference_pages import commands

__all__ = ["pages", "titles", "write"]

FILE = "playground.html"
PAGE = f"""# Playground

Turn depth, width and scale, and see what becomes of signals and gradients: theory beside a simulated network, with the
weights that `fanin.key(seed, name)` gives in Python. [Open it in a page of its own]({FILE}), or make the file with
`fanin playground --out page.html`.

<iframe class="playground" src="{FILE}" title="fanin playground" loading="lazy"></iframe>
"""


def _is_there() -> bool:
    return "playground" in commands()


def pages() -> Mapping[str, str]:
    """Path on the site -> Markdown."""
    return {"playground.md": PAGE} if _is_there() else {}


def titles() -> Mapping[str, str]:
    """Title -> page."""
    return dict.fromkeys(["Playground"], "playground.md") if _is_there() else {}


def write(folder: Path) -> None:
    """Make the page by the command that users have."""
    if not _is_there():
        return
    command = [sys.executable, "-m", "fanin", "playground", "--out", str(folder / "page.html")]
    subprocess.run(command, check=True)
    (folder / "page.html").replace(folder / FILE)
