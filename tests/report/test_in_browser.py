"""The page of a check in a real browser without a network: what its script does, and that nothing is cut."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fanin
from tests.chromium import chromium

pytestmark = pytest.mark.slow
LONG = "a_block_with_a_name_that_is_longer_than_a_narrow_screen"


@pytest.fixture(scope="module")
def report():
    torch.manual_seed(0)
    model = nn.Sequential()
    for i in range(12):
        model.add_module(f"{LONG}_{i}", nn.Linear(64, 64))
        model.add_module(f"act{i}", nn.ReLU())
    model.add_module("head", nn.Linear(64, 10))
    return fanin.check(model, torch.randn(32, 64), targets=torch.arange(32) % 10)


@pytest.fixture(scope="module")
def file(report, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    report.save(path)
    return path


@pytest.fixture(scope="module")
def browser():
    with chromium("the page of a check") as opened:
        yield opened


@pytest.fixture
def visit(browser):
    """Opens a file; afterwards nothing may have gone wrong and nothing but the file been asked for."""
    made = []

    def start(file, width=1280, scheme="light"):
        context = browser.new_context(offline=True, viewport={"width": width, "height": 900}, color_scheme=scheme)
        page, errors, asked = context.new_page(), [], []
        page.on("console", lambda m: errors.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: errors.append(str(e)))
        page.on("request", lambda r: asked.append(r.url.partition("#")[0]))
        page.goto(file.as_uri())
        made.append((context, errors, asked, file))
        return page

    yield start
    for context, errors, asked, opened in made:
        context.close()
        assert not errors
        assert asked == [opened.as_uri()]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1280])
def test_nothing_is_wider_than_the_window(visit, file, width, scheme):
    page = visit(file, width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (light == "rgb(255, 255, 255)") == (scheme == "light")


def test_all_columns_of_the_layer_table_are_seen_at_1280(visit, file):
    page = visit(file, 1280)
    box = page.locator("#layers .table").bounding_box()
    last = page.locator("#layers thead th").last.bounding_box()
    assert last["x"] + last["width"] <= box["x"] + box["width"] + 1


def test_the_slider_reads_each_layer_out(visit, file):
    page = visit(file)
    page.focus("#layer-slider")
    page.keyboard.press("ArrowRight")
    first = page.inner_text("#layer-readout")
    page.keyboard.press("ArrowRight")
    assert first != page.inner_text("#layer-readout")
    assert "rms" in first
    assert page.locator("tr.current").count() == 1


def test_a_click_on_a_heading_sorts_by_its_numbers(visit, file):
    page = visit(file)
    head = page.locator("#layers thead th", has_text="rms").first
    column = page.evaluate("h => h.cellIndex", head.element_handle())
    orders = []
    for _ in range(2):
        head.locator("button").click()
        cells = f"#layers tbody td:nth-child({column + 1})[data-value]"
        orders.append(page.eval_on_selector_all(cells, "cells => cells.map(c => Number(c.dataset.value))"))
    assert orders[0] == sorted(orders[0], reverse=True)
    assert orders[1] == sorted(orders[1])
    assert len(orders[0]) == 25


def test_the_filter_counts_what_it_leaves(visit, file, report):
    page = visit(file)
    page.fill("#layer-filter", "head")
    assert page.inner_text("#layer-count") == f"1 of {len(report.measurements.sites)} rows"
    page.fill("#layer-filter", "")
    page.select_option("#layer-kind", "found")
    assert page.locator("#layers tbody tr:visible").count() == page.locator("#layers tbody tr.flagged").count() > 0


def test_links_lead_to_places_of_the_page(visit, file):
    page = visit(file)
    places = page.eval_on_selector_all("a[href^='#']", "links => links.map(a => a.getAttribute('href').slice(1))")
    assert places
    assert page.evaluate("names => names.filter(n => !document.getElementById(n))", places) == []


def test_a_page_that_is_too_wide_and_an_error_are_seen(browser, tmp_path):
    (tmp_path / "wide.html").write_text("<div style='width:2000px'>.</div><script>gone()</script>")
    page, errors = browser.new_page(viewport={"width": 360, "height": 900}), []
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.goto((tmp_path / "wide.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") > 360
    assert errors
    page.close()


def test_a_notebook_cell_scrolls_inside_of_its_box(visit, report, tmp_path):
    plan = fanin.plan(nn.Sequential(nn.Linear(64, 64)), torch.randn(8, 64))
    values = [plan, plan["0.weight"], report.findings[0], fanin.fingerprint(nn.Linear(8, 8))]
    text = "".join(value._repr_html_() for value in values)
    (tmp_path / "cells.html").write_text(f"<meta charset=utf-8><body>{text}", encoding="utf-8")
    page = visit(tmp_path / "cells.html", 360)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
