"""Joins the modules of the interactive page, its styles and its digits into one HTML file."""

from __future__ import annotations

import base64
import functools
import json
import re
from importlib.resources import files
from string import Template

from fanin._version import __version__
from fanin.report.html.page import content_hash, source

__all__ = ["module_order", "playground_page", "script"]

_DIGITS = 1797
_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./(\w+)\.mjs";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (const|function) (\w+)", re.MULTILINE)


@functools.cache
def playground_page() -> str:
    """The page ``fanin playground`` writes: one HTML document, styles, script and data inside, nothing fetched.

    Its content security policy allows this style, this script by its hash, and a worker made from the script's own
    text; no other address can be asked for anything.

    Example:
        >>> page = playground_page()
        >>> page.startswith("<!doctype html>"), len(page.encode()) < 500_000
        (True, True)
    """
    css, code = source("tokens.css") + _text("page.css"), script()
    policy = (
        f"default-src 'none'; style-src {content_hash(css)}; script-src {content_hash(code)} blob:; worker-src blob:; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    digits = {"count": _DIGITS, "pixels": base64.b64encode(_bytes("digits.bin")).decode()}
    return Template(_text("index.html")).substitute(
        policy=policy, version=__version__, css=css, digits=json.dumps(digits), script=code
    )


def script() -> str:
    """All modules as one script: each a function of its own scope, those that others import first."""
    return '"use strict";\n' + "".join(map(_scoped, module_order()))


def _scoped(name: str) -> str:
    """A module as a constant that holds what it exports."""
    text = _text(f"{name}.mjs")
    body = _EXPORT.sub(r"\1 \2", _IMPORT.sub(r"const {\1} = \2Module;\n", text))
    exported = ", ".join(found for _, found in _EXPORT.findall(text))
    return f"const {name}Module = (() => {{\n{body}return {{ {exported} }};\n}})();\n"


def module_order(entry: str = "main") -> tuple[str, ...]:
    """Names of the modules, each after all that it imports.

    Example:
        >>> order = module_order()
        >>> order.index("philox") < order.index("laws") < order.index("main")
        True
    """
    order: dict[str, None] = {}

    def visit(name: str) -> None:
        for _, needed in _IMPORT.findall(_text(f"{name}.mjs")):
            if needed not in order:
                visit(needed)
        order[name] = None

    visit(entry)
    return tuple(order)


def _text(name: str) -> str:
    return _bytes(name).decode()


def _bytes(name: str) -> bytes:
    return files("fanin.report.playground").joinpath("source").joinpath(name).read_bytes()
