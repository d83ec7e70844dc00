"""The report as JSON: everything that was measured and found, readable by `diff` as well as by a parser."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fanin._version import __version__
from fanin.rules.result import SCHEMA_VERSION, CheckResult

__all__ = ["SCHEMA_ID", "dumps", "to_document", "to_json"]

SCHEMA_ID = f"urn:fanin:check-result:{SCHEMA_VERSION}"


def to_document(result: CheckResult) -> dict[str, Any]:
    """Plain JSON values under the names of `schema/check-result.schema.json`."""
    return {"$schema": SCHEMA_ID, "tool": {"name": "fanin", "version": __version__}, **result.to_dict()}


def to_json(result: CheckResult) -> str:
    """The document as text; the same result gives the same bytes (durations in `header.seconds` are part of it)."""
    return dumps(to_document(result)) + "\n"


def dumps(value: Any) -> str:
    r"""JSON in ASCII, two blanks a level; a list of plain values stays on one line.

    Example:
        >>> print(dumps({"a": [1, 2], "b": {"c": "é"}, "d": []}))
        {
          "a": [1, 2],
          "b": {
            "c": "\u00e9"
          },
          "d": []
        }
    """
    pieces: list[str] = []
    _write(value, "\n", pieces.append)
    return "".join(pieces)


def _write(value: Any, newline: str, put: Callable[[str], None]) -> None:
    deeper = newline + "  "
    if isinstance(value, dict) and value:
        for place, (key, item) in enumerate(value.items()):
            put(f"{',' if place else '{'}{deeper}{json.dumps(key)}: ")
            _write(item, deeper, put)
        put(newline + "}")
    elif isinstance(value, list) and any(isinstance(item, list | dict) for item in value):
        for place, item in enumerate(value):
            put(f"{',' if place else '['}{deeper}")
            _write(item, deeper, put)
        put(newline + "]")
    else:
        put(json.dumps(value, allow_nan=False))
