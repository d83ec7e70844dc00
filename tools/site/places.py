"""Where things are, and where they go."""

from __future__ import annotations

from pathlib import Path

__all__ = ["CONFIG", "DOCS", "REPOSITORY", "RESULTS", "ROOT", "SITE", "SOURCES"]

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RESULTS = ROOT / "benchmarks" / "results"
CONFIG = ROOT / "mkdocs.yml"
SOURCES = ROOT / "build" / "docs"  # every page, before zensical
SITE = ROOT / "site"
REPOSITORY = "https://github.com/fanin-dev/fanin"
