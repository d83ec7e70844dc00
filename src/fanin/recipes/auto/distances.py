"""Learned points that a signal is compared with, and the map that makes the signal where the outputs are distances."""

from __future__ import annotations

import functools
import math

from fanin.graph.roles.data import ParameterRole
from fanin.initializers import Normal
from fanin.model.operations import VIEWS
from fanin.recipes.auto.evidence import BUMPS_SPREAD
from fanin.recipes.auto.heads import output_rms
from fanin.recipes.auto.maps import forward
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.auto.wording import Number, draft
from fanin.recipes.engine.distances import Distances, adds_its_size
from fanin.recipes.engine.draft import Draft, Read
from fanin.recipes.engine.effective import multiplied_by, own_size
from fanin.recipes.engine.network import Network

_MEAN_SHARE = 0.1  # of the second moment of a signal, from which points around zero would all be far from it
_LEAST_SPREAD = 1e-3  # of it that is variance; with less, points around the mean would be one point

__all__ = ["before_distances", "centres", "written_centres"]


def centres(network: Network, role: ParameterRole, options: AutoOptions, *, factor: float = 1.0) -> Draft:
    """Of the mean and size of the signal that is compared with them; smaller where the outputs are large distances.

    Further apart where bumps are made of the distances: more of them then differ from sample to sample.

    Args:
        network: the captured model.
        role: the points.
        options: of the recipe.
        factor: constant that the signal is multiplied by where its second moment is read (the 2 of ``2 x c``).
    """
    found = next((d for d in network.distances if d.centres == role.name), None)
    bumps = found is not None and not found.are_outputs

    def numbers(read: Read) -> tuple[Number, ...]:
        second, mean = read.second_moment / factor**2, read.mean / factor
        around = second - mean**2
        apart = mean**2 > _MEAN_SHARE * second and around > _LEAST_SPREAD * second
        size = math.sqrt(around if apart else second)
        signal = (
            Number("second", second),
            *((Number("mean", mean),) if apart else ()),
            Number("std", size, "spread" if apart else "position"),
        )
        if found is None:
            return signal
        if bumps:
            return *signal, Number("factor", BUMPS_SPREAD, "bumps"), Number("std", BUMPS_SPREAD * size, "bumps")
        calm = _calm(found, size, options)
        return signal if calm is None else (*signal[:-1], Number("std", calm, "distances"))

    why = "centres" if found is None else "bumps" if bumps else "distances"
    return draft(
        "centres",
        numbers,
        lambda values: Normal(std=values["std"], mean=values.get("mean", 0.0)),
        reasons=(why,),
        evidence="bumps" if bumps else "",
        spread=BUMPS_SPREAD,
    )


def _calm(head: Distances, signal: float, options: AutoOptions) -> float | None:
    """The std of centres at which the distances of one sample have the rms of outputs; None where they have less."""
    own = own_size(functools.partial(head.spread, signal), output_rms(options))
    return own.std if own is not None and own.std < signal else None


def before_distances(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """The map whose outputs are compared with points, where the outputs are these distances: calm from the start.

    Signal and points are drawn at the one std at which the distances of a sample have that of outputs. With points much
    smaller than the signal, all of them would lie on one side of it, and no gradient of |x - c| would reach the signal.
    Of squared distances it does, as 2 (x - c): there the points alone are calm (see `centres`), and what all distances
    share, |x|², changes no probability.
    """
    made = {network.graph.ops[u.op].output for u in role.uses}
    head = next((d for d in network.distances if d.are_outputs and d.signal in made and d.alone), None)
    if head is None or role.use is None or role.use.norm_after:
        return None
    own = own_size(lambda std: head.spread(std, std), output_rms(options))
    if own is None or own.std >= 1.0 or _is_squared(head, own.std):
        return None
    return forward(
        network,
        role,
        options,
        factor=own.std,
        how="distances",
        adds=("before distances",),
        rule="before distances",
        evidence="",
        centres=head.centres,
    )


def _is_squared(head: Distances, std: float) -> bool:
    """Whether twice the signal and the points make more than about twice the distances."""
    once, twice = head.spread(std, std), head.spread(2.0 * std, 2.0 * std)
    return once is not None and twice is not None and twice > _SQUARED * once


_SQUARED = 2.0**1.5  # between a distance and its square


def written_centres(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """The points of squared distances |x|² - 2 x c + |c|², written with one product."""
    use = role.use
    if use is None or len(role.shape) != 2 or not adds_its_size(network, role):
        return None
    factor = _factor_read(network, network.data_operand(network.graph.ops[use.op]))
    return centres(network, role, options, factor=factor)


def _factor_read(network: Network, value: int | None) -> float:
    """The constant by which the signal was multiplied just before it was read (the -2 of -2 x c); else 1."""
    factor = 1.0
    while (op := None if value is None else network.graph.producer(value)) is not None:
        value = next((v for v in op.inputs if v not in network.graph.data), None)
        number = None if value is None else multiplied_by(network, op, value)
        if number is None and op.name not in VIEWS:
            break
        factor *= 1.0 if number is None else number
    return factor
