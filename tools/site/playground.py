"""The playground in the site."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["PAGE", "write"]

FILE = "playground/whole.html"  # beside the page that shows it in a frame, which is playground.html
PAGE = f"""# Playground

Turn depth, width and scale, and see what becomes of signals and gradients: theory beside a simulated network, with the
weights that `fanin.key(seed, name)` gives in Python. [Open it in a page of its own]({FILE}), or make the file with
`fanin playground --out page.html` ([guide](guide/playground.md)).

<iframe class="playground" src="{FILE}" title="fanin playground" loading="lazy"></iframe>
"""


def write(folder: Path) -> None:
    """Make the page by the command that users have."""
    (folder / FILE).parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "fanin", "playground", "--out", str(folder / FILE)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
