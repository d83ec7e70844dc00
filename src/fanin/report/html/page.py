"""One complete page: styles, script and data inside, nothing fetched, no script but ours allowed to run."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from fanin.text.names import clean, sentence, shorten

__all__ = ["content_hash", "embed", "fill", "source", "stand_alone"]


def stand_alone(
    body: Markup, *, title: str, nav: Sequence[tuple[str, str]] = (), data: Any = None, brand: str = "fanin"
) -> str:
    """A whole HTML document.

    Args:
        body: the content of ``<main>``, made by `fill` or `svg.el`.
        title: of the window; text.
        nav: (id, label) of the sections to link to.
        data: JSON values to embed once, under the id ``fanin-data``; None for none.
        brand: the words at the top left.
    """
    css, script = source("tokens.css") + source("page.css"), source("page.js")
    return str(
        fill(
            "page.html.j2",
            body=body,
            title=clean(title),
            brand=brand,
            nav=nav,
            css=Markup(css),
            script=Markup(script),
            policy=_policy(css, script),
            data=None if data is None else embed(data),
        )
    )


def fill(template: str, **values: Any) -> Markup:
    """A template of this package with its values, escaped."""
    return Markup(_environment().get_template(template).render(**values))


def embed(data: Any) -> Markup:
    r"""JSON that no HTML parser can leave: the signs that could end or open anything are escapes inside strings.

    Example:
        >>> print(embed({"name": "</script><!--"}))
        {"name":"\u003c/script\u003e\u003c!--"}
    """
    written = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        written = written.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(written)


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(source),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clean"] = clean
    environment.filters["sentence"] = sentence
    environment.filters["short"] = shorten
    environment.filters["breakable"] = breakable
    return environment


def breakable(name: str) -> Markup:
    """A name that a narrow column may break behind its dots and underscores.

    Example:
        >>> breakable("out_proj<")
        Markup('out_<wbr>proj&lt;')
    """
    return Markup(str(escape(name)).replace(".", ".<wbr>").replace("_", "_<wbr>"))


@functools.cache
def source(name: str) -> str:
    """Text of a file in ``templates/``: ``tokens.css`` holds the colours and typefaces of all pages."""
    return files("fanin.report.html").joinpath("templates").joinpath(name).read_text(encoding="utf-8")


def _policy(css: str, script: str) -> str:
    """Content security policy: our style and our script by their hashes, nothing else."""
    rules: Mapping[str, str] = {
        "default-src": "'none'",
        "style-src": content_hash(css),
        "script-src": content_hash(script),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def content_hash(content: str) -> str:
    """What a content security policy calls an inline style or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
