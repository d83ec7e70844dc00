"""Which tests a mutant is run against."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("cosmic_ray")
pytest.importorskip("coverage")
from tools.mutants.numbers import changed, places_of
from tools.mutants.reach import around, in_order, read_trace, within

SOURCE = """LIMIT = 3
TABLE = {
    "a": lambda x: x + 1,
    "b": lambda x: x + 2,
}


def f(x, y=4):
    if (
        x > 5
        and y
    ):
        return [
            x,
            6,
        ]
    return 7
"""


@pytest.mark.parametrize(
    ("word", "lines", "in_function"),
    [
        ("3", (1, 1), False),
        ("+ 1", (3, 3), True),
        ("+ 2", (4, 4), True),
        ('"b"', (2, 5), False),
        ("4", (8, 8), False),  # a default is made when the file is imported
        ("5", (9, 12), True),
        ("6", (13, 16), True),
        ("7", (17, 17), True),
    ],
)
def test_a_place_belongs_to_its_statement_or_lambda(word, lines, in_function):
    at = SOURCE.index(word)
    line, column = SOURCE.count("\n", 0, at) + 1, at - SOURCE.rfind("\n", 0, at) - 1
    found, inside = around(SOURCE, line, column)
    assert (found[0], found[-1], inside) == (*lines, in_function)


def test_quick_tests_run_first_file_by_file():
    seconds = {"a::1": 0.2, "a::slow": 5.0, "b::1": 0.1, "b::2": 0.05, "c::1": 0.25}
    ordered = in_order(set(seconds), seconds)
    assert ordered == ["b::2", "b::1", "a::1", "c::1", "a::slow"]
    assert within(0.4, ordered, seconds) == ["b::2", "b::1", "a::1"]


def test_a_test_that_fails_on_the_unchanged_source_judges_nothing(tmp_path):
    tests = {
        "a::1": {"passed": True, "seconds": 0.1, "spawned": False},
        "a::2": {"passed": False, "seconds": 0.1, "spawned": True},
    }
    file = tmp_path / "trace.json"
    file.write_text(json.dumps({"tests": tests, "lines": {"x.py": {"4": [0, 1], "5": [1]}}}))
    trace = read_trace(file)
    assert trace.seconds == {"a::1": 0.1}
    assert trace.spawned == frozenset()
    assert trace.running("x.py", range(4, 6)) == {"a::1"}
    assert trace.running("y.py", range(9)) == set()
    assert trace.without(frozenset({"a::1"})).running("x.py", [4]) == set()


def test_numbers_are_moved_up_and_down_and_put_back(tmp_path):
    source = "Größe = 0.5  # ×\nLIMIT = 4\ny = rows[2] * (fan_in or 1.0) ** 2 + 0\n"
    (tmp_path / "x.py").write_text(source, encoding="utf-8")
    places = places_of("x.py", source)
    assert [(p.line, p.written) for p in places] == [(1, "0.5"), (2, "4"), (3, "2")]  # no index, no stand-in, no 0
    assert places[0].moved() == ("0.6", repr(0.5 / 1.2))
    assert places[1].moved() == ("5", "3")
    with changed(tmp_path, places[0], "0.6"):
        assert (tmp_path / "x.py").read_text(encoding="utf-8") == source.replace("0.5", "0.6")
    assert (tmp_path / "x.py").read_text(encoding="utf-8") == source
