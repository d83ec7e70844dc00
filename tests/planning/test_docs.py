"""The documents' code runs, and their tables are the code's."""

import re
from pathlib import Path

import pytest

from fanin.recipes import RECIPES
from fanin.recipes.auto.evidence import EVIDENCE

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["plan.md", "recipes.md"])
def test_the_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for code in re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), flags=re.S):
        exec(compile(code, page, "exec"), {})


def test_the_recipe_page_lists_every_recipe_and_all_evidence():
    text = (DOCS / "recipes.md").read_text()
    for recipe in RECIPES.values():
        assert f"| `{recipe.name}` | {recipe.summary} |" in text
    for code, measured in EVIDENCE.items():
        assert f"`{code}` | {measured.strip()} |" in text
