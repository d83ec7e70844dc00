"""How docstrings are read for the site: what mkdocstrings would not show as it is meant."""

from __future__ import annotations

import re
from typing import Any

import griffe

__all__ = ["Docstrings", "readable"]

_HEADING = re.compile(r"^Example:$", re.MULTILINE)
_MATH = re.compile(r":math:`([^`]*)`")


def readable(text: str) -> str:
    """A docstring whose examples are sessions and whose roles of Sphinx are code."""
    return _MATH.sub(r"`\1`", _HEADING.sub("Examples:", text))


class Docstrings(griffe.Extension):
    """Rewrites each docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called by griffe for every module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = readable(obj.docstring.value)
