"""JAX: laws as initializers, a law for every leaf of a tree, and models of JAX planned and checked as torch twins.

`laws` and `trees` need no torch; `model`, `plan` and `check` do, and are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fanin.integrations.jax.laws import initializer
from fanin.integrations.jax.trees import apply_tree, init, leaf_name

if TYPE_CHECKING:
    from fanin.integrations.jax.twin import check as check
    from fanin.integrations.jax.twin import model as model
    from fanin.integrations.jax.twin import plan as plan

__all__ = ["apply_tree", "check", "init", "initializer", "leaf_name", "model", "plan"]


def __getattr__(name: str) -> Any:
    if name not in ("check", "model", "plan"):
        raise AttributeError(f"module 'fanin.integrations.jax' has no attribute {name!r}; it has {', '.join(__all__)}")
    try:
        twin = importlib.import_module("fanin.integrations.jax.twin")
    except ModuleNotFoundError as error:
        from fanin.errors import MissingDependencyError

        raise MissingDependencyError.instead_of(error, needed_for=f"fanin.integrations.jax.{name}") from error
    return getattr(twin, name)
