"""Make the files of a new rule, law or recipe, with what each must say, and a test that fails until it is written.

    python -m tools.new rule dead-heads --code T703
    python -m tools.new law laplace
    python -m tools.new recipe mega

Nothing is overwritten. The lines for the tables are printed; CONTRIBUTING.md says what proof is asked for.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from string import Template

from fanin.initializers.registry import NAMES
from fanin.recipes import RECIPES
from fanin.rules.table import RULES

__all__ = ["files", "main", "steps"]

ROOT = Path(__file__).parents[1]
FOLDERS = {"rule": "rules", "law": "initializers", "recipe": "recipes"}

RULE = '''"""$code: SAY WHAT IS WRONG, IN ONE SENTENCE."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding

__all__ = ["$class_name"]


class $class_name(Rule):
    """SAY WHAT IS WRONG, IN ONE SENTENCE.

    What it does:
        WHERE IT LOOKS.

    Why:
        THE FORMULA, AND WHAT HAPPENS IN TRAINING.

    What is measured:
        THE QUANTITY, ITS UNIT, AND THE LIMITS.

    Example:
        >>> import torch, fanin
        >>> report = fanin.check(torch.nn.Linear(8, 2), torch.randn(4, 8))

    Fix:
        WHAT TO DO.

    References:
        AUTHORS YEAR (arXiv ID, EQUATION).
    """

    code: ClassVar[str] = "$code"
    name: ClassVar[str] = "$name"
    thresholds: ClassVar[dict[str, float]] = {}
    source: ClassVar[str] = "AUTHORS YEAR, arXiv ID"

    def cannot_run(self, context: Context) -> str | None:
        """Why the rule does not apply to this model; None where it does."""
        raise NotImplementedError

    def check(self, context: Context) -> Iterator[Finding]:
        """The findings."""
        raise NotImplementedError
'''
LAW = '''"""SAY WHAT THE LAW IS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fanin.initializers.base import EntryMoments, Initializer, finite
from fanin.layout import Layout
from fanin.streams.spec import Draw

__all__ = ["$class_name"]


@dataclass(frozen=True, slots=True, kw_only=True)
class $class_name(Initializer):
    """THE FORMULA, TIED TO THE ARGUMENTS.

    Args:
        std: standard deviation, >= 0.

    Raises:
        ArgumentError: std is negative, or not finite.

    Source: AUTHORS YEAR (arXiv ID, EQUATION).

    Example:
        >>> $class_name(std=0.02).std
        0.02
    """

    std: float = 1.0

    def __post_init__(self) -> None:
        finite("std", self.std, low=0.0)

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Mean, variance, kurtosis and bound of one entry of the realised law."""
        raise NotImplementedError

    def draw(self, shape: Sequence[int], layout: Layout | None = None) -> Draw:
        """What is asked of the stream; write `values` in its place where entries depend on each other."""
        raise NotImplementedError
'''
RECIPE = '''"""``$name``: SAY WHAT IT DOES, AND FOR WHICH NETWORKS."""

from __future__ import annotations

from fanin.graph.roles.data import ParameterRole
from fanin.initializers import Normal
from fanin.recipes.engine.draft import Draft
from fanin.recipes.engine.network import Network
from fanin.recipes.engine.table_recipe import NoOptions, law, table_recipe

__all__ = ["$constant"]

_SOURCE = "AUTHORS YEAR, arXiv ID, EQUATION"


def weight(network: Network, role: ParameterRole, options: NoOptions) -> Draft:
    """THE FORMULA."""
    made: Normal = NotImplemented
    return law(made, role, rule="$name", formula="THE FORMULA", source=_SOURCE)


$constant = table_recipe("$name", "WHAT IT DOES", {"weight": weight}, source=_SOURCE)
'''
TESTS = {
    "rule": '''"""$code: fires on a minimal broken model, not on a near miss."""

import pytest


@pytest.mark.parametrize("model", ["a minimal broken model", "a near miss"])
def test_it_fires_on_what_is_broken_and_on_nothing_else(model):
    pytest.fail(f"build {model}, and ask fanin.check(...) for $code")
''',
    "law": '''"""$class_name: its second moment through a real layer, within a tolerance that sees 3 %."""

import pytest


