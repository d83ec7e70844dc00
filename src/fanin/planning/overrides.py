"""Laws that the user sets by name pattern: the first match wins, one that matches nothing is an error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from fanin.errors import ArgumentError, PlanError, did_you_mean, sentence
from fanin.text.paths import matches
from fanin.text.reading import shown

__all__ = ["first_match", "match_all", "require_used"]

T = TypeVar("T")


def first_match(name: str, patterns: Mapping[str, T]) -> tuple[str, T] | None:
    """The first pattern, in the order given, that matches a qualified name, with its value.

    Args:
        name: qualified parameter name.
        patterns: globs (``*`` also crosses dots) and their values.

    Example:
        >>> first_match("blocks.3.fc.weight", {"*.bias": 0, "blocks.*.weight": 1, "*": 2})
        ('blocks.*.weight', 1)
    """
    for pattern, value in patterns.items():
        if matches(name, pattern):
            return pattern, value
    return None


def match_all(names: Iterable[Iterable[str]], patterns: Mapping[str, T]) -> dict[str, tuple[str, T]]:
    """First match for each parameter, keyed by its first name; a tied parameter is matched under all of its names.

    Args:
        names: for each parameter its names, the first one first.
        patterns: globs and their values, in order of precedence.

    Raises:
        ArgumentError: `patterns` is no mapping.
        PlanError: a pattern that won nowhere.

    Example:
        >>> match_all([("emb.weight", "head.weight"), ("head.bias",)], {"head.*": 1})
        {'emb.weight': ('head.*', 1), 'head.bias': ('head.*', 1)}
    """
    if not isinstance(patterns, Mapping):
        raise ArgumentError(
            f"overrides is of type {type(patterns).__name__}; give a dict of patterns and laws, as in "
            "{'*.bias': 'zeros'}"
        )
    if wrong := [p for p in patterns if not isinstance(p, str)]:
        raise ArgumentError(f"a pattern is text, the name of a parameter or a glob on names; got {shown(wrong[0])}")
    groups = [tuple(n) for n in names]
    found: dict[str, tuple[str, T]] = {}
    for group in groups:
        for pattern, value in patterns.items():
            if any(matches(n, pattern) for n in group):
                found[group[0]] = (pattern, value)
                break
    require_used(patterns, {p for p, _ in found.values()}, [n for g in groups for n in g])
    return found


def require_used(patterns: Iterable[str], used: set[str], names: list[str]) -> None:
    """Raise `PlanError` for the patterns that were never the first match."""
    for pattern in patterns:
        if pattern in used:
            continue
        shadowed = [n for n in names if matches(n, pattern)]
        if shadowed:
            raise PlanError(
                f"the pattern {pattern!r} is never used: an earlier pattern takes everything that it matches "
                f"(e.g. {shadowed[0]!r}). The first match wins: put the narrower pattern first, or remove it."
            )
        raise PlanError(
            f"the pattern {pattern!r} matches no parameter; {sentence(did_you_mean(pattern, names[:2000])[:300])} "
            "Patterns are globs on qualified names, as in '*.lm_head.weight' or 'blocks.{0..11}.fc.weight'."
        )
