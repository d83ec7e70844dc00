"""An activation from the command line: a name of the table, or where a function of the user's is."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from fanin.errors import TargetError, UnknownNameError
from fanin.theory.activations import Activation
from fanin.theory.callables import ActivationLike, resolve

__all__ = ["load_activation"]


def load_activation(target: str) -> Activation:
    """The activation that a command-line argument means.

    Args:
        target: a name (``gelu``, ``leaky_relu(0.2)``), ``package.module:function``, ``path/to/file.py:function``, or
            a dotted name such as ``torch.nn.functional.gelu``.

    Raises:
        TargetError: the module or the function cannot be loaded.
        UnknownNameError: no such name.
        TheoryError: what was loaded is no elementwise function.

    Example:
        >>> load_activation("gelu").name, load_activation("numpy:tanh").name, load_activation("scipy.special.erf").name
        ('gelu', 'tanh', 'erf')
    """
    if ":" in target:
        where, _, name = target.rpartition(":")
        return resolve(_attribute(_module(where, target), name, target))
    try:
        return resolve(target)
    except UnknownNameError:
        where, _, name = target.rpartition(".")
        if not where or "(" in target:
            raise
        return resolve(_attribute(_module(where, target), name, target))


def _module(where: str, target: str) -> ModuleType:
    try:
        return _from_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except Exception as error:
        raise TargetError(
            f"{target!r}: {where} could not be loaded ({type(error).__name__}: {error}). Give a known name, "
            "package.module:function or path/to/file.py:function"
        ) from error


def _from_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"_fanin_target_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no Python file at {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _attribute(module: ModuleType, name: str, target: str) -> ActivationLike:
    found: Any = getattr(module, name, None)
    if found is None:
        raise TargetError(
            f"{target!r}: {module.__name__} has no {name!r}; name a function of one array that is defined there"
        )
    made: ActivationLike = found() if isinstance(found, type) else found  # a class such as torch.nn.GELU
    return made
