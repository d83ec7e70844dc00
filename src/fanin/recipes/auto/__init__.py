"""The recipe ``auto``, one family of rules a file."""

from fanin.recipes.auto.recipe import AUTO

__all__ = ["AUTO"]
