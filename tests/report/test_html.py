from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections import Counter
from html.parser import HTMLParser

import html5lib
import pytest
from markupsafe import Markup

from fanin.report.html.document import MAX_BYTES, data_of, notebook, to_html
from fanin.report.html.page import embed, stand_alone
from fanin.report.html.slim import slim
from fanin.report.json_view import to_document
from fanin.rules.finding import Fix, NotRun
from fanin.rules.result import TriedStart
from tests.report.samples import SAMPLES, hostile, mlp, vit
from tests.selection import few

PAGES = {**SAMPLES, "deep_vit": lambda: vit(60), "mlp_500": lambda: mlp(500, factor=0.98)}


class Pages(dict[str, str]):
    """Each page, made when it is first asked for."""

    def __missing__(self, name: str) -> str:
        return self.setdefault(name, to_html(PAGES[name]()))


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return Pages()


class Elements(HTMLParser):
    """Tags with their attributes, in order."""

    def __init__(self, page: str):
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, {k: v or "" for k, v in attrs}))


@pytest.mark.parametrize("name", few(PAGES, *PAGES.keys() - {"deep_vit"}))
def test_the_page_is_valid_html(pages, name):
    html5lib.HTMLParser(strict=True).parse(pages[name])


def test_the_validity_test_can_fail():
    with pytest.raises(html5lib.html5parser.ParseError, match="end tag"):
        html5lib.HTMLParser(strict=True).parse("<!doctype html><title>x</title><p></b>")


@pytest.mark.parametrize("name", few(PAGES, *PAGES.keys() - {"deep_vit"}))
def test_the_page_is_small(pages, name):
    assert len(pages[name].encode()) <= MAX_BYTES


@pytest.mark.parametrize("name", few(PAGES, *PAGES.keys() - {"deep_vit"}))
def test_ids_are_unique_and_links_resolve(pages, name):
    elements = Elements(pages[name]).found
    ids = Counter(attributes["id"] for _, attributes in elements if "id" in attributes)
    assert [i for i, n in ids.items() if n > 1] == []
    linked = {attributes["href"] for tag, attributes in elements if tag == "a"}
    assert linked
    assert all(href.startswith("#") and href[1:] in ids for href in linked), linked
    named = " ".join(attributes.get("aria-labelledby", "") for _, attributes in elements).split()
    assert set(named) <= set(ids)
    assert {attributes["for"] for tag, attributes in elements if tag == "label"} <= set(ids)


