"""What `auto` does differently for parameters that are no maps: norms that end a branch, positions, tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from fanin.graph.roles.data import ParameterRole
from fanin.initializers import Constant, Normal, Zeros
from fanin.model.operations import DROPOUT, VIEWS
from fanin.recipes.auto.distances import centres
from fanin.recipes.auto.evidence import TOKEN_STD
from fanin.recipes.auto.found import all_alike, in_steps
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.auto.tables import table_numbers, table_words
from fanin.recipes.auto.wording import Number, draft, reason
from fanin.recipes.engine import small
from fanin.recipes.engine.distances import are_centres
from fanin.recipes.engine.draft import Draft, Read, fixed
from fanin.recipes.engine.effective import functions, is_shaped
from fanin.recipes.engine.network import Network

__all__ = ["SMALL"]

_Rule = Callable[[Network, ParameterRole, AutoOptions], Draft]


def norm_scale(network: Network, role: ParameterRole, options: AutoOptions) -> Draft:
    """One; the depth factor where the norm ends a residual branch."""
    if role.name in network.end_norms and not small.is_chosen(network, role):
        return _end_norm(network, role, network.starts_from(role))
    evidence = "batch-norm" if role.norm == "batch_norm" else ""
    return small.norm_scale(network, role, options, evidence=evidence)


def _end_norm(network: Network, role: ParameterRole, offset: float) -> Draft:
    """A norm between the last map of a branch and the sum: only its scale can hold the depth factor."""
    use = network.end_norms[role.name]
    info = network.branch_of(use)
    branches = info.num_branches if info is not None else 1

    def numbers(read: Read) -> tuple[Number, ...]:
        size = read.stream_rms / math.sqrt(branches)
        return (
            Number("branches", branches),
            Number("stream", read.stream_rms, "predicted"),
            Number("scale", size),
            *((Number("value", size - offset),) if offset else ()),
        )

    return draft(
        "branch-end norm",
        numbers,
        lambda values: Constant(values["scale"] - offset),
        evidence="last-map",
        stream=use.branch.stream if use.branch is not None else None,
        branches=branches,
        offset=offset,
    )


def position(network: Network, role: ParameterRole, options: AutoOptions) -> Draft:
    """As large as the tokens or patches it is added to; zero where it is added to attention scores.

    Kept where no tokens meet each other (positions then are offsets, as biases are), where a function (a softmax) makes
    what is added, where the largest or least of the sums is taken (structuring
    elements of a dilation, max-plus maps), and where the module laid centres out: the same for all units, or in steps.
    """
    if is_shaped(role):
        return fixed(None, rule="designed", reason=reason("shaped table", function=functions(role)), action="keep")
    if _is_picked(network, role):
        return fixed(None, rule="designed", reason=reason("picked"), action="keep")
    each, live = _meets_each(network, role), network.live(role.name)
    if each or are_centres(network.graph, role):
        if in_steps(live) or (each and all_alike(live)):
            return fixed(None, rule="designed", reason=reason("laid out"), action="keep")
        return centres(network, role, options)
    if not network.has_tokens and network.live(role.name) is not None:
        return fixed(None, rule="designed", reason=reason("offsets"), action="keep")
    if not _is_position(network, role):
        return fixed(Zeros(), rule="attention bias", reason=reason("attention bias"))
    if network.starts_stream(role):
        return _query()
    table = network.beside(role)
    if table is None:
        return draft("position", _as_large, evidence="position")
    return draft(
        "position",
        lambda read: table_numbers(table, options, read),
        reasons=("position beside",),
        evidence="position",
        like=table.name,
        table=table.name,
        **table_words(table, options),
    )


def _meets_each(network: Network, role: ParameterRole) -> bool:
    """Whether it is taken from a signal that is repeated along an axis of it: each unit has a centre of its own."""
    op = network.graph.ops[role.use.op] if role.use is not None else None
    read = None if op is None or op.name not in _DIFFERENCES else network.data_operand(op)
    if op is None or read is None:
        return False
    before, after = (network.graph.values[v].shape[1:] for v in (read, op.output))
    return len(before) == len(after) and any(a == 1 < b for a, b in zip(before, after, strict=True))


_DIFFERENCES = frozenset({"sub", "rsub"})
_BOUNDS = frozenset({"maximum", "minimum"})
_EXTREMES = frozenset({"amax", "amin", "max", "min", "logsumexp", "topk", "sort", "kthvalue", "median"})
_STEPS = 8  # between a sum and where the largest is taken


def _is_picked(network: Network, role: ParameterRole) -> bool:
    """Whether only the largest or the least of the sums of it and the signal goes on, or of it and the signal.

    It then decides which entry of the signal is read; drawn as large as that, it would decide alone.
    """
    graph, values = network.graph, list[int]()
    for use in role.uses:
        if use.op_name not in _BOUNDS:
            values.append(graph.ops[use.op].output)
    for _ in range(_STEPS):
        after = [op for v in values for op in graph.consumers(v) if op.name not in _EXTREMES]
        if not after:
            return bool(role.uses) and all(graph.consumers(v) for v in values)
        if any(op.name not in _KEEPS_ORDER or len(set(op.inputs) - network.graph.data.keys()) != 1 for op in after):
            return False
        values = [v for op in after for v in op.outputs]
    return False


_KEEPS_ORDER = VIEWS | DROPOUT | {"neg", "mul", "div", "relu"}


def _is_position(network: Network, role: ParameterRole) -> bool:
    """Whether it is added to what a stream starts from and not inside a branch; a table by what its rows do next."""
    if role.branch is not None:
        return False
    if role.tags or not role.uses:
        return not role.uses or bool({"stream_in", "linear", "head", "act"} & set(role.tags))
    return network.joins_stream(role)


def _as_large(read: Read) -> tuple[Number, ...]:
    return Number("second", read.second_moment), Number("std", math.sqrt(read.second_moment), "position")


def token(network: Network, role: ParameterRole, options: AutoOptions) -> Draft:
    """A learned token: small beside its position; of rms 1 where a stream starts from it (queries, latents)."""
    if network.starts_stream(role):
        return _query()
    made_alone = role.uses and all(network.graph.ops[u.op].output in network.weight_only for u in role.uses)
    if made_alone and not _meets_map(network, role) and network.live(role.name) is not None:
        return fixed(None, rule="designed", reason=reason("no map"), action="keep")
    if made_alone:
        return fixed(Normal(std=1.0), rule="code", reason=reason("code"))
    return fixed(Normal(std=TOKEN_STD), rule="token", reason=reason("token", std=TOKEN_STD))


def _meets_map(network: Network, role: ParameterRole) -> bool:
    """Whether a map reads what the model makes of a parameter, and reads no signal elsewhere.

    The maps of a recurrence read a first state in the first step, and signals in all others.
    """
    todo, seen = [u.op for u in role.uses], set[int]()
    while todo:
        index = todo.pop()
        op = network.graph.ops[index]
        if index in seen or op.output not in network.weight_only:
            continue
        seen.add(index)
        name = network.weight_of_op.get(index)
        if name is not None and _reads_no_signal(network, name):
            return True
        todo += [reader.index for v in op.outputs for reader in network.graph.consumers(v)]
    return False


def _reads_no_signal(network: Network, name: str) -> bool:
    uses = network.roles.parameters[name].uses
    return all(network.data_operand(network.graph.ops[u.op]) in (None, *network.weight_only) for u in uses)


def _query() -> Draft:
    return fixed(Normal(std=1.0), rule="query", reason=reason("query"), evidence="embedding-untied")


SMALL: Mapping[str, _Rule] = {**small.SMALL, "norm_scale": norm_scale, "position": position, "token": token}
