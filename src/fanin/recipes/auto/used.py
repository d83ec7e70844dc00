"""Weights that the model changes before it uses them: the std at which what it uses is as large as a rule asks for."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from fanin.graph.roles.data import ParameterRole
from fanin.initializers import Initializer, Normal, Scaled
from fanin.recipes.auto.wording import Number, reason, steps
from fanin.recipes.engine.draft import Draft, Made, Read
from fanin.recipes.engine.effective import Stretch, is_near, operands, own_size, stretches
from fanin.recipes.engine.network import Network
from fanin.streams import key as stream_key

if TYPE_CHECKING:
    import torch

__all__ = ["as_used"]

_ROLES = frozenset({"weight", "embedding"})


def as_used(network: Network, role: ParameterRole, draft: Draft | None) -> Draft | None:
    """The draft of a weight, of another std where the model multiplies, sums or bends the weight before it uses it.

    A rule chooses the std that the weight has where it meets the signal. The parameter takes the std at which the
    model makes a weight of that root mean square of it: std / c for ``c * w`` (an equalised learning rate), less for
    sums of entries, more behind a mask. Of a product of k weights each takes the k-th root of what is asked of it.

    Where no std does that, because the model divides the weight by its own size or its function is bounded below it,
    the draft stays as it is.

    Args:
        network: the captured model.
        role: the weight.
        draft: of a rule; None where no rule has one.
    """
    if draft is None or draft.action != "draw" or role.role not in _ROLES or role.pieces:
        return draft
    ways = _ways(network, role)
    if not ways or all(_is_same(s, _usual(role)) for way in ways for s in way):
        return draft

    def make(read: Read) -> Made:
        made = draft.make(read)
        wanted = 0.0 if made.law is None else made.law.std_for(role.shape, role.layout)
        if made.law is None or not wanted > 0.0:
            return made
        found = [_factor(network, role, way, made.law, wanted) for way in ways]
        factor = math.exp(sum(math.log(f) for f, _ in found) / len(found))  # of several uses: their geometric mean
        return made if is_near(factor, 1.0) else _times(made, made.law, factor, bends=any(b for _, b in found))

    return replace(draft, make=make, reason=f"{draft.reason}; {reason('as used')}")


def _ways(network: Network, role: ParameterRole) -> list[tuple[Stretch, ...]]:
    """What a parameter goes through on the way to each use; [] where it is not known, or nothing but views."""
    ways = [stretches(network, role, value) for value in operands(network, role)]
    known = [way for way in ways if way is not None]
    if len(known) < len(ways) or not all(s.made.has_own_size for way in known for s in way):
        return []
    kept = [tuple(s for s in way if not s.made.is_view) for way in known]
    return kept if any(kept) else []


def _usual(role: ParameterRole) -> float:
    return 1.0 / math.sqrt(float(role.fan_in or 1.0))


def _is_same(stretch: Stretch, usual: float) -> bool:
    """Whether a function leaves sizes as they are: a sign, say."""
    return all(is_near(stretch.made.size(None, std), std) for std in (1.0, usual))


def _factor(
    network: Network, role: ParameterRole, way: tuple[Stretch, ...], law: Initializer, wanted: float
) -> tuple[float, bool]:
    """What a parameter's std is multiplied by for one use, and whether a function on the way bends."""
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
