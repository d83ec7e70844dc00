"""Biases beside what their weights give: which units see nothing else, and which of the two is at fault."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from fanin.measure.kinds import SITE_NORMS
from fanin.measure.record import Measurements, ParameterRecord, Site, TensorStats
from fanin.rules.shared.gains import RATED, gain_of
from fanin.rules.shared.upstream import nearest_weights, read_by_weights

__all__ = [
    "Biased",
    "BiasedMap",
    "biased_maps",
    "biased_units",
    "outweighed_maps",
    "overwhelmed_maps",
    "pushed_outputs",
]

_GATES = frozenset(("sigmoid", "hardsigmoid", "softplus", "softmax"))
_POSITIVE = frozenset(("softplus",))
# Pre-activation from which a smooth activation is flat or straight: nearer to zero no bias decides a unit.
_CURVED = {"tanh": 2.0, "softsign": 2.0, "sigmoid": 4.0, "sin": 1.5, "erf": 1.5} | dict.fromkeys(
    ("gelu", "silu", "mish", "softplus"), 2.0
)
# Straight above zero: a bias that keeps such a unit on leaves it linear, and it passes its input on.
_STRAIGHT = frozenset((
    "relu", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "hardswish",
))  # fmt: skip
_ADDED = frozenset(("bias", "rnn_bias", "shift", "norm_shift"))  # the last of a norm that is written out
_SMALL = 0.1  # of the std that the activation needs
_LARGE = 2.0  # rms of biases, beyond what any start draws
_ONE_WAY = 0.8  # |mean| over rms of a gradient, from which nearly all of it points one way
_OVERWHELMING = 10.0  # times what the weights give, and by itself


@dataclass(frozen=True, slots=True)
class Biased:
    """An output with a bias: of a map, of a norm, or of a map or sum to which the model adds one.

    Attributes:
        site: the output.
        bias: the bias.
        given: std of the rest that the weights or the norm's scale give to an input of rms 1.
        included: whether the bias is in the output as it was measured.
    """

    site: Site
    bias: ParameterRecord
    given: float
    included: bool = True

    def share_beyond(self, stds: float, *, either_sign: bool = False) -> float:
        """Share of the biases beyond so many standard deviations of W x, below zero where the units are straight above.

        With `either_sign` also above it there: such a unit passes its input on, and yet gives little but its bias.

        Also beyond as many times rms(W) sqrt(fan_in), so that no bias is named where the signal vanished before it,
        and beyond the part in which a smooth activation is curved, where a unit sees its input whatever the bias.
        """
        limit = max(stds * self.reach, _CURVED.get(self.site.follower, 0.0))
        below_only = self.site.follower in _STRAIGHT and not either_sign
        return _share_beyond(self.bias.weight, limit, below_only=below_only)

    def share_outweighing(self, stds: float) -> float:
        """Share of the biases beyond so many standard deviations of W x, whatever follows."""
        return _share_beyond(self.bias.weight, stds * self.reach, below_only=False)

    @property
    def multiplies(self) -> bool:
        """Another tensor is multiplied by the output: where it is added to what is made of several, before the sum."""
        return self.site.multiplied and len(self.bias.added_to) <= 1

    @property
    def reach(self) -> float:
        """The std of what the bias is added to as measured, or what its weights give where that is larger."""
        own = self.bias.weight.rms**2 if self.included else 0.0
        return max(math.sqrt(max(self.site.forward.rms**2 - own, 0.0)), self.given)


@dataclass(frozen=True, slots=True)
class BiasedMap(Biased):
    """The output of an operation with a weight and a bias."""

    weight: ParameterRecord = field(kw_only=True)

    @property
    def has_small_weights(self) -> bool:
        """The weights are far below their gain, beside biases no larger than torch draws them by default."""
        reach = self.bias.weight.rms * math.sqrt(self.weight.fan_in or 1.0)
        wanted = gain_of(self.site.follower) if self.site.follower in RATED else 1.0
        return self.given < _SMALL * wanted and reach <= 1.0


def biased_maps(measurements: Measurements) -> list[BiasedMap]:
    """Maps whose output meets an activation that is no gate, in the order in which they ran."""
    return [m for m in _maps(measurements) if _decides_units(m, measurements)]


def biased_units(measurements: Measurements) -> list[Biased]:
    """Outputs with a bias that meet an activation that is no gate, but of maps that are far too small themselves."""
    own = [m for m in biased_maps(measurements) if not m.has_small_weights]
    others = [m for m in (*_added(measurements), *_norms(measurements)) if _decides_units(m, measurements)]
    return [*own, *others]


def overwhelmed_maps(measurements: Measurements) -> list[Biased]:
    """Outputs between maps whose biases are so large that they are all but the same for every sample.

    Outputs of the model are left out (a bias may hold the mean of the targets), and what a normalisation reads.
    """
    between = _between(measurements)
    return [m for m in between if m.bias.weight.rms > max(_OVERWHELMING * m.reach, _OVERWHELMING)]


def pushed_outputs(measurements: Measurements) -> list[Biased]:
    """Outputs of the model that a large bias sets, and that the loss of nearly every sample pulls back the same way.

    A bias that holds the mean of the targets is as large and does not show here: samples pull to both sides.
    """
    read = read_by_weights(measurements)
    last = [m for m in _with_bias(measurements) if m.site.index not in read and m.site.backward is not None]
    large = [m for m in last if m.bias.weight.rms > max(_OVERWHELMING * m.reach, _OVERWHELMING)]
    return [m for m in large if (back := m.site.backward) is not None and abs(back.mean) >= _ONE_WAY * back.rms > 0]


def outweighed_maps(measurements: Measurements) -> list[Biased]:
    """Outputs between maps, no gates, whose biases are large, and not beside weights that are too small.

    Shaped starts have biases of unit scale by design (DKS, Martens et al. 2021, arXiv 2110.01765).
    Whether such biases do harm shows elsewhere: a rectifier that is always on passes its input on.
    """
    inner = [m for m in _between(measurements) if m.site.follower not in _GATES and not m.multiplies]
    large = [m for m in inner if m.bias.weight.rms > _LARGE]  # beside which no weights are small
    return [m for m in large if not _sets_a_rate(m.site, measurements)]


def _between(measurements: Measurements) -> list[Biased]:
    read = read_by_weights(measurements)
    beside = {i for s in measurements.sites if s.op not in SITE_NORMS for i in s.inputs}  # read by more than a norm
    found = [m for m in _with_bias(measurements) if m.site.index in read]
    return [m for m in found if m.site.follower not in SITE_NORMS or m.site.index in beside]


def _decides_units(biased: Biased, measurements: Measurements) -> bool:
    """The output meets an activation that is no gate and sets no rate."""
    follower = biased.site.follower
    if follower not in RATED or follower == "sigmoid":
        return False
    return not (follower in _POSITIVE and _sets_a_rate(biased.site, measurements))


def _with_bias(measurements: Measurements) -> list[Biased]:
    return [*_maps(measurements), *_added(measurements), *_norms(measurements)]


def _maps(measurements: Measurements) -> list[BiasedMap]:
    """Operations that read a weight and a bias."""
    by_path = {p.path: p for p in measurements.parameters}
    found = []
    for site in measurements.weight_sites():
        read = [by_path[n] for n in site.parameters if n in by_path]
        weight = next((p for p in read if p.is_map and p.weight.rms > 0), None)  # beside zeros any bias is large
        bias = next((p for p in read if len(p.shape) == 1), None)
        if weight is not None and bias is not None:
            found.append(BiasedMap(site, bias, _gives(weight), weight=weight))
    return found


def _added(measurements: Measurements) -> list[Biased]:
    """Outputs of maps, and sums of these, to which the model itself adds a vector."""
    by_index = {s.index: s for s in measurements.sites}
    maps = {p.path: p for p in measurements.parameters if p.is_map and p.weight.rms > 0}
    found = []
    for bias in (p for p in measurements.parameters if p.added_to and len(p.shape) == 1 and p.role in _ADDED):
        site = by_index.get(bias.added_to[0])
        if site is None or bias.shape[0] not in site.shape[1:] or site.forward.any_nonfinite:
            continue
        summed = nearest_weights([site.index], measurements)
        weights = [maps[n] for s in summed for n in s.parameters if n in maps]
        if weights:
            given = math.sqrt(sum(_gives(w) ** 2 for w in weights))
            found.append(Biased(site, bias, given, included=False))
    return found


def _norms(measurements: Measurements) -> list[Biased]:
    """Outputs of norms, which have the size of their scale."""
    by_path = {p.path: p for p in measurements.parameters}
    found = []
    for site in (s for s in measurements.sites if s.kind == "norm"):
        read = [by_path[n] for n in site.parameters if n in by_path]
        bias = next((p for p in read if p.role == "norm_shift"), None)
        scale = next((p.weight.rms for p in read if p.role == "norm_scale"), 1.0)
        if bias is not None and scale > 0:
            found.append(Biased(site, bias, scale))
    return found


def _gives(weight: ParameterRecord) -> float:
    return weight.rms_read * math.sqrt(weight.fan_in or 1.0)


def _sets_a_rate(site: Site, measurements: Measurements) -> bool:
    """The activation behind a map multiplies something, or is exponentiated: a time step, a rate or a spread."""
    return any(s.multiplied and s.kind == "activation" and site.index in s.inputs for s in measurements.sites)


def _share_beyond(stats: TensorStats, limit: float, *, below_only: bool) -> float:
    """Share of x below -limit, or also above it.

    From the histogram of equal bins; where few numbers are far larger than the others, one of its bins spans all that
    is near the limit, and the histogram of sizes says how many at most are beyond.
    """
    if stats.rms == 0 or stats.values is None or stats.exponents is None:
        return 0.0
    even, log = stats.values, stats.exponents
    edges = [(even.low + even.width * i) * stats.rms for i in range(len(even.counts) + 1)]
    middles = _middles([stats.min, *edges, stats.max], stats.min, stats.max)
    counts = (even.under, *even.counts, even.over)
    signed = sum(n for n, x in zip(counts, middles, strict=True) if x < -limit or (x > limit and not below_only))
    if limit >= even.width * stats.rms:
        return signed / max(sum(counts), 1)
    largest = max(abs(stats.min), abs(stats.max))
    sizes = _middles([2.0 ** (log.low + i) for i in range(len(log.counts) + 1)], 0.0, largest)
    unsigned = sum(n for n, x in zip(log.counts, sizes, strict=True) if x > limit)
    return min(signed, unsigned) / max(sum(counts), 1)


def _middles(edges: Sequence[float], low: float, high: float) -> list[float]:
    """The middle of the part of each bin that lies between the smallest and the largest number."""
    inside = [min(max(e, low), high) for e in edges]
    return [(a + b) / 2 for a, b in pairwise(inside)]
