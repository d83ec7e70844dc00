"""Sums, differences, products and quotients; residual streams are kept as the terms they are made of."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fanin.graph.ir import Op, Ref
from fanin.model.operations import SAME_NUMBERS, VIEWS
from fanin.moments import kernel as kn
from fanin.moments.algebra import mixed_overlap, mixed_width_var, product, summed_up
from fanin.moments.forward.by_place import doubt_of, product_gain
from fanin.moments.forward.common import as_atoms, passed_on
from fanin.moments.forward.contractions import KNOWN_SHARE
from fanin.moments.forward.elementwise import (
    MAX_DEPTH,
    MAX_REGION,
    chain_function,
    deep_region_of,
    elementwise,
    entry_law,
    imaged,
    region_of,
)
from fanin.moments.forward.own_statistics import less_own_mean, self_averaging, variance
from fanin.moments.forward.together import Together, in_common
from fanin.moments.frame import Frame, NoRuleError
from fanin.moments.hermite import gaussian_image
from fanin.moments.laws import Law, of_sum
from fanin.moments.moments import JointMoments, aligned
from fanin.moments.places import mixed
from fanin.moments.repeats import Reading
from fanin.moments.signal import Atom, AtomKey, Signal
from fanin.moments.sources import source_image

__all__ = ["EVEN_CHANCE", "RULES", "combined"]

_MAX_ATOMS = 400


# ---------------------------------------------------------------------- sums
def combined(frame: Frame, op: Op, terms: Sequence[tuple[Any, float]]) -> Signal:
    """Signal of a weighted sum of tensors and numbers.

    Terms that occur in several summands are added before they are squared.
    """
    shape = frame.graph.value(op.output).shape
    mean = 0.0
    atoms: dict[AtomKey, Atom] = {}
    seen: set[int] = set()
    summands: list[JointMoments] = []
    apart = True
    for template, weight in terms:
        moments = frame.moments(template)
        mean += weight * moments.mean
        if frame.signal(template).constant is not None:
            continue
        summands.append(moments.scaled(weight))
        own = as_atoms(frame, template)
        tensors = {k for k, _ in own}
        apart = apart and seen.isdisjoint(tensors)
        seen |= tensors
        atoms = _joined(atoms, own, weight)
    if not atoms:
        return frame.made(op, JointMoments.constant(shape, mean), leaf=False)
    centred = less_own_mean(frame, op) if op.name == "sub" else None
    if centred is not None:
        moments = centred
    else:
        moments = _moved_to(summed_up(*summands).expanded(shape), mean) if apart else _total(atoms, mean, shape)
    moments = _with_common(frame, terms, moments) if apart else moments
    moments = moments.widened(_in_step(frame, atoms))
    positive = all(
        w > 0.0 and (frame.signal(t).positive or (frame.signal(t).constant or -1.0) >= 0.0) for t, w in terms
    )
    law = _law_of_sum(frame, terms) if apart and not positive else None
    atoms = atoms if len(atoms) <= _MAX_ATOMS else {}
    made = replace(frame.made(op, moments), atoms=atoms, positive=positive, law=law)
    return _kept_apart(frame, op, made)


def _with_common(frame: Frame, terms: Sequence[tuple[Any, float]], moments: JointMoments) -> JointMoments:
    """The moments of a sum some of whose terms the same weights made: steps of a loop point the same way."""
    if moments.entry_var <= 0.0 or not (common := _common(frame, terms)):
        return moments
    share = max(common / moments.entry_var, _LEAST_LEFT - 1.0)
    return moments.with_kernel(moments.covariance * (1.0 + share) + moments.mean**2)


def _with_steps(frame: Frame, terms: Sequence[tuple[Any, float]], made: Signal) -> Signal:
    """The same of terms that share what they are made of, of which a formula knows all that makes them alike."""
    m, common = made.known, _common(frame, terms)
    apart = sum(w * w * frame.moments(t).entry_var for t, w in terms)
    if not common or m.entry_var <= 0.0:
        return made
    share = max(common + apart, _LEAST_LEFT * apart) / m.entry_var
    return replace(made, moments=m.with_kernel(m.covariance * share + m.mean**2))


def _common(frame: Frame, terms: Sequence[tuple[Any, float]]) -> float:
    """Twice the covariances of the terms; 0 in a network that meets no weight twice."""
    weights = {t.index: w for t, w in terms if isinstance(t, Ref) and frame.signals[t.index].constant is None}
    if frame.by_place is None or not frame.repeats.readings or len(weights) < 2:
        return 0.0
    together = Together(frame=frame, image=functools.partial(_image_pair, frame), known=frame.varies_together)
    return in_common(together, weights)


_LEAST_LEFT = 0.1  # of the variance of a sum whose terms cancel: what cancels wholly is no such sum


def _image_pair(frame: Frame, value: int, correlation: float) -> float:
    """Covariance of two entries that the function behind a value makes of entries of this correlation."""
    op, source = frame.graph.producer(value), frame.signals[value].region[0]
    if op is None:
        return 0.0
    image = source_image(frame, chain_function(frame, op, source), source)
    return float(image.pair(np.array(correlation))) - image.mean**2


def _joined(atoms: dict[AtomKey, Atom], own: Mapping[AtomKey, Atom], weight: float) -> dict[AtomKey, Atom]:
    """The terms of a sum with those of one more summand, which may be the same."""
    if weight == 1.0 and atoms.keys().isdisjoint(own.keys()):  # as in a residual stream: hundreds of terms as they are
        return {**atoms, **own}
    made = dict(atoms)
    for key, atom in own.items():
        old = atoms.get(key)
        made[key] = Atom(weight * atom.factor + (old.factor if old else 0.0), atom.moments)
    return made


def _law_of_sum(frame: Frame, terms: Sequence[tuple[Any, float]]) -> Law | None:
    """The law of an entry of a weighted sum of unlike tensors."""
    values = [(t.index, w) for t, w in terms if isinstance(t, Ref) and frame.signals[t.index].constant is None]
    return of_sum([(w * math.sqrt(frame.moments_at(v).entry_var), entry_law(frame, v)) for v, w in values])


def _in_step(frame: Frame, atoms: Mapping[AtomKey, Atom]) -> float:
    """Variance of the log second moment of a sum, some of whose terms were made by the same weights.

    Such terms may point the same way; how far is not followed, so the error spans from not at all to wholly.
    """
    if not frame.repeats.readings:
        return 0.0
    made_by: dict[Reading, list[float]] = {}
    for (value, _), atom in atoms.items():
        op = frame.graph.producer(value) if value >= 0 else None
        for reading in frame.repeats.readings.get(op.index, ()) if op is not None else ():
            made_by.setdefault(reading, []).append(abs(atom.factor) * atom.moments.rms)
    total = sum(a.factor * a.factor * max(a.moments.second_moment, 0.0) for a in atoms.values())
    twice = sum(sum(sizes) * sum(sizes) - sum(s * s for s in sizes) for sizes in made_by.values())
    return math.log1p(max(twice, 0.0) / total) ** 2 if total > 0.0 and math.isfinite(total) else 0.0


def _kept_apart(frame: Frame, op: Op, made: Signal) -> Signal:
    """A sum with large known numbers in it (a spread-out bias): functions of it read its terms, not one Gaussian.

    So do they where a number is added to a function of several tensors.
    """
    known = [v for v in op.inputs if frame.signals[v].numbers is not None or frame.signals[v].constant is not None]
    weighs = any(frame.moments_at(v).entry_var > KNOWN_SHARE * made.known.entry_var for v in known)
    region = tuple(dict.fromkeys(itertools.chain.from_iterable(deep_region_of(frame, v) for v in op.inputs)))
    if len(region) > MAX_REGION or all(v in known for v in op.inputs):
        return made
    free = [v for v in dict.fromkeys(op.inputs) if v not in known]
    if len(free) == 1 and not known and len(frame.signals[free[0]].region) > 1:
        region = region_of(frame, free[0])
        return replace(made, leaf=False, region=region, depth=1 + frame.signals[free[0]].depth)
    if len(free) == 1 and len(region) == 1:
        return replace(made, leaf=False, region=region, depth=1 + max(frame.signals[v].depth for v in op.inputs))
    return replace(made, leaf=False, region=region, depth=1) if weighs else replace(made, deep=region)


def _moved_to(m: JointMoments, mean: float) -> JointMoments:
    """The tensor with a number added that makes its mean this one."""
    return m.with_kernel(m.covariance + mean * mean, mean)


def _total(atoms: Mapping[AtomKey, Atom], mean: float, shape: tuple[int, ...]) -> JointMoments:
    keys = list(atoms)
    full = aligned([atoms[k].moments for k in keys], shape)
    factors = [atoms[k].factor for k in keys]
    cov = np.asarray(sum(f * f * m.covariance for f, m in zip(factors, full, strict=True)))
    for i, first in enumerate(keys):
        for j in range(i):
            if keys[j][0] == first[0]:
                cov = cov + 2.0 * factors[i] * factors[j] * _cross(full[i], full[j], keys[j], shape)
    kernel = cov + mean * mean
    scaled = [m.scaled(f) for m, f in zip(full, factors, strict=True)]
    width, overlap = mixed_width_var(scaled, kernel), mixed_overlap(scaled)
    places = mixed([(f * f * m.second_moment, m.places) for f, m in zip(factors, full, strict=True)])
    return full[0].changed(mean=mean, kernel=kernel, width_var=width, spread=None, places=places, overlap=overlap)


def _cross(one: JointMoments, other: JointMoments, key: AtomKey, shape: tuple[int, ...]) -> kn.Array:
    """Covariance of two averages of one tensor: that of the average over the dimensions of both."""
    axes = one.axes_of([len(shape) - d for d in sorted(key[1])])
    return kn.average(one.covariance, one.sizes, axes, keep=True)


def _add(frame: Frame, op: Op, sign: float) -> Signal:
    left, right = op.arg(0), op.arg(1, "other")
    weight = sign * float(op.kwargs.get("alpha", 1.0))
    return _sum_of(frame, op, [(left, 1.0), (right, weight)])


def _sum_of(frame: Frame, op: Op, terms: Sequence[tuple[Any, float]]) -> Signal:
    templates = [t for t, _ in terms]
    if _rejoined(frame, [t.index for t in templates if isinstance(t, Ref)]):
        raise NoRuleError("some entries of a summand are those of another one: they are drawn together")
    if _part_of_running_sum(frame, [t.index for t in templates if isinstance(t, Ref)]):
        raise NoRuleError("a running sum less one of its own places: a kernel knows the places on average alone")
    if not _entangled(frame, templates):
        return combined(frame, op, terms)
    try:
        return _with_steps(frame, terms, elementwise(frame, op))
    except NoRuleError:
        if _common(frame, terms):
            return _with_steps(frame, terms, combined(frame, op, terms))
        frame.in_common[op.index] = _in_common([frame.moments(t).second_moment * w * w for t, w in terms])
        raise


def _part_of_running_sum(frame: Frame, values: Sequence[int]) -> bool:
    """Whether one summand is part of a running sum of which the other one is the whole."""
    found = [running for value in values if (running := _running_sum(frame, value)) is not None]
    return len(found) == 2 and found[0][0] == found[1][0] and found[0][1] != found[1][1]


def _running_sum(frame: Frame, value: int) -> tuple[int, bool] | None:
    """The running sum that a tensor is a view of, and whether the view leaves some of it out."""
    size = math.prod(frame.graph.value(value).shape)
    while (op := frame.graph.producer(value)) is not None and op.inputs:
        if op.name == "cumsum":
            return op.output, size < math.prod(frame.graph.value(op.output).shape)
        if op.name not in VIEWS or len(op.inputs) != 1:
            return None
        value = op.inputs[0]
    return None


def _in_common(energies: Sequence[float]) -> float:
    """Variance of the log second moment of a sum of terms that share what they are made of, which is then sampled.

    The kernel knows how alike two places are on average, not which places: the terms may point the same way or opposite
    ways, with an even chance for everything between the two.
    """
    total = sum(energies)
    whole = sum(math.sqrt(max(e, 0.0)) for e in energies)
    more = max(whole * whole - total, 0.0)
    return EVEN_CHANCE * math.log1p(more / total) ** 2 if total > 0.0 and math.isfinite(total) else 0.0


EVEN_CHANCE = 1.0 / 3.0  # variance of a number between -1 and 1, all of them equally likely


def _entangled(frame: Frame, templates: Sequence[Any]) -> bool:
    """Whether a summand shares fluctuations with another one that their terms do not show, or is a mask."""
    values = [t.index for t in templates if isinstance(t, Ref)]
    if any(_is_masked(frame, v) for v in values):
        return True
    return any(frame.entangled(v, w) for v, w in itertools.combinations(values, 2) if v != w)


def _rejoined(frame: Frame, values: Sequence[int]) -> bool:
    """Whether a summand was joined out of parts of another one, as in x + cat([y, x[:, 1:]]).

    Norms and scales on the way keep entries in step with those that they were made of.
    """
    for value in values:
        found, joins = _made_of(frame, value)
        if joins and any(other in found for other in values if other != value):
            frame.rejoined.update(found)
            return True
    return False


def _made_of(frame: Frame, value: int) -> tuple[set[int], bool]:
    """The values whose entries a value takes over or scales, and whether it joins some of several."""
    found: set[int] = set()
    todo, joins = [value], False
    while todo and len(found) < _MOST_MADE_OF:
        op = frame.graph.producer(todo.pop())
        if op is None or (op.name not in _TAKING and not _is_scaling(frame, op)):
            continue
        joins = joins or op.name == "cat"
        fresh = [v for v in op.inputs if v not in found and not frame.signals[v].weight_only]
        found.update(fresh)
        todo += fresh
    return found, joins


def _is_scaling(frame: Frame, op: Op) -> bool:
    """Whether an op multiplies by parameters or numbers alone."""
    return op.name == "mul" and sum(not frame.signals[v].weight_only for v in op.inputs) == 1


_MOST_MADE_OF = 24
_TAKING = frozenset(
    ["cat", "getitem", "narrow", "select", "contiguous", "clone", "to", "layer_norm", "rms_norm", "view", "reshape"]
)


def _is_masked(frame: Frame, value: int) -> bool:
    """Whether a known tensor holds infinities, or huge numbers used in their place (an attention mask)."""
    numbers = frame.signals[value].numbers
    return numbers is not None and numbers.is_floating_point() and bool((numbers.abs() > 1e4).any())


def _add_rule(frame: Frame, op: Op) -> Signal:
    return _add(frame, op, 1.0)


def _sub_rule(frame: Frame, op: Op) -> Signal:
    found = variance(frame, op)
    return _add(frame, op, -1.0) if found is None else found


def _rsub_rule(frame: Frame, op: Op) -> Signal:
    return _sum_of(frame, op, [(op.arg(0), -float(op.kwargs.get("alpha", 1.0))), (op.arg(1, "other"), 1.0)])


# ---------------------------------------------------------------------- scaling
def _mul(frame: Frame, op: Op) -> Signal:
    left, right = op.arg(0), op.arg(1, "other")
    for a, b in ((left, right), (right, left)):
        factor = frame.signal(b).constant
        if factor is not None and isinstance(a, Ref) and frame.signal(a).constant is None:
            frame.moments(a)
            return passed_on(frame, op, a.index, factor)
    return _times(frame, op, left, right, invert=False)


def _div(frame: Frame, op: Op) -> Signal:
    left, right = op.arg(0), op.arg(1, "other")
    if op.kwargs.get("rounding_mode") is not None:
        return elementwise(frame, op)
    divisor = frame.signal(right).constant
    if divisor is not None and divisor != 0.0 and isinstance(left, Ref):
        frame.moments(left)
        return passed_on(frame, op, left.index, 1.0 / divisor)
    return _times(frame, op, left, right, invert=True)


def _times(frame: Frame, op: Op, left: Any, right: Any, *, invert: bool) -> Signal:
    """A product of two tensors: of independent ones by their kernels, else by what it computes."""
    if not (isinstance(left, Ref) and isinstance(right, Ref)):
        return elementwise(frame, op)
    averaged = self_averaging(frame, op, left.index, right.index)
    if averaged is not None:
        return averaged
    tied = left.index == right.index or frame.entangled(left.index, right.index)
    if tied or frame.terms(left.index) & frame.terms(right.index) or invert or _is_masked(frame, right.index):
        return elementwise(frame, op)
    moments = product(frame.moments(left), frame.moments(right))
    gain = product_gain(frame, op.output, left.index, right.index)
    moments = moments.with_kernel(gain * moments.kernel).widened(doubt_of(gain))
    region = (*region_of(frame, left.index), *region_of(frame, right.index))
    made = frame.made(op, moments, leaf=False)
    depth = 1 + max(frame.signals[left.index].depth, frame.signals[right.index].depth)
    positive = frame.signals[left.index].positive and frame.signals[right.index].positive
    if len(region) > MAX_REGION or depth > MAX_DEPTH:
        return replace(made, positive=positive)
    return replace(made, region=region, depth=depth, positive=positive)


def _neg(frame: Frame, op: Op) -> Signal:
    frame.moments(op.arg(0))
    return passed_on(frame, op, op.inputs[0], -1.0)


def _handed_on(frame: Frame, op: Op) -> Signal:
    frame.moments(op.arg(0))
    return passed_on(frame, op, op.inputs[0])


def _glu(frame: Frame, op: Op) -> Signal:
    """One half times the sigmoid of the other."""
    x = frame.moments(op.arg(0, "input"))
    dim = int(op.arg(1, "dim", -1))
    half = x.resized(dim, x.shape[dim] // 2)
    gate = gaussian_image(_sigmoid, mean=half.mean, var=half.entry_var)
    m = product(half, imaged(half, gate))
    return replace(frame.made(op, m, leaf=False), shared=0)


def _sigmoid(z: kn.Array) -> kn.Array:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z)))


RULES = {
    "glu": _glu,
    "add": _add_rule,
    "sub": _sub_rule,
    "rsub": _rsub_rule,
    "mul": _mul,
    "div": _div,
    "neg": _neg,
    **dict.fromkeys(sorted(SAME_NUMBERS | {"real"}), _handed_on),
}
