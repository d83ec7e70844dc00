"""Pages of the public names: what mkdocstrings is asked to show of each module."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Mapping, Sequence

from tools.site.places import ROOT

__all__ = ["MODULES", "pages", "path", "public_names"]

# module -> what its page is called
MODULES = {
    "fanin": "fanin",
    "fanin.initializers": "fanin.initializers",
    "fanin.layout": "fanin.layout",
    "fanin.theory": "fanin.theory",
    "fanin.theory.effects": "fanin.theory.effects",
    "fanin.integrations.jax": "fanin.integrations.jax",
    "fanin.integrations.keras": "fanin.integrations.keras",
    "fanin.integrations.torch": "fanin.integrations.torch",
    "fanin.integrations.transformers": "fanin.integrations.transformers",
    "fanin.integrations.lightning": "fanin.integrations.lightning",
    "fanin.integrations.loggers": "fanin.integrations.loggers",
    "fanin.watching.first_batch": "fanin.watching.first_batch",
    "fanin.lab.data": "fanin.lab.data",
    "fanin.lab.rates": "fanin.lab.rates",
    "fanin.errors": "fanin.errors",
}


def pages() -> Mapping[str, str]:
    """Path on the site -> Markdown; the first two take the places of the pages that are read in the repository."""
    return {path(name): _page(name) for name in MODULES}


def path(module: str) -> str:
    """The page of a module.

    Example:
        >>> path("fanin.theory.effects"), path("fanin")
        ('reference/theory.effects.md', 'reference/fanin.md')
    """
    return f"reference/{module.removeprefix('fanin.')}.md"


def _page(name: str) -> str:
    functions_first = sorted(public_names(name), key=lambda public: public[0].isupper())
    entries = [f"::: {name}.{public}\n" for public in functions_first]
    words = ast.get_docstring(_tree(name)) or ""
    return "\n".join([f"# {name}\n", f"{words}\n", *entries])


def public_names(module: str) -> list[str]:
    """The functions and classes of a module's ``__all__``.

    What is below ``fanin.integrations`` is read and not imported, since that would import its library.
    """
    if module.startswith("fanin.integrations."):
        return list(_listed(_tree(module)))
    loaded = importlib.import_module(module)
    return [name for name in loaded.__all__ if callable(getattr(loaded, name))]


def _tree(module: str) -> ast.Module:
    path = ROOT / "src" / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def _listed(tree: ast.Module) -> Sequence[str]:
    """The value of ``__all__``."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return ast.literal_eval(node.value)
    return ()
