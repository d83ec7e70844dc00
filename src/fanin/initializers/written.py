"""A law written as a call: ``normal(std=0.02)`` as its name and its arguments."""

from __future__ import annotations

import ast
from typing import Any

from fanin.errors import ArgumentError

__all__ = ["name_and_arguments"]


def name_and_arguments(text: Any) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """Name, positional and keyword arguments of a law as text; the arguments are numbers, strings, lists and the like.

    Args:
        text: a name, or a call as Python writes it. Nothing is executed.

    Raises:
        ArgumentError: it looks like a call and is none, or an argument is more than a value.

    Example:
        >>> name_and_arguments("normal(std=0.02)"), name_and_arguments("zeros")
        (('normal', (), {'std': 0.02}), ('zeros', (), {}))
    """
    if not isinstance(text, str) or "(" not in text:  # what is no text is refused as a name
        return text, (), {}
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise ValueError("not a call of one name")
        positional = tuple(ast.literal_eval(value) for value in call.args)
        return call.func.id, positional, {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise ArgumentError(
            f"{text!r} is no law: write its name, or its name with values in brackets, as in normal(std=0.02)"
        ) from error
