"""Frozen dataclasses to plain JSON values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

__all__ = ["jsonable"]


def jsonable(value: Any) -> Any:
    """The value as dicts, lists, strings, numbers, booleans and None.

    JSON has no NaN and no infinity: they become the strings "nan", "inf" and "-inf", so nothing is lost and every
    parser reads it.

    Example:
        >>> jsonable({"a": (1, float("inf"))})
        {'a': [1, 'inf']}
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: jsonable(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    return [jsonable(v) for v in value]
