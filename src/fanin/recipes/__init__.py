"""Recipes: from a network to a law for every parameter, with the reason. One recipe a file, one line in `table`."""

from fanin.recipes.base import Choice, Chosen, Live, Recipe
from fanin.recipes.step import Step
from fanin.recipes.table import RECIPES, recipe

__all__ = ["RECIPES", "Choice", "Chosen", "Live", "Recipe", "Step", "recipe"]
