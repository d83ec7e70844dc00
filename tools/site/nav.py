"""The navigation of the site, which is the last part of ``mkdocs.yml``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import yaml

from fanin.initializers.registry import NAMES
from fanin.recipes import RECIPES
from fanin.rules.table import RULES
from tools.site import api, evidence, folklore, playground

__all__ = ["BEGIN", "nav", "paths", "with_nav"]

BEGIN = "# Made by `python -m tools.site`; the pages of laws, rules, recipes and results are as the code lists them.\n"
Nav: TypeAlias = Sequence[Mapping[str, "str | Nav"]]

TUTORIALS = {
    "Check in CI": "guide/pytest-and-ci.md",
    "In my Trainer": "guide/trainer.md",
    "The first 100 steps": "guide/watch.md",
    "PyTorch and JAX alike": "guide/same-weights.md",
}
GUIDE = {
    "Check a model": "guide/check.md",
    "Start a model": "guide/init.md",
    "Start a large model": "guide/scale.md",
    "Calibrate a model": "guide/calibrate.md",
    "Plans": "guide/plan.md",
    "Compare starts": "guide/compare.md",
    "Learning rates": "guide/learning-rates.md",
    "Diff and explain": "guide/diff-and-explain.md",
    "I use Keras": "guide/keras.md",
    "I use JAX": "guide/jax.md",
    "Command line": "guide/command-line.md",
    "Configuration": "guide/configuration.md",
}
SCIENCE = {
    "Theory": "science/theory.md",
    "Moments": "science/moments.md",
    "Graph": "science/graph.md",
    "Streams": "science/streams.md",
}


def nav() -> Nav:
    """Title -> page, or titles below it."""
    return [
        {"Home": "index.md"},
        *_listed(playground.titles()),
        {"Tutorials": _listed(TUTORIALS)},
        {"Guide": _listed(GUIDE)},
        {"Initializers": ["initializers.md", *_listed({name: f"initializers/{name}.md" for name in NAMES})]},
        {"Recipes": ["recipes.md", *_listed({name: f"recipes/{name}.md" for name in RECIPES})]},
        {"Rules": ["rules/index.md", *_listed({f"{r.code} {r.name}": f"rules/{r.code}.md" for r in RULES})]},
        {
            "Science": [
                *_listed(SCIENCE),
                {"Folklore, checked": ["folklore/index.md", *_listed(folklore.titles())]},
                {"Lab": "lab.md"},
                {"Evidence": ["evidence/index.md", *_listed(evidence.titles())]},
            ]
        },
        {"Reference": [*_listed({name: api.path(name) for name in api.MODULES}), {"Changelog": "changelog.md"}]},
    ]


def _listed(entries: Mapping[str, str]) -> list[dict[str, str]]:
    return [{title: page} for title, page in entries.items()]


def paths(entries: Nav | None = None) -> Iterator[str]:
    """All pages of a navigation."""
    for entry in nav() if entries is None else entries:
        values = [entry] if isinstance(entry, str) else entry.values()
        for value in values:
            yield from [value] if isinstance(value, str) else paths(value)


def with_nav(config: str) -> str:
    """The configuration with its navigation made anew.

    Raises:
        ValueError: the line before the navigation is not there.
    """
    if config.count(BEGIN) != 1:
        raise ValueError(f"mkdocs.yml needs one line {BEGIN.strip()!r}, and the navigation after it")
    return config.partition(BEGIN)[0] + BEGIN + yaml.safe_dump({"nav": nav()}, sort_keys=False, width=200)
