"""Activations, found by what they compute and not by what they are called.

A region of elementwise operations on one tensor is replayed on a grid and known by value: ``x * sigmoid(1.702 x)``,
the eight operations of a tanh-GELU, ``relu(x) ** 2``, a soft cap or a custom autograd function are all met as what
they are. An affine region is transparent; an unknown one keeps its exact callable, so theory can integrate it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from fanin.graph.ir import Graph, Op, Ref, map_template
from fanin.graph.replay import run
from fanin.graph.taint import Taint
from fanin.graph.vocabulary import ELEMENTWISE

__all__ = ["Activation", "Regions", "identify", "regions"]

Array = npt.NDArray[np.float64]
_COMPARISONS = frozenset(
    {
        "gt",
        "lt",
        "ge",
        "le",
        "eq",
        "ne",
        "logical_not",
        "logical_and",
        "logical_or",
        "bitwise_and",
        "bitwise_not",
        "isnan",
    }
)
_CASTS = frozenset(
    {
        "to",
        "float",
        "half",
        "bfloat16",
        "double",
        "type_as",
        "clone",
        "contiguous",
        "detach",
        "alias",
        "data",
        "type",
        "view_as",
    }
)
_UNIVARIATE = ELEMENTWISE | _COMPARISONS | _CASTS
_OWN_PARAMETER = frozenset({"prelu"})
# a number that is not at hand (learned, or a buffer on meta): nn.PReLU starts at 0.25, others change nothing
_INITIAL: Mapping[str, float] = {"prelu": 0.25, "add": 0.0, "sub": 0.0}

_GRID: Array = np.concatenate([np.linspace(-8.0, 8.0, 321), [-0.013, 0.007, 0.011]])
_TOLERANCE = 2e-5  # relative to the largest value on the grid; models compute in float32 constants


@dataclass(frozen=True, slots=True)
class Activation:
    """A univariate function met in a graph.

    Attributes:
        name: name of the function, "custom(op,op,...)" where unknown, "affine" for a x + b.
        gain: factor on the named function's value (0.9806 for 0.9806 silu).
        inner: factor on its argument (30 for sin(30 x)).
        fn: the exact function on float64 arrays, gain and inner included.
    """

    name: str
    gain: float = 1.0
    inner: float = 1.0
    fn: Callable[[Array], Array] = field(default=lambda x: x, repr=False, compare=False)

    @property
    def is_affine(self) -> bool:
        """Whether it only scales and shifts."""
        return self.name == "affine"

    @property
    def label(self) -> str:
        """Name with its factors, as reports show it."""
        inner = "" if math.isclose(self.inner, 1.0) else f"({self.inner:.4g}x)"
        outer = "" if math.isclose(self.gain, 1.0, rel_tol=1e-4) else f"{self.gain:.4g}*"
        return f"{outer}{self.name}{inner}"


def _sigmoid(x: Array) -> Array:
    return np.asarray(special.expit(x))


def _gelu(x: Array) -> Array:
    return np.asarray(0.5 * x * special.erfc(-x / math.sqrt(2.0)))


def _gelu_tanh(x: Array) -> Array:
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def _softplus(x: Array) -> Array:
    return np.logaddexp(0.0, x)


_SELU_SCALE, _SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717

# name -> the function; matched up to a factor, with these names for their values
LIBRARY: Mapping[str, Callable[[Array], Array]] = {
    "relu": lambda x: np.maximum(x, 0.0),
    "silu": lambda x: x * _sigmoid(x),
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "quick_gelu": lambda x: x * _sigmoid(1.702 * x),
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "relu2": lambda x: np.maximum(x, 0.0) ** 2,
    "relu6": lambda x: np.clip(x, 0.0, 6.0),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0.0))),
    "selu": lambda x: _SELU_SCALE * np.where(x > 0, x, _SELU_ALPHA * np.expm1(np.minimum(x, 0.0))),
    "mish": lambda x: x * np.tanh(_softplus(x)),
    "softplus": _softplus,
    "logsigmoid": lambda x: -_softplus(-x),
    "hardswish": lambda x: x * np.clip(x + 3.0, 0.0, 6.0) / 6.0,
    "hardsigmoid": lambda x: np.clip(x + 3.0, 0.0, 6.0) / 6.0,
    "hardtanh": lambda x: np.clip(x, -1.0, 1.0),
    "softsign": lambda x: x / (1.0 + np.abs(x)),
    "tanhshrink": lambda x: x - np.tanh(x),
    "softshrink": lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0.0),
    "abs": np.abs,
    "square": np.square,
    "cube": lambda x: x**3,
    "exp": np.exp,
    "sin": np.sin,
    "cos": np.cos,
    "erf": lambda x: np.asarray(special.erf(x)),
    "gaussian": lambda x: np.exp(-(x**2)),
    "sin2": lambda x: np.sin(x) ** 2,
    "snake": lambda x: x + np.sin(x) ** 2,
    "atan": np.arctan,
    "asinh": np.arcsinh,
    "one_minus_sigmoid": lambda x: _sigmoid(-x),
    "exp_minus_exp": lambda x: np.exp(-np.exp(np.minimum(x, 20.0))),
    "sign": np.sign,
    "step": lambda x: (x > 0).astype(np.float64),
}


def identify(fn: Callable[[Array], Array], ops: tuple[str, ...] = (), constants: tuple[float, ...] = ()) -> Activation:
    """The named function that `fn` is, up to factors on its value and argument.

    Args:
        fn: function on float64 arrays.
        ops: names of the operations that make it up, used where it is unknown.
        constants: numbers that occur in it, tried as factors on the argument.

    Example:
        >>> identify(lambda x: 0.5 * np.maximum(x, 0)).label
        '0.5*relu'
        >>> identify(lambda x: np.sin(30.0 * x), constants=(30.0,)).label
        'sin(30x)'
    """
    unknown = Activation(f"custom({','.join(dict.fromkeys(ops))})", fn=fn)
    with np.errstate(all="ignore"):
        try:
            values = np.asarray(fn(_GRID), dtype=np.float64)
        except Exception:
            return unknown
        if values.shape != _GRID.shape:
            return unknown
        finite = np.isfinite(values)
        if finite.sum() < 0.4 * _GRID.size:
            return unknown
        x, y = _GRID[finite], values[finite]
        return _affine(x, y, fn) or _leaky(x, y, fn) or _elu(x, y, fn) or _from_library(x, y, fn, constants) or unknown


def _close(a: Array, b: Array) -> bool:
    return bool(np.max(np.abs(a - b)) <= _TOLERANCE * max(float(np.max(np.abs(a))), 1e-12))


def _affine(x: Array, y: Array, fn: Callable[[Array], Array]) -> Activation | None:
    slope = (y[-4] - y[0]) / (x[-4] - x[0])
    return Activation("affine", gain=float(slope), fn=fn) if _close(y, y[0] + slope * (x - x[0])) else None


def _leaky(x: Array, y: Array, fn: Callable[[Array], Array]) -> Activation | None:
    """Two half lines through zero: relu, leaky relu, abs."""
    up, down = y[x > 1.0][0] / x[x > 1.0][0], y[x < -1.0][0] / x[x < -1.0][0]
    if not _close(y, np.where(x > 0, up * x, down * x)):
        return None
    if up == 0.0:
        return Activation("relu", gain=-float(down), inner=-1.0, fn=fn)
    ratio = float(down / up)
    if abs(ratio) < 1e-7:
        return Activation("relu", gain=float(up), fn=fn)
    if math.isclose(ratio, -1.0, rel_tol=1e-6):
        return Activation("abs", gain=float(up), fn=fn)
    return Activation(f"leaky_relu({ratio:.4g})", gain=float(up), fn=fn)


def _elu(x: Array, y: Array, fn: Callable[[Array], Array]) -> Activation | None:
    """Alpha (exp(x / a) - 1) below zero for any alpha: elu and celu; selu is left to the library."""
    up = y[x > 1.0][0] / x[x > 1.0][0]
    low = float(y[0])
    if up <= 0 or low >= 0 or not _close(y[x > 0], up * x[x > 0]):
        return None
    alpha = -low / up / -math.expm1(float(x[0]))
    if math.isclose(alpha, 1.0, rel_tol=1e-5) or math.isclose(alpha, _SELU_ALPHA, rel_tol=1e-5):
        return None
    if _close(y, up * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))):
        return Activation(f"elu({alpha:.4g})", gain=float(up), fn=fn)
    return None


def _from_library(x: Array, y: Array, fn: Callable[[Array], Array], constants: tuple[float, ...]) -> Activation | None:
    for inner in _inner_factors(constants):
        for name, known in LIBRARY.items():
            z = known(inner * x)
            use = np.isfinite(z) & (np.abs(z) < 1e30)
            norm = float(z[use] @ z[use])
            if norm == 0.0 or not math.isfinite(norm):
                continue
            gain = float(z[use] @ y[use]) / norm
            if gain != 0.0 and _close(y[use], gain * z[use]):
                gain = round(gain, 6) if math.isclose(gain, round(gain, 6), rel_tol=1e-6) else gain
                return _named(name, gain, inner, fn)
    return None


def _named(name: str, gain: float, inner: float, fn: Callable[[Array], Array]) -> Activation:
    if name == "tanh" and inner != 1.0 and math.isclose(gain * inner, 1.0, rel_tol=1e-4):
        return Activation("softcap", gain=gain, inner=inner, fn=fn)
    return Activation(name, gain=gain, inner=inner, fn=fn)


def _inner_factors(constants: tuple[float, ...]) -> list[float]:
    """1, then the region's constants, their inverses, and products of neighbours."""
    usable = [c for c in constants if math.isfinite(c) and c != 0.0 and abs(c) != 1.0][:6]
    products = [a * b for a, b in pairwise(usable)]
    return list(dict.fromkeys([1.0, -1.0, *usable, *(1.0 / c for c in usable), *products]))


