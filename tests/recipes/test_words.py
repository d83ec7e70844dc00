"""What a recipe says of itself is its own module's docstring, which `fanin explain` and its page show."""

import inspect

import pytest

from fanin.recipes import RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_the_words_of_a_recipe_are_about_it(name):
    words = inspect.getdoc(inspect.getmodule(RECIPES[name].choose))
    assert f"``{name}``" in words
