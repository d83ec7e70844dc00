"""Turn what a user calls an activation (a name, a NumPy or torch callable, a module) into an `Activation`.

torch is never imported here: a callable that needs it comes from a process in which torch is loaded already.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Hashable
from typing import Any, TypeAlias

import numpy as np

from fanin.errors import TheoryError
from fanin.memory import as_array
from fanin.theory._types import Array, ScalarFunction
from fanin.theory.activations import FAMILIES, Activation, activation

__all__ = ["ActivationLike", "elementwise", "resolve"]

ActivationLike: TypeAlias = "str | Activation | ScalarFunction"

# Seven points on no grid, of both signs and several sizes: enough to tell an elementwise function from one that mixes
# entries.
_PROBE = np.array([-3.7, -0.9, -0.13, 0.21, 0.77, 1.9, 4.3])


def resolve(phi: ActivationLike) -> Activation:
    """The `Activation` that a name, a callable or an activation module stands for.

    Args:
        phi: a name of the table (``"gelu"``, ``"leaky_relu(0.2)"``), an `Activation`, a NumPy callable, a torch
            callable or an activation module such as ``torch.nn.GELU()``. Callables of the table are recognised; others
            are wrapped.

    Raises:
        UnknownNameError: a name that is in no table.
        TheoryError: not callable, not elementwise, not deterministic, or not finite at ordinary values.

    Example:
        >>> resolve("gelu").name
        'gelu'
        >>> resolve(np.tanh).name
        'tanh'
        >>> resolve(lambda x: x**3).kinks is None
        True
    """
    if isinstance(phi, Activation):
        return phi
    if isinstance(phi, str):
        return activation(phi)
    if not callable(phi):
        raise TheoryError(
            f"an activation is a name, a callable or a module, got {type(phi).__name__} {phi!r}; "
            "pass for example 'gelu' or a function of one array"
        )
    if isinstance(phi, type):
        name = phi.__name__
        raise TheoryError(
            f"an activation is a name, a callable or a module; of the class {name} pass an instance: {name}()"
        )
    known = _known_ufunc(phi) or _known_torch(phi)
    return known if known is not None else _wrapped(phi)


_UFUNCS: dict[Any, str] = {
    np.tanh: "tanh",
    np.sin: "sin",
    np.cos: "cos",
    np.exp: "exp",
    np.abs: "abs",
    np.square: "square",
}


def _known_ufunc(phi: Any) -> Activation | None:
    return activation(_UFUNCS[phi]) if isinstance(phi, np.ufunc) and phi in _UFUNCS else None


_TORCH_NAMES: dict[str, str] = {alias: name for name, family in FAMILIES.items() for alias in family.torch}


def _known_torch(phi: Any) -> Activation | None:
    """The table's member that a torch function or module is, or None."""
    name = _torch_function_name(phi)
    if name is not None:
        return activation(name)
    if not type(phi).__module__.startswith("torch.nn.modules"):
        return None
    return _torch_module(phi)


def _torch_module(module: Any) -> Activation | None:
    kind = type(module).__name__
    if kind == "GELU":
        return activation("gelu_tanh" if module.approximate == "tanh" else "gelu")
    if kind == "PReLU":
        slopes = as_array(module.weight.detach().double().cpu())
        return activation("prelu", weight=float(slopes[0])) if np.all(slopes == slopes[0]) else None
    name = _TORCH_NAMES.get(kind)
    if name is None:
        return None
    return activation(
        name, **{ours: float(getattr(module, theirs)) for ours, theirs in FAMILIES[name].torch_params.items()}
    )


def _torch_function_name(phi: Any) -> str | None:
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(phi, types.BuiltinFunctionType | types.FunctionType):
        return None
    homes = (torch.nn.functional, torch)
    # by object, not by __name__: some carry another one inside torch
    return next(
        (name for alias, name in _TORCH_NAMES.items() if any(getattr(h, alias, None) is phi for h in homes)), None
    )


def _wrapped(phi: ScalarFunction) -> Activation:
    name = getattr(phi, "__name__", None) or type(phi).__name__
    fn = elementwise(phi)
    return Activation(name=str(name), fn=fn, identity=_identity(phi))


