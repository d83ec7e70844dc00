"""Spectral norms of weights and of their first update: facts for a report, without a verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fanin.layout import Layout
from fanin.measure.quantities.spectral import matrices, spectral_norm

__all__ = ["SpectralFact", "spectral_facts", "spectral_norm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectralFact:
    """One matrix of a weight: a part of a packed map, an expert, a group; a convolution with its taps as inputs.

    Attributes:
        parameter: its name.
        part: which part along the output axis, from 0.
        index: which expert or group of that part, from 0.
        ratio: R = |W|_2 / sqrt(out / in) before the first step. A Gaussian weight of std 1 / sqrt(in) has about
            1 + sqrt(in / out): a fact of its shape.
        first_step: U = |dW|_2 / |W|_2 of the first step; None for a weight that starts at zero.
    """

    parameter: str
    part: int
    index: int
    ratio: float
    first_step: float | None


def spectral_facts(
    name: str, before: npt.NDArray[np.float64], after: npt.NDArray[np.float64], layout: Layout
) -> Iterator[SpectralFact]:
    """R and U of every matrix in a weight.

    Args:
        name: of the parameter.
        before: its values before the first step.
        after: its values after it.
        layout: what its axes mean.
    """
    pairs = zip(matrices(before, layout), matrices(after, layout), strict=True)
    for (part, index, matrix), (_, _, moved) in pairs:
        size = spectral_norm(matrix)
        yield SpectralFact(
            parameter=name,
            part=part,
            index=index,
            ratio=size / math.sqrt(matrix.shape[0] / matrix.shape[1]),
            first_step=spectral_norm(moved - matrix) / size if size > 0.0 else None,
        )
