"""The documentation site: a page for everything, links that hold, a search that works without a network."""

from __future__ import annotations

import posixpath
import re

import numpy as np
import pytest

from fanin.initializers.registry import NAMES
from fanin.lab.experiments import EXPERIMENTS
from fanin.recipes import RECIPES
from fanin.rules.table import RULES
from tools.site import api, evidence, folklore, histogram, nav, recipe_examples
from tools.site.docstrings import readable
from tools.site.full_text import files
from tools.site.laws import SHOWN
from tools.site.markdown import linked_cells, linked_results, prepared
from tools.site.offline import CDN, SHIM, add_versions, vendor_shim
from tools.site.places import CONFIG, DOCS

PAGES = {"guide/check.md", "index.md", "evidence/race.md", "evidence.md", "rules/index.md"}


def test_every_law_recipe_and_experiment_has_what_its_page_shows():
    assert set(SHOWN) == set(NAMES)
    assert set(recipe_examples.EXAMPLES) == set(RECIPES)
    assert set(folklore.BELIEFS) == set(EXPERIMENTS)


def test_every_law_recipe_rule_and_module_is_in_the_navigation():
    listed = set(nav.paths())
    assert listed >= {f"initializers/{name}.md" for name in NAMES}
    assert listed >= {f"recipes/{name}.md" for name in RECIPES}
    assert listed >= {f"rules/{rule.code}.md" for rule in RULES}
    assert listed >= {"evidence.md", *folklore.pages(), *map(api.path, api.MODULES)}
    assert listed >= {p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md")}


def test_the_navigation_is_that_of_the_code():
    text = CONFIG.read_text(encoding="utf-8")
    assert nav.with_nav(text) == text, "run: python -m tools.site --pages"
    assert nav.with_nav(text.replace("he_normal", "he_norm")) == text
    with pytest.raises(ValueError, match="one line"):
        nav.with_nav("site_name: fanin\n")


def test_every_result_is_linked_from_the_index_of_results():
    found = dict(evidence.pages())
    index = found.pop("evidence.md")
    assert len(found) > 10
    assert not [page for page in found if f"({page})" not in index]


def test_links_of_the_made_pages_lead_to_pages():
    known = {
        *nav.paths(),
        *evidence.pages(),
        *evidence.figures(),
        *(p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*")),
    }
    for page, text in {**folklore.pages(), **evidence.pages()}.items():
        targets = re.findall(r"\]\(([^)#\s:]+)[^)\s:]*\)", prepared(text, page, known))
        assert not {t for t in targets if posixpath.normpath(posixpath.join(posixpath.dirname(page), t)) not in known}


def test_what_is_imported_late_has_the_names_of_its_all():
    assert "plan" in api.public_names("fanin.integrations.jax")
    assert "CLASSIC_LAWS" not in api.public_names("fanin.theory")


@pytest.mark.parametrize(
    ("link", "leads"),
    [
        ("../index.md#top", "../index.md#top"),
        ("../rules/", "../rules/index.md"),
        ("../../benchmarks/results/race.md", "../evidence/race.md"),
        ("../../benchmarks/results/", "../evidence.md"),
        ("../../README.md", "../index.md"),
        ("../../zoo/stock.py", "https://github.com/fanin-dev/fanin/blob/main/zoo/stock.py"),
        ("https://arxiv.org", "https://arxiv.org"),
        ("#here", "#here"),
    ],
)
def test_a_link_that_leaves_the_folder_leads_to_what_shows_it(link, leads):
    assert prepared(f"see [this]({link}).", "guide/check.md", PAGES) == f"see [this]({leads})."


def test_a_link_of_a_result_is_read_from_its_own_folder():
    text = "[a](race.md) [b](./) [c](race/relu50.json)"
    raw = "https://github.com/fanin-dev/fanin/blob/main/benchmarks/results/race/relu50.json"
    assert prepared(text, "evidence/x.md", PAGES) == f"[a](race.md) [b](../evidence.md) [c]({raw})"


def test_code_is_left_as_it_is_but_for_the_name_of_its_file():
    text = "```python nets.py\n[a](../../README.md)\n```\n<!-- made -->\n"
    assert prepared(text, "guide/check.md", PAGES) == '```python title="nets.py"\n[a](../../README.md)\n```\n\n'


def test_names_of_laws_and_results_become_links():
    row = "| `zeros`, `sparse` | `zeros` |\n"
    assert linked_cells(row, {"zeros": "i/zeros.md"}) == "| [`zeros`](i/zeros.md), `sparse` | `zeros` |\n"
    words = "in `benchmarks/results/race.md`, benchmarks/results/none.md"
    assert linked_results(words, "guide/check.md", PAGES).startswith(
        "in [`results/race.md`](../evidence/race.md), bench"
    )


def test_examples_of_docstrings_are_sessions():
    assert readable("It is :math:`x`.\n\nExample:\n    >>> 1\n") == "It is `x`.\n\nExamples:\n    >>> 1\n"


def test_a_histogram_has_a_bar_for_each_value_and_its_ends():
    picture = histogram.svg(np.array([-1.0, 0.5, 0.5, 3.0]), "four")
    assert picture.count("<rect") == 3
    assert [float(x) for x in re.findall(r">([-\d.]+)</text>", picture)] == [-1.0, 0.0, 3.0]
    heights = sorted(float(h) for h in re.findall(r'<rect[^>]*height="([\d.]+)"', picture))
    assert heights[2] == pytest.approx(2 * heights[0], abs=0.2)


def test_the_full_text_is_that_of_the_guides():
    found = files(
        {**{p: f"# {p}\n" for p in PAGES}, **dict.fromkeys(("initializers.md", "recipes.md", "lab.md"), "# x\n")}
    )
    assert "# guide/check.md" in found["llms-full.txt"]
    assert "rules" not in found["llms-full.txt"]
    assert "[guide/check.md](guide/check.html)" in found["llms.txt"]


def test_the_shim_comes_from_the_site_itself(tmp_path):
    with pytest.raises(ValueError, match="missing"):
        vendor_shim(tmp_path)
    (tmp_path / SHIM).parent.mkdir(parents=True)
    (tmp_path / SHIM).write_bytes((DOCS / SHIM).read_bytes())
    (tmp_path / "guide").mkdir()
    for page in ("index.html", "guide/check.html"):
        (tmp_path / page).write_text(f'<script src="{CDN}"></script>', encoding="utf-8")
    assert vendor_shim(tmp_path) == 2
    assert f'"../{SHIM}"' in (tmp_path / "guide" / "check.html").read_text(encoding="utf-8")
    assert (DOCS / SHIM).with_name("LICENSE").read_text(encoding="utf-8").startswith("Copyright (c) 2020-2022 Martin")


def test_versions_are_folders(tmp_path):
    (tmp_path / "latest").mkdir()
    (tmp_path / "latest" / "index.html").write_text("home", encoding="utf-8")
    (tmp_path / "0.0").mkdir()
    add_versions(tmp_path, "0.1")
    assert (tmp_path / "0.1" / "index.html").read_text(encoding="utf-8") == "home"
    assert (tmp_path / "versions.json").read_text(encoding="utf-8") == '["latest", "0.1", "0.0"]\n'
