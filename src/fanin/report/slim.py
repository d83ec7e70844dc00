"""Smaller and smaller copies of a report's data, so that a page stays small: what goes is named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = ["slim"]

_STEPS: tuple[tuple[str, frozenset[str]], ...] = (
    ("", frozenset()),
    ("cosine matrices and linear histograms", frozenset({"matrix", "values"})),
    ("histograms of magnitudes", frozenset({"exponents"})),
    ("measurements", frozenset({"measurements", "evidence"})),
    ("ignored findings and paths", frozenset({"ignored", "consequences", "paths", "source_lines"})),
)


def slim(document: Mapping[str, Any], left_out: Iterable[str] = ()) -> Iterator[dict[str, Any]]:
    """The document with numbers to five figures, then with less and less; `left_out` says what is missing.

    Args:
        document: plain JSON values.
        left_out: what is missing already.

    Example:
        >>> [list(d) for d in slim({"a": 1 / 3, "measurements": {"values": 1}})][::3]
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
        return {key: _kept(item, dropped) for key, item in value.items() if key not in dropped}
    if isinstance(value, list):
        return [_kept(item, dropped) for item in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value
