"""The site as it is built: strict, without a broken link, and whole without a network."""

from __future__ import annotations

import functools
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.chromium import chromium
from tools.site import api
from tools.site.__main__ import build
from tools.site.places import SITE, SOURCES
from tools.site.sources import write_sources

pytestmark = pytest.mark.slow
LATEST = SITE / "latest"


class Page(HTMLParser):
    """Ids, links, and what a browser loads by itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.ids |= {found[k] for k in ("id", "name") if k in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag in ("script", "img", "iframe") and "src" in found:
            self.loads.append(found["src"])
        if tag == "link" and found.get("rel") in ("stylesheet", "icon", "preload"):
            self.loads.append(found["href"])


@functools.cache
def page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def broken(path: Path, links: list[str]) -> Iterator[str]:
    """Links of a page that lead to no file, or to no place in one."""
    for link in links:
        parts = urllib.parse.urlsplit(link)
        if parts.scheme:
            continue
        target = (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path
        anchor = urllib.parse.unquote(parts.fragment)
        if not target.is_file() or (anchor and target.suffix == ".html" and anchor not in page(target).ids):
            yield link


@pytest.fixture(scope="module", autouse=True)
def site() -> Path:
    write_sources(SOURCES)
    build()
    return LATEST


def pages() -> list[Path]:
    return [p for p in LATEST.rglob("*.html") if p.name != "404.html" and p.parent.name != "playground"]


def test_every_page_of_the_sources_is_built():
    made = {p.relative_to(LATEST).with_suffix(".md") for p in pages()}
    assert made >= {p.relative_to(SOURCES) for p in SOURCES.rglob("*.md")}
    assert len(made) > 150


def test_every_link_and_anchor_holds():
    found = {str(p.relative_to(LATEST)): list(broken(p, page(p).links + page(p).loads)) for p in pages()}
    assert not {name: links for name, links in found.items() if links}


def test_every_public_name_has_its_place():
    for module in api.MODULES:
        ids = page((LATEST / api.path(module)).with_suffix(".html")).ids
        assert not [name for name in api.public_names(module) if f"{module}.{name}" not in ids]


def test_nothing_is_loaded_from_elsewhere():
    loads = {load for p in pages() for load in page(p).loads}
    assert loads
    assert not [load for load in loads if urllib.parse.urlsplit(load).scheme not in ("", "data")]


def test_a_broken_link_is_found(tmp_path):
    here = tmp_path / "a.html"
    here.write_text('<h1 id="top"><a href="#top">x</a><a href="#bottom">y</a><a href="b.html">z</a></h1>')
    assert list(broken(here, page(here).links)) == ["#bottom", "b.html"]
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# x\n\n[y](gone.md)\n")
    (tmp_path / "mkdocs.yml").write_text("site_name: x\n")
    command = [Path(sys.executable).with_name("zensical"), "build", "--strict"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode


def test_the_questions_of_a_newcomer_are_three_clicks_away_at_most():
    titles = {"Is my init right?": 1, "My loss is flat": 1, "Which law for ReLU, GELU, tanh?": 1}
    text = (LATEST / "index.html").read_text(encoding="utf-8")
    assert not [title for title in titles if title not in text]


def test_the_full_text_is_small():
    assert 50_000 < (LATEST / "llms-full.txt").stat().st_size < 200_000


@pytest.fixture
def opened() -> Iterator[Any]:
    """A page of a browser without a network, with what it asked for, and what went wrong, as attributes."""
    with chromium("the site") as browser:
        opened = browser.new_context(offline=True).new_page()
        opened.failed, opened.asked = [], []
        opened.on("request", lambda request: opened.asked.append(request.url))
        opened.on("requestfailed", lambda request: opened.failed.append(request.url))
        opened.on("pageerror", lambda error: opened.failed.append(str(error)))
        yield opened


def whole(opened: Any) -> bool:
    """All that was asked for was there, on this disk."""
    local = all(url.startswith(("file:", "data:", "blob:")) for url in opened.asked)
    return bool(opened.asked) and local and not opened.failed


def test_search_works_from_disk_without_a_network(opened):
    opened.goto((SITE / "index.html").as_uri())
    opened.wait_for_url("**/latest/index.html")
    opened.wait_for_load_state("load")
    opened.keyboard.press("Control+k")
    opened.get_by_role("combobox").fill("orthogonal")
    opened.locator("[id$='-results'] a[href*='initializers/orthogonal.html']").first.wait_for(timeout=60_000)
    assert whole(opened)


def test_the_playground_is_in_its_frame(opened):
    opened.goto((LATEST / "playground.html").as_uri())
    opened.frame_locator("iframe.playground").locator("svg").first.wait_for(timeout=60_000)
    assert whole(opened)


def test_a_request_that_fails_is_seen(opened, tmp_path):
    (tmp_path / "a.html").write_text('<img src="gone.png">')
    opened.goto((tmp_path / "a.html").as_uri())
    opened.wait_for_load_state("load")
    assert not whole(opened)
