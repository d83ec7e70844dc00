"""Laws for the leaves of a tree of parameters, by their path: nnx, linen, Equinox and Haiku alike."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fanin.errors import ArgumentError, LayoutError, PlanError
from fanin.initializers import Initializer, get
from fanin.integrations.jax.laws import values
from fanin.integrations.jax.stored import Stored, as_torch, fitted, layouts_of, moved, own_layout
from fanin.layout import Layout
from fanin.planning.data import PlanData
from fanin.streams.keys import Key
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


def init(
    tree: Any,
    laws: Mapping[str, Initializer | str | None] | PlanData,
    seed: int = 0,
    *,
    stored_as: Stored = "own",
    layouts: Mapping[str, Layout] | None = None,
) -> Any:
    """A tree of the same structure with new values; nothing in the given one changes.

    It can be traced: under ``jax.jit`` with ``out_shardings`` every device makes its own part of each array.

    Args:
        tree: parameters, as arrays or as ``jax.ShapeDtypeStruct``: Flax nnx states, linen and Haiku dicts, Equinox
            modules. Leaves without shape (functions, strings) are passed on.
        laws: glob on the path -> an initializer, its name, or None to pass the leaf on; the first match wins. Or a
            plan, whose own seed then counts.
        seed: of the streams; the name of each is the path of its leaf.
        stored_as: "torch" draws each weight as torch stores it, (out, in, *taps), and transposes it, so that an
            ``nn.Linear`` or ``nn.Conv2d`` filled from a stream of the same name is the same map. "own" draws it as it
            is stored here.
        layouts: glob on the path -> what the axes of the leaf mean. Without one: of Equinox' layers torch's
            (out, in, *taps), of all others (*taps, in, out).

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

    _assert_stored(stored_as)
    if isinstance(laws, PlanData):
        return apply_tree(laws, tree, stored_as=stored_as)
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    named = [(leaf_name(path), leaf) for path, leaf in leaves]
    chosen = {name: _first_match(name, laws) for name, leaf in named if is_array(leaf)}
    missing = [name for name, found in chosen.items() if found is None]
    if missing:
        raise PlanError(
            f"no pattern matches {', '.join(missing[:6])}{' ...' if len(missing) > 6 else ''}; give each a law, or "
            "None to keep it ({'*': None} last keeps all others)."
        )
    known = layouts_of(tree)
    made = []
    for n, (name, leaf) in enumerate(named):
        law = laws[chosen[name] or ""] if is_array(leaf) else None
        pattern = _first_match(name, layouts or {})
        layout = known.get(n) if pattern is None else (layouts or {})[pattern]
        made.append(leaf if law is None else _drawn(name, leaf, law, seed, layout, stored_as))
    return jax.tree_util.tree_unflatten(structure, made)


def _first_match(name: str, laws: Mapping[str, Any]) -> str | None:
    return next((pattern for pattern in laws if fnmatch.fnmatchcase(name, pattern)), None)


def _assert_stored(stored_as: str) -> None:
    if stored_as not in ("own", "torch"):
        raise ArgumentError(f"stored_as is 'own' or 'torch'; got {stored_as!r}")


def _drawn(
    name: str, leaf: Any, law: Initializer | str, seed: int, layout: Layout | None, stored_as: Stored = "own"
) -> Any:
    chosen = get(law) if isinstance(law, str) else law
    shape = tuple(leaf.shape)
    return _stream(chosen, stream_key(seed, name), shape, str(leaf.dtype), layout or own_layout(shape), stored_as)


def _stream(law: Initializer, key: Key, shape: tuple[int, ...], dtype: str, layout: Layout, stored_as: Stored) -> Any:
    """The values of a stream in an array, drawn as it is stored or as torch stores it."""
    if stored_as == "own":
        return values(law, key, None, shape, dtype, layout)
    there = as_torch(shape, layout)
    return moved(values(law, key, None, there.shape, dtype, there.layout), shape, layout)


