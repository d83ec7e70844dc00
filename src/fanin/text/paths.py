"""Qualified names, grouped: names that repeat over blocks under one pattern.

A name is split at its dots; a part of digits alone is an index. Names that differ in indices only share a pattern.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

__all__ = ["PathGroup", "block_of", "group_paths", "indices", "matches", "parts_of", "sections", "template"]

_RUN = r"\d{1,6}(?:\.\.\d{1,6}){0,2}"
_RANGES = re.compile(rf"\{{({_RUN}(?:,{_RUN})*)\}}")
_MOST = 100_000  # indices that a range may have
_BETWEEN = re.compile(r"(?<!\.)\.(?!\.)")  # a dot alone: those of a range come in twos
_Indices = tuple[int, ...]
_Template = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class PathGroup:
    """Names under one pattern.

    Attributes:
        pattern: "blocks.{0..11}.mlp.fc1.weight"; "{0..8..2}" goes in steps of two; a lone name is its own pattern.
        members: the names, in the order given.
    """

    pattern: str
    members: tuple[str, ...]


def group_paths(paths: Iterable[str], key: Callable[[str], Hashable] | None = None) -> tuple[PathGroup, ...]:
    """Names that differ in indices only, under patterns that give exactly these names.

    A pattern covers no name that was not given: indices that are no full grid get several patterns.

    Args:
        paths: qualified names.
        key: names are put together only where this is equal (for example the initializer of a parameter).

    Returns:
        The groups, each at the place of its first member.

    Example:
        >>> names = ["stem.weight", "blocks.0.fc.weight", "blocks.1.fc.weight", "blocks.2.fc.weight", "head.weight"]
        >>> [g.pattern for g in group_paths(names)]
        ['stem.weight', 'blocks.{0..2}.fc.weight', 'head.weight']
        >>> [g.pattern for g in group_paths(["a.0.b", "a.2.b", "a.7.b", "a.8.b"])]
        ['a.{0,2,7..8}.b']
        >>> [g.pattern for g in group_paths([f"{i}.weight" for i in (0, 2, 4, 6, 7, 8)])]
        ['{0..6..2,7..8}.weight']
    """
    order = {path: place for place, path in enumerate(dict.fromkeys(paths))}
    families: dict[tuple[_Template, Hashable], dict[_Indices, str]] = {}
    for path in order:
        template, indices = _split(path)
        families.setdefault((template, key(path) if key else None), {})[indices] = path
    groups = [group for (template, _), family in families.items() for group in _grids(template, family, order)]
    return tuple(sorted(groups, key=lambda g: order[g.members[0]]))


def sections(paths: Sequence[str], limit: int = 40) -> tuple[tuple[str, int, int], ...]:
    """Runs of neighbours from one block: (block, first, past the last).

    A block is a path up to its first index ("blocks.3"). Where that gives more than `limit` runs, the first part alone.

    Example:
        >>> sections(["stem", "blocks.0.fc1", "blocks.0.fc2", "blocks.1.fc1", "head"])
        (('stem', 0, 1), ('blocks.0', 1, 3), ('blocks.1', 3, 4), ('head', 4, 5))
    """
    runs = _runs([block_of(path) for path in paths])
    return runs if len(runs) <= limit else _runs([path.split(".")[0] for path in paths])


def template(path: str) -> tuple[str | None, ...]:
    """The parts of a path with None for each index: equal for the same place in two blocks.

    Example:
        >>> template("blocks.3.fc.weight")
        ('blocks', None, 'fc', 'weight')
    """
    return _split(path)[0]


def indices(path: str) -> tuple[tuple[str, int], ...]:
    """The indices in a path, each with the path before it.

    Example:
        >>> indices("blocks.3.mlp.2.weight")
        (('blocks', 3), ('blocks.3.mlp', 2))
    """
    parts = path.split(".")
    return tuple((".".join(parts[:i]), int(part)) for i, part in enumerate(parts) if _is_index(part))


def _split(path: str) -> tuple[_Template, _Indices]:
    parts = path.split(".")
    # "007" must stay itself: a part counts as an index only where int() loses nothing.
    template = tuple(None if _is_index(part) else part for part in parts)
    return template, tuple(int(part) for part in parts if _is_index(part))


def _is_index(part: str) -> bool:
    return part.isascii() and part.isdigit() and str(int(part[:18])) == part


def _grids(template: _Template, family: dict[_Indices, str], order: dict[str, int]) -> list[PathGroup]:
    groups = []
    for axes in _products(sorted(family)):
        members = [family[point] for point in product(*axes)]
        groups.append(PathGroup(_pattern(template, axes), tuple(sorted(members, key=order.__getitem__))))
    return groups


def _products(points: Sequence[_Indices]) -> list[tuple[tuple[int, ...], ...]]:
    """The points as disjoint full grids: first indices with the same rest are taken together."""
    if points == [()] or not points:
        return [()]
    rests: dict[int, list[_Indices]] = {}
    for first, *rest in points:
        rests.setdefault(first, []).append(tuple(rest))
    same: dict[tuple[_Indices, ...], list[int]] = {}
    for first, tails in rests.items():
        same.setdefault(tuple(tails), []).append(first)
    return [(tuple(firsts), *grid) for tails, firsts in same.items() for grid in _products(list(tails))]


def _pattern(template: _Template, axes: Sequence[tuple[int, ...]]) -> str:
    rest = iter(axes)
    return ".".join(_braces(next(rest)) if part is None else part for part in template)


def _braces(indices: tuple[int, ...]) -> str:
    if len(indices) == 1:
        return str(indices[0])
    return "{" + ",".join(_run_text(*run) for run in _even_runs(indices)) + "}"


def _even_runs(indices: Sequence[int]) -> list[tuple[int, int, int]]:
    """Ascending indices as (first, last, step): taken greedily, runs of two only with step 1."""
    runs: list[tuple[int, int, int]] = []
    start = 0
    while start < len(indices):
        step = indices[start + 1] - indices[start] if start + 1 < len(indices) else 1
        end = start + 1
        while end < len(indices) and indices[end] - indices[end - 1] == step:
            end += 1
        if step > 1 and end - start < 3:
            end = start + 1
        runs.append((indices[start], indices[end - 1], step))
        start = end
    return runs


def _run_text(first: int, last: int, step: int) -> str:
    if first == last:
        return str(first)
    return f"{first}..{last}" if step == 1 else f"{first}..{last}..{step}"


def matches(name: str, pattern: str) -> bool:
    """Whether a name fits a glob in which, besides ``*``, ``?`` and ``[...]``, ranges of indices may stand.

    Args:
        name: qualified name.
        pattern: a glob (``*`` also crosses dots), or what `group_paths` gives.

    Example:
        >>> [matches(f"blocks.{i}.weight", "blocks.{0..6..2}.weight") for i in (0, 1, 2, 8)]
        [True, False, True, False]
        >>> matches("blocks.3.weight", "*.weight"), matches("a.{x}", "a.{x}")
        (True, True)
    """
    return _compiled(pattern).match(name) is not None


@functools.lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    pieces = _RANGES.split(pattern)  # glob, range, glob, range, ..., glob
    written = [
        f"(?:{'|'.join(map(str, _indices(piece)))})" if place % 2 else _regex_of(piece)
        for place, piece in enumerate(pieces)
    ]
    return re.compile("".join(written) + r"\Z", re.DOTALL)


def _regex_of(glob: str) -> str:
    """A glob as a regular expression without the end that fnmatch puts behind it."""
    return fnmatch.translate(glob).removesuffix(r"\Z").removesuffix(r"\z")


def _indices(ranges: str) -> Iterator[int]:
    for run in ranges.split(","):
        first, *rest = (int(n) for n in run.split(".."))
        last, step = (rest[0] if rest else first), (rest[1] if len(rest) > 1 else 1)
        yield from range(first, min(last, first + _MOST) + 1, max(step, 1))


def parts_of(pattern: str) -> list[str]:
    """The parts of a path or a pattern between its dots; the dots of a range are none of them.

    Example:
        >>> parts_of("blocks.{0..11}.fc")
        ['blocks', '{0..11}', 'fc']
    """
    return _BETWEEN.split(pattern)


def block_of(path: str) -> str:
    """The path, or the pattern, up to its first index; the first part alone where there is no index.

    Example:
        >>> block_of("blocks.3.mlp.fc"), block_of("blocks.{0..11}.mlp.fc"), block_of("encoder.norm")
        ('blocks.3', 'blocks.{0..11}', 'encoder')
    """
    parts = parts_of(path)
    for place, part in enumerate(parts):
        if _is_index(part) or part.startswith("{"):
            return ".".join(parts[: place + 1])
    return parts[0]


def _runs(labels: Sequence[str]) -> tuple[tuple[str, int, int], ...]:
    runs: list[tuple[str, int, int]] = []
    for place, label in enumerate(labels):
        if runs and runs[-1][0] == label:
            runs[-1] = (label, runs[-1][1], place + 1)
        else:
            runs.append((label, place, place + 1))
    return tuple(runs)
