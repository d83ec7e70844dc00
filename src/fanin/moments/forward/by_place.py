"""How the mean square of the inputs given is divided over samples and places, and what follows from that.

A kernel holds the mean over all of them. A picture whose border is nearly empty loses little to the zeros beyond it,
and one that is full everywhere loses the share of the taps that fall there. Where two functions of one input are
multiplied, large samples count more: the mean of a product is not the product of the means.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fanin.graph.ir import Op
from fanin.graph.recording.replay import run
from fanin.memory import as_array
from fanin.model.operations import DROPOUT, ELEMENTWISE, JOINS, RESHAPES, SAME_NUMBERS, TURNS
from fanin.moments.frame import Frame
from fanin.moments.kernel import Array

if TYPE_CHECKING:
    from fanin.moments.forward.convolution import TapWindow

__all__ = [
    "beside_bias",
    "contraction_gain",
    "doubt_of",
    "note_convolved",
    "note_part",
    "place_gain",
    "product_gain",
    "sizes_of_places",
]

_KEEP = ELEMENTWISE | DROPOUT | {"batch_norm"}
_SAMPLE_NORMS = frozenset({"group_norm", "instance_norm"})
_MOST_NUMBERS = 1 << 18  # that are followed for each sample; of larger inputs the samples are averaged
_SUMS = frozenset({"add", "sub"})
_POOLS = frozenset(f"{kind}pool{n}d" for kind in ("avg_", "max_", "adaptive_avg_", "adaptive_max_") for n in (1, 2, 3))
_STAND_INS = 4  # sizes that stand for those of all places
_ALIKE = 0.1  # relative spread of the mean squares of places below which they count as alike
_MOST_OPS = 32  # between two convolutions


def place_gain(frame: Frame, value: int, windows: Sequence[TapWindow]) -> float:
    """Mean square of what windows read, over what they would read of a picture that is alike everywhere.

    Args:
        frame: the sweep.
        value: what is read; its last dimensions are the places.
        windows: which places are read, one a dimension.
    """
    energies = None if frame.by_place is None else _places(frame, value, len(windows))
    if energies is None:
        return 1.0
    read = float(_read(energies, windows, energies.ndim - len(windows)).mean())
    full = math.prod(float((w.places >= 0).sum(axis=1).mean()) for w in windows)
    return read / full if full > 0.0 and math.isfinite(read) and read > 0.0 else 1.0


def note_convolved(frame: Frame, op: Op, windows: Sequence[TapWindow], own: float) -> None:
    """Keep how the output of a convolution is divided over its places.

    Args:
        frame: the sweep.
        op: the convolution.
        windows: which places it reads.
        own: share of the output's mean square that is not the bias.
    """
    if frame.by_place is None:
        return
    n = len(windows)
    energies = _places(frame, op.inputs[0], n)
    shape = frame.graph.value(op.output).shape
    before = np.ones([1] * (len(shape) - n) + [_size(w) for w in windows]) if energies is None else energies
    read = _relative(_read(before, windows, before.ndim - n))
    if read is not None:
        frame.by_place[op.output] = own * read + (1.0 - own)


def sizes_of_places(frame: Frame, value: int, after: int, power: float) -> tuple[tuple[float, float], ...]:
    """A few mean squares that stand for all places of a signal, each with its share; () where they are alike.

    Args:
        frame: the sweep.
        value: the signal.
        after: a function of it, whose places are noted.
        power: of its mean square, E f² ~ q^power; 1 for a rectifier.
    """
    if frame.by_place is None or frame.graph.value(value).shape != frame.graph.value(after).shape:
        return ()
    energies = _followed(frame, value, _MOST_OPS)
    if energies is None:
        return ()
    bent = _relative(np.power(energies, max(power, 0.0)))
    if bent is not None:
        frame.by_place[after] = bent
    ranked = np.sort(energies, axis=None)
    if ranked.std() <= _ALIKE:
        return ()
    parts = np.array_split(ranked, min(_STAND_INS, ranked.size))
    return tuple((float(p.mean()), p.size / ranked.size) for p in parts)


def _size(window: TapWindow) -> int:
    return int(window.places.max()) + 1


def _read(energies: Array, windows: Sequence[TapWindow], first: int) -> Array:
    """The sum over the taps of each output place; places begin at dimension `first`."""
    for d, w in enumerate(windows, first):
        inside = np.where(w.places >= 0, w.places, 0).astype(int)
        along = np.moveaxis(energies, d, 0)
        along = np.einsum("ot,ot...->o...", (w.places >= 0).astype(float), along[inside])
        energies = np.moveaxis(along, 0, d)
    return energies


def _places(frame: Frame, value: int, n: int) -> Array | None:
    """Mean square at each place of the last n dimensions, over the mean of all; None where it is not known.

    Channels are averaged; samples are kept where they are known.
    """
    found = _followed(frame, value, _MOST_OPS)
    if found is None or found.ndim < n:
        return None
    if found.ndim > n and found.shape[found.ndim - n - 1] != 1:
        found = found.mean(axis=found.ndim - n - 1, keepdims=True)
    return np.broadcast_to(found, (*found.shape[: found.ndim - n], *frame.graph.value(value).shape[-n:]))


def product_gain(frame: Frame, after: int, one: int, other: int) -> float:
    """Mean square of a product of two tensors, over the product of their mean squares; noted for the product."""
    if frame.by_place is None:
        return 1.0
    found = [_followed(frame, v, _MOST_OPS) for v in (one, other)]
    known = [e for e in found if e is not None]
    made = np.prod(np.broadcast_arrays(*known), axis=0) if known and len({e.ndim for e in known}) == 1 else None
    return _noted(frame, after, made)


def contraction_gain(frame: Frame, after: int, equation: str, values: Sequence[int | None]) -> float:
    """The same of a sum of products; None stands for a weight, whose numbers are alike."""
    if frame.by_place is None:
        return 1.0
    left, _, right = equation.partition("->")
    terms, arrays, sizes = [], [], dict[str, int]()
    for letters, value in zip(left.split(","), values, strict=True):
        energies = None if value is None else _followed(frame, value, _MOST_OPS)
        if energies is not None and energies.ndim == len(letters):
            seen = [(s, n) for s, n in zip(letters, energies.shape, strict=True) if n != 1]
            sizes.update(seen)
            terms.append("".join(s for s, _ in seen))
            arrays.append(energies.reshape([n for _, n in seen]))
    kept = "".join(s for s in right if s in sizes)
    if not arrays or math.prod(sizes.values()) > _MOST_NUMBERS:
        return 1.0
    made = np.asarray(np.einsum(f"{','.join(terms)}->{kept}", *arrays)) / math.prod(
        n for s, n in sizes.items() if s not in kept
    )
    return _noted(frame, after, made.reshape([sizes.get(s, 1) for s in right]))


def doubt_of(gain: float) -> float:
    """Variance of the log mean square by a gain of products: where few samples hold most of it, little is known."""
    return _OF_A_GAIN * math.log(gain) ** 2 if gain > 1.0 else 0.0


_OF_A_GAIN = 0.5  # of ln(gain)^2: a product whose few large samples make it 17 times as large has no size


def beside_bias(frame: Frame, after: int, own: float) -> None:
    """Add a bias, which is alike everywhere, to what is noted; own: share of the mean square that is not the bias."""
    if frame.by_place is not None and after in frame.by_place:
        frame.by_place[after] = own * frame.by_place[after] + (1.0 - own)


def note_part(frame: Frame, after: int, whole: int, owns: tuple[float, float]) -> None:
    """Keep how some units of a map are divided over places, whose bias is another share of them than of all.

    Args:
        frame: the sweep.
        after: these units.
        whole: all of them.
        owns: shares of the mean squares that are not the bias, of all units and of these.
    """
    energies = None if frame.by_place is None else _followed(frame, whole, _MOST_OPS)
    if energies is None or frame.by_place is None or owns[0] <= 0.0:
        return
    read = np.maximum((energies - (1.0 - owns[0])) / owns[0], 0.0)
    frame.by_place[after] = owns[1] * read + (1.0 - owns[1])


def _noted(frame: Frame, after: int, energies: Array | None) -> float:
    """The mean of energies that are not scaled yet, which are kept for a value."""
    relative = None if energies is None else _relative(energies)
    if relative is None or energies is None or frame.by_place is None:
        return 1.0
    frame.by_place[after] = relative
    return float(energies.mean())


def _followed(frame: Frame, value: int, left: int) -> Array | None:
    """The same with all dimensions, of size 1 where nothing is known to differ."""
    known = {} if frame.by_place is None else frame.by_place
    if value in known or left == 0:
        return known.get(value)
    op = frame.graph.producer(value)
    found = _of_input(frame, value) if op is None else _of_result(frame, op, value, left)
    if found is not None:
        known[value] = found
    return found


def _of_input(frame: Frame, value: int) -> Array | None:
    """Of the pictures that were given."""
    signal = frame.signals.get(value)
    if signal is None or not signal.from_data or signal.numbers is None or not signal.numbers.is_floating_point():
        return None
    numbers = signal.numbers.detach().cpu()
    if numbers.dim() < 2:
        return None
    if numbers.numel() <= _MOST_NUMBERS:
        return _relative(np.square(as_array(numbers.double())))
    total = numbers[:1].double().square()
    for sample in numbers[1:]:  # a norm over the first axis takes ten times as long
        total += (sample if sample.itemsize >= 4 else sample.float()).square()
    return _relative(as_array(total) / numbers.shape[0])


def _of_result(frame: Frame, op: Op, value: int, left: int) -> Array | None:
    data = [v for v in dict.fromkeys(op.inputs) if frame.signals[v].from_data]
    shape = frame.graph.value(value).shape
    alike = [v for v in data if frame.graph.value(v).shape == shape]
    if op.name in TURNS and len(data) == 1:
        return _again(op, _followed(frame, data[0], left - 1))
    if op.name in RESHAPES | SAME_NUMBERS and len(data) == 1:
        return _viewed(_followed(frame, data[0], left - 1), frame.graph.value(data[0]).shape, shape)
    if op.name in _POOLS and len(data) == 1:
        return _pooled(_followed(frame, data[0], left - 1), frame.graph.value(data[0]).shape, shape)
    if op.name in JOINS and len(data) == len(set(op.inputs)):
        return _joined(frame, data, shape, left)
    if op.name in _SUMS and alike[:1]:
        return _mixed(frame, op, left)
    if op.name in _TAKEN and len(data) == 1:
        found = _followed(frame, data[0], left - 1)
        return (
            None
            if found is None
            else _taken(op, found, frame.graph.value(data[0]).shape, shape, op.outputs.index(value))
        )
    if op.name.startswith("grid_sampl") and alike[:1] == data[:1]:  # a view near the picture itself
        return _followed(frame, data[0], left - 1)
    if op.name in _SAMPLE_NORMS and len(data) == 1:
        return _even_samples(_followed(frame, data[0], left - 1))
    if op.name in _KEEP and alike and len(data) == 1:
        return _followed(frame, alike[0], left - 1)
    return None


def _again(op: Op, energies: Array | None) -> Array | None:
    """Axes in another order, as the operation itself does it."""
    import torch

    if energies is None:
        return None
    (turned,) = run(op, lambda v: torch.from_numpy(np.array(energies)))
    return as_array(turned)


def _viewed(energies: Array | None, before: tuple[int, ...], after: tuple[int, ...]) -> Array | None:
    """A view of another shape, with a single entry along dimensions in which nothing differs."""
    if energies is None or before == after:
        return energies
    samples = energies.shape[:1]
    if math.prod(before[1:]) * samples[0] > _MOST_NUMBERS:
        return None
    if before[:1] != after[:1]:  # samples beside another dimension: told apart, or not followed
        whole = np.broadcast_to(energies, before).reshape(after) if samples == before[:1] else None
    else:
        whole = np.broadcast_to(energies, (*samples, *before[1:])).reshape((*samples, *after[1:]))
    return None if whole is None else _narrowed(whole)


def _narrowed(whole: Array) -> Array:
    """With a single entry along dimensions in which nothing differs."""
    for d in range(whole.ndim):
        first = np.take(whole, [0], axis=d)
        whole = first if bool((whole == first).all()) else whole
    return whole


def _even_samples(energies: Array | None) -> Array | None:
    """Behind a norm that gives each sample one size."""
    if energies is None:
        return None
    mean: Array = energies.mean(axis=tuple(range(1, energies.ndim)), keepdims=True)
    return np.asarray(energies / np.maximum(mean, 1e-300))


def _mixed(frame: Frame, op: Op, left: int) -> Array | None:
    """Of a sum: each term by its mean square; what does not depend on the inputs is alike everywhere."""
    parts = []
    for v in op.inputs:
        signal = frame.signals[v]
        energies = _followed(frame, v, left - 1) if signal.from_data else np.ones(1)
        if energies is None or (signal.moments is None and signal.numbers is None):
            return None
        parts.append(frame.moments_at(v).second_moment * energies)
    return _relative(np.sum(np.broadcast_arrays(*parts), axis=0)) if parts else None


_PARTS = ("chunk", "split", "split_with_sizes", "tensor_split", "narrow", "slice", "select", "unbind", "getitem")
_TAKEN = frozenset([*_PARTS, "pad", "constant_pad_nd", "flip", "roll", "repeat_interleave"])


def _taken(op: Op, energies: Array, before: tuple[int, ...], after: tuple[int, ...], slot: int) -> Array | None:
    """What an operation that takes or moves entries makes of their mean squares."""
    import torch

    if len(after) == len(before) and all(n in (1, m) for n, m in zip(energies.shape, after, strict=True)):
        return energies  # a part along a dimension in which nothing differs
    whole = np.broadcast_to(energies, (*energies.shape[:1], *before[1:]))
    if whole.size > _MOST_NUMBERS or energies.ndim != len(before):
        return None
    try:
        made = run(op, lambda v: torch.from_numpy(np.array(whole)))[slot]
    except (RuntimeError, IndexError, TypeError):  # it takes samples, which are averaged here
        return None
    found = _relative(as_array(made))
    return None if found is None else _narrowed(found)


def _pooled(energies: Array | None, before: tuple[int, ...], after: tuple[int, ...]) -> Array | None:
    """The mean of each window, where windows lie side by side."""
    if energies is None or len(before) != len(after):
        return None
    for d, (n, m) in enumerate(zip(before, after, strict=True)):
        if energies.shape[d] == n != m:
            if n % m:
                return None
            along = np.moveaxis(energies, d, 0)
            energies = np.moveaxis(along.reshape(m, n // m, *along.shape[1:]).mean(axis=1), 0, d)
    return energies


def _joined(frame: Frame, data: Sequence[int], after: tuple[int, ...], left: int) -> Array | None:
    """Of tensors joined along a dimension in which none of them differs: each by its mean square and its size."""
    shapes = [frame.graph.value(v).shape for v in data]
    along = [d for d, n in enumerate(after) if any(len(s) != len(after) or s[d] != n for s in shapes)]
    parts = []
    for v, shape in zip(data, shapes, strict=True):
        moments, energies = frame.signals[v].moments, _followed(frame, v, left - 1)
        if len(along) != 1 or moments is None or energies is None or energies.shape[along[0]] != 1:
            return None
        parts.append(moments.second_moment * shape[along[0]] * energies)
    return _relative(np.sum(np.broadcast_arrays(*parts), axis=0))


def _relative(energies: Array) -> Array | None:
    mean = float(energies.mean())
    return energies / mean if math.isfinite(mean) and mean > 0.0 else None
