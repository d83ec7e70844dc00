"""The torch twin of a JAX function: its jaxpr as a module whose parameters have the paths of the tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import torch
from torch import nn

from fanin.errors import CaptureError, FaninError, ShapeError
from fanin.integrations.jax.given import assert_called, kind
from fanin.integrations.jax.joined import Joined, join, step, whole
from fanin.integrations.jax.patterns import needed, patterns
from fanin.integrations.jax.primitives import PRIMITIVES, torch_dtype
from fanin.integrations.jax.trees import is_array, leaf_name
from fanin.integrations.part import Part
from fanin.text.names import one_line

if TYPE_CHECKING:
    from fanin.checking.report import Report
    from fanin.planning.plan import Plan

__all__ = ["Twin", "check", "model", "plan"]


class Twin(nn.Module):
    """A JAX function as a torch module; `model` makes it.

    Attributes:
        example_input_array: the inputs that it was made for, as torch tensors.
    """

    def __init__(self, closed: Any, names: Sequence[str], leaves: Sequence[Any]) -> None:
        super().__init__()
        self._closed = closed
        self._names = tuple(names)
        self.example_input_array: Any = ()
        self._output: Any = None
        for name, leaf in zip(names, leaves, strict=True):
            path, _, own = name.rpartition(".")
            _module_at(self, path)._parameters[own] = nn.Parameter(_tensor(leaf), requires_grad=_trains(leaf))
            if not path and (folder := own.rpartition("/")[0]):
                self._modules.setdefault(folder, Part())

    def forward(self, *inputs: Any) -> Any:
        """What the JAX function gives for these inputs, as torch tensors in the same structure."""
        given = [_tensor(x) for x in jax.tree_util.tree_leaves(inputs)]
        _assert_shapes(given, self._closed.in_avals[len(self._names) :])
        parameters = [_module_at(self, n.rpartition(".")[0])._parameters[n.rpartition(".")[2]] for n in self._names]
        before = _OWNERS.set({id(p): (p, self._part(n)) for n, p in zip(self._names, parameters, strict=True)})
        try:
            made = [_as_tensor(whole(m)) for m in _run(self._closed.jaxpr, self._closed.consts, [*parameters, *given])]
        finally:
            _OWNERS.reset(before)
        return jax.tree_util.tree_unflatten(self._output, made)

    def _part(self, name: str) -> nn.Module | None:
        """The place of a parameter in the model; None for one of the model itself."""
        path = name.rpartition(".")[0]
        return _module_at(self, path) if path else self._modules.get(name.rpartition("/")[0])


# Of the running twin: the parameters and what is made of one by views alone, by id, each with its place in the model.
_OWNERS: ContextVar[dict[int, tuple[Any, nn.Module | None]]] = ContextVar("owners", default={})  # noqa: B039
_VIEWS = frozenset({"broadcast_in_dim", "convert_element_type", "expand_dims", "reshape", "squeeze", "transpose"})


def _owner(given: Sequence[Any]) -> nn.Module | None:
    """Where an equation that reads these values is: the place of the parameter among them."""
    owners = _OWNERS.get()
    found = (owners[id(g)][1] for g in given if id(g) in owners)
    return next((part for part in found if part is not None), None)


def model(fn: Callable[..., Any], params: Any, *inputs: Any) -> Twin:
    """A JAX function as a torch module, which `fanin.plan`, `fanin.check` and every other verb take.

    The function is traced once (``jax.make_jaxpr``); each equation is done by torch. Nothing is computed in JAX, so
    parameters may be ``jax.ShapeDtypeStruct``; the module's parameters are then on the meta device. Arrays are copied.

    Args:
        fn: called as ``fn(params, *inputs)``. Make it deterministic: dropout off, batch statistics closed over or among
            the inputs.
        params: any tree of arrays.
        inputs: trees of arrays or ``jax.ShapeDtypeStruct``; the module takes inputs of these shapes.

    Raises:
        ArgumentError: the function cannot be called so, or a model of a library is given in place of the function or
            of the parameters; the message says how to call it.
        CaptureError: the function fails on these inputs, or an equation is not followed; the message shows it.

    Example:
        >>> import jax.numpy as jnp
        >>> twin = model(lambda p, x: jnp.tanh(x @ p["w"]), {"w": jnp.ones((3, 2))}, jnp.ones((1, 3)))
        >>> [name for name, _ in twin.named_parameters()], tuple(twin(torch.ones(1, 3)).shape)
        (['w'], (1, 2))
    """
    assert_called(fn, params, inputs)
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    numeric = [n for n, (_, leaf) in enumerate(leaves) if is_array(leaf) and _is_number(leaf.dtype)]
    others = [leaf for _, leaf in leaves]

    def flat(arrays: Sequence[Any], *given: Any) -> Any:
        whole = list(others)
        for place, array in zip(numeric, arrays, strict=True):
            whole[place] = array
        return fn(jax.tree_util.tree_unflatten(structure, whole), *given)

    arrays = [leaves[n][1] for n in numeric]
    closed, shapes = _traced(flat, arrays, inputs)
    _assert_followed(closed.jaxpr)
    names = [leaf_name(leaves[n][0]) or "params" for n in numeric]
    twin = Twin(closed, names, arrays)
    twin._output = jax.tree_util.tree_structure(shapes)
    twin.example_input_array = tuple(jax.tree_util.tree_map(_tensor, inputs))
    return twin


def _traced(flat: Callable[..., Any], arrays: Sequence[Any], inputs: Sequence[Any]) -> Any:
    try:
        return jax.make_jaxpr(flat, return_shape=True)(arrays, *inputs)
    except FaninError:
        raise
    except Exception as error:
        given = ", ".join(f"{leaf_name(path)} {kind(x)}" for path, x in jax.tree_util.tree_leaves_with_path(inputs)[:4])
        raise CaptureError(
            f"the function raised {type(error).__name__} for the inputs {given or '()'}: {one_line(str(error))}"
        ) from error


def plan(fn: Callable[..., Any], params: Any, *inputs: Any, **options: Any) -> Plan:
    """Plan the parameters of a JAX function; `fanin.integrations.jax.apply_tree(plan, params)` gives the new ones.

    Args:
        fn: see `model`.
        params: see `model`.
        inputs: see `model`.
        options: those of `fanin.plan` (recipe, seed, overrides, ...).
    """
    from fanin.planning.build import plan as plan_twin

    twin = model(fn, params, *inputs)
    return plan_twin(twin, twin.example_input_array, **options)


def check(fn: Callable[..., Any], params: Any, *inputs: Any, **options: Any) -> Report:
    """Check a JAX function as `fanin.check` does a torch model.

    Args:
        fn: see `model`.
        params: see `model`; real arrays.
        inputs: see `model`; real arrays.
        options: those of `fanin.check`; targets may be JAX arrays, a loss is one of torch.
    """
    from fanin.checking.check import check as check_twin

    twin = model(fn, params, *inputs)
    if is_array(options.get("targets")):
        targets = _tensor(options["targets"])
        options["targets"] = targets if targets.is_floating_point() else targets.long()
    return check_twin(twin, twin.example_input_array, **options)


# ---------------------------------------------------------------------------------------------------- tensors
def _is_number(dtype: Any) -> bool:
    return isinstance(getattr(torch, str(dtype), None), torch.dtype)


def _trains(leaf: Any) -> bool:
    return torch_dtype(leaf.dtype).is_floating_point or torch_dtype(leaf.dtype).is_complex


def _assert_shapes(given: Sequence[torch.Tensor], wanted: Sequence[Any]) -> None:
    shapes, traced = [tuple(g.shape) for g in given], [tuple(w.shape) for w in wanted]
    if shapes != traced:
        raise ShapeError(
            f"the function was traced for inputs of shapes {traced} and got {shapes}. JAX fixes shapes when it traces: "
            "make another model for these."
        )


def _module_at(root: nn.Module, path: str) -> nn.Module:
    here = root
    for name in path.split(".") if path else ():
        if name not in here._modules:
            here.add_module(name, Part())
        here = here.get_submodule(name)
    return here


def _tensor(leaf: Any) -> torch.Tensor:
    """A torch tensor with the numbers of an array, in memory of its own; on meta for a shape alone."""
    if isinstance(leaf, torch.Tensor):
        return leaf
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return torch.empty(tuple(leaf.shape), dtype=torch_dtype(leaf.dtype), device="meta")
    array = np.asarray(leaf)
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(np.array(array, copy=True))


def _as_tensor(value: Any) -> torch.Tensor:
    value = whole(value)
    return value if isinstance(value, torch.Tensor) else _tensor(np.asarray(value))


# ---------------------------------------------------------------------------------------------------- running
def _run(jaxpr: Any, constants: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
    """Run a jaxpr: what follows from constants alone is computed by JAX, the rest by torch."""
    values: dict[Any, Any] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*constants, *inputs), strict=True))
    fixed = {v for v, value in values.items() if not isinstance(value, torch.Tensor | Joined)}
    found = patterns(jaxpr, fixed)

    def read(atom: Any) -> Any:
        return atom.val if hasattr(atom, "val") else values[atom]

    for eqn in needed(jaxpr, found):
        pattern = found.get(eqn.outvars[0])
        given = [read(v) for v in (eqn.invars if pattern is None else pattern.inputs)]
        if pattern is None and (apart := _apart(eqn, given)) is not None:
            values.update(zip(eqn.outvars, apart, strict=True))
            continue
        if _inner(eqn) is None or pattern is not None:
            given = [whole(g) for g in given]
        if pattern is not None:
            made = [_placed(_owner(given), pattern.run, *(_as_tensor(g) for g in given))]
        elif not any(isinstance(g, torch.Tensor | Joined) for g in given) and _folds(eqn):
            made = _folded(eqn, given)
        else:
            made = _one(eqn, given)
        values.update(zip(eqn.outvars, made, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _apart(eqn: Any, given: Sequence[Any]) -> list[Any] | None:
    """What an equation gives where it joins weights, or goes on with joined ones; None for all others."""
    owners = _OWNERS.get()
    joined = join(eqn, given, lambda g: id(g) in owners)
    if joined is not None:
        return [joined]
    if not any(isinstance(g, Joined) for g in given):
        return None
    return step(eqn, given, lambda name, p, *one: _done(name, p, one))


def _folds(eqn: Any) -> bool:
    return all(np.prod(v.aval.shape, dtype=np.int64) <= _LARGEST_FOLDED for v in eqn.outvars)


_LARGEST_FOLDED = 1 << 24


def _folded(eqn: Any, given: Sequence[Any]) -> list[Any]:
    made = eqn.primitive.bind(*given, **eqn.params) if not _inner(eqn) else None
    if made is None:
        return _one(eqn, given)
    return list(made) if eqn.primitive.multiple_results else [made]


def _placed(part: nn.Module | None, run: Callable[..., Any], *args: Any) -> Any:
    return run(*args) if part is None else part(run, *args)


def _one(eqn: Any, given: Sequence[Any]) -> list[Any]:
    name = eqn.primitive.name
    if name == "select_n" and (case := _known_case(given[0])) is not None:
        return [given[1 + case]]
    if name in _CONTROL:
        return _CONTROL[name](eqn.params, given)
    if (inner := _inner(eqn)) is not None:
        return _run(*inner, given)
    try:
        made = _done(name, eqn.params, given)
    except CaptureError as error:
        raise CaptureError(f"{error}: {_shown(eqn)}") from None
    made = list(made) if eqn.primitive.multiple_results else [made]
    return [_in_dtype(m, v.aval) for m, v in zip(made, eqn.outvars, strict=True)]


def _done(name: str, p: Mapping[str, Any], given: Sequence[Any]) -> Any:
    """A primitive on tensors and constants, in the place of the parameter that it reads."""
    part = _owner(given)
    made = _placed(part, PRIMITIVES[name], p, *(_operand(g, name) for g in given))
    if name in _VIEWS and part is not None:
        _OWNERS.get()[id(made)] = (made, part)
    return made


def _known_case(which: Any) -> int | None:
    """Which case a constant predicate takes everywhere; None where that differs or is computed."""
    if isinstance(which, torch.Tensor):
        return None
    cases = np.unique(np.asarray(which))
    return int(cases[0]) if len(cases) == 1 else None


def _in_dtype(made: torch.Tensor, aval: Any) -> torch.Tensor:
    dtype = torch_dtype(aval.dtype)
    return made if made.dtype == dtype else made.to(dtype)


_NUMBERS = frozenset({"add", "sub", "mul", "div", "pow", "max", "min", "gt", "lt", "ge", "le", "eq", "ne", "rem"})
_PLACES = frozenset({"dynamic_slice", "dynamic_update_slice"})


def _operand(value: Any, name: str) -> Any:
    """A constant as torch takes it: a number where one is written in the program, else a tensor."""
    if isinstance(value, torch.Tensor):
        return value
    if np.ndim(value) == 0 and name in _NUMBERS | _PLACES:
        return np.asarray(value).item()
    return _tensor(np.asarray(value))


def _inner(eqn: Any) -> tuple[Any, Sequence[Any]] | None:
    """The program inside an equation (jit, custom derivatives, remat) with its constants."""
    if eqn.primitive.name in _CONTROL:
        return None
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        found = eqn.params.get(key)
        if found is not None:
            return (found.jaxpr, found.consts) if hasattr(found, "consts") else (found, ())
    return None


def _scan(p: Mapping[str, Any], given: Sequence[Any]) -> list[Any]:
    held, carried = p["num_consts"], p["num_carry"]
    constants, carry, along = given[:held], list(given[held : held + carried]), given[held + carried :]
    order = range(p["length"])
    rows: list[list[Any]] = []
    for n in reversed(order) if p["reverse"] else order:
        made = [
            whole(m) for m in _run(p["jaxpr"].jaxpr, p["jaxpr"].consts, [*constants, *carry, *(x[n] for x in along)])
        ]
        carry = made[:carried]
        rows.append(made[carried:])
    if p["reverse"]:
        rows.reverse()
    if not rows:
        each = p["jaxpr"].out_avals[carried:]
        return [*carry, *(torch.zeros((0, *a.shape), dtype=torch_dtype(a.dtype)) for a in each)]
    stacked = [torch.stack([_as_tensor(r) for r in column]) for column in zip(*rows, strict=True)]
    return [*carry, *stacked]


def _while(p: Mapping[str, Any], given: Sequence[Any]) -> list[Any]:
    first, second = p["cond_nconsts"], p["body_nconsts"]
    asked, done, carry = given[:first], given[first : first + second], list(given[first + second :])
    while bool(_run(p["cond_jaxpr"].jaxpr, p["cond_jaxpr"].consts, [*asked, *carry])[0]):
        carry = _run(p["body_jaxpr"].jaxpr, p["body_jaxpr"].consts, [*done, *carry])
    return carry


def _cond(p: Mapping[str, Any], given: Sequence[Any]) -> list[Any]:
    which, *rest = given
    branches = p["branches"]
    if not isinstance(which, torch.Tensor):
        one = branches[min(max(int(which), 0), len(branches) - 1)]
        return _run(one.jaxpr, one.consts, rest)
    which = which.clamp(0, len(branches) - 1)
    made = [_run(b.jaxpr, b.consts, rest) for b in branches]
    chosen = [_as_tensor(m) for m in made[0]]
    for n, other in enumerate(made[1:], 1):
        pairs = zip(other, chosen, strict=True)
        chosen = [torch.where(which == n, _as_tensor(new), old) for new, old in pairs]
    return chosen


_CONTROL: Mapping[str, Callable[[Mapping[str, Any], Sequence[Any]], list[Any]]] = {
    "cond": _cond,
    "scan": _scan,
    "while": _while,
}


# ---------------------------------------------------------------------------------------------------- refusals
def _assert_followed(jaxpr: Any) -> None:
    """Check that every equation between the parameters or the inputs and the outputs can be done by torch."""
    fixed = set(jaxpr.constvars)
    for eqn in needed(jaxpr, {}):
        if (
            _inner(eqn) is None
            and eqn.primitive.name not in _CONTROL
            and all(hasattr(v, "val") or v in fixed for v in eqn.invars)
        ):
            fixed.update(eqn.outvars)
            continue
        for inside in _programs(eqn):
            _assert_followed(inside)
        if not _programs(eqn) and eqn.primitive.name not in PRIMITIVES:
            raise CaptureError(
                f"JAX's primitive {eqn.primitive.name!r} is not followed: {_shown(eqn)}. Write this step with other "
                "operations, or give laws by path with fanin.integrations.jax.init."
            )


def _programs(eqn: Any) -> list[Any]:
    return list(_inside(eqn.params.values()))


def _inside(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, (tuple, list)):
            yield from _inside(value)
        elif hasattr(value, "jaxpr"):
            yield value.jaxpr
        elif hasattr(value, "eqns"):
            yield value


def _shown(eqn: Any) -> str:
    text = " ".join(str(eqn).split())
    return text if len(text) <= 300 else text[:297] + "..."
