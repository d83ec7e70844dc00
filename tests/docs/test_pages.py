"""Every public name, command, option, recipe and rule is in the documentation, and every link leads somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

import fanin
from fanin import initializers
from fanin.initializers.registry import NAMES
from fanin.lab.experiments import EXPERIMENTS
from fanin.recipes import RECIPES
from fanin.rules.config import Config
from fanin.rules.table import RULES
from tools import reference_pages

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FILES = [*sorted(DOCS.rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
GUIDE = "\n".join(p.read_text(encoding="utf-8") for p in FILES if "reference" not in p.parts)


def lacking(names: Iterable[str], text: str) -> list[str]:
    """Names that are nowhere in a text as a word of their own."""
    return [n for n in names if not re.search(rf"(?<![\w-]){re.escape(n)}(?![\w-])", text)]


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def test_every_public_name_is_written_about_by_hand():
    assert not lacking((f"fanin.{n}" for n in fanin.__all__ if n[0].islower()), GUIDE)
    assert not lacking((n for n in fanin.__all__ if n[0].isupper()), GUIDE)


def test_every_public_name_has_its_entry_in_the_reference():
    for name, module in {"fanin": fanin, "initializers": initializers}.items():
        assert not lacking(reference_pages.members(module), page(f"reference/{name}.md"))


def test_the_reference_is_that_of_the_code():
    for name, text in reference_pages.pages().items():
        assert page(f"reference/{name}") == text, "run: python -m tools.reference_pages"
    assert page("guide/command-line.md") == reference_pages.with_commands(page("guide/command-line.md")), (
        "run: python -m tools.reference_pages"
    )


def test_a_reference_that_is_out_of_step_is_found():
    text = page("guide/command-line.md")
    assert reference_pages.with_commands(text.replace("`--seeds`", "`--seed-count`")) == text
    with pytest.raises(ValueError, match="end of commands"):
        reference_pages.with_commands(text.replace(reference_pages.END, ""))


def test_every_law_recipe_rule_experiment_and_setting_has_its_place():
    assert not lacking(NAMES, page("initializers.md"))
    assert not lacking(RECIPES, page("recipes.md"))
    assert not lacking(EXPERIMENTS, page("lab.md"))
    assert not lacking((f.replace("_", "-") for f in Config.__slots__), page("guide/configuration.md"))
    assert not lacking((r.name for r in RULES), page("rules/index.md"))
    assert not [r.code for r in RULES if not (DOCS / "rules" / f"{r.code}.md").exists()]


def test_every_command_and_option_is_on_the_page_of_the_command_line():
    text = page("guide/command-line.md")
    for name, command in reference_pages.commands().items():
        part = text.partition(f"### fanin {name}")[2].partition("\n### ")[0]
        assert part, f"fanin {name} is not on the page"
        assert not lacking((o for p in command.params for o in p.opts if o.startswith("-")), part)


def test_every_command_is_in_a_guide():
    by_hand = GUIDE.replace(page("guide/command-line.md").partition(reference_pages.BEGIN)[2], "")
    assert not lacking((f"fanin {name}" for name in reference_pages.commands()), by_hand)


def test_a_name_that_is_nowhere_is_found():
    assert lacking(["fanin.plan", "fanin.grow"], "use `fanin.plan(model)`, or fanin.growth") == ["fanin.grow"]
    assert lacking(["--seed"], "`--seeds`") == ["--seed"]


def test_the_readme_begins_with_two_commands():
    begin = (ROOT / "README.md").read_text(encoding="utf-8").partition("## ")[0]
    assert not lacking(["make demo", "make test"], begin)


# ---------------------------------------------------------------------- links
def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """Ids of a page: those written out, and those that GitHub makes of headings."""
    headings = re.findall(r"^#+ (.*)$", without_fences(text), flags=re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
    return made | set(re.findall(r'<a id="([^"]+)"', text))


def without_fences(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def broken(file: Path, text: str) -> list[str]:
    """Links of a page, relative to its file, that lead to no file or no heading."""
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(text)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (file.parent / path).resolve() if path else file
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_every_link_leads_somewhere(file):
    assert not broken(file, file.read_text(encoding="utf-8"))


def test_every_page_can_be_reached_from_the_index():
    seen, todo = set(), [DOCS / "index.md"]
    while todo:
        file = todo.pop()
        if file in seen or file.suffix != ".md" or not file.is_file():
            continue
        seen.add(file)
        links = re.findall(r"\]\(([^)#\s:]+)", file.read_text(encoding="utf-8"))
        todo += [(file.parent / link).resolve() for link in links]
    assert not {p for p in FILES if DOCS in p.parents} - seen


def test_a_link_that_leads_nowhere_is_found():
    index = DOCS / "index.md"
    text = "[a](guide/check.md) [b](guide/chess.md) [c](recipes.md#mirrored) [d](recipes.md#mirror) [e](#top) `[f](g)`"
    assert broken(index, text) == ["guide/chess.md", "recipes.md#mirror", "#top"]


# ---------------------------------------------------------------------- words
TORN = re.compile(r"^[a-z].{0,24}$")


def torn(text: str) -> list[str]:
    """Short lines inside a paragraph, as a careless second wrapping leaves them."""
    lines = without_fences(text).splitlines()
    return [
        b
        for a, b, c in zip(lines, lines[1:], lines[2:], strict=False)
        if len(a) > 60 and TORN.match(b) and c[:1].islower()
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_no_paragraph_is_torn(file):
    assert not torn(file.read_text(encoding="utf-8"))


def test_a_torn_paragraph_is_found():
    long = "x" * 70
    assert torn(f"{long}\nand then\nthe rest of the sentence\n") == ["and then"]
    assert not torn(f"{long}\nthe end.\n\nanother\n")
