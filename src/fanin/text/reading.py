"""How files are read: plain JSON or a sentence that says why not, and values of the types that a dataclass declares."""

from __future__ import annotations

import functools
import json
import math
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from fanin.errors import ArgumentError, FaninError, InputError, MissingFileError
from fanin.text.files import PathLike, named_file
from fanin.text.names import clean, shorten

__all__ = ["assert_plain", "decode_json", "parse_json", "read_bytes", "read_fields", "shown"]

_DEEPEST = 64
_LARGEST = 1 << 64
_Reader = Callable[[Any], Any]


def read_bytes(path: PathLike) -> bytes:
    """What a file holds.

    Raises:
        MissingFileError: there is no such file; it is a `FileNotFoundError` too.
        InputError: it cannot be read; it is an `OSError` too.
        ArgumentError: what was given can name no file.
    """
    file = Path(named_file(path))
    try:
        return file.read_bytes()
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
    value = decode_json(text)
    assert_plain(value)
    return value


def decode_json(text: bytes | str) -> Any:
    """The value that JSON text holds; that its numbers can be used is left to `assert_plain`.

    Raises:
        ArgumentError: it is no JSON, or one mapping holds a key twice; the message says where and why.
    """
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        return json.loads(decoded, parse_constant=_no_number, object_pairs_hook=_each_once)
    except UnicodeDecodeError as error:
        raise ArgumentError(f"no JSON: byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise ArgumentError(f"no JSON: it is nested more than {_DEEPEST} deep") from None
    except ValueError as error:
        raise ArgumentError(f"no JSON: {clean(error)}") from None


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
    todo: list[tuple[Any, int]] = [([value], -1)]
    while todo:
        here, depth = todo.pop()
        if depth > _DEEPEST:
            raise ArgumentError(f"no JSON: it is nested more than {_DEEPEST} deep")
        if isinstance(here, dict | Mapping):
            _assert_keys(here)
            here = here.values()
        for inside in here:
            if type(inside) in _SCALARS:  # asked first: most values are scalars, and asking for Mapping is slow
                _assert_scalar(inside)
            elif isinstance(inside, dict | list | tuple | Mapping):
                todo.append((inside, depth + 1))
            else:
                _assert_scalar(inside)


_SCALARS = frozenset({str, int, float, bool, type(None)})


def _assert_keys(mapping: Mapping[Any, Any]) -> None:
    wrong = [k for k in mapping if not isinstance(k, str)]
    if wrong:
        raise ArgumentError(f"no JSON: the key {shown(wrong[0])} is no text")


def _assert_scalar(value: Any) -> None:
    if isinstance(value, str) or value is None:
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
    if not isinstance(data, dict | Mapping):  # a dict is seen at once, without the question to the abstract class
        raise ArgumentError(f"a mapping of the fields of {cls.__name__} is needed; got {shown(data)}")
    declared = _declared(cls)
    if unknown := [k for k in data if k not in declared]:
        raise ArgumentError(
            f"{cls.__name__} has no field {shown(unknown)}; it has {', '.join(declared)}. Was it saved by a newer "
            "fanin?"
        )
    if missing := [k for k in _required(cls) if k not in data]:
        raise ArgumentError(f"{cls.__name__} needs {missing}, which the data lacks; got {shown(dict(data))}")
    return {k: _field(k, v, declared[k], readers or {}) for k, v in data.items()}


class _WrongTypeError(Exception):
    """A value that is not of the declared type."""


_Convert = Callable[[Any, Mapping[type, _Reader]], Any]  # a value, how objects are read -> the value as declared


@dataclass(frozen=True, slots=True)
class _Field:
    """The declared type of a field, and what makes a value of that type or refuses."""

    hint: Any
    convert: _Convert


def _field(name: str, value: Any, declared: _Field, readers: Mapping[type, _Reader]) -> Any:
    try:
        return declared.convert(value, readers)
    except _WrongTypeError:
        raise ArgumentError(f"field {name!r} must be {_words(declared.hint)}; got {shown(value)}") from None
    except FaninError as error:
        raise ArgumentError(f"field {name!r}: {error}") from error


@functools.cache
def _declared(cls: type) -> dict[str, _Field]:
    """The fields of a dataclass; what reads them is made once for each class."""
    hints = get_type_hints(cls)
    return {f.name: _Field(hints[f.name], _converter(hints[f.name])) for f in fields(cls) if f.init}


@functools.cache
def _required(cls: type) -> tuple[str, ...]:
    return tuple(f.name for f in fields(cls) if f.init and f.default is MISSING and f.default_factory is MISSING)


def _converter(hint: Any) -> _Convert:
    if hint in _EXACT:
        return _exact(hint)
    make = _BY_ORIGIN.get(get_origin(hint))
    return _single(hint) if make is None else make(get_args(hint))


def _exact(hint: type) -> _Convert:
    """Of text, a whole number, true or false, which most fields are. A bool is no whole number."""

    def convert(value: Any, readers: Mapping[type, _Reader]) -> Any:
        if type(value) is hint or _is_instance(hint, value):
            return value
        raise _WrongTypeError

    return convert


_EXACT = (str, int, bool)  # no field of these types is an object with a reader


def _single(hint: Any) -> _Convert:
    """Of a plain value, or of an object that has a reader."""
    accepts = _ACCEPTS.get(hint) or functools.partial(_is_instance, hint)

    def convert(value: Any, readers: Mapping[type, _Reader]) -> Any:
        if readers and hint in readers:
            return readers[hint](value)
        if accepts(value):
            return value
        raise _WrongTypeError

    return convert


def _is_instance(hint: Any, value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(hint, type) and isinstance(value, hint)


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _MOST and math.isfinite(value)
    )


_MOST = 1.7e308
_ACCEPTS: dict[Any, Callable[[Any], bool]] = {
    Any: lambda value: True,
    float: _is_number,
}


def _any_of(hints: Sequence[Any]) -> _Convert:
    plain = frozenset({*_EXACT, type(None)} & set(hints))
    converters = [_converter(h) for h in hints if h not in plain]

    def convert(value: Any, readers: Mapping[type, _Reader]) -> Any:
        if type(value) in plain:
            return value
        for one in converters:
            try:
                return one(value, readers)
            except _WrongTypeError:
                continue
        raise _WrongTypeError

    return convert


def _sequence(hints: Sequence[Any]) -> _Convert:
    if Ellipsis not in hints:
        return _places(hints)
    one = _converter(hints[0])

    def convert(value: Any, readers: Mapping[type, _Reader]) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise _WrongTypeError
        return tuple([one(v, readers) for v in value])

    return convert


def _places(hints: Sequence[Any]) -> _Convert:
    """Of a tuple with a type for each place."""
    each = [_converter(hint) for hint in hints]

    def convert(value: Any, readers: Mapping[type, _Reader]) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or len(value) != len(each):
            raise _WrongTypeError
        return tuple([one(v, readers) for one, v in zip(each, value, strict=True)])

    return convert


def _one_of(allowed: Sequence[Any]) -> _Convert:
    def convert(value: Any, readers: Mapping[type, _Reader]) -> Any:
        if not isinstance(value, str) or value not in allowed:
            raise _WrongTypeError
        return value

    return convert


def _mapping(hints: Sequence[Any]) -> _Convert:
    key, inside = map(_converter, hints)

    def convert(value: Any, readers: Mapping[type, _Reader]) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise _WrongTypeError
        return {key(k, readers): inside(v, readers) for k, v in value.items()}

    return convert


_BY_ORIGIN: dict[Any, Callable[[Sequence[Any]], _Convert]] = {
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
