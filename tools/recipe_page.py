"""The tables of docs/recipes.md, made from the code: ``python -m tools.recipe_page``.

A table is between ``<!-- NAME -->`` and ``<!-- end of NAME -->``; the text around them is written by hand.
"""

from __future__ import annotations

import re
from pathlib import Path

from fanin.recipes import RECIPES
from fanin.recipes.auto.evidence import EVIDENCE

__all__ = ["PAGE", "updated"]

PAGE = Path(__file__).parents[1] / "docs" / "recipes.md"


def updated(text: str) -> str:
    """The page with its tables made anew.

    Raises:
        ValueError: the page lacks the two lines that enclose a table.
    """
    for name, table in (("recipes", _recipes()), ("evidence", _evidence())):
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ValueError(f"docs/recipes.md needs one line {begin.strip()!r} and one line {end!r}")
        text = re.sub(f"{begin}.*?{end}", lambda _, t=table, b=begin, e=end: f"{b}{t}{e}", text, flags=re.S)
    return text


def _recipes() -> str:
    return _table(
        ("recipe", "what it does", "source"), [(f"`{r.name}`", r.summary, r.source) for r in RECIPES.values()]
    )


def _evidence() -> str:
    cells = []
    for code, rows in EVIDENCE.items():
        for i, row in enumerate(rows):
            name = "" if i else f'<a id="{code}"></a>`{code}`'
            cells.append((name, row.setting, row.ours, row.others, row.seeds, row.source))
    return _table(("code", "setting", "auto", "others", "seeds", "source"), cells)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
