"""Plain values that callers give, checked: whole numbers, switches, numbers."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable

from fanin.errors import ArgumentError
from fanin.text.reading import shown

__all__ = ["assert_count", "assert_positive", "assert_switch"]


def assert_count(name: str, value: object, *, least: int = 1) -> None:
    """Check that an argument is a whole number of at least this size; true and false are none.

    Raises:
        ArgumentError: it is not.

    Example:
        >>> assert_count("steps", "all")
        Traceback (most recent call last):
        ...
        fanin.errors.ArgumentError: steps is a whole number >= 1; got 'all'
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ArgumentError(f"{name} is a whole number >= {least}; got {shown(value)}")


def assert_positive(name: str, value: object) -> None:
    """Check that an argument is a finite number above 0.

    Raises:
        ArgumentError: it is not.

    Example:
        >>> assert_positive("lr", "0.1")
        Traceback (most recent call last):
        ...
        fanin.errors.ArgumentError: lr is a finite number > 0; got '0.1'
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0.0 < float(value) < math.inf:
        raise ArgumentError(f"{name} is a finite number > 0; got {shown(value)}")


def assert_switch(name: str, value: object, *, others: Iterable[object] = ()) -> None:
    """Check that an argument is True or False, or one of the other values that are allowed; text such as "no" is not.

    Raises:
        ArgumentError: it is not.

    Example:
        >>> assert_switch("predict", "no", others=[None])
        Traceback (most recent call last):
        ...
        fanin.errors.ArgumentError: predict is one of True, False, None; got 'no'
    """
    allowed = (True, False, *others)
    if not any(value is one for one in allowed):
        raise ArgumentError(f"{name} is one of {', '.join(map(repr, allowed))}; got {shown(value)}")