@pytest.mark.parametrize("name", few(PAGES, *PAGES.keys() - {"deep_vit"}))
def test_nothing_is_fetched(pages, name):
    page = pages[name]
    visible = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert "http:" not in visible
    assert "https:" not in visible
    assert "url(" not in page
    assert "@import" not in page
    for tag, attributes in Elements(page).found:
        assert not {"src", "srcset", "data", "action", "style"} & set(attributes), (tag, attributes)
        assert not [key for key in attributes if key.startswith("on")], (tag, attributes)
        assert tag not in {"img", "iframe", "object", "embed", "form", "base", "video", "audio"}
    (policy,) = [a["content"] for tag, a in Elements(page).found if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("name", few(PAGES, *PAGES.keys() - {"deep_vit"}))
def test_every_drawing_has_words_and_every_heading_its_place(pages, name):
    page = pages[name]
    for svg in re.findall(r'<svg[^>]*class="plot.*?</svg>', page, re.DOTALL):
        assert re.search(r"<title [^>]*>[^<]+</title><desc [^>]*>[^<]+</desc>", svg)
    levels = [int(level) for level in re.findall(r"<h(\d)", page)]
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    assert page.count("<main") == 1
    assert "<nav aria-label" in page


def test_hostile_names_are_text_on_the_page(pages):
    page = pages["hostile"]
    tags = [tag for tag, _ in Elements(page).found]
    assert tags.count("script") == 2  # data and our own
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\x1b" not in page
    assert "\u202e" not in page


def test_the_page_carries_its_data_once():
    result = vit(1)
    page = to_html(result)
    data = data_of(page)
    assert page.count('type="application/json"') == 1
    assert data["verdict"] == result.verdict
    assert data["left_out"] == []
    assert data["measurements"]["sites"][0]["path"] == "patch_embed.proj"
    assert data_of(to_html(hostile()))["findings"][0]["paths"] == list(hostile().findings[0].paths)


def test_the_trial_is_on_the_page_before_and_after():
    tried = TriedStart(verdict="healthy: 25 checks", loss_before=2.5, loss_after=2.25, gone=("S201",))
    page = to_html(dataclasses.replace(vit(1), trial=tried))
    html5lib.HTMLParser(strict=True).parse(page)
    (table,) = re.findall(r'<table class="trial">.*?</table>', page, re.DOTALL)
    assert "healthy: 25 checks" in table
    assert re.search(r"first loss</th><td[^>]*>2.50</td><td[^>]*>2.25<", table)
    assert 'href="#trial"' in page
    refused = to_html(dataclasses.replace(vit(1), trial=TriedStart(reason="RuntimeError: <b>one of a kind")))
    html5lib.HTMLParser(strict=True).parse(refused)
    assert "could not be tried on a copy of the model: RuntimeError: &lt;b&gt;one of a kind" in refused
    assert 'class="trial"' not in refused
    assert 'id="trial"' not in to_html(vit(1))


def test_data_of_something_else_is_refused():
    with pytest.raises(ValueError, match="holds no fanin data"):
        data_of("<p>hello</p>")


def test_a_page_that_would_be_too_long_says_what_it_leaves_out():
    page = to_html(vit(12), max_bytes=200_000)
    assert len(page.encode()) <= 200_000
    assert data_of(page)["left_out"]
    assert "it carries no cosine matrices" in page
    assert data_of(page)["findings"]


@pytest.mark.slow
def test_no_name_and_no_message_makes_the_page_long():
    result, long = mlp(200, factor=0.98), "x" * 5_000
    sites = tuple(dataclasses.replace(s, path=f"{s.path}.{long}", op=long) for s in result.measurements.sites)
    paths = tuple(site.path for site in sites[:5])
    finding = dataclasses.replace(
        hostile().findings[0], message=long, name=long, paths=paths, fix=Fix(text=long, code=long)
    )
    result = dataclasses.replace(
        result,
        findings=(finding,) * 70,
        not_run=tuple(NotRun(code=f"X{i}", name="x", reason=f"{i} {long}") for i in range(30)),
        measurements=dataclasses.replace(result.measurements, sites=sites),
    )
    assert len(to_html(result).encode()) <= MAX_BYTES


def test_the_same_result_gives_the_same_page():
    assert to_html(vit(2)) == to_html(vit(2))


def test_findings_and_plots_lead_to_each_other(pages):
    page = pages["deep_mlp"]
    assert 'href="#depth-0"' in page
    assert 'id="depth-0"' in page
    assert re.search(r'<a href="#finding-1" class="flag-link error"', page)
    assert 'href="#layer-0"' in page


def test_a_finding_says_why_it_matters(pages):
    assert "Why this matters, and what is measured" in pages["deep_mlp"]


def test_models_with_more_operations_than_columns_show_the_most_telling(pages):
    page = pages["mlp_500"]
    assert page.count("<tr id=") == 320
    assert "320 of 1000 operations" in page


def test_the_notebook_gets_the_page_in_a_frame_of_its_own():
    frame = notebook(hostile())
    assert frame.count("<") == 2  # <iframe ...></iframe>: the page inside is escaped
    assert 'sandbox="allow-scripts"' in frame


def test_embedded_json_cannot_close_its_element():
    written = embed({"</script>": ["<!--", "&amp;", "]]>"]})
    assert not re.search("[<>&]", written)
    assert json.loads(written) == {"</script>": ["<!--", "&amp;", "]]>"]}


def test_slimming_names_what_goes_and_keeps_the_findings():
    documents = list(slim(to_document(mlp(4, factor=0.01))))
    sizes = [len(embed(document)) for document in documents]
    assert sizes == sorted(sizes, reverse=True)
    assert [len(document["left_out"]) for document in documents] == list(range(len(documents)))
    assert documents[-1]["findings"][0]["code"] == "S201"


def test_a_page_of_another_kind():
    page = stand_alone(Markup("<h1>x</h1>"), title="</title><script>", nav=[("main", "<b>")])
    html5lib.HTMLParser(strict=True).parse(page)
    assert "<b>" not in page
    assert "fanin-data" not in page


def maps_without_key(page: str) -> list[str]:
    """Ids of the maps of shades whose figure has no key of their colours."""
    figures = re.findall(r"<figure.*?</figure>", page, flags=re.DOTALL)
    shaded = [f for f in figures if 'class="plot map"' in f]
    return [re.search(r'id="([^"]+)"', f)[1] for f in shaded if 'class="key-line"' not in f]


def test_every_map_of_shades_has_a_key(pages):
    assert [name for name in PAGES.keys() - {"deep_vit"} if maps_without_key(pages[name])] == []
    assert any("never active" in page for page in pages.values())
    assert maps_without_key('<figure id="x"><svg class="plot map"></svg></figure>') == ["x"]
