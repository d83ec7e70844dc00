"""Operations that only move entries: cat, pad, index, unfold, repeat, write into a slice.

Which entry moves where is found by running the operation on indices.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fanin.graph.ir import Op, Ref
from fanin.graph.recording.replay import run
from fanin.memory import as_array
from fanin.moments.algebra import concatenated
from fanin.moments.frame import SAMPLE_CAP, Frame, NoRuleError
from fanin.moments.moments import JointMoments
from fanin.moments.signal import Signal

__all__ = ["RULES", "gathered", "moved"]

_PAIRS = 2048

IndexMap = npt.NDArray[np.int64]


def gathered(frame: Frame, op: Op) -> Signal:
    """Signal of an op each of whose output entries is one entry of an operand, or a constant."""
    sources = [v for v in dict.fromkeys(op.inputs) if _moves(frame, op, v)]
    numel = sum(frame.graph.value(v).numel for v in (*sources, *op.outputs))
    if not sources or numel > SAMPLE_CAP:
        raise NoRuleError(f"{op.name} on {numel} entries")
    index = index_map(frame, op, sources)
    return frame.made(op, moved(index, [frame.moments_at(v) for v in sources]), leaf=False)


def _moves(frame: Frame, op: Op, value: int) -> bool:
    v = frame.graph.value(value)
    return v.is_float and v.numel > 0 and v.dtype != "bool"


def index_map(frame: Frame, op: Op, sources: Sequence[int]) -> IndexMap:
    """For each output entry, 1 + the number of the entry it came from, counted through all sources; 0: a constant."""
    import torch

    env: dict[int, Any] = {}
    start = 1
    for v in sources:
        info = frame.graph.value(v)
        env[v] = torch.arange(start, start + info.numel, dtype=torch.float64).reshape(info.shape)
        start += info.numel
    for v in op.inputs:
        if v not in env:
            env[v] = frame.signals[v].numbers
            if env[v] is None:
                raise NoRuleError(f"{op.name} by indices that are not known")
    with torch.no_grad():
        out = run(op, env.__getitem__)[0]
    index = as_array(out.double())
    if (
        index.shape != frame.graph.value(op.output).shape
        or (index != np.round(index)).any()
        or index.min() < 0
        or index.max() >= start
    ):
        raise NoRuleError(f"{op.name} does more than move entries")
    return np.asarray(index.astype(np.int64))


def moved(index: IndexMap, sources: Sequence[JointMoments]) -> JointMoments:
    """Moments of the array that `index` puts together out of independent sources, from drawn pairs of each kind."""
    sizes = tuple(n for n in index.shape if n != 1)
    table = index.reshape(sizes)
    rng = np.random.default_rng(11)
    offsets = np.cumsum([1, *(int(np.prod(m.shape, dtype=np.int64)) for m in sources)])
    counts = [np.count_nonzero((index >= lo) & (index < hi)) for lo, hi in itertools.pairwise(offsets)]
    shares = np.array(counts) / index.size
    mean = float(sum(s * m.mean for s, m in zip(shares, sources, strict=True)))
    kernel = np.empty((2,) * len(sizes))
    for pattern in itertools.product((0, 1), repeat=len(sizes)):
        if all(pattern):
            kernel[pattern] = sum(s * m.second_moment for s, m in zip(shares, sources, strict=True))
        else:
            one, two = drawn_pairs(table, pattern, rng)
            kernel[pattern] = float(np.mean(_products(one, two, offsets, sources)))
    width = max((m.width_var for m in sources), default=0.0)
    return JointMoments(shape=index.shape, sizes=sizes, mean=mean, kernel=kernel, width_var=width)


def drawn_pairs(table: IndexMap, pattern: Sequence[int], rng: np.random.Generator) -> tuple[IndexMap, IndexMap]:
    """Entries of the table at pairs of places that agree where the pattern has ones."""
    one, two = [], []
    for n, agree in zip(table.shape, pattern, strict=True):
        i = rng.integers(0, n, _PAIRS)
        one.append(i)
        two.append(i if agree else (i + rng.integers(1, n, _PAIRS)) % n)
    return table[tuple(one)], table[tuple(two)]


def _products(
    one: IndexMap, two: IndexMap, offsets: npt.NDArray[Any], sources: Sequence[JointMoments]
) -> npt.NDArray[np.float64]:
    """E[x_I x_J] of entries by their numbers: by kind within a source, product of means across, 0 for constants."""
    a, b = np.searchsorted(offsets, one, side="right") - 1, np.searchsorted(offsets, two, side="right") - 1
    means = np.array([*(m.mean for m in sources), 0.0])
    out = np.where((a >= 0) & (b >= 0), means[a] * means[b], 0.0)
    for i, m in enumerate(s.whole for s in sources):
        inside = (a == i) & (b == i)
        if not inside.any():
            continue
        if not m.sizes:
            out[inside] = m.second_moment
            continue
        sizes = tuple(int(n) for n in m.sizes)
        x = np.unravel_index(one[inside] - offsets[i], sizes)
        y = np.unravel_index(two[inside] - offsets[i], sizes)
        out[inside] = m.kernel[tuple((p == q).astype(int) for p, q in zip(x, y, strict=True))]
    return out


def _cat(frame: Frame, op: Op) -> Signal:
    tensors = op.arg(0, "tensors")
    dim = int(op.arg(1, "dim", 0))
    parts = [frame.moments(t) for t in tensors if frame.graph.value(t.index).numel]
    if op.name == "stack":
        d = dim % (len(parts[0].shape) + 1)
        parts = [m.reshaped((*m.shape[:d], 1, *m.shape[d:])) for m in parts]
        dim = d
    m = concatenated(parts, dim)
    return frame.made(op, replace(m, spread=None), leaf=False)


def _where(frame: Frame, op: Op) -> Signal:
    """Selection by a known mask moves entries; one by a random mask is elementwise."""
    from fanin.moments.forward.elementwise import elementwise

    mask = op.inputs[0]
    if (
        frame.signals[mask].numbers is None
        or frame.signals[mask].region
        or len(op.args) < 3
        or not all(isinstance(a, Ref) for a in op.args[1:])
    ):
        return elementwise(frame, op)
    if any(_infinite(frame, a) for a in op.args[1:]):
        return elementwise(frame, op)
    return gathered(frame, op)


def _written(frame: Frame, op: Op) -> Signal:
    """Numbers written where a mask of the signal's own entries holds are elementwise; all else moves entries."""
    from fanin.moments.forward.elementwise import elementwise

    index = op.arg(1)
    if isinstance(index, Ref) and frame.signals[index.index].region and not isinstance(op.arg(2), Ref):
        shapes = {frame.graph.value(v).shape for v in (op.inputs[0], index.index)}
        if len(shapes) == 1 and frame.graph.value(index.index).dtype == "bool":
            return elementwise(frame, op)
    return gathered(frame, op)