def _identity(phi: Any) -> Hashable:
    """What a cache may know the callable by: itself if calling it cannot have changed meaning, else a fresh object.

    Modules, closures and objects with state are compared with their own earlier state, so nothing stale is ever
    read.
    """
    if isinstance(phi, np.ufunc | types.BuiltinFunctionType):
        return phi
    if isinstance(phi, types.FunctionType) and phi.__closure__ is None:
        return phi
    if isinstance(phi, functools.partial) and not isinstance(phi.func, functools.partial):
        inner = _identity(phi.func)
        frozen = all(isinstance(a, int | float | str | None) for a in (*phi.args, *phi.keywords.values()))
        if inner is phi.func and frozen:
            return (phi.func, phi.args, tuple(sorted(phi.keywords.items())))
    return _Unique()


class _Unique:
    """Equal to nothing but itself."""

    __slots__ = ()


def elementwise(phi: ScalarFunction) -> ScalarFunction:
    """`phi` as a function from a float64 array to a float array of the same shape, checked once.

    Raises:
        TheoryError: it fails on arrays, mixes entries, draws random numbers, or is not finite at ordinary values.

    Example:
        >>> elementwise(lambda x: np.maximum(x, 0))(np.array([-1.0, 2.0]))
        array([0., 2.])
    """
    fn = _numpy_form(phi)
    values = _checked(phi, fn, _PROBE)
    # in other company, reversed, and as a matrix: softmax, norms, sorting and dropout all give something else
    longer = _checked(phi, fn, np.concatenate([_PROBE[::-1], 0.5 * _PROBE]))[: _PROBE.size][::-1]
    matrix = _checked(phi, fn, np.stack([0.5 * _PROBE, _PROBE]))[1]
    if not (np.allclose(values, longer, rtol=1e-5, atol=1e-9) and np.allclose(values, matrix, rtol=1e-5, atol=1e-9)):
        raise TheoryError(
            f"{_called(phi)} is not an elementwise function: the same numbers in another order or company came back "
            "different. "
            "Theory needs f(x)_i to depend on x_i alone; for softmax, norms, gated units and dropout use "
            "fanin.theory's effects"
        )
    return fn


def _numpy_form(phi: ScalarFunction) -> ScalarFunction:
    try:
        with np.errstate(all="ignore"):
            result = phi(_PROBE.copy())
        if isinstance(result, np.ndarray | np.generic | float) or hasattr(result, "__array__"):
            return lambda x: np.asarray(phi(x))
        raise TypeError(f"returned {type(result).__name__}")
    except Exception as error:
        torch = sys.modules.get("torch")
        if torch is None:
            raise _unusable(phi, error) from error
        return _torch_form(phi, torch, error)


def _torch_form(phi: ScalarFunction, torch: Any, numpy_error: Exception) -> ScalarFunction:
    def through_torch(x: Array) -> Array:
        with torch.no_grad():
            out = phi(torch.from_numpy(np.array(x, dtype=np.float64)))
        return np.asarray(out.detach().cpu().numpy())

    try:
        through_torch(_PROBE)
    except Exception as error:
        raise _unusable(phi, error) from numpy_error
    return through_torch


def _checked(phi: ScalarFunction, fn: ScalarFunction, x: Array) -> Array:
    try:
        with np.errstate(all="ignore"):
            values = np.asarray(fn(x))
    except Exception as error:
        raise _unusable(phi, error) from error
    if values.shape != x.shape or values.dtype.kind not in "fiub":
        raise TheoryError(
            f"{_called(phi)} is not an elementwise real function: an input of shape {x.shape} gave shape "
            f"{values.shape}, "
            f"dtype {values.dtype}. Pass a function of one float array that returns a real array of the same shape"
        )
    bad = ~np.isfinite(values)
    if bad.any():
        where = float(x[bad].flat[0])
        raise TheoryError(
            f"{_called(phi)} is not finite: f({where:g}) = {values[bad].flat[0]}. A Gaussian pre-activation reaches "
            "every real "
            "number; make the function finite there (clip its argument) or use another one"
        )
    return values.astype(np.float64)


def _unusable(phi: ScalarFunction, error: Exception) -> TheoryError:
    return TheoryError(
        f"{_called(phi)} could not be evaluated on a float64 array: {type(error).__name__}: {error}. "
        "Pass a function of one NumPy array or one torch tensor"
    )


def _called(phi: Any) -> str:
    return f"{getattr(phi, '__name__', None) or type(phi).__name__!r}"
