"""How files are read: plain JSON or a sentence that says why not, and values of the types that a dataclass declares."""

from __future__ import annotations

import functools
import json
import math
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from fanin.errors import ArgumentError, FaninError, InputError, MissingFileError
from fanin.text.files import PathLike
from fanin.text.names import clean, shorten

__all__ = ["assert_plain", "parse_json", "read_bytes", "read_fields", "shown"]

_DEEPEST = 64
_LARGEST = 1 << 64
_Reader = Callable[[Any], Any]


def read_bytes(path: PathLike) -> bytes:
    """What a file holds.

    Raises:
        MissingFileError: there is no such file; it is a `FileNotFoundError` too.
        InputError: it cannot be read; it is an `OSError` too.
    """
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise MissingFileError(f"there is no file '{clean(path)}' (looked from '{clean(Path.cwd())}')") from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"'{clean(path)}' cannot be read: {clean(why)}. Give the name of a file.") from error


def shown(value: object) -> str:
    """A value from a file in a message: on one line, in at most 80 characters.

    Example:
        >>> shown({"a": "x" * 100})
        "{'a': 'xxxxxxxxxxxxxxxxxxx…xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'}"
    """
    try:
        return shorten(clean(repr(value)), 80)
    except (RecursionError, ValueError):  # nested too deep, or a number of too many digits
        return f"a {type(value).__name__}"


