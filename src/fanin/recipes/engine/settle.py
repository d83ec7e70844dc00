"""From drafts to laws: one sweep over the graph settles each weight when it is known what the weight reads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from fanin.graph.ir import Graph, Op, Parameter
from fanin.graph.roles.data import ParameterRole
from fanin.initializers import PerPart
from fanin.model.operations import RECURRENT
from fanin.moments.moments import MOST_SE, JointMoments
from fanin.moments.propagate import MomentMap, propagate
from fanin.moments.weights import WeightMoments
from fanin.recipes.base import Choice
from fanin.recipes.engine.draft import Draft, Made, Read
from fanin.recipes.engine.network import Network
from fanin.recipes.engine.origin import origin, variance_words
from fanin.recipes.step import Step
from fanin.streams import key as stream_key

__all__ = ["Settled", "predicted_sizes", "settle"]

_SECOND = "E x²"
_UNIT = 2e-3
_MOST = 1 << 20  # entries that are drawn to predict what the unlike parts of a parameter give


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """Choices for every draft, and what the sweep predicts under them.

    Attributes:
        choices: by first qualified name.
        moments: of every tensor of the graph.
    """

    choices: Mapping[str, Choice]
    moments: MomentMap


@dataclass(slots=True)
class _Sweep:
    """One pass: laws are made in the order in which the forward pass needs them."""

    network: Network
    drafts: Mapping[str, Draft]
    reads: Mapping[str, Read]  # from an earlier pass: tied and reused weights see all that they read
    streams: Mapping[int, float]
    made: dict[str, Made] = field(default_factory=dict)
    read: dict[str, Read] = field(default_factory=dict)
    met: dict[str, int] = field(default_factory=dict)  # the operation that asked for a parameter first

    def __call__(self, parameter: Parameter, op: Op, moments: Any) -> WeightMoments:
        name = parameter.name
        self.met.setdefault(name, op.index)
        if name not in self.made:
            self._make(name, op, moments)
        return self._moments(name, parameter)

    def _make(self, name: str, op: Op, moments: Any) -> None:
        draft = self.drafts[name]
        read = self.reads.get(draft.like or name)
        if read is None:
            read = Read() if draft.like else self._seen(name, op, moments)
        role = self.network.roles.parameters[name]
        self.read[name] = read = replace(read, fan_in=role.fan_in, fan_out=role.fan_out)
        self.made[name] = draft.make(read)

    def _seen(self, name: str, op: Op, moments: Any) -> Read:
        role = self.network.roles.parameters[name]
        rms = self._stream_rms(role, self.drafts[name].stream)
        if moments is None or not 0.0 < moments.second_moment < math.inf or _may_be_one(moments):
            return Read(stream_rms=rms)
        given = "the given input" if self.network.given else "a made input"
        how = given if role.feeds == ("input",) else "theory"
        return Read(
            second_moment=_snapped(moments.second_moment), mean=moments.mean, known=True, how=how, stream_rms=rms
        )

    def _stream_rms(self, role: ParameterRole, stream: int | None) -> float:
        number = stream if stream is not None else role.branch.stream if role.branch is not None else None
        return 1.0 if number is None else self.streams.get(number, 1.0)

    def _moments(self, name: str, parameter: Parameter) -> WeightMoments:
        made = self.made[name]
        if made.var is not None:
            return WeightMoments(var=made.var, mean=made.mean or 0.0)
        if made.law is None:
            own = self.network.own(name)  # the graph holds what the module computes of it
            return WeightMoments(mean=1.0) if own is None else WeightMoments.measured(own)
        role = self.network.roles.parameters[name]
        law = made.law.moments(parameter.shape, role.layout)
        parts = role.role == "bias" or isinstance(made.law, PerPart)
        apart = role.role == "rnn_bias" or (parts and role.parts) or role.pieces or made.drawn
        if apart and parameter.numel <= _MOST:  # its parts differ, so one mean and variance for all would be wrong
            values = made.law.sample(parameter.shape, key=stream_key(0, name), layout=role.layout)
            return WeightMoments(var=law.var, mean=law.mean, values=values)
        return WeightMoments(var=law.var, mean=law.mean)


def _may_be_one(moments: JointMoments) -> bool:
    """Whether theory does not know a size, and one of 1 is within two of its standard errors."""
    error = moments.log_rms_se
    return error > MOST_SE and abs(math.log(moments.rms)) < 2.0 * error


def _snapped(moment: float) -> float:
    """1 where a norm's eps is all that keeps it from being 1."""
    return 1.0 if abs(moment - 1.0) < _UNIT else moment


def settle(network: Network, drafts: Mapping[str, Draft]) -> Settled:
    """Make every draft a law.

    A second pass follows where a number is needed before it is known: for a table that is also the output layer, a
    weight that is used twice, the size of a residual stream.
    """
    sweep = _Sweep(network, drafts, {}, {})
    found = _propagated(network, sweep)
    reads, streams = _all_reads(network, found, sweep.met), _stream_sizes(network, found)
    if reads or any(size != 1.0 for size in streams.values()):
        sweep = _Sweep(network, drafts, reads, streams)
        found = _propagated(network, sweep)
    for name in drafts:
        if name not in sweep.made:
            sweep.made[name] = drafts[name].make(Read())
            sweep.read[name] = Read()
    return Settled(choices={n: _choice(network, n, drafts[n], sweep, found) for n in drafts}, moments=found)


