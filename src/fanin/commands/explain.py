"""``fanin explain``: where a number comes from, and what a rule, a recipe or an initializer is."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Annotated

import typer

from fanin.commands.options import InputShape, Meta, Recipe, RecipeOption, Seed
from fanin.errors import UnknownNameError

__all__ = ["explain", "page"]


def explain(
    name: Annotated[
        str,
        typer.Argument(
            help="TARGET::parameter, as in model.py:build::fc1.weight; or a rule (S205, S2), a recipe or an "
            "initializer; rules, recipes, initializers list all."
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
    from fanin.planning.explain import explain_text
    from fanin.text.console import WIDTH, standard_console

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
    typer.echo(explain_text(made, made[parameter], width=min(standard_console().width, WIDTH)))


def page(name: str) -> str:
    """What a rule (by code or name), a recipe or an initializer is, from its own docstring.

    "rules", "recipes" and "initializers" list all; the start of a code (S2) lists the rules of that group.

    Raises:
        UnknownNameError: nothing has this name.

    Example:
        >>> print(page("S205").splitlines()[0])
        S205 sample-collapse
    """
    from fanin.initializers.registry import NAMES
    from fanin.recipes.table import RECIPES
    from fanin.rules.table import RULES

    if name in _LISTS:
        return _aligned(_LISTS[name]())
    if name in RECIPES:
        return _recipe_page(name)
    if name in NAMES:
        return (inspect.getdoc(NAMES[name]) or name).replace("``", "`")
    group = [(code, words) for code, words in _rules() if code.startswith(name.upper())]
    if len(group) > 1:
        return _aligned(group)
    rules = {key: rule for rule in RULES for key in (rule.code, rule.name)}
    if name in rules:
        return _rule_page(name)
    raise UnknownNameError(f"no rule, recipe or initializer is called {name!r}; {_neighbours(name)}")


def _neighbours(name: str) -> str:
    """The closest names; of an unknown code the codes of its group, or of all groups."""
    from fanin.initializers.registry import NAMES
    from fanin.recipes.table import RECIPES
    from fanin.rules.table import RULES

    codes = sorted(rule.code for rule in RULES)
    if name[:1].isalpha() and name[1:].isdigit():
        group = [c for c in codes if c[0] == name[0].upper()]
        return f"its neighbours are {', '.join(group or codes)}"
    known = [*codes, *(rule.name for rule in RULES), *RECIPES, *NAMES]
    if close := difflib.get_close_matches(name, known, n=3):
        return f"did you mean {' or '.join(map(repr, close))}?"
    return "'fanin explain rules', 'recipes' or 'initializers' lists them; a parameter is TARGET::name"


def _aligned(rows: Sequence[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {words}" for name, words in rows)


def _rules() -> list[tuple[str, str]]:
    from fanin.rules.table import RULES

    return [(rule.code, f"{rule.name}: {_first_line(rule.page())}") for rule in RULES]


def _recipes() -> list[tuple[str, str]]:
    from fanin.recipes.table import RECIPES

    return [(r.name, r.summary) for r in RECIPES.values()]


def _initializers() -> list[tuple[str, str]]:
    from fanin.initializers.registry import NAMES

    return [(name, _first_line(inspect.getdoc(make) or "")) for name, make in sorted(NAMES.items())]


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0].rstrip(".")


_LISTS: MappingProxyType[str, Callable[[], list[tuple[str, str]]]] = MappingProxyType(
    {"rules": _rules, "recipes": _recipes, "initializers": _initializers}
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
