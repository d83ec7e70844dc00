"""The kernel of a short-time Fourier transform."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from fanin.errors import ArgumentError, ShapeError
from fanin.initializers.base import Array, EntryMoments, Initializer, one_of
from fanin.initializers.sampling import cast
from fanin.layout import Layout
from fanin.streams.keys import Key

__all__ = ["STFT"]

Numbers = npt.NDArray[np.float64]

_SIDES: dict[str, Callable[[Numbers], Numbers]] = {"real": np.cos, "imag": np.sin}
_SCALES: dict[str | None, Callable[[Numbers], float]] = {
    "density": lambda window: math.sqrt(float((window**2).sum())),
    "spectrum": lambda window: float(np.abs(window).sum()),
    None: lambda window: 1.0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class STFT(Initializer):
    """The real or imaginary half of a short-time Fourier transform, as a convolution over time: fixed numbers.

    Entry (t, 0, f) of a kernel of shape (T, 1, F) is window(t) cos(-2 pi t f / (2 F - 2)) over the scale, or the sine:
    the first F of 2 F - 2 frequencies. Nothing is drawn.

    Args:
        side: "real" or "imag".
        window: name of a window of scipy.signal, or None for none (then there is no scale either).
        scaling: "density" divides by the window's 2-norm, "spectrum" by its 1-norm, None by nothing.
        periodic: the window is cut from a period, for a transform of frames that overlap.

    Raises:
        ArgumentError: an unknown side, window or scaling.
        ShapeError: the weight is not (frame length, 1, frequencies) with two frequencies or more.

    Accuracy: float64 rounding.

    Peers: keras.initializers.STFT gives the same numbers to 4e-6 in float32.

    Source: Oppenheim and Schafer, Discrete-Time Signal Processing, section 10.3; the form is that of Keras 3.15.

    Example:
        >>> import fanin
        >>> STFT(window=None).sample((2, 1, 3), key=fanin.key(0, "stft"))[:, 0].round(3).tolist()
        [[1.0, 1.0, 1.0], [1.0, 0.0, -1.0]]
    """

    breaks_symmetry: ClassVar[bool] = True
    uncorrelated_inputs: ClassVar[bool] = False
    side: str = "real"
    window: str | None = "hann"
    scaling: str | None = "density"
    periodic: bool = False

    def __post_init__(self) -> None:
        one_of("side", self.side, tuple(_SIDES))
        if self.scaling not in _SCALES:
            raise ArgumentError(f"scaling must be 'density', 'spectrum' or None; got {self.scaling!r}")
        self._window(1)

    def _window(self, length: int) -> Numbers:
        if self.window is None:
            return np.ones(length)
        from scipy.signal import get_window

        try:
            return np.asarray(get_window(self.window, length, self.periodic), np.float64)
        except (ValueError, TypeError) as error:
            raise ArgumentError(f"scipy.signal has no window {self.window!r}: {error}") from error

    def _kernel(self, shape: Sequence[int]) -> Numbers:
        if len(shape) != 3 or shape[1] != 1 or shape[2] < 2 or shape[0] < 1:
            raise ShapeError(
                f"{self} fills kernels of shape (frame length, 1, frequencies), two frequencies or more; got "
                f"{tuple(shape)}."
            )
        window = self._window(shape[0])
        scale = 1.0 if self.window is None else _SCALES[self.scaling](window)
        if not scale > 0.0:
            raise ShapeError(f"the window {self.window!r} of {shape[0]} steps is all zeros; take a longer frame.")
        angle = -2.0 * math.pi * np.outer(np.arange(shape[0]), np.arange(shape[2])) / (2 * (shape[2] - 1))
        return (_SIDES[self.side](angle) * (window / scale)[:, None])[:, None, :]

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Of the entries of the kernel, which is fixed."""
        if layout is not None:
            layout.check(shape)
        kernel = self._kernel(shape)
        mean, var = float(kernel.mean()), float(kernel.var())
        kurtosis = float(((kernel - mean) ** 4).mean()) / var**2 if var > 0.0 else math.nan
        return EntryMoments(mean=mean, var=var, kurtosis=kurtosis, bound=float(np.abs(kernel).max()))

    def values(self, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """The kernel."""
        return cast(self._kernel(shape), dtype)
