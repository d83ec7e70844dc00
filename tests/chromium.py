"""The browser that tests of pages use: the system's Chromium, driven by playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

__all__ = ["chromium"]

_PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def chromium(what: str) -> Iterator[Any]:
    """A browser for as long as the block runs; where it or playwright is missing, the test is skipped and says so.

    Args:
        what: the page that is not opened then, for the reason of the skip.
    """
    missing = f"NOT TESTED: {{}}, so {what} was not opened in a browser"
    api = pytest.importorskip("playwright.sync_api", reason=missing.format("playwright is missing"))
    if _PROGRAM is None:
        pytest.skip(missing.format("no Chromium was found"))
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=_PROGRAM, args=["--no-sandbox"])
        yield opened
        opened.close()