# ---------------------------------------------------------------------- regions in a graph
@dataclass(frozen=True, slots=True)
class Regions:
    """The univariate regions of a graph.

    Attributes:
        root: value index -> the value that it is a function of.
        ends: root -> values of its region that something outside the region reads.
        functions: value index -> the activation, for every end.
    """

    root: Mapping[int, int]
    ends: Mapping[int, tuple[int, ...]]
    functions: Mapping[int, Activation]


def regions(graph: Graph, kinds: Taint, inside_norms: frozenset[int] = frozenset()) -> Regions:
    """Group elementwise operations by the one tensor they depend on and identify what each region computes."""
    root: dict[int, int] = {}
    members: dict[int, list[int]] = {}
    for op in graph.live_ops():
        base = None if op.index in inside_norms else _base(graph, op, kinds, root)
        if base is not None:
            for out in op.outputs:
                root[out] = base
                members.setdefault(base, []).append(op.index)
    ends = {base: _ends(graph, ops, root, base) for base, ops in members.items()}
    cache: dict[Any, Activation] = {}
    functions = {v: _function(graph, v, base, root, cache) for base, values in ends.items() for v in values}
    return Regions(root, ends, functions)


def _base(graph: Graph, op: Op, kinds: Taint, root: Mapping[int, int]) -> int | None:
    """The one value that an elementwise op is a function of, if there is one."""
    if op.name not in _UNIVARIATE or len(op.outputs) != 1:
        return None
    bases: set[int] = set()
    for i in op.inputs:
        if i in root:
            bases.add(root[i])
        elif kinds.is_signal(i):
            bases.add(i)
        elif not _is_number(graph, op, i, kinds):
            return None
    if len(bases) != 1:
        return None
    (base,) = bases
    return base if graph.values[base].shape == graph.values[op.output].shape else None


