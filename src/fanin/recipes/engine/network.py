"""The network as recipes see it: the captured graph, the roles, and the questions that recipes ask of both."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fanin.graph.ir import Graph, Op
from fanin.graph.roles.data import Branch, ParameterRole, Roles, Use
from fanin.graph.roles.label import roles
from fanin.layout import fans
from fanin.memory import as_array
from fanin.model.operations import CONTRACTIONS, LEFT_PRODUCTS, OF_A_SHAPE, SHAPED_BY, VIEWS
from fanin.recipes.base import Live
from fanin.recipes.engine.activation_facts import is_exponential
from fanin.recipes.engine.expansions import Expansion, expansions
from fanin.recipes.engine.modulation import Modulator, in_stretches, modulators
from fanin.recipes.engine.products import open_factors, with_open_biases
from fanin.tensors.shards import whole_here
from fanin.tensors.values import readable

if TYPE_CHECKING:
    import torch

    from fanin.recipes.engine.distances import Distances

__all__ = ["BranchInfo", "Network", "network_of", "tap_share"]

_MAPS = ("weight", "rnn_ih", "rnn_hh")
_PRODUCTS = LEFT_PRODUCTS | {"mul", "einsum"}  # by nothing but their operands: zero where one of them is zero


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchInfo:
    """One residual branch.

    Attributes:
        members: names of the weights in it.
        normed: the branch holds a norm, before its first map or between its maps.
        mixes: it holds attention or a gate, so its maps do not act one after the other alone.
        num_maps: maps on its longest path.
        num_branches: branches of the stream it joins.
        post_norm: the stream is normalized after every addition.
    """

    members: tuple[str, ...]
    normed: bool
    mixes: bool
    num_maps: int
    num_branches: int
    post_norm: bool


@dataclass(frozen=True, kw_only=True)
class Network:
    """A captured model with the role of every parameter.

    Attributes:
        graph: the forward pass.
        roles: by first qualified name.
        tensors: the live parameters, effective tensors for parametrized ones.
        kept: parameters that stay as they are whatever the recipe says (frozen, loaded).
        given: whether the inputs of the forward pass were given; False where they were made.
        behind: of parametrized tensors, the parameters that they are computed from.
    """

    graph: Graph
    roles: Roles
    tensors: Mapping[str, torch.Tensor]
    kept: frozenset[str] = frozenset()
    given: bool = True
    behind: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @cached_property
    def weight_of_op(self) -> Mapping[int, str]:
        """Operation -> the first weight or table that it applies."""
        found: dict[int, str] = {}
        for name, role in self.roles.parameters.items():
            for use in role.uses if role.role in ("weight", "embedding") else ():
                found.setdefault(use.op, name)
        return found

    @cached_property
    def exponents(self) -> Mapping[str, int]:
        """Maps that end in an exponential which multiplies a signal -> the operation that applies each first."""
        return {n: r.uses[0].op for n, r in self.roles.parameters.items() if _ends_in_exp(r)}

    # ------------------------------------------------------------------ residual streams
    @cached_property
    def branches(self) -> Mapping[tuple[int, int], BranchInfo]:
        """By (stream, index of the branch)."""
        members: dict[tuple[int, int], list[tuple[str, Use, Branch]]] = {}
        for name, role in self.roles.parameters.items():
            for use in role.uses if role.role == "weight" else ():
                if use.branch is not None:
                    members.setdefault((use.branch.stream, use.branch.index), []).append((name, use, use.branch))
        post = {
            s for (s, i), m in members.items() if i == 0 and any(b.post_norm and b.num_branches > 1 for _, _, b in m)
        }
        return {key: _branch_info(found, key[0] in post) for key, found in members.items()}

    @cached_property
    def end_norms(self) -> Mapping[str, Use]:
        """Scale of a norm that ends a residual branch -> the use of the map before it (batch norms left out)."""
        scales = sorted(
            (r.uses[0].op, r.name) for r in self.roles.parameters.values() if r.role == "norm_scale" and r.uses
        )
        found = {}
        for role in self.roles.parameters.values():
            for use in role.uses if role.role == "weight" else ():
                if use.branch is None or not use.branch.writes or use.norm_after in ("", "batch_norm"):
                    continue
                after = next((name for op, name in scales if op > use.op), None)
                if after is not None:
                    found[after] = use
        return found

    @cached_property
    def modulators(self) -> Mapping[str, Modulator]:
        """Weights and tables whose outputs are scales and shifts of a signal, by name."""
        return modulators(self.graph, self.roles.parameters)

    @cached_property
    def open_factors(self) -> Mapping[str, tuple[int, ...]]:
        """Weights that make one factor of a product of two functions of one input, and that can start at one.

        With each, which of the maps side by side in it make such a factor; () where it is one map.
        """
        return open_factors(self.graph, self.roles.parameters)

    @cached_property
    def expansions(self) -> Mapping[str, Expansion]:
        """Weights that combine several functions of each number that they read, by name."""
        return expansions(self.graph, self.roles.parameters)

    @cached_property
    def distances(self) -> tuple[Distances, ...]:
        """Distances of a signal from learned points that are outputs, or that bumps are made of."""
        from fanin.recipes.engine.distances import distances_of  # which asks the network in turn

        return distances_of(self)

    def branch_of(self, use: Use | None) -> BranchInfo | None:
        """The branch that a use of a weight is in."""
        if use is None or use.branch is None:
            return None
        return self.branches.get((use.branch.stream, use.branch.index))

    @cached_property
    def width(self) -> int:
        """Width of the model: features of its residual streams, or the most common fan_in where there are none.

        What reads the inputs has as many of them at every width, so it is not counted where anything else is.
        """
        starts = [self.graph.value(s.start) for s in self.roles.streams if s.num_branches > 1]
        sizes = [v.shape[1] if len(v.shape) == 4 else v.shape[-1] for v in starts if len(v.shape) > 1]
        maps = [r for r in self.roles.parameters.values() if r.role == "weight" and r.fan_in]
        fans = [int(r.fan_in or 1) for r in [r for r in maps if not r.reads_inputs] or maps]
        return max(sizes) if sizes else statistics.mode(fans) if fans else 1

    @cached_property
    def head_dim(self) -> int | None:
        """Width of one attention head, where attention is one fused call."""
        for op in self.graph.live_ops():
            if op.name == "scaled_dot_product_attention" and (query := op.ref(0, "query")) is not None:
                return self.graph.value(query).shape[-1]
        return None

    def starts_stream(self, role: ParameterRole) -> bool:
        """Whether a residual stream starts from this parameter and nothing else: learned queries, latents."""
        starts = {s.start for s in self.roles.streams}
        own = {self.graph.parameters[role.name].value}
        for op in self.graph.live_ops():
            if any(i in own for i in op.inputs) and all(
                i in own or not self.graph.values[i].is_float for i in op.inputs
            ):
                own.update(op.outputs)
        return bool(starts & own)

    def joins_stream(self, role: ParameterRole) -> bool:
        """Whether a parameter is added where a residual stream starts, with no map in between (or there is none)."""
        starts = {s.start for s in self.roles.streams}
        todo, seen = [u.op for u in role.uses], set[int]()
        maps = {u.op for r in self.roles.parameters.values() if r.role in _MAPS for u in r.uses}
        while todo:
            op = self.graph.ops[todo.pop()]
            if op.index in seen or op.index in maps:
                continue
            seen.add(op.index)
            todo += [after.index for out in op.outputs for after in self.graph.consumers(out)]
        made = {out for index in seen for out in self.graph.ops[index].outputs}
        return not starts or bool(starts & made)

    @cached_property
    def has_tokens(self) -> bool:
        """Whether tokens meet each other: in attention, or on a residual stream."""
        attention = {"attn_q", "attn_k", "attn_v"}
        return bool(self.roles.streams) or any(attention & set(r.tags) for r in self.roles.parameters.values())

    def is_decoder(self, stream: int) -> bool:
        """Whether a residual stream reads another one: its branches attend across."""
        if len(self.roles.streams) < 2:
            return False
        counts = [s.num_branches for s in self.roles.streams if s.number == stream]
        keys = {i for (s, i), info in self.branches.items() if s == stream and info.mixes}
        return bool(counts) and len(keys) * 3 >= 2 * counts[0] and stream != self.roles.streams[0].number

    # ------------------------------------------------------------------ values
    @cached_property
    def weight_only(self) -> frozenset[int]:
        """Values that are made of parameters (and constants) alone."""
        found = {v.index for v in self.graph.values if v.kind == "parameter"}
        data = {v.index for v in self.graph.values if v.kind == "input"}
        for op in self.graph.ops:
            if any(i in data for i in op.inputs):
                data.update(op.outputs)
            elif any(i in found for i in op.inputs):
                found.update(op.outputs)
        return frozenset(found - data)

    @cached_property
    def varying(self) -> frozenset[int]:
        """Values that differ from sample to sample with the parameters' numbers: none behind a map of zeros alone."""
        found = {v.index for v in self.graph.values if v.kind == "input"}
        zeros = {p.value for name, p in self.graph.parameters.items() if self.is_zero(name)}
        for op in self.graph.ops:
            reads = op.inputs[:1] if op.name in SHAPED_BY else () if op.name in OF_A_SHAPE else op.inputs
            weight = self.weight_of_op.get(op.index)
            by_zero = weight is not None and op.name in CONTRACTIONS and self.is_zero(weight)
            if by_zero or (op.name in _PRODUCTS and zeros.intersection(reads)):
                continue
            if found.intersection(reads):
                found.update(op.outputs)
            elif op.name in VIEWS and reads and zeros.issuperset(reads):
                zeros.update(op.outputs)
        return frozenset(found)

    def is_zero(self, name: str) -> bool:
        """Whether a parameter holds zeros alone; False where its numbers cannot be read."""
        live = self.live(name)
        return live is not None and not live.any()

    def is_one_number(self, name: str) -> bool:
        """Whether several entries of a parameter are one number; False where its numbers cannot be read."""
        live = self.live(name)
        return live is not None and live.size > 1 and bool((live == live.flat[0]).all())

    def data_operand(self, op: Op) -> int | None:
        """Value index of what an op applies its weight to; None for a lookup or an op on weights alone."""
        for i in op.inputs:
            if i not in self.weight_only and self.graph.values[i].is_float:
                return i
        return None

    def read_operand(self, op: Op, role: ParameterRole) -> int | None:
        """Value index of what an op applies a parameter to; inside a generator of weights it is made of parameters."""
        data = self.data_operand(op)
        if data is not None:
            return data
        own = {self.graph.parameters[n].value for n in (role.name, role.bias) if n in self.graph.parameters}
        others = (i for i in op.inputs if self.graph.values[i].is_float and not own & self.leaves_of(i))
        return next(others, None)

    def leaves_of(self, value: int) -> set[int]:
        """The values without a producer that a value is made of."""
        found, todo, seen = set[int](), [value], set[int]()
        while todo:
            one = todo.pop()
            producer = self.graph.producer(one)
            if producer is None:
                found.add(one)
            elif producer.index not in seen:
                seen.add(producer.index)
                todo += producer.inputs
        return found

    # ------------------------------------------------------------------ single parameters
    def starts_from(self, role: ParameterRole) -> float:
        """Constant that is added to a norm's scale before it multiplies (1 in Gemma's ``x * (1 + w)``), usually 0."""
        todo = [self.graph.parameters[role.name].value]
        for _ in range(4):
            following: list[int] = []
            for value in todo:
                for op in self.graph.consumers(value):
                    numbers = [a for a in op.args if isinstance(a, (int, float)) and not isinstance(a, bool)]
                    if op.name == "add" and numbers and op.output in self.weight_only:
                        return float(numbers[0])
                    if len(set(op.inputs)) == 1 and op.output in self.weight_only:
                        following += op.outputs
            todo = following
        return 0.0

    def adds_to_state(self, role: ParameterRole) -> bool:
        """Whether another bias of a recurrent cell says where its gates start."""
        if role.loop is not None:
            return not role.loop.sets_gates
        owner = self.roles.parameters.get(role.owner)
        return owner is not None and owner.role == "rnn_hh"

    def beside(self, role: ParameterRole) -> ParameterRole | None:
        """The table of tokens that a table of positions is added to: the embedding with the longest common path."""
        tables = [r for r in self.roles.parameters.values() if r.role == "embedding"]
        maps = [r for r in self.roles.parameters.values() if r.role == "weight" and "input" in r.feeds]
        near = max((*tables, *maps), key=lambda r: _common_path(r.name, role.name), default=None)
        return near if near is not None and near.role == "embedding" else None

    def live(self, name: str) -> Any | None:
        """The numbers of a parameter as a NumPy array; None where they are on the meta device, spread, or complex."""
        return _numbers(self.tensors.get(name))

    def own(self, name: str) -> Any | None:
        """Likewise the parameter's own numbers, where `live` gives the parametrized tensor that is made of them."""
        return _numbers(self.behind.get(name, self.tensors.get(name)))


