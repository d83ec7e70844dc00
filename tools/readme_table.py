"""The README's table of a comparison, made by the code above it: ``python -m tools.readme_table`` (half a minute)."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any
from unittest import mock

import fanin

__all__ = ["PAGE", "compared", "numbers_of", "updated"]

PAGE = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- digits -->\n", "<!-- end of digits -->"
_HEAD = "| mean of 3 seeds | final loss | held-out accuracy |\n| --- | --: | --: |\n"


def compared(text: str) -> list[Any]:
    """What each `fanin.compare` of the page's example gives, in order."""
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    code = next(block for block in blocks if "fanin.compare" in block)
    found: list[Any] = []
    real = fanin.compare

    def kept(*args: Any, **options: Any) -> Any:
        found.append(real(*args, **options))
        return found[-1]

    with mock.patch.object(fanin, "compare", kept), contextlib.redirect_stdout(io.StringIO()):
        exec(compile(code, "README.md", "exec"), {})
    return found


def updated(text: str) -> str:
    """The page with its table made anew."""
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    rows = [row for depth, result in zip((2, 15), compared(text), strict=True) for row in _rows(depth, result)]
    return text[:begin] + _HEAD + "".join(rows) + text[end:]


def _rows(depth: int, result: Any) -> list[str]:
    """A row for each start, the smaller loss in bold."""
    by_start = {v.init: v for v in result.verdicts}
    best = min(v.final_loss for v in by_start.values())
    told = ((start, by_start[start]) for start in result.inits)
    return [
        f"| {depth} hidden layers, {start} | {_bold(f'{v.final_loss:.3f}', v.final_loss == best)} | {v.score:.1%} |\n"
        for start, v in told
    ]


def _bold(text: str, wanted: bool) -> str:
    return f"**{text}**" if wanted else text


def numbers_of(text: str) -> list[float]:
    """All numbers of the table's cells, losses and shares, in order."""
    table = text[text.index(BEGIN) + len(BEGIN) : text.index(END)].splitlines()[2:]
    cells = [cell for line in table for cell in line.split("|")[2:4]]
    return [float(re.sub(r"[*% ]", "", cell)) / (100.0 if "%" in cell else 1.0) for cell in cells]


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