def _infinite(frame: Frame, template: Ref) -> bool:
    constant = frame.signals[template.index].constant
    numbers = frame.signals[template.index].numbers
    if numbers is not None and numbers.is_floating_point():
        return bool((numbers.abs() > 1e4).any())
    return constant is not None and abs(constant) > 1e4


def _sampled_grid(frame: Frame, op: Op) -> Signal:
    """Places that the model itself chooses: as large as the picture, which views near the picture itself keep.

    How much of the view lies beside the picture, and how far between its places, is not known before it runs.
    """
    x, shape = frame.moments(op.arg(0, "input")), frame.graph.value(op.output).shape
    for d in range(2, len(shape)):
        x = x.resized(d, shape[d])
    return frame.made(op, x.widened(_OF_A_VIEW), leaf=True)


_OF_A_VIEW = 0.25  # variance of the log mean square: half of it beside the picture is 0.5


RULES: Mapping[str, Callable[[Frame, Op], Signal]] = {
    "cat": _cat,
    "stack": _cat,
    "where": _where,
    "setitem": _written,
    **dict.fromkeys(["grid_sampler", "grid_sampler_2d", "grid_sampler_3d"], _sampled_grid),
    **dict.fromkeys(
        [
            "pad",
            "constant_pad_nd",
            "gather",
            "index_select",
            "take_along_dim",
            "unfold",
            "repeat",
            "repeat_interleave",
            "tile",
            "im2col",
            "hstack",
            "vstack",
            "pixel_shuffle",
            "pixel_unshuffle",
            "channel_shuffle",
            "upsample_nearest1d",
            "upsample_nearest2d",
            "upsample_nearest3d",
            "diagonal",
            "index_copy",
            "reflection_pad1d",
            "reflection_pad2d",
            "replication_pad1d",
            "replication_pad2d",
            "tril",
            "triu",
            "select_scatter",
            "slice_scatter",
            "copy",
            "as_strided",
            "take",
            "index_put",
            "masked_select",
            "scatter",
        ],
        gathered,
    ),
}
