"""Functions of single entries: any chain of elementwise operations between Gaussian tensors, by what it computes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import ndtri

from fanin.graph.ir import Op
from fanin.graph.recording.replay import run
from fanin.memory import as_array
from fanin.model.operations import ELEMENTWISE
from fanin.moments import kernel as kn
from fanin.moments import laws
from fanin.moments.forward.by_place import sizes_of_places
from fanin.moments.frame import Frame, NoRuleError
from fanin.moments.hermite import GaussianImage
from fanin.moments.kernel import Array
from fanin.moments.laws import Law
from fanin.moments.moments import JointMoments, aligned
from fanin.moments.signal import Signal
from fanin.moments.sources import Function, correlation, entries, is_positive, normal_correlation, source_image

__all__ = ["elementwise", "evaluate", "image_of", "is_elementwise", "region_of"]

MAX_REGION = 6
MAX_DEPTH = 160
_PAIRS = 4096
_NEVER = frozenset({"bernoulli", "rand_like", "masked_scatter", "view_as_real", "view_as_complex", "polar", "complex"})
_PROBE_CAP = 1 << 16


def is_elementwise(frame: Frame, op: Op) -> bool:
    """Whether each entry of the result depends only on the entries at its own place.

    An unknown op is tried on numbers.
    """
    if op.name in ELEMENTWISE:
        return op.name not in _NEVER and len(op.outputs) == 1
    return len(op.outputs) == 1 and len(set(op.inputs)) == 1 and _passes_probe(frame, op)


def _passes_probe(frame: Frame, op: Op) -> bool:
    """Run the op on a vector and on the same vector in another order."""
    import torch

    source, made = frame.graph.value(op.inputs[0]), frame.graph.value(op.output)
    if source.shape != made.shape or not (source.is_float and made.is_float) or source.numel < 2:
        return False
    x = torch.linspace(-2.3, 2.7, 24).reshape(2, 12)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    try:
        with torch.no_grad():
            (a,), (b,) = run(op, lambda _: x), run(op, lambda _: x.flatten()[order].reshape(2, 12))
    except Exception:  # an op of other needs is not elementwise
        return False
    return bool(a.shape == x.shape and torch.equal(a.flatten()[order], b.flatten()))


# ---------------------------------------------------------------------- regions
def region_of(frame: Frame, value: int) -> tuple[int, ...]:
    """The values that one is an elementwise function of: itself, none (a known number), or the sources of its chain."""
    s = frame.signals[value]
    if s.constant is not None or (s.numbers is not None and s.numbers.numel() == 1 and not s.region):
        return ()
    return s.region or (frame.first(value),)


def deep_region_of(frame: Frame, value: int) -> tuple[int, ...]:
    """The same with sums of few terms taken apart."""
    s = frame.signals[value]
    shallow = region_of(frame, value)
    if not s.region:
        return s.deep if shallow and s.deep else shallow
    return tuple(dict.fromkeys(itertools.chain.from_iterable(deep_region_of(frame, v) for v in s.region)))


def joint_region(frame: Frame, op: Op) -> tuple[int, ...]:
    """The values that an elementwise op's result is a function of: few, and no two of them entangled.

    Raises:
        NoRuleError: there is no such set.
    """
    for regions in (region_of, deep_region_of):
        region = tuple(dict.fromkeys(itertools.chain.from_iterable(regions(frame, v) for v in op.inputs)))
        if not tangled(frame, region):
            return region
    raise NoRuleError("the operands share fluctuations that no small set of sources explains")


def tangled(frame: Frame, region: Sequence[int]) -> bool:
    """Whether any two of these values are entangled, or have terms in common."""
    if len(region) > MAX_REGION:
        return True
    return any(frame.entangled(a, b) or frame.terms(a) & frame.terms(b) for a, b in itertools.combinations(region, 2))


def applied(frame: Frame, op: Op, env: Mapping[int, Any]) -> Any:
    """First output of an elementwise op on what `env` holds.

    A number that would be written into takes the others' shape; all are computed with in float64 (prelu takes no two).
    """

    def fetch(value: int) -> Any:
        tensor = env[frame.first(value)]
        tensor = tensor.double() if tensor.is_floating_point() else tensor
        if op.inplace and value == op.inputs[0]:
            shape = np.broadcast_shapes(*(tuple(env[frame.first(v)].shape) for v in op.inputs))
            return tensor.expand(shape)
        return tensor

    return run(op, fetch)[0]


def evaluate(frame: Frame, value: int, env: dict[int, Any]) -> Any:
    """The value of an elementwise chain, given tensors for the values it starts from."""
    import torch

    value = frame.first(value)
    if value in env:
        return env[value]
    s = frame.signals[value]
    if s.numbers is not None and not s.region and (s.numbers.numel() == 1 or s.constant is not None):
        env[value] = s.numbers.reshape(-1)[0]
    elif s.constant is not None:
        mask = frame.graph.value(value).dtype == "bool"
        env[value] = torch.tensor(s.constant, dtype=torch.bool if mask else torch.float64)
    else:
        op = frame.graph.producer(value)
        if op is None:
            raise NoRuleError("a leaf is missing from the region")
        for v in dict.fromkeys(op.inputs):
            evaluate(frame, v, env)
        env[value] = applied(frame, op, env)
    return env[value]


def elementwise(frame: Frame, op: Op) -> Signal:
    """Signal of an elementwise op, by quadrature over one Gaussian or by joint sampling over several."""
    for v in op.inputs:
        frame.moments_at(v)
    region = joint_region(frame, op)
    shape = frame.graph.value(op.output).shape
    if not region:
        return _of_constants(frame, op, shape)
    if len(region) == 1 and frame.signals[region[0]].numbers is None:
        moments, positive = image_of(frame, op, region[0], shape)
    else:
        moments, positive = sampled_pairs(frame, op, region, shape)
    return replace(chained(frame, op, moments, region), positive=positive)


def chained(frame: Frame, op: Op, moments: JointMoments, region: Sequence[int]) -> Signal:
    """Signal of a link of an elementwise chain; chains too long or of too many sources start anew."""
    made = frame.made(op, moments, leaf=False)
    depth = 1 + max((frame.signals[v].depth for v in op.inputs), default=0)
    if len(region) > MAX_REGION or depth > MAX_DEPTH:
        return made
    return replace(made, region=tuple(region), depth=depth)


def _of_constants(frame: Frame, op: Op, shape: tuple[int, ...]) -> Signal:
    env: dict[int, Any] = {}
    for v in dict.fromkeys(op.inputs):
        evaluate(frame, v, env)
    return frame.made(op, JointMoments.constant(shape, float(applied(frame, op, env))), leaf=False)


def chain_function(frame: Frame, op: Op, source: int) -> Function:
    """The NumPy function that the chain up to an op computes from its one source."""

    def f(z: Array) -> Array:
        import torch

        env: dict[int, Any] = {source: torch.from_numpy(z)}
        with torch.no_grad():
            for v in dict.fromkeys(op.inputs):
                evaluate(frame, v, env)
            out = applied(frame, op, env)
        return np.asarray(out.double().expand(z.shape).numpy())

    return f


def inner_values(frame: Frame, op: Op, source: int) -> list[int]:
    """The values of a chain between its one source and its end, whose gradients the chain alone decides."""
    found: dict[int, None] = {}
    todo = list(op.inputs)
    while todo:
        value = frame.first(todo.pop())
        s = frame.signals[value]
        made = frame.graph.producer(value)
        if value in found or value == source or made is None or s.region != (source,):
            continue
        found[value] = None
        todo.extend(made.inputs)
    return [v for v in found if frame.graph.value(v).is_float]


def inner_slope(frame: Frame, op: Op, source: int, inner: int) -> Function:
    """Derivative of a chain by one of its inner values, as a function of its source."""

    def df(z: Array) -> Array:
        import torch

        env: dict[int, Any] = {source: torch.from_numpy(z)}
        with torch.no_grad():
            env[inner] = evaluate(frame, inner, env).detach().expand(z.shape).clone()
        env = {source: env[source], inner: env[inner].requires_grad_()}
        with torch.enable_grad():
            for v in dict.fromkeys(op.inputs):
                evaluate(frame, v, env)
            out = applied(frame, op, env).expand(z.shape)
            (slope,) = torch.autograd.grad(out.sum(), env[inner], allow_unused=True) if out.requires_grad else (None,)
        return np.zeros_like(z) if slope is None else np.asarray(slope.numpy())

    return df


def chain_slope(frame: Frame, op: Op, source: int) -> Function:
    """Its derivative."""

    def df(z: Array) -> Array:
        import torch

        with torch.enable_grad():
            x = torch.from_numpy(z.copy()).requires_grad_()
            env: dict[int, Any] = {source: x}
            for v in dict.fromkeys(op.inputs):
                evaluate(frame, v, env)
            out = applied(frame, op, env)
            (slope,) = torch.autograd.grad(out.sum(), x, allow_unused=True) if out.requires_grad else (None,)
        return np.zeros_like(z) if slope is None else np.asarray(slope.numpy())

    return df


def local_slope(frame: Frame, op: Op, operand: int) -> Function:
    """Derivative of one op by one operand, the others being known numbers."""

    def df(z: Array) -> Array:
        import torch

        with torch.enable_grad():
            x = torch.from_numpy(z.copy()).requires_grad_()
            env: dict[int, Any] = {frame.first(operand): x}
            for v in dict.fromkeys(op.inputs):
                evaluate(frame, v, env)
            out = applied(frame, op, env)
            (slope,) = torch.autograd.grad(out.sum(), x, allow_unused=True)
        return np.zeros_like(z) if slope is None else np.asarray(slope.numpy())

    return df


def image_of(frame: Frame, op: Op, source: int, shape: tuple[int, ...]) -> tuple[JointMoments, bool]:
    """Moments of a chain over one Gaussian source, and whether it is never negative."""
    m = frame.signals[source].known.expanded(shape)
    image = source_image(frame, chain_function(frame, op, source), source)
    if image.lost > 0.5:
        raise NoRuleError("the function is not finite on most of its Gaussian")
    made = imaged(m, image, normal_correlation(frame, source, m))
    power = _power(frame, op, source, m, image)
    made = _by_places(frame, op, source, made, sizes_of_places(frame, source, op.output, power))
    return made.changed(width_var=_passed(m.width_var, power) + _bent(m, power)), image.positive


def _by_places(
    frame: Frame, op: Op, source: int, made: JointMoments, sizes: Sequence[tuple[float, float]]
) -> JointMoments:
    """The moments where the places of a picture differ in size: those of a few sizes, each by its share."""
    if not sizes or is_positive(frame, source):
        return made
    f, known = chain_function(frame, op, source), frame.signals[source].known.expanded(made.shape)
    images = [source_image(frame, f, source, stretch=math.sqrt(max(q, _FAINT))) for q, _ in sizes]
    parts = [imaged(known, i, normal_correlation(frame, source, known)) for i in images]
    shares = [share for _, share in sizes]
    mean = sum(s * p.mean for s, p in zip(shares, parts, strict=True))
    kernel = np.sum([s * p.kernel for s, p in zip(shares, parts, strict=True)], axis=0)
    return made.with_kernel(kernel, mean) if np.isfinite(kernel).all() else made


_FAINT = 1e-6  # of the mean square of all places: what is fainter counts as this


def _power(frame: Frame, op: Op, source: int, m: JointMoments, image: GaussianImage) -> float:
    """The power a of E f^2 ~ q^a near the source's variance q: 1 for a rectifier, less where a function saturates."""
    if m.entry_var <= 0.0 or image.second <= 0.0 or is_positive(frame, source):
        return 1.0
    step = 0.1
    wider = source_image(frame, chain_function(frame, op, source), source, stretch=math.sqrt(1.0 + step))
    power = (math.log(max(wider.second, 1e-300)) - math.log(image.second)) / math.log1p(step)
    return power if math.isfinite(power) else 1.0


