"""How the energy of a gradient depends on the entry that it belongs to.

A gradient that came through a rectifier is zero where the entry was below zero. On the way back through
relu(x + f(x)) it meets the rectifier that made x, whose entries above zero are mostly the same ones: it is cut off less
often than an independent gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fanin.graph.ir import Op
from fanin.moments.forward.elementwise import chain_function, chain_slope, entry_law, groups_of
from fanin.moments.forward.maxima import parts_of
from fanin.moments.frame import Frame
from fanin.moments.kernel import Array
from fanin.moments.laws import GRID, WEIGHTS
from fanin.moments.moments import JointMoments
from fanin.moments.sources import entries, is_positive

__all__ = ["mixed", "of_norm", "of_term", "through"]


def mixed(parts: Sequence[tuple[float, Array]], whole: float) -> Array | None:
    """Density of a sum of gradients, each with its energy; what is left of the whole does not depend on the entry."""
    known = sum(e for e, _ in parts)
    if not (known > 0.0 and math.isfinite(known)):
        return None
    total = max(whole, known)
    return np.asarray(sum(e * d for e, d in parts) / total + (total - known) / total)


def through(frame: Frame, op: Op, source: int, density: Array | None) -> tuple[float, Array | None]:
    """What a density does to a gradient on its way through a chain of one source, and the density before the chain.

    Args:
        frame: of the sweep.
        op: the last one of the chain.
        source: of the chain.
        density: energy of the gradient behind the chain, at the source's entries for the normal numbers `GRID`, over
            its mean; None: it does not depend on them.

    Returns:
        Energy that passes over that of an independent gradient, and the density at the source.
    """
    slope = np.square(chain_slope(frame, op, source)(entries(frame, source, GRID)))
    passed = slope if density is None else slope * density
    alone, energy = float(slope @ WEIGHTS), float(passed @ WEIGHTS)
    if not (alone > 0.0 and energy > 0.0 and math.isfinite(energy)):
        return 1.0, None
    return energy / alone, passed / energy


def of_term(frame: Frame, total: int, term: int, density: Array) -> Array | None:
    """Density of a gradient at a term of a sum, given that at the sum: averaged over the other terms.

    Args:
        frame: of the sweep.
        total: the sum.
        term: a summand, or an elementwise function of one source.
        density: at the sum's entries for `GRID`.

    Returns:
        The density at the entries of the term's source; None where the two are not followed.
    """
    whole, own = frame.signals[total], frame.signals[term]
    region, op = own.region, frame.graph.producer(term)
    if whole.region or len(region) > 1 or own.numbers is not None or is_positive(frame, total):
        return None
    source = region[0] if region else term
    if frame.signals[source].numbers is not None or frame.signals[source].moments is None:
        return None
    values = entries(frame, source, GRID)
    if region and op is not None:
        values = chain_function(frame, op, source)(values)
    rest = math.sqrt(max(whole.known.entry_var - own.known.entry_var, 0.0))
    others = values[:, None] - own.known.mean + rest * _rest(frame, total, term) + whole.known.mean
    at = np.interp(others, entries(frame, total, GRID), density)
    found = at @ WEIGHTS
    mean = float(found @ WEIGHTS)
    return np.asarray(found / mean) if mean > 0.0 else None


def of_norm(frame: Frame, op: Op, density: Array | None, g: JointMoments) -> list[tuple[int, float, Array]]:
    """Densities of a gradient before a norm: at the entry that is scaled to the one behind it.

    Args:
        frame: of the sweep.
        op: the norm.
        density: at the entries of its output for `GRID`; None: it does not depend on them.
        g: the gradient of its input.

    Returns:
        The value, the energy and the density of each contribution: of the input, or of the tensors joined in it.
    """
    found = []
    unlike = frame.unlike.get(op.index)
    parts = parts_of(frame, op.inputs[0])
    for part in parts:
        own = _behind(frame, op, part.value, density)
        if len(parts) == 1 and unlike is not None:
            own = unlike if own is None else own * unlike / float((own * unlike) @ WEIGHTS)
        if own is not None:
            run = g.part(1, part.start, part.size) if len(parts) > 1 else g
            found.append((part.value, run.second_moment, own))
    return found


def _behind(frame: Frame, op: Op, value: int, density: Array | None) -> Array | None:
    """Density at the entries of a value, given that at the entries they become behind a batch norm."""
    signal = frame.signals[op.output]
    if op.name != "batch_norm" or density is None or signal.region:
        return None
    dims = [d for d in range(len(frame.graph.value(op.output).shape)) if d != 1]
    groups = groups_of(frame, value, dims, 1)
    if groups is None or groups.likeness > _ALIKE or not groups.variances[0] > 0.0:
        return None
    values = (groups.values[0] - groups.values[0] @ WEIGHTS) / math.sqrt(groups.variances[0])
    found = np.interp(values, GRID if signal.law is None else signal.law.values, density)
    mean = float(found @ WEIGHTS)
    return np.asarray(found / mean) if mean > 0.0 else None


_ALIKE = 0.1  # correlation of the entries of a channel from which its mean decides which of them are large


def _rest(frame: Frame, total: int, term: int) -> Array:
    """The sum of the other terms at `GRID`, standardised."""
    op = frame.graph.producer(total)
    other = [v for v in op.inputs if v != term] if op is not None else []
    law = entry_law(frame, other[0]) if len(other) == 1 else None
    return GRID if law is None else law.values
