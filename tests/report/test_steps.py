"""The first steps of training in every view."""

from __future__ import annotations

import dataclasses
import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fanin.measure.steps import StepRecord, Watched
from fanin.report.formats import FORMATS, render
from fanin.report.html.charts.over_steps import Run, steps_plot
from fanin.report.html.document import to_html
from fanin.report.steps import CUT, HEADS, rows_of, scalars, series_of
from fanin.report.terminal import to_text
from tests.report.samples import mlp, watched

NUMBERS = st.one_of(st.none(), st.floats(), st.sampled_from([0.0, 1e-320, -1.0, 1e308, -1e308]))


def chart(page: str, name: str) -> ElementTree.Element:
    found = re.search(rf'<svg id="steps-{name}".*?</svg>', page, re.DOTALL)
    assert found, f"no chart of the {name}"
    return ElementTree.fromstring(found[0])


def charts(page: str) -> list[str]:
    return re.findall(r'<svg id="steps-(\w+)"', page)


def marks(drawing: ElementTree.Element, kind: str) -> int:
    paths = [p.get("d") for p in drawing.iter("path") if p.get("class", "").startswith(f"mark {kind}")]
    return sum(d.count("M") for d in paths)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_names_the_batch_that_training_started_with(form):
    result = watched()
    assert "0123456789abcdef" in render(result, form)
    plain = dataclasses.replace(result, header=dataclasses.replace(result.header, batch_hash=""))
    assert "0123456789abcdef" not in render(plain, form)


def test_the_page_has_a_chart_for_each_quantity():
    page = to_html(watched())
    assert sorted(charts(page)) == sorted(["loss", "distance", "update", "signal", "dead", "rate"])
    assert charts(to_html(mlp(2))) == []
    number = len(watched().measurements.watched.steps)
    assert marks(chart(page, "signal"), "weight") == number
    assert marks(chart(page, "loss"), "weight") == number - 1
    assert marks(chart(page, "loss"), "nonfinite") == 1


def test_four_charts_where_nothing_is_dead_and_the_rate_is_constant():
    result = watched()
    run = result.measurements.watched
    steps = tuple(dataclasses.replace(s, rate=1e-3, dead=(0.0, 0.0)) for s in run.steps)
    measured = dataclasses.replace(result.measurements, watched=dataclasses.replace(run, steps=steps))
    page = to_html(dataclasses.replace(result, measurements=measured))
    assert charts(page) == ["loss", "distance", "update", "signal"]


def test_four_charts_come_first_and_the_others_are_folded():
    page = to_html(watched())
    first, folded = page.split('<details class="wide"><summary>More over the steps', 1)
    assert charts(first) == ["loss", "distance", "update", "signal"]
    assert charts(folded) == ["dead", "rate"]
    result = watched()
    dying = dataclasses.replace(result.findings[0], code="W906")
    first = to_html(dataclasses.replace(result, findings=(dying,), consequences=())).split("More over the steps", 1)[0]
    assert charts(first) == ["loss", "distance", "update", "dead"], "what a rule found is not folded"


def test_a_finding_leads_to_its_chart_and_draws_its_limit_there():
    page = to_html(watched())
    assert 'href="#steps-distance"' in page
    assert [e.get("class") for e in chart(page, "distance").iter() if e.get("class") == "limit"] == ["limit"]
    assert not [e for e in chart(page, "update").iter() if e.get("class") == "limit"]


def test_the_terminal_shows_a_line_a_quantity_and_a_table():
    text = to_text(watched(), width=80)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines if "→" in line and "layers" not in line] == [
        "loss",
        "distance",
        "update",
        "signal",
        "dead",
        "rate",
    ]
    assert HEADS[0] in [line.split()[0] for line in lines if line.endswith("dead")]
    assert "!" in next(line for line in lines if line.startswith("  loss"))
    assert "steps" not in to_text(mlp(2))


def test_a_file_that_was_cut_is_said_in_what_people_read():
    result = watched()
    measured = dataclasses.replace(result.measurements, missing={CUT: "cut here"})
    for form in ("terminal", "markdown", "html", "json"):
        assert "cut here" in render(dataclasses.replace(result, measurements=measured), form)


def test_a_table_of_few_rows_keeps_the_first_and_the_last_step():
    run = watched().measurements.watched
    assert [row[0] for row in rows_of(run, 4)][::3] == ["1", "100"]
    assert len(rows_of(run)) == len(run.steps)
    assert rows_of(run)[-1] == ("100", "0.00300", "0.842", "0.00273", "0.250", "1.58", "40 %")


def test_a_lost_value_is_no_missing_one():
    lost = StepRecord(step=2, effective=2, rate=0.1, nonfinite="loss")
    assert {k for k, v in scalars(lost).items() if math.isnan(v)} == {"loss", "update", "distance"}
    assert scalars(dataclasses.replace(lost, nonfinite="")) == {"rate": 0.1}


@given(
    rows=st.lists(st.tuples(st.integers(-5, 10**20), NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=6),
    limit=st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
)
def test_any_values_give_a_picture_with_finite_places(rows, limit):
    steps, low, middle, high = zip(*rows, strict=True)
    run = Run(steps=steps, low=low, middle=middle, high=high, lost=steps[:1], limit=limit)
    drawing = ElementTree.fromstring(str(steps_plot(run, id_="x", title="t", description="d")))
    written = " ".join(value for e in drawing.iter() for value in e.attrib.values())
    assert not re.search(r"\b(nan|inf)\b", written)


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(1, 100), NUMBERS, NUMBERS), max_size=5))
@example([(1, None, 1.79765e308), (2, -1.7976931348623157e308, 1.7976931348623157e308)])
def test_any_steps_give_text(rows):
    steps = tuple(
        StepRecord(step=n, effective=n, rate=0.1, loss=a, updates=(a, b), distances=(b,), dead=(a,)) for n, a, b in rows
    )
    run = Watched(optimizer="SGD", peak=0.1, weights=("a", "b"), layers=("c",), steps=steps)
    result = mlp(2)
    result = dataclasses.replace(result, measurements=dataclasses.replace(result.measurements, watched=run))
    for form in ("terminal", "markdown", "html", "json"):
        assert render(result, form)
    assert all(len(s.steps) == len(steps) for s in series_of(run))
