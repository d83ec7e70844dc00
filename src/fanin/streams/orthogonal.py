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
from fanin.streams.sampling import sample, sample_into
from fanin.streams.spec import Draw

__all__ = ["haar", "haar_into", "reflect"]

Matrix = npt.NDArray[Any]
_PANEL = 1 << 18  # elements of a product that are made before they are subtracted: 1 MiB in float32
_STRIPE = 3 << 17  # elements of a block of reflectors at most: 1.5 MiB in float32
_WORTH_SCIPY = 48  # reflectors of a block
_TOGETHER = 1 << 18  # elements of small matrices that are treated in one go


def haar(
    key: Key, batch: int, rows: int, cols: int, *, dtype: Any = "float32", first: int = 0, last: int | None = None
) -> Matrix:
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
        first: first matrix wanted.
        last: end of the matrices wanted; all the rest where not given.

    Returns:
        Shape (last - first, rows, cols).

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
    whole, last = (batch, rows, cols), batch if last is None else last
    out = np.empty((last - first, rows, cols), numpy_dtype(target.name))
    for group in _groups(out):
        box = (slice(first + group.start, first + group.stop),)
        q = sample(Draw(kind="normal"), key, whole, dtype=source, box=box).astype(wide)
        reflect(q if rows >= cols else q.swapaxes(1, 2))
        out[group] = q if target.is_complex else rounded(q, target.name)
    return out


