"""No circle of imports: not at the top of a file, not inside a function. Imports for type checkers alone may be one."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import fanin

Graph = Mapping[str, frozenset[str]]


def module_names(root: Path) -> dict[str, Path]:
    """Dotted name -> file, for every Python file of the package in `root`."""
    found = {}
    for file in sorted(root.rglob("*.py")):
        parts = (root.name, *file.relative_to(root).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def running_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that can run: all but the bodies of `if TYPE_CHECKING:`."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        typed = isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        waiting += node.orelse if typed else ast.iter_child_nodes(node)


def imported(tree: ast.AST, module: str, is_package: bool, known: Iterable[str]) -> Iterator[str]:
    """The modules among `known` that a file imports, wherever in it the import is written."""
    names = frozenset(known)
    for node in running_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: len(module.split(".")) - node.level + is_package] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                if inner in names or base in names:
                    yield inner if inner in names else base


def import_graph(root: Path) -> Graph:
    """Module -> the modules of the package that it imports."""
    files = module_names(root)
    graph = {}
    for module, file in files.items():
        tree = ast.parse(file.read_text(encoding="utf-8"))
        found = frozenset(imported(tree, module, file.name == "__init__.py", files))
        graph[module] = found - {module}
    return graph


def circle(graph: Graph) -> list[str]:
    """The modules of one circle, first and last the same; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_circle_of_imports():
    graph = import_graph(Path(fanin.__file__).parent)
    assert len(graph) > 300, "the graph must hold the whole package"
    assert not circle(graph), " -> ".join(reversed(circle(graph)))


def package(folder: Path, **files: str) -> Path:
    root = folder / "pack"
    (root / "room").mkdir(parents=True)
    for name, text in {"__init__": "", "room/__init__": "", **files}.items():
        (root / f"{name}.py").write_text(text, encoding="utf-8")
    return root


def test_a_circle_through_a_function_is_found(tmp_path):
    root = package(tmp_path, a="from pack.room import b", **{"room/b": "def late():\n    from pack import a\n"})
    assert set(circle(import_graph(root))) == {"pack.a", "pack.room.b"}


def test_a_circle_through_relative_imports_and_a_package_is_found(tmp_path):
    root = package(
        tmp_path, **{"room/__init__": "from .b import x", "room/b": "from . import c", "room/c": "import pack.room"}
    )
    assert set(circle(import_graph(root))) == {"pack.room", "pack.room.b", "pack.room.c"}


def test_imports_for_type_checkers_make_no_circle(tmp_path):
    quiet = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pack import a\n"
    assert not circle(import_graph(package(tmp_path, a="from pack import b", b=quiet)))
    loud = quiet + "else:\n    from pack import a\n"
    assert circle(import_graph(package(tmp_path / "twin", a="from pack import b", b=loud)))
