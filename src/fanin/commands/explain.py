"""``fanin explain``: where a number comes from, and what a rule, a recipe or an initializer is."""

from __future__ import annotations

import inspect
from typing import Annotated

import typer

from fanin.commands.options import InputShape, Meta, Recipe, RecipeOption, Seed
from fanin.errors import UnknownNameError, did_you_mean

__all__ = ["explain", "page"]


def explain(
    name: Annotated[
        str,
        typer.Argument(
            help="TARGET::parameter, as in model.py:build::fc1.weight; or a rule (S205), a recipe or an initializer."
        ),
    ],
    input_shape: InputShape = None,
    recipe: Recipe = "auto",
    seed: Seed = 0,
    option: RecipeOption = None,
    meta: Meta = False,
) -> None:
    """Derive one parameter's law, or explain a rule, recipe or law."""
    from fanin.commands.plan import planned

    target, separator, parameter = name.partition("::")
    if not separator:
        typer.echo(page(name))
        return
    _, made = planned(
        target,
        input_shape=input_shape,
        recipe=recipe,
        seed=seed,
        options=option or (),
        meta=meta,
        keep_unknown=True,
    )
    typer.echo(made.explain(parameter))


def page(name: str) -> str:
    """What a rule (by code or name), a recipe or an initializer is, from its own docstring; "recipes" lists all.

    Raises:
        UnknownNameError: nothing has this name.

    Example:
        >>> print(page("S205").splitlines()[0])
        S205 sample-collapse
    """
    from fanin.initializers.registry import NAMES
    from fanin.recipes.table import RECIPES
    from fanin.rules.table import RULES

    if name == "recipes":
        width = max(map(len, RECIPES))
        return "\n".join(f"{r.name:<{width}}  {r.summary}" for r in RECIPES.values())
    if name in RECIPES:
        return _recipe_page(name)
    if name in NAMES:
        return inspect.getdoc(NAMES[name]) or name
    rules = {key: rule for rule in RULES for key in (rule.code, rule.name)}
    if name in rules:
        return _rule_page(name)
    raise UnknownNameError(
        f"no rule, recipe or initializer is called {name!r}; {did_you_mean(name, [*rules, *RECIPES, *NAMES])} "
        "A parameter is TARGET::name."
    )


def _rule_page(name: str) -> str:
    from fanin.rules.table import get_rule

    rule = get_rule(name)
    limits = ", ".join(f"{k} = {v:g}" for k, v in rule.thresholds.items()) or "none"
    return f"{rule.code} {rule.name}\n\n{rule.page()}\n\nThresholds: {limits}\nSource: {rule.source}"


def _recipe_page(name: str) -> str:
    from fanin.recipes.table import RECIPES

    recipe = RECIPES[name]
    words = inspect.getdoc(inspect.getmodule(recipe.choose)) or recipe.summary
    options = inspect.getdoc(recipe.options) or ""
    source = f"\n\nSource: {recipe.source}" if recipe.source else ""
    return f"recipe {name}: {recipe.summary}\n\n{words}\n\nOptions. {options}{source}"
