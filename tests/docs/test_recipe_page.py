"""The tables of the recipe page are those of the code."""

import re

import pytest

from fanin.recipes import RECIPES
from fanin.recipes.auto.evidence import EVIDENCE
from tools.recipe_page import PAGE, updated


def test_the_tables_of_the_recipe_page_are_those_of_the_code():
    text = PAGE.read_text()
    assert text == updated(text), "run python -m tools.recipe_page"
    for recipe in RECIPES.values():
        assert f"| `{recipe.name}` | {recipe.summary} |" in text


def test_a_table_that_is_out_of_step_is_found():
    text = PAGE.read_text()
    assert updated(text.replace("0.40 / 0.51", "0.40 / 0.50")) != text.replace("0.40 / 0.51", "0.40 / 0.50")
    with pytest.raises(ValueError, match="end of evidence"):
        updated(text.replace("<!-- end of evidence -->", ""))


def test_every_link_to_evidence_has_its_rows():
    linked = set(re.findall(r"\(#([a-z-]+)\)", PAGE.read_text()))
    assert linked <= set(EVIDENCE)
    assert all(row.setting and row.ours for rows in EVIDENCE.values() for row in rows)