def _numbers(tensor: torch.Tensor | None) -> Any | None:
    tensor = whole_here(tensor)
    if tensor is None or tensor.device.type == "meta" or tensor.numel() == 0 or not readable(tensor):
        return None
    return None if tensor.is_complex() else as_array(tensor.detach().float().cpu())


def network_of(live: Live) -> Network:
    """The captured model with the role of every parameter."""
    found = roles(live.graph)
    found = replace(found, parameters={name: _as_owned(live, role) for name, role in found.parameters.items()})
    found = replace(found, parameters=in_stretches(live.graph, found.parameters))
    found = replace(found, parameters=with_open_biases(live.graph, found.parameters))
    slots = live.reading.slots.items()
    return Network(
        graph=live.graph,
        roles=found,
        tensors=live.tensors,
        kept=frozenset(live.kept),
        given=live.inputs is not None,
        behind={n: s.tensor for n, s in slots if s.behind is not None and s.holds_values and s.part is None},
    )


def _as_owned(live: Live, role: ParameterRole) -> ParameterRole:
    """The role, of a parametrized weight of a recurrent module as the module tells it.

    The fused operation takes what is computed from the parameter, so its place there does not tell the axes.
    """
    slot, owned = live.reading.slots[role.name], live.reading.owners[role.name]
    if not slot.through or not slot.holds_values or owned.role not in ("rnn_ih", "rnn_hh") or owned.layout is None:
        return role
    counted = fans(live.reading.shape(role.name), owned.layout)
    return replace(role, role=owned.role, layout=owned.layout, fan_in=counted.fan_in, fan_out=counted.fan_out)


