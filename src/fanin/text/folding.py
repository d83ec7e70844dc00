"""Names on several lines: what names share is written once above them, and a long name goes on below, never cut."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells

from fanin.text.paths import block_of, parts_of

__all__ = ["Line", "fold_name", "fold_words", "shared_prefix", "under_headings"]

_LEAST_SHARED = 2  # names under a heading at least


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the column of names.

    Attributes:
        text: the name, or what is left of it below a heading, or the heading.
        row: number of the row; None for a heading.
    """

    text: str
    row: int | None


def under_headings(names: Sequence[str]) -> tuple[Line, ...]:
    """Names of one block that follow each other, under the block as a heading.

    Example:
        >>> [line.text for line in under_headings(["stem", "blocks.{0..11}.fc.weight", "blocks.{0..11}.fc.bias"])]
        ['stem', 'blocks.{0..11}.', '  fc.weight', '  fc.bias']
    """
    lines: list[Line] = []
    for block, run in itertools.groupby(enumerate(names), key=lambda pair: block_of(pair[1])):
        rows = list(run)
        inner = all(name.startswith(f"{block}.") for _, name in rows)
        if len(rows) < _LEAST_SHARED or not inner:
            lines += [Line(name, row) for row, name in rows]
        else:
            lines.append(Line(f"{block}.", None))
            lines += [Line(f"  {name[len(block) + 1 :]}", row) for row, name in rows]
    return tuple(lines)


def shared_prefix(names: Sequence[str]) -> str:
    """The parts, with their last dot, that all names start with; empty where there is one name.

    Example:
        >>> shared_prefix(["bert.encoder.0.weight", "bert.encoder.1.weight"]), shared_prefix(["a.b", "c.b"])
        ('bert.encoder.', '')
    """
    if len(names) < _LEAST_SHARED:
        return ""
    parts = [parts_of(name)[:-1] for name in names]
    same = itertools.takewhile(lambda column: len(set(column)) == 1, zip(*parts, strict=False))
    return "".join(f"{column[0]}." for column in same)


def fold_name(name: str, width: int) -> list[str]:
    """The name on lines of at most `width` columns: broken behind dots, a longer part behind underscores or anywhere.

    Example:
        >>> fold_name("encoder.layers.11.attention", 12)
        ['encoder.', '  layers.11.', '  attention']
        >>> fold_name("post_attention_norm", 12)
        ['post_', '  attention_', '  norm']
    """
    indent = " " * (len(name) - len(name.lstrip(" ")))
    own, later = indent if len(indent) < width else "", indent + "  " if len(indent) + 4 < width else ""
    lines, line = [], own
    for piece in _pieces(name.lstrip(" "), max(width - len(later or own), 1)):
        if line.strip() and cell_len(line) + cell_len(piece) > width:
            lines.append(line)
            line = later
        line += piece
    return [*lines, line]


def fold_words(text: str, width: int) -> list[str]:
    """Prose on lines of at most `width` columns: broken at blanks, a longer word behind signs of code or anywhere.

    Example:
        >>> fold_words("outputs of rms 1", 10)
        ['outputs of', 'rms 1']
        >>> fold_words("Uniform(bound=0.176777)", 16)
        ['Uniform(bound=', '0.176777)']
    """
    lines, line = [], ""
    for word in text.split():
        for place, piece in enumerate(_chopped_code(word, width)):
            joined = f"{line} {piece}" if line and not place else f"{line}{piece}"
            if cell_len(joined) > width:
                lines.append(line)
                joined = piece
            line = joined
    return [*lines, line]


def _chopped_code(word: str, width: int) -> list[str]:
    """The word; one that is too wide broken behind brackets, commas and equals signs, so that numbers stay whole."""
    if cell_len(word) <= width:
        return [word]
    return [piece for part in re.split(r"(?<=[(\[{,=/:])", word) for piece in _chopped(part, width)]


def _pieces(name: str, width: int) -> list[str]:
    """Parts of a name with the dots behind them, those that are too wide in pieces."""
    parts = parts_of(name)
    dotted = [f"{part}." for part in parts[:-1]] + parts[-1:]
    return [piece for part in dotted for word in _words_of(part, width) for piece in _chopped(word, width)]


def _words_of(part: str, width: int) -> list[str]:
    """The part; one that is too wide in its words, with the underscores behind them."""
    if cell_len(part) <= width:
        return [part]
    words = part.split("_")
    return [piece for piece in (*(f"{word}_" for word in words[:-1]), words[-1]) if piece]


def _chopped(word: str, width: int) -> list[str]:
    """The word in pieces of at most `width` columns; rich loses a word of marks that take no column."""
    return chop_cells(word, width) if cell_len(word) else [word]
