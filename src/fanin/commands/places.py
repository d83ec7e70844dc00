"""File and line where a target is written, for tools that mark lines of source."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

__all__ = ["place_of"]


def place_of(target: str) -> tuple[str, int] | None:
    """File and line of the function, class or variable that a loaded target names; None where they are not known.

    Nothing is run: the file is read as text.

    Args:
        target: "file.py:name" or "package.module:name".
    """
    where, _, name = target.rpartition(":")
    module = sys.modules.get(where)
    file = Path(where if where.endswith(".py") else getattr(module, "__file__", None) or "")
    if not file.is_file() or "site-packages" in file.parts:
        return None
    line = _line_of(file, name.partition(".")[0])
    return None if line is None else (str(file.resolve()), line)


def _line_of(file: Path, name: str) -> int | None:
    """The last line at which the name gets its value at the top level, as Python would leave it."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None
    return next((node.lineno for node in reversed(tree.body) if name in _names(node)), None)


def _names(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name for alias in node.names}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
