"""Numbers as readers see them."""

from __future__ import annotations

import pytest

from fanin.text.numbers import counted


@pytest.mark.parametrize(
    ("number", "words", "said"),
    [
        (0, ("step",), "0 steps"),
        (1, ("step",), "1 step"),
        (2, ("step",), "2 steps"),
        (1, ("matrix", "matrices"), "1 matrix"),
        (1_500, ("parameter has", "parameters have"), "1,500 parameters have"),
    ],
)
def test_a_noun_agrees_with_its_number(number, words, said):
    assert counted(number, *words) == said
