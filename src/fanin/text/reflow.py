"""Docstrings at any width: paragraphs fold anew, examples go on in further lines of Python, tables stay as they are."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator, Sequence

from rich.cells import cell_len

from fanin.text.folding import fold_words

__all__ = ["reflow"]

_PROMPTS = (">>> ", "... ")
_ITEM = re.compile(r"(?:[-*] |\d+\. )")
_JOINING = frozenset({",", "+", "for", "if", "and", "or"})
_LEAST = 20  # columns that prose gets, however deep it is indented


def reflow(text: str, width: int) -> str:
    r"""A docstring with lines of at most `width` columns.

    Lines of prose that belong together become one paragraph, with their indentation; an entry such as "gain: ..." keeps
    the deeper indentation of its further lines. Commands behind ``>>>`` are broken where Python allows it. What such a
    command prints is prose or numbers, and stays on its lines. Double backticks become single ones.

    Example:
        >>> print(reflow("gain: multiplies the\n    std of the law.", 18))
        gain: multiplies
            the std of the
            law.
        >>> reflow(">>> plan = fanin.plan(model, inputs, seed=3)", 34).splitlines()
        ['>>> plan = fanin.plan(model,', '...     inputs, seed=3)']
    """
    lines: list[str] = []
    for block in _blocks(text.replace("``", "`").splitlines()):
        lines += _folded(block, width)
    return "\n".join(lines)


def _blocks(lines: Sequence[str]) -> Iterator[list[str]]:
    """Lines that are folded together: a paragraph, an entry, or one line of anything else."""
    block: list[str] = []
    printed = False
    for line in lines:
        printed = bool(line.strip()) and (printed or line.lstrip().startswith(">>>"))
        if block and (printed or not _goes_on(block, line)):
            yield block
            block = []
        block.append(line)
    if block:
        yield block


def _goes_on(block: Sequence[str], line: str) -> bool:
    """Whether a line belongs to the paragraph above it."""
    if not line.strip() or not block[-1].strip() or _is_drawn(line) or _is_drawn(block[-1]) or _is_command(block[0]):
        return False
    if _ITEM.match(line.lstrip()) or block[-1].endswith(":"):
        return False
    moved = _indent(line) - _indent(block[0])
    if moved == 0:
        return _indent(block[-1]) == _indent(line) and not (_is_entry(line) and _is_entry(block[0]))
    return moved > 0 and (len(block) == 1 or _indent(line) == _indent(block[-1]))


def _is_entry(line: str) -> bool:
    """Whether a line begins as an entry of a list does: a name, or several, and a colon."""
    return re.match(r"\s*[\w*`]+(?:, [\w*`]+)*(?: \([^)]*\))?: ", line) is not None


def _is_drawn(line: str) -> bool:
    return re.search(r"\S {3,}\S|^\s*\|", line) is not None


def _is_command(line: str) -> bool:
    return line.lstrip().startswith(_PROMPTS)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _folded(block: Sequence[str], width: int) -> list[str]:
    first, last = block[0], block[-1]
    if _is_command(first):
        return _command(first, width)
    if cell_len(first) <= width and len(block) == 1:
        return [first]
    own, later = " " * _indent(first), " " * (_indent(last) if len(block) > 1 else _indent(first) + _hang(first))
    words = " ".join(line.strip() for line in block)
    room = max(width - len(later), _LEAST)
    head = fold_words(words, max(width - len(own), _LEAST))[0] if own != later else ""
    rest = fold_words(words[len(head) :], room)
    return [own + head, *(later + line for line in rest if line)] if head else [later + line for line in rest]


def _hang(line: str) -> int:
    """Columns that the further lines of a single long line are moved right: those of an entry or item."""
    return 4 if _is_entry(line) else 2 if _ITEM.match(line.lstrip()) else 0


def _command(line: str, width: int) -> list[str]:
    """A command, broken at the last place inside of brackets that fits; whole where there is none."""
    if cell_len(line) <= width:
        return [line]
    start = _indent(line) + len(_PROMPTS[0])
    fits = [place for place in _breaks(line[start:]) if start + place <= width]
    if not fits:
        return [line]
    head, rest = line[: start + fits[-1]].rstrip(), line[start + fits[-1] :].strip()
    further = " " * _indent(line) + _PROMPTS[1] + "    "
    return [head, *_further(further, rest, width)]


def _further(before: str, rest: str, width: int) -> list[str]:
    """The rest of a command whose brackets are open; a shorter one where it is too long again."""
    lines = []
    while cell_len(before + rest) > width:
        fits = [place for place in _breaks(f"({rest}", 1) if len(before) + place <= width]
        if not fits:
            break
        lines.append(before + rest[: fits[-1]].rstrip())
        rest = rest[fits[-1] :].strip()
    return [*lines, before + rest]


def _breaks(code: str, skipped: int = 0) -> list[int]:
    """Columns inside of brackets behind a comma or before a word of Python that joins, less the skipped characters."""
    found, depth = [], 0
    try:
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            depth += (token.string in ("(", "[", "{")) - (token.string in (")", "]", "}"))
            if depth and token.string in _JOINING:
                found.append((token.end if token.string == "," else token.start)[1] - skipped)
    except (tokenize.TokenError, SyntaxError):  # brackets that a further line closes
        pass
    return found
