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
    from fanin.text.console import prose_width

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
    typer.echo(explain_text(made, made[parameter], width=prose_width()))


def page(name: str) -> str:
    """What a rule (by code or name), a recipe or an initializer is, from its own docstring.

    "rules", "recipes" and "initializers" list all; the start of a code (S2) lists the rules of that group. A law may
    be spelt as any framework does: kaiming_normal_, HeNormal. Lines are at most as long as `prose_width`.

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
        return _LISTS[name]()
    if name in RECIPES:
        return _at_width(_recipe_page(name))
    if name in NAMES:
        return _at_width(_law_page(name, name))
    group = sorted(rule.code for rule in RULES if name and rule.code.startswith(name.upper()))
    if len(group) > 1:
        return _rules(group)
    rules = {key: rule for rule in RULES for key in (rule.code, rule.name)}
    if found := rules.get(name) or rules.get(name.upper()):
        return _at_width(_rule_page(found.code))
    return _at_width(_law_page(name, _law_spelt(name)))


def _at_width(text: str) -> str:
    from fanin.text.console import prose_width
    from fanin.text.reflow import reflow

    return reflow(text, prose_width())


def _law_spelt(name: str) -> str:
    """The name in fanin's table of a law that is spelt as any framework does, with or without arguments.

    Raises:
        UnknownNameError: it is no spelling of a law, or of several.
    """
    from fanin.errors import FaninError
    from fanin.initializers.dialects import meanings
    from fanin.initializers.registry import canonical
    from fanin.initializers.written import name_and_arguments

    try:
        return canonical(name_and_arguments(name)[0])
    except FaninError as error:
        each = meanings(name) if name.strip() else {}
        if len(set(each.values())) > 1:
            told = ", ".join(f"{law} in {framework}" for framework, law in each.items())
            raise UnknownNameError(f"{name!r} is {told}; 'fanin explain {next(iter(each.values()))}'") from error
        message = f"no rule, recipe or initializer is called {name!r}; {_neighbours(name)}"
        raise UnknownNameError(message) from error


def _neighbours(name: str) -> str:
    """The closest names; of an unknown code the codes of its group, or of all groups."""
    from fanin.initializers.dialects import ALIASES
    from fanin.initializers.registry import NAMES
    from fanin.recipes.table import RECIPES
    from fanin.rules.table import RULES

    codes = sorted(rule.code for rule in RULES)
    if name[:1].isalpha() and name[1:].isdigit():
        group = [c for c in codes if c[0] == name[0].upper()]
        return f"its neighbours are {', '.join(group or codes)}"
    known = [*codes, *(rule.name for rule in RULES), *RECIPES, *NAMES, *ALIASES]
    if close := difflib.get_close_matches(name, known, n=3):
        return f"did you mean {' or '.join(map(repr, close))}?"
    return "'fanin explain rules', 'recipes' or 'initializers' lists them; a parameter is TARGET::name"


def _aligned(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Names with what they are beside them, on lines that fit the width."""
    from fanin.text.console import prose_width
    from fanin.text.folding import fold_words

    left = max(len(name) for name, _ in rows) + 2
    lines = []
    for name, words in rows:
        first, *later = fold_words(words, max(prose_width() - left, 20))
        lines += [f"{name:<{left}}{first}", *(" " * left + line for line in later)]
    return lines


def _rules(codes: Sequence[str] = ()) -> str:
    """The rules of these codes, or all: a heading for each family, and the codes in order below it."""
    from fanin.rules.table import FAMILIES, RULES

    rows = {r.code: f"{r.name}: {_first_line(r.page())}" for r in RULES if not codes or r.code in codes}
    parts = []
    for letter, family in FAMILIES.items():
        if own := sorted(code for code in rows if code[0] == letter):
            parts.append("\n".join([family, *_aligned([(f"  {code}", rows[code]) for code in own])]))
    return "\n\n".join(parts)


def _recipes() -> str:
    from fanin.recipes.table import RECIPES

    return "\n".join(_aligned([(r.name, r.summary) for r in RECIPES.values()]))


def _initializers() -> str:
    from fanin.initializers.registry import NAMES

    rows = [(name, _first_line(inspect.getdoc(make) or "")) for name, make in sorted(NAMES.items())]
    return "\n".join(_aligned(rows))


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0].rstrip(".").replace("``", "`")


_LISTS: MappingProxyType[str, Callable[[], str]] = MappingProxyType(
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
    words = _without_title(inspect.getdoc(inspect.getmodule(recipe.choose)) or "", recipe.summary)
    parts = [f"recipe {name}: {recipe.summary}", words, _options(inspect.getdoc(recipe.options) or "")]
    parts += [f"Source: {recipe.source}" if recipe.source else "", _law_called(name)]
    return "\n\n".join(part for part in parts if part)


def _without_title(words: str, summary: str) -> str:
    """A module's docstring without the name of the recipe before it, and without a first line that is the summary."""
    title, _, rest = words.partition("\n")
    _, marked, told = title.partition("`: ")
    told = told if marked else title
    if told.rstrip(".") == summary.rstrip("."):
        return rest.strip()
    return f"{told[:1].upper()}{told[1:]}\n{rest}".strip()


def _options(words: str) -> str:
    """The options that a recipe's docstring lists, under a heading of their own."""
    _, listed, attributes = words.partition("Attributes:\n")
    return f"Options:\n{attributes}" if listed else "Options: none"


def _law_called(name: str) -> str:
    """Where the law of the same name as a recipe is explained."""
    from fanin.initializers.registry import NAMES

    return f"The initializer of this name: fanin explain {name}_" if name in NAMES else ""


def _law_page(spelt: str, name: str) -> str:
    from fanin.initializers.registry import NAMES

    title = f"initializer {name}" if spelt == name else f"{spelt}: the initializer {name}"
    return f"{title}\n\n{inspect.getdoc(NAMES[name]) or name}"
