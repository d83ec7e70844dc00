"""How alike the samples of a batch have become, and the tokens of a sample."""

from __future__ import annotations

import torch

from fanin.measure.record import Cosine
from fanin.measure.sampling import thinned

__all__ = ["cosine", "token_cosine"]

_SAMPLES, _FEATURES, _TOKENS = 16, 2048, 64


def cosine(samples: torch.Tensor) -> Cosine | None:
    """Likeness of the first 16 samples (axis 0), each as one vector; None where fewer than 2 are non-zero and finite.

    With unit vectors u_i and their mean m, the mean over pairs of 1 - cos is sum |u_i - m|^2 / (n - 1): no difference
    of nearly equal numbers, so a collapse of 1e-12 is seen as such.
    """
    with torch.no_grad():
        x = thinned(samples[:_SAMPLES], _SAMPLES * _FEATURES).flatten(1).double()
        x = x[torch.isfinite(x).all(dim=1)]
        # A common factor changes no cosine, and keeps squares of tiny signals from vanishing.
        x = x / x.abs().amax().clamp_min(1e-300) if x.numel() else x
        norms = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        alive = norms[:, 0] > 0
        x, norms = x[alive], norms[alive]
        n = x.shape[0]
        if n < 2:
            return None
        unit = x / norms
        apart = ((unit - unit.mean(0)).square().sum() / (n - 1)).item()
        between = ((x - x.mean(0)).square().sum() / x.square().sum() * n / (n - 1)).item()
        matrix = torch.round(unit @ unit.T, decimals=5).tolist()
    return Cosine(
        num_samples=n,
        mean=1.0 - apart,
        one_minus_mean=apart,
        between_share=between,
        matrix=tuple(tuple(row) for row in matrix),
    )


def token_cosine(tokens: torch.Tensor) -> float | None:
    """Mean pairwise cosine of the tokens (axis 0) of one sample, each a vector over axis 1.

    None below 2 non-zero tokens.
    """
    found = cosine_of_rows(tokens)
    return None if found is None else 1.0 - found


def cosine_of_rows(rows: torch.Tensor) -> float | None:
    """1 - mean pairwise cosine of the rows of a matrix (the first 64, evenly spread)."""
    with torch.no_grad():
        x = thinned(rows, _TOKENS * rows.shape[-1], keep=(1,)).double()
        norms = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        alive = (norms[:, 0] > 0) & torch.isfinite(norms[:, 0])
        if int(alive.sum()) < 2:
            return None
        unit = x[alive] / norms[alive]
        return float(((unit - unit.mean(0)).square().sum() / (unit.shape[0] - 1)).item())
