"""The role of every parameter: what it is, what feeds it, what follows it, what it writes into.

`fanin.graph.roles.label.roles` makes these from a graph. Nothing is guessed from names: a weight is
what a contraction sums over, its fans are those of the contraction, an activation is what its values are. What
cannot be told is "unknown", with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from fanin.errors import UnknownNameError, did_you_mean
from fanin.graph.analysis.activations import FoundActivation
from fanin.layout import Layout
from fanin.model.roles import Gate, Part, Role, Seen

__all__ = ["Branch", "BranchEnd", "Loop", "ParameterRole", "Part", "Piece", "Product", "Roles", "Stream", "Use"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """The weight that a parameter is a factor of: a low-rank product, a tensor train.

    Attributes:
        factors: parameters that are multiplied.
        paths: products of one entry of each that are summed into an entry of the weight.
        fan_in: terms that the operation which uses the weight sums into one output.
    """

    factors: int
    paths: int
    fan_in: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One of several weights that a flat parameter holds one after the other.

    Attributes:
        start: its first entry.
        size: its number of entries.
        fan_in: terms that the operation which uses it sums into one output.
        use: which of the parameter's uses; None for what is only added to the signal, or never used.
        layout: what the axes of its view mean; None likewise.
    """

    start: int
    size: int
    fan_in: float = 1.0
    use: int | None = None
    layout: Layout | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """The place of a parameter in a recurrent cell that is written out step by step.

    Attributes:
        cell: number of the cell.
        steps: how many steps were seen.
        gates: the gates along its units (see `fanin.graph.analysis.loops`), one entry too where there is one gate;
            empty where they lie neither side by side nor in turn.
        columns: for a weight that reads input and state together: which of its input units are which ("input",
            "state"); empty where all are of one kind.
        sets_gates: for a bias: whether it is the one that says where the gates start.
        added: for a bias: gate letters and what the model adds to those gates itself (the 1 of ``sigmoid(f + 1)``).
    """

    cell: int
    steps: int
    gates: tuple[Part, ...] = ()
    columns: tuple[Part, ...] = ()
    sets_gates: bool = False
    added: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """The place of a map in a residual branch.

    Attributes:
        stream: number of the residual stream.
        index: which branch of that stream, from 0, in the order of the additions.
        num_branches: branches of that stream.
        position: maps before it on the longest path inside the branch.
        num_maps: maps on the longest path through the branch.
        writes: whether its output is what is added to the stream (up to bias, norm, dropout, layer scale).
        kind: "identity", or "projection" where the skip path has a map of its own.
        post_norm: whether the sum is normalized before it goes on (LN(x + f(x))).
        layer_scale: name of the parameter that scales the branch, empty if none.
    """

    stream: int
    index: int
    num_branches: int
    position: int
    num_maps: int
    writes: bool
    kind: Literal["identity", "projection"]
    post_norm: bool = False
    layer_scale: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One residual stream: its number, how many branches are added to it, the value it starts with, and its sums."""

    number: int
    num_branches: int
    start: int
    sums: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchEnd:
    """The parameters that a factor on one residual branch can be folded into.

    Attributes:
        stream: number of the residual stream.
        index: which branch of that stream, from 0.
        parameters: weights and biases of the last maps, and learned vectors that are added to them; all of them times
            f give the branch times f. Empty where that cannot be done.
        refused: why it cannot be done; empty where it can.
    """

    stream: int
    index: int
    parameters: tuple[str, ...] = ()
    refused: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One operation that applies a parameter to the signal.

    Attributes:
        op: index of the operation in the graph.
        op_name: its name.
        module: path of the module that runs it.
        tags: what its output does next: "act", "act+gate", "gate", "attn_q", "attn_k", "attn_v", "attn_bias",
            "datamul", "residual", "stream_in", "linear", "softmax", "router", "head", "embed", "loss"; in the order
            in which they follow.
        feeds: what the data operand comes from, one entry a summand or concatenated part ("norm", "act:gelu",
            "attn", "gate", "se_gate", "stream", "lin", "embed", "softmax", "rnn", "mix", "input", "param", "const").
        feed: the activation that feeds it, where one does.
        activation: the first activation downstream, if one is met.
        activations: all of them, where pieces of the output meet different ones.
        norm_after: name of the first norm between it and that event ("" if none).
        normed: whether nothing but norms reads its output: its size is lost there.
        depth: maps on the longest path from an input, this one included.
        chain: names of what shapes the parameter before the operation ("weight_norm", "spectral_norm",
            "standardize", "transpose", ...).
        padding: zero padding for each tap (convolutions).
        dilation: dilation for each tap.
        input_shape: shape of the data operand.
        output_shape: shape of the result.
        branch: its place in a residual branch, if it is in one.
    """

    op: int
    op_name: str
    module: str
    tags: tuple[str, ...] = ()
    feeds: tuple[str, ...] = ()
    feed: FoundActivation | None = None
    activation: FoundActivation | None = None
    activations: tuple[FoundActivation, ...] = ()
    norm_after: str = ""
    normed: bool = False
    depth: int = 0
    chain: tuple[str, ...] = ()
    padding: tuple[int, ...] | str = ()
    dilation: tuple[int, ...] = ()
    input_shape: tuple[int, ...] = ()
    output_shape: tuple[int, ...] = ()
    branch: Branch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterRole:
    """What one parameter is.

    Attributes:
        name: first qualified name.
        aliases: other qualified names (ties).
        role: what it is.
        shape: its shape.
        layout: what its axes mean.
        layout_known: False where the axes could not be followed to the contraction and torch's default order is
            assumed.
        fan_in: terms summed into one output; None for parameters without fans.
        fan_out: terms summed into the gradient of one input, of one part; None for parameters without fans.
        parts: maps stacked along the output axis, in order; empty where there is one.
        uses: every operation that applies it to the signal, in order. The first decides the role.
        iterated: longest chain of its uses that feed each other (recurrence, layer sharing); 1 for a plain weight, 0
            if unused.
        owner: for a bias, norm shift or gain: the weight (or norm scale) that it belongs to; "" if none.
        bias: for a weight: the name of its bias; "" if none.
        norm: for norm parameters: name of the norm; else "".
        loop: its place in a recurrent cell that is written out step by step; None elsewhere.
        product: for a factor of a weight whose own axes could not be followed: that weight; None elsewhere.
        pieces: for a flat parameter: the weights that it holds one after the other; empty elsewhere.
        reason: in words, how the role was found.
    """

    name: str
    aliases: tuple[str, ...] = ()
    role: Role
    shape: tuple[int, ...]
    layout: Layout
    layout_known: bool = True
    fan_in: float | None = None
    fan_out: float | None = None
    parts: tuple[Part, ...] = ()
    uses: tuple[Use, ...] = ()
    iterated: int = 0
    owner: str = ""
    bias: str = ""
    norm: str = ""
    loop: Loop | None = None
    product: Product | None = None
    pieces: tuple[Piece, ...] = ()
    reason: str = ""

    @property
    def seen(self) -> Seen:
        """What it is, for plans and checks."""
        return Seen(role=self.role, layout=self.layout, source="graph", output="head" in self.tags, gates=self._gates)

    @property
    def _gates(self) -> tuple[Gate, ...]:
        """The gates of the bias of a recurrent cell, which has one axis."""
        if self.role != "rnn_bias" or len(self.shape) != 1:
            return ()
        parts, added = (self.parts, {}) if self.loop is None else (self.loop.gates, dict(self.loop.added))
        return tuple(Gate.of(p, added.get(p.tag, 0.0)) for p in parts)

    @property
    def use(self) -> Use | None:
        """The first use; None for a parameter that the forward pass never uses."""
        return self.uses[0] if self.uses else None

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags of all uses, each once."""
        return tuple(dict.fromkeys(t for u in self.uses for t in u.tags))

    @property
    def feeds(self) -> tuple[str, ...]:
        """What feeds the first use that is fed by more than a constant (a loop starts from one)."""
        fed = [u.feeds for u in self.uses if u.feeds and set(u.feeds) != {"const"}]
        return fed[0] if fed else self.uses[0].feeds if self.uses else ()

    @property
    def reads_inputs(self) -> bool:
        """Whether it reads nothing but the inputs of the model."""
        return "input" in self.feeds and set(self.feeds) <= {"input", "const"}

    @property
    def activation(self) -> FoundActivation | None:
        """The first activation downstream of the first use."""
        return self.uses[0].activation if self.uses else None

    @property
    def branch(self) -> Branch | None:
        """Place of the first use in a residual branch."""
        return self.uses[0].branch if self.uses else None

    @property
    def writes_residual(self) -> bool:
        """Whether it writes into a residual stream."""
        return any(u.branch is not None and u.branch.writes for u in self.uses)

    @property
    def depth(self) -> int:
        """Depth of the first use; 0 if unused."""
        return self.uses[0].depth if self.uses else 0

    @property
    def is_tied(self) -> bool:
        """Whether it has several names, or is both table and head."""
        return bool(self.aliases) or ("embed" in self.tags and "head" in self.tags)


@dataclass(frozen=True)
class Roles(Mapping[str, ParameterRole]):
    """The roles of all parameters by first qualified name, in the order of the model; any alias finds them too.

    Attributes:
        parameters: the roles.
        streams: the residual streams.
        stack: for a plain stack (one chain of maps without norm, skip, gate, attention or recurrence): its weights
            in order, each with the activation that follows it; empty for every other model.
        notes: what was assumed.
        branch_ends: for each residual branch the parameters that a factor on it can be folded into.
    """

    parameters: Mapping[str, ParameterRole]
    streams: tuple[Stream, ...] = ()
    stack: tuple[tuple[str, FoundActivation | None], ...] = ()
    notes: tuple[str, ...] = field(default=())
    branch_ends: tuple[BranchEnd, ...] = ()

    @cached_property
    def _names(self) -> Mapping[str, str]:
        return {n: p.name for p in self.parameters.values() for n in (p.name, *p.aliases)}

    def __getitem__(self, name: str) -> ParameterRole:
        if name not in self._names:
            raise UnknownNameError(f"the model has no parameter {name!r}; {did_you_mean(name, self._names)}")
        return self.parameters[self._names[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)

    @property
    def is_plain_stack(self) -> bool:
        """Whether the model is one chain of maps and activations."""
        return bool(self.stack)
