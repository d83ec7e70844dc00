"""The table of recipes: one line each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from fanin.errors import ArgumentError, FaninError, UnknownNameError, did_you_mean
from fanin.initializers.registry import canonical
from fanin.initializers.written import name_and_arguments
from fanin.recipes.auto import AUTO
from fanin.recipes.base import Recipe
from fanin.recipes.catalogue.classic import CLASSIC
from fanin.recipes.catalogue.deepnorm import DEEPNORM
from fanin.recipes.catalogue.fixup import FIXUP
from fanin.recipes.catalogue.gpt2 import GPT2
from fanin.recipes.catalogue.irnn import IRNN
from fanin.recipes.catalogue.keep import KEEP
from fanin.recipes.catalogue.mup import MUP
from fanin.recipes.catalogue.orthogonal import ORTHOGONAL
from fanin.recipes.catalogue.rezero import REZERO, SKIPINIT
from fanin.recipes.catalogue.shaped import DKS, TAT
from fanin.recipes.catalogue.siren import SIREN
from fanin.recipes.catalogue.small_init import SMALL_INIT
from fanin.recipes.catalogue.t5 import T5
from fanin.recipes.catalogue.t_fixup import T_FIXUP
from fanin.recipes.catalogue.torch_default import TORCH
from fanin.recipes.catalogue.vit import VIT
from fanin.recipes.catalogue.zero import ZERO
from fanin.text.reading import shown

__all__ = ["RECIPES", "options_of", "recipe"]

_ALL: tuple[Recipe, ...] = (
    AUTO,
    CLASSIC,
    ORTHOGONAL,
    KEEP,
    TORCH,
    GPT2,
    SMALL_INIT,
    T5,
    VIT,
    FIXUP,
    T_FIXUP,
    REZERO,
    SKIPINIT,
    DEEPNORM,
    DKS,
    TAT,
    SIREN,
    IRNN,
    ZERO,
    MUP,
)
RECIPES: Mapping[str, Recipe] = {r.name: r for r in _ALL}


def recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UnknownNameError: no such recipe.

    Example:
        >>> recipe("keep").summary
        'what the model has now, read off its tensors; nothing is drawn'
    """
    if not isinstance(name, str):
        raise ArgumentError(
            f"recipe is a name such as 'auto'; got {shown(name)}. A law is given by overrides={{'NAME.weight': law}}"
        )
    if name not in RECIPES:
        raise UnknownNameError(_law_hint(name) or f"no recipe is called {name!r}; {did_you_mean(name, RECIPES)}")
    return RECIPES[name]


# first word of a law's name -> the recipe that gives it to the maps that it is meant for
_RECIPE_OF_LAW = MappingProxyType(
    {**dict.fromkeys(("he", "kaiming", "glorot", "xavier", "lecun"), "classic"), "identity": "irnn"}
)


def _law_hint(name: object) -> str:
    """What to do with the name of a law in place of a recipe; empty where it is no law either."""
    if not isinstance(name, str):
        return ""
    try:
        law = canonical(name_and_arguments(name)[0])
    except FaninError:
        law = ""
    first = (law or name).split("_")[0]
    if not law and first not in _RECIPE_OF_LAW:
        return ""
    close = _RECIPE_OF_LAW.get(first, first if first in RECIPES else "")
    uses = f"The recipe {close!r} uses it where it fits; " if close else "Choose a recipe, and "
    shown = name if law else f"{first}_normal"
    return (
        f"{name!r} is an initializer and no recipe: a recipe chooses an initializer for each parameter. {uses}"
        f"overrides={{'NAME.weight': {shown!r}}} gives it to the weights that you name."
    )


def options_of(chosen: Recipe, given: Mapping[str, Any]) -> Any:
    """The recipe's options with the given ones set.

    Raises:
        ArgumentError: an option that the recipe does not have, or a value it does not take.
    """
    known = [f.name for f in fields(chosen.options)]
    for name in given:
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise ArgumentError(f"the recipe {chosen.name!r} has no option {name!r}; {has}")
    return chosen.options(**given)