def _is_number(graph: Graph, op: Op, value: int, kinds: Taint) -> bool:
    """Whether an operand that is not the signal is one number (or the slopes of a PReLU)."""
    v = graph.values[value]
    return v.numel == 1 or _uniform(graph, value) is not None or (kinds.is_weight(value) and op.name in _OWN_PARAMETER)


def _ends(graph: Graph, ops: list[int], root: Mapping[int, int], base: int) -> tuple[int, ...]:
    outputs = {o.value for o in graph.outputs}
    found = []
    for index in ops:
        for v in graph.ops[index].outputs:
            outside = any(
                graph.is_live(c) and not any(root.get(o) == base for o in c.outputs) for c in graph.consumers(v)
            )
            if (outside or v in outputs) and graph.values[v].is_float:
                found.append(v)
    return tuple(found)


def _function(graph: Graph, value: int, base: int, root: Mapping[int, int], cache: dict[Any, Activation]) -> Activation:
    ops = _region_ops(graph, value, base, root)
    key = _signature(graph, ops, base)
    if key not in cache:
        names = tuple(op.name for op in ops if op.name not in _CASTS)
        cache[key] = identify(_replayer(graph, ops, value, base), names, _constants(ops))
    return cache[key]


def _region_ops(graph: Graph, value: int, base: int, root: Mapping[int, int]) -> list[Op]:
    todo, found = [value], set[int]()
    while todo:
        v = todo.pop()
        op = graph.producer(v)
        if v == base or op is None or op.index in found or root.get(v) != base:
            continue
        found.add(op.index)
        todo += op.inputs
    return [graph.ops[i] for i in sorted(found)]


