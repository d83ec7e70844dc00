"""Weights that the model changes before it uses them: the std at which what it uses is as large as a rule asks for."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from fanin.graph.ir import Op
from fanin.graph.roles.data import ParameterRole
from fanin.initializers import Initializer, Normal, Scaled
from fanin.model.operations import (
    CONTRACTIONS,
    ELEMENTWISE,
    JOINS,
    MATRIX_PRODUCTS,
    REDUCTIONS,
    SAME_NUMBERS,
    SUMS,
    VIEWS,
)
from fanin.recipes.auto.wording import Number, reason, steps
from fanin.recipes.engine.draft import Draft, Made, Read
from fanin.recipes.engine.effective import Stretch, is_near, multiplied_by, operands, own_size, stretches
from fanin.recipes.engine.network import Network
from fanin.streams import key as stream_key

if TYPE_CHECKING:
    import torch

__all__ = ["as_used"]

_ROLES = frozenset({"weight", "embedding"})
_FEWEST = 8  # inputs from which 1 / sqrt(fan_in) is told from other factors
_GAIN = 2.0  # the gains of activations lie within this factor of 1
_RECTIFIERS = frozenset(
    (
        *("relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu"),
        *("gelu", "silu", "mish", "softplus", "hardswish"),
    )
)
_SIGMOIDS = frozenset({"tanh", "erf", "sigmoid", "softsign"})  # of which another factor is a choice of their range
_KNOWN = ELEMENTWISE | SAME_NUMBERS | VIEWS | JOINS | MATRIX_PRODUCTS | SUMS | REDUCTIONS  # by formulas
_DESIGNS = frozenset(
    ("residual", "stream_in", "attn_q", "attn_k", "attn_v", "gate", "act+gate", "datamul", "softmax", "router")
)


def as_used(network: Network, role: ParameterRole, draft: Draft | None) -> Draft | None:
    """The draft of a weight, of another std where the model multiplies, sums or bends the weight before it uses it.

    A rule chooses the std that the weight has where it meets the signal. The parameter takes the std at which the
    model makes a weight of that root mean square of it: std / c for ``c * w`` (an equalised learning rate), less for
    sums of entries, more behind a mask. Of a product of k weights each takes the k-th root of what is asked of it.

    So it does where the factor stands behind the product and is 1 / sqrt(fan_in) but for an activation's gain
    (Jacot et al. 2018, arXiv 1806.07572, section 3: the NTK parametrisation).

    Where no std does that, because the model divides the weight by its own size or its function is bounded below it,
    the draft stays as it is.

    Args:
        network: the captured model.
        role: the weight.
        draft: of a rule; None where no rule has one.
    """
    if draft is None or draft.action != "draw" or role.role not in _ROLES or role.pieces:
        return draft
    ways, behind = _ways(network, role), _behind(network, role)
    usual = (Normal(std=std) for std in (1.0, 1.0 / math.sqrt(float(role.fan_in or 1.0))))
    if behind == 1.0 and all(is_near(_factors(network, role, ways, law, law.std)[0], 1.0) for law in usual):
        return _measured(draft) if _is_solved(ways) else draft  # a sign, a weight over its own size, an orthogonal one

    def make(read: Read) -> Made:
        made = draft.make(read)
        wanted = 0.0 if made.law is None else made.law.std_for(role.shape, role.layout)
        if made.law is None or not wanted > 0.0:
            return made
        factor, bends = _factors(network, role, ways, made.law, wanted)
        factor /= behind
        return made if is_near(factor, 1.0) else _times(made, made.law, factor, bends=bends)

    why = reason("as used" if behind == 1.0 else "behind", factor=behind)
    return replace(draft, make=make, reason=f"{draft.reason}; {why}")


def _is_solved(ways: list[tuple[Stretch, ...]]) -> bool:
    """Whether a function on the way is one that no formula knows: an inverse, a matrix exponential, a QR."""
    return any(op.name not in _KNOWN for way in ways for stretch in way for op in stretch.made.ops)


def _measured(draft: Draft) -> Draft:
    """The draft, of which what follows is predicted from numbers of its law: no formula knows the function."""
    return replace(draft, make=lambda read: replace(draft.make(read), drawn=True))


def _ways(network: Network, role: ParameterRole) -> list[tuple[Stretch, ...]]:
    """What a parameter goes through on the way to each use; [] where it is not known, or nothing but views."""
    ways = [stretches(network, role, value) for value in operands(network, role)]
    known = [way for way in ways if way is not None]
    if len(known) < len(ways) or not all(s.made.has_own_size for way in known for s in way):
        return []
    kept = [tuple(s for s in way if not s.made.is_view) for way in known]
    return kept if any(kept) else []


def _behind(network: Network, role: ParameterRole) -> float:
    """The number that a map's output is multiplied by, where it makes up for a std of about 1; else 1.

    Not before a sum or a score: there such a number is the design of a branch, or of attention.
    """
    if len(role.uses) != 1 or role.fan_in is None or role.fan_in < _FEWEST or _DESIGNS & set(role.tags):
        return 1.0
    factor, value = 1.0, network.graph.ops[role.uses[0].op].output
    while len(readers := network.graph.consumers(value)) == 1 and len(set(readers[0].inputs) - {value}) <= 1:
        op = readers[0]
        number = multiplied_by(network, op, value)
        if op.name not in VIEWS and (number is None or number < 0.0):
            break
        factor *= 1.0 if number is None else number
        value = op.output
    gain = factor * math.sqrt(role.fan_in)
    read_by = {op.name for op in _behind_bias(network, value)}
    as_gain = 1.0 / _GAIN <= gain <= _GAIN and read_by <= _RECTIFIERS | CONTRACTIONS
    return factor if as_gain or (is_near(gain, 1.0) and read_by <= _RECTIFIERS | CONTRACTIONS | _SIGMOIDS) else 1.0


def _behind_bias(network: Network, value: int) -> tuple[Op, ...]:
    """What reads a value, or the sum of it and a bias."""
    readers = network.graph.consumers(value)
    if len(readers) != 1 or readers[0].name != "add" or len(set(readers[0].inputs) - network.weight_only) != 1:
        return tuple(readers)
    return tuple(network.graph.consumers(readers[0].output))


def _factors(
    network: Network, role: ParameterRole, ways: list[tuple[Stretch, ...]], law: Initializer, wanted: float
) -> tuple[float, bool]:
    """What a parameter's std is multiplied by, and whether a function on the way bends; of uses the geometric mean."""
    found = [_factor(network, role, way, law, wanted) for way in ways]
    mean = math.exp(sum(math.log(f) for f, _ in found) / max(len(found), 1))
    return mean, any(bends for _, bends in found)


