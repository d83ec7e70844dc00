"""What was given in the place of a JAX function or of its parameters, and what to give instead."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import jax

from fanin.errors import ArgumentError
from fanin.model.jax_models import as_function, kind_of
from fanin.text.names import clean

__all__ = ["assert_called", "kind"]


def assert_called(fn: Any, params: Any, inputs: Sequence[Any]) -> None:
    """Check that a function can be called as ``fn(params, *inputs)``, and that the parameters are a tree of arrays.

    Raises:
        ArgumentError: a model of a library in the place of either, arguments in another order, or one too few.

    Example:
        >>> assert_called(lambda params, x: x, {}, [])
        Traceback (most recent call last):
        fanin.errors.ArgumentError: the function is called as fn(params, *inputs): missing a required argument: 'x'
    """
    if kind_of(fn):
        raise ArgumentError(f"fn is the {kind_of(fn)}; a function of (params, *inputs) is needed. {as_function(fn)}")
    if not callable(fn):
        swapped = "; the function comes first: (fn, params, *inputs)" if _first_function(params) is not None else ""
        raise ArgumentError(f"fn is {kind(fn)}; a function of (params, *inputs) is needed{swapped}")
    _assert_arrays(params)
    try:
        inspect.signature(fn).bind(params, *inputs)
    except TypeError as error:
        raise ArgumentError(f"the function is called as fn(params, *inputs): {error}") from error
    except ValueError:  # a builtin without a signature: only the call can tell
        return


def kind(value: Any) -> str:
    """What a value is, in a few words: "float32[8, 4]" for an array."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}{list(value.shape)}"
    return f"of type {clean(type(value).__name__)}"


def _assert_arrays(params: Any) -> None:
    leaves = jax.tree_util.tree_leaves(params)
    wrong = _first_function(params)
    if wrong is None or any(hasattr(leaf, "shape") and hasattr(leaf, "dtype") for leaf in leaves):
        return
    what = kind_of(params) or kind_of(wrong)
    raise ArgumentError(
        f"params is {f'the {what}' if what else kind(wrong)}, which holds no arrays; a tree of arrays is needed. "
        + (as_function(params) or as_function(wrong) or "The order is (fn, params, *inputs).")
    )


def _first_function(tree: Any) -> Any:
    """The first leaf that is a function or a model; None where there is none."""
    return next((leaf for leaf in jax.tree_util.tree_leaves(tree) if callable(leaf) or kind_of(leaf)), None)
