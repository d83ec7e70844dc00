"""The interactive page: the source in ``source/`` as ES modules, joined into one file that needs nothing else."""

from __future__ import annotations

from fanin.report.playground.page import playground_page

__all__ = ["playground_page"]
