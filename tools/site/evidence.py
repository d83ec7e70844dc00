"""Pages of results: the tables of ``benchmarks/results``, as they were written by the runs."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tools.site.markdown import table
from tools.site.places import RESULTS

__all__ = ["pages"]

_HEAD = """# Evidence

Every number that this documentation claims comes from one of these runs. Each page begins with the command that made
it, the versions, the machine and the date; the files are in the repository under `benchmarks/results`, next to the raw
numbers as JSON. Losses stand beside wins.

"""
_FOOT = "\n[All results](index.md)\n"
_MADE = re.compile(r"`python -m (benchmarks[\w.]*)")


def pages() -> Mapping[str, str]:
    """Path on the site -> Markdown."""
    texts = {p.name: _spaced(p.read_text(encoding="utf-8")) for p in sorted(RESULTS.glob("*.md"))}
    rows = [(f"[{_title(text)}]({name})", _command(text)) for name, text in texts.items()]
    index = _HEAD + table(("result", "made by"), rows)
    return {"evidence/index.md": index, **{f"evidence/{name}": text + _FOOT for name, text in texts.items()}}


def _spaced(text: str) -> str:
    """A table begins a block of its own."""
    return re.sub(r"^([^|\n].*)\n(?=\|)", r"\1\n\n", text, flags=re.MULTILINE)


def _title(text: str) -> str:
    return text.partition("\n")[0].lstrip("# ")


def _command(text: str) -> str:
    found = _MADE.search(text)
    return f"`python -m {found[1]}`" if found else ""