def _signature(graph: Graph, ops: list[Op], base: int) -> Any:
    local = {base: -1}
    parts = []
    for n, op in enumerate(ops):
        local.update(dict.fromkeys(op.outputs, n))
        template = map_template(
            (op.args, dict(op.kwargs)), lambda r: ("ref", local.get(r.index, _number_of(graph, r.index)))
        )
        parts.append((op.name, repr(template)))
    return tuple(parts)


_FILLED = {"zeros_like": 0.0, "zeros": 0.0, "new_zeros": 0.0, "ones_like": 1.0, "ones": 1.0, "new_ones": 1.0}


def _uniform(graph: Graph, value: int) -> float | None:
    """The one number that a tensor made on the spot is full of."""
    op = graph.producer(value)
    if op is None:
        return None
    if op.name in ("full_like", "full", "new_full"):
        filling = op.arg(1, "fill_value") if op.name != "new_full" else op.arg(2, "fill_value")
        return float(filling) if isinstance(filling, (int, float)) else None
    return _FILLED.get(op.name)


def _number_of(graph: Graph, value: int, depth: int = 0, *, reader: str = "mul") -> float | str:
    """The number behind a one-element operand that is no part of the region; "?" where it cannot be had."""
    data = graph.data.get(value)
    if data is not None and data.numel() == 1:
        return float(data.reshape(()).item())
    op, filling = graph.producer(value), _uniform(graph, value)
    if filling is not None:
        return filling
    if op is None or depth > 8:
        return _INITIAL.get(reader, 1.0) if op is None and graph.values[value].is_float else "?"
    numbers = {i: _number_of(graph, i, depth + 1, reader=op.name) for i in op.inputs}
    if op.name in _CASTS and op.inputs:
        return numbers[op.inputs[0]]
    if "?" in numbers.values():
        return "?"
    return _computed(op, numbers)


def _computed(op: Op, numbers: Mapping[int, float | str]) -> float | str:
    import torch

    def tensor_of(index: int) -> Any:
        return torch.tensor(float(numbers[index]), dtype=torch.float64)

    try:
        result = run(op, tensor_of)[0]
        return float(result.reshape(()).item()) if not result.is_meta else "?"
    except Exception:  # whatever it is, it is no constant number
        return "?"


def _flat(tree: Any) -> list[Any]:
    return [leaf for item in tree for leaf in _flat(item)] if isinstance(tree, (tuple, list)) else [tree]


def _constants(ops: list[Op]) -> tuple[float, ...]:
    return tuple(
        float(a) for op in ops for a in _flat(op.args) if isinstance(a, (int, float)) and not isinstance(a, bool)
    )


def _replayer(graph: Graph, ops: list[Op], value: int, base: int) -> Callable[[Array], Array]:
    """The region as a function on float64 arrays."""

    def fn(x: Array) -> Array:
        import torch

        flat = np.asarray(x, dtype=np.float64)
        env: dict[int, Any] = {base: torch.from_numpy(flat.reshape(-1).copy())}
        with torch.no_grad():
            for op in ops:
                env[op.output] = _run(graph, op, env)
        return np.asarray(env[value].double().numpy().reshape(flat.shape))

    return fn


def _run(graph: Graph, op: Op, env: dict[int, Any]) -> Any:
    import torch

    if op.name in _CASTS:
        return env[next(i for i in op.inputs if i in env)]

    def fetch(ref: Ref) -> Any:
        if ref.index in env:
            return env[ref.index].clone() if op.inplace else env[ref.index]
        number = _number_of(graph, ref.index, reader=op.name)
        if isinstance(number, str):  # unknown: what changes nothing, so that a factor stays a factor
            number = _INITIAL.get(op.name, 1.0)
        return torch.tensor([number] if op.name in _OWN_PARAMETER else number, dtype=torch.float64)

    args = map_template(op.args, fetch)
    result = op.func(*args, **map_template(dict(op.kwargs), fetch))
    return args[0] if op.inplace else result
