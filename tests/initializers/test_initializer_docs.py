"""The page on initializers runs, and names every initializer."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

from fanin.initializers import names
from fanin.layout import Layout

PAGE = Path(__file__).parents[2] / "docs" / "initializers.md"


def test_its_examples_run():
    result = doctest.testfile(str(PAGE), module_relative=False)
    assert result.attempted > 8
    assert result.failed == 0


def test_it_names_every_initializer_and_only_layouts_that_exist():
    text = PAGE.read_text(encoding="utf-8")
    laws, _, rest = text.partition("## Layouts")
    assert set(names()) <= set(re.findall(r"`([a-z_0-9]+)`", laws))
    layouts = re.findall(r"\| `(\w+)\(.*?\)` \|", rest.partition("\n## ")[0])
    assert len(layouts) > 5
    assert all(callable(getattr(Layout, layout)) for layout in layouts)
