"""JSON Schema of the report, read off the dataclasses, so that the two cannot part."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib.resources import files
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from fanin.report.json_view import SCHEMA_ID, dumps
from fanin.rules.result import CheckResult
from fanin.text.files import write_text

__all__ = ["build_schema", "schema_text"]

_PLAIN: Mapping[object, dict[str, Any]] = types.MappingProxyType(
    {
        str: {"type": "string"},
        int: {"type": "integer"},
        bool: {"type": "boolean"},
        types.NoneType: {"type": "null"},
        Any: {},
        float: {"anyOf": [{"type": "number"}, {"enum": ["nan", "inf", "-inf"]}]},
    }
)


def schema_text() -> str:
    """The JSON Schema (draft 2020-12) that ships with the package."""
    return files("fanin.report").joinpath("schema/check-result.schema.json").read_text(encoding="utf-8")


def build_schema() -> str:
    """The JSON Schema of today's dataclasses, as text."""
    definitions: dict[str, Any] = {}
    root = _object(CheckResult, definitions)
    extra = {
        "$schema": {"const": SCHEMA_ID},
        "tool": {"type": "object", "properties": {"name": {"const": "fanin"}, "version": {"type": "string"}}},
        "ok": {"type": "boolean"},
        "verdict": {"type": "string"},
    }
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "Result of a fanin check",
        **root,
        "properties": {**extra, **root["properties"]},
        "required": [*extra, *root["required"]],
        "$defs": dict(sorted(definitions.items())),
    }
    return dumps(document) + "\n"


def _object(cls: type, definitions: dict[str, Any]) -> dict[str, Any]:
    hints = get_type_hints(cls)
    names = [f.name for f in fields(cls)]
    return {
        "description": (cls.__doc__ or cls.__name__).strip().splitlines()[0],
        "type": "object",
        "properties": {name: _type(hints[name], definitions) for name in names},
        "required": names,
        "additionalProperties": False,
    }


def _type(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if hint in _PLAIN:
        return dict(_PLAIN[hint])
    if is_dataclass(hint) and isinstance(hint, type):
        if hint.__name__ not in definitions:
            definitions[hint.__name__] = {}
            definitions[hint.__name__] = _object(hint, definitions)
        return {"$ref": f"#/$defs/{hint.__name__}"}
    return _generic(get_origin(hint), get_args(hint), definitions)


def _generic(origin: Any, args: tuple[Any, ...], definitions: dict[str, Any]) -> dict[str, Any]:
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_type(arg, definitions) for arg in args]}
    if origin is tuple and args[-1] is Ellipsis:
        return {"type": "array", "items": _type(args[0], definitions)}
    if origin is tuple:
        items = [_type(arg, definitions) for arg in args]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _type(args[1], definitions)}
    raise TypeError(f"no JSON Schema is known for a field of type {origin}{args}: add it to fanin.report.schema")


if __name__ == "__main__":
    from pathlib import Path

    write_text(Path(__file__).parent / "schema" / "check-result.schema.json", build_schema())
