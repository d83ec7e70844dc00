"""Files for programs that read the documentation: a list of pages, and the guides as one text."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tools.site.places import REPOSITORY

__all__ = ["files"]

_INTRODUCTION = """# fanin

> Plan, apply and prove the initial weights of any neural network (PyTorch, JAX, Keras): `fanin.check` measures one step
> and names what is wrong with the start, `fanin.plan` gives every parameter a law with its reason, `fanin.init_` writes
> it, `fanin.compare` trains from several starts and says which is better.

"""
_FOLDERS = {"tutorials/": "Tutorials", "guide/": "Guide", "science/": "Science", "folklore/": "Folklore, checked"}
_SINGLE = ("initializers.md", "recipes.md", "lab.md")


def files(pages: Mapping[str, str]) -> dict[str, str]:
    """``llms.txt``, which lists the pages, and ``llms-full.txt``, the text of home, tutorials and guides."""
    return {"llms.txt": _list(pages), "llms-full.txt": _text(pages)}


def _list(pages: Mapping[str, str]) -> str:
    parts = [_INTRODUCTION]
    for folder, heading in _FOLDERS.items():
        parts.append(f"## {heading}\n\n" + "".join(_line(p, pages[p]) for p in sorted(pages) if p.startswith(folder)))
    rest = [*(p for p in _SINGLE), *(p for p in sorted(pages) if p.startswith(("initializers/", "recipes/", "rules/")))]
    parts.append("## Initializers, recipes and rules\n\n" + "".join(_line(p, pages[p]) for p in rest))
    parts.append(f"## Source\n\n- [Repository]({REPOSITORY})\n")
    return "\n".join(parts)


def _line(page: str, text: str) -> str:
    return f"- [{_title(text)}]({page.removesuffix('.md')}.html)\n"


def _title(text: str) -> str:
    return text.partition("\n")[0].lstrip("# ")


def _text(pages: Mapping[str, str]) -> str:
    chosen = ["index.md", *(p for p in sorted(pages) if p.startswith(("tutorials/", "guide/")))]
    return _INTRODUCTION + "\n\n".join(re.sub(r"<iframe.*?</iframe>", "", pages[p]).strip() for p in chosen) + "\n"
