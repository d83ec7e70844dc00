"""Laws for the leaves of a tree of parameters, by their path: nnx, linen, Equinox and Haiku alike."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fanin.errors import PlanError
from fanin.initializers import Initializer, get
from fanin.integrations.jax.laws import values
from fanin.layout import Layout
from fanin.planning.data import PlanData
from fanin.streams.keys import key as stream_key

if TYPE_CHECKING:
    from fanin.planning.assignment import Assignment

__all__ = ["apply_tree", "init", "is_array", "leaf_name"]


def is_array(leaf: Any) -> bool:
    """Whether a leaf has a shape and a dtype: an array, or the shape of one."""
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype")


def leaf_name(path: Any) -> str:
    """The path of a leaf as one name, its keys joined by dots ("layers.0.kernel").

    The ``value`` that Flax nnx puts around every variable is left out.

    Example:
        >>> import jax
        >>> [leaf_name(path) for path, _ in jax.tree_util.tree_leaves_with_path({"dense": [{"kernel": 1.0}]})]
        ['dense.0.kernel']
    """
    import jax

    keys = list(path)
    if keys and str(keys[-1]) == ".value":
        keys = keys[:-1]
    return jax.tree_util.keystr(tuple(keys), simple=True, separator=".")


def init(tree: Any, laws: Mapping[str, Initializer | str | None] | PlanData, seed: int = 0) -> Any:
    """A tree of the same structure with new values; nothing in the given one changes.

    It can be traced: under ``jax.jit`` with ``out_shardings`` every device makes its own part of each array.

    Args:
        tree: parameters, as arrays or as ``jax.ShapeDtypeStruct``: Flax nnx states, linen and Haiku dicts, Equinox
            modules. Leaves without shape (functions, strings) are passed on.
        laws: glob on the path -> an initializer, its name, or None to pass the leaf on; the first match wins. Or a
            plan, whose own seed then counts.
        seed: of the streams; the name of each is the path of its leaf.

    Raises:
        PlanError: a leaf that no pattern matches, or a plan of other leaves; all are named.

    Example:
        >>> import jax
        >>> shapes = {"dense": {"kernel": jax.ShapeDtypeStruct((64, 32), "float32")}}
        >>> made = init(shapes, {"*.kernel": "he_normal"}, seed=1)
        >>> made["dense"]["kernel"].shape
        (64, 32)
    """
    import jax

    if isinstance(laws, PlanData):
        return apply_tree(laws, tree)
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    named = [(leaf_name(path), leaf) for path, leaf in leaves]
    chosen = {name: _first_match(name, laws) for name, leaf in named if is_array(leaf)}
    missing = [name for name, found in chosen.items() if found is None]
    if missing:
        raise PlanError(
            f"no pattern matches {', '.join(missing[:6])}{' ...' if len(missing) > 6 else ''}; give each a law, or "
            "None to keep it ({'*': None} last keeps all others)."
        )
    made = [leaf if not is_array(leaf) else _drawn(name, leaf, laws[chosen[name] or ""], seed) for name, leaf in named]
    return jax.tree_util.tree_unflatten(structure, made)


def _first_match(name: str, laws: Mapping[str, Any]) -> str | None:
    return next((pattern for pattern in laws if fnmatch.fnmatchcase(name, pattern)), None)


def _drawn(name: str, leaf: Any, law: Initializer | str | None, seed: int) -> Any:
    if law is None:
        return leaf
    chosen = get(law) if isinstance(law, str) else law
    shape = tuple(leaf.shape)
    return values(chosen, stream_key(seed, name), None, shape, str(leaf.dtype), _axes(shape))


def _axes(shape: tuple[int, ...]) -> Layout:
    return Layout.channels_last(len(shape)) if len(shape) >= 2 else Layout.vector()


def apply_tree(plan: PlanData, tree: Any) -> Any:
    """A tree of the same structure with the values of a plan; leaves that the plan keeps are passed on.

    Args:
        plan: made by `fanin.integrations.jax.plan` for these parameters.
        tree: the parameters, as arrays or ``jax.ShapeDtypeStruct``. It can be traced.

    Raises:
        PlanError: names or shapes differ; each misfit is named.
    """
    import jax

    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    named = [(leaf_name(path), leaf) for path, leaf in leaves]
    arrays = {name: leaf for name, leaf in named if is_array(leaf)}
    problems = [f"{n}: the parameters have it, the plan does not" for n in arrays if n not in plan]
    problems += [f"{n}: the plan has it, the parameters do not" for n in plan if n not in arrays]
    problems += [
        f"{n}: shape {tuple(x.shape)} in the parameters, {plan[n].shape} in the plan"
        for n, x in arrays.items()
        if n in plan and tuple(x.shape) != plan[n].shape
    ]
    if problems:
        raise PlanError("this plan does not fit the parameters; make a new one:\n  " + "\n  ".join(problems[:12]))
    made = [_planned(plan, plan[name], leaf) if is_array(leaf) else leaf for name, leaf in named]
    return jax.tree_util.tree_unflatten(structure, made)


def _planned(plan: PlanData, a: Assignment, leaf: Any) -> Any:
    if a.action != "draw" or a.initializer is None:
        return leaf
    dtype = str(leaf.dtype)
    wide = "float32" if a.is_scaled and dtype in ("float16", "bfloat16") else dtype
    layout = a.layout or _axes(a.shape)
    made = values(a.initializer, stream_key(plan.seed, a.key), None, a.shape, wide, layout)
    if a.factor != 1.0:
        made = made * a.factor
    for part in a.part_factors:
        made = made.at[part.slices].multiply(part.factor)
    for row in a.zero_rows:
        made = made.at[row].set(0.0)
    return made.astype(dtype)
