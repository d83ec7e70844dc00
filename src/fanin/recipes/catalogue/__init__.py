"""The recipes, one a file; `fanin.recipes.table` lists them."""
