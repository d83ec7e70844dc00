"""Model objects of JAX libraries, and the call of `fanin.integrations.jax` that takes each.

JAX keeps parameters apart from the function that reads them, so such an object is given as the two. No library is
imported to recognise one.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from fanin.text.names import clean

__all__ = ["as_function", "kind_of"]


class _Library(NamedTuple):
    """What a library calls its models, and the lines that make a function and its parameters of one."""

    kind: str
    lines: str


_NNX = _Library(
    "Flax nnx module",
    "graph, params, rest = nnx.split(model, nnx.Param, ...), then "
    "fj.plan(lambda p, x: nnx.merge(graph, p, rest)(x), params, x)",
)
_LINEN = _Library("Flax linen module", "params = model.init(key, x), then fj.plan(model.apply, params, x)")
_EQUINOX = _Library(
    "Equinox module",
    "params, static = eqx.partition(model, eqx.is_array), then "
    "fj.plan(lambda p, x: jax.vmap(eqx.combine(p, static))(x), params, x)",
)
_HAIKU = _Library(
    "Haiku object",
    "net = hk.without_apply_rng(model) and params = net.init(key, x), then fj.plan(net.apply, params, x)",
)
_HAIKU_WITH_STATE = _Library(
    "Haiku object",
    "net = hk.without_apply_rng(model) and params, state = net.init(key, x), then "
    "fj.plan(lambda p, x: net.apply(p, state, x)[0], params, x)",
)
# Start of the module and name of a class that all models of a library are made of.
_LIBRARIES: Mapping[tuple[str, str], _Library] = {
    ("flax.nnx", "Module"): _NNX,
    ("flax.linen", "Module"): _LINEN,
    ("equinox", "Module"): _EQUINOX,
    ("haiku", "Transformed"): _HAIKU,
    ("haiku", "TransformedWithState"): _HAIKU_WITH_STATE,
}


def kind_of(model: Any) -> str:
    """What a model of a JAX library is, with its name ("Flax nnx module MLP"); "" for all else.

    An Equinox module without arrays is a function (``eqx.filter_jit`` makes such), so it is none.

    Example:
        >>> kind_of(lambda params, x: x)
        ''
    """
    found = _library_of(model)
    return f"{found.kind} {clean(type(model).__name__)}" if found else ""


def as_function(model: Any) -> str:
    """How a model of a JAX library is given as a function and its parameters, as a sentence; "" for all else."""
    found = _library_of(model)
    return (
        f"With fj = fanin.integrations.jax: {found.lines}. fj.check takes the same, and fj.apply_tree(plan, params) "
        "gives the new parameters."
        if found
        else ""
    )


def _library_of(model: Any) -> _Library | None:
    for kind in type(model).__mro__:
        for (home, name), library in _LIBRARIES.items():
            if kind.__name__ == name and f"{kind.__module__}.".startswith(f"{home}."):
                return library if library is not _EQUINOX or _holds_arrays(model) else None
    return None


def _holds_arrays(model: Any) -> bool:
    jax = sys.modules["jax"]  # loaded by the library of the model
    return any(hasattr(leaf, "shape") and hasattr(leaf, "dtype") for leaf in jax.tree_util.tree_leaves(model))
