"""Smaller and smaller copies of a report's data, so that a page stays small: what goes is named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fanin.text.names import shorten
from fanin.text.numbers import to_figures

__all__ = ["slim"]

_LONGEST = 400
_DETAILS = ("mean", "std", "min", "max", "norm", "zero_share", "numel", "sampled", "active", "follower", "inputs")
_STEPS: tuple[tuple[str, frozenset[str]], ...] = (
    ("", frozenset()),
    ("cosine matrices", frozenset({"matrix"})),
    ("histograms of values", frozenset({"values"})),
    ("histograms of magnitudes", frozenset({"exponents"})),
    ("statistics but the rms", frozenset(_DETAILS)),
    ("measurements", frozenset({"measurements", "evidence"})),
    ("ignored findings and paths", frozenset({"ignored", "consequences", "paths", "source_lines"})),
)


def slim(document: Mapping[str, Any], left_out: Iterable[str] = ()) -> Iterator[dict[str, Any]]:
    """The document with numbers to five figures, texts to 400 characters and no empty fields, then with less and less.

    `left_out` lists what is missing.

    Args:
        document: plain JSON values.
        left_out: what is missing already.

    Example:
        >>> [list(d) for d in slim({"a": 1 / 3, "b": None, "measurements": {"values": 1}})][::5]
        [['a', 'measurements', 'left_out'], ['a', 'left_out']]
    """
    dropped: frozenset[str] = frozenset()
    names = list(left_out)
    for name, keys in _STEPS:
        dropped |= keys
        names += [name] if name else []
        yield {**_kept(document, dropped), "left_out": list(names)}


def _kept(value: Any, dropped: frozenset[str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _kept(item, dropped) for key, item in value.items() if key not in dropped and not _empty(item)}
    if isinstance(value, list):
        return [_kept(item, dropped) for item in value]
    if isinstance(value, str):
        return shorten(value, _LONGEST)
    return to_figures(value, 5) if isinstance(value, float) else value


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str | list | dict) and not value)
