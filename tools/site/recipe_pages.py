"""A page for every recipe: what it does, with which options, what it gives a small network, on what evidence."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from fanin.planning.assignment import Assignment
from fanin.recipes import RECIPES
from fanin.recipes.base import Recipe
from tools.reference_pages import docstring
from tools.site.markdown import linked_names, table
from tools.site.recipe_examples import EXAMPLES, planned

__all__ = ["pages"]


def pages() -> Mapping[str, str]:
    """Path on the site -> Markdown."""
    return {f"recipes/{name}.md": _page(recipe) for name, recipe in RECIPES.items()}


def _page(recipe: Recipe) -> str:
    words = docstring(inspect.getdoc(inspect.getmodule(recipe.choose)) or recipe.summary)
    example = EXAMPLES[recipe.name]
    parts = [
        f"# {recipe.name}",
        f"{recipe.summary[0].upper()}{recipe.summary[1:]}.",
        f'```python\nplan = fanin.plan(model, inputs, recipe="{recipe.name}")\n```',
        f"## When to use it\n\n{linked_names(example.use, {name: f'{name}.md' for name in RECIPES})}",
        f"## Options\n\n{_options(recipe)}",
        f"## What it gives\n\n{example.words}\n\n{_table(recipe.name)}",
        f"## How it decides\n\n{words.strip()}",
        f"## Source\n\n{_source(recipe)}",
        f"[All recipes](../recipes.md) · `fanin explain {recipe.name}`",
    ]
    return "\n\n".join(parts) + "\n"


def _source(recipe: Recipe) -> str:
    if recipe.source.startswith("docs/"):
        return "The runs that each choice rests on are in [the table of evidence](../recipes.md)."
    return f"{recipe.source or 'Nothing is chosen: the tensors themselves are the source'}."


def _options(recipe: Recipe) -> str:
    fields = dataclasses.fields(recipe.options) if dataclasses.is_dataclass(recipe.options) else ()
    if not fields:
        return "None."
    defaults = table(("option", "default"), [(f"`{f.name}`", f"`{_default(f)}`") for f in fields])
    return f"{docstring(inspect.getdoc(recipe.options) or '').strip()}\n\n{defaults}"


def _default(field: dataclasses.Field[Any]) -> object:
    return field.default if field.default is not dataclasses.MISSING else "needed"


def _table(name: str) -> str:
    """The law of each parameter, and each reason once with the parameters that it is for."""
    found = tuple(planned(name))
    reasons: dict[str, list[str]] = {}
    for path, assignment in found:
        reasons.setdefault(assignment.reason, []).append(f"`{path}`")
    why = "".join(f"- {reason}: {', '.join(paths)}\n" for reason, paths in reasons.items() if reason)
    return table(("parameter", "role", "law", "std"), [_row(path, one) for path, one in found]) + f"\n{why}"


def _row(path: str, found: Assignment) -> tuple[str, ...]:
    law = f"`{found.initializer}`" if found.initializer else "kept"
    return (f"`{path}`", found.role, law, "" if found.std is None else f"{found.std:.4g}")
