"""Pages of results: the tables of ``benchmarks/results``, as they were written by the runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tools.site.markdown import table
from tools.site.places import RESULTS

__all__ = ["figures", "pages"]

_HEAD = """# Evidence

The runs that the numbers of this documentation come from. Each page says how it was made: the command, the versions,
the machine, the date. The files are in the repository under `benchmarks/results`, next to the raw numbers as JSON.
Losses are there beside wins.

"""
_FOOT = "\n[All results](./)\n"
_MADE = re.compile(r"python -m ((?:benchmarks|tools)[\w.]*)")


def pages() -> Mapping[str, str]:
    """Path on the site -> Markdown."""
    texts = {p.name: _spaced(p.read_text(encoding="utf-8")) for p in sorted(RESULTS.glob("*.md"))}
    rows = sorted((f"[{_title(text)}](evidence/{name})", _command(text)) for name, text in texts.items())
    index = _HEAD + table(("result", "made by"), rows)
    return {"evidence.md": index, **{f"evidence/{name}": text + _FOOT for name, text in texts.items()}}


def figures() -> Mapping[str, Path]:
    """Path on the site -> the picture beside the results."""
    return {f"evidence/{p.name}": p for p in sorted(RESULTS.iterdir()) if p.suffix in (".svg", ".png")}


def _spaced(text: str) -> str:
    """A table begins a block of its own."""
    return re.sub(r"^([^|\n].*)\n(?=\|)", r"\1\n\n", text, flags=re.MULTILINE)


def _title(text: str) -> str:
    return text.partition("\n")[0].lstrip("# ")


def _command(text: str) -> str:
    found = _MADE.search(text)
    return f"`python -m {found[1]}`" if found else ""
