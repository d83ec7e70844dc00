"""What makes the built site work from disk without a network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

__all__ = ["CDN", "add_versions", "vendor_shim"]

CDN = "https://unpkg.com/iframe-worker/shim"  # what the theme loads to search from disk: browsers start no worker there
SHIM = "assets/iframe-worker/shim.js"


def vendor_shim(site: Path) -> int:
    """Make pages load the shim from their own folder; how many pages did not.

    Raises:
        ValueError: the shim is not among the site's files.
    """
    if not (site / SHIM).is_file():
        raise ValueError(f"{site / SHIM} is missing: docs/{SHIM} is copied there by the build")
    changed = 0
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        if CDN in text:
            up = "../" * (len(page.relative_to(site).parts) - 1)
            page.write_text(text.replace(CDN, f"{up}{SHIM}"), encoding="utf-8")
            changed += 1
    return changed


def add_versions(site: Path, version: str) -> None:
    """Copy the newest site into the folder of its version; the front page leads to the newest."""
    latest = site / "latest"
    shutil.rmtree(site / version, ignore_errors=True)
    shutil.copytree(latest, site / version)
    found = sorted((p.name for p in site.iterdir() if p.is_dir() and p != latest), reverse=True)
    (site / "versions.json").write_text(json.dumps(["latest", *found]) + "\n", encoding="utf-8")
    (site / "index.html").write_text(_FRONT, encoding="utf-8")


_FRONT = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>fanin</title>
<meta http-equiv="refresh" content="0; url=latest/index.html">
<a href="latest/index.html">The documentation of fanin</a></html>
"""
