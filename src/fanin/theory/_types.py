"""The two types that every file of this package uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
# An elementwise function over a float64 array; user callables may return float32 or a foreign array, hence Any.
ScalarFunction: TypeAlias = Callable[[Any], Any]
