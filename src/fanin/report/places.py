"""Where a finding is in the user's source, where that is known; never a guess."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fanin.rules.finding import Finding

__all__ = ["source_of"]


def source_of(finding: Finding, lines: Mapping[str, tuple[str, int]]) -> tuple[str, int] | None:
    """File and line of the class of the first path, or of the nearest module around it.

    A file below the working directory is given relative to it: that is what a repository's tools can find.

    Example:
        >>> from fanin.rules.finding import Fix
        >>> found = Finding(code="S201", name="", severity="error", paths=("net.fc.weight",), message="",
        ...                 fix=Fix(text=""))
        >>> source_of(found, {"net": ("net.py", 12)})
        ('net.py', 12)
    """
    for path in finding.paths:
        parts = path.split(".")
        for length in range(len(parts), -1, -1):
            place = lines.get(".".join(parts[:length]))
            if place is not None:
                return _relative(place[0]), place[1]
    return None


def _relative(file: str) -> str:
    path, here = Path(file), Path.cwd()
    return path.relative_to(here).as_posix() if path.is_absolute() and path.is_relative_to(here) else file
