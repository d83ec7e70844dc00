"""The tables of a plan and of a check at four widths: all numbers and names whole, with and without colour."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from fanin.planning.rows import rows
from fanin.planning.view import PlanView
from fanin.report.rows import names_of
from fanin.report.terminal import TerminalReport
from fanin.text.columns import Column, columns
from fanin.text.console import plain_text
from fanin.text.folding import under_headings
from fanin.text.names import clean
from fanin.text.numbers import figures
from tests.report.architectures import ARCHITECTURES, plan_of, result_of
from tests.report.test_terminal import assert_snapshot
from tests.selection import few

WIDTHS = (60, 80, 100, 120)
VIEWS = {"plan": lambda name: PlanView(plan_of(name)), "check": lambda name: TerminalReport(result_of(name))}


@pytest.mark.parametrize("view", few(VIEWS, every=2))
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_snapshots_at_four_widths(name, view):
    texts = [f"{width} columns\n\n{plain_text(VIEWS[view](name), width=width)}\n" for width in WIDTHS]
    assert_snapshot(f"tables-{view}-{name}.txt", "\n".join(texts))


@pytest.mark.parametrize("view", few(VIEWS, every=2))
@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("width", few(WIDTHS, every=2))
def test_colour_changes_no_character_and_no_line_is_too_wide(name, view, width):
    file = io.StringIO()
    Console(file=file, width=width, force_terminal=True, color_system="truecolor", _environ={}).print(VIEWS[view](name))
    assert "\x1b[" in file.getvalue()
    plain = re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())
    assert [line.rstrip() for line in plain.splitlines()] == plain_text(VIEWS[view](name), width=width).splitlines()
    assert max(cell_len(line.rstrip()) for line in plain.splitlines()) <= width


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("width", few(WIDTHS, every=2))
def test_each_row_keeps_its_std_and_the_end_of_its_name(name, width):
    shown = plain_text(PlanView(plan_of(name)), width=width)
    assert "…" not in shown
    for row in rows(plan_of(name)):
        assert figures(row.std) in shown
        assert row.pattern.rsplit(".", 2)[-1] in shown


@pytest.mark.parametrize("name", few(ARCHITECTURES, every=2))
@pytest.mark.parametrize("width", few(WIDTHS, every=2))
def test_each_layer_keeps_its_two_sizes_and_all_codes(name, width):
    result = result_of(name)
    text = plain_text(TerminalReport(result, max_layers=None), width=width)
    table = text[text.index("grad rms") :]
    assert "…" not in table
    for site, full in zip(result.measurements.sites, names_of(result.measurements.sites), strict=True):
        assert figures(site.forward.rms) in table
        assert figures(site.backward.rms) in table
        assert full.split(".")[-1] in table
    assert all(code in table for code in ("S203", "S205", "P502", "G404"))


def test_the_check_for_cut_text_can_fail():
    assert figures(0.0821) not in "0.08…"


LEFT_OUT = "not shown for want of width: "


@given(
    names=st.lists(
        st.lists(
            st.text(st.characters(exclude_categories=("Z", "C")), min_size=1, max_size=30), min_size=1, max_size=6
        ),
        min_size=1,
        max_size=8,
    ),
    width=st.integers(24, 120),
)
@example(names=[["\u0301"], ["a"]], width=24)  # a mark without a letter
@example(names=[["0"], ["00000000000000", "00"], ["00000000000000", "000"]], width=24)  # a heading that folds
def test_any_names_are_whole_at_any_width(names, width):
    """The letters of the column of names, its headings put before what they head, are those of the names."""
    paths = [clean(".".join(parts)) for parts in names]
    numbers = [f"{place}.25e-17" for place in range(len(paths))]
    others = [Column(title="v", side="right"), Column(title="extra", rank=1)]
    table = [[path, number, "some words"] for path, number in zip(paths, numbers, strict=True)]
    text = plain_text(columns("n", others, table, width=width), width=width)
    assert max(map(cell_len, text.splitlines())) <= max(width, len(LEFT_OUT) + 5)
    assert all(number in text for number in numbers)
    if LEFT_OUT not in text and "each name" not in text and not re.search(r"(?m)^\S*\.$", text):
        squeezed = re.sub(r"\s", "", text.replace("some words", ""))
        alone = all(path in squeezed.replace(number, "") for path, number in zip(paths, numbers, strict=True))
        for number in numbers:
            squeezed = squeezed.replace(number, "")
        # A long heading folds too: then all headings and names stand there whole, in their order.
        headed = re.sub(r"\s", "", "".join(line.text for line in under_headings(paths)))
        assert alone or headed in squeezed


def test_a_column_without_a_word_is_not_drawn():
    table = [["a", "1", ""], ["b", "2", ""]]
    others = [Column(title="v", side="right"), Column(title="why")]
    assert "why" not in plain_text(columns("n", others, table, width=40), width=40)
    table[1][2] = "because"
    assert "why" in plain_text(columns("n", others, table, width=40), width=40)


@pytest.mark.parametrize("width", [40, 60, 80])
def test_numbers_inside_of_laws_stay_whole(width):
    law = "Uniform(bound=0.176777, mean=0.0123456)"
    others = [Column(title="left", least=16), Column(title="right", least=16)]
    shown = plain_text(columns("n", others, [["block.weight", law, law]], width=width), width=width)
    assert shown.count("0.176777") == shown.count("0.0123456") == 2
