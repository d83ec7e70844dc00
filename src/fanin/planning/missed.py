"""Maps whose measured outputs are far from what their own plan predicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fanin.measure.record import Site
from fanin.moments.moments import MOST_SE
from fanin.planning.assignment import Assignment
from fanin.planning.parting import Parting
from fanin.text.numbers import big

if TYPE_CHECKING:
    from fanin.planning.data import PlanData

__all__ = ["MissedPrediction", "missed_predictions"]

_FACTOR = 10.0  # between measured and predicted rms
_ERRORS = 3.0  # standard errors


@dataclass(frozen=True, slots=True, kw_only=True)
class MissedPrediction:
    """A map whose outputs are far larger or smaller than predicted, though its inputs are not.

    Attributes:
        text: one sentence with the numbers.
        parting: the place.
        sign: 1 where the outputs are too large, -1 where they are too small.
        own: factor that the map adds to what its inputs are off by already.
    """

    text: str
    parting: Parting
    sign: int
    own: float


def missed_predictions(plan: PlanData, sites: Sequence[Site], factor: float = _FACTOR) -> tuple[MissedPrediction, ...]:
    """The maps that a plan draws and whose outputs it predicts wrongly, in the order of the forward pass.

    Args:
        plan: the plan; maps with several uses, or without a prediction, are left out.
        sites: what was measured under it.
        factor: between measured and predicted rms, from which a prediction is missed.
    """
    off: dict[int, float] = {}
    found = []
    for site in sites:
        before = max((off[i] for i in site.inputs if i in off), key=abs, default=0.0)
        a = next((plan[p] for p in site.parameters if p in plan and _predicts(plan[p])), None)
        here = before if a is None or site.kind != "weight" else _log_ratio(site, a)
        off[site.index] = here
        if a is not None and site.kind == "weight" and abs(here - before) > _least(a, factor) < abs(here):
            found.append(_missed(site, a, here, here - before))
    return tuple(found)


def _predicts(a: Assignment) -> bool:
    one = len(a.predicted_rms) == 1 and a.predicted_rms[0] is not None and a.predicted_rms[0] > 0.0
    return a.action == "draw" and one


def _least(a: Assignment, factor: float) -> float:
    """|ln(measured / predicted)| that is a miss; a size that the plan itself does not know is not missed easily."""
    error = float(a.predicted_se[0] or 0.0) if a.predicted_se else 0.0
    return max(math.log(factor), _ERRORS * error) if error > MOST_SE else math.log(factor)


def _log_ratio(site: Site, a: Assignment) -> float:
    rms = site.forward.rms
    return math.log(rms / float(a.predicted_rms[0] or 1.0)) if 0.0 < rms < math.inf else 0.0


def _missed(site: Site, a: Assignment, log_ratio: float, own: float) -> MissedPrediction:
    predicted, factor = float(a.predicted_rms[0] or 0.0), math.exp(log_ratio)
    text = f"the outputs of {site.name} have rms {big(site.forward.rms)}, where the plan predicts {big(predicted)}"
    parting = Parting(operation=site.name, parameters=(a.name,), factor=factor, predicted=True)
    return MissedPrediction(text=text, parting=parting, sign=1 if log_ratio > 0.0 else -1, own=math.exp(own))
