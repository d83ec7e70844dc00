from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanin.report.formats import save
from fanin.report.html.axes import DepthAxis, LogScale, decades_around
from fanin.report.html.charts.cells import Rows, cells, column_map, shade
from fanin.report.html.charts.depth import Flag, Panel, depth_plot
from fanin.report.html.charts.markers import KIND_NAMES, legend, marks
from fanin.report.html.charts.matrices import Matrix, cosine_matrices
from fanin.report.html.charts.ridges import Ridge, ridges
from fanin.report.html.svg import el
from fanin.text.names import clean, shorten
from tests.report.samples import vit

positive = st.floats(1e-30, 1e30)


@given(st.lists(positive, min_size=1, max_size=20))
def test_values_lie_inside_the_decades_around_them(values):
    low, high = decades_around(values)
    top = max(values)
    assert low <= high - 2
    assert math.log10(top) <= high
    assert min(values) >= 10**low * (1 - 1e-9) or high - low == 40


@given(positive, positive)
def test_a_log_scale_is_monotonic_and_stays_inside(a, b):
    scale = LogScale(-5, 5, 200, 0)
    assert 0 <= scale(a) <= 200
    assert a == b or (scale(a) >= scale(b)) == (a <= b) or scale(a) == scale(b)


@pytest.mark.parametrize(
    ("value", "place"),
    [(1.0, "inside"), (0.0, "zero"), (math.nan, "nonfinite"), (math.inf, "nonfinite"), (1e-9, "below"), (1e9, "above")],
)
def test_a_log_scale_says_what_it_could_not_place(value, place):
    assert LogScale(-2, 2, 100, 0).place(value)[1] == place


def painted(drawing: str, num_columns: int, num_rows: int) -> list[list[int]]:
    """The grid read back from its strokes (the slow, obvious way)."""
    grid = [[0] * num_rows for _ in range(num_columns)]
    for data, level in re.findall(r'<path d="([^"]*)" class="s(\d)"', drawing):
        for x, y, n in re.findall(r"M(\d+) (\d+)h(\d+)", data):
            for column in range(int(x), int(x) + int(n)):
                grid[column][num_rows - 1 - int(y)] = int(level)
    return grid


grids = st.integers(1, 6).flatmap(
    lambda rows: st.lists(st.lists(st.integers(0, 8), min_size=rows, max_size=rows), max_size=8)
)


@given(grids)
def test_cells_paint_exactly_their_grid(columns):
    num_rows = len(columns[0]) if columns else 1
    assert painted(cells(columns, num_rows, "forward"), len(columns), num_rows) == columns


@given(st.floats(allow_nan=True))
def test_shades_are_in_range(value):
    assert 0 <= shade(value) <= 8


@given(st.text(max_size=60))
def test_clean_text_is_visible_and_cleaning_twice_changes_nothing(text):
    cleaned = clean(text)
    assert all(char.isprintable() for char in cleaned)
    assert clean(cleaned) == cleaned


@given(st.text(max_size=60), st.integers(0, 40))
def test_shortened_text_fits(text, width):
    assert len(shorten(text, width)) <= width


@given(st.text(max_size=30), st.text(max_size=30))
def test_elements_are_well_formed_whatever_the_text(content, value):
    parsed = ElementTree.fromstring(el("text", content, class_=value))
    assert parsed.text == (clean(content) or None)
    assert parsed.get("class") == clean(value)


def well_formed(drawing: str) -> ElementTree.Element:
    return ElementTree.fromstring(drawing)


@pytest.mark.parametrize("num", [1, 2, 100, 500])
def test_depth_plots_of_any_size_are_well_formed_and_stay_inside(num):
    values = tuple([0.0, math.nan, None, *(0.9**i for i in range(num))][:num])
    axis = DepthAxis(names=tuple(f"<b>.{i}" for i in range(num)), sites=tuple(range(num)), flagged=(0,))
    bands = tuple((0.5, 1.0, 2.0) if i % 2 else None for i in range(num))
    panel = Panel(label="<i>", series="forward", measured=values, kinds=("weight",) * num, predicted=bands)
    flags = [Flag(column=num - 1, label=str(i), href="#f", severity="error", says="<") for i in range(5)]
    root = well_formed(depth_plot([panel, panel], axis, id_="p", title="<t>", description="<d>", flags=flags))
    width = float(root.get("viewBox").split()[2])
    assert all(0 <= float(r.get("x")) <= width for r in root.iter("rect"))
    assert root.find("title").text == "<t>"


def test_plots_without_any_value_are_drawn_empty():
    axis = DepthAxis(names=())
    empty = Panel(label="x", series="forward", measured=(), kinds=())
    well_formed(depth_plot([empty], axis, id_="a", title="t", description="d"))
    well_formed(column_map({"forward": []}, axis, Rows(num=0, labels=()), id_="b", title="t", description="d"))
    well_formed(ridges([], series="forward", id_="c", title="t", description="d", axis_title="x"))
    well_formed(cosine_matrices([], id_="e", title="t", description="d"))
    well_formed(
        ridges(
            [Ridge(label="<", note="", low=0, width=1, heights=())],
            series="f",
            id_="g",
            title="t",
            description="d",
            axis_title="x",
        )
    )
    well_formed(
        cosine_matrices([Matrix(label="<", note="&", values=((math.nan,),))], id_="h", title="t", description="d")
    )


def test_an_exact_zero_has_a_lane_of_its_own_and_breaks_the_line():
    axis = DepthAxis(names=("a", "b", "c", "d"))
    panel = Panel(label="x", series="forward", measured=(1.0, 1.0, 0.0, 1.0), kinds=("weight",) * 4)
    root = well_formed(depth_plot([panel], axis, id_="p", title="t", description="d"))
    group = root.find("g[@class='forward']")
    assert "0" in [t.text for t in group.iter("text")]
    (line,) = [path.get("d") for path in group.iter("path") if path.get("class") == "line"]
    assert line.count("M") == 2


def test_all_panels_have_the_same_decades():
    axis = DepthAxis(names=("a", "b"))
    steep = Panel(label="s", series="forward", measured=(1.0, 1e-8), kinds=("weight",) * 2)
    flat = Panel(label="f", series="backward", measured=(1.0, 1.0), kinds=("weight",) * 2)
    root = well_formed(depth_plot([steep, flat], axis, id_="p", title="t", description="d"))
    labels = [
        [t.text for t in panel.iter("text")][1:]
        for panel in root.findall("g")
        if panel.get("class") in ("forward", "backward")
    ]
    assert len(labels[0]) == len(labels[1])


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_every_kind_has_a_mark(kind):
    assert "M5 5" in marks([(kind, 5.0, 5.0)], 3.0)


def test_the_legend_lists_each_kind_once_in_a_fixed_order():
    assert re.findall(r"</svg>([^<]+)</li>", legend(["merge", "weight", "weight"])) == ["weight layer", "residual sum"]


def test_saving_goes_by_the_ending(tmp_path):
    for ending in ("txt", "json", "sarif", "xml", "md", "html"):
        assert save(vit(1), tmp_path / f"report.{ending}").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="names no report format"):
        save(vit(1), tmp_path / "report.docx")
    assert not (tmp_path / "report.docx").exists()
