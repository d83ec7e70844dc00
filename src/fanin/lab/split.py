"""A data set in two parts: one to train on, one held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Split"]

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A data set cut into a training and a held-out part.

    Attributes:
        name: what it is called in tables and figures.
        x: training inputs, float32, shape (n, features).
        y: training targets: int64 labels of shape (n,), or float32 values where `num_classes` is None.
        x_held: held-out inputs, shape (m, features).
        y_held: held-out targets, shape (m,).
        num_classes: number of classes; None for a regression.
    """

    name: str
    x: F32
    y: Any
    x_held: F32
    y_held: Any
    num_classes: int | None
