"""Slow, obvious twins of the measured quantities: NumPy, float64, every element, loops where a loop says it best."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np


def moments(x):
    x = np.asarray(x, np.float64).ravel()
    return {
        "numel": x.size,
        "mean": x.mean(),
        "std": x.std(),
        "rms": math.sqrt((x**2).mean()),
        "min": x.min(),
        "max": x.max(),
        "zero_share": (x == 0).mean(),
        "norm": math.sqrt((x**2).sum()),
    }


def exponents(x):
    """binary exponent -> count, of finite non-zero values."""
    return dict(Counter(math.frexp(v)[1] - 1 for v in np.asarray(x, np.float64).ravel() if math.isfinite(v) and v))


def cosine(x):
    x = np.asarray(x, np.float64)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    n = len(x)
    apart = [np.square(unit[i] - unit[j]).sum() / 2 for i in range(n) for j in range(i)]
    between = np.square(x - x.mean(0)).sum() / (n - 1) / (np.square(x).sum() / n)
    return {"one_minus_mean": np.mean(apart), "between_share": between, "matrix": unit @ unit.T}


def activity(y, axis):
    y = np.moveaxis(np.asarray(y), axis, 0)
    return np.array([(unit != 0).mean() for unit in y])


def attention(logits):
    """Per head, for logits (samples, heads, rows, keys) without a mask."""
    logits = np.asarray(logits, np.float64)
    stds, entropies = [], []
    for head in range(logits.shape[1]):
        variances, row_entropies = [], []
        for row in logits[:, head].reshape(-1, logits.shape[-1]):
            p = np.exp(row - row.max())
            p /= p.sum()
            variances.append(row.var())
            row_entropies.append(-(p * np.log(p)).sum() / math.log(len(row)))
        stds.append(math.sqrt(np.mean(variances)))
        entropies.append(np.mean(row_entropies))
    rows = np.array([[[row.var() for row in head] for head in sample] for sample in logits])
    return {"logit_std": stds, "entropy": entropies, "row_variance": rows}


def identical_rows(w):
    rows = [tuple(r) for r in np.asarray(w)]
    counts = Counter(rows)
    return sum(counts[r] > 1 for r in rows) / len(rows)
