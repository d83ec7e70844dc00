"""Run recorded operations again, on any tensors of the right shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from fanin.graph.ir import Graph, Op, map_template
from fanin.model.trees import tensors_in

__all__ = ["run", "run_all"]


def run(op: Op, tensor_of: Callable[[int], Any]) -> tuple[Any, ...]:
    """Outputs of one operation on the tensors that `tensor_of` gives for its value indices.

    An operation that writes in place works on a copy, so the given tensors are never changed.
    """
    fetch = tensor_of
    if op.inplace:
        first = op.inputs[0]
        copy = tensor_of(first).clone()

        def fetch(index: int) -> Any:
            return copy if index == first else tensor_of(index)

    args = map_template(op.args, lambda r: fetch(r.index))
    kwargs = map_template(dict(op.kwargs), lambda r: fetch(r.index))
    result = op.func(*args, **kwargs)
    return (args[0],) if op.inplace else tuple(tensors_in(result))


def run_all(graph: Graph, leaves: Mapping[int, Any], *, keep: MutableMapping[int, Any] | None = None) -> dict[str, Any]:
    """Run the whole graph and return its outputs by path.

    Args:
        graph: the captured forward pass.
        leaves: tensors by value index; what is missing is taken from ``graph.data``.
        keep: receives every value, by index, if given.
    """
    env: MutableMapping[int, Any] = {} if keep is None else keep
    env.update(graph.data)
    env.update(leaves)
    for op in graph.ops:
        env.update(zip(op.outputs, run(op, env.__getitem__), strict=False))
    return {o.path: env[o.value] for o in graph.outputs}
