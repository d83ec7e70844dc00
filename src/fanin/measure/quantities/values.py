"""Values that no initializer makes: single elements, rows, and buffers."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from fanin.measure.record import BufferRecord, RowsApart, Values
from fanin.measure.sampling import strided
from fanin.memory import as_array
from fanin.tensors.values import wide_enough

__all__ = ["BEYOND", "HUGE", "buffer_record", "buffer_records", "buffers_held", "extremes", "rows_apart"]

BEYOND = 1e3  # times the rms of the rest
HUGE = 1e6
_SAMPLE = 4096
_NEAR = 100.0  # times the median of the non-zero elements: the rest
_SMALLEST_NORMAL = 2.0**-126  # of float32 and bfloat16
_ROW_FACTOR = 5.0
_MIN_ROWS, _MIN_COLUMNS, _MIN_COLUMNS_LOW = 8, 8, 16


def extremes(x: torch.Tensor) -> Values | None:
    """The largest element of a parameter beside the rest of them; None where it is empty or not finite.

    All elements are looked at for the largest; the rest only where that one is far out.

    Example:
        >>> w = torch.full((4, 8), 0.5)
        >>> w[1, 2] = 3e30
        >>> extremes(w).index, extremes(w).num_beyond, extremes(w).rest_rms
        ((1, 2), 1, 0.5)
    """
    x = wide_enough(x.detach())
    largest = _largest(x) if x.numel() else math.nan
    if not math.isfinite(largest):
        return None
    sample = np.abs(as_array(strided(x, _SAMPLE).double().cpu()))
    alive = sample if np.minimum.reduce(sample) > 0.0 else sample[sample > 0.0]
    if not alive.size:
        return Values(largest=largest) if largest <= HUGE else _far_out(x, largest, 0.0, 0.0)
    middle = _median(alive)
    low = np.count_nonzero(alive < _SMALLEST_NORMAL) / alive.size if x.dtype is not torch.float16 else 0.0
    near = sample[sample <= _NEAR * middle]
    rest = math.sqrt(float(near.dot(near)) / near.size)
    if largest <= HUGE and (largest <= BEYOND * rest or x.numel() < 8):
        return Values(largest=largest, rest_rms=rest, subnormal_share=low)
    return _far_out(x, largest, _NEAR * middle, low)


def _median(x: npt.NDArray[np.float64]) -> float:
    """The median of finite numbers: `np.median` in a third of its time."""
    upper = x.size // 2
    ordered = np.partition(x, (upper - 1, upper) if x.size > 1 else 0)
    return float(ordered[upper] if x.size % 2 else 0.5 * (ordered[upper - 1] + ordered[upper]))


def _largest(x: torch.Tensor) -> float:
    """Largest absolute value; NaN where there is any."""
    low, high = torch.aminmax(x)
    return abs(max(-float(low), float(high)))


def _far_out(x: torch.Tensor, largest: float, near: float, subnormal_share: float) -> Values:
    sizes = x.double().abs()
    rest = sizes[(sizes <= near) & (sizes < largest)]
    rms = float(rest.square().mean().sqrt()) if rest.numel() else 0.0
    beyond = (sizes > HUGE) | (sizes > BEYOND * rms if rms > 0 and x.numel() >= 8 else False)
    at = torch.unravel_index(sizes.argmax(), tuple(x.shape)) if x.dim() else ()
    return Values(
        largest=largest,
        index=tuple(int(i) for i in at),
        rest_rms=rms,
        num_beyond=int(beyond.sum()),
        subnormal_share=subnormal_share,
    )


def rows_apart(x: torch.Tensor) -> RowsApart | None:
    """Rows whose rms is five times that of the median row or more, or a fifth or less; zero rows are left out.

    A table may have dimensions of size 1 in front, as positions that are added to a batch have. At most a third of the
    rows, of at least 8, with 8 columns (16 for small rows): the rms of 16 normal numbers is below a fifth of their std
    with probability 2e-8.

    Example:
        >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
        <...>
        >>> table = 0.02 * torch.randn(100, 32)
        >>> table[90:] *= 50
        >>> found = rows_apart(table)
        >>> found.first, found.last, found.count, 40 < found.ratio < 60
        (90, 99, 10, True)
    """
    if x.dim() > 2 and math.prod(x.shape[:-2]) == 1:
        x = x.reshape(x.shape[-2:])
    if x.dim() != 2 or x.shape[0] < _MIN_ROWS or x.shape[1] < _MIN_COLUMNS:
        return None
    x = wide_enough(x.detach())
    wide = torch.float32 if x.dtype.itemsize < 4 else None
    rms = (torch.linalg.vector_norm(x, dim=1, dtype=wide) / math.sqrt(x.shape[1])).cpu().numpy()
    alive = rms > 0
    if alive.sum() < _MIN_ROWS or not np.isfinite(rms).all():
        return None
    middle = float(np.median(rms[alive]))
    apart = rms >= _ROW_FACTOR * middle
    if x.shape[1] >= _MIN_COLUMNS_LOW:
        apart |= alive & (rms <= middle / _ROW_FACTOR)
    where = np.flatnonzero(apart)
    if not where.size or where.size > alive.sum() / 3:
        return None
    ratio = float(np.median(rms[where])) / middle
    return RowsApart(first=int(where[0]), last=int(where[-1]), count=int(where.size), ratio=ratio)


def buffers_held(model: torch.nn.Module) -> dict[str, BufferRecord]:
    """Records of the floating buffers as they are now."""
    named = model.named_buffers()
    return {n: buffer_record(n, x) for n, x in named if x.is_floating_point() and _is_readable(x)}


def _is_readable(x: torch.Tensor) -> bool:
    return x.layout is torch.strided and not x.is_nested and x.numel() > 0


def buffer_records(
    model: torch.nn.Module,
    held: Mapping[str, BufferRecord],
    angles: Collection[str],
    factors: Collection[str],
    added_to: Mapping[str, Collection[int]],
) -> tuple[BufferRecord, ...]:
    """Records of the floating buffers: whether they are used as angles or as factors, and what they are added to.

    Args:
        model: after its pass.
        held: what the buffers held before, which a pass may overwrite (running statistics).
        angles: names of those of which a sine or cosine is taken.
        factors: names of those that multiply the signal.
        added_to: the sites whose outputs a buffer joins.
    """
    now = dict(model.named_buffers())
    made_later = {} if now.keys() <= held.keys() else buffers_held(model)
    found = []
    for name, record in {**made_later, **held}.items():
        uses = replace(record, as_angle=name in angles, as_factor=name in factors)
        if (added := tuple(sorted(added_to.get(name, ())))) and name in now:
            uses = replace(uses, added_to=added, rms=_finite_rms(now[name]))
        found.append(uses)
    return tuple(found)


def _finite_rms(x: torch.Tensor) -> float:
    x = wide_enough(x.detach())
    finite = x[x.isfinite()].double()
    return float(finite.square().mean().sqrt()) if finite.numel() else 0.0


def buffer_record(name: str, x: torch.Tensor, *, as_angle: bool = False, as_factor: bool = False) -> BufferRecord:
    """What a buffer holds that it should not: NaN, infinities, nothing but zeros."""
    x = wide_enough(x.detach())
    size = _largest(x)
    nan = plus = minus = 0
    if not math.isfinite(size):
        nan = int(x.isnan().sum())
        plus, minus = int(x.isposinf().sum()), int(x.isneginf().sum())
        finite = x[x.isfinite()]
        size = float(finite.abs().max()) if finite.numel() else 0.0
    return BufferRecord(
        path=name,
        shape=tuple(x.shape),
        num_nan=nan,
        num_positive_inf=plus,
        num_negative_inf=minus,
        largest=size,
        as_angle=as_angle,
        as_factor=as_factor,
    )
