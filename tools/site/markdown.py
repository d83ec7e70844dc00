"""Markdown as GitHub reads it, made into Markdown as the site's parser reads it, with links that hold there."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Mapping

from tools.site.places import REPOSITORY

__all__ = ["linked_cells", "linked_names", "linked_results", "outside_fences", "prepared", "table"]

_FENCE = re.compile(r"^```.*?^```[^\n]*$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"^```(\w+) (\S+)$", re.MULTILINE)
_COMMENT = re.compile(r"^<!--.*?-->$", re.MULTILINE)
_LINK = re.compile(r"(\]\()([^)\s]+)(\))")
_RESULT = re.compile(r"(?<!\[)`?benchmarks/results/(\w+)\.md`?(?!\))")
_FOLDERS = ("benchmarks/results",)


def outside_fences(text: str, change: Callable[[str], str]) -> str:
    """A page with a change made everywhere but in its code blocks."""
    parts, end = [], 0
    for found in _FENCE.finditer(text):
        parts += [change(text[end : found.start()]), found.group()]
        end = found.end()
    return "".join([*parts, change(text[end:])])


def prepared(text: str, page: str, pages: Collection[str]) -> str:
    """A page of ``docs/`` for the site.

    Args:
        text: the page.
        page: its path below ``docs/``.
        pages: paths of all pages and files of the site.

    Returns:
        The page: file names of code blocks are titles, comments are gone, a link that leaves ``docs/`` leads to the
        page of the site that shows the file, or to the repository.
    """

    def change(part: str) -> str:
        return _LINK.sub(lambda m: m[1] + _target(m[2], page, pages) + m[3], _COMMENT.sub("", part))

    return outside_fences(_FILE.sub(r'```\1 title="\2"', text), change)


def _target(link: str, page: str, pages: Collection[str]) -> str:
    """Where a link leads from a page of the site."""
    path, hash_, anchor = link.partition("#")
    if not path or re.match(r"[a-z]+:", link):
        return link
    place = posixpath.normpath(posixpath.join(_home(page), path))
    inside = place.removeprefix("docs/")
    if place.startswith("docs/"):
        shown = inside if inside in pages else f"{inside}/index.md"
    else:
        shown = _shown(place)
    if shown not in pages:
        return f"{REPOSITORY}/blob/main/{place}{hash_}{anchor}"
    return posixpath.relpath(shown, posixpath.dirname(page) or ".") + hash_ + anchor


def _home(page: str) -> str:
    """The folder of the repository in which a page was written."""
    folder = posixpath.dirname(page)
    return _FOLDERS[0] if folder == "evidence" else posixpath.join("docs", folder)


def _shown(place: str) -> str:
    """The page of the site that shows a file of the repository; "" where none does."""
    if place in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md"):
        return {"README.md": "index.md"}.get(place, place.lower())
    folder, name = posixpath.split(place)
    if place in _FOLDERS:
        return "evidence.md"
    return f"evidence/{name}" if folder in _FOLDERS else ""


def linked_results(text: str, page: str, pages: Collection[str]) -> str:
    """A page on which each file of results that it names is a link to the page with its tables."""
    here = posixpath.dirname(page) or "."

    def link(found: re.Match[str]) -> str:
        shown = f"evidence/{found[1]}.md"
        if shown not in pages or shown == page:
            return found[0]
        return f"[`results/{found[1]}.md`]({posixpath.relpath(shown, here)})"

    return outside_fences(text, lambda part: _RESULT.sub(link, part))


def linked_cells(text: str, targets: Mapping[str, str]) -> str:
    """A page whose tables have names in the first column: each name links to its page."""

    def row(found: re.Match[str]) -> str:
        cell = re.sub(r"`(\w+)`", lambda m: f"[`{m[1]}`]({targets[m[1]]})" if m[1] in targets else m[0], found[1])
        return f"|{cell}|"

    return outside_fences(text, lambda part: re.sub(r"^\|([^|\n]*)\|", row, part, flags=re.MULTILINE))


def linked_names(text: str, targets: Mapping[str, str]) -> str:
    """A sentence in which each name that is code links to its page."""
    return re.sub(r"(?<!\[)`(\w+)`", lambda m: f"[`{m[1]}`]({targets[m[1]]})" if m[1] in targets else m[0], text)


def table(head: Collection[str], rows: Collection[Collection[str]]) -> str:
    """A Markdown table."""
    lines = [tuple(head), ("---",) * len(head), *map(tuple, rows)]
    return "".join("| " + " | ".join(str(c).replace("|", "\\|") for c in line) + " |\n" for line in lines)