def _propagated(network: Network, sweep: _Sweep) -> MomentMap:
    """One pass; ops that must be sampled draw from a state of their own, so two plans of a model are the same bytes."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return propagate(network.graph, sweep)


def _stream_sizes(network: Network, found: MomentMap) -> dict[int, float]:
    sizes = {}
    for stream in network.roles.streams:
        known = found.tensors.get(stream.start)
        if known is not None and known.moments is not None and 0.0 < known.moments.rms < math.inf:
            sizes[stream.number] = _snapped(known.moments.rms)
    return sizes


def _all_reads(network: Network, found: MomentMap, met: Mapping[str, int]) -> dict[str, Read]:
    """What weights with several uses read, averaged over the uses; a table that is also the head, at the head.

    Also what maps read that the sweep met first somewhere else: inside a generator of weights it meets them where the
    made weight is applied, and points at the sum of their squares.
    """
    streams = _stream_sizes(network, found)
    reads = {}
    for name, role in network.roles.parameters.items():
        if role.role not in ("weight", "embedding"):
            continue
        ops = [network.graph.ops[u.op] for u in role.uses if u.op_name != "embedding"]
        operands = [network.read_operand(op, role) for op in ops]
        elsewhere = met.get(name, ops[0].index) not in {op.index for op in ops} if ops else False
        at_use = not (elsewhere and network.weight_only.intersection(ops[0].inputs))
        if len(role.uses) < 2 and at_use and not network.weight_only.intersection(operands):
            continue
        known = [found.tensors[v].moments for v in operands if v is not None and v in found.tensors]
        seconds = [m.second_moment for m in known if m is not None and 0.0 < m.second_moment < math.inf]
        if seconds:
            rms = streams.get(role.branch.stream, 1.0) if role.branch else 1.0
            mean = float(np.mean([m.mean for m in known if m is not None]))
            reads[name] = Read(
                second_moment=_snapped(float(np.mean(seconds))), mean=mean, known=True, how="theory", stream_rms=rms
            )
    return reads


def _choice(network: Network, name: str, draft: Draft, sweep: _Sweep, found: MomentMap) -> Choice:
    role = network.roles.parameters[name]
    made = sweep.made[name]
    copies = 1 if made.law is None else made.law.copies
    rms, errors = _predicted(network, role, found, copies)
    return Choice(
        law=made.law,
        action=draft.action,
        role=role.role,
        layout=role.layout,
        rule=draft.rule,
        reason=draft.reason,
        steps=_with_ends(role, made, _origin(network, role, sweep, found)),
        warnings=draft.warnings,
        predicted_rms=rms,
        predicted_se=errors,
    )


def _origin(network: Network, role: ParameterRole, sweep: _Sweep, found: MomentMap) -> tuple[Step, ...]:
    """Where E x² of what a map reads comes from; empty for what has no single use."""
    use = role.use
    if use is None:
        return ()

    def derive(name: str, output: float) -> str:
        other, read = network.roles.parameters[name], sweep.read.get(name)
        if read is None:
            return ""
        moments = sweep(network.graph.parameters[name], network.graph.ops[other.uses[0].op], None)
        return variance_words(other.fan_in, moments.var, read.second_moment, output)

    return origin(network, network.read_operand(network.graph.ops[use.op], role), found, derive)


def _with_ends(role: ParameterRole, made: Made, before: tuple[Step, ...]) -> tuple[Step, ...]:
    """The derivation from its first numbers, fan_in and what is read, to its last, the realised std."""
    named = {s.quantity for s in made.steps}
    steps = made.steps if _SECOND not in named else _joined(made.steps, before)
    if role.fan_in is not None and steps and "fan_in" not in named:
        formula = f"terms summed into one output, shape {role.shape}"
        steps = (Step(quantity="fan_in", value=role.fan_in, formula=formula), *steps)
    if made.law is not None and made.steps and "std" not in named:
        std = made.law.std_for(role.shape, role.layout)
        steps = (*steps, Step(quantity="std", value=std, formula=f"of {made.law}"))
    return steps


def _joined(steps: tuple[Step, ...], before: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps with the lines that lead to E x² in front of it; the last of them says what E x² is."""
    place = next(i for i, s in enumerate(steps) if s.quantity == _SECOND)
    if not before or not math.isclose(float(steps[place].value), float(before[-1].value), rel_tol=_UNIT):
        return steps
    second = replace(before[-1], quantity=_SECOND, value=steps[place].value)
    return (*steps[:place], *before[:-1], second, *steps[place + 1 :])


_Numbers: TypeAlias = "tuple[float | None, ...]"


def _predicted(network: Network, role: ParameterRole, found: MomentMap, copies: int) -> tuple[_Numbers, _Numbers]:
    fused = role.role == "rnn_hh" and any(use.op_name in RECURRENT for use in role.uses)
    if fused or role.role not in ("weight", "embedding", "position", "rnn_ih", "rnn_hh"):
        return (), ()
    return predicted_sizes(network.graph, role, found, copies)


def predicted_sizes(graph: Graph, role: ParameterRole, found: MomentMap, copies: int) -> tuple[_Numbers, _Numbers]:
    """Root mean square of the output of each use, and the standard error of its logarithm; None where unknown.

    Args:
        graph: the captured forward pass.
        role: of the parameter.
        found: moments of every tensor.
        copies: units that are one draw and vary together; the error that moments give is of independent units.
    """
    known = [found.tensors.get(graph.ops[use.op].output) for use in role.uses]
    moments = [None if k is None else k.moments for k in known]
    rms = tuple(None if m is None else _finite(m.rms) for m in moments)
    return rms, tuple(None if m is None else _finite(m.log_rms_se * math.sqrt(copies)) for m in moments)


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None
