"""Names for what happens to a parameter before it is used: reparametrizations recognised by their operations."""

from __future__ import annotations

from collections.abc import Sequence

from fanin.graph.analysis.analysis import Analysis
from fanin.graph.analysis.norms import is_weight_norm
from fanin.graph.ir import Op
from fanin.model.operations import ELEMENTWISE, JOINS, MATRIX_PRODUCTS, SOFTMAX, TURNS

__all__ = ["chain_names"]

_PICKS = frozenset(
    {"select", "getitem", "unbind", "chunk", "split", "narrow", "index_select", "gather", "vmap_slice", "tensor_split"}
)
_ORTHOGONAL = frozenset(
    {"linalg_householder_product", "linalg_matrix_exp", "matrix_exp", "linalg_solve", "householder_product", "orgqr"}
)
# Along an axis, other than sums and means: not linear in the entries.
_BENT_SUMS = frozenset(
    {"logsumexp", "amax", "amin", "max", "min", "aminmax", "norm", "linalg_vector_norm", "prod", "std", "var"}
)


def chain_names(analysis: Analysis, ops: Sequence[int]) -> tuple[str, ...]:
    """What a parameter goes through, each kind once, in order."""
    graph = analysis.graph
    named = [_name(analysis, graph.ops[i]) for i in ops]
    return tuple(dict.fromkeys(n for n in named if n))


def _name(analysis: Analysis, op: Op) -> str:
    if op.name == "_weight_norm":
        return "weight_norm"
    if op.name in _ORTHOGONAL:
        return "orthogonal"
    if _is_power_iteration(analysis, op):
        return "spectral_norm"
    if is_weight_norm(analysis.graph, op, analysis.dependence):
        return "standardize"
    for names, name in ((TURNS, "transpose"), (_PICKS, "select"), (JOINS, "join")):
        if op.name in names:
            return name
    if op.name in MATRIX_PRODUCTS:
        return "product"
    if op.name in SOFTMAX | _BENT_SUMS:
        return op.name
    if op.name in ELEMENTWISE:
        return _elementwise_name(analysis, op)
    return ""


def _elementwise_name(analysis: Analysis, op: Op) -> str:
    partners = [i for i in op.inputs if analysis.dependence.is_weight(i)]
    if op.name in ("mul", "div", "rdiv") and len(partners) < 2:
        return "factor"
    return op.name


def _is_power_iteration(analysis: Analysis, op: Op) -> bool:
    """W / sigma with sigma = u . (W v)."""
    if op.name != "div" or len(op.inputs) != 2:
        return False
    sigma = analysis.graph.producer(op.inputs[1])
    return (
        sigma is not None
        and sigma.name in ("vdot", "dot", "inner", "matmul", "sum", "mv")
        and analysis.graph.values[op.inputs[1]].numel == 1
    )