def _branch_info(found: list[tuple[str, Use, Branch]], post_norm: bool) -> BranchInfo:
    uses = [use for _, use, _ in found]
    tags = {t for use in uses for t in use.tags}
    return BranchInfo(
        members=tuple(dict.fromkeys(name for name, _, _ in found)),
        normed=any("norm" in use.feeds for use in uses)
        or any(use.norm_after for use in uses if "residual" not in use.tags),
        mixes=bool(tags & {"attn_q", "attn_k", "attn_v", "gate", "act+gate", "datamul"}),
        num_maps=max(branch.num_maps for _, _, branch in found),
        num_branches=max(branch.num_branches for _, _, branch in found),
        post_norm=post_norm,
    )


def _common_path(one: str, two: str) -> int:
    shared = 0
    for a, b in zip(one.split(".")[:-1], two.split(".")[:-1], strict=False):
        if a != b:
            break
        shared += 1
    return shared


def tap_share(use: Use, taps: tuple[int, ...], stride: tuple[int, ...]) -> float:
    """Mean share of a kernel's taps that fall on data and not on zero padding; 1 where nothing is padded.

    Per dimension: over the outputs o = 0 .. n_out - 1 and taps t, whether 0 <= o * stride - padding + t * dilation <
    n_in.

    Args:
        use: the use of a convolution's weight, with padding, dilation and the shapes of its input and output.
        taps: kernel size of each dimension.
        stride: of each dimension.

    Example:
        >>> sizes = {"input_shape": (1, 8, 7, 7), "output_shape": (1, 8, 7, 7)}
        >>> use = Use(op=0, op_name="conv2d", module="", padding=(1, 1), **sizes)
        >>> round(tap_share(use, (3, 3), (1, 1)), 4) == round((19 / 21) ** 2, 4)
        True
    """
    if isinstance(use.padding, str):
        padding = tuple((k - 1) // 2 for k in taps) if use.padding == "same" else (0,) * len(taps)
    else:
        padding = tuple(use.padding) or (0,) * len(taps)
    dilation = tuple(use.dilation) or (1,) * len(taps)
    sizes = zip(use.input_shape[-len(taps) :], use.output_shape[-len(taps) :], strict=False)
    shares = []
    for (n_in, n_out), k, s, p, d in zip(sizes, taps, stride, padding, dilation, strict=False):
        inside = sum(0 <= o * s - p + t * d < n_in for o in range(n_out) for t in range(k))
        shares.append(inside / max(n_out * k, 1))
    return math.prod(shares) if shares else 1.0


def _ends_in_exp(role: ParameterRole) -> bool:
    use = role.use
    if use is None or role.role != "weight" or "act+gate" not in use.tags:
        return False
    return any(is_exponential(a) for a in (*use.activations, *((use.activation,) if use.activation else ())))