# ------------------------------------------------------------------ JSON
def parse_json(text: bytes | str) -> Any:
    """The value that JSON text holds, checked to be plain.

    Args:
        text: UTF-8.

    Returns:
        Mappings, lists, strings, finite numbers, booleans and None, nested at most 64 deep.

    Raises:
        ArgumentError: it is no such JSON; the message says where and why.

    Example:
        >>> parse_json('{"std": NaN}')
        Traceback (most recent call last):
        ...
        fanin.errors.ArgumentError: no JSON: NaN is no number in JSON
    """
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        value = json.loads(decoded, parse_constant=_no_number, object_pairs_hook=_each_once)
    except UnicodeDecodeError as error:
        raise ArgumentError(f"no JSON: byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise ArgumentError(f"no JSON: it is nested more than {_DEEPEST} deep") from None
    except ValueError as error:
        raise ArgumentError(f"no JSON: {clean(error)}") from None
    assert_plain(value)
    return value


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
        raise ValueError(f"{shown(twice)} appears twice in one mapping")
    return made


def assert_plain(value: Any) -> None:
    """Check that a value is plain JSON: nested at most 64 deep, every number finite and below 2**64.

    Raises:
        ArgumentError: it is not.
    """
    todo: list[tuple[Any, int]] = [(value, 0)]
    while todo:
        here, depth = todo.pop()
        if depth > _DEEPEST:
            raise ArgumentError(f"no JSON: it is nested more than {_DEEPEST} deep")
        if isinstance(here, Mapping):
            todo += [(v, depth + 1) for v in here.values()]
            wrong = [k for k in here if not isinstance(k, str)]
            if wrong:
                raise ArgumentError(f"no JSON: the key {shown(wrong[0])} is no text")
        elif isinstance(here, list | tuple):
            todo += [(v, depth + 1) for v in here]
        else:
            _assert_scalar(here)


def _assert_scalar(value: Any) -> None:
    if value is None or isinstance(value, bool | str):
        return
    if isinstance(value, float) and math.isfinite(value):
        return
    if isinstance(value, int) and abs(value) < _LARGEST:
        return
    raise ArgumentError(f"no JSON that can be used: {shown(value)} is no finite number, no text, no list, no mapping")


# ------------------------------------------------------------------ fields of a dataclass
def read_fields(cls: type, data: Any, readers: Mapping[type, _Reader] | None = None) -> dict[str, Any]:
    """The arguments of a dataclass from plain data, each of the type that the class declares.

    Args:
        cls: the dataclass.
        data: a mapping of field names to plain JSON values; lists become tuples.
        readers: for fields that are objects themselves: their class -> what makes one from plain data.

    Raises:
        ArgumentError: the data is no mapping, a field is missing, unknown, or of another type; the message names it.

    Example:
        >>> from fanin.text.paths import PathGroup
        >>> read_fields(PathGroup, {"pattern": "fc", "members": ["fc"]})
        {'pattern': 'fc', 'members': ('fc',)}
        >>> read_fields(PathGroup, {"pattern": "fc", "members": 3})
        Traceback (most recent call last):
        ...
        fanin.errors.ArgumentError: field 'members' must be a list of (text); got 3
    """
    if not isinstance(data, Mapping):
        raise ArgumentError(f"a mapping of the fields of {cls.__name__} is needed; got {shown(data)}")
    hints = _hints(cls)
    if unknown := [k for k in data if k not in hints]:
        raise ArgumentError(
            f"{cls.__name__} has no field {shown(unknown)}; it has {', '.join(hints)}. Was it saved by a newer fanin?"
        )
    if missing := [k for k in _required(cls) if k not in data]:
        raise ArgumentError(f"{cls.__name__} needs {missing}, which the data lacks; got {shown(dict(data))}")
    return {k: _field(k, v, hints[k], readers or {}) for k, v in data.items()}


def _field(name: str, value: Any, hint: Any, readers: Mapping[type, _Reader]) -> Any:
    try:
        return _as(hint, value, readers)
    except _WrongTypeError:
        raise ArgumentError(f"field {name!r} must be {_words(hint)}; got {shown(value)}") from None
    except FaninError as error:
        raise ArgumentError(f"field {name!r}: {error}") from error


class _WrongTypeError(Exception):
    """A value that is not of the declared type."""


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {f.name: hints[f.name] for f in fields(cls) if f.init}


@functools.cache
def _required(cls: type) -> tuple[str, ...]:
    return tuple(f.name for f in fields(cls) if f.init and f.default is MISSING and f.default_factory is MISSING)


def _as(hint: Any, value: Any, readers: Mapping[type, _Reader]) -> Any:
    """The value as the hint has it."""
    if hint in readers:
        return readers[hint](value)
    origin = get_origin(hint)
    if origin in _BY_ORIGIN:
        return _BY_ORIGIN[origin](get_args(hint), value, readers)
    if hint is Any or _is_a(hint, value):
        return value
    raise _WrongTypeError


def _is_a(hint: Any, value: Any) -> bool:
    if isinstance(value, bool):
        return hint is bool
    if hint is float:
        return isinstance(value, int | float) and abs(value) <= _MOST and math.isfinite(value)
    return isinstance(hint, type) and isinstance(value, hint)


_MOST = 1.7e308
_T = TypeVar("_T")


def _any_of(hints: Sequence[Any], value: Any, readers: Mapping[type, _Reader]) -> Any:
    if value is None and type(None) in hints:
        return None
    for hint in hints:
        try:
            return _as(hint, value, readers)
        except _WrongTypeError:
            continue
    raise _WrongTypeError


def _sequence(hints: Sequence[Any], value: Any, readers: Mapping[type, _Reader]) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _WrongTypeError
    return tuple(_as(hints[0], v, readers) for v in value)


def _one_of(allowed: Sequence[Any], value: Any, readers: Mapping[type, _Reader]) -> Any:
    if not isinstance(value, str) or value not in allowed:
        raise _WrongTypeError
    return value


def _mapping(hints: Sequence[Any], value: Any, readers: Mapping[type, _Reader]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _WrongTypeError
    return {_as(hints[0], k, readers): _as(hints[1], v, readers) for k, v in value.items()}


_BY_ORIGIN: dict[Any, Callable[[Sequence[Any], Any, Mapping[type, _Reader]], Any]] = {
    Union: _any_of,
    types.UnionType: _any_of,
    tuple: _sequence,
    Literal: _one_of,
    Mapping: _mapping,
}
_PLAIN = {str: "text", int: "a whole number", float: "a finite number", bool: "true or false", type(None): "null"}


def _words(hint: Any) -> str:
    """What a hint allows, for a reader."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(map(_words, inside))
    if origin is tuple:
        return f"a list of ({_words(inside[0])})"
    if origin is Literal:
        return "one of " + ", ".join(map(repr, inside))
    if origin is Mapping:
        return "a mapping"
    return _PLAIN.get(hint, f"a {getattr(hint, '__name__', hint)}")