def _passed(width_var: float, power: float) -> float:
    """What a function makes of the variance of log q; of a large one no less than all of it."""
    return width_var * (power**2 if width_var < 1.0 else max(power**2, 1.0))


def _bent(m: JointMoments, power: float) -> float:
    """Variance of the log second moment of a function, whose source has another size at each place and unit.

    Places differ in size as what is mapped there does, by 2 / n in q for maps of n independent numbers and more for
    the outputs of rectifiers; E f^2 takes up half of it times its own bend a (a - 1). A rectifier has no bend.
    """
    return min(_UNLIKE * min(m.overlap, _MOST_OVERLAP) * power * (power - 1.0), 1.0) ** 2


_MOST_OVERLAP = 0.25
_UNLIKE = 2.5


def imaged(m: JointMoments, image: GaussianImage, normal: Array | None = None) -> JointMoments:
    """Moments of f(x), given those of x and the image of its entries under f.

    Args:
        m: of x.
        image: under f, as a function of a normal number.
        normal: correlations of the normal numbers of pairs of entries; None: x is Gaussian, they are its own.
    """
    c = correlation(m) if normal is None else normal
    kernel = image.pair(c)
    kernel[(1,) * kernel.ndim] = image.second
    spread = _image_spread(m, c, image) if math.isfinite(image.kappa) else None
    # What a small correlation is multiplied by. A product of floats gives inf where a power would raise.
    passed = image.energies[1] / max(image.second - image.mean * image.mean, 1e-300)
    overlap = m.overlap * min(float(passed), 1.0) ** 2 if math.isfinite(passed) else m.overlap
    return m.changed(mean=image.mean, kernel=kernel, spread=spread, places=None, overlap=overlap)


