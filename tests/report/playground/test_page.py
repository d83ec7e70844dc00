"""The interactive page as a file: complete, small, nothing fetched, and what it takes from elsewhere is what it was."""

from __future__ import annotations

import re
from pathlib import Path

import html5lib
import pytest

from fanin.report.html.page import content_hash
from fanin.report.playground import page, playground_page
from tools import playground_digits

SOURCE = Path(page.__file__).parent / "source"


def test_the_page_is_small_and_asks_for_nothing():
    text = playground_page()
    assert len(text.encode()) < 500_000
    assert re.search(r"""Content-Security-Policy" content="default-src 'none';""", text)
    assert not re.findall(r"(?:src|href)=[\"'](?!data:|#)", text)
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text)


def test_style_and_script_are_those_that_the_policy_allows():
    text = playground_page()
    style, script = (
        re.search(r"<style>(.*?)</style>", text, re.DOTALL),
        re.search(r"<script>(.*?)</script>", text, re.DOTALL),
    )
    assert style
    assert script
    policy = text.partition('Content-Security-Policy" content="')[2].partition('"')[0]
    assert content_hash(style[1]) in policy
    assert content_hash(script[1]) in policy
    assert content_hash(script[1] + " ") not in policy


def test_the_page_is_html_without_an_error():
    parser = html5lib.HTMLParser(strict=False, namespaceHTMLElements=False)
    parser.parse(playground_page())
    assert not parser.errors


def test_every_module_is_in_the_script_after_those_it_imports():
    order = page.module_order()
    assert set(order) == {p.stem for p in SOURCE.glob("*.mjs")}
    for name in order:
        needed = re.findall(r'from "\./(\w+)\.mjs"', (SOURCE / f"{name}.mjs").read_text(encoding="utf-8"))
        assert all(order.index(n) < order.index(name) for n in needed)
    assert "import " not in re.sub(r"//.*", "", page.script())
    assert not re.search(r"^export ", page.script(), re.MULTILINE)


def test_every_control_has_a_label_and_every_chart_a_name():
    text = (SOURCE / "index.html").read_text(encoding="utf-8")
    labelled = set(re.findall(r'<label for="(\w+)"', text))
    controls = set(re.findall(r'<(?:input|select) id="(\w+)"', text))
    assert controls == labelled
    assert 'aria-live="polite"' in text
    assert "prefers-reduced-motion" in (SOURCE / "page.css").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_digits_are_those_of_scikit_learn():
    pytest.importorskip("sklearn")
    assert (SOURCE / "digits.bin").read_bytes() == playground_digits.packed()
