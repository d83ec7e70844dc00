"""Plain JSON, and what is none."""

from __future__ import annotations

import math

import pytest

from fanin.errors import ArgumentError
from fanin.text.reading import assert_plain, parse_json, shown


@pytest.mark.parametrize(
    "value",
    [None, True, "x", 0, -(2**64 - 1), 2**64 - 1, 1.5, -1e308, [1, (2.0, "a")], {"a": {"b": [None]}}],
)
def test_plain_json_is_accepted(value):
    assert_plain(value)


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, 2**64, -(2**64), 10**400, 1j, b"x", {1: 2}, {"a": [math.nan]}, {None: 1}],
)
def test_what_json_cannot_hold_is_refused_with_the_value(value):
    with pytest.raises(ArgumentError, match="no JSON"):
        assert_plain(value)


@pytest.mark.parametrize(("depth", "fine"), [(64, True), (66, False)])
def test_json_is_nested_at_most_64_deep(depth, fine):
    text = "[" * depth + "]" * depth
    if fine:
        assert isinstance(parse_json(text), list)
    else:
        with pytest.raises(ArgumentError, match="nested more than 64 deep"):
            parse_json(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [(b"\xff", "byte 0 is not UTF-8"), ('{"a": 1, "a": 2}', "appears twice"), ("[1,", "no JSON"), ("1e999", "inf")],
)
def test_what_is_wrong_with_a_file_is_said(text, why):
    with pytest.raises(ArgumentError, match=why):
        parse_json(text)


def test_a_value_in_a_message_is_one_short_line():
    assert shown("a\nb") == r"'a\nb'"
    assert len(shown("x" * 1000)) <= 80
    assert shown(10**5000) == "a int"