def _image_spread(m: JointMoments, c: Array, image: GaussianImage) -> float:
    """Variance of the log mean square of f(x), given correlations of x.

    A norm before it, or an input that is known, leaves no chance to the mean square of x, and so none to the part of
    f^2 that follows it; the part that follows the mean of x varies as that does.
    """
    if m.spread != 0.0:
        return kn.pair_mean(np.square(c), m.sizes) * image.kappa
    by_mean, by_square = image.squares
    rest = max(image.kappa - by_mean - by_square, 0.0)
    return rest * kn.pair_mean(np.abs(c) ** 3, m.sizes) + by_mean * max(kn.pair_mean(c, m.sizes), 0.0)


# ---------------------------------------------------------------------- laws of entries
def entry_law(frame: Frame, value: int) -> Law | None:
    """The law of an entry of a value, None where it counts as Gaussian."""
    s = frame.signals[value]
    if s.numbers is not None or s.constant is not None or not s.known.entry_var > 0.0:
        return None
    f = _single(frame, value)
    if f is None:
        return None if s.region or s.positive else s.law
    return laws.of_points(f[1](entries(frame, f[0], laws.GRID)), laws.WEIGHTS)


def _single(frame: Frame, value: int) -> tuple[int, Function] | None:
    """The one source that a value is an elementwise function of, and the function."""
    region, producer = frame.signals[value].region, frame.graph.producer(value)
    if len(region) != 1 or producer is None or frame.signals[region[0]].numbers is not None:
        return None
    return region[0], chain_function(frame, producer, region[0])


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups of entries (the channels of a tensor, say) that have each a part of their normal numbers in common.

    Attributes:
        likeness: correlation of two normal numbers of one group.
        common: what they have in common in some groups, of equal shares.
        values: entries of each of these groups at the normal numbers `GRID`, (groups, entries).
    """

    likeness: float
    common: Array
    values: Array

    @property
    def variances(self) -> Array:
        """Variance inside each group."""
        means = self.values @ laws.WEIGHTS
        return np.asarray(np.square(self.values - means[:, None]) @ laws.WEIGHTS)

    def given(self, energies: Array) -> Array:
        """What a number of each group is on average at entries whose normal number is one of `GRID`."""
        rest = max(1.0 - self.likeness, 1e-6)
        far = np.square(laws.GRID - math.sqrt(self.likeness) * self.common[:, None]) / rest
        chances = np.exp(-0.5 * (far - far.min(axis=0)))
        return np.asarray(energies @ chances / chances.sum(axis=0))


def groups_of(frame: Frame, value: int, dims: Sequence[int], count: int) -> Groups | None:
    """The groups along `dims` of a value that is a function of one source; None where all entries are Gaussian."""
    single = _single(frame, value)
    source, f = single or (value, lambda z: z)
    s, shape = frame.signals[source], frame.graph.value(value).shape
    if s.moments is None or not s.known.entry_var > 0.0:
        return None
    if single is None and (frame.signals[value].region or s.law is None):
        return None
    merged = s.known.expanded(shape).merged(*dims)
    index = [1] * len(merged.sizes)
    for axis in merged.axes_of(dims):
        index[axis] = 0
    c = float(np.clip(normal_correlation(frame, source, merged)[tuple(index)], 0.0, 1.0))
    common = ndtri((np.arange(count) + 0.5) / count) if c > _UNLIKE_GROUPS and count > 1 else np.zeros(1)
    z = math.sqrt(c) * common[:, None] + math.sqrt(1.0 - c) * laws.GRID
    return Groups(c, common, f(entries(frame, source, z.reshape(-1))).reshape(z.shape))


def law_within(frame: Frame, value: int, dims: Sequence[int]) -> tuple[Array, Array]:
    """Entries of a value, less the mean of their group along `dims` and over its spread, and their weights."""
    groups = groups_of(frame, value, dims, _GROUPS)
    if groups is None:
        return laws.GRID, laws.WEIGHTS
    variances = groups.variances
    alive = variances > _DEAD * variances.max(initial=0.0)
    values = groups.values[alive]
    values = (values - (values @ laws.WEIGHTS)[:, None]) / np.sqrt(variances[alive])[:, None]
    return values.reshape(-1), np.tile(laws.WEIGHTS, len(values))


_GROUPS = 9
_UNLIKE_GROUPS = 0.01
_DEAD = 1e-9


# ---------------------------------------------------------------------- several sources
def sampled_pairs(
    frame: Frame, op: Op, region: Sequence[int], shape: tuple[int, ...], *, by: int | None = None
) -> tuple[JointMoments, bool]:
    """Moments of a function of several sources (or of its derivative by one), from drawn pairs of every kind."""
    full = dict(zip(region, aligned([frame.moments_at(v) for v in region], shape), strict=True))
    template = next(iter(full.values()))
    draws = PairDraws(frame, full)
    kernel = np.empty((2,) * len(template.sizes))
    mean, positive = 0.0, False
    known: dict[tuple[float, ...], float] = {}
    for pattern in itertools.product((1, 0), repeat=len(template.sizes)):
        kind = draws.kind(pattern)
        if kind not in known:
            sides = [_side(frame, op, env, by) for env in draws.pair(pattern)]
            with np.errstate(all="ignore"):
                known[kind] = float(np.mean(sides[0] * sides[1]))
            if all(pattern):
                mean, positive = float(np.mean(sides[0])), bool((sides[0] >= 0.0).all())
        kernel[pattern] = known[kind]
    width = sum(m.width_var for m in full.values())
    return template.changed(mean=mean, kernel=kernel, width_var=width, spread=None, places=None), positive


def _side(frame: Frame, op: Op, env: dict[int, Any], by: int | None) -> Array:
    """Values of a chain at one side of the drawn pairs, or its derivatives by a source."""
    import torch

    if by is not None:
        env[by] = env[by].clone().requires_grad_()
    with torch.set_grad_enabled(by is not None):
        for v in dict.fromkeys(op.inputs):
            evaluate(frame, v, env)
        out = applied(frame, op, env)
        if by is not None:
            (slope,) = torch.autograd.grad(out.sum(), env[by], allow_unused=True) if out.requires_grad else (None,)
            out = torch.zeros_like(env[by]) if slope is None else slope
    return np.asarray(out.detach().double().expand(_PAIRS).numpy())


class PairDraws:
    """Values of several sources at two entries each, for any kind of pair; the same white noise serves all kinds."""

    def __init__(self, frame: Frame, sources: Mapping[int, JointMoments]) -> None:
        self._frame, self._sources = frame, sources
        rng = np.random.default_rng(7)
        self._noise = {v: rng.standard_normal((2, _PAIRS)) for v in sources}
        self._rng = rng

    def kind(self, pattern: tuple[int, ...]) -> tuple[float, ...]:
        """What tells one kind of pair from another: the correlation of each source there."""
        return tuple(
            round(float(m.kernel[pattern]), 12) if self._frame.signals[v].numbers is None else float(hash(pattern))
            for v, m in self._sources.items()
        )

    def pair(self, pattern: tuple[int, ...]) -> tuple[dict[int, Any], dict[int, Any]]:
        """Tensors (pairs,) for each source, at the first and at the second entry."""
        import torch

        one: dict[int, Any] = {}
        two: dict[int, Any] = {}
        for v, m in self._sources.items():
            first, second = (
                self._known(v, m, pattern) if self._frame.signals[v].numbers is not None else self._gauss(v, m, pattern)
            )
            one[v], two[v] = torch.from_numpy(first), torch.from_numpy(second)
        return one, two

    def _gauss(self, value: int, m: JointMoments, pattern: tuple[int, ...]) -> tuple[Array, Array]:
        a, b = self._noise[value]
        c = float(normal_correlation(self._frame, value, m)[pattern])
        b = c * a + math.sqrt(max(1.0 - c * c, 0.0)) * b
        return entries(self._frame, value, a), entries(self._frame, value, b)

    def _known(self, value: int, m: JointMoments, pattern: tuple[int, ...]) -> tuple[Any, Any]:
        """Entries of a known tensor, picked at places that share the axes the pattern names."""
        numbers = self._frame.signals[value].numbers.detach()
        tensor = as_array(numbers.double() if numbers.is_floating_point() else numbers)
        tensor = tensor.reshape((1,) * (len(m.shape) - tensor.ndim) + tensor.shape)
        places: list[list[Any]] = [[], []]
        for d, n in enumerate(m.shape):
            agree = all(pattern[a] for a in m.axes(d))
            i = self._rng.integers(0, n, _PAIRS)
            j = i if agree or n == 1 else (i + self._rng.integers(1, n, _PAIRS)) % n
            wide: bool = tensor.shape[d] != 1
            places[0].append(i if wide else np.zeros_like(i))
            places[1].append(j if wide else np.zeros_like(j))
        return np.ascontiguousarray(tensor[tuple(places[0])]), np.ascontiguousarray(tensor[tuple(places[1])])