def apply_tree(
    plan: PlanData,
    tree: Any,
    *,
    stored_as: Stored = "own",
    rename: Mapping[str, str | tuple[str, slice]] | None = None,
) -> Any:
    """A tree of the same structure with the values of a plan; leaves that the plan keeps are passed on.

    Args:
        plan: made by `fanin.integrations.jax.plan` for these parameters; or, with `rename`, by `fanin.plan` for a
            PyTorch model of the same network.
        tree: the parameters, as arrays or ``jax.ShapeDtypeStruct``. It can be traced.
        stored_as: see `init`.
        rename: path of each leaf -> name in the plan of the PyTorch model, or (name, slice) of its output units where
            torch has several weights in one. The leaves then get what the plan writes into that model, moved to where
            the same connections are here.

    Raises:
        PlanError: names or shapes differ; each misfit is named.

    Example:
        >>> import fanin, jax, numpy as np, torch
        >>> layer = torch.nn.Linear(3, 2)
        >>> plan = fanin.plan(layer, recipe="torch")
        >>> shapes = {"kernel": jax.ShapeDtypeStruct((3, 2), "float32"), "bias": jax.ShapeDtypeStruct((2,), "float32")}
        >>> made = apply_tree(plan, shapes, rename={"kernel": "weight", "bias": "bias"})
        >>> bool(np.array_equal(made["kernel"], plan.apply_(layer).weight.detach().numpy().T))
        True
    """
    import jax

    _assert_stored(stored_as)
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    named = [(leaf_name(path), leaf) for path, leaf in leaves]
    arrays = {name: leaf for name, leaf in named if is_array(leaf)}
    if rename is not None:
        ported = _ported(plan, tree, arrays, rename)
        return jax.tree_util.tree_unflatten(structure, [ported.get(name, leaf) for name, leaf in named])
    problems = [f"{n}: the parameters have it, the plan does not" for n in arrays if n not in plan]
    problems += [f"{n}: the plan has it, the parameters do not" for n in plan if n not in arrays]
    problems += [
        f"{n}: shape {tuple(x.shape)} in the parameters, {plan[n].shape} in the plan"
        for n, x in arrays.items()
        if n in plan and tuple(x.shape) != plan[n].shape
    ]
    _refuse(problems)
    made = [_planned(plan, plan[name], leaf, stored_as) if is_array(leaf) else leaf for name, leaf in named]
    return jax.tree_util.tree_unflatten(structure, made)


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise PlanError("this plan does not fit the parameters; make a new one:\n  " + "\n  ".join(problems[:12]))


def _planned(plan: PlanData, a: Assignment, leaf: Any, stored_as: Stored = "own") -> Any:
    if a.action != "draw" or a.initializer is None:
        return leaf
    dtype = str(leaf.dtype)
    wide = "float32" if a.is_scaled and dtype in ("float16", "bfloat16") else dtype
    key = stream_key(plan.seed, a.key)
    made = _stream(a.initializer, key, a.shape, wide, a.layout or own_layout(a.shape), stored_as)
    if a.factor != 1.0:
        made = made * a.factor
    for part in a.part_factors:
        made = made.at[part.slices].multiply(part.factor)
    for row in a.zero_rows:
        made = made.at[row].set(0.0)
    return made.astype(dtype)


# ---------------------------------------------------------------------------------------------------- from PyTorch
def _ported(
    plan: PlanData, tree: Any, arrays: Mapping[str, Any], rename: Mapping[str, str | tuple[str, slice]]
) -> dict[str, Any]:
    """The leaves that a plan of a PyTorch model draws, by path."""
    problems = [f"{n}: rename gives no name for it" for n in arrays if n not in rename]
    problems += [f"{n}: rename has it, the parameters do not" for n in rename if n not in arrays]
    pairs = {n: one if isinstance(one, tuple) else (one, slice(None)) for n, one in rename.items() if n in arrays}
    problems += [f"{n}: the plan has no {source!r}" for n, (source, _) in pairs.items() if source not in plan]
    used = {plan[source].name for source, _ in pairs.values() if source in plan}
    problems += [f"{a.name}: no leaf takes it" for a in plan.values() if a.action == "draw" and a.name not in used]
    _refuse(problems)
    known = dict(zip(arrays, _layouts_by_name(tree, arrays), strict=True))
    made: dict[str, Any] = {}
    for name, (source, part) in pairs.items():
        try:
            made[name] = _moved_here(plan, plan[source], part, arrays[name], known[name])
        except LayoutError as error:
            problems.append(f"{name}: {error}")
    _refuse(problems)
    return made


def _layouts_by_name(tree: Any, arrays: Mapping[str, Any]) -> list[Layout]:
    import jax

    names = [leaf_name(path) for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
    known = {names[n]: layout for n, layout in layouts_of(tree).items()}
    return [known.get(name) or own_layout(tuple(leaf.shape)) for name, leaf in arrays.items()]


def _moved_here(plan: PlanData, a: Assignment, part: slice, leaf: Any, own: Layout) -> Any:
    if a.action != "draw":
        return leaf
    import jax

    there: Any = jax.ShapeDtypeStruct(a.shape, leaf.dtype)  # type: ignore[no-untyped-call]
    drawn = _planned(plan, a, there)[part]
    shape = tuple(leaf.shape)
    return moved(drawn, shape, fitted(tuple(drawn.shape), a.layout, shape, own))
