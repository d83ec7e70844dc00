"""Laws read back from the dicts that `Initializer.to_dict` gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fanin.errors import ArgumentError
from fanin.initializers.base import TAG, Initializer
from fanin.initializers.registry import law_class
from fanin.layout import Layout
from fanin.text.reading import read_fields, shown

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
        raise ArgumentError(f"a law is a mapping with a {TAG!r} entry that names its class; got {shown(data)}")
    cls = law_class(data[TAG])
    arguments = {k: v for k, v in data.items() if k != TAG}
    return cls(**read_fields(cls, arguments, {Initializer: from_dict, Layout: Layout.from_dict}))
