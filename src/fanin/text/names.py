"""Names from a model as harmless text: nothing in them reaches a terminal, a page or a parser as an instruction."""

from __future__ import annotations

import unicodedata

__all__ = ["clean", "one_line", "sentence", "shorten"]

_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def clean(text: object) -> str:
    r"""The text with every character that does not show as itself written as an escape.

    Args:
        text: anything; `str` of it is taken.

    Returns:
        One line of visible characters. `clean` of a cleaned text is that text.

    Example:
        >>> print(clean("fc1\x1b[31m\nfc2"))
        fc1\x1b[31m\nfc2
        >>> print(clean("\u0301a"))
        \u0301a
    """
    shown = "".join(map(_visible, str(text)))
    # A mark at the start has no letter to stand on: terminals leave it out, or put it on what is before the name.
    return _escaped(shown[0]) + shown[1:] if shown and unicodedata.category(shown[0])[0] == "M" else shown


def one_line(text: object) -> str:
    r"""Prose on one line: white space runs become one space, then as `clean`.

    Example:
        >>> one_line("scaled  by\n  ten")
        'scaled by ten'
    """
    return clean(" ".join(str(text).split()))


def sentence(text: object) -> str:
    r"""Prose on one line that starts with a capital and ends with a stop; a name at the start stays as it is.

    Example:
        >>> sentence("the gradient shrinks"), sentence("fc1.weight has no gradient.")
        ('The gradient shrinks.', 'fc1.weight has no gradient.')
    """
    line = one_line(text)
    if line.split(" ")[0].isalpha():
        line = line[:1].upper() + line[1:]
    return line + "." if line[-1:].isalnum() or line[-1:] in ")'\"" else line


def shorten(text: str, width: int, *, ellipsis: str = "…") -> str:
    """The text in at most `width` characters: a long one loses its middle, as the end of a path identifies it best.

    Example:
        >>> shorten("encoder.layers.11.attention.output.dense", 24)
        'encoder…ion.output.dense'
        >>> shorten("fc1", 24)
        'fc1'
    """
    if len(text) <= width:
        return text
    room = width - len(ellipsis)
    if room <= 0:
        return text[: max(width, 0)]
    head = room // 3
    return text[:head] + ellipsis + text[len(text) - (room - head) :]


def _visible(char: str) -> str:
    if char in _NAMED:
        return _NAMED[char]
    # Not printable: control, format (bidi overrides, zero width), surrogate, private and unassigned characters,
    # separators other than the blank. None of them shows as itself, and some of them act.
    return char if char.isprintable() else _escaped(char)


def _escaped(char: str) -> str:
    point = ord(char)
    if point < 0x100:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