def _factor(
    network: Network, role: ParameterRole, way: tuple[Stretch, ...], law: Initializer, wanted: float
) -> tuple[float, bool]:
    """The same for one use."""
    own = network.graph.parameters[role.name].value
    factor, bends = 1.0, False
    for stretch in way:
        first = stretch.made.start == own
        size = wanted if first else _needed(network, stretch.made.end)
        draw = functools.partial(_drawn, role, law, wanted) if first else None
        before = own_size(functools.partial(stretch.made.size, draw), size)
        if before is not None:
            factor *= (before.std / size) ** (1.0 / max(stretch.factors, 1))
            bends = bends or before.bends
    return factor, bends


def _needed(network: Network, value: int) -> float:
    """About the std that a weight needs at its use; only for a function that bends it does the number matter."""
    shape = network.graph.value(value).shape
    return 1.0 / math.sqrt(max(math.prod(shape[1:]), 1))


def _drawn(role: ParameterRole, law: Initializer, std: float, seed: int) -> torch.Tensor:
    """Numbers of a law, divided by its std."""
    import torch

    values = law.sample(role.shape, key=stream_key(seed, role.name), layout=role.layout)
    return torch.as_tensor(values, device="cpu") / std


def _times(made: Made, law: Initializer, factor: float, *, bends: bool) -> Made:
    """The same law times a factor."""
    scaled = replace(law, std=law.std * factor) if isinstance(law, Normal) else Scaled(law, factor=factor)
    return replace(
        made,
        law=scaled,
        steps=(*made.steps, *steps((Number("as used", factor),))),
        var=None if made.var is None else made.var * factor**2,
        mean=None if made.mean is None else made.mean * factor,
        drawn=bends,
    )
