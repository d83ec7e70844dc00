"""Reports draw what was measured and found, and compute nothing.

Terminal, JSON, SARIF, annotations, JUnit, Markdown, one HTML page. Names are loaded when they are first used: tables
and figures of theory, which are in this package too, need no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fanin.report.formats import ENDINGS, FORMATS, assert_output, notebook, render, save
    from fanin.report.html.document import data_of
    from fanin.report.terminal import TerminalReport, show

__all__ = ["ENDINGS", "FORMATS", "TerminalReport", "assert_output", "data_of", "notebook", "render", "save", "show"]

_HOME = {
    **dict.fromkeys(("ENDINGS", "FORMATS", "assert_output", "notebook", "render", "save"), "fanin.report.formats"),
    "data_of": "fanin.report.html.document",
    **dict.fromkeys(("TerminalReport", "show"), "fanin.report.terminal"),
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
