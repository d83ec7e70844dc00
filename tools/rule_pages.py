"""Help pages of the rules, made from their docstrings: ``python -m tools.rule_pages docs/rules``."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from fanin.rules.base import Rule
from fanin.rules.table import FAMILIES, RULES
from tools.twins import TWINS

__all__ = ["pages", "write_pages"]


def pages() -> Mapping[str, str]:
    """File name -> Markdown, an index and one page a rule."""
    return {"index.md": _index(), **{f"{rule.code}.md": _page(rule) for rule in RULES}}


def _index() -> str:
    lines = [
        "# Rules",
        "",
        "In causal order. `fanin explain CODE` prints a page; each example is executed by the tests.",
        "",
        "| code | name | family | what it finds |",
        "| --- | --- | --- | --- |",
    ]
    for rule in RULES:
        title = rule.page().splitlines()[0]
        lines.append(f"| [{rule.code}]({rule.code}.md) | {rule.name} | {FAMILIES[rule.code[0]]} | {title} |")
    return "\n".join([*lines, ""])


def _page(rule: Rule) -> str:
    title, _, body = rule.page().partition("\n")
    limits = "".join(f"| {name} | {value:g} |\n" for name, value in rule.thresholds.items())
    table = f"\n## Thresholds\n\n| name | value |\n| --- | --- |\n{limits}" if limits else ""
    twin = f"\n## Twin\n\n{TWINS[rule.code].words}\n"
    return f"# {rule.code} {rule.name}\n\n{title}\n{_sections(body, twin)}{table}"


def _sections(body: str, twin: str) -> str:
    """Docstring headings as Markdown headings; the example as a code block, its twin behind it."""
    text = ""
    for heading, content in re.findall(r"^(\w[\w ]*):\n((?:    .*\n?|\n)+)", body, flags=re.MULTILINE):
        lines = "\n".join(line[4:] for line in content.rstrip().splitlines())
        shown = f"```python\n{lines}\n```\n{twin}" if heading == "Example" else f"{lines}\n"
        text += f"\n## {heading}\n\n{shown}"
    return text


def write_pages(folder: Path) -> None:
    """Write all pages into a folder and remove those of rules that are gone."""
    folder.mkdir(parents=True, exist_ok=True)
    made = pages()
    for old in set(folder.glob("*.md")) - {folder / name for name in made}:
        old.unlink()
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_pages(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/rules"))
