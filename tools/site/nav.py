"""The navigation of the site, which is the last part of ``mkdocs.yml``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import yaml

from fanin.initializers.registry import NAMES
from fanin.recipes import RECIPES
from fanin.rules.table import RULES
from tools.site import api, folklore

__all__ = ["BEGIN", "nav", "paths", "with_nav"]

BEGIN = "# Made by `python -m tools.site`; the pages of laws, recipes and rules are as the code lists them.\n"
Nav: TypeAlias = Sequence[Mapping[str, "str | Nav"]]

TUTORIALS = {
    "By task": "tutorials/index.md",
    "Is my init right?": "tutorials/is-my-init-right.md",
    "My loss is flat": "tutorials/flat-loss.md",
    "My loss is NaN": "tutorials/nan-loss.md",
    "A plain 50-layer net": "tutorials/fifty-layers.md",
    "Start a GPT": "tutorials/start-a-gpt.md",
    "Check in CI": "guide/pytest-and-ci.md",
    "In my Trainer": "guide/trainer.md",
    "The first 100 steps": "guide/watch.md",
    "A model of 70 B": "guide/scale.md",
    "PyTorch and JAX alike": "guide/same-weights.md",
    "Compare two starts": "guide/compare.md",
    "Your own law or rule": "tutorials/your-own.md",
    "A paper's figure": "tutorials/a-figure.md",
}
GUIDE = {
    "Check a model": "guide/check.md",
    "Start a model": "guide/init.md",
    "Calibrate a model": "guide/calibrate.md",
    "Plans": "guide/plan.md",
    "Learning rates": "guide/learning-rates.md",
    "Play with a start": "guide/playground.md",
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
        {"Playground": "playground.md"},
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
                {"Evidence": "evidence.md"},  # which links to the pages of all results
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
