"""Orthonormal matrices that follow Haar measure, from Householder reflectors drawn directly.

A QR factorisation of a Gaussian matrix spends most of its time on numbers that are thrown away: of step k only the
reflector is kept, and its vector is Gaussian again, independent of all others. So column k of a lower-trapezoidal
Gaussian matrix *is* the k-th reflector vector, and what is left is to multiply the reflectors out, in blocks, so that
all work is matrix products. The signs of the Gaussian diagonal must be kept in a diagonal factor: without it Q'Q = I
still holds but the matrices are not Haar (their traces are off, their determinant is constant).

Source: Stewart 1980, "The efficient generation of random orthogonal matrices with an application to condition
estimators", SIAM J. Numer. Anal. 17(3), section 3; Mezzadri 2007 (arXiv math-ph/0609050, section 5) for the signs;
Schreiber and Van Loan 1989, "A storage-efficient WY representation", for the blocks; Joffrain et al. 2006,
"Accumulating Householder transformations, revisited", for T^-1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fanin.errors import ShapeError
from fanin.streams.dtypes import fill_dtype, numpy_dtype, rounded
from fanin.streams.keys import Key
from fanin.streams.sampling import sample
from fanin.streams.spec import Draw

__all__ = ["haar", "reflect"]

Matrix = npt.NDArray[Any]
_BLOCK = 64


def haar(key: Key, batch: int, rows: int, cols: int, *, dtype: Any = "float32") -> Matrix:
    """A batch of independent matrices with orthonormal columns (rows, where they are fewer), Haar distributed.

    Each is uniform on the Stiefel manifold: for square ones, Q and UQV have the same law for all orthogonal U and V.
    Matrix b is made from elements b rows cols ... (b + 1) rows cols - 1 of the normal stream of `key`, so a batch
    (heads, gates, experts) can be cut anywhere between matrices. Complex dtypes give Haar unitary matrices.

    Args:
        key: the stream, ``fanin.key(seed, name)``.
        batch: number of matrices, >= 0.
        rows: >= 1.
        cols: >= 1.
        dtype: of the result. The input numbers are those of float32, the products are in float64, rounded at the end.

    Returns:
        Shape (batch, rows, cols).

    Raises:
        ShapeError: a size out of range.
        DtypeError: an unsupported dtype.

    Accuracy: |Q'Q - I| < 1e-14 in float64 and 5e-7 in float32. Between platforms results agree to about 1e-15 before
    rounding, not bit for bit: the order of sums inside a matrix product is the BLAS's own.

    Example:
        >>> from fanin.streams.keys import key
        >>> q = haar(key(0, "attn.heads"), 2, 6, 4, dtype="float64")
        >>> bool(np.allclose(q.swapaxes(1, 2) @ q, np.eye(4)))
        True
    """
    if batch < 0 or rows < 1 or cols < 1:
        raise ShapeError(
            f"orthonormal matrices need batch >= 0, rows >= 1 and cols >= 1; got batch={batch}, rows={rows}, "
            f"cols={cols}. Give an empty parameter no orthogonal law."
        )
    target = fill_dtype(dtype)
    source, wide = ("complex64", "complex128") if target.is_complex else ("float32", "float64")
    out = np.empty((batch, rows, cols), numpy_dtype(target.name))
    for b in range(batch):
        gaussian = sample(Draw(kind="normal"), key, out.shape, dtype=source, box=(slice(b, b + 1),))[0].astype(wide)
        q = reflect(gaussian) if rows >= cols else reflect(gaussian.T).T
        out[b] = q if target.is_complex else rounded(np.ascontiguousarray(q), target.name)
    return out


def reflect(gaussian: Matrix, *, block: int = _BLOCK) -> Matrix:
    """The Haar matrix that a tall Gaussian matrix of shape (m, n), m >= n, encodes in its lower trapezoid.

    With g_k the part of column k from the diagonal down, r_k = |g_k| and s_k = g_kk / |g_kk|, the reflector H_k takes
    g_k to -s_k r_k e_k, and Q = H_1 ... H_n E diag(-s), where E is the first n columns of the identity.

    Args:
        gaussian: shape (m, n), m >= n, independent standard normal numbers, real or complex; the entries above the
            diagonal are not read.
        block: reflectors multiplied out together.

    Example:
        >>> float(reflect(np.array([[-0.3]]))[0, 0])
        -1.0
    """
    n = gaussian.shape[1]
    v = np.tril(gaussian)
    diagonal = np.diagonal(v).copy()
    norms = np.linalg.norm(v, axis=0)
    signs = diagonal / np.abs(diagonal)
    heads = diagonal + signs * norms  # no cancellation: both have the same sign
    v /= heads
    np.fill_diagonal(v, 1.0)
    tau = np.abs(heads) / norms
    q = np.zeros_like(v)
    np.fill_diagonal(q, -signs)
    for first in reversed(range(0, n, block)):
        _apply_block(v[first:, first : first + block], tau[first : first + block], q[first:, first:])
    return q


def _apply_block(v: Matrix, tau: Matrix, q: Matrix) -> None:
    """Multiply q from the left by I - v T v', where T^-1 is the upper triangle of v'v with 1 / tau on its diagonal."""
    from scipy.linalg import solve_triangular

    adjoint = v.conj().T
    inverse = np.triu(adjoint @ v, 1) + np.diag(1.0 / tau)
    q -= v @ solve_triangular(inverse, adjoint @ q, lower=False, check_finite=False)
