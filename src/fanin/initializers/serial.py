"""Laws read back from the dicts that `Initializer.to_dict` gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from fanin.errors import ArgumentError
from fanin.initializers.base import TAG, Initializer
from fanin.initializers.registry import law_class

__all__ = ["from_dict"]


def from_dict(data: Mapping[str, Any]) -> Initializer:
    """The law that `Initializer.to_dict` wrote.

    Args:
        data: the dict, also after a way through JSON (lists in place of tuples).

    Raises:
        ArgumentError: no entry "initializer", fields that the law does not have, or values that it does not allow.
        UnknownNameError: no law of that name.

    Example:
        >>> from fanin.initializers import Normal, from_dict
        >>> from_dict(Normal(std=0.02).to_dict())
        Normal(std=0.02, mean=0.0)
    """
    if not isinstance(data, Mapping) or not isinstance(data.get(TAG), str):
        raise ArgumentError(f"a law is a mapping with a {TAG!r} entry that names its class; got {data!r}")
    cls = law_class(data[TAG])
    arguments = {k: _decoded(v) for k, v in data.items() if k != TAG}
    known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    if unknown := set(arguments) - known:
        raise ArgumentError(f"{cls.__name__} has no field {sorted(unknown)}; it has {sorted(known)}")
    if missing := _required(cls) - set(arguments):
        raise ArgumentError(f"{cls.__name__} needs {sorted(missing)}, which the data lacks; got {dict(data)!r}")
    return cls(**arguments)


def _required(cls: type[Initializer]) -> set[str]:
    return {f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING}  # type: ignore[arg-type]


def _decoded(value: Any) -> Any:
    if isinstance(value, Mapping) and TAG in value:
        return from_dict(value)
    if isinstance(value, list):
        return tuple(_decoded(v) for v in value)
    return value
