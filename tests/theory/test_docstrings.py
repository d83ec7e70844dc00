"""Docstrings of theory: every public function says its source of accuracy by a test that exists, and has an example."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import fanin.theory

ROOT = Path(__file__).parents[2]
MODULES = [m.name for m in pkgutil.walk_packages(fanin.theory.__path__, "fanin.theory.") if "._" not in m.name]


def public(name):
    module = importlib.import_module(name)
    owned = (getattr(module, n) for n in getattr(module, "__all__", ()))
    return [f for f in owned if inspect.isfunction(f) and f.__module__ == name]


@pytest.mark.parametrize("name", MODULES)
def test_named_tests_exist(name):
    for path in re.findall(r"tests/theory/\w+\.py", inspect.getsource(importlib.import_module(name))):
        assert (ROOT / path).is_file(), f"{name} names {path}, which is not there"


@pytest.mark.parametrize("name", MODULES)
def test_public_functions_are_documented_with_an_example(name):
    for function in public(name):
        documented = inspect.getdoc(function) or ""
        assert documented, f"{function.__qualname__} has no docstring"
        internal = name.endswith((".panels", ".moments", ".kinks")) and function.__name__ not in ("gaussian_moments",)
        assert internal or ">>>" in documented, f"{function.__qualname__} has no example"
