"""All pages of the site: those written by hand, those made from the code, and the files they show."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from fanin.initializers.registry import NAMES
from fanin.recipes import RECIPES
from tools.site import api, evidence, folklore, full_text, initializer_pages, playground, recipe_pages
from tools.site.markdown import linked_cells, linked_results, prepared
from tools.site.places import DOCS, ROOT

__all__ = ["made", "site_pages", "write_sources"]

_ROWS = {
    "playground": "| [Play with it](playground.md) | depth, width, scale: what becomes of a signal |\n",
    "folklore": "| [Folklore, checked](folklore/index.md) | what people say, and what the experiment says |\n",
}


def made() -> Mapping[str, str]:
    """Path on the site -> Markdown, of the pages that are not in ``docs/``, or stand in for one there."""
    return {
        **initializer_pages.pages(),
        **recipe_pages.pages(),
        **folklore.pages(),
        **evidence.pages(),
        **api.pages(),
        "playground.md": playground.PAGE,
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
    }


def _written() -> Mapping[str, str]:
    return {p.relative_to(DOCS).as_posix(): p.read_text(encoding="utf-8") for p in sorted(DOCS.rglob("*.md"))}


def _files() -> Mapping[str, Path]:
    """Path on the site -> a file that is copied as it is."""
    beside = {p.relative_to(DOCS).as_posix(): p for p in DOCS.rglob("*") if p.is_file() and p.suffix != ".md"}
    return {**beside, **evidence.figures()}


def site_pages() -> dict[str, str]:
    """Path on the site -> Markdown, of every page, with links that hold there."""
    texts = dict(_written()) | dict(made())
    known = {*texts, *_files()}
    names = {
        "initializers.md": {name: f"initializers/{name}.md" for name in NAMES},
        "recipes.md": {name: f"recipes/{name}.md" for name in RECIPES},
    }
    texts["index.md"] = _home(texts["index.md"])
    pages = {}
    for page, text in texts.items():
        linked = linked_cells(text, names[page]) if page in names else text
        pages[page] = linked_results(prepared(linked, page, known), page, known)
    return pages


def _home(text: str) -> str:
    """The front page with rows for pages that only the site has, in place of the comments that mark them."""
    for name, row in _ROWS.items():
        text = text.replace(f"<!-- {name} -->\n", row)
    return text


def write_sources(target: Path) -> None:
    """Write every page and file; the folder holds nothing else."""
    shutil.rmtree(target, ignore_errors=True)
    pages = site_pages()
    for page, text in {**pages, **full_text.files(pages)}.items():
        path = target / page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for name, file in _files().items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, path)
    playground.write(target)