@pytest.mark.parametrize("factor", [1.0, 1.03])
def test_the_second_moment_through_a_layer(factor):
    pytest.fail(f"hold the output's variance against theory with std times {factor}; 1.03 must be found")
''',
    "recipe": '''"""$name: every constant by hand, on one network."""

import pytest


def test_every_std_is_that_of_the_paper():
    pytest.fail("plan a small network with recipe='$name', and compute each std from the paper's equation")
''',
}
TEXTS = {"rule": RULE, "law": LAW, "recipe": RECIPE}
STEPS = {
    "rule": (
        "src/fanin/rules/table.py: from fanin.rules.catalogue.$module import $class_name; $class_name() in RULES, in "
        "causal order",
        'tools/twins.py: "$code": Twin(what is wrong in the example, what stands there in its twin)',
        "python -m tools.site --pages",
    ),
    "law": (
        'src/fanin/initializers/registry.py: "$module": $class_name in NAMES; the name in __init__.py',
        "docs/initializers.md: a row of its table",
        "tools/site/laws.py: how its page shows it; then python -m tools.site --pages",
    ),
    "recipe": (
        "src/fanin/recipes/table.py: from fanin.recipes.catalogue.$module import $constant; $constant in _ALL",
        'tools/site/recipe_examples.py: "$name": Example(when to use it); python -m tools.site --pages',
    ),
}


def files(kind: str, name: str, code: str = "") -> Mapping[str, str]:
    """Path from the repository's root -> text, of the new thing and of its test.

    Raises:
        ValueError: the name or the code is not well formed, or taken.

    Example:
        >>> list(files("law", "laplace"))
        ['src/fanin/initializers/catalogue/laplace.py', 'tests/initializers/test_laplace.py']
    """
    words = _words(kind, name, code)
    module, folder = words["module"], FOLDERS[kind]
    return {
        f"src/fanin/{folder}/catalogue/{module}.py": Template(TEXTS[kind]).substitute(words),
        f"tests/{folder}/test_{module}.py": Template(TESTS[kind]).substitute(words),
    }


def steps(kind: str, name: str, code: str = "") -> list[str]:
    """What is left to be done by hand: lines in tables, pages."""
    words = _words(kind, name, code)
    return [*(Template(step).substitute(words) for step in STEPS[kind]), "CHANGELOG.md: one line under Added"]


def _words(kind: str, name: str, code: str) -> dict[str, str]:
    taken = {"rule": [r.name for r in RULES], "law": NAMES, "recipe": RECIPES}[kind]
    if not re.fullmatch(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*", name):
        raise ValueError(f"a name is words of small letters and digits, as in dead-heads; got {name!r}")
    if name in taken:
        raise ValueError(f"there is a {kind} called {name!r}; choose another name")
    if kind == "rule" and not re.fullmatch(r"[A-Z]\d{3}", code):
        raise ValueError(f"a rule needs --code, a letter and three digits, as in S208; got {code!r}")
    if code in [r.code for r in RULES]:
        raise ValueError(f"there is a rule with the code {code}; docs/rules/index.md lists all")
    module = name.replace("-", "_")
    class_name = "".join(part.capitalize() for part in module.split("_"))
    return {"name": name, "code": code, "module": module, "class_name": class_name, "constant": module.upper()}


def write(made: Mapping[str, str], root: Path) -> None:
    """Write the files into a checkout, all or none.

    Raises:
        ValueError: one of them exists.
    """
    there = [path for path in made if (root / path).exists()]
    if there:
        raise ValueError(f"{', '.join(there)} exists; nothing was written")
    for path, text in made.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")


def main(arguments: list[str] | None = None, root: Path = ROOT) -> None:
    """Write the files and print what is left to do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=list(FOLDERS))
    parser.add_argument("name", help="its name, as users will write it")
    parser.add_argument("--code", default="", help="code of a rule, as in S208")
    given = parser.parse_args(arguments)
    try:
        made = files(given.kind, given.name, given.code)
        write(made, root)
    except ValueError as error:
        parser.error(str(error))
    print("\n".join(["Written:", *(f"  {path}" for path in made), "Then:"]))
    print("\n".join(f"  {step}" for step in steps(given.kind, given.name, given.code)))


if __name__ == "__main__":
    main()
