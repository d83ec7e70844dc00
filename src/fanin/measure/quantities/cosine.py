"""How similar the samples of a batch are to each other, and the tokens of a sample."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from fanin.measure.calls import Call
from fanin.measure.record import Cosine
from fanin.measure.sampling import thinned
from fanin.memory import as_array

__all__ = ["cosine", "sample_cosine", "token_cosine", "token_cosine_of"]

_SAMPLES, _FEATURES, _TOKENS = 16, 2048, 64
_LEAST, _MOST = 1e-200, 1e200  # of a sum of squares, within which nothing is lost
_FEWEST = 8  # tokens, and features of a token, below which a cosine of tokens tells little


def cosine(samples: torch.Tensor) -> Cosine | None:
    """How similar the first 16 samples are (axis 0), each as one vector; None if fewer than 2 are non-zero and finite.

    With unit vectors u_i and their mean m, the mean over pairs of 1 - cos is sum |u_i - m|^2 / (n - 1): no difference
    of nearly equal numbers, so a collapse of 1e-12 is seen as such.
    """
    x = _wide(thinned(samples[:_SAMPLES], _SAMPLES * _FEATURES))
    x = x.reshape(len(x), -1)
    with np.errstate(all="ignore"):
        squares = np.einsum("ij,ij->i", x, x)
    if not ((squares > _LEAST) & (squares < _MOST)).all():
        x = _of_size_one(x)
        squares = np.einsum("ij,ij->i", x, x)
    if not squares.all():
        x, squares = x[squares > 0], squares[squares > 0]
    n = len(x)
    if n < 2:
        return None
    unit = x / np.sqrt(squares)[:, None]
    matrix = np.round(unit @ unit.T, 5)
    x -= x.mean(0)
    unit -= unit.mean(0)
    one_minus_mean = float(np.vdot(unit, unit)) / (n - 1)
    return Cosine(
        num_samples=n,
        mean=1.0 - one_minus_mean,
        one_minus_mean=one_minus_mean,
        between_share=float(np.vdot(x, x) / squares.sum()) * n / (n - 1),
        matrix=tuple(map(tuple, matrix.tolist())),
    )


def _of_size_one(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The finite rows over the largest of their numbers: no cosine changes, and no square of a tiny number is zero."""
    x = x[np.isfinite(x).all(axis=1)]
    return np.asarray(x * (1.0 / max(float(np.abs(x).max(initial=0.0)), 1e-300)))


def token_cosine(tokens: torch.Tensor) -> float | None:
    """Mean pairwise cosine of the tokens (axis 0) of one sample, each a vector over axis 1.

    None below 2 non-zero tokens.
    """
    found = cosine_of_rows(tokens)
    return None if found is None else 1.0 - found


def cosine_of_rows(rows: torch.Tensor) -> float | None:
    """1 - mean pairwise cosine of the rows of a matrix (the first 64, evenly spread)."""
    x = _wide(thinned(rows, _TOKENS * rows.shape[-1], keep=(1,)))
    with np.errstate(all="ignore"):
        norms = np.sqrt(np.einsum("ij,ij->i", x, x))
    alive = (norms > 0.0) & np.isfinite(norms)
    if not alive.all():
        x, norms = x[alive], norms[alive]
    if len(x) < 2:
        return None
    unit = x / norms[:, None]
    unit -= unit.mean(0)
    return float(np.vdot(unit, unit)) / (len(x) - 1)


def _wide(x: torch.Tensor) -> npt.NDArray[np.float64]:
    """The numbers of a tensor in float64, as a copy."""
    x = x.detach()
    return np.array(as_array((x if x.dtype.itemsize >= 4 else x.float()).cpu()), dtype=np.float64)


def sample_cosine(call: Call) -> Cosine | None:
    """How similar the samples of an output are."""
    samples = call.samples(call.result)
    return None if samples is None else cosine(samples)


def token_cosine_of(call: Call) -> float | None:
    """How similar the tokens of the first sample of an output are (samples, tokens, features)."""
    samples = call.samples(call.result) if call.result.dim() == 3 else None
    if samples is None or samples.dim() != 3 or min(samples.shape[1:]) < _FEWEST:
        return None
    return token_cosine(samples[0])
