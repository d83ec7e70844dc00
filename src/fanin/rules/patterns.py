"""Many paths as one glob."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

__all__ = ["matches", "pattern_of", "repeats_of"]


def pattern_of(paths: Sequence[str]) -> str:
    """The glob that covers all paths: segments that differ become "*".

    Paths of different length share their common head and tail.

    Example:
        >>> pattern_of(["layers.0.fc1", "layers.1.fc1"]), pattern_of(["a.b"]), pattern_of(["head", "stem.conv"])
        ('layers.*.fc1', 'a.b', '*')
    """
    if not paths:
        return ""
    split = [p.split(".") for p in paths]
    if len({len(s) for s in split}) == 1:
        return ".".join(column[0] if len(set(column)) == 1 else "*" for column in zip(*split, strict=True))
    shortest = min(len(s) for s in split)
    head = _shared(split, range(shortest))
    tail = _shared(split, range(-1, -1 - (shortest - len(head)), -1))[::-1]
    return ".".join([*head, "*", *tail])


def _shared(split: list[list[str]], positions: Iterable[int]) -> list[str]:
    found: list[str] = []
    for i in positions:
        if len({s[i] for s in split}) > 1:
            break
        found.append(split[0][i])
    return found


def repeats_of(path: str) -> list[str]:
    """The globs of what has the same place in other blocks, one for each number in the path.

    Example:
        >>> repeats_of("blocks.3.gate.weight"), repeats_of("stages.1.0.weight")
        (['blocks.*.gate.weight'], ['stages.*.0.weight', 'stages.1.*.weight'])
    """
    parts = path.split(".")
    return [".".join([*parts[:i], "*", *parts[i + 1 :]]) for i, part in enumerate(parts) if part.isdecimal()]


def matches(path: str, patterns: Iterable[str]) -> str | None:
    """The first glob that fits the path; "layers.3" also fits everything below it.

    Example:
        >>> matches("backbone.conv1.weight", ["head.*", "backbone"])
        'backbone'
    """
    return next((p for p in patterns if fnmatchcase(path, p) or fnmatchcase(path, f"{p}.*")), None)