def _groups(stack: Matrix) -> list[slice]:
    """Matrices to be treated together: one if it is large, many if they are small."""
    step = max(1, _TOGETHER // max(1, stack[0].size if len(stack) else 1))
    return [slice(b, min(b + step, len(stack))) for b in range(0, len(stack), step)]


def haar_into(
    out: Matrix, key: Key, *, gain: float = 1.0, threads: int | None = None, first: int = 0, of: int | None = None
) -> None:
    """The matrices of `haar`, times `gain`, computed in float32 in place: fast, and no second copy of the weight.

    Args:
        out: float32, shape (batch, rows, cols), any strides; overwritten.
        key: the stream.
        gain: multiplies every matrix.
        threads: at most so many for drawing the numbers; the matrix products take what the BLAS takes.
        first: which matrix of the batch the first one is.
        of: number of all matrices; those of `out` where it holds all.

    Accuracy: |Q'Q - I| < 1e-6 up to 4096 x 4096; entries agree with `haar` to 1e-6.

    Example:
        >>> from fanin.streams.keys import key
        >>> out = np.empty((2, 6, 4), np.float32)
        >>> haar_into(out, key(0, "attn.heads"))
        >>> bool(np.allclose(out, haar(key(0, "attn.heads"), 2, 6, 4), atol=1e-6))
        True
    """
    whole, box = (len(out) if of is None else of, *out.shape[1:]), (slice(first, first + len(out)),)
    sample_into(out, Draw(kind="normal"), key, shape=whole, box=box, threads=threads)
    for group in _groups(out):
        reflect(out[group] if out.shape[1] >= out.shape[2] else out[group].swapaxes(1, 2), gain=gain)


def reflect(gaussian: Matrix, *, gain: float = 1.0, block: int | None = None) -> None:
    """Turn tall Gaussian matrices, m >= n, into the Haar matrices that their lower trapezoids encode.

    In place, from the last columns to the first: a block of columns is read as reflector vectors just before it is
    overwritten with columns of Q. With g_k the part of column k from the diagonal down, r_k = |g_k| and s_k = g_kk /
    |g_kk|, the reflector H_k takes g_k to -s_k r_k e_k, and Q = H_1 ... H_n E diag(-s), E being the first n columns of
    the identity. The entries above the diagonal are not read.

    Args:
        gaussian: shape (..., m, n), independent standard normal numbers, real or complex, any strides; overwritten.
        gain: multiplies the result.
        block: reflectors multiplied out together; where not given 48 to 128, the more the longer they are, and then
            fewer again, so that they stay within 1.5 MiB.

    Example:
        >>> a = np.array([[-0.3]])
        >>> reflect(a)
        >>> float(a[0, 0])
        -1.0
    """
    m, n = gaussian.shape[-2:]
    block = block or _block(m)
    for first in reversed(range(0, n, block)):
        last = min(first + block, n)
        v, signs = _reflectors(gaussian[..., first:, first:last])
        gaussian[..., first:, first:last] = 0.0
        gaussian[..., first:last, last:] = 0.0
        diagonal = np.arange(first, last)
        gaussian[..., diagonal, diagonal] = -gain * signs
        q = gaussian[..., first:, first:]
        projected = _projected(v, q, -gain * signs)
        _multiply_left(_triangle(v), projected)
        _subtract_product(q, v, projected)


def _projected(v: Matrix, q: Matrix, diagonal: Matrix) -> Matrix:
    """v'q, for a q whose first columns are those of a diagonal matrix, and whose first rows are 0 past them."""
    size = v.shape[-1]
    out = np.empty((*v.shape[:-2], size, q.shape[-1]), v.dtype)
    np.multiply(_adjoint(v[..., :size, :]), diagonal[..., None, :], out=out[..., :size])
    np.matmul(_adjoint(v[..., size:, :]), q[..., size:, size:], out=out[..., size:])
    return out


def _block(m: int) -> int:
    """Narrow blocks waste no work on small matrices, wide ones make the products of large ones fast."""
    return max(16, min(128, max(_WORTH_SCIPY, m // 12 // 16 * 16), _STRIPE // m))


def _adjoint(a: Matrix) -> Matrix:
    plain: Matrix = a.conj() if np.iscomplexobj(a) else a  # conj would copy a real matrix
    return np.asarray(plain.swapaxes(-1, -2))


def _reflectors(g: Matrix) -> tuple[Matrix, Matrix]:
    """Reflector vectors, 1 on the diagonal and 0 above, of the lower trapezoid of g; and the signs of its diagonal."""
    v = np.tril(g)
    k = np.arange(g.shape[-1])
    diagonal = v[..., k, k]
    signs = diagonal / np.abs(diagonal)
    squares = np.einsum("...ij,...ij->...j", _adjoint(v).swapaxes(-1, -2), v).real
    heads = diagonal + signs * np.sqrt(squares)  # no cancellation: both have the same sign
    v /= heads[..., None, :]
    v[..., k, k] = 1.0
    return v, signs


def _triangle(v: Matrix) -> Matrix:
    """The T for which I - v T v' is the product of the reflectors I - 2 v_k v_k' / (v_k' v_k), in the precision of v.

    T^-1 is the upper triangle of v'v, its diagonal halved. It is computed in float64, so that the product is
    orthogonal for the vectors as they were rounded.
    """
    gram = np.zeros((*v.shape[:-2], v.shape[-1], v.shape[-1]), np.result_type(v, np.float64))
    for first in range(0, v.shape[-2], 512):
        wide = v[..., first : first + 512, :].astype(gram.dtype, copy=False)
        gram += _adjoint(wide) @ wide
    k = np.arange(v.shape[-1])
    gram[..., k, k] /= 2.0
    if gram.ndim > 2 or len(k) < _WORTH_SCIPY:
        return np.asarray(np.linalg.inv(np.triu(gram)).astype(v.dtype))
    from scipy.linalg import lapack  # a quarter of a second: not for small matrices

    invert = lapack.ztrtri if np.iscomplexobj(gram) else lapack.dtrtri
    inverse, _ = invert(gram.T, lower=1)  # turned, because LAPACK counts along columns; it never fails: |v_k| >= 1
    return np.asarray(np.tril(inverse).T.astype(v.dtype))


def _multiply_left(a: Matrix, b: Matrix) -> None:
    """Replace b by a @ b, by columns, so that there are never two of it."""
    for first in range(0, b.shape[-1], 512):
        b[..., first : first + 512] = a @ b[..., first : first + 512]


def _subtract_product(q: Matrix, a: Matrix, b: Matrix) -> None:
    """Subtract a @ b from q, by panels, so that the product takes little memory and stays in the cache."""
    if abs(q.strides[-2]) < abs(q.strides[-1]):  # walk along memory
        q, a, b = (x.swapaxes(-1, -2) for x in (q, b, a))
    rows = max(1, _PANEL * q.shape[-2] // q.size)
    for first in range(0, q.shape[-2], rows):
        q[..., first : first + rows, :] -= a[..., first : first + rows, :] @ b
