"""Run recorded operations again, on any tensors of the right shapes."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, MutableMapping
from typing import Any

from fanin.graph.ir import Graph, Op, map_template
from fanin.model.trees import tensors_in

__all__ = ["before", "replayed", "run", "run_all"]

_MOST_OPS = 64  # between what is known and a value; what is longer is not asked


def run(op: Op, tensor_of: Callable[[int], Any]) -> tuple[Any, ...]:
    """Outputs of one operation on the tensors that `tensor_of` gives for its value indices.

    The given tensors are never changed: an operation that writes in place, or that may write into its operands
    besides (`batch_norm` into its running statistics), works on copies.
    """
    fetch = tensor_of
    if op.inplace:
        first = op.inputs[0]
        copy = tensor_of(first).clone()

        def fetch(index: int) -> Any:
            return copy if index == first else tensor_of(index)
    elif _may_write(op):

        def fetch(index: int) -> Any:
            return tensor_of(index).clone()

    args = map_template(op.args, lambda r: fetch(r.index))
    kwargs = map_template(dict(op.kwargs), lambda r: fetch(r.index))
    result = op.func(*args, **kwargs)
    return (args[0],) if op.inplace else tuple(tensors_in(result))


# Neither their schemas nor version counters tell that these write: running statistics, rows scaled to `max_norm`,
# what observers have seen.
_WRITERS = frozenset(
    {
        *("batch_norm", "native_batch_norm", "sync_batch_norm", "instance_norm", "embedding", "embedding_bag"),
        *("fused_moving_avg_obs_fake_quant", "rrelu", "cudnn_batch_norm", "miopen_batch_norm"),
    }
)


def _may_write(op: Op) -> bool:
    """Whether an operation may write into its operands; of one that is not torch's own nobody knows."""
    module = getattr(op.func, "__module__", None) or "torch"
    name = getattr(op.func, "_qualified_op_name", "aten::")  # of an operation in torch.ops
    return op.name in _WRITERS or "out" in op.kwargs or not (module.startswith("torch") and name.startswith("aten::"))


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


def before(graph: Graph, value: int, known: Container[int]) -> tuple[Op, ...]:
    """The operations that a value is made by, in order, as far back as values that are known.

    Raises:
        LookupError: there are too many.
    """
    found, todo = set[int](), [value]
    while todo:
        one = todo.pop()
        op = None if one in known else graph.producer(one)
        if op is not None and op.index not in found:
            found.add(op.index)
            todo += op.inputs
        if len(found) > _MOST_OPS:
            raise LookupError("too many operations")
    return tuple(graph.ops[index] for index in sorted(found))


def _unknown(value: int) -> Any:
    raise LookupError(f"value {value} is not known")


def replayed(graph: Graph, starts: Mapping[int, Any], end: int, other: Callable[[int], Any] = _unknown) -> Any:
    """A value that is made of these tensors and of constants; `other` gives the tensors of any other leaf.

    Raises:
        LookupError: a tensor on the way is not known, or there are too many operations.
    """
    known: dict[int, Any] = {v: x for v, x in graph.data.items() if graph.value(v).kind != "input"} | {**starts}
    for op in before(graph, end, known):
        known.update(zip(op.outputs, run(op, lambda v: known[v] if v in known else other(v)), strict=False))
    return known[end]
